"""Documents of any lengths side by side, so that nothing is padded to the longest."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jrank.errors import DataError, RerankError
from jrank.maxsim._inputs import common_type
from jrank.maxsim._store import load_arrays, save_arrays
from jrank.maxsim._total import SHORTEST
from jrank.sharding import refuse_explicit
from jrank.types import Array

__all__ = ["TILE", "PackedDocs", "concat_packed", "on_host", "pack", "split", "spread_groups", "unit_rows"]

GROUP_TOKENS = 4096
# Documents are filled up to whole tiles with copies of their last token, which change no maximum.
TILE = 4
# Arrays that are not by group: every device of a mesh has all of them.
WHOLE = "slots", "starts", "lengths", "centroids", "levels"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PackedDocs:
    """Documents packed into groups of equal size; made by ``pack``, a pytree of arrays.

    No document straddles two groups, unless it is longer than a group: then it starts a group and fills the next ones.

    Attributes:
      tokens: token embeddings, ``[groups, tokens, d]``.
      segments: slot of the document that each tile of 4 tokens belongs to, ascending, int32 ``[groups, tiles]``;
        ``max_docs`` where there is no document.
      slots: ``group * max_docs + slot`` of each document, int32 ``[n]``; -1 for an empty document.
      starts: where each document starts in the tokens of all groups, int32 ``[n]``.
      lengths: how many tokens each document has, int32 ``[n]``.
      max_docs: most documents of a group, rounded up to a power of two.
      span: most groups that one document fills.
    """

    # Not arrays alone: trees of this shape also hold specifications and shardings.
    tokens: Any
    segments: Any
    slots: Any
    starts: Any
    lengths: Any
    max_docs: int = dataclasses.field(metadata={"static": True})
    span: int = dataclasses.field(metadata={"static": True})

    def __len__(self) -> int:
        return self.slots.shape[0]

    @property
    def dimensions(self) -> int:
        """How many dimensions a token has."""
        return self.tokens.shape[-1]

    @property
    def nbytes(self) -> int:
        """How many bytes the arrays take."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self))

    def __getitem__(self, place: int | slice) -> Any:
        """Return the tokens of one document, ``[t, d]``, or the packed documents of a range.

        A range shares the groups that it touches: of mapped memory nothing is read.
        """
        if isinstance(place, slice):
            return self.cut(place)[0]
        size = len(self)
        if not -size <= place < size:
            raise IndexError(f"document {place} of {size}")
        start, length = int(self.starts[place]), int(self.lengths[place])
        groups = self.tokens.shape[1]
        first, last = start // groups, -(-(start + length) // groups)
        part = self.tokens[first : max(last, first + 1)].reshape(-1, self.dimensions)
        return part[start - first * groups : start - first * groups + length]

    def cut(self, places: slice) -> tuple["PackedDocs", slice]:
        """Return the packed documents of a range, and which groups they share with these.

        Args:
          places: the range; its step must be 1.

        Raises:
          RerankError: another step.
        """
        start, stop, step = places.indices(len(self))
        if step != 1:
            raise RerankError(
                f"documents can be sliced with step 1, got {step}",
                reason="invalid_parameter",
                hint="select takes any places",
            )
        stop = max(start, stop)
        slots, starts, lengths = (np.asarray(x)[start:stop] for x in (self.slots, self.starts, self.lengths))
        size = self.tokens.shape[1]
        used = lengths > 0
        first = int(starts[used].min() // size) if used.any() else 0
        last = int(((starts + lengths)[used].max() - 1) // size) + 1 if used.any() else 1
        part = dataclasses.replace(
            self,
            tokens=self.tokens[first:last],
            segments=self.segments[first:last],
            slots=np.where(used, slots - first * self.max_docs, -1).astype(np.int32),
            starts=np.where(used, starts - first * size, 0).astype(np.int32),
            lengths=lengths,
        )
        return part, slice(first, last)

    def select(self, places: Any) -> "PackedDocs":
        """Pack some of the documents anew.

        Args:
          places: their indices, in the order wanted; a document may come more than once.

        Returns:
          The packed documents.

        Raises:
          RerankError: there is no place.
          IndexError: a place is outside of the collection.
        """
        host = on_host(self)
        return pack([host[int(place)] for place in np.asarray(places)], group_tokens=self.tokens.shape[1])

    def save(self, directory: str | os.PathLike) -> None:
        """Write the documents to a directory, which appears when it is whole.

        Args:
          directory: where to; an existing directory is replaced.

        Raises:
          DataError: the directory cannot be written.
        """
        save_arrays(directory, "packed documents", *split(self))

    @classmethod
    def load(cls, directory: str | os.PathLike, *, mmap: bool = True) -> "PackedDocs":
        """Read what ``save`` wrote.

        Args:
          directory: where from.
          mmap: whether the arrays are mapped into memory, to be read where they are used.

        Returns:
          The documents, bit for bit.

        Raises:
          DataError: a file is missing or is not what the manifest says.
        """
        static = {"max_docs", "span"}
        arrays = {field.name for field in dataclasses.fields(cls)} - static
        found = load_arrays(directory, "packed documents", arrays, static, mmap=mmap)
        if missing := arrays - set(found):
            raise DataError(f"{directory} lacks {', '.join(sorted(missing))}", reason="malformed")
        packed = cls(**found)
        if not packed.is_sound():
            raise DataError(f"{directory} holds places outside of its arrays", reason="malformed")
        return packed

    def is_sound(self) -> bool:
        """Whether shapes fit together and all places lie within the arrays; scoring reads without looking again."""
        segments, slots, starts, lengths = (
            np.asarray(x) for x in (self.segments, self.slots, self.starts, self.lengths)
        )
        if self.tokens.ndim != 3 or any(x.dtype != np.int32 for x in (segments, slots, starts, lengths)):
            return False
        groups, size, _ = self.tokens.shape
        return bool(
            size % TILE == 0
            and 1 <= self.max_docs <= size
            and 1 <= self.span <= max(groups, 1)
            and segments.shape == (groups, size // TILE)
            and not ((segments < 0) | (segments > self.max_docs)).any()
            and not (segments[:, 1:] < segments[:, :-1]).any()
            and slots.ndim == 1
            and slots.shape == starts.shape == lengths.shape
            and not ((slots < -1) | (slots >= groups * self.max_docs)).any()
            and not ((starts < 0) | (lengths < 0) | (starts.astype(np.int64) + lengths > groups * size)).any()
        )

    def shard(self, mesh: Mesh, axis: str = "data") -> "PackedDocs":
        """Spread the groups over the devices of a mesh, for ``score_packed(..., mesh=mesh)``.

        Args:
          mesh: the mesh, with automatic axes.
          axis: the axis to spread over.

        Returns:
          The documents on the devices; empty groups fill up the last.

        Raises:
          ValueError: the mesh has explicit axes.
        """
        return spread_groups(self, self, mesh, axis)


def on_host(docs: Any) -> Any:
    """Return documents as arrays of NumPy: on the device, to take one after the other would compile for each length.

    Args:
      docs: packed documents, quantised or not.
    """
    return jax.tree.map(np.asarray, docs)


def spread_groups(docs: Any, layout: PackedDocs, mesh: Mesh, axis: str) -> Any:
    """Spread what documents hold for each group over the devices of a mesh; every device gets the rest.

    Args:
      docs: packed documents, quantised or not.
      layout: the packed documents within.
      mesh: the mesh, with automatic axes.
      axis: the axis to spread over.
    """
    refuse_explicit(mesh)
    missing = -layout.tokens.shape[0] % mesh.shape[axis]
    spread, everywhere = NamedSharding(mesh, PartitionSpec(axis)), NamedSharding(mesh, PartitionSpec())

    def put(name: str, array: Any) -> Array:
        if name in WHOLE:
            return jax.device_put(array, everywhere)
        array = np.asarray(array)
        filler = np.full((missing, *array.shape[1:]), layout.max_docs if name == "segments" else 0, array.dtype)
        return jax.device_put(np.concatenate([array, filler]), spread)

    return jax.tree_util.tree_map_with_path(lambda path, array: put(path[-1].name, array), docs)


def split(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the static fields of a dataclass that is a pytree.

    Args:
      value: the object.
    """
    arrays: dict[str, Any] = {}
    static: dict[str, Any] = {}
    for field in dataclasses.fields(value):
        (static if field.metadata.get("static") else arrays)[field.name] = getattr(value, field.name)
    return arrays, static


def concat_packed(parts: Sequence[PackedDocs]) -> PackedDocs:
    """Put packed documents one after the other; see ``concat``.

    Args:
      parts: packed documents of one dimension, at least one.
    """
    sizes = {part.tokens.shape[1] for part in parts}
    if len(sizes) > 1:
        docs = [part[place] for part in map(on_host, parts) for place in range(len(part))]
        return pack(docs, group_tokens=max(sizes))
    (size,) = sizes
    max_docs = max(part.max_docs for part in parts)
    kind = common_type(*{part.tokens.dtype for part in parts})
    segments, slots, starts, groups = [], [], [], 0
    for part in parts:
        old = np.asarray(part.slots)
        segments.append(np.where(part.segments == part.max_docs, max_docs, part.segments).astype(np.int32))
        slots.append(np.where(old < 0, -1, (old // part.max_docs + groups) * max_docs + old % part.max_docs))
        starts.append(np.asarray(part.starts) + groups * size)
        groups += part.tokens.shape[0]
    return PackedDocs(
        tokens=jnp.asarray(np.concatenate([np.asarray(part.tokens).astype(kind) for part in parts])),
        segments=jnp.asarray(np.concatenate(segments)),
        slots=jnp.asarray(np.concatenate(slots).astype(np.int32)),
        starts=jnp.asarray(np.concatenate(starts).astype(np.int32)),
        lengths=jnp.asarray(np.concatenate([part.lengths for part in parts]).astype(np.int32)),
        max_docs=max_docs,
        span=max(part.span for part in parts),
    )


def pack(
    docs: Sequence[Any], *, group_tokens: int = GROUP_TOKENS, dtype: Any = None, normalize: bool = False
) -> PackedDocs:
    """Pack documents of any lengths for ``score_packed``.

    Args:
      docs: token embeddings of each document, ``[t_j, d]`` arrays of one dimension ``d``; ``t_j`` may be 0.
      group_tokens: how many tokens make a group. The default keeps a group and its scores in the cache of a CPU core.
        Few documents make smaller groups.
      dtype: type of the stored embeddings; None keeps that of the documents. ``jnp.bfloat16`` halves the memory.
      normalize: whether vectors are scaled to length 1, so that products with normalised queries are cosines; a vector
        shorter than 1e-9 becomes 0.

    Returns:
      The packed documents, in the order given. Static sizes are rounded: similar collections share a compilation.

    Raises:
      RerankError: there is no document, a document is not a matrix, or the dimensions differ.

    Cost: one copy on the host. Padding takes a few per cent of a large collection.

    >>> packed = pack([jnp.ones((3, 2)), jnp.zeros((0, 2)), jnp.ones((70, 2))])
    >>> len(packed), packed.lengths.tolist(), packed.tokens.shape
    (3, [3, 0, 70], (1, 128, 2))
    """
    arrays = _matrices(docs)
    if group_tokens < TILE or group_tokens % TILE:
        raise RerankError(f"group_tokens is {group_tokens}, expected a multiple of {TILE}", reason="invalid_parameter")
    kind = jnp.dtype(dtype) if dtype is not None else _common_type(arrays)
    lengths = np.array([len(a) for a in arrays], np.int64)
    size = _group_size(lengths, group_tokens)
    groups, slots, starts, max_docs, span = _place(lengths, size)

    tokens = np.zeros((groups, size, arrays[0].shape[1]), kind)
    segments = np.full((groups, size // TILE), max_docs, np.int32)
    flat, flat_segments = tokens.reshape(groups * size, -1), segments.reshape(-1)
    for array, start, slot in zip(arrays, starts, slots, strict=True):
        if len(array):
            end = start + len(array)
            full = -(-end // TILE) * TILE
            flat[start:end] = unit_rows(array) if normalize else array
            flat[end:full] = flat[end - 1]
            flat_segments[start // TILE : full // TILE] = slot % max_docs
    return PackedDocs(
        tokens=jnp.asarray(tokens),
        segments=jnp.asarray(segments),
        slots=jnp.asarray(slots.astype(np.int32)),
        starts=jnp.asarray(starts.astype(np.int32)),
        lengths=jnp.asarray(lengths.astype(np.int32)),
        max_docs=max_docs,
        span=span,
    )


def unit_rows(array: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; rows shorter than 1e-9 become 0.

    Args:
      array: ``[t, d]``.
    """
    wide = array.astype(np.promote_types(array.dtype, np.float32) if array.dtype.kind == "f" else np.float32)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, length, out=np.zeros_like(wide), where=length > SHORTEST)


def _matrices(docs: Sequence[Any]) -> list[np.ndarray]:
    arrays = [np.asarray(doc) for doc in docs]
    if not arrays:
        raise RerankError("there are no documents to pack", reason="empty_input")
    for place, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != arrays[0].shape[-1]:
            raise RerankError(
                f"document {place} has shape {array.shape}, expected [tokens, {arrays[0].shape[-1]}]",
                reason="dimension_mismatch",
                hint="every document is a matrix with one row for each token",
            )
    return arrays


def _common_type(arrays: list[np.ndarray]) -> np.dtype:
    kind = common_type(*{jax.dtypes.canonicalize_dtype(array.dtype) for array in arrays})
    if not jnp.issubdtype(kind, jnp.floating):
        kind = jnp.result_type(float)
    return jnp.dtype(kind)


def _group_size(lengths: np.ndarray, group_tokens: int) -> int:
    total = int((-(-lengths // TILE) * TILE).sum())
    small = max(TILE, 64)
    while small < total:
        small *= 2
    return min(small, group_tokens)


def _place(lengths: np.ndarray, size: int) -> tuple[int, np.ndarray, np.ndarray, int, int]:
    """Put each document into the current group if it fits, otherwise into the next."""
    starts = np.zeros(len(lengths), np.int64)
    numbers = np.zeros(len(lengths), np.int64)  # of the document in its group
    position = count = 0
    most, span = 1, 1
    for place, length in enumerate(lengths.tolist()):
        if not length:
            continue
        room = -(-length // TILE) * TILE
        used = position % size
        if used and used + room > size:
            position += size - used
            count = 0
        elif not used:
            count = 0
        starts[place], numbers[place] = position, count
        position += room
        if room > size:  # what follows in the last of its groups comes after it
            span = max(span, -(-room // size))
            count = 0
        count += 1
        most = max(most, count)
    groups = max(1, -(-position // size))
    max_docs = 1 << (most - 1).bit_length()
    slots = np.where(lengths > 0, starts // size * max_docs + numbers, -1)
    return groups, slots, starts, max_docs, span
