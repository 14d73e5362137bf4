"""The best entries of sparse and dense rows, on the host, with a rule for ties: the earlier document comes first."""

import numpy as np

__all__ = ["top_dense", "top_sparse"]

_LAST = np.int64(0xFFFFFFFF)


def _keys(scores: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """One integer per entry that sorts by score, then by falling column: no two are equal, so every sort is stable."""
    bits = (scores.astype(np.float32, copy=False) + np.float32(0)).view(np.int32).astype(np.int64)
    # Negative floats sort backwards by their bits.
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return (bits << 32) | (_LAST - columns)


def _best(scores: np.ndarray, columns: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if len(scores) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        chosen = (scores >= least).nonzero()[0]
        scores, columns = scores[chosen], columns[chosen]
    order = _keys(scores, columns).argsort()[: -k - 1 : -1]
    return scores[order], columns[order]


def top_sparse(scores: np.ndarray, columns: np.ndarray, bounds: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best entries of each row of a compressed matrix.

    Args:
      scores: float32 without NaN, the entries row after row.
      columns: the column of each entry; no column twice in a row.
      bounds: ``[rows + 1]``; row i is ``bounds[i]:bounds[i + 1]``.
      k: how many to return.

    Returns:
      Scores, descending, and columns, ``[rows, k]``; short rows are padded with -inf and -1. Of equal scores the
      smaller column comes first.

    Cost: linear in the entries, plus sorting k per row.
    """
    rows = len(bounds) - 1
    best = np.full((rows, k), -np.inf, np.float32)
    place = np.full((rows, k), -1, np.int64)
    edges = bounds.tolist()
    for row in range(rows):
        low, high = edges[row], edges[row + 1]
        values, at = _best(scores[low:high], columns[low:high], k)
        best[row, : len(values)] = values
        place[row, : len(at)] = at
    return best, place


def top_dense(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best entries of each row of a matrix; -inf is no entry.

    Args:
      scores: float32 without NaN, ``[rows, n]``.
      k: how many to return.

    Returns:
      As ``top_sparse`` does.
    """
    best = np.full((len(scores), k), -np.inf, np.float32)
    place = np.full((len(scores), k), -1, np.int64)
    columns = np.arange(scores.shape[1])
    for row, values in enumerate(scores):
        top, at = _best(values, columns, k)
        some = top > -np.inf
        best[row, : len(top)] = top
        place[row, : len(at)] = np.where(some, at, -1)
    return best, place
