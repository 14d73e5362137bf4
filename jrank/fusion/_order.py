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
    bits = width.bit_length()
    mask = np.int64((1 << bits) - 1)
    scores, column = scores.astype(np.float64, copy=False), np.arange(width)
    if k is not None:
        scores, column = _candidates(scores, column, k, bits)
    key = (scores + 0.0).view(np.int64)
    key ^= (key >> 63) & np.int64(np.iinfo(np.int64).max)
    key &= ~mask
    key |= width - 1 - column if first else column
    if k is not None and k * 4 < key.shape[1]:
        key = np.partition(key, key.shape[1] - k, axis=1)[:, key.shape[1] - k :]
    key.sort(axis=1)
    columns = (key & mask)[:, ::-1][:, :k]
    return width - 1 - columns if first else columns


def _candidates(scores: np.ndarray, column: np.ndarray, k: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores, with their columns, that may be among the k best of their row; all where that is no gain.

    Cut a row into more than k groups: the k-th best of the groups' best scores has k scores at or above it.

    Args:
      scores: ``[rows, docs]``.
      column: the columns, ``[docs]``.
      k: how many are wanted.
      bits: the last bits of a score that do not count.
    """
    rows, width = scores.shape
    groups = 3 * k
    if width < max(3 * groups, 64):
        return scores, column
    best = scores[:, :groups].copy()
    for low in range(groups, width - groups + 1, groups):
        np.maximum(best, scores[:, low : low + groups], out=best)
    floor = np.partition(best, groups - k, axis=1)[:, groups - k]
    floor -= np.where(np.isfinite(floor), np.abs(floor), 0) * 2.0 ** (bits - 51)
    near = scores >= floor[:, None]
    count = near.view(np.uint8).sum(axis=1, dtype=np.int64)
    most = int(count.max(initial=0))
    if most * 2 > width:
        return scores, column
    row = np.repeat(np.arange(rows), count)
    found = np.flatnonzero(near)
    # Rows of one length again; every row has k of its own, so that what fills them up is never among the best.
    place = np.arange(len(found)) - np.repeat(np.cumsum(count) - count, count) + row * most
    some, where = np.full(rows * most, -np.inf), np.zeros(rows * most, np.int64)
    some[place] = scores.ravel()[found]
    where[place] = found - row * width
    return some.reshape(rows, most), where.reshape(rows, most)
