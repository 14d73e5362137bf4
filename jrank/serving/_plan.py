"""Which rows are run together."""

from collections.abc import Iterator

import numpy as np

__all__ = ["plan_batches"]


def plan_batches(lengths: np.ndarray, *, batch_size: int, max_tokens: int) -> Iterator[np.ndarray]:
    """Group rows of similar length, longest first.

    Rows are sorted by length, so a batch is padded by little; a batch takes rows until it holds ``batch_size`` of them
    or ``max_tokens`` tokens, padding included. The longest come first: what does not fit into memory shows at once.

    Args:
      lengths: tokens per row.
      batch_size: most rows of a batch.
      max_tokens: most tokens of a batch; a single row may have more.

    Yields:
      Indices of rows; each row once.

    >>> [rows.tolist() for rows in plan_batches(np.array([3, 9, 4, 2]), batch_size=3, max_tokens=12)]
    [[1], [2, 0, 3]]
    """
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        size = max(1, min(batch_size, max_tokens // longest))
        yield order[start : start + size]
        start += size
