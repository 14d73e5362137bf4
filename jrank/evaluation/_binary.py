"""Metrics that ask only whether a document is relevant."""

import numpy as np

from jrank.evaluation._judged import Judged

__all__ = [
    "average_precision",
    "f_measure",
    "hits",
    "interpolated_precision",
    "precision",
    "r_precision",
    "recall",
    "reciprocal_rank",
    "relative_precision",
    "set_average_precision",
    "success",
    "utility",
    "yaap",
]


def divide(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """Return a / b, and 0 where b is 0.

    Args:
      a: numerators.
      b: denominators.
    """
    b = np.broadcast_to(np.asarray(b, np.float64), np.shape(a))
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=b != 0)


def hits(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Count the relevant documents among the first k."""
    return judged.num_rel_ret(rel, k).astype(np.float64)


def precision(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Relevant documents among the first k, divided by k; without k, by the number retrieved."""
    return divide(judged.num_rel_ret(rel, k), judged.num_ret if k is None else k)


def recall(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Relevant documents among the first k, divided by the number of relevant ones."""
    return divide(judged.num_rel_ret(rel, k), judged.num_rel(rel))


def f_measure(judged: Judged, k: int | None, *, rel: float | int = 1, beta: float | int = 1) -> np.ndarray:
    """Weighted harmonic mean of precision and recall; beta > 1 favours recall."""
    p, r, x = precision(judged, k, rel=rel), recall(judged, k, rel=rel), float(beta) ** 2
    return divide((x + 1) * p * r, r + x * p)


def success(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Return 1 if a relevant document is among the first k, else 0."""
    return (judged.num_rel_ret(rel, k) > 0).astype(np.float64)


def relative_precision(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Precision divided by the best precision that is possible at this cut-off."""
    best = np.minimum(judged.num_ret if k is None else k, judged.num_rel(rel))
    return divide(judged.num_rel_ret(rel, k), best)


def reciprocal_rank(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """One over the rank of the first relevant document, 0 if there is none among the first k."""
    query, rank = judged.relevant(rel, k)
    values = np.zeros(judged.size)
    first = judged.place_in_query(query) == 0
    values[query[first]] = 1 / rank[first]
    return values


def average_precision(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Mean over all relevant documents of the precision at their rank, 0 for those not among the first k."""
    query, rank = judged.relevant(rel, k)
    found = judged.place_in_query(query) + 1
    return divide(judged.sum(query, found / rank), judged.num_rel(rel))


def yaap(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Average precision as log odds, log((1 + s) / (1 + R - s)), s being R times average precision."""
    query, rank = judged.relevant(rel)
    total = judged.sum(query, (judged.place_in_query(query) + 1) / rank)
    return np.log((1 + total) / (1 + judged.num_rel(rel) - total))


def set_average_precision(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Precision times recall of the documents retrieved, as a set."""
    return precision(judged, k, rel=rel) * recall(judged, k, rel=rel)


def r_precision(judged: Judged, k: int | None, *, rel: float | int = 1, x: float | int = 1) -> np.ndarray:
    """Precision at x times the number of relevant documents."""
    # Rounded up unless a multiple falls within a tenth above a whole number, as trec_eval does.
    cut = np.floor(x * judged.num_rel(rel) + 0.9)
    query, rank = judged.relevant(rel)
    return divide(judged.count(query[rank <= cut[query]]), cut)


def interpolated_precision(
    judged: Judged, k: int | None, *, recall: float | int | None = None, rel: float | int = 1
) -> np.ndarray:
    """Highest precision at any rank where recall is at least this; without a recall, mean over 0, 0.1, ..., 1."""
    if recall is None:
        return np.mean([interpolated_precision(judged, k, recall=i / 10, rel=rel) for i in range(11)], axis=0)
    query, rank = judged.relevant(rel)
    found = judged.place_in_query(query) + 1
    # Half a document rounds up, as since trec_eval 10; 0.3 * 35 is a little less than 10.5 in float64, there as here.
    needed = np.floor(recall * judged.num_rel(rel) + 0.5)
    enough = found >= needed[query]
    values = np.zeros(judged.size)
    np.maximum.at(values, query[enough], (found / rank)[enough])
    return values


def utility(
    judged: Judged,
    k: int | None,
    *,
    a: float | int = 1,
    b: float | int = -1,
    c: float | int = 0,
    d: float | int = 0,
    rel: float | int = 1,
) -> np.ndarray:
    """Weigh relevant retrieved (a), other retrieved (b), relevant missed (c) and judged non-relevant missed (d)."""
    good, all_good = judged.num_rel_ret(rel), judged.num_rel(rel)
    bad = judged.count(judged.query[(judged.grade >= 0) & (judged.grade < rel)])
    all_bad = judged.count(judged.all_query[(judged.all_grade >= 0) & (judged.all_grade < rel)])
    total = a * good + b * (judged.num_ret - good) + c * (all_good - good) + d * (all_bad - bad)
    return total.astype(np.float64)
