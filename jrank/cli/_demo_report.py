"""What the demo leaves behind: report.html with its plots, results.json, the runs and the documents."""

import dataclasses
import html
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jrank import plot
from jrank.data import Collection
from jrank.errors import require
from jrank.evaluation import Comparison
from jrank.files import atomic_write, write_json
from jrank.runs import Qrels, Run
from jrank.training import History


@dataclasses.dataclass
class Stage:
    """One row of the table.

    Attributes:
      name: what the row says.
      run: the ranked documents of the test queries.
      milliseconds: per test query, all queries in one batch, everything that the stage needs before it included.
      note: what the stage does.
    """

    name: str
    run: Run
    milliseconds: float
    note: str


@dataclasses.dataclass
class Results:
    """All that the stages found out.

    Attributes:
      stages: the rows, in the order of the road.
      report: the comparison of all stages with the first, as ``compare`` returns it.
      metrics: the metrics of the table.
      facts: name -> value, for the list under the table and for results.json.
      history: steps, losses, and validation metric of the cross-encoder.
      ranker_history: the same of the learned ranker.
      heat: similarities, query tokens and document tokens of one example.
      example_query: a test query that ``jrank rerank`` can be tried with.
      sweep: scores whose soft ranks are drawn against the temperature.
      seconds: how long it all took.
    """

    stages: list[Stage]
    report: Comparison
    metrics: list[str]
    facts: dict[str, str]
    history: History
    ranker_history: History
    heat: tuple[np.ndarray, list[str], list[str]]
    example_query: str
    sweep: np.ndarray
    seconds: float = 0.0

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as plain values: the stage, each metric, the p-value against the first stage, the time."""
        rows = []
        first = self.stages[0].name
        for stage in self.stages:
            row: dict[str, Any] = {"stage": stage.name}
            for metric in self.metrics:
                row[metric] = self.report[stage.name][metric]
            row["p"] = None if stage.name == first else self.report.contrast(self.metrics[0], stage.name).corrected
            row["milliseconds"] = stage.milliseconds
            rows.append(row)
        return rows

    def table(self) -> str:
        """Return the table as text."""
        width = max(len(stage.name) for stage in self.stages)
        head = (
            f"{'stage':<{width}}" + "".join(f"{m:>13}" for m in self.metrics) + f"{'p vs ' + self.stages[0].name:>12}"
        )
        lines = [head + f"{'ms/query':>11}", "-" * (len(head) + 11)]
        for row in self.rows():
            p = "" if row["p"] is None else f"{row['p']:.1e}" if row["p"] < 0.001 else f"{row['p']:.3f}"
            values = "".join(f"{row[m]:>13.4f}" for m in self.metrics)
            lines.append(f"{row['stage']:<{width}}{values}{p:>12}{row['milliseconds']:>11.2f}")
        lines.append("")
        lines += [f"{name}: {value}" for name, value in self.facts.items()]
        return "\n".join(lines)


def write_report(out: Path, results: Results, collection: Collection) -> None:
    """Write report.html, results.json, and the runs and grades of the test queries in TREC format.

    Args:
      out: the directory.
      results: what was found out.
      collection: the collection.
    """
    write_json(
        out / "results.json",
        {"collection": collection.name, "stages": results.rows(), "facts": results.facts, "seconds": results.seconds},
    )
    Qrels({query: collection.qrels[query] for query in collection.splits["test"]}).write(out / "qrels.trec")
    (out / "runs").mkdir(exist_ok=True)
    for stage in results.stages:
        stage.run.write(out / "runs" / f"{stage.name.replace(' + ', '_').replace(' ', '_')}.trec")
    with atomic_write(out / "report.html") as file:
        file.write(page(results, collection))


def page(results: Results, collection: Collection) -> str:
    """Return the whole report as one HTML page without anything from outside.

    Args:
      results: what was found out.
      collection: the collection.
    """
    figures = "\n".join(
        f"<figure><h2>{html.escape(title)}</h2>{svg}<figcaption>{html.escape(text)}</figcaption></figure>"
        for title, svg, text in _figures(results)
    )
    return PAGE.format(
        title=html.escape(f"jrank on {collection.name}"),
        lead=html.escape(
            f"{len(collection.documents)} documents, {len(collection.splits['test'])} held-out queries. p-values: "
            f"paired {results.report.test} test on {label(results.metrics[0])} against {results.stages[0].name}, "
            f"{results.report.correction} correction."
        ),
        table=_table(results),
        stages=_definitions((stage.name, stage.note) for stage in results.stages),
        figures=figures,
        facts=_definitions(results.facts.items()),
    )


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }}
h1 {{ font-size: 1.6rem; margin-bottom: 0.2rem; }}
h2 {{ font-size: 1.1rem; margin: 0 0 0.5rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.35rem 0.6rem; text-align: right; border-bottom: 1px solid #e3e3e3; }}
th:first-child, td:first-child {{ text-align: left; }}
td.best {{ font-weight: 700; }}
figure {{ margin: 2.5rem 0; }}
figure svg {{ max-width: 100%; height: auto; }}
figcaption, .lead {{ color: #555; font-size: 0.92rem; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; }}
dt {{ font-weight: 600; }}
dd {{ margin: 0; }}
.scroll {{ overflow-x: auto; }}
</style>
<h1>{title}</h1>
<p class="lead">{lead}</p>
<div class="scroll">{table}</div>
<figure><h2>The stages</h2><dl>{stages}</dl></figure>
{figures}
<h2>How it was made</h2>
<dl>{facts}</dl>
</html>
"""


