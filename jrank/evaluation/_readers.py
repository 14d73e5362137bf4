"""Metrics of readers who go down the list and may stop at any document, in the frame of C/W/L; accuracy; compatibility.

The value is the expected gain per document read. With C(i) the chance to go on behind rank i and W(i) the share of the
reading that goes to rank i,

    W(i) = prod_{j < i} C(j) / sum_n prod_{j < n} C(j),    value = sum_i W(i) gain(i).

Gains are grades over the largest grade, 0 for documents without a judgment.
"""

from collections.abc import Callable

import numpy as np

from jrank.errors import EvalError
from jrank.evaluation._binary import divide
from jrank.evaluation._judged import Judged

__all__ = ["accuracy", "bpm", "compat", "insq", "inst", "nerr8", "nerr9", "nerr10", "nerr11", "sdcg"]

# How far a reader without a cut-off may go: the limit of cwl_eval, which the weights of INST and INSQ depend on.
HORIZON = 1000
# Gains of this many queries are held at a time.
BLOCK = 1024

Going = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _expected(judged: Judged, max_grade: float | int | None, going: Going, depth: int = HORIZON) -> np.ndarray:
    """Return the expected gain per document read.

    Args:
      judged: the join.
      max_grade: the grade of gain 1; the largest of all judgments by default.
      going: ranks ``[n]`` and gains ``[q, n]`` -> the chance to go on.
      depth: how many documents there are to read.
    """
    top = judged.max_grade if max_grade is None else max_grade
    if judged.max_grade > top:
        raise EvalError(
            f"the largest grade is {judged.max_grade:g} and max_grade {top:g}, expected at least the largest grade",
            reason="invalid_relevance",
        )
    keep = (judged.grade > 0) & (judged.rank <= depth)
    query, rank, gain = judged.query[keep], judged.rank[keep], judged.grade[keep] / (top or 1)
    values, ranks = np.zeros(judged.size), np.arange(1, depth + 1)
    for start in range(0, judged.size, BLOCK):
        stop = min(start + BLOCK, judged.size)
        mine = slice(*np.searchsorted(query, [start, stop]))
        gains = np.zeros((stop - start, depth))
        gains[query[mine] - start, rank[mine] - 1] = gain[mine]
        reached = np.ones_like(gains)
        reached[:, 1:] = np.cumprod(going(ranks, gains)[:, :-1], axis=1)
        values[start:stop] = np.sum(reached * gains, axis=1) / np.sum(reached, axis=1)
    return values


def _positive(value: float | int, name: str) -> float:
    if not value > 0:
        raise EvalError(f"{name} is {value}, expected a number above 0", reason="invalid_parameter")
    return float(value)


def _squared(place: np.ndarray) -> np.ndarray:
    return ((place - 1) / place) ** 2


def insq(judged: Judged, k: int | None, *, t: float | int = 1, max_grade: float | int | None = None) -> np.ndarray:
    """INSQ: a reader who wants a gain of t goes on with chance ((i + 2t - 1) / (i + 2t))^2."""
    t = _positive(t, "t")
    return _expected(judged, max_grade, lambda rank, gain: np.broadcast_to(_squared(rank + 2 * t), gain.shape))


def inst(judged: Judged, k: int | None, *, t: float | int = 1, max_grade: float | int | None = None) -> np.ndarray:
    """INST: as INSQ, but with what is still wanted, ((i + t + w - 1) / (i + t + w))^2, w = t - gain so far."""
    t = _positive(t, "t")
    return _expected(judged, max_grade, lambda rank, gain: _squared(rank + 2 * t - np.cumsum(gain, axis=1)))


