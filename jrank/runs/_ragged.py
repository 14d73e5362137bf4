"""Lists of different lengths, stored one after the other: offsets, rectangular blocks, order within each list."""

from collections.abc import Iterator

import numpy as np

from jrank.runs._vocabulary import Vocabulary

__all__ = ["Block", "blocks", "count_distinct", "list_of", "offsets_of", "positions", "rank_order", "sorted_order"]


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Return where each list starts, and at the end the total.

    Args:
      lengths: how many items each list has.

    >>> offsets_of(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def list_of(offsets: np.ndarray) -> np.ndarray:
    """Return the number of the list that each item belongs to.

    Args:
      offsets: see ``offsets_of``.
    """
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def positions(offsets: np.ndarray) -> np.ndarray:
    """Return the 0-based position of each item in its list.

    Args:
      offsets: see ``offsets_of``.
    """
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


class Block:
    """Some lists of similar length as one rectangle.

    Args:
      rows: the numbers of the lists.
      offsets: see ``offsets_of``.
      width: the length of the longest.
    """

    def __init__(self, rows: np.ndarray, offsets: np.ndarray, width: int):
        self.rows = rows
        self.width = width
        start, stop = offsets[rows], offsets[rows + 1]
        column = np.arange(width)
        self.full = bool(np.all(stop - start == width))
        self.where = column < (stop - start)[:, None]
        index = start[:, None] + column
        # Padding points at some item of the whole; `where` tells that it does not count.
        self.index = index if self.full else np.minimum(index, max(int(offsets[-1]) - 1, 0))

    def take(self, flat: np.ndarray, fill: float) -> np.ndarray:
        """Return the items as a rectangle, ``[rows, width]``, padded with ``fill``.

        Args:
          flat: one value per item of all lists.
          fill: what stands at the padding.
        """
        values = flat[self.index]
        return values if self.full else np.where(self.where, values, fill)


def blocks(offsets: np.ndarray, cells: int) -> Iterator[Block]:
    """Cut lists into rectangular blocks, shortest lists first, so that padding stays below half of a block.

    Args:
      offsets: see ``offsets_of``.
      cells: most cells of one block, except that one list is never cut.

    Yields:
      Blocks over all lists that are not empty.
    """
    lengths = np.diff(offsets)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    start = 0
    while start < len(order):
        shortest = int(lengths[order[start]])
        # Lists up to twice as long go together; then as many of them as the cells allow.
        stop = int(np.searchsorted(lengths[order], 2 * shortest, side="right"))
        width = int(lengths[order[stop - 1]])
        stop = min(stop, start + max(1, cells // width))
        width = int(lengths[order[stop - 1]])
        yield Block(order[start:stop], offsets, width)
        start = stop


def count_distinct(keys: np.ndarray, size: int) -> int:
    """Return how many different numbers there are.

    Args:
      keys: non-negative integers.
      size: a number above all of them.
    """
    if size <= 8 * len(keys):
        # Few possible keys: ticking them off is quicker than sorting.
        seen = np.zeros(size, bool)
        seen[keys] = True
        return int(np.count_nonzero(seen))
    ordered = np.sort(keys)
    return len(keys) - int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def sorted_order(keys: np.ndarray) -> np.ndarray:
    """Return the stable order of non-negative integers.

    Args:
      keys: int64.

    >>> sorted_order(np.array([5, 2, 5, 0])).tolist()
    [3, 1, 0, 2]
    """
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits < 63:
        # Key and position in one integer: sorting values is several times quicker than sorting indices.
        return np.sort((keys << bits) | np.arange(len(keys))) & ((1 << bits) - 1)
    return np.argsort(keys, kind="stable")


def rank_order(values: np.ndarray, offsets: np.ndarray, codes: np.ndarray, vocabulary: Vocabulary) -> np.ndarray | None:
    """Return the order of trec_eval: list by list, value descending, equal values by id descending in bytes.

    Args:
      values: finite floats, one per item.
      offsets: see ``offsets_of``.
      codes: the id of each item.
      vocabulary: what the codes mean.

    Returns:
      int64 indices, or None if the items stand in that order already.

    Cost: O(n log n) for the longest list; ids are compared among ties only.
    """
    if len(values) < 2:
        return None
    same = np.ones(len(values) - 1, bool)
    inner = offsets[1:-1]
    inner = inner[(inner > 0) & (inner < len(values))]
    same[inner - 1] = False
    order = None
    if np.any(same & (values[1:] > values[:-1])):
        order = np.empty(len(values), np.int64)
        for block in blocks(offsets, 1 << 22):
            key = -block.take(values, -np.inf)
            local = np.argsort(key, axis=1)
            local += offsets[block.rows][:, None]
            if block.full:
                order[block.index] = local
            else:
                order[block.index[block.where]] = local[block.where]
        values = values[order]
    tie = same & (values[1:] == values[:-1])
    if not tie.any():
        return order
    tied = np.flatnonzero(np.concatenate([tie, [False]]) | np.concatenate([[False], tie]))
    group = np.cumsum(~np.concatenate([[False], tie]))[tied]
    items = tied if order is None else order[tied]
    place = vocabulary.byte_rank(codes[items])
    by_id = sorted_order(group * np.int64(len(vocabulary)) + (len(vocabulary) - 1 - place))
    if order is None:
        if np.array_equal(by_id, np.arange(len(by_id))):
            return None
        order = np.arange(len(values))
    order[tied] = items[by_id]
    return order