def _figures(results: Results) -> list[tuple[str, str, str]]:
    """Return title, drawing and caption of each figure."""
    metric = results.metrics[0]
    points = {row["stage"]: (row["milliseconds"], row[metric]) for row in results.rows()}
    return [
        (
            "Quality against latency",
            _svg(lambda ax: plot.quality_latency(points, metric=label(metric), ax=ax)),
            "Each stage on the held-out queries; the grey line joins those that no other stage beats in both. "
            "Latency is per query with all test queries in one batch, on the machine that made this page.",
        ),
        (
            "Training the cross-encoder",
            _svg(lambda ax: _curve(results.history, ax)),
            "Softmax loss over a relevant document and its mined negatives. Pale: each step; strong: running mean; "
            "dots: the validation queries.",
        ),
        (
            "Training the feature ranker",
            _svg(lambda ax: _curve(results.ranker_history, ax)),
            "ApproxNDCG over the candidates of each query, stopped early on the validation queries.",
        ),
        (
            "Soft ranks against temperature",
            _svg(lambda ax: plot.temperature_sweep(results.sweep, ax=ax)),
            "jrank.soft.rank of the eight best BM25 scores of one query: the hard ranks on the left, their common mean "
            "on the right, and a gradient in between.",
        ),
        (
            "One MaxSim alignment",
            _svg(lambda ax: plot.alignment(*results.heat, ax=ax), size=_heat_size(results.heat)),
            "Similarity of each query token with each token of the best document; the dots mark the maxima that the "
            "score sums.",
        ),
    ]


def _curve(history: History, ax: Any) -> None:
    validations = history.validations()
    plot.training_curve(
        history.step,
        history.loss,
        metric_steps=[step for step, _ in validations],
        metric_values=[value for _, value in validations],
        ax=ax,
    )


def _definitions(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in pairs)


def label(metric: str) -> str:
    """Return a metric as it is written in text.

    Args:
      metric: such as "ndcg@10".

    >>> label("ndcg@10"), label("recall@100")
    ('NDCG@10', 'Recall@100')
    """
    name, _, cut = metric.partition("@")
    shown = name.upper() if name in ("ndcg", "mrr", "map") else name.capitalize()
    return f"{shown}@{cut}" if cut else shown


def _table(results: Results) -> str:
    rows = results.rows()
    best = {m: max(row[m] for row in rows) for m in results.metrics}
    head = "".join(f"<th>{html.escape(label(m))}</th>" for m in results.metrics)
    lines = []
    for row in rows:
        cells = "".join(f"<td{' class=best' if row[m] == best[m] else ''}>{row[m]:.4f}</td>" for m in results.metrics)
        p = "–" if row["p"] is None else f"{row['p']:.1e}" if row["p"] < 0.001 else f"{row['p']:.3f}"
        lines.append(
            f"<tr><td>{html.escape(row['stage'])}</td>{cells}<td>{p}</td><td>{row['milliseconds']:.2f}</td></tr>"
        )
    first = html.escape(results.stages[0].name)
    return (
        f"<table><thead><tr><th>Stage</th>{head}<th>p vs {first}</th><th>ms per query</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _heat_size(heat: tuple[np.ndarray, list[str], list[str]]) -> tuple[float, float]:
    q, t = heat[0].shape
    return max(5.0, 0.22 * t + 2.0), 0.26 * q + 1.8


def _svg(draw, size: tuple[float, float] = (7.2, 4.0)) -> str:
    """Draw on a fresh figure and return it as SVG that can stand inside HTML."""
    mpl, figures = require("matplotlib", "plot"), require("matplotlib.figure", "plot")

    # Fixed ids and no date: the same numbers give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "jrank", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = figures.Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def write_documents(path: Path, collection: Collection, doc_ids: list[str]) -> None:
    """Write documents as the JSON lines that ``jrank rerank`` reads.

    Args:
      path: the file.
      collection: the collection.
      doc_ids: which documents.
    """
    texts = dict(zip(collection.doc_ids, collection.documents, strict=True))
    with atomic_write(path) as file:
        for doc in doc_ids:
            file.write(json.dumps({"_id": doc, "text": texts[doc]}, ensure_ascii=False) + "\n")
