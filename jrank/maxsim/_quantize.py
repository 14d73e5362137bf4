"""Packed documents in fewer bits."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from jrank.errors import DataError, RerankError
from jrank.maxsim._pack import TILE, PackedDocs, on_host, pack, split, spread_groups
from jrank.maxsim._residual import ResidualCode, decode_residual, pack_bits, residual_code, unpack_bits
from jrank.maxsim._store import load_arrays, save_arrays
from jrank.types import Array

__all__ = ["QuantizedDocs", "quantize", "repack"]

# Tokens that a residual code is learnt from.
SAMPLE = 1 << 16
SCALES = "document", "token"
BITS = 8, 2, 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuantizedDocs:
    """Packed documents in fewer bits; made by ``quantize``, scored by ``score_packed``, a pytree of arrays.

    Attributes:
      codes: the packed documents, with codes in the place of tokens.
      scale: what one step of a code is worth, float32: for 8 bits of each document ``[groups, max_docs]`` or of each
        token ``[groups, tokens]``, for 1 bit of each token, for 2 bits None.
      centroids: typical tokens, ``[centroids, d]``, for 2 bits, otherwise None.
      nearest: centroid of each token, uint16 ``[groups, tokens]``, for 2 bits, otherwise None.
      levels: what the four codes of 2 bits add to a centroid in each dimension, ``[4, d]``, otherwise None.
      bits: 8, 2 or 1; within an index also 16, whose codes are the bits of bfloat16.
      dimensions: how many dimensions a token has.
    """

    codes: PackedDocs
    scale: Any
    centroids: Any
    nearest: Any
    levels: Any
    bits: int = dataclasses.field(metadata={"static": True})
    dimensions: int = dataclasses.field(metadata={"static": True})

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def scale_of_tokens(self) -> bool:
        """Whether each token has a scale of its own."""
        return self.scale is not None and self.scale.shape[-1] == self.codes.tokens.shape[1]

    @property
    def on_integers(self) -> bool:
        """Whether a document has one scale, so that products and maxima can be taken on integers."""
        return self.bits == 8 and not self.scale_of_tokens

    @property
    def nbytes(self) -> int:
        """How many bytes the arrays take."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self))

    def __getitem__(self, place: int | slice) -> Any:
        """Return the tokens of one document as the codes tell them, float32 ``[t, d]``, or the documents of a range.

        A range shares the groups that it touches: of mapped memory nothing is read.
        """
        if not isinstance(place, slice):
            size = len(self)
            if not -size <= place < size:
                raise IndexError(f"document {place} of {size}")
            first = int(place) % size
            return self[first : first + 1].unpack()[0]
        codes, groups = self.codes.cut(place)
        scale, nearest = (None if x is None else x[groups] for x in (self.scale, self.nearest))
        return dataclasses.replace(self, codes=codes, scale=scale, nearest=nearest)

    def select(self, places: Any) -> "QuantizedDocs":
        """Pack some of the documents anew, with the codes that they have.

        Args:
          places: their indices, in the order wanted; a document may come more than once.

        Returns:
          The documents.

        Raises:
          RerankError: there is no place.
          IndexError: a place is outside of the collection.
        """
        host = on_host(self)
        return repack([(host, int(place)) for place in np.asarray(places)], self.codes.tokens.shape[1])

    def group_arrays(self) -> tuple[Any, ...]:
        """Return the arrays that ``decode`` needs, with the groups as their first axis; the segments come last."""
        return tuple(x for x in (self.codes.tokens, self.scale, self.nearest, self.codes.segments) if x is not None)

    def shared_arrays(self) -> tuple[Any, ...]:
        """Return the arrays that ``decode`` needs for every group alike: for 2 bits centroids and levels."""
        return () if self.centroids is None else (self.centroids, self.levels)

    def decode(self, *group: Array) -> Array:
        """Return the tokens of one group as float32, ``[tokens, d]``.

        Args:
          *group: one entry of each of ``group_arrays``.
        """
        return _DECODERS[self.bits](self, *group)

    def unpack(self) -> PackedDocs:
        """Return packed documents in float32, as the codes tell them."""
        return dataclasses.replace(self.codes, tokens=_decoded(self))

    def shard(self, mesh: Mesh, axis: str = "data") -> "QuantizedDocs":
        """Spread the groups over the devices of a mesh, for ``score_packed(..., mesh=mesh)``.

        Args:
          mesh: the mesh, with automatic axes.
          axis: the axis to spread over.

        Returns:
          The documents on the devices; empty groups fill up the last. Centroids and levels are on each.

        Raises:
          ValueError: the mesh has explicit axes.
        """
        return spread_groups(self, self.codes, mesh, axis)

    def save(self, directory: str | os.PathLike) -> None:
        """Write the documents to a directory, which appears when it is whole.

        Args:
          directory: where to; an existing directory is replaced.

        Raises:
          DataError: the directory cannot be written.
        """
        arrays, static = split(self)
        inner, figures = split(arrays.pop("codes"))
        save_arrays(directory, "quantized documents", arrays | inner, static | figures)

    @classmethod
    def load(cls, directory: str | os.PathLike, *, mmap: bool = True) -> "QuantizedDocs":
        """Read what ``save`` wrote.

        Args:
          directory: where from.
          mmap: whether the arrays are mapped into memory, to be read where they are used.

        Returns:
          The documents, bit for bit.

        Raises:
          DataError: a file is missing or is not what the manifest says.
        """
        own = {"scale", "centroids", "nearest", "levels"}
        inner = {"tokens", "segments", "slots", "starts", "lengths"}
        static = {"max_docs", "span", "bits", "dimensions"}
        found = load_arrays(directory, "quantized documents", own | inner, static, mmap=mmap)
        if missing := inner - set(found):
            raise DataError(f"{directory} lacks {', '.join(sorted(missing))}", reason="malformed")
        codes = PackedDocs(**{name: found.pop(name) for name in (*inner, "max_docs", "span")})
        absent: dict[str, Any] = dict.fromkeys(own)
        docs = cls(codes=codes, **(absent | found))
        if not (codes.is_sound() and _fits(docs)):
            raise DataError(f"{directory} holds codes that do not fit together", reason="malformed")
        return docs


