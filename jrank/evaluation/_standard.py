"""Values of queries in standard deviations from what other runs reach there."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jrank.errors import EvalError
from jrank.evaluation._evaluate import Report
from jrank.runs._formats import read_file
from jrank.runs._groups import read_rows
from jrank.runs._lines import parse_number

__all__ = ["read_reference", "standardize"]


def read_reference(path: str | os.PathLike) -> dict[str, dict[str, tuple[float, float]]]:
    """Read means and deviations, a line ``query metric mean deviation`` each (trec_eval -Z).

    Args:
      path: the file.

    Returns:
      ``{query id: {metric: (mean, deviation)}}``.

    Raises:
      DataError: the file cannot be read or holds something else; the message names the line.
    """
    reference: dict[str, dict[str, tuple[float, float]]] = {}
    for (query, metric, mean), deviation, place in read_rows(read_file(path), path, "query metric mean deviation"):
        reference.setdefault(query, {})[metric] = (parse_number(mean, place, "mean"), deviation)
    return reference


def standardize(
    report: Report, reference: Sequence[Report] | Mapping[str, Mapping[str, tuple[float, float]]]
) -> Report:
    r"""Express each query's value in standard deviations from the mean of reference runs, so that queries weigh alike.

    .. math:: z_q = (v_q - \mu_q) / \sigma_q

    Args:
      report: what ``evaluate`` returned.
      reference: reports of at least two runs on the same queries; or means and deviations,
        ``{query id: {metric: (mean, deviation)}}``, as ``read_reference`` returns.

    Returns:
      A report with the same metrics. A value is 0 where it equals the mean of a reference without deviation, and NaN
      where it differs from that or the reference lacks query or metric. Counts are summed, all else is averaged.

    Raises:
      EvalError: there are fewer than two reports, or one of them lacks a query or metric.

    References: Webber, Moffat and Zobel 2008, "Score standardization for inter-collection comparison of retrieval
    systems".

    >>> from jrank.evaluation import evaluate
    >>> qrels = {"q1": {"d1": 1}, "q2": {"d1": 1}}
    >>> good = {"q1": {"d1": 2.0, "d2": 1.0}, "q2": {"d1": 2.0, "d2": 1.0}}
    >>> poor = {"q1": {"d1": 1.0, "d2": 2.0}, "q2": {"d1": 2.0, "d2": 1.0}}
    >>> reports = [evaluate(qrels, run, "mrr") for run in (good, poor)]
    >>> {query: round(z, 3) for query, z in standardize(reports[0], reports).per_query["mrr"].items()}
    {'q1': 0.707, 'q2': 0.0}
    """
    if not isinstance(reference, Mapping):
        reference = _moments(list(reference), report)
    values = []
    for measure in report.measures:
        found = report.values_by_metric[measure.text]
        pairs = [reference.get(query, {}).get(measure.text, (np.nan, np.nan)) for query in report.queries]
        mean, deviation = np.array(pairs, np.float64).reshape(-1, 2).T
        safe = np.where(deviation > 0, deviation, 1.0)
        values.append(np.where(deviation > 0, (found - mean) / safe, np.where(found == mean, 0.0, np.nan)))
    return Report(report.name, report.queries, report.measures, values, report.counts)


def _moments(reports: list[Any], report: Report) -> dict[str, dict[str, tuple[float, float]]]:
    if len(reports) < 2:
        raise EvalError(
            f"the reference is {len(reports)} report, expected at least two",
            reason="invalid_parameter",
            hint="a deviation needs several runs",
        )
    result: dict[str, dict[str, tuple[float, float]]] = {query: {} for query in report.queries}
    for other in reports:
        if set(report.queries) - set(other.queries) or set(report) - set(other):
            raise EvalError(
                "a reference report lacks a query or a metric",
                reason="length_mismatch",
                hint="evaluate all runs on the same judgments with the same metrics",
            )
    for metric in report:
        table = np.array([[other.per_query[metric][query] for query in report.queries] for other in reports])
        for query, mean, deviation in zip(report.queries, table.mean(0), table.std(0, ddof=1), strict=True):
            result[query][metric] = (float(mean), float(deviation))
    return result
