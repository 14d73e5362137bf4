"""Metrics that use grades."""

import numpy as np

from jrank.errors import EvalError
from jrank.evaluation._binary import divide
from jrank.evaluation._judged import Judged

__all__ = ["dcg", "err", "gain_average", "graded_precision", "ndcg", "ndcg_at_levels", "ndcg_at_relevant", "rbp"]

GAINS = {"linear": lambda grade: grade, "exp": lambda grade: np.exp2(grade) - 1}


def _gains(name: str, grade: np.ndarray) -> np.ndarray:
    """Return gains; grades below 0 have none.

    Args:
      name: a key of ``GAINS``, or pairs such as "1:3 2:9", which leave other grades as they are.
      grade: the grades.
    """
    grade = np.maximum(grade, 0.0)
    if name in GAINS:
        if name == "exp" and grade.max(initial=0) > 1000:
            raise EvalError(
                f"2**grade overflows for the grade {grade.max():g}", reason="invalid_relevance", hint="use linear gains"
            )
        return GAINS[name](grade)
    try:
        pairs = [tuple(map(float, pair.split(":"))) for pair in name.split()]
        if not pairs or any(len(pair) != 2 or not np.isfinite(pair).all() for pair in pairs):
            raise ValueError
    except ValueError:
        raise EvalError(
            f"unknown gain {name!r}",
            reason="invalid_parameter",
            hint=f'known gains: {", ".join(sorted(GAINS))}, or pairs of grade and gain such as "1:3 2:9"',
        ) from None
    gain = grade.copy()
    for level, value in pairs:
        gain[grade == level] = value
    return gain


def dcg(judged: Judged, k: int | None, *, gain: str = "linear") -> np.ndarray:
    """Sum of gains, each divided by log2(rank + 1)."""
    keep = judged.grade >= 0
    if k is not None:
        keep &= judged.rank <= k
    query, rank = judged.query[keep], judged.rank[keep]
    return judged.sum(query, _gains(gain, judged.grade[keep]) / np.log2(rank + 1))


def _ideal_dcg(judged: Judged, k: int | None, gain: str) -> np.ndarray:
    query, rank, grade = judged.ideal
    if gain in GAINS:
        gains = _gains(gain, grade)
    else:
        # Gains need not grow with grades.
        judged_gain = _gains(gain, judged.all_grade) * (judged.all_grade >= 0)
        positive = np.flatnonzero(judged_gain > 0)
        order = positive[np.lexsort((-judged_gain[positive], judged.all_query[positive]))]
        query, gains = judged.all_query[order], judged_gain[order]
        rank = judged.place_in_query(query) + 1
    if k is not None:
        keep = rank <= k
        query, rank, gains = query[keep], rank[keep], gains[keep]
    return judged.sum(query, gains / np.log2(rank + 1))


def ndcg(judged: Judged, k: int | None, *, gain: str = "linear") -> np.ndarray:
    """DCG divided by that of the best possible order of all judged documents."""
    return divide(dcg(judged, k, gain=gain), _ideal_dcg(judged, k, gain))


def _lists(judged: Judged):
    """Yield, per query, ranks and gains of retrieved documents with a gain, and the ideal gains."""
    positive = judged.grade > 0
    query, rank, grade = judged.query[positive], judged.rank[positive], judged.grade[positive]
    ideal_query, _, ideal = judged.ideal
    found = np.cumsum(judged.count(query))[:-1]
    best = np.cumsum(judged.count(ideal_query))[:-1]
    yield from zip(np.split(rank, found), np.split(grade, found), np.split(ideal, best), strict=True)


def ndcg_at_relevant(judged: Judged, k: int | None) -> np.ndarray:
    """NDCG at the rank of each relevant document, averaged over all of them."""
    values = np.zeros(judged.size)
    for row, (rank, gain, ideal) in enumerate(_lists(judged)):
        if not len(ideal) or not len(rank):
            continue
        best = np.cumsum(ideal / np.log2(np.arange(len(ideal)) + 2))
        got = np.cumsum(gain / np.log2(rank + 1))
        at_hits = got / best[np.minimum(rank, len(ideal)) - 1]
        values[row] = (at_hits.sum() + (len(ideal) - len(rank)) * got[-1] / best[-1]) / len(ideal)
    return values


