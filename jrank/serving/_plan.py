"""Which rows are run together."""

from collections.abc import Iterator

import numpy as np

__all__ = ["plan_batches"]

# What a run costs besides its tokens, as a share of the largest batch: about 10 of 256 tokens were measured for MiniLM
# on one core.
RUN_SHARE = 0.04


def plan_batches(lengths: np.ndarray, *, batch_size: int, max_tokens: int) -> Iterator[np.ndarray]:
    r"""Group rows of similar length, longest first.

    Rows are sorted by length and cut where the whole costs least,

    .. math:: \sum_{\text{batches}} c + |\text{batch}| \cdot \max_{\text{batch}} \text{length},

    with the cost ``c`` of a run beside its tokens: a long row does not stretch short ones, and equal ones stay together
    as far as the limits allow. The longest come first: what does not fit into memory shows at once.

    Args:
      lengths: tokens per row.
      batch_size: most rows of a batch.
      max_tokens: most tokens of a batch, padding included; a single row may have more.

    Yields:
      Indices of rows; each row once.

    Cost: O(rows · batch_size).

    >>> [rows.tolist() for rows in plan_batches(np.array([30, 90, 32, 30]), batch_size=3, max_tokens=120)]
    [[1], [2, 0, 3]]
    """
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    longest = np.maximum(lengths[order], 1).astype(np.int64)
    # best[i]: the least cost of the first i rows; cut[i]: where the last of their batches begins.
    best = np.full(len(order) + 1, np.inf)
    best[0], cut = 0.0, np.zeros(len(order) + 1, np.int64)
    most = np.maximum(np.minimum(batch_size, max_tokens // longest), 1)
    sizes = np.arange(1, batch_size + 1)
    for start in range(len(order)):
        ends = start + sizes[: min(most[start], len(order) - start)]
        costs = best[start] + RUN_SHARE * max_tokens + (ends - start) * longest[start]
        better = costs < best[ends]
        best[ends[better]] = costs[better]
        cut[ends[better]] = start
    ends = [len(order)]
    while ends[-1]:
        ends.append(int(cut[ends[-1]]))
    for start, end in zip(ends[:0:-1], ends[-2::-1], strict=True):
        yield order[start:end]
