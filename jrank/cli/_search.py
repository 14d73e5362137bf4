"""Search an index that jrank index wrote. Indexes of words need no jax.

  jrank search index/ "red foxes" --corpus corpus.jsonl
  jrank search index/ --queries queries.jsonl -k 100 -o bm25.trec
  jrank search index/ --with vectors/ --queries queries.jsonl -o hybrid.trec

Questions stand on the command line or, one per line, in a file: plain text, JSON with "_id" and "text", or (.tsv) an
id, a tab and the text. Questions give a table; a file gives a run, for jrank evaluate and jrank fuse. --with searches
further indexes and fuses what all of them find.
"""

import argparse
import json
import shutil
from typing import Any

from jrank.cli._tables import positive, write_run
from jrank.cli._texts import INPUTS, read_texts, unique_texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("index", help="the directory of an index")
    parser.add_argument("question", nargs="*", help="what to look for; each is a query of its own")
    parser.add_argument("--queries", metavar="FILE", help="queries, one per line; - is standard input")
    parser.add_argument("--input", choices=INPUTS, default="auto", help="of --queries (default: by the first line)")
    parser.add_argument(
        "-k", "--top-k", type=positive, default=10, metavar="N", help="documents per query (default: 10)"
    )
    parser.add_argument("-o", "--out", metavar="FILE", help="where a run goes (default: standard output)")
    parser.add_argument(
        "--format",
        choices=("table", "json", "tsv", "trec"),
        help="default: table for questions, trec for --queries and --out",
    )
    parser.add_argument("--corpus", metavar="FILE", help="the documents that were indexed, to show their texts")
    parser.add_argument(
        "--expand", metavar="METHOD", help="add words of the best documents: rm3, rocchio, idf, tf, robertson"
    )
    parser.add_argument("--with", dest="others", action="append", default=[], metavar="DIR", help="a further index")
    parser.add_argument("--method", default="rrf", help="how several indexes are fused (default: rrf)")
    parser.add_argument("--depth", type=positive, default=100, metavar="N", help="what each contributes (default: 100)")
    parser.add_argument("--encoder", metavar="DIR", help="of dense indexes (default: all-MiniLM-L6-v2); needs jax")
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Search and print."""
    if bool(args.question) == (args.queries is not None):
        args.parser.error("give questions, or --queries FILE" + (", not both" if args.question else ""))
    if args.out and args.format not in (None, "trec"):
        args.parser.error(f"--out writes a run; --format {args.format} goes to standard output")
    if args.question:
        queries = {str(i): text for i, text in enumerate(args.question, 1)}
    else:
        queries = dict(unique_texts(args.queries, args.input))
    run, documents = _searched(args, queries)
    form = args.format or ("trec" if args.queries is not None or args.out else "table")
    if form == "trec":
        write_run(run, args.out, None if args.out else "trec")
        return 0
    texts = _texts(args.corpus, {name for row in documents.values() for name, _ in row})
    _print(queries, documents, texts, form)
    return 0


def _searched(args: argparse.Namespace, queries: dict[str, str]) -> tuple[Any, dict[str, list[tuple[str, float]]]]:
    from jrank import fusion
    from jrank.retrieval import load_index
    from jrank.runs import Run

    runs = []
    for place in [args.index, *args.others]:
        index = load_index(place)
        asked = _asked(args, index, list(queries.values()))
        k = args.depth if args.others else args.top_k
        rows = dict(zip(queries, index.search(asked, k), strict=True)) if queries else {}
        # Runs know ids as text.
        runs.append(Run({name: {str(i): float(s) for i, s in row} for name, row in rows.items()}, name=place))
    found = fusion.fuse(runs, method=args.method).top_k(args.top_k) if args.others else runs[0]
    found.name = found.name or "jrank"
    return found, {name: list(found[name].items()) if name in found else [] for name in queries}


def _asked(args: argparse.Namespace, index: Any, texts: list[str]) -> Any:
    from jrank.errors import RetrieveError
    from jrank.retrieval import DenseIndex, SparseIndex, expand_queries

    if isinstance(index, SparseIndex):
        raise RetrieveError("an index of sparse vectors cannot be searched with texts", reason="invalid_parameter")
    if hasattr(index, "analyzer"):
        return expand_queries(index, texts, method=args.expand) if args.expand else texts
    if args.expand and not args.others:
        raise RetrieveError("--expand needs an index of words", reason="invalid_parameter", hint="leave it out")
    from jrank.models import TextEncoder

    assert isinstance(index, DenseIndex)
    model = TextEncoder.from_pretrained(args.encoder) if args.encoder else TextEncoder.from_pretrained()
    return model.encode(texts)


def _texts(source: str | None, wanted: set[str]) -> dict[str, str]:
    if source is None:
        return {}
    texts = unique_texts(source) if source != "-" else read_texts(source)
    return {name: " ".join(text.split()) for name, text in texts if name in wanted}


def _print(
    queries: dict[str, str], documents: dict[str, list[tuple[str, float]]], texts: dict[str, str], form: str
) -> None:
    if form == "json":
        rows = [
            {
                "query": name,
                "text": text,
                "hits": [
                    {"rank": rank, "id": key, "score": score, **({"text": texts[key]} if key in texts else {})}
                    for rank, (key, score) in enumerate(documents[name], 1)
                ],
            }
            for name, text in queries.items()
        ]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if form == "tsv":
        for name in queries:
            for rank, (key, score) in enumerate(documents[name], 1):
                shown = [texts[key]] if key in texts else []
                print(*(" ".join(cell.split()) for cell in (name, key, str(rank), f"{score:.6g}", *shown)), sep="\t")
        return
    for i, (name, text) in enumerate(queries.items()):
        if len(queries) > 1:
            print(("\n" if i else "") + " ".join(text.split()))
        _table(documents[name], texts)


def _table(hits: list[tuple[str, float]], texts: dict[str, str]) -> None:
    if not hits:
        print("nothing found")
        return
    cells = [[str(rank), f"{score:.4f}", key] for rank, (key, score) in enumerate(hits, 1)]
    header = ["rank", "score", "id"]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(3)]
    room = max(20, shutil.get_terminal_size((120, 24)).columns - sum(widths) - 6)
    print(f"{'rank':>{widths[0]}}  {'score':>{widths[1]}}  {'id':<{widths[2]}}  {'text' if texts else ''}".rstrip())
    for rank, score, key in cells:
        text = texts.get(key, "")
        text = text if len(text) <= room else text[: room - 1] + "…"
        print(f"{rank:>{widths[0]}}  {score:>{widths[1]}}  {key:<{widths[2]}}  {text}".rstrip())