def bpm(judged: Judged, k: int | None, *, t: float | int = 1, max_grade: float | int | None = None) -> np.ndarray:
    """Bejeweled player model: the reader stops at the gain t or at rank k, whichever comes first."""
    t = _positive(t, "t")
    assert k is not None

    def going(rank: np.ndarray, gain: np.ndarray) -> np.ndarray:
        # Whoever has enough stays so: gains are not negative.
        return (np.cumsum(gain, axis=1) < t) & (rank < k)

    return _expected(judged, max_grade, lambda rank, gain: going(rank, gain).astype(np.float64), k)


def sdcg(judged: Judged, k: int | None, *, max_grade: float | int | None = None) -> np.ndarray:
    """Scaled DCG: that of a list of k documents over that of k documents of the largest grade."""
    assert k is not None
    return _expected(
        judged, max_grade, lambda rank, gain: np.broadcast_to(np.log(rank + 1) / np.log(rank + 2), gain.shape), k
    )


def nerr8(judged: Judged, k: int | None, *, max_grade: float | int | None = None) -> np.ndarray:
    """Nearly ERR, equation 8: the reader goes on with chance 1 - gain, to rank k at most."""
    assert k is not None
    return _expected(judged, max_grade, lambda rank, gain: 1 - gain, k)


def nerr9(judged: Judged, k: int | None, *, max_grade: float | int | None = None) -> np.ndarray:
    """Nearly ERR, equation 9: with chance (1 - gain) i / (i + 1), to rank k at most."""
    assert k is not None
    return _expected(judged, max_grade, lambda rank, gain: (1 - gain) * rank / (rank + 1), k)


def nerr10(judged: Judged, k: int | None, *, p: float | int = 0.9, max_grade: float | int | None = None) -> np.ndarray:
    """Nearly ERR, equation 10: with chance p (1 - gain)."""
    if not 0 < p < 1:
        raise EvalError(f"p is {p}, expected a number between 0 and 1", reason="invalid_parameter")
    return _expected(judged, max_grade, lambda rank, gain: p * (1 - gain))


def nerr11(judged: Judged, k: int | None, *, t: float | int = 1, max_grade: float | int | None = None) -> np.ndarray:
    """Nearly ERR, equation 11: with chance (1 - gain) ((i + 2t - 1) / (i + 2t))^2."""
    t = _positive(t, "t")
    return _expected(judged, max_grade, lambda rank, gain: (1 - gain) * _squared(rank + 2 * t))


def accuracy(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Chance that a relevant document stands before another one, both among the first k; 1 if all are relevant."""
    query, rank = judged.relevant(rel, k)
    found = judged.count(query)
    depth = judged.num_ret if k is None else np.minimum(judged.num_ret, k)
    others = depth - found
    above = judged.sum(query, rank - 1.0 - judged.place_in_query(query))
    return np.where(found > 0, 1 - divide(above, others * found), 0.0)


def compat(judged: Judged, k: int | None, *, p: float | int = 0.95) -> np.ndarray:
    """Compatibility: rank-biased overlap with the ideal ranking nearest to the run, over the best possible one."""
    if not 0 < p < 1:
        raise EvalError(f"p is {p}, expected a number between 0 and 1", reason="invalid_parameter")
    good = np.flatnonzero(judged.all_grade > 0)
    query, rank = judged.all_query[good], np.where(judged.all_rank[good] > 0, judged.all_rank[good], np.inf)
    # Documents of one grade stand in the order of the run.
    order = np.lexsort((rank, -judged.all_grade[good], query))
    query, rank = query[order], rank[order]
    ideal = judged.place_in_query(query) + 1
    depth = np.maximum(judged.num_ret, judged.count(query))
    # A document that both hold from depth d on counts in the terms from there to the end.
    terms = np.arange(1, int(depth.max(initial=0)) + 1)
    total = np.concatenate([[0.0], np.cumsum(float(p) ** (terms - 1) / terms)])
    end = total[depth[query]]
    met = np.maximum(rank, ideal)
    here = np.isfinite(met)
    value = judged.sum(query[here], end[here] - total[met[here].astype(np.int64) - 1])
    return divide(value, judged.sum(query, end - total[ideal - 1]))
