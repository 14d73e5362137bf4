"""Fusion by what training queries say about each rank of each run: a table per run, looked up by rank."""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Real

from jrank.errors import FusionError
from jrank.fusion._space import finish, floating, ranks_of, scores_of, spread

__all__ = ["TRAINERS", "bayesfuse", "mapfuse", "posfuse", "probfuse", "segfuse", "slidefuse"]

# Log odds of a document that a run lacks, and the least probability of relevance.
RARE = 0.001
MISSING = math.log(RARE / (1 - RARE))
# Ranks at which the segments of segfuse end: 5, 15, 35, ..., 5115.
SEGMENTS = np.array([10 * 2**i - 5 for i in range(10)])
# Between these ranks bayesfuse takes one chance.
BANDS = np.array([0, 5, 10, 15, 20, 30, 100, 200, 500, 1000])


def _tables(xp: ModuleType, tables: Any, runs: int, dtype: Any, name: str) -> Any:
    """Return one row per run, ``[runs, depth]``; lists of different length are filled with 0."""
    if isinstance(tables, (list, tuple)):
        depth = max((len(row) for row in tables), default=0)
        tables = np.array([[*row, *[0.0] * (depth - len(row))] for row in tables], np.float64).reshape(
            len(tables), depth
        )
    tables = xp.asarray(floating(xp, tables, name), dtype=dtype)
    if tables.ndim != 2 or tables.shape[0] != runs or not tables.shape[1]:
        raise FusionError(
            f"{name} has shape {tuple(tables.shape)} for {runs} runs, expected [runs, ranks]", reason="invalid_config"
        )
    return tables


def _look_up(xp: ModuleType, tables: Any, at: Any) -> Any:
    """Return ``tables[run, at]`` for ``at`` of ``[..., runs, docs]``, all within range."""
    rows = xp.arange(tables.shape[0]).reshape((1,) * (at.ndim - 2) + (-1, 1))
    return tables[rows, at]


def _place(xp: ModuleType, ranks: Any, present: Any) -> Any:
    return xp.where(present, ranks - 1, 0).astype(np.int32)


def mapfuse(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    map_scores: Any,
) -> Float[Any, "*batch docs"]:
    r"""MAPFuse: reciprocal ranks, weighted with the mean average precision of each run on training queries.

    .. math:: \sum_i \mathrm{MAP}_i / r_i

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      map_scores: one number per run.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes do not fit.

    Cost: O(runs docs).
    References: lillis2010.

    >>> mapfuse(np.array([[1, 2], [2, 0]]), map_scores=np.array([0.5, 0.2])).tolist()
    [0.6, 0.25]
    """
    from jrank.fusion._ranks import rrf

    return rrf(ranks, where=where, weights=map_scores, k=0)


def posfuse(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    probs: Any,
) -> Float[Any, "*batch docs"]:
    r"""PosFuse: the sum over runs of the chance that a document at this rank is relevant.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      probs: chance of relevance per run and rank, ``[runs, depth]`` or a list per run; deeper ranks count 0.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes do not fit.

    Cost: O(runs docs).
    References: lillis2010.

    >>> posfuse(np.array([[1, 2], [2, 0]]), probs=[[0.5, 0.25], [0.75, 0.125]]).tolist()
    [0.625, 0.25]
    """
    return slidefuse(ranks, where=where, probs=probs, w=0)


def slidefuse(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    probs: Any,
    w: int = 5,
) -> Float[Any, "*batch docs"]:
    r"""SlideFuse: PosFuse with chances averaged over a window of ranks, cut at both ends of the list.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      probs: chance of relevance per run and rank, ``[runs, depth]`` or a list per run; deeper ranks count 0.
      w: how many ranks on either side belong to the window.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes do not fit, or w is negative.

    Cost: O(runs (docs + depth)).
    References: lillis2008.

    >>> slidefuse(np.array([[1, 2, 3]]), probs=[[1.0, 0.5, 0.0]], w=1).tolist()
    [0.75, 0.5, 0.25]
    """
    if w < 0:
        raise FusionError(f"w is {w}, expected 0 or more", reason="invalid_config")
    xp, r, present = ranks_of(ranks, where, probs)
    table = _tables(xp, probs, r.shape[-2], r.dtype, "probs")
    depth = table.shape[1]
    place, length = _place(xp, r, present), xp.sum(present, axis=-1, keepdims=True)
    first, last = xp.maximum(place - w, 0), xp.maximum(xp.minimum(place + w, length - 1), place)
    if w == 0:
        value = xp.where(place < depth, _look_up(xp, table, xp.minimum(place, depth - 1)), 0)
    else:
        sums = xp.concatenate([xp.zeros_like(table[:, :1]), xp.cumsum(table, axis=1)], axis=1)
        inside = _look_up(xp, sums, xp.minimum(last + 1, depth)) - _look_up(xp, sums, xp.minimum(first, depth))
        value = inside / (last - first + 1)
    return finish(xp, spread(xp, xp.where(present, value, 0), None), present, ranks)


