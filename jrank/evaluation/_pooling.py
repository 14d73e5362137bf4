"""Metrics for incomplete judgments, and how many there are."""

import numpy as np

from jrank.evaluation._binary import divide
from jrank.evaluation._graded import _check_patience
from jrank.evaluation._judged import Judged

__all__ = [
    "bpref",
    "inferred_ap",
    "judged_fraction",
    "num_nonrel_judged_ret",
    "num_rel",
    "num_rel_ret",
    "num_ret",
    "rbp_residual",
    "unjudged_fraction",
]

# Keeps inferred precision defined where nothing was judged above a document; the value is trec_eval's.
EPSILON = 1e-5


def _running(judged: Judged, flag: np.ndarray) -> np.ndarray:
    """Count, for each retrieved judged document, those with the flag above it in its list."""
    before = np.concatenate([[0], np.cumsum(flag)])
    start = np.concatenate([[0], np.cumsum(judged.count(judged.query))])
    return before[:-1] - before[start[judged.query]]


def bpref(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Mean over relevant documents of 1 - (judged non-relevant documents above) / min(R, N); unjudged ones are ignored.

    R and N are the numbers of documents judged relevant and not relevant; at most R of those above count.
    """
    bad = (judged.grade >= 0) & (judged.grade < rel)
    good = judged.grade >= rel
    query, above = judged.query[good], _running(judged, bad)[good]
    relevant = judged.num_rel(rel)
    others = judged.count(judged.all_query[(judged.all_grade >= 0) & (judged.all_grade < rel)])
    bound = np.minimum(relevant, others)[query]
    return divide(judged.sum(query, 1 - divide(np.minimum(above, relevant[query]), bound)), relevant)


def inferred_ap(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Average precision estimated from a sample of the pool; a negative grade means pooled but not judged."""
    bad = (judged.grade >= 0) & (judged.grade < rel)
    good, pooled = judged.grade >= rel, judged.grade < 0
    rels, others, sampled = (_running(judged, flag)[good] for flag in (good, bad, pooled))
    query, rank = judged.query[good], judged.rank[good]
    above = rank - 1
    share = divide(rels + others + sampled, above)
    inferred = (rels + EPSILON) / (rels + others + 2 * EPSILON)
    return divide(judged.sum(query, 1 / rank + above / rank * share * inferred), judged.num_rel(rel))


def rbp_residual(judged: Judged, k: int | None, *, p: float | int = 0.9) -> np.ndarray:
    """Return how much rank-biased precision the documents without a judgment could add."""
    _check_patience(p)
    pooled = judged.grade >= 0
    query = judged.query[pooled]
    seen = (1 - p) * judged.sum(query, float(p) ** (judged.rank[pooled] - 1))
    # All weights sum to 1: what judged documents do not hold belongs to the rest and to ranks never reached.
    return np.where(judged.num_ret > judged.count(query), 1 - seen, 0.0)


def unjudged_fraction(judged: Judged, k: int | None) -> np.ndarray:
    """Documents without a judgment among the first k, divided by k."""
    return divide(_unjudged(judged, k), judged.num_ret if k is None else k)


def judged_fraction(judged: Judged, k: int | None) -> np.ndarray:
    """Documents with a judgment among the first k, divided by the number of documents there."""
    ret = judged.num_ret if k is None else np.minimum(judged.num_ret, k)
    return divide(ret - _unjudged(judged, k), ret)


def _unjudged(judged: Judged, k: int | None) -> np.ndarray:
    keep = judged.grade >= 0 if k is None else (judged.grade >= 0) & (judged.rank <= k)
    ret = judged.num_ret if k is None else np.minimum(judged.num_ret, k)
    return ret - judged.count(judged.query[keep])


def num_ret(judged: Judged, k: int | None) -> np.ndarray:
    """Return the number of documents retrieved."""
    return judged.num_ret.astype(np.float64)


def num_rel(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Return the number of relevant documents."""
    return judged.num_rel(rel).astype(np.float64)


def num_rel_ret(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Return the number of relevant documents retrieved."""
    return judged.num_rel_ret(rel).astype(np.float64)


def num_nonrel_judged_ret(judged: Judged, k: int | None, *, rel: float | int = 1) -> np.ndarray:
    """Return the number of documents retrieved that were judged not relevant."""
    bad = (judged.grade >= 0) & (judged.grade < rel)
    return judged.count(judged.query[bad]).astype(np.float64)
