"""The documents of fused arrays, best first."""

import math
import sys
from typing import Any

import numpy as np
from jaxtyping import Int, Real

from jrank.errors import FusionError
from jrank.fusion._space import floating, namespace

__all__ = ["order", "sorted_columns"]

# Cells that are sorted at a time, so that they stay in a core's cache.
CELLS = 1 << 16


def order(scores: Real[Any, "*batch docs"], *, k: int | None = None) -> Int[Any, "*batch k"]:
    """Return the places of the best documents, best first.

    Args:
      scores: fused scores; -inf and NaN come last.
      k: how many; None for all, and more than there are is all.

    Returns:
      Places along the last axis.

    Raises:
      FusionError: k < 1, or there is no axis.

    Numerics: of equal scores the first place comes first. For NumPy's float64, scores that differ by less than about
    1e-12 of their size count as equal, so that the order of the runs, which changes the rounding of sums, does not
    change the order of documents.
    Cost: O(docs log docs).

    >>> order(np.array([[0.5, 2.0, 0.5, -np.inf]])).tolist()
    [[1, 0, 2, 3]]
    """
    xp = namespace(scores)
    scores = floating(xp, scores, "scores")
    if scores.ndim < 1:
        raise FusionError("scores is one number, expected [..., docs]", reason="invalid_run")
    if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
        raise FusionError(f"k is {k!r}, expected an integer of at least 1", reason="invalid_config")
    docs = scores.shape[-1]
    k = docs if k is None else min(int(k), docs)
    if xp is not np:
        scores = xp.where(xp.isnan(scores), -xp.inf, scores)
        return sys.modules["jax"].lax.top_k(scores, k)[1]
    flat = scores.reshape(math.prod(scores.shape[:-1]), docs)
    best = np.empty((len(flat), k), np.int64)
    step = max(1, CELLS // max(docs, 1))
    for low in range(0, len(flat), step):
        part = flat[low : low + step]
        if np.isnan(part).any():
            part = np.where(np.isnan(part), -np.inf, part)
        best[low : low + step] = sorted_columns(part, k, first=True)
    return best.reshape(*scores.shape[:-1], k)


def sorted_columns(scores: np.ndarray, k: int | None, *, first: bool = False) -> np.ndarray:
    """Return the columns of the k best scores of each row, best first.

    The column takes the place of the last bits of the score, so one sort of integers does both; scores that differ by
    less than about 1e-12 count as equal.

    Args:
      scores: without NaN, ``[rows, docs]``.
      k: how many, or None for all.
      first: whether of equal scores the first column comes first; otherwise the last one does.
    """
    width = scores.shape[1]
    mask = np.int64((1 << width.bit_length()) - 1)
    key = (scores.astype(np.float64, copy=False) + 0.0).view(np.int64)
    key ^= (key >> 63) & np.int64(np.iinfo(np.int64).max)
    key &= ~mask
    column = np.arange(width)
    key |= width - 1 - column if first else column
    if k is not None and k * 4 < width:
        key = np.partition(key, width - k, axis=1)[:, width - k :]
    key.sort(axis=1)
    columns = (key & mask)[:, ::-1][:, :k]
    return width - 1 - columns if first else columns
