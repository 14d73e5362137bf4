"""Documents of many vectors, laid out for scoring: shards that never change, and how they are made and read."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jrank.retrieval._multi_vector_codecs import CODECS, Coded, learn

__all__ = ["Shard", "beside_of", "lay_out", "make_shard", "with_code"]

# Tokens of a group, groups of a full shard, and documents that a full shard is rounded up to: few shapes are compiled.
GROUP_TOKENS, GROUPS, STEP = 4096, 64, 64


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """Some documents, in the order in which they came.

    Attributes:
      docs: ``PackedDocs``, or ``QuantizedDocs`` for codes, filled up with empty groups and documents.
      count: how many documents it holds; those that are deleted count.
      name: what it is called on disk, and the directory where it lies; None if it has not been written.
    """

    docs: Any
    count: int
    name: str | None = None
    home: Any = None

    @property
    def layout(self) -> Any:
        """The packed documents, or those whose tokens are codes."""
        return getattr(self.docs, "codes", self.docs)

    def __getitem__(self, place: int) -> Coded:
        layout = self.layout
        tokens, beside = np.asarray(layout[place]), beside_of(self.docs)
        if beside is None:
            return Coded(tokens, None)
        start = int(layout.starts[place])
        return Coded(tokens, np.asarray(beside).reshape(-1)[start : start + len(tokens)])


def beside_of(docs: Any) -> Any:
    """Return the number that stands beside the code of each token; None for plain numbers.

    Args:
      docs: ``PackedDocs`` or ``QuantizedDocs``.
    """
    scale = getattr(docs, "scale", None)
    return getattr(docs, "nearest", None) if scale is None else scale


def make_shard(coded: Sequence[Coded], dtype: str, dimension: int, code: Any = None) -> Shard:
    """Lay documents out.

    Args:
      coded: at least one document.
      dtype: one of ``CODECS``.
      dimension: the number of dimensions.
      code: what was learnt, for the dtypes that learn.

    Returns:
      The shard, on the host. Its shape depends on its documents alone, and is one of few.
    """
    from jrank.maxsim import QuantizedDocs, pack

    codec = CODECS[dtype]
    if codec.learns and code is None:  # documents without a token, before there was one
        code = learn([np.zeros((0, dimension), np.float32)])
    packed = pack([document.tokens for document in coded], group_tokens=GROUP_TOKENS, dtype=coded[0].tokens.dtype)
    if codec.bits is None:
        return Shard(_filled(packed, None)[0], len(coded))
    groups, size, _ = packed.tokens.shape
    beside = np.zeros((groups, size), coded[0].beside.dtype)
    flat, tile = beside.reshape(-1), size // packed.segments.shape[1]
    for document, start, length in zip(coded, np.asarray(packed.starts), np.asarray(packed.lengths), strict=True):
        if length:
            flat[start : start + length] = document.beside
            flat[start + length : start + -(-length // tile) * tile] = document.beside[-1]
    packed, beside = _filled(packed, beside)
    fields = {"scale": None, "nearest": None, codec.beside: beside}
    docs = QuantizedDocs(packed, **fields, centroids=None, levels=None, bits=codec.bits, dimensions=dimension)
    return Shard(with_code(docs, code), len(coded))


def with_code(docs: Any, code: Any) -> Any:
    """Return documents with the learnt code that they are in; None takes it out of them.

    Args:
      docs: ``QuantizedDocs``.
      code: a ``ResidualCode``, or None.
    """
    if code is None:
        return dataclasses.replace(docs, centroids=None, levels=None)
    return dataclasses.replace(docs, centroids=code.centroids, levels=code.levels)


def lay_out(
    before: Sequence[Shard],
    pending: Sequence[Coded],
    alive: np.ndarray,
    dtype: str,
    dimension: int,
    code: Any = None,
    *,
    is_open: bool,
) -> tuple[list[Shard], np.ndarray, bool]:
    """Bring pending documents into shards, and lay anew what holds more deleted documents than others.

    Args:
      before: the shards so far.
      pending: the documents that came after them.
      alive: which documents of the shards, then of the pending ones, are not deleted.
      dtype: one of ``CODECS``.
      dimension: the number of dimensions.
      code: what was learnt, for the dtypes that learn.
      is_open: whether the last shard has room.

    Returns:
      The shards, which of their documents are not deleted, and whether the last one has room.
    """
    shards, masks, start, still_open = [], [np.zeros(0, bool)], 0, False
    coded: list[Coded] = []
    for number, shard in enumerate(before):
        mask = alive[start : start + shard.count]
        start += shard.count
        growing = is_open and number == len(before) - 1
        if (growing and pending) or 2 * int(mask.sum()) < shard.count:
            left = [shard[int(place)] for place in np.flatnonzero(mask)]
            if growing:
                coded = left
            elif left:
                shards.append(make_shard(left, dtype, dimension, code))
                masks.append(np.ones(len(left), bool))
            continue
        shards.append(shard)
        masks.append(mask)
        still_open = growing
    coded += [document for document, stays in zip(pending, alive[start:], strict=True) if stays]
    lengths, start = [len(document.tokens) for document in coded], 0
    while start < len(coded):
        end = _filling(lengths, start)
        shards.append(make_shard(coded[start:end], dtype, dimension, code))
        masks.append(np.ones(shards[-1].count, bool))
        start, still_open = (len(coded), True) if end is None else (end, False)
    return shards, np.concatenate(masks), still_open


def _filling(lengths: list[int], start: int) -> int | None:
    """Where a shard that begins at a document ends; None if what is left does not fill one."""
    groups, used = 0, GROUP_TOKENS
    for place in range(start, len(lengths)):
        room = -(-lengths[place] // 4) * 4
        if used + room > GROUP_TOKENS:
            groups, used = groups + max(1, -(-room // GROUP_TOKENS)), 0
            if groups > GROUPS:
                # A document longer than a whole shard has one of its own.
                return max(place, start + 1)
            room = room % GROUP_TOKENS if room > GROUP_TOKENS else room
        used += room
    return None


def _filled(packed: Any, beside: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
    """Round the numbers of groups and documents up, with empty ones."""
    groups, count = packed.tokens.shape[0], len(packed)
    wanted = max(groups, GROUPS) if groups > GROUPS // 2 else 1 << (groups - 1).bit_length()
    step = max(STEP, 1 << max(count.bit_length() - 3, 0))
    more, blank = wanted - groups, -(-count // step) * step - count

    def grown(array: Any, number: int, fill: int = 0) -> np.ndarray:
        array = np.asarray(array)
        return np.concatenate([array, np.full((number, *array.shape[1:]), fill, array.dtype)]) if number else array

    packed = dataclasses.replace(
        packed,
        tokens=grown(packed.tokens, more),
        segments=grown(packed.segments, more, packed.max_docs),
        slots=grown(packed.slots, blank, -1),
        starts=grown(packed.starts, blank),
        lengths=grown(packed.lengths, blank),
    )
    return packed, None if beside is None else grown(beside, more)
