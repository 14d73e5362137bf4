"""Order documents by how well they answer a question, with an exported cross-encoder. Needs no jax.

Documents come one per line: plain text, or JSON with "text" and, if there are, "title" and "_id". The best come first.

  jrank rerank --model bundle/ "what is a cross-encoder?" documents.jsonl --top-k 5
  grep -r cache docs/ | jrank rerank --model bundle/ "where are files cached?" - --format tsv
"""

import argparse
import json
import shutil
from typing import Any

from jrank.cli._texts import INPUTS, read_texts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("question", help="what the documents should answer")
    parser.add_argument("documents", nargs="*", default=["-"], help="files, one document per line; - for stdin")
    parser.add_argument("--model", required=True, metavar="DIR", help="a bundle that jrank export wrote, or model.onnx")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json (default: the one beside the model)")
    parser.add_argument("--format", choices=("table", "json", "tsv"), default="table", help="default: table")
    parser.add_argument("--input", choices=INPUTS, default="auto", help="default: by the first line")
    parser.add_argument("--top-k", type=_positive, metavar="N", help="print the best N (default: all)")
    parser.add_argument(
        "--activation",
        choices=("none", "sigmoid", "softmax"),
        default="none",
        help="of the scores (default: none, raw)",
    )
    parser.add_argument("--label", type=int, metavar="I", help="which of several scores to rank by")
    parser.add_argument("--max-length", type=_positive, metavar="N", help="most tokens of question and document")
    parser.add_argument(
        "--truncation",
        choices=("only_second", "longest_first", "windows", "error"),
        default="only_second",
        help="what happens to longer documents: cut (default), scored in windows, or refused",
    )
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: the cores that this process may use")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def run(args: argparse.Namespace) -> int:
    """Rank the documents and print them."""
    from jrank.serving import CrossEncoder

    documents = [entry for source in args.documents for entry in read_texts(source, args.input)]
    ranker = CrossEncoder.from_file(
        args.model, args.tokenizer, threads=args.threads, max_length=args.max_length, truncation=args.truncation
    )
    hits = ranker.rank(
        args.question,
        [text for _, text in documents],
        args.top_k,
        activation=None if args.activation == "none" else args.activation,
        label=args.label,
    )
    rows = [
        {"rank": rank, "id": documents[hit.index][0], "index": hit.index, "score": hit.score, "text": hit.document}
        for rank, hit in enumerate(hits, start=1)
    ]
    _print(rows, args.format)
    return 0


def _print(rows: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    cells = [[str(row["rank"]), f"{row['score']:.6g}", str(row["id"]), " ".join(row["text"].split())] for row in rows]
    if form == "tsv":
        for rank, score, key, text in cells:
            print(rank, " ".join(key.split()), score, text, sep="\t")
        return
    header = ["rank", "score", "id", "text"]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(3)]
    room = max(20, shutil.get_terminal_size((120, 24)).columns - sum(widths) - 6)
    for rank, score, key, text in [header, *cells]:
        short = text if len(text) <= room else text[: room - 1] + "…"
        print(f"{rank:>{widths[0]}}  {score:>{widths[1]}}  {key:<{widths[2]}}  {short}".rstrip())