def probfuse(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    probs: Any,
) -> Float[Any, "*batch docs"]:
    r"""ProbFuse: lists are cut into equal segments, and the chance of relevance is divided by the segment's number.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      probs: chance of relevance per run and segment, ``[runs, segments]``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes do not fit.

    Cost: O(runs docs).
    References: lillis2006.

    >>> probfuse(np.array([[1, 2, 3, 4]]), probs=[[0.5, 0.5]]).tolist()
    [0.5, 0.5, 0.25, 0.25]
    """
    xp, r, present = ranks_of(ranks, where, probs)
    table = _tables(xp, probs, r.shape[-2], r.dtype, "probs")
    count = table.shape[1]
    length = xp.sum(present, axis=-1, keepdims=True)
    size = xp.maximum((length + count - 1) // count, 1)
    segment = xp.minimum(_place(xp, r, present) // size, count - 1)
    value = _look_up(xp, table, segment) / (segment + 1)
    return finish(xp, spread(xp, xp.where(present, value, 0), None), present, ranks)


def segfuse(
    scores: Real[Any, "*batch runs docs"],
    *,
    ranks: Real[Any, "*batch runs docs"],
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    probs: Any,
) -> Float[Any, "*batch docs"]:
    r"""SegFuse: scores plus one, weighted with the chance of relevance in segments that double in size.

    .. math:: \sum_i p_{i, \mathrm{segment}(r_i)} (s_i + 1)

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      ranks: 1-based ranks.
      where: True where the run holds the document.
      probs: chance of relevance per run and segment, ``[runs, segments]``; segments end at the ranks 5, 15, 35, 75, ...

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes do not fit.

    Cost: O(runs docs).
    References: shokouhi2007.

    >>> segfuse(np.array([[3.0, 1.0]]), ranks=np.array([[1, 2]]), probs=[[0.5]]).tolist()
    [2.0, 1.0]
    """
    xp, s, present = scores_of(scores, where, ranks, probs)
    _, r, ranked = ranks_of(xp.asarray(ranks), where)
    present = present & ranked
    table = _tables(xp, probs, s.shape[-2], s.dtype, "probs")
    count = min(table.shape[1], len(SEGMENTS))
    segment = sum((r > int(end)) & present for end in SEGMENTS)
    value = xp.where(segment < count, _look_up(xp, table, xp.minimum(segment, count - 1)), 0) * (s + 1)
    return finish(xp, spread(xp, xp.where(present, value, 0), None), present, scores)


def bayesfuse(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    log_odds: Any,
    missing: Any = MISSING,
) -> Float[Any, "*batch docs"]:
    r"""BayesFuse: the sum of log odds of relevance, as if runs were independent.

    .. math:: \sum_i \ln \frac{p_i(r_i)}{1 - p_i(r_i)}

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document.
      where: True where the run holds the document.
      log_odds: per run and rank, ``[runs, depth]``; deeper ranks count as the last one.
      missing: log odds of a document that the run lacks.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes do not fit.

    Cost: O(runs docs).
    References: aslam2001.

    >>> bayesfuse(np.array([[1, 2, 9]]), log_odds=[[1.0, -1.0]]).tolist()
    [1.0, -1.0, -1.0]
    """
    xp, r, present = ranks_of(ranks, where, log_odds)
    table = _tables(xp, log_odds, r.shape[-2], r.dtype, "log_odds")
    value = _look_up(xp, table, xp.minimum(_place(xp, r, present), table.shape[1] - 1))
    return finish(xp, spread(xp, xp.where(present, value, missing), None), present, ranks)


# Training -------------------------------------------------------------------------------------------------------------
# Every trainer takes, for one run, its hits as 0 and 1 by query and rank with NaN behind the end of a list.


def _by_rank(hits: np.ndarray) -> list[float]:
    reached = (~np.isnan(hits)).sum(axis=0)
    return (np.nansum(hits, axis=0) / np.maximum(reached, 1)).tolist()


def _by_equal_segments(hits: np.ndarray, segments: int = 10) -> list[float]:
    total = np.zeros(segments)
    for row in hits:
        row = row[~np.isnan(row)]
        size = -(-len(row) // segments)
        for k in range(segments):
            part = row[k * size : (k + 1) * size]
            total[k] += part.mean() if len(part) else 0.0
    return (total / len(hits)).tolist()


def _by_doubling_segments(hits: np.ndarray) -> list[float]:
    return [float(np.mean(p)) for p in _precisions(hits, [0, *SEGMENTS.tolist()])]


def _precisions(hits: np.ndarray, bounds: list[int]) -> Iterator[np.ndarray]:
    """Yield, between bounds, relevant documents divided by the number of ranks, one value per query."""
    hits = np.nan_to_num(hits)
    for a, b in pairwise(bounds):
        yield hits[:, a:b].sum(axis=1) / (b - a)


def _by_bands(hits: np.ndarray) -> list[float]:
    odds: list[float] = []
    for width, precision in zip(np.diff(BANDS).tolist(), _precisions(hits, BANDS.tolist()), strict=True):
        p = float(np.mean(precision)) or RARE
        odds += [math.log(p / ((1 - p) or RARE))] * width
    return odds


# Method -> the parameter that it learns, and how.
TRAINERS: dict[str, tuple[str, Callable[..., list[float]]]] = {
    "posfuse": ("probs", _by_rank),
    "slidefuse": ("probs", _by_rank),
    "probfuse": ("probs", _by_equal_segments),
    "segfuse": ("probs", _by_doubling_segments),
    "bayesfuse": ("log_odds", _by_bands),
}
