"""The whole road on real text and real weights, without a download beyond package installation.

The documentation strings of the Python standard library are the collection: the first paragraph of each is a query, the
rest the document. The stages are retrieval (BM25, dense), fusion, late interaction, a learned ranker, and a
cross-encoder that is trained, exported to ONNX, quantised and served. All are evaluated on held-out queries.

Written to --out: report.html, results.json, the runs, and the directory `bundle` that `jrank rerank --model` takes.
"""

import argparse
import sys
import time

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="smaller in every part: under 90 seconds on 2 cores")
    size.add_argument("--full", action="store_true", help="two epochs of training: under 15 minutes on 2 cores")
    parser.add_argument(
        "--model", default=MINILM, metavar="DIR", help=f"a Hugging Face directory to start from (default: {MINILM})"
    )
    parser.add_argument(
        "--corpus", metavar="DIR", help="a collection in BEIR layout (default: Python's documentation strings)"
    )
    parser.add_argument("--out", default="jrank-demo", metavar="DIR", help="where to write (default: jrank-demo)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same numbers on the same machine (default: 0)")
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> int:
    """Run all stages, print the table, write the report."""
    from jrank.cli._demo_plan import DEFAULT, FULL, QUICK, estimate, take
    from jrank.files import ensure_directory

    plan = QUICK if args.quick else FULL if args.full else DEFAULT

    out = ensure_directory(args.out)
    # What can be wrong is found out before the work begins: the weights, the corpus, the directory, the extras.
    from jrank import data, models
    from jrank.errors import require

    require("jax2onnx", "export")
    require("matplotlib", "plot")
    weights = models.find_weights(args.model)
    collection = take(data.read_beir(args.corpus) if args.corpus else data.load_pydocs(), plan, args.seed)

    say(
        f"{collection.name}: {len(collection.documents)} documents; queries: "
        + ", ".join(f"{len(ids)} {split}" for split, ids in collection.splits.items())
    )
    say(
        f"estimated time: {duration(estimate(plan, collection))} on this machine; --help shows shorter and longer forms"
    )

    start = time.perf_counter()
    from jrank.cli._demo_report import write_report
    from jrank.cli._demo_stages import run_stages

    results = run_stages(collection, weights, plan, out, seed=args.seed, progress=not args.no_progress, say=say)
    results.seconds = time.perf_counter() - start
    sys.stdout.write("\n" + results.table() + "\n")
    write_report(out, results, collection)
    say(f"took {duration(results.seconds)}; open {out / 'report.html'}")
    say(f'try it: jrank rerank --model {out / "bundle"} "{results.example_query}" {out / "documents.jsonl"}')
    return 0


def say(text: str) -> None:
    """Write a line to stderr."""
    sys.stderr.write(f"jrank demo: {text}\n")


def duration(seconds: float | int) -> str:
    """Return a time as people say it.

    Args:
      seconds: the time.

    >>> duration(42.4), duration(200)
    ('42 s', '3 min 20 s')
    """
    whole = round(seconds)
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60:02d} s"