def ndcg_at_levels(judged: Judged, k: int | None) -> np.ndarray:
    """NDCG at the ranks where the ideal gain changes and at the end of the ranking, averaged."""
    values = np.zeros(judged.size)
    for row, (rank, gain, ideal) in enumerate(_lists(judged)):
        if not len(ideal):
            continue
        best = np.cumsum(ideal / np.log2(np.arange(len(ideal)) + 2))
        cuts = np.append(np.flatnonzero(np.diff(ideal)) + 1, len(ideal))
        reference = best[cuts - 1]
        if judged.num_ret[row] > len(ideal) + 1:
            cuts, reference = np.append(cuts, judged.num_ret[row]), np.append(reference, best[-1])
        got = np.array([np.sum((gain / np.log2(rank + 1))[rank <= cut]) for cut in cuts])
        values[row] = np.mean(got / reference)
    return values


def gain_average(judged: Judged, k: int | None) -> np.ndarray:
    """Buckley's G: gains discounted by how much gain a perfect ranking would have been ahead."""
    values = np.zeros(judged.size)
    for row, (rank, gain, ideal) in enumerate(_lists(judged)):
        if not len(ideal) or not len(rank):
            continue
        ahead = np.concatenate([[0.0], np.cumsum(np.maximum(ideal, 1))])
        # Behind the ideal list every rank costs 1.
        cost = ahead[np.minimum(rank, len(ideal))] + np.maximum(rank - len(ideal), 0)
        values[row] = np.sum(gain / np.log2(2 + cost - np.cumsum(gain))) / ideal.sum()
    return values


def graded_precision(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Buckley's binary G: relevant documents discounted by the number of others before them."""
    query, rank = judged.relevant(rel)
    found = judged.place_in_query(query) + 1
    return divide(judged.sum(query, 1 / np.log2(2 + rank - found)), judged.num_rel(rel))


def rbp(
    judged: Judged, k: int | None, *, p: float | int = 0.9, scale: str = "max", rel: float | int | None = None
) -> np.ndarray:
    """Rank-biased precision: gains weighted by the chance that a patient reader gets so far.

    Args:
      judged: the join.
      k: only the first k ranks, or None.
      p: patience, between 0 and 1.
      scale: "max" divides gains by the largest of the query where that is above 1; "none" takes grades as gains.
      rel: with a level, gains are 1 from that grade on and 0 below.
    """
    _check_patience(p)
    if scale not in ("max", "none"):
        raise EvalError(f"unknown scale {scale!r}", reason="invalid_parameter", hint='use "max" or "none"')
    keep = judged.grade > 0 if k is None else (judged.grade > 0) & (judged.rank <= k)
    query, rank, gain = judged.query[keep], judged.rank[keep], judged.grade[keep]
    if rel is not None:
        gain = (gain >= rel).astype(np.float64)
    elif scale == "max":
        top = np.ones(judged.size)
        np.maximum.at(top, judged.all_query, judged.all_grade)
        gain = gain / top[query]
    return (1 - p) * judged.sum(query, gain * float(p) ** (rank - 1))


def _check_patience(p: float | int) -> None:
    if not 0 < p < 1:
        raise EvalError(f"p is {p}, expected a number between 0 and 1", reason="invalid_parameter")


def err(judged: Judged, k: int | None, *, max_grade: float | int | None = None) -> np.ndarray:
    """Expected reciprocal rank: readers stop at a document with probability (2^grade - 1) / 2^max_grade.

    Args:
      judged: the join.
      k: only the first k ranks, or None.
      max_grade: the largest grade of the scale; the largest of all judgments by default.
    """
    top = judged.max_grade if max_grade is None else max_grade
    if top > 1000 or judged.max_grade > top:
        raise EvalError(
            f"the largest grade is {judged.max_grade:g} and max_grade {top:g}, expected at least the largest grade "
            "and at most 1000",
            reason="invalid_relevance",
        )
    keep = judged.grade > 0 if k is None else (judged.grade > 0) & (judged.rank <= k)
    query, rank, grade = judged.query[keep], judged.rank[keep], judged.grade[keep]
    stop = (np.exp2(grade) - 1) / np.exp2(top)
    # Running product per query, one step of all queries at a time; a factor never exceeds 1.
    place = judged.place_in_query(query)
    going, values = np.ones(judged.size), np.zeros(judged.size)
    order = np.argsort(place, kind="stable")
    bounds = np.cumsum(np.bincount(place)) if len(place) else []
    for step in np.split(order, bounds[:-1]) if len(place) else []:
        rows = query[step]
        values[rows] += going[rows] * stop[step] / rank[step]
        going[rows] *= 1 - stop[step]
    return values