@jax.jit
def _decoded(docs: QuantizedDocs) -> Array:
    """The tokens of all groups as float32."""
    return lax.map(lambda group: docs.decode(*group), tuple(jnp.asarray(x) for x in docs.group_arrays()))


def repack(rows: Sequence[tuple[QuantizedDocs, int]], group_tokens: int) -> QuantizedDocs:
    """Pack single documents of quantised ones anew, with the codes that they have.

    Args:
      rows: documents of one kind, each by where it is, on the host, and its place there.
      group_tokens: how many tokens make a group, at most.

    Raises:
      RerankError: there are no documents.
      IndexError: a place is outside of its documents.
    """

    def packed(arrays: list[np.ndarray]) -> PackedDocs:
        return pack(arrays, group_tokens=group_tokens, dtype=arrays[0].dtype if arrays else None)

    codes = packed([docs.codes[place] for docs, place in rows])
    like = rows[0][0]
    scale, nearest = like.scale, like.nearest
    if nearest is not None:
        nearest = packed([_of_document(docs, docs.nearest, place) for docs, place in rows]).tokens[..., 0]
    if scale is not None and like.scale_of_tokens:
        scale = packed([_of_document(docs, docs.scale, place) for docs, place in rows]).tokens[..., 0]
    elif scale is not None:
        slots = np.array([int(docs.codes.slots[place]) for docs, place in rows])
        values = [np.asarray(docs.scale).reshape(-1)[slot] for (docs, _), slot in zip(rows, slots, strict=True)]
        scale = _spread_scale(codes, np.array(values, np.float32))
    return dataclasses.replace(like, codes=codes, scale=scale, nearest=nearest)


def _of_document(docs: QuantizedDocs, array: Any, place: int) -> np.ndarray:
    """What stands at the tokens of a document, ``[t, 1]``."""
    start = int(docs.codes.starts[place])
    return np.asarray(array).reshape(-1, 1)[start : start + int(docs.codes.lengths[place])]


def _spread_scale(codes: PackedDocs, values: np.ndarray) -> Array:
    """Put the scale of each document into its slot, and into every group that it fills."""
    scale = np.zeros((codes.tokens.shape[0], codes.max_docs), np.float32)
    slots, lengths = np.asarray(codes.slots), np.asarray(codes.lengths)
    used = lengths > 0
    scale.reshape(-1)[slots[used]] = values[used]
    return jnp.asarray(_same_in_all_groups(jnp.asarray(scale), codes))


