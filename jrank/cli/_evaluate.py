"""Measure a run against relevance judgments, with the values of trec_eval 10. Needs no jax.

  jrank evaluate qrels.txt run.trec -m ndcg@10 -m map
  jrank evaluate qrels.tsv run.json.gz --per-query --format tsv

Files are TREC, BEIR (.tsv), .csv, .json or .parquet, each with .gz or without; - is standard input. The mean goes over
all queries of the judgments; a line below the table says over how many. --list names all metrics. For those of
subtopics (alpha-ndcg@10) and judges a line of the judgments is "query group document grade", for those of preferences
"query judge order document level".
"""

import argparse
import sys

from jrank.cli._tables import TABLES, add_metric_options, metrics_of, read_judgments, read_table, save_figure


class _List(argparse.Action):
    """Print the names of the metrics and leave."""

    def __call__(self, parser, *_):
        from jrank.evaluation import list_metrics

        print("\n".join(list_metrics()))
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("qrels", help="the judgments")
    parser.add_argument("run", help="the run")
    add_metric_options(parser)
    parser.add_argument("--per-query", action="store_true", help="one line per query, the mean last")
    parser.add_argument("--plot", metavar="FILE", help="also draw precision-recall and quality against depth (.png …)")
    parser.add_argument("--list", action=_List, nargs=0, help="print the names of all metrics")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print."""
    from jrank.evaluation import evaluate
    from jrank.runs import Run

    qrels, found = read_judgments(args.qrels, metrics_of(args)), read_table(Run, args.run)
    report = evaluate(
        qrels, found, metrics_of(args), queries=args.queries, judged_only=args.judged_only, depth=args.depth
    )
    if args.format == "json":
        print(report.to_json())
    else:
        table = report.to_query_table if args.per_query else report.to_table
        print(table(TABLES[args.format], digits=args.digits))
    if args.format in ("tsv", "latex"):
        sys.stderr.write(report.caption + "\n")
    if args.plot:
        save_figure(_figure(getattr(qrels, "merged", qrels), found), args.plot)
    return 0


def _figure(qrels, found):
    from jrank import plot
    from jrank.errors import require

    figure = require("matplotlib.figure", "plot").Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    runs = {found.name or "run": found}
    plot.precision_recall(qrels, runs, ax=left)
    plot.quality_depth(qrels, runs, ax=right)
    return figure
