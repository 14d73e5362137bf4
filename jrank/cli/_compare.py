"""Compare runs on the same queries: values, differences, and whether these are more than chance. Needs no jax.

  jrank compare qrels.txt bm25.trec dense.trec fused.trec -m ndcg@10 --baseline bm25
  jrank compare qrels.txt old=runs/7.trec new=runs/8.trec --contrasts --test randomization

A run is called as its file is, or as name=file says. Without --baseline every pair is compared, and letters name the
runs that are beaten; with it, + and - mark what differs from the baseline. --contrasts shows the differences with their
intervals.
"""

import argparse
import sys

from jrank.cli._tables import TABLES, add_metric_options, metrics_of, read_judgments, read_runs, save_figure

# Differences are drawn for so many pairs at most.
PANELS = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("qrels", help="the judgments")
    parser.add_argument("runs", nargs="+", metavar="run", help="two runs or more, each a file or name=file")
    add_metric_options(parser)
    parser.add_argument("--baseline", metavar="NAME", help="the run that all others are compared with")
    parser.add_argument(
        "--test", choices=("t", "randomization", "wilcoxon", "sign"), default="t", help="paired test (default: t)"
    )
    parser.add_argument(
        "--correction",
        choices=("holm", "bh", "bonferroni", "none"),
        default="holm",
        help="for the number of pairs (default: holm)",
    )
    parser.add_argument(
        "--level", type=float, default=0.05, metavar="P", help="what counts as significant (default: 0.05)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of randomization and intervals (default: 0)")
    parser.add_argument("--contrasts", action="store_true", help="one line per pair and metric")
    parser.add_argument("--plot", metavar="FILE", help="also draw curves and per-query differences (.png …)")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from jrank.evaluation import compare

    qrels, runs = read_judgments(args.qrels, metrics_of(args)), read_runs(args.runs)
    comparison = compare(
        qrels,
        runs,
        metrics_of(args),
        baseline=args.baseline,
        test=args.test,
        correction=None if args.correction == "none" else args.correction,
        level=args.level,
        seed=args.seed,
        queries=args.queries,
        judged_only=args.judged_only,
        depth=args.depth,
    )
    if args.format == "json":
        print(comparison.to_json())
    else:
        table = comparison.to_contrasts_table if args.contrasts else comparison.to_table
        print(table(TABLES[args.format], digits=args.digits))
    if args.format in ("tsv", "latex"):
        sys.stderr.write(comparison.caption + "\n")
    missing = {name: report.counts["missing"] for name, report in comparison.reports.items()}
    for name, count in missing.items():
        if count:
            sys.stderr.write(f"{name} lacks {count} of the judged queries: each counts 0\n")
    if args.plot:
        save_figure(_figure(getattr(qrels, "merged", qrels), runs, comparison), args.plot)
    return 0


def _figure(qrels, runs, comparison):
    from jrank import plot
    from jrank.errors import require

    metric = comparison.metrics[0]
    pairs = [(c.run, c.other) for c in comparison.contrasts if c.metric == metric][:PANELS]
    rows = 1 + (len(pairs) + 1) // 2
    figure = require("matplotlib.figure", "plot").Figure(figsize=(11, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).ravel().tolist()
    plot.precision_recall(qrels, runs, ax=axes[0])
    plot.quality_depth(qrels, runs, ax=axes[1])
    for (first, second), ax in zip(pairs, axes[2:], strict=False):
        values = [comparison[name].per_query[metric] for name in (first, second)]
        plot.query_differences(*values, names=(first, second), metric=metric, ax=ax)
    for ax in axes[2 + len(pairs) :]:
        ax.remove()
    return figure