def _fits(docs: QuantizedDocs) -> bool:
    """Whether the arrays of codes have the shapes that decoding expects, and no centroid is missing."""
    groups, size, width = docs.codes.tokens.shape
    kind = docs.codes.tokens.dtype == (jnp.int8 if docs.bits == 8 else jnp.uint8)
    if docs.bits not in BITS or not kind or width != -(-docs.dimensions * docs.bits // 8):
        return False
    if docs.bits == 2 and docs.centroids is None and docs.levels is None:  # kept elsewhere, as an index does
        return np.shape(docs.nearest) == (groups, size)
    if docs.bits == 2:
        shapes = np.shape(docs.nearest), np.shape(docs.levels), np.ndim(docs.centroids)
        good = shapes == ((groups, size), (4, docs.dimensions), 2) and docs.centroids.shape[1] == docs.dimensions
        return bool(good and not (np.asarray(docs.nearest) >= len(docs.centroids)).any())
    shapes = [(groups, size)] + ([(groups, docs.codes.max_docs)] if docs.bits == 8 else [])
    return np.shape(docs.scale) in shapes


def quantize(
    packed: PackedDocs,
    bits: int,
    *,
    scale: str = "document",
    centroids: int | None = None,
    code: ResidualCode | None = None,
    seed: int = 0,
) -> QuantizedDocs:
    r"""Store packed documents in 8, 2 or 1 bits a dimension.

    8 bits are integers with a scale. With one for each document, products and maxima are taken on integers, with the
    query in 8 bits a token as well: fastest where the processor multiplies bytes. With one for each token documents are
    decoded group by group and the query stays as it is: half the error. 2 bits tell which of four levels is nearest to
    the difference from the nearest of some centroids (``residual_code``). 1 bit is the sign, with the mean magnitude of
    each token. For 2 and 1 bits the query stays as it is.

    Args:
      packed: the documents.
      bits: 8, 2 or 1.
      scale: what has a scale of its own in 8 bits: "document" or "token".
      centroids: how many centroids 2 bits use, at most 65536; None takes a power of two near
        :math:`4 \sqrt{\text{tokens}}`.
      code: the code for 2 bits, learnt before; None learns it from the documents.
      seed: of the sample that the code is learnt from.

    Returns:
      The documents; ``score_packed`` takes them in the place of packed ones.

    Raises:
      RerankError: another number of bits or centroids, another scale, or a code of other dimensions.

    Numerics: 8 bits: an error of at most half a step in each dimension, where a step is the largest magnitude of the
    document, or of the token, over 127. So the codes of a document, as those of 1 bit, do not depend on what it is
    packed with. Scores are differentiable by the query, but not where they are taken on integers: that raises an error.

    Cost: bytes of a token: :math:`d` (and 4 of a document, or of a token), :math:`d/4 + 2`, :math:`d/8 + 4`. Time of
    one pass over the tokens, for 2 bits of nine products of the sample with the centroids and one of all tokens.

    References: Santhanam et al., ColBERTv2, NAACL 2022.

    >>> from jrank.maxsim import pack, score_packed
    >>> packed = pack([jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[-1.0, -1.0]])])
    >>> [round(score, 2) for score in score_packed(jnp.array([[1.0, 0.5]]), quantize(packed, 8)).tolist()]
    [1.0, -1.5]
    """
    if not isinstance(packed, PackedDocs):
        raise TypeError(f"packed must be packed documents, got a {type(packed).__name__}; write pack(docs)")
    if bits not in BITS:
        raise RerankError(f"bits is {bits}, expected 8, 2 or 1", reason="invalid_parameter")
    if scale not in SCALES:
        raise RerankError(f"scale is {scale!r}, expected one of {', '.join(SCALES)}", reason="invalid_parameter")
    if centroids is not None and not 1 <= centroids <= 1 << 16:
        raise RerankError(f"centroids is {centroids}, expected 1 to 65536", reason="invalid_parameter")
    if bits == 2:
        return _encode_residual(packed, centroids, seed, code)
    if bits == 1:
        return _encode_sign(packed)
    return _encode_int8(packed) if scale == "document" else _encode_int8_tokens(packed)


def _with_codes(packed: PackedDocs, codes: Array) -> PackedDocs:
    return dataclasses.replace(packed, tokens=codes)


def _encode_int8(packed: PackedDocs) -> QuantizedDocs:
    tokens, segments = jnp.asarray(packed.tokens), jnp.asarray(packed.segments)
    scale = jnp.asarray(_same_in_all_groups(_largest(tokens, segments, packed.max_docs), packed)) / 127
    return QuantizedDocs(
        _with_codes(packed, _whole(tokens, scale, segments)), scale, None, None, None, 8, packed.dimensions
    )


# Compiled once for each shape, not once for each call.
@functools.partial(jax.jit, static_argnames="max_docs")
def _largest(tokens: Array, segments: Array, max_docs: int) -> Array:
    """The largest magnitude of each slot, ``[groups, max_docs]``."""

    def one(group: tuple[Array, Array]) -> Array:
        tokens, segments = group
        tiles = jnp.max(jnp.abs(tokens).reshape(segments.shape[0], -1), axis=-1).astype(jnp.float32)
        low = jnp.zeros(max_docs, jnp.float32)
        return low.at[segments].max(tiles, indices_are_sorted=True, mode="drop")

    return lax.map(one, (tokens, segments))


@jax.jit
def _whole(tokens: Array, scale: Array, segments: Array) -> Array:
    def one(group: tuple[Array, Array, Array]) -> Array:
        tokens, scale, segments = group
        step = _of_tokens(jnp.where(scale > 0, scale, 1), segments)
        return jnp.round(tokens.astype(jnp.float32) / step[:, None]).astype(jnp.int8)

    return lax.map(one, (tokens, scale, segments))


@jax.jit
def _whole_by_token(tokens: Array) -> tuple[Array, Array]:
    def one(tokens: Array) -> tuple[Array, Array]:
        tokens = tokens.astype(jnp.float32)
        scale = jnp.max(jnp.abs(tokens), axis=-1) / 127
        return jnp.round(tokens / jnp.where(scale > 0, scale, 1)[:, None]).astype(jnp.int8), scale

    return lax.map(one, tokens)


def _encode_int8_tokens(packed: PackedDocs) -> QuantizedDocs:
    codes, scale = _whole_by_token(jnp.asarray(packed.tokens))
    return QuantizedDocs(_with_codes(packed, codes), scale, None, None, None, 8, packed.dimensions)


def _same_in_all_groups(largest: Array, packed: PackedDocs) -> np.ndarray:
    """What fills several groups has one scale in all of them."""
    result, size = np.array(largest), packed.tokens.shape[1]
    lengths, starts = np.asarray(packed.lengths), np.asarray(packed.starts)
    for place in np.flatnonzero(lengths > size):
        groups = slice(starts[place] // size, -(-(starts[place] + lengths[place]) // size))
        result[groups, 0] = result[groups, 0].max()
    return result


def _of_tokens(scale: Array, segments: Array) -> Array:
    """From a number for each slot to one for each token; that of the last slot where there is no document."""
    return jnp.repeat(scale.at[segments].get(mode="clip"), TILE)


def _decode_int8(docs: QuantizedDocs, codes: Array, scale: Array, segments: Array) -> Array:
    del docs
    of_tokens = scale if scale.shape[-1] == codes.shape[0] else _of_tokens(scale, segments)
    return codes.astype(jnp.float32) * of_tokens[:, None]


@jax.jit
def _signs(tokens: Array) -> tuple[Array, Array]:
    def one(tokens: Array) -> tuple[Array, Array]:
        tokens = tokens.astype(jnp.float32)
        return pack_bits((tokens > 0).astype(jnp.uint8), 1), jnp.mean(jnp.abs(tokens), axis=-1)

    return lax.map(one, tokens)


def _encode_sign(packed: PackedDocs) -> QuantizedDocs:
    codes, scale = _signs(jnp.asarray(packed.tokens))
    return QuantizedDocs(_with_codes(packed, codes), scale, None, None, None, 1, packed.dimensions)


def _decode_sign(docs: QuantizedDocs, codes: Array, scale: Array, segments: Array) -> Array:
    del segments
    positive = unpack_bits(codes, 1, docs.dimensions)
    return (positive.astype(jnp.float32) * 2 - 1) * scale[:, None]


def _decode_bfloat16(docs: QuantizedDocs, codes: Array, segments: Array) -> Array:
    del docs, segments
    return lax.bitcast_convert_type(codes.astype(jnp.uint32) << 16, jnp.float32)


def _encode_residual(packed: PackedDocs, number: int | None, seed: int, code: ResidualCode | None) -> QuantizedDocs:
    if code is None:
        total = int(np.sum(packed.lengths))
        wanted = number or min(1 << 12, 1 << round(np.log2(4 * np.sqrt(max(1, total)))))
        code = residual_code(_sample(packed, seed), wanted, seed=seed)
    elif code.centroids.shape[-1] != packed.dimensions:
        raise RerankError(
            f"the code is of {code.centroids.shape[-1]} dimensions, the documents have {packed.dimensions}",
            reason="dimension_mismatch",
        )
    groups, size, d = packed.tokens.shape
    codes, nearest = code.encode(jnp.asarray(packed.tokens).reshape(-1, d))
    inner = _with_codes(packed, codes.reshape(groups, size, -1))
    return QuantizedDocs(inner, None, code.centroids, nearest.reshape(groups, size), code.levels, 2, d)


def _decode_residual(docs: QuantizedDocs, codes: Array, nearest: Array, segments: Array) -> Array:
    del segments
    return decode_residual(jnp.asarray(docs.centroids), jnp.asarray(docs.levels), codes, nearest)


def _sample(packed: PackedDocs, seed: int) -> np.ndarray:
    """Some real tokens, ``[<= SAMPLE, d]``."""
    lengths, starts = np.asarray(packed.lengths), np.asarray(packed.starts)
    places = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)] or [np.zeros(0, int)])
    if len(places) > SAMPLE:
        places = np.sort(np.random.default_rng(seed).choice(places, SAMPLE, replace=False))
    return np.asarray(packed.tokens).reshape(-1, packed.dimensions)[places.astype(int)].astype(np.float32)


_DECODERS: dict[int, Callable[..., Array]] = {
    16: _decode_bfloat16,
    8: _decode_int8,
    2: _decode_residual,
    1: _decode_sign,
}
