"""Write a trained model as an ONNX bundle, after proving that the graph computes what the model computes.

  jrank export reranker/ bundle/
  jrank export reranker/ bundle-int8/ --quantize int8 --data beir/scifact/
  jrank export ranker/ bundle/

The model is a Hugging Face directory with a classifier, or a ranker that jrank train wrote. A graph that differs from
the model is not written. --data compares a quantised cross-encoder with the float32 one on what BM25 finds for the
test queries of a collection: rank correlation, and NDCG before and after.
"""

import argparse
import json
import zlib
from typing import Any

from jrank.cli._tables import positive
from jrank.cli._train_texts import SHARES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="a directory with config.json and safetensors")
    parser.add_argument("bundle", help="where the bundle goes; an older bundle is replaced")
    parser.add_argument(
        "--quantize",
        choices=("int8", "int8-weights", "float16-weights"),
        help="int8: fastest on CPUs; int8-weights: as small, float32 arithmetic; float16-weights: half the size",
    )
    parser.add_argument("--max-length", type=positive, metavar="N", help="most tokens of a pair (default: 512)")
    parser.add_argument("--data", metavar="DIR", help="a collection in the BEIR layout, for the report on quantisation")
    parser.add_argument("--queries", type=positive, default=20, metavar="N", help="most of --data (default: 20)")
    parser.add_argument("--depth", type=positive, default=20, metavar="N", help="documents of each (default: 20)")
    parser.add_argument("--name", help="what the card calls the model")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")


def run(args: argparse.Namespace) -> int:
    """Convert, check, write, report."""
    from jrank import export

    model = _load(args.model)
    options: dict[str, Any] = {"pairs": _pairs(args)} if args.data else {}
    if args.max_length:
        options["max_length"] = args.max_length
    report = export.to_onnx(model, args.bundle, quantize=args.quantize, name=args.name, **options)
    print(json.dumps(report.to_dict(), indent=1) if args.format == "json" else report)
    return 0


def _load(directory: str) -> Any:
    from jrank.models import CrossEncoder, MLPRanker, find_weights, read_config

    place = find_weights(directory)
    kind = read_config(place).get("model_type")
    if kind == "jrank-mlp":
        return MLPRanker.load(place)
    return CrossEncoder.from_pretrained(place)


def _pairs(args: argparse.Namespace) -> list[tuple[str, str, float]]:
    """What BM25 finds for some test queries, with the grades."""
    from jrank.data import read_beir
    from jrank.retrieval import BM25Index

    collection = read_beir(args.data, shares=SHARES)
    test = list(collection.splits.get("test", collection.query_ids))
    # Drawn by the id, so that another export compares the same.
    chosen = sorted(test, key=lambda query: (zlib.crc32(query.encode()), query))[: args.queries]
    index = BM25Index.build(collection.documents, ids=collection.doc_ids)
    texts = dict(zip(collection.doc_ids, collection.documents, strict=True))
    grades = collection.qrels.to_dict()
    queries = collection.queries_of(chosen)
    return [
        (text, texts[str(doc)], float(grades.get(query, {}).get(str(doc), 0)))
        for query, text, row in zip(chosen, queries, index.search(queries, args.depth), strict=True)
        for doc, _ in row
    ]
