"""What the commands on runs share: reading tables, reading options, printing reports."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jrank.errors import DataError

if TYPE_CHECKING:
    from jrank.runs import GroupedQrels, Preferences, Qrels, Run

T = TypeVar("T")
MAX_BYTES = 4 << 30

# What people call a format -> what the reports call it.
TABLES = {
    "table": "text",
    "markdown": "markdown",
    "latex": "latex",
    "html": "html",
    "tsv": "tsv",
    "json": "json",
}
METRICS = ["ndcg@10", "map", "mrr", "precision@10", "recall@100"]


def positive(text: str) -> int:
    """Read an option that is an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def add_metric_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``evaluate`` and ``compare`` have in common."""
    parser.add_argument(
        "-m",
        "--metric",
        action="append",
        metavar="NAME",
        help=f"such as ndcg@10, map, mrr@10, 'rbp(p=0.8)'; may be given again (default: {' '.join(METRICS)})",
    )
    parser.add_argument(
        "--queries",
        choices=("qrels", "intersection"),
        default="qrels",
        help="qrels counts a query that the run lacks as 0 (default); intersection leaves it out",
    )
    parser.add_argument("--judged-only", action="store_true", help="remove documents without a judgment first")
    parser.add_argument("--depth", type=positive, metavar="N", help="most documents per query that count")
    parser.add_argument("--format", choices=tuple(TABLES), default="table", help="default: table")
    parser.add_argument("--digits", type=int, choices=range(1, 11), default=4, metavar="N", help="after the point")


def metrics_of(args: argparse.Namespace) -> list[str]:
    """Return the metrics that were asked for; without any, the usual ones."""
    return args.metric or METRICS


def read_table(kind: type[T], source: str) -> T:
    """Read a run or judgments.

    Args:
      kind: ``Run``, ``Qrels`` or judgments in groups.
      source: a file in any format that ``kind.read`` knows, or "-" for standard input.
    """
    table: Any = kind  # all kinds have these two methods
    if source != "-":
        return table.read(source)
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"stdin holds more than {MAX_BYTES} bytes", reason="too_large")
    return table.parse(data, name="stdin")


def read_judgments(source: str, metrics: list[str]) -> "Qrels | GroupedQrels | Preferences":
    """Read judgments of the kind that the metrics are about.

    Args:
      source: a file, or "-" for standard input.
      metrics: what will be computed. Metrics of subtopics and judges take lines "query group document grade", those of
        preferences lines "query judge order document level".
    """
    from jrank.evaluation import parse_metric
    from jrank.runs import GroupedQrels, Preferences, Qrels

    kinds = {"subtopics": GroupedQrels, "judges": GroupedQrels, "preferences": Preferences}
    wanted = (kinds.get(parse_metric(metric).metric.groups) for metric in metrics)
    kind: type[Any] = next((kind for kind in wanted if kind is not None), Qrels)
    return read_table(kind, source)


def read_runs(sources: list[str]) -> "dict[str, Run]":
    """Read runs and name them.

    Args:
      sources: files, or ``name=file``. Without a name a run is called as its file is, without endings.

    Returns:
      Name to run, in the order given.

    Raises:
      DataError: a file cannot be read, or a name comes twice.
    """
    from jrank.runs import Run

    runs: dict[str, Run] = {}
    for source in sources:
        name, equals, path = source.partition("=")
        if not equals or Path(source).exists():
            name, path = _stem(source), source
        if name in runs:
            raise DataError(
                f"two runs are called {name!r}", reason="duplicate", hint=f"write {name}-2={path} to name one of them"
            )
        runs[name] = read_table(Run, path)
        runs[name].name = name
    return runs


def _stem(source: str) -> str:
    if source == "-":
        return "stdin"
    name = Path(source).name.removesuffix(".gz")
    for ending in (".trec", ".txt", ".run", ".tsv", ".csv", ".json", ".parquet"):
        name = name.removesuffix(ending)
    return name or source


def save_figure(figure: Any, path: str) -> None:
    """Write a figure, whole or not at all.

    Args:
      figure: of matplotlib.
      path: the file; its ending is the format.

    Raises:
      DataError: the ending is no format that matplotlib writes, or the file cannot be written.
    """
    from jrank.files import atomic_write

    known = figure.canvas.get_supported_filetypes()
    ending = Path(path).suffix.lstrip(".").lower()
    if ending not in known:
        raise DataError(
            f"{path}: a picture cannot end in {Path(path).suffix or 'nothing'}",
            reason="invalid_value",
            hint="name it .png, .svg or .pdf",
        )
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format=ending, dpi=150)


def write_run(run: "Run", out: str | None, form: str | None) -> None:
    """Write a run to a file, or to standard output.

    Args:
      run: the run.
      out: the file; None or "-" is standard output.
      form: the format; None goes by the ending of the file, and is TREC for standard output.
    """
    if out in (None, "-"):
        sys.stdout.write(run.to_text(form or "trec"))
    else:
        run.write(out, format=form)
        sys.stderr.write(f"{out}: {len(run)} queries\n")
