"""Votes of runs without weights, pair by pair, without a number for each pair where two runs vote."""

import numpy as np

__all__ = ["count_beaten"]


def count_beaten(r: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Return how many candidates each document beats, draws by half, one for itself.

    Args:
      r: ranks, +inf where a run lacks the document, ``[..., runs, docs]``.
      candidates: which documents any run holds.
    """
    lists, held = r.reshape(-1, *r.shape[-2:]), candidates.reshape(-1, r.shape[-1])
    found = _two_runs(lists, held) if lists.shape[1] == 2 else None
    return (_pair_by_pair(lists, held) if found is None else found).reshape(candidates.shape)


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


def _pair_by_pair(r: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Count the votes on every pair, list by list, in bytes."""
    docs = r.shape[-1]
    # Small numbers compare many at a time.
    lists = np.where(np.isfinite(r), r, 32767).astype(np.int16) if _fits(r) else r
    counts = np.empty(held.shape)
    for i, (rows, some) in enumerate(zip(lists, held, strict=True)):
        margin = np.zeros((docs, docs), np.int8)
        for row in rows:
            ahead = (row[:, None] < row[None, :]).view(np.int8)
            margin += ahead
            margin -= ahead.T
        np.clip(margin, -1, 1, out=margin)
        counts[i] = 0.5 * (some.sum() + margin[:, some].sum(axis=1, dtype=np.int64))
    return counts


def _fits(r: np.ndarray) -> bool:
    finite = r[np.isfinite(r)]
    return not finite.size or bool(finite.max() < 32767 and (finite == np.floor(finite)).all())
