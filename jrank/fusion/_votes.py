"""Points and votes of runs without weights, for NumPy: whole numbers, bits, and blocks that stay in a core's cache."""

from functools import reduce

import numpy as np

__all__ = ["count_beaten", "share_points"]

# Cells of a block, and ranks that twice their size fits 32 bits for.
CELLS = 1 << 16
VOTES = 1 << 13
DEEPEST = 1 << 30


def share_points(ranks: np.ndarray) -> np.ndarray | None:
    """Return Borda's points, -inf where no run holds the document; None for ranks beyond 2^30.

    Args:
      ranks: integers, 0 or less where a run lacks the document, ``[..., runs, docs]``.
    """
    runs, docs = ranks.shape[-2:]
    if not ranks.size or ranks.min() < -DEEPEST or ranks.max() > DEEPEST:
        return None
    flat = ranks.reshape(-1, runs, docs)
    points = np.empty((len(flat), docs))
    step = max(1, CELLS // (runs * docs))
    for low in range(0, len(flat), step):
        part = flat[low : low + step]
        present = part > 0
        # Run by run, over whole lists at a time: quicker than along an axis of a few runs.
        held = reduce(np.logical_or, present.swapaxes(0, 1))
        length = present.view(np.uint8).sum(axis=2, keepdims=True, dtype=np.uint32)
        number = held.view(np.uint8).sum(axis=1, keepdims=True, dtype=np.uint32)
        # A document that a run lacks stands in the middle of the places that are left, at rank (N + L + 1) / 2. All
        # is kept doubled and from 0 on; without a sign, ranks below 1 are then the largest numbers of all.
        place = (part.astype(np.uint32) - np.uint32(1)) << np.uint32(1)
        np.minimum(place, number[:, None] + length - np.uint32(1), out=place)
        total = points[low : low + step]
        np.subtract(runs * number, 0.5 * reduce(np.add, place.swapaxes(0, 1)), out=total)
        np.copyto(total, -np.inf, where=~held)
    return points.reshape(*ranks.shape[:-2], docs)


def count_beaten(r: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return how many candidates each document beats, draws by half, one for itself.

    Args:
      r: ranks, +inf where a run lacks the document, ``[..., runs, docs]``.
      candidates: which documents any run holds.
    """
    if not candidates.size:
        return np.zeros(candidates.shape)
    lists, held = r.reshape(-1, *r.shape[-2:]), candidates.reshape(-1, r.shape[-1])
    found = _two_runs(lists, held) if lists.shape[1] == 2 else None
    return (_many_runs(lists, held) if found is None else found).reshape(candidates.shape)


def _two_runs(lists: np.ndarray, held: np.ndarray) -> np.ndarray | None:
    """Count the votes of two runs by sorting; None where a run gives one rank twice.

    With s and t the votes of the two runs on a pair, +1, 0 or -1, the sign of s + t is s + t - (s² t + s t²) / 2. Here
    s² is 1 except between documents that the run lacks, so all sums follow from places in sorted lists.
    """
    places, total = [], np.zeros(held.shape)
    for i in range(2):
        order = np.argsort(lists[:, i], axis=-1)
        ordered = np.take_along_axis(lists[:, i], order, axis=-1)
        if np.any((ordered[:, 1:] == ordered[:, :-1]) & np.isfinite(ordered[:, 1:])):
            return None
        places.append(order)
    number = held.sum(axis=-1, keepdims=True)
    for i, other in ((0, 1), (1, 0)):
        present = np.isfinite(lists[:, i])
        length = present.sum(axis=-1, keepdims=True)
        place = _scattered(places[i], np.broadcast_to(np.arange(held.shape[1]), held.shape))
        # A document stands above those behind it and those that the run lacks.
        total += np.where(present, number - 1 - 2 * place, -length)
        # Among those that this run lacks, the other one decides.
        lacks = held & ~present
        among = _scattered(places[other], np.cumsum(np.take_along_axis(lacks, places[other], axis=-1), axis=-1) - 1)
        total += np.where(lacks, number - length - 1 - 2 * among, 0)
    return 0.5 * (number + 0.5 * total)


def _scattered(order: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values in the places that they were sorted from."""
    back = np.empty(order.shape, np.int64)
    np.put_along_axis(back, order, values, axis=-1)
    return back


def _many_runs(lists: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Count the votes on all pairs with a bit for each pair, so that one operation counts 64 of them."""
    runs, docs = lists.shape[1:]
    counts = np.empty(held.shape)
    step = max(1, VOTES // max(docs, 1))
    bit = np.uint64(1) << (np.arange(docs, dtype=np.uint64) & np.uint64(63))
    for low in range(0, len(lists), step):
        some = held[low : low + step]
        # The documents of a list as bits, ``[words]``.
        padded = np.zeros((len(some), -(-docs // 64) * 64), bool)
        padded[:, :docs] = some
        every = np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)[:, None]
        own = np.where(some, bit, np.uint64(0))
        wins, losses = _Counter(), _Counter()
        for i in range(runs):
            above, below = _above_and_below(lists[low : low + step, i], own, every)
            losses.add(above)
            wins.add(below)
        more, same = _compare(wins.planes, losses.planes, every)
        beaten = np.bitwise_count(more).sum(axis=-1, dtype=np.int64)
        counts[low : low + step] = beaten + 0.5 * np.bitwise_count(same).sum(axis=-1, dtype=np.int64)
    return counts


def _above_and_below(ranks: np.ndarray, own: np.ndarray, every: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which documents of one run stand above each document and which below, as bits ``[lists, docs, words]``.

    Args:
      ranks: ``[lists, docs]``; equal ranks, and infinity, vote for neither.
      own: the bit of each document within its word, 0 for none.
      every: the bits of all documents, ``[lists, 1, words]``.
    """
    lists, docs = ranks.shape
    row, column = np.arange(lists)[:, None], np.arange(docs)
    order = np.argsort(ranks, axis=1)
    at = order + row * docs
    ordered = ranks.ravel()[at]
    new = np.ones((lists, docs + 1), bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:-1])
    # The place of the first of equal ranks, and the one behind the last.
    first = np.maximum.accumulate(np.where(new[:, :-1], column, 0), axis=1)
    behind = np.minimum.accumulate(np.where(new[:, 1:], column + 1, docs)[:, ::-1], axis=1)[:, ::-1]
    # The documents before each place; places lead, so that whole lists are joined at a time.
    before = np.zeros((docs + 1, lists, every.shape[-1]), np.uint64)
    before[column[:, None] + 1, row.T, order.T >> 6] = own.ravel()[at].T
    np.bitwise_or.accumulate(before, axis=0, out=before)
    before = before.reshape(-1, every.shape[-1])
    where = np.empty((2, lists * docs), np.int64)
    where[0, at] = first * lists + row
    where[1, at] = behind * lists + row
    above, up_to = (before.take(place, axis=0).reshape(lists, docs, -1) for place in where)
    return above, np.bitwise_xor(up_to, every, out=up_to)


class _Counter:
    """Binary numbers side by side: plane i holds bit i of each."""

    def __init__(self):
        self.planes: list[np.ndarray] = []
        self.most = 0

    def add(self, bits: np.ndarray) -> None:
        """Add 0 or 1 to each number.

        Args:
          bits: which; not to be used afterwards.
        """
        self.most += 1
        for plane in self.planes:
            over = plane & bits
            plane ^= bits
            bits = over
        if self.most.bit_length() > len(self.planes):
            self.planes.append(bits)


def _compare(a: list[np.ndarray], b: list[np.ndarray], every: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where a > b and where a = b, among ``every``."""
    more, same = np.zeros_like(a[0]), np.broadcast_to(every, a[0].shape)
    for mine, other in zip(reversed(a), reversed(b), strict=True):
        differs = mine ^ other
        more |= mine & differs & same
        same = same & ~differs
    return more, same
