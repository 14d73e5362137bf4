"""Metrics of novelty and diversity: a query has subtopics, and a document that repeats what is known is worth less.

Formulas and ties are those of ndeval, the program of the TREC Web track.
"""

from collections.abc import Callable

import numpy as np

from jrank.errors import EvalError
from jrank.evaluation._groups import Subtopics, subtopics
from jrank.evaluation._judged import Judged

__all__ = ["alpha_dcg", "alpha_ndcg", "err_ia", "nerr_ia", "nnrbp", "nrbp", "subtopic_recall"]

Discount = Callable[[np.ndarray], np.ndarray]


def _log(rank: np.ndarray) -> np.ndarray:
    return 1 / np.log2(rank + 1)


def _reciprocal(rank: np.ndarray) -> np.ndarray:
    return 1 / rank


def _novelty(relevant: np.ndarray, alpha: float | int) -> np.ndarray:
    """Return the gain of each document: (1 - alpha) to the number of documents before it, summed over its subtopics."""
    before = np.cumsum(relevant, axis=0) - relevant
    return np.sum(relevant * (1.0 - alpha) ** before, axis=1)


def _ideal_order(query: Subtopics, alpha: float | int) -> np.ndarray:
    """Return the relevant documents in the order that takes the largest gain each time, larger ids first among equals.

    The best order is hard to find (set cover); this one is what the metrics are defined by.
    """
    found = np.flatnonzero(query.relevant.any(axis=1))
    found = found[sorted(range(len(found)), key=lambda i: query.names[found[i]], reverse=True)]
    relevant = query.relevant[found]
    worth, order = np.ones(relevant.shape[1]), np.empty(len(found), np.int64)
    free = np.ones(len(found), bool)
    for place in range(len(found)):
        # One subtopic after the other: equal gains are equal bit by bit.
        gain = np.where(free, 0.0, -1.0)
        for subtopic, value in enumerate(worth.tolist()):
            gain += relevant[:, subtopic] * value
        best = int(np.argmax(np.where(free, gain, -1.0)))
        order[place], free[best] = best, False
        worth = np.where(relevant[best], worth * (1.0 - alpha), worth)
    return found[order]


def _check(alpha: float | int) -> None:
    if not 0 <= alpha <= 1:
        raise EvalError(f"alpha is {alpha}, expected a number between 0 and 1", reason="invalid_parameter")


def _found(query: Subtopics, k: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the relevance and the ranks of the judged documents among the first k, best first."""
    kept = np.flatnonzero((query.rank > 0) & (query.rank <= (k or np.inf)))
    kept = kept[np.argsort(query.rank[kept])]
    return query.relevant[kept], query.rank[kept]


def _gain(query: Subtopics, k: int | None, alpha: float | int, discount: Discount) -> float:
    relevant, rank = _found(query, k)
    return float(np.sum(_novelty(relevant, alpha) * discount(rank)))


def _absolute(judged: Judged, k: int | None, alpha: float | int, rel: float | int, discount: Discount) -> np.ndarray:
    """Discounted gains over those of a list in which every document is relevant to every subtopic."""
    _check(alpha)
    values = np.zeros(judged.size)
    for row, query in enumerate(subtopics(judged, rel)):
        count = query.relevant.shape[1]
        depth = query.num_ret if k is None else k
        if count and depth:
            place = np.arange(depth)
            best = count * np.sum((1.0 - alpha) ** place * discount(place + 1))
            values[row] = _gain(query, k, alpha, discount) / best
    return values


def _relative(judged: Judged, k: int | None, alpha: float | int, rel: float | int, discount: Discount) -> np.ndarray:
    """Discounted gains over those of the ideal order of the judged documents."""
    _check(alpha)
    values = np.zeros(judged.size)
    for row, query in enumerate(subtopics(judged, rel)):
        gain = _gain(query, k, alpha, discount)
        if gain:
            order = _ideal_order(query, alpha)[:k]
            best = _novelty(query.relevant[order], alpha) * discount(np.arange(len(order)) + 1)
            values[row] = gain / np.sum(best)
    return values


def alpha_dcg(judged: Judged, k: int | None, *, alpha: float | int = 0.5, rel: float | int = 1) -> np.ndarray:
    """Novelty gains discounted by log2(rank + 1), over those of a list that is always relevant to every subtopic."""
    return _absolute(judged, k, alpha, rel, _log)


def alpha_ndcg(judged: Judged, k: int | None, *, alpha: float | int = 0.5, rel: float | int = 1) -> np.ndarray:
    """Novelty gains discounted by log2(rank + 1), over those of the ideal order."""
    return _relative(judged, k, alpha, rel, _log)


def err_ia(judged: Judged, k: int | None, *, alpha: float | int = 0.5, rel: float | int = 1) -> np.ndarray:
    """Novelty gains discounted by rank, over those of a list that is always relevant to every subtopic."""
    return _absolute(judged, k, alpha, rel, _reciprocal)


def nerr_ia(judged: Judged, k: int | None, *, alpha: float | int = 0.5, rel: float | int = 1) -> np.ndarray:
    """Novelty gains discounted by rank, over those of the ideal order."""
    return _relative(judged, k, alpha, rel, _reciprocal)


def _patience(beta: float | int) -> Discount:
    if not 0 < beta < 1:
        raise EvalError(f"beta is {beta}, expected a number between 0 and 1", reason="invalid_parameter")
    return lambda rank: float(beta) ** (rank - 1)


def nrbp(
    judged: Judged, k: int | None, *, alpha: float | int = 0.5, beta: float | int = 0.5, rel: float | int = 1
) -> np.ndarray:
    """Novelty and rank-biased precision: novelty gains weighted by a reader's patience, in [0, 1]."""
    _check(alpha)
    discount, values = _patience(beta), np.zeros(judged.size)
    for row, query in enumerate(subtopics(judged, rel)):
        count = query.relevant.shape[1]
        if count:
            values[row] = _gain(query, None, alpha, discount) * (1 - (1 - alpha) * beta) / count
    return values


def nnrbp(
    judged: Judged, k: int | None, *, alpha: float | int = 0.5, beta: float | int = 0.5, rel: float | int = 1
) -> np.ndarray:
    """NRBP over that of the ideal order."""
    return _relative(judged, None, alpha, rel, _patience(beta))


def subtopic_recall(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Share of the subtopics that a document among the first k is relevant to."""
    values = np.zeros(judged.size)
    for row, query in enumerate(subtopics(judged, rel)):
        count = query.relevant.shape[1]
        if count:
            values[row] = np.sum(_found(query, k)[0].any(axis=0)) / count
    return values
