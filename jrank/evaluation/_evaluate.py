"""Evaluate one run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from jrank.errors import EvalError
from jrank.evaluation._judged import Judged
from jrank.evaluation._metrics import Measure, parse_metric
from jrank.evaluation._tables import render
from jrank.runs import GroupedQrels, Preferences, Qrels, Run
from jrank.runs._table import counted

__all__ = ["Report", "as_qrels", "as_run", "evaluate"]


class Report(Mapping[str, float]):
    """The values of metrics: over all queries, and for each.

    ``report["ndcg@10"]`` is the value over all queries, under the name that was asked for.

    Attributes:
      name: what the run is called.
      queries: the evaluated queries.
      measures: the metrics, as ``parse_metric`` reads them.
      values_by_metric: metric -> one value per query, in that order.
      counts: over how many queries the mean goes ("queries"), how many of them the run lacks ("missing"), how many have
        no relevant document ("no_relevant"), and how many queries of the run were left out for want of judgments
        ("ignored").
    """

    def __init__(
        self,
        name: str,
        queries: tuple[str, ...],
        measures: list[Measure],
        values: list[np.ndarray],
        counts: dict[str, int],
    ):
        self.name = name
        self.queries = queries
        self.measures = measures
        self.counts = counts
        self.values_by_metric = {m.text: v for m, v in zip(measures, values, strict=True)}
        self._means = {m.text: m.mean(v) for m, v in zip(measures, values, strict=True)}

    def __getitem__(self, metric: str) -> float:
        if metric not in self._means:
            raise EvalError(
                f"the report holds no metric {metric!r}",
                reason="unknown_metric",
                hint=f"it holds: {', '.join(self._means)}",
            )
        return self._means[metric]

    def __contains__(self, metric: object) -> bool:
        return metric in self._means

    def __iter__(self) -> Iterator[str]:
        return iter(self._means)

    def __len__(self) -> int:
        return len(self._means)

    @cached_property
    def per_query(self) -> dict[str, dict[str, float]]:
        """The value of each query, ``{metric: {query id: value}}``."""
        return {
            metric: dict(zip(self.queries, values.tolist(), strict=True))
            for metric, values in self.values_by_metric.items()
        }

    @property
    def caption(self) -> str:
        """Over how many queries the values go, in words."""
        counts = self.counts
        text = counted(counts["queries"], "query", "queries")
        parts = [
            f"{counts[key]} {words}"
            for key, words in (
                ("missing", "not in the run (value 0)"),
                ("no_relevant", "without a relevant document"),
                ("ignored", "of the run without judgments, left out"),
            )
            if counts[key]
        ]
        return text + "".join(f"; {part}" for part in parts)

    def to_table(self, format: str = "text", *, digits: int = 4) -> str:
        """Return a table with one line per metric.

        Args:
          format: "text", "markdown", "latex", "html" or "tsv".
          digits: digits after the point.

        Raises:
          EvalError: the format is unknown.
        """
        rows = [["metric", self.name or "value"]] + [[m, f"{v:.{digits}f}"] for m, v in self._means.items()]
        return render(rows, format, caption=self.caption)

    def to_query_table(self, format: str = "text", *, digits: int = 4) -> str:
        """Return a table with one line per query and one column per metric, the values over all queries last.

        Args:
          format: "text", "markdown", "latex", "html" or "tsv".
          digits: digits after the point.

        Raises:
          EvalError: the format is unknown.
        """
        rows = [["query", *self._means]]
        for i, query in enumerate(self.queries):
            rows.append([query, *(f"{values[i]:.{digits}f}" for values in self.values_by_metric.values())])
        rows.append(["all", *(f"{value:.{digits}f}" for value in self._means.values())])
        return render(rows, format, caption=self.caption)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values."""
        return {
            "name": self.name,
            "metrics": dict(self._means),
            "counts": dict(self.counts),
            "per_query": self.per_query,
        }

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1)

    def __str__(self) -> str:
        return self.to_table()

    def __repr__(self) -> str:
        values = ", ".join(f"{metric}={value:.4f}" for metric, value in self._means.items())
        return f"Report({values}; {self.caption})"


def as_qrels(qrels: Any) -> Qrels:
    """Return judgments as Qrels.

    Args:
      qrels: Qrels, a mapping of mappings, or judgments in groups, which are merged.

    Raises:
      EvalError: there are no judgments.
    """
    if isinstance(qrels, (GroupedQrels, Preferences)):
        qrels = qrels.merged
    qrels = qrels if isinstance(qrels, Qrels) else Qrels(qrels)
    if not len(qrels):
        raise EvalError("the qrels hold no query", reason="empty_input", hint="check the file they were read from")
    return qrels


def as_run(run: Any) -> Run:
    """Return a run as Run.

    Args:
      run: a Run, or a mapping of mappings.

    Raises:
      EvalError: there is no query.
    """
    run = run if isinstance(run, Run) else Run(run)
    if not len(run):
        raise EvalError("the run holds no query", reason="empty_input", hint="check the file it was read from")
    return run


