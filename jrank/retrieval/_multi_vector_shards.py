"""Documents of many vectors, laid out for scoring: shards that never change, and how they are made and read."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jrank.retrieval._vectors import storage_dtype

__all__ = ["DTYPES", "Coded", "Shard", "decode", "encode", "lay_out", "make_shard"]

DTYPES = ("float32", "bfloat16", "float16", "int8", "1bit")
# Tokens of a group, groups of a full shard, and documents that a full shard is rounded up to: few shapes are compiled.
GROUP_TOKENS, GROUPS, STEP = 4096, 64, 64


class Coded(NamedTuple):
    """A document as it is stored.

    Attributes:
      tokens: its token vectors or their codes, ``[t, w]``.
      scale: what a step of the codes is worth: ``[1]`` for int8, ``[t]`` for 1 bit, otherwise None.
    """

    tokens: np.ndarray
    scale: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Shard:
    """Some documents, in the order in which they came.

    Attributes:
      docs: ``PackedDocs``, or ``QuantizedDocs`` for int8 and 1 bit, filled up with empty groups and documents.
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
        layout, scale = self.layout, getattr(self.docs, "scale", None)
        tokens = np.asarray(layout[place])
        if scale is None:
            return Coded(tokens, None)
        if self.docs.bits == 8:
            slot = int(layout.slots[place])
            some = np.zeros(1, np.float32) if slot < 0 else np.asarray(scale).reshape(-1)[slot : slot + 1]
            return Coded(tokens, some)
        start = int(layout.starts[place])
        return Coded(tokens, np.asarray(scale).reshape(-1)[start : start + len(tokens)])


def encode(vectors: np.ndarray, dtype: str) -> Coded:
    """Return a document as it is stored.

    Args:
      vectors: float32, ``[t, d]``.
      dtype: one of ``DTYPES``.
    """
    if dtype == "int8":
        scale = np.abs(vectors).max(initial=0) / np.float32(127)
        return Coded(np.rint(vectors / (scale if scale > 0 else 1)).astype(np.int8), np.array([scale], np.float32))
    if dtype == "1bit":
        codes = np.packbits(vectors > 0, axis=1, bitorder="little")
        return Coded(codes, np.abs(vectors).mean(axis=1, dtype=np.float32) if vectors.size else np.zeros(0, np.float32))
    return Coded(vectors.astype(storage_dtype(dtype)), None)


def decode(coded: Coded, dtype: str, dimension: int) -> np.ndarray:
    """Return a stored document as float32, ``[t, d]``.

    Args:
      coded: what ``encode`` returned.
      dtype: one of ``DTYPES``.
      dimension: the number of dimensions.
    """
    if coded.scale is None:
        return coded.tokens.astype(np.float32)
    if dtype == "int8":
        return coded.tokens.astype(np.float32) * coded.scale
    signs = np.unpackbits(coded.tokens, axis=1, count=dimension, bitorder="little").astype(np.float32) * 2 - 1
    return signs * coded.scale[:, None]


def make_shard(coded: Sequence[Coded], dtype: str, dimension: int) -> Shard:
    """Lay documents out.

    Args:
      coded: at least one document.
      dtype: one of ``DTYPES``.
      dimension: the number of dimensions.

    Returns:
      The shard, on the host. Its shape depends on its documents alone, and is one of few.
    """
    from jrank.maxsim import QuantizedDocs, pack

    kind = np.dtype({"int8": np.int8, "1bit": np.uint8}.get(dtype) or storage_dtype(dtype))
    packed = pack([document.tokens for document in coded], group_tokens=GROUP_TOKENS, dtype=kind)
    groups, tokens, _ = packed.tokens.shape
    starts, lengths = np.asarray(packed.starts), np.asarray(packed.lengths)
    scale = None
    if dtype == "int8":
        scale = np.zeros((groups, packed.max_docs), np.float32)
        for document, start, length, slot in zip(coded, starts, lengths, np.asarray(packed.slots), strict=True):
            if length and document.scale is not None:
                scale.reshape(-1)[slot] = document.scale[0]
                # What fills several groups comes first in each of them.
                scale[start // tokens + 1 : -(-(start + length) // tokens), 0] = document.scale[0]
    elif dtype == "1bit":
        scale = np.zeros((groups, tokens), np.float32)
        for document, start, length in zip(coded, starts, lengths, strict=True):
            if length and document.scale is not None:
                end = -(-(start + length) // 4) * 4
                scale.reshape(-1)[start : start + length] = document.scale
                scale.reshape(-1)[start + length : end] = document.scale[-1]
    packed, scale = _filled(packed, scale)
    if scale is None:
        return Shard(packed, len(coded))
    return Shard(QuantizedDocs(packed, scale, None, None, None, 8 if dtype == "int8" else 1, dimension), len(coded))


def lay_out(
    before: Sequence[Shard],
    pending: Sequence[Coded],
    alive: np.ndarray,
    dtype: str,
    dimension: int,
    *,
    is_open: bool,
) -> tuple[list[Shard], np.ndarray, bool]:
    """Bring pending documents into shards, and lay anew what holds more deleted documents than others.

    Args:
      before: the shards so far.
      pending: the documents that came after them.
      alive: which documents of the shards, then of the pending ones, are not deleted.
      dtype: one of ``DTYPES``.
      dimension: the number of dimensions.
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
                shards.append(make_shard(left, dtype, dimension))
                masks.append(np.ones(len(left), bool))
            continue
        shards.append(shard)
        masks.append(mask)
        still_open = growing
    coded += [document for document, stays in zip(pending, alive[start:], strict=True) if stays]
    lengths, start = [len(document.tokens) for document in coded], 0
    while start < len(coded):
        end = _filling(lengths, start)
        shards.append(make_shard(coded[start:end], dtype, dimension))
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


def _filled(packed: Any, scale: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
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
    return packed, None if scale is None else grown(scale, more)
