"""Documents of any lengths side by side, so that nothing is padded to the longest."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, Shaped

from jrank.errors import RerankError
from jrank.maxsim._inputs import common_type
from jrank.maxsim._total import SHORTEST

__all__ = ["TILE", "PackedDocs", "pack", "unit_rows"]

GROUP_TOKENS = 4096
# Documents are filled up to whole tiles with copies of their last token, which change no maximum.
TILE = 4


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

    tokens: Shaped[Any, "groups tokens d"]
    segments: Int[Any, "groups tiles"]
    slots: Int[Any, " n"]
    starts: Int[Any, " n"]
    lengths: Int[Any, " n"]
    max_docs: int = dataclasses.field(metadata={"static": True})
    span: int = dataclasses.field(metadata={"static": True})

    def __len__(self) -> int:
        return self.slots.shape[0]

    @property
    def dimensions(self) -> int:
        """How many dimensions a token has."""
        return self.tokens.shape[-1]


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
        slots=jnp.asarray(slots, jnp.int32),
        starts=jnp.asarray(starts, jnp.int32),
        lengths=jnp.asarray(lengths, jnp.int32),
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