def evaluate(
    qrels: Qrels | GroupedQrels | Preferences | Mapping[str, Mapping[str, Any]],
    run: Run | Mapping[str, Mapping[str, Any]],
    metrics: str | Sequence[str],
    *,
    queries: str = "qrels",
    judged_only: bool = False,
    depth: int | None = None,
) -> Report:
    """Compute retrieval metrics, with the values of trec_eval 10.

    Documents are ranked by score, larger first, and equal scores by document id in bytes, larger first. A document
    without a judgment is not relevant. See ``list_metrics`` for the names.

    Args:
      qrels: the judgments, or a mapping ``{query id: {document id: grade}}``; ``GroupedQrels`` for metrics of diversity
        and averages over judges, ``Preferences`` for those of preferences. Other metrics take the largest grade.
      run: the run, or a mapping ``{query id: {document id: score}}``.
      metrics: names such as "ndcg@10", "map", "mrr@10", "recall@100", "rprec", "bpref", "map(rel=2)", "rbp(p=0.8)".
      queries: "qrels" goes over all queries that have judgments and counts one that the run lacks as an empty list
        (trec_eval -c); "intersection" leaves it out (trec_eval's default). Queries without judgments never count.
      judged_only: whether documents without a judgment are removed from the rankings first (trec_eval -J).
      depth: most documents per query that count (trec_eval -M), or None for all.

    Returns:
      The report: ``report["ndcg@10"]``, ``report.per_query``, ``report.counts``.

    Raises:
      EvalError: a metric is unknown, an option wrong, there is nothing to evaluate, or run and qrels have no query in
        common.

    Numerics: float64. A query without relevant documents has the value 0 and counts in the mean.
    Cost: O(n log n) in the length of the rankings the first time a run is evaluated, then in the judgments.

    >>> qrels = {"q1": {"d1": 1, "d2": 0}, "q2": {"d3": 2}}
    >>> report = evaluate(qrels, {"q1": {"d2": 2.0, "d1": 1.0}}, ["mrr", "ndcg@10"])
    >>> report["mrr"], report.per_query["mrr"], report.counts["missing"]
    (0.25, {'q1': 0.5, 'q2': 0.0}, 1)
    """
    source = qrels if isinstance(qrels, (GroupedQrels, Preferences)) else None
    qrels, run = as_qrels(qrels), as_run(run)
    measures = _measures(metrics)
    _check_groups(measures, source)
    if queries not in ("qrels", "intersection"):
        raise EvalError(f"queries is {queries!r}", reason="invalid_parameter", hint='use "qrels" or "intersection"')
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise EvalError(f"depth is {depth!r}, expected an integer of at least 1", reason="invalid_parameter")
    names = qrels.interned.queries
    row_of = dict(zip(run.interned.queries, range(len(run)), strict=True))
    run_rows = np.fromiter((row_of.get(query, -1) for query in names), np.int64, len(names))
    common = int(np.sum(run_rows >= 0))
    if not common:
        raise EvalError(
            "the run and the qrels have no query in common, "
            f"for example {next(iter(run))!r} in the run and {names[0]!r} in the qrels",
            reason="empty_input",
            hint="check how the ids are written",
        )
    rows = np.arange(len(names)) if queries == "qrels" else np.flatnonzero(run_rows >= 0)
    judged = Judged.join(qrels, run, rows, run_rows[rows], judged_only=judged_only, depth=depth, source=source)
    values = [measure.values(judged) for measure in measures]
    counts = {
        "queries": len(rows),
        "missing": int(np.sum(run_rows[rows] < 0)),
        "no_relevant": int(np.sum(judged.num_rel(1) == 0)),
        "ignored": len(run) - common,
    }
    evaluated = names if len(rows) == len(names) else tuple(names[row] for row in rows.tolist())
    return Report(run.name, evaluated, measures, values, counts)


def _measures(metrics: str | Sequence[str]) -> list[Measure]:
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    if not names:
        raise EvalError("no metric was named", reason="invalid_parameter", hint='for example ["ndcg@10", "map"]')
    return [parse_metric(name) for name in dict.fromkeys(names)]


_WANTED = {
    "subtopics": (GroupedQrels, "judgments by subtopic", "GroupedQrels.read(path): query subtopic document grade"),
    "judges": (GroupedQrels, "judgments by judge", "GroupedQrels.read(path): query judge document grade"),
    "preferences": (Preferences, "Preferences", "Preferences.read(path), or Preferences.from_qrels(qrels)"),
}


def _check_groups(measures: list[Measure], source: GroupedQrels | Preferences | None) -> None:
    """Refuse metrics that the judgments are of the wrong kind for."""
    for measure in measures:
        kind, words, hint = _WANTED.get(measure.metric.groups, (None, "", ""))
        if kind is not None and not isinstance(source, kind):
            got = "plain judgments" if source is None else type(source).__name__
            raise EvalError(
                f"metric {measure.text!r} needs {words}, got {got}", reason="invalid_parameter", hint=f"use {hint}"
            )
