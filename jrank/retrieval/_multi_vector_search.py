"""Late interaction over the shards of an index: all documents in blocks of queries, or the candidates of one query."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.errors import RetrieveError
from jrank.retrieval._multi_vector_shards import Coded, Shard, make_shard
from jrank.retrieval._top import top_dense

__all__ = ["Snapshot", "check_weights", "padded", "rerank", "scan"]

# Numbers that the best matches of a block of queries may take in one shard, of 4 bytes each.
MATCHES = 1 << 24


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The index at one moment.

    Attributes:
      shards: all documents, those that were deleted among them.
      placed: the same on the device.
      offsets: the row of the first document of each shard, and one past the last row of all.
      rows: the row of each document that is not deleted, ascending.
      ids: object array, ``[documents + 1]``; the last one is None, so that -1 finds it.
      dtype: how vectors are stored.
      dimension: the number of dimensions.
    """

    shards: tuple[Shard, ...]
    placed: tuple[Any, ...]
    offsets: np.ndarray
    rows: np.ndarray
    ids: np.ndarray
    dtype: str
    dimension: int

    def coded(self, row: int) -> Coded:
        """Return a stored document.

        Args:
          row: its row.
        """
        number = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return self.shards[number][row - int(self.offsets[number])]


def scan(
    snapshot: Snapshot,
    queries: list[np.ndarray],
    weights: list[np.ndarray] | None,
    allowed: np.ndarray,
    k: int,
    *,
    mesh: Any,
) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Score all documents, for blocks of queries of like length.

    Args:
      snapshot: the index.
      queries: float32, ``[q, d]`` each.
      weights: a weight for each of their tokens, or None.
      allowed: which rows may be found, bool.
      k: how many are wanted.
      mesh: the mesh that the shards are spread over, or None.

    Yields:
      Which queries; their best scores, descending, and the rows of these, ``[queries, k]``; -inf where nothing is left.
    """
    from jrank.retrieval._multi_vector_kernels import best_of_shard, layout_of

    order = sorted((place for place, query in enumerate(queries) if len(query)), key=lambda p: len(queries[p]))
    slots = max(s.layout.tokens.shape[0] * s.layout.max_docs for s in snapshot.shards)
    for _, some in itertools.groupby(order, key=lambda p: _width(len(queries[p]))):
        places = list(some)
        most = max(1, MATCHES // (slots * _width(len(queries[places[0]]))))
        step = 1 << (most.bit_length() - 1)
        for block in (places[start : start + step] for start in range(0, len(places), step)):
            arrays = padded(queries, weights, block, snapshot.dimension)
            best, found = [], []
            for number, placed in enumerate(snapshot.placed):
                low, high = snapshot.offsets[number : number + 2]
                size = len(layout_of(placed))
                mask = np.pad(allowed[low:high], (0, size - (high - low)))
                if not mask.any():
                    continue
                wanted = min(size, 1 << (k - 1).bit_length())
                scored, at = best_of_shard(*arrays, placed, mask, k=wanted, mesh=mesh)
                best.append(scored)
                found.append(np.asarray(at) + low)
            if best:
                # Shards are in order, and in a shard the earlier of equals comes first: so it is in all.
                top, at = top_dense(np.concatenate(best, axis=1)[: len(block)], k)
                rows = np.concatenate(found, axis=1)[: len(block)]
                yield block, top, np.take_along_axis(rows, np.maximum(at, 0), axis=1)


def rerank(
    snapshot: Snapshot,
    queries: list[np.ndarray],
    weights: list[np.ndarray] | None,
    place: int,
    rows: np.ndarray,
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Score some documents for one query.

    Args:
      snapshot: the index.
      queries: float32, ``[q, d]`` each.
      weights: a weight for each of their tokens, or None.
      place: which query.
      rows: the rows of the documents; one that comes twice counts once.
      k: how many are wanted.

    Returns:
      The best scores, descending, and the rows of these, ``[k]``; -inf where there is no more.
    """
    from jrank.retrieval._multi_vector_kernels import best_of_shard

    scores, found = np.full(k, -np.inf, np.float32), np.full(k, -1, np.int64)
    rows = np.unique(rows)
    if not len(rows) or not len(queries[place]):
        return scores, found
    shard = make_shard([snapshot.coded(int(row)) for row in rows], snapshot.dtype, snapshot.dimension)
    size = len(shard.layout)
    arrays = padded(queries, weights, [place], snapshot.dimension)
    wanted = min(size, 1 << (k - 1).bit_length())
    best, at = best_of_shard(*arrays, shard.docs, np.arange(size) < len(rows), k=wanted)
    count = min(k, len(rows))
    scores[:count], found[:count] = np.asarray(best)[0, :count], rows[np.asarray(at)[0, :count] % len(rows)]
    return scores, found


def padded(
    queries: list[np.ndarray], weights: list[np.ndarray] | None, places: list[int], dimension: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return some queries as one array of one of few sizes, so that few are compiled.

    Args:
      queries: float32, ``[q, d]`` each.
      weights: a weight for each of their tokens, or None.
      places: which queries.
      dimension: the number of dimensions.

    Returns:
      The tokens, ``[b, q, d]``; which of them are real, ``[b, q]``; their weights, likewise, or None.
    """
    width = _width(max(len(queries[place]) for place in places))
    shape = 1 << (len(places) - 1).bit_length(), width
    tokens, where = np.zeros((*shape, dimension), np.float32), np.zeros(shape, bool)
    shares = None if weights is None else np.zeros(shape, np.float32)
    for row, place in enumerate(places):
        length = len(queries[place])
        tokens[row, :length], where[row, :length] = queries[place], True
        if weights is not None and shares is not None:
            shares[row, :length] = weights[place]
    return tokens, where, shares


def _width(length: int) -> int:
    """Round a number of query tokens up: to a multiple of 8 up to 32, of 32 above."""
    step = 8 if length <= 32 else 32
    return max(8, -(-length // step) * step)


def check_weights(weights: Sequence[Any] | None, queries: list[np.ndarray]) -> list[np.ndarray] | None:
    """Return the weights of query tokens as arrays.

    Args:
      weights: what the user gave.
      queries: the queries.

    Raises:
      RetrieveError: there is not one finite number for each token.
    """
    if weights is None:
        return None
    found = [np.asarray(some, np.float32) for some in weights]
    if [w.shape for w in found] != [query.shape[:1] for query in queries] or not all(
        np.isfinite(w).all() for w in found
    ):
        raise RetrieveError(
            "weights must be finite, one for each token of each query",
            reason="invalid_parameter",
            hint="pass a list of arrays, as long as the queries",
        )
    return found
