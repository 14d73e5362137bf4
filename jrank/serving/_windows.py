"""One score for a document that was scored in several windows."""

from typing import Literal

import numpy as np

__all__ = ["POOLS", "Pool", "pool_windows"]

Pool = Literal["max", "mean", "first"]
POOLS = {"max": np.maximum.reduceat, "mean": np.add.reduceat, "first": None}


def pool_windows(logits: np.ndarray, owners: np.ndarray, pool: Pool) -> np.ndarray:
    """Pool the rows of each document.

    Args:
      logits: ``[windows, labels]``, the windows of a document in a row.
      owners: which document each window belongs to, ascending.
      pool: the largest, the mean, or that of the first window.

    Returns:
      ``[documents, labels]``.
    """
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    if len(starts) == len(owners):
        return logits
    reduce = POOLS[pool]
    if reduce is None:
        return logits[starts]
    pooled = reduce(logits, starts, axis=0)
    return pooled / np.diff(starts, append=len(owners))[:, None] if pool == "mean" else pooled
