"""Fuse runs into one. Needs no jax.

  jrank fuse bm25.trec dense.trec -o fused.trec
  jrank fuse bm25.trec dense.trec --method comb_sum --weights 0.3,0.7 --option norm=zmuv
  jrank fuse bm25.trec dense.trec --fit qrels.txt --folds 5 --method comb_sum -o fused.trec
  jrank fuse bm25.trec dense.trec --explain q17

--fit learns the weights (or what the method has) from judgments and says how good they are on queries that were held
out. --explain says where the scores of one query come from. --list names the methods and the presets of other systems.
"""

import argparse
import json
import sys
from dataclasses import asdict

from jrank.cli._tables import positive, read_runs, read_table, write_run


class _List(argparse.Action):
    """Print methods and presets, and leave."""

    def __call__(self, parser, *_):
        from jrank.fusion import PRESETS, list_methods

        for name in list_methods():
            presets = ", ".join(PRESETS.get(name, {}))
            print(f"{name}  (presets: {presets})" if presets else name)
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("runs", nargs="+", metavar="run", help="a file or name=file; - is standard input")
    parser.add_argument("-o", "--out", metavar="FILE", help="where the fused run goes (default: standard output)")
    parser.add_argument("--method", default="rrf", help="default: rrf; see --list")
    parser.add_argument("--preset", metavar="SYSTEM", help="what a system means by the method, such as qdrant")
    parser.add_argument("--weights", type=_numbers, metavar="W,W,…", help="one per run")
    parser.add_argument(
        "--option", action="append", default=[], type=_option, metavar="NAME=VALUE", help="of the method, such as k=60"
    )
    parser.add_argument("--queries", choices=("union", "intersection"), default="union", help="default: union")
    parser.add_argument("--depth", type=positive, metavar="N", help="how many documents of each run count")
    parser.add_argument("--top-k", type=positive, metavar="N", help="keep the best N of each query")
    parser.add_argument("--format", choices=("trec", "tsv", "csv", "json", "parquet"), help="default: by the ending")
    parser.add_argument("--fit", metavar="QRELS", help="learn from these judgments")
    parser.add_argument("--metric", default="ndcg@10", help="what --fit makes large (default: ndcg@10)")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="of --fit, 0 for none (default: 5)")
    parser.add_argument("--search", choices=("grid", "gradient"), help="of --fit (default: grid; gradient needs jax)")
    parser.add_argument("--explain", metavar="QUERY", help="print where the scores of this query come from")
    parser.add_argument("--list", action=_List, nargs=0, help="print the methods and their presets")


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text!r}") from None


def _option(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    if value.lower() == "none":
        return name, None
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def run(args: argparse.Namespace) -> int:
    """Fuse and write."""
    from jrank import fusion
    from jrank.runs import Qrels

    runs = read_runs(args.runs)
    options = dict(args.option)
    if args.weights is not None:
        options["weights"] = args.weights
    method, preset = args.method, args.preset
    if args.fit:
        fitted = fusion.fit(
            runs,
            read_table(Qrels, args.fit),
            method=method,
            metric=args.metric,
            search=args.search,
            folds=args.folds,
            depth=args.depth,
            **options,
        )
        held = "" if fitted.held_out is None else f", {fitted.held_out:.4f} on held-out queries"
        learned = {name: value for name, value in fitted.params.items() if name not in options}
        shown = json.dumps(learned)
        shown = shown if len(shown) < 200 else f"{', '.join(learned)} (tables)"
        sys.stderr.write(f"{method}: {shown}: {args.metric} {fitted.score:.4f} on the judged queries{held}\n")
        options = fitted.params
    if args.explain is not None:
        k = args.top_k or 10
        lines = fusion.explain(runs, args.explain, method=method, preset=preset, k=k, options=options)
        if args.format == "json":
            print(json.dumps([asdict(line) for line in lines], indent=1, ensure_ascii=False))
        else:
            print(*lines, sep="\n")
        return 0
    fused = fusion.fuse(runs, method=method, preset=preset, queries=args.queries, depth=args.depth, **options)
    write_run(fused.top_k(args.top_k) if args.top_k else fused, args.out, args.format)
    for finding in fusion.validate(runs):
        if finding.kind in ("missing_queries", "no_shared_documents"):
            sys.stderr.write(f"{finding}\n")
    return 0
