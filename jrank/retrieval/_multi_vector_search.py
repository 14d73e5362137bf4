"""Late interaction over the shards of an index, for blocks of queries: all documents, or some for each query."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.errors import RetrieveError
from jrank.retrieval._multi_vector_codecs import Coded
from jrank.retrieval._multi_vector_shards import Shard
from jrank.retrieval._top import top_dense, top_sparse
from jrank.retrieval._vectors import LARGEST

__all__ = ["Snapshot", "check_weights", "padded", "rerank", "scan"]

# Numbers that the best matches of a block of queries may take in one shard, of 4 bytes each.
MATCHES = 1 << 24
# Candidates: queries of a block, tiles of a group, and tiles of one call.
BLOCK, TILES, CALL = 32, 256, 1 << 14


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
      code: what was learnt, for the dtypes that learn, or None.
    """

    shards: tuple[Shard, ...]
    placed: tuple[Any, ...]
    offsets: np.ndarray
    rows: np.ndarray
    ids: np.ndarray
    dtype: str
    dimension: int
    code: Any

    @functools.cached_property
    def row_of(self) -> dict[Any, int]:
        """The row of each id."""
        return dict(zip(self.ids[:-1].tolist(), self.rows.tolist(), strict=True))

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
    chosen: Sequence[np.ndarray],
    k: int,
    *,
    mesh: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Score some documents for each query.

    Args:
      snapshot: the index.
      queries: float32, ``[q, d]`` each.
      weights: a weight for each of their tokens, or None.
      chosen: the rows of the documents for each query; one that comes twice counts once.
      k: how many are wanted.
      mesh: the mesh that the shards are spread over, or None.

    Returns:
      For each query the best scores, descending, and the rows of these, ``[queries, k]``; -inf where there is no more.
    """
    chosen = [np.unique(rows) if len(query) else rows[:0] for rows, query in zip(chosen, queries, strict=True)]
    bounds = np.cumsum([0, *map(len, chosen)])
    rows = np.concatenate([np.zeros(0, np.int64), *chosen])
    scores = np.full(len(rows), -np.inf, np.float32)
    order = sorted((p for p, some in enumerate(chosen) if len(some)), key=lambda p: len(queries[p]))
    for _, some in itertools.groupby(order, key=lambda p: _width(len(queries[p]))):
        places = list(some)
        for block in (places[low : low + BLOCK] for low in range(0, len(places), BLOCK)):
            arrays = padded(queries, weights, block, snapshot.dimension)
            at = np.concatenate([np.arange(bounds[place], bounds[place + 1]) for place in block])
            owners = np.repeat(np.arange(len(block)), [len(chosen[place]) for place in block])
            for number in range(len(snapshot.shards)):
                low, high = snapshot.offsets[number : number + 2]
                here = (rows[at] >= low) & (rows[at] < high)
                found = _scores_of_some(snapshot, number, arrays, owners[here], rows[at[here]] - low, mesh)
                scores[at[here]] = found
    return top_sparse(scores, rows, bounds, k)


def _scores_of_some(
    snapshot: Snapshot, number: int, arrays: Any, owners: np.ndarray, places: np.ndarray, mesh: Any
) -> np.ndarray:
    """Scores of documents of one shard, each for its query; -inf for documents without a token."""
    from jrank.retrieval._multi_vector_kernels import on_host, score_some, taken

    shard, docs = snapshot.shards[number], snapshot.placed[number]
    layout, host = shard.layout, on_host(shard.docs, mesh)
    size = layout.tokens.shape[1] // layout.segments.shape[1]
    starts, tiles = np.asarray(layout.starts)[places] // size, -(-np.asarray(layout.lengths)[places] // size)
    result = np.full(len(places), -np.inf, np.float32)
    # Documents longer than a group have groups of their own size.
    sizes = np.maximum(TILES, 1 << np.ceil(np.log2(np.maximum(tiles, 1))).astype(np.int64))
    for per in np.unique(sizes[tiles > 0]).tolist():
        members = np.flatnonzero((sizes == per) & (tiles > 0))
        groups, used, ranks = _groups(owners[members], tiles[members], per)
        step = max(1, CALL // per)
        for low in range(0, int(groups[-1]) + 1, step):
            some = (groups >= low) & (groups < low + step)
            part, group = members[some], groups[some] - low
            count = int(group[-1]) + 1
            shape = 1 << (count - 1).bit_length(), per
            which, segments = np.zeros(shape, np.int32), np.full(shape, per, np.int32)
            inside = _ranges(tiles[part])
            target = np.repeat(group * per + used[some], tiles[part]) + inside
            which.reshape(-1)[target] = np.repeat(starts[part], tiles[part]) + inside
            segments.reshape(-1)[target] = np.repeat(ranks[some], tiles[part])
            owner = np.zeros(shape[0], np.int32)
            owner[group] = owners[part]
            source = docs
            if host is not None:
                source = taken(host, which, segments)
                which = np.arange(which.size, dtype=np.int32).reshape(shape)
            found = np.asarray(score_some(*arrays, source, owner, which, segments, np.int32(count)))
            result[part] = found[group, ranks[some]]
    return result


def _groups(owners: np.ndarray, tiles: np.ndarray, per: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put documents into groups of ``per`` tiles, each of one query: group, first tile in it, number in it."""
    found = np.zeros((3, len(tiles)), np.int64)
    group, used, rank, before = 0, 0, 0, int(owners[0])
    for place, (owner, count) in enumerate(zip(owners.tolist(), tiles.tolist(), strict=True)):
        if owner != before or used + count > per:
            group, used, rank, before = group + 1, 0, 0, owner
        found[:, place] = group, used, rank
        used, rank = used + count, rank + 1
    return found[0], found[1], found[2]


def _ranges(lengths: np.ndarray) -> np.ndarray:
    """Count from 0 within each of some lengths."""
    return np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)


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
      RetrieveError: there is not one finite number for each token, or one is so large that scores would overflow.
    """
    if weights is None:
        return None
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        found = [np.asarray(some, np.float32) for some in weights]
    if [w.shape for w in found] != [query.shape[:1] for query in queries] or not all(
        np.isfinite(w).all() for w in found
    ):
        raise RetrieveError(
            "weights must be finite, one for each token of each query",
            reason="invalid_parameter",
            hint="pass a list of arrays, as long as the queries",
        )
    for place, (some, query) in enumerate(zip(found, queries, strict=True)):
        # A token times its weight is bounded as tokens are. In float64, where it does not overflow.
        largest = np.abs(query).max(axis=1, initial=0).astype(np.float64) * np.abs(some)
        if max(np.abs(some).max(initial=0), largest.max(initial=0)) > LARGEST["float32"]:
            raise RetrieveError(
                f"weights[{place}] hold {np.abs(some).max():.3g}, so scores would overflow: with its weight, no number "
                f"of a query may be more than {LARGEST['float32']:g}",
                reason="invalid_parameter",
                hint="divide the weights by a constant, which keeps the order",
            )
    return found
