"""Rows of many lengths as batches: sorted by length, within a budget, padded to few shapes, shuffled by a seed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jrank.errors import DataError

__all__ = ["batches", "batches_by_length", "bucket_length", "pad_rows"]


def bucket_length(length: int, buckets: Sequence[int]) -> int:
    """Return the padded length for a row: the smallest bucket that holds it.

    Args:
      length: how long the row is.
      buckets: the padded lengths that are allowed, in any order.

    Raises:
      DataError: no bucket is large enough, or there is none.

    >>> [bucket_length(n, [16, 32, 64]) for n in (1, 16, 17)]
    [16, 16, 32]
    """
    fitting = [bucket for bucket in buckets if bucket >= length]
    if not fitting:
        raise DataError(
            f"a row of length {length} is longer than every bucket {sorted(buckets)}",
            reason="too_large",
            hint="truncate it or add a larger bucket",
        )
    return int(min(fitting))


def batches_by_length(
    lengths: Any,
    *,
    max_tokens: int,
    max_batch: int | None = None,
    buckets: Sequence[int] | None = None,
    seed: int | None = None,
) -> list[np.ndarray]:
    """Group rows of similar length, so that little padding is computed.

    Args:
      lengths: how long each row is, ``[n]``.
      max_tokens: the largest size of a padded batch, rows times padded length; a single longer row makes a batch alone.
      max_batch: most rows of a batch; None is no limit.
      buckets: the padded lengths that are allowed; None pads to the longest row of the batch.
      seed: shuffles rows of equal length and the order of the batches; None keeps both, longest rows first.

    Returns:
      The places of the rows of each batch; together they hold every row once.

    Raises:
      DataError: a length is negative, a limit is less than 1, or no bucket holds a row.

    >>> [batch.tolist() for batch in batches_by_length([3, 90, 5, 80, 4], max_tokens=200, buckets=[8, 100])]
    [[1, 3], [2, 4, 0]]
    """
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or (lengths.size and (lengths.dtype.kind not in "iu" or lengths.min() < 0)):
        raise DataError(
            f"lengths must be non-negative integers of shape [n], got {lengths.dtype} of shape {lengths.shape}",
            reason="invalid_value",
        )
    for name, limit in (("max_tokens", max_tokens), ("max_batch", 1 if max_batch is None else max_batch)):
        if limit < 1:
            raise DataError(f"{name} must be at least 1, got {limit}", reason="invalid_value")
    rng = None if seed is None else np.random.default_rng(seed)
    order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
    order = order[np.argsort(-lengths[order].astype(np.int64), kind="stable")]
    groups, start = [], 0
    while start < len(order):
        longest = int(lengths[order[start]])
        width = longest if buckets is None else bucket_length(longest, buckets)
        count = max(max_tokens // max(width, 1), 1)
        stop = start + (count if max_batch is None else min(count, max_batch))
        if buckets is not None:
            # Rows of a smaller bucket begin a batch of their own, so that each batch has the full width for its bucket.
            smaller = np.flatnonzero(lengths[order[start:stop]] <= max((b for b in buckets if b < width), default=-1))
            stop = start + int(smaller[0]) if smaller.size else stop
        groups.append(order[start:stop])
        start += len(groups[-1])
    return groups if rng is None else [groups[i] for i in rng.permutation(len(groups))]


def batches(
    count: int, size: int, *, seed: int | None = None, epoch: int = 0, drop_last: bool = False
) -> Iterator[np.ndarray]:
    """Yield the places of the rows of one batch after the other.

    Args:
      count: how many rows there are.
      size: rows per batch; the last batch may have fewer.
      seed: shuffles the rows; None keeps their order.
      epoch: with a seed, gives every epoch an order of its own.
      drop_last: whether a last batch with fewer rows is left out.

    Raises:
      DataError: ``size`` is less than 1, or ``count`` is negative.

    >>> [batch.tolist() for batch in batches(5, 2)]
    [[0, 1], [2, 3], [4]]
    """
    if size < 1 or count < 0:
        raise DataError(f"cannot make batches of {size} rows from {count} rows", reason="invalid_value")
    order = np.arange(count) if seed is None else np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, count, size):
        if drop_last and start + size > count:
            return
        yield order[start : start + size]


def pad_rows(rows: Sequence[Any], length: int | None = None, *, fill: float | int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Put rows of different lengths into one array.

    Args:
      rows: arrays or lists of numbers, ``[t, ...]`` with the same trailing axes.
      length: the padded length; None is that of the longest row. Longer rows are refused.
      fill: what stands at padding.

    Returns:
      The array, ``[rows, length, ...]``, and where it holds rows, ``[rows, length]``.

    Raises:
      DataError: a row is longer than ``length``, or the rows differ in their trailing axes.

    >>> pad_rows([[1, 2], [3]])[0].tolist()
    [[1, 2], [3, 0]]
    """
    arrays = [np.asarray(row) for row in rows]
    sizes = np.array([len(row) for row in arrays], np.int64)
    longest = int(sizes.max(initial=0))
    length = longest if length is None else length
    if longest > length:
        raise DataError(
            f"row {int(sizes.argmax())} has length {longest}, more than {length}",
            reason="too_large",
            hint="truncate it",
        )
    filled = [row for row in arrays if len(row)]
    if len({row.shape[1:] for row in filled}) > 1:
        raise DataError("rows differ in their trailing axes", reason="malformed")
    dtype = np.result_type(*(row.dtype for row in filled)) if filled else np.float32
    padded = np.full((len(arrays), length, *(filled[0].shape[1:] if filled else ())), fill, dtype)
    where = np.arange(length) < sizes[:, None]
    if filled:
        padded[where] = np.concatenate(filled)
    return padded, where
