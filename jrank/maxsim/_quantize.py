"""Packed documents in fewer bits."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jrank.errors import DataError, RerankError
from jrank.maxsim._pack import TILE, PackedDocs, split
from jrank.maxsim._store import load_arrays, save_arrays
from jrank.types import Array

__all__ = ["QuantizedDocs", "quantize"]

# Tokens that the centroids of the residual code are learnt from, and how often they are moved.
SAMPLE, STEPS = 1 << 16, 8


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class QuantizedDocs:
    """Packed documents in fewer bits; made by ``quantize``, scored by ``score_packed``, a pytree of arrays.

    Attributes:
      codes: the packed documents, with codes in the place of tokens.
      scale: what one step of a code is worth: for 8 bits of each document, float32 ``[groups, max_docs]``, for 1 bit of
        each token, for 2 bits None.
      centroids: typical tokens, ``[centroids, d]``, for 2 bits, otherwise None.
      nearest: centroid of each token, uint16 ``[groups, tokens]``, for 2 bits, otherwise None.
      levels: what the four codes of 2 bits add to a centroid in each dimension, ``[4, d]``, otherwise None.
      bits: 8, 2 or 1.
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
    def nbytes(self) -> int:
        """How many bytes the arrays take."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self))

    def group_arrays(self) -> tuple[Any, ...]:
        """Return the arrays that ``decode`` needs, with the groups as their first axis; the segments come last."""
        return tuple(x for x in (self.codes.tokens, self.scale, self.nearest, self.codes.segments) if x is not None)

    def decode(self, *group: Array) -> Array:
        """Return the tokens of one group as float32, ``[tokens, d]``.

        Args:
          *group: one entry of each of ``group_arrays``.
        """
        return _DECODERS[self.bits](self, *group)

    def unpack(self) -> PackedDocs:
        """Return packed documents in float32, as the codes tell them."""
        tokens = lax.map(lambda group: self.decode(*group), tuple(jnp.asarray(x) for x in self.group_arrays()))
        return dataclasses.replace(self.codes, tokens=tokens)

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
        return cls(codes=codes, **(absent | found))


def quantize(packed: PackedDocs, bits: int, *, centroids: int | None = None, seed: int = 0) -> QuantizedDocs:
    r"""Store packed documents in 8, 2 or 1 bits a dimension.

    8 bits are integers with one scale for each document, so that products and maxima are taken on integers, with the
    query in 8 bits a token as well. 2 bits tell which of four levels is nearest to the difference from the
    nearest of some centroids (a residual code). 1 bit is the sign, with the mean magnitude of each token. For 2 and 1
    bits the query stays as it is.

    Args:
      packed: the documents.
      bits: 8, 2 or 1.
      centroids: how many centroids 2 bits use, at most 65536; None takes a power of two near
        :math:`4 \sqrt{\text{tokens}}`.
      seed: of the sample that the centroids are learnt from.

    Returns:
      The documents; ``score_packed`` takes them in the place of packed ones.

    Raises:
      RerankError: another number of bits or centroids.

    Numerics: 8 bits: an error of at most half a step in each dimension, where a step is the largest magnitude of the
    document over 127. So the codes of a document, as those of 1 bit, do not depend on what it is packed with. Scores
    are differentiable by the query for 2 and 1 bits; for 8 differentiation raises an error.

    Cost: bytes of a token: :math:`d` (and 4 of a document), :math:`d/4 + 2`, :math:`d/8 + 4`. Time of one pass over the
    tokens, for 2 bits of nine products with the centroids.

    References: Santhanam et al., ColBERTv2, NAACL 2022.

    >>> from jrank.maxsim import pack, score_packed
    >>> packed = pack([jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[-1.0, -1.0]])])
    >>> [round(score, 2) for score in score_packed(jnp.array([[1.0, 0.5]]), quantize(packed, 8)).tolist()]
    [1.0, -1.5]
    """
    if bits not in _ENCODERS:
        raise RerankError(f"bits is {bits}, expected 8, 2 or 1", reason="invalid_parameter")
    if centroids is not None and not 1 <= centroids <= 1 << 16:
        raise RerankError(f"centroids is {centroids}, expected 1 to 65536", reason="invalid_parameter")
    if bits == 2:
        return _encode_residual(packed, centroids, seed)
    return _ENCODERS[bits](packed)


def _with_codes(packed: PackedDocs, codes: Array) -> PackedDocs:
    return dataclasses.replace(packed, tokens=codes)


def _encode_int8(packed: PackedDocs) -> QuantizedDocs:
    @jax.jit
    def largest(group: tuple[Array, Array]) -> Array:
        tokens, segments = group
        tiles = jnp.max(jnp.abs(tokens).reshape(segments.shape[0], -1), axis=-1).astype(jnp.float32)
        low = jnp.zeros(packed.max_docs, jnp.float32)
        return low.at[segments].max(tiles, indices_are_sorted=True, mode="drop")

    @jax.jit
    def one(group: tuple[Array, Array, Array]) -> Array:
        tokens, scale, segments = group
        step = _of_tokens(jnp.where(scale > 0, scale, 1), segments)
        return jnp.round(tokens.astype(jnp.float32) / step[:, None]).astype(jnp.int8)

    tokens, segments = jnp.asarray(packed.tokens), jnp.asarray(packed.segments)
    scale = jnp.asarray(_same_in_all_groups(lax.map(largest, (tokens, segments)), packed)) / 127
    codes = lax.map(one, (tokens, scale, segments))
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
    return codes.astype(jnp.float32) * _of_tokens(scale, segments)[:, None]


def _encode_sign(packed: PackedDocs) -> QuantizedDocs:
    def one(tokens: Array) -> tuple[Array, Array]:
        tokens = tokens.astype(jnp.float32)
        return _pack_bits((tokens > 0).astype(jnp.uint8), 1), jnp.mean(jnp.abs(tokens), axis=-1)

    codes, scale = lax.map(one, jnp.asarray(packed.tokens))
    return QuantizedDocs(_with_codes(packed, codes), scale, None, None, None, 1, packed.dimensions)


def _decode_sign(docs: QuantizedDocs, codes: Array, scale: Array, segments: Array) -> Array:
    del segments
    positive = _unpack_bits(codes, 1, docs.dimensions)
    return (positive.astype(jnp.float32) * 2 - 1) * scale[:, None]


def _encode_residual(packed: PackedDocs, number: int | None, seed: int) -> QuantizedDocs:
    sample = _sample(packed, seed)
    if number is None:
        number = min(1 << 12, 1 << round(np.log2(4 * np.sqrt(max(1, int(np.sum(packed.lengths)))))))
    number = max(1, min(number, len(sample)))
    centroids = _k_means(jnp.asarray(sample), number, seed)
    residual = sample - np.asarray(centroids)[np.asarray(_nearest(jnp.asarray(sample), centroids))]
    # Quartile borders, and for each quarter its mean in every dimension.
    borders = jnp.asarray(np.quantile(residual, [0.25, 0.5, 0.75], axis=0).astype(np.float32))
    bucket = (residual[:, None] > np.asarray(borders)).sum(1)
    levels = np.stack([
        np.sum(residual, axis=0, where=bucket == code) / np.maximum(1, np.sum(bucket == code, axis=0))
        for code in range(4)
    ])  # fmt: skip

    def one(tokens: Array) -> tuple[Array, Array]:
        tokens = tokens.astype(jnp.float32)
        near = _nearest(tokens, centroids)
        rest = tokens - centroids[near]
        code = jnp.sum(rest[:, None, :] > borders[None], axis=1, dtype=jnp.uint8)
        return _pack_bits(code, 2), near.astype(jnp.uint16)

    codes, nearest = lax.map(one, jnp.asarray(packed.tokens))
    inner = _with_codes(packed, codes)
    return QuantizedDocs(inner, None, centroids, nearest, jnp.asarray(levels, jnp.float32), 2, packed.dimensions)


def _decode_residual(docs: QuantizedDocs, codes: Array, nearest: Array, segments: Array) -> Array:
    del segments
    code = _unpack_bits(codes, 2, docs.dimensions)
    levels = jnp.asarray(docs.levels)
    added = jnp.zeros(code.shape, jnp.float32)
    for value in range(4):  # a selection, where a gather of single numbers would be slow
        added = jnp.where(code == value, levels[value][None], added)
    return jnp.asarray(docs.centroids)[nearest.astype(jnp.int32)] + added


def _sample(packed: PackedDocs, seed: int) -> np.ndarray:
    """Some real tokens, ``[<= SAMPLE, d]``."""
    lengths, starts = np.asarray(packed.lengths), np.asarray(packed.starts)
    places = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, lengths, strict=True)] or [np.zeros(0, int)])
    if len(places) > SAMPLE:
        places = np.sort(np.random.default_rng(seed).choice(places, SAMPLE, replace=False))
    flat = np.asarray(packed.tokens).reshape(-1, packed.dimensions)
    found = flat[places.astype(int)].astype(np.float32)
    return found if len(found) else np.zeros((1, packed.dimensions), np.float32)


@jax.jit
def _nearest(tokens: Array, centroids: Array) -> Array:
    scores = tokens @ centroids.T - jnp.sum(centroids * centroids, axis=-1)[None] / 2
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def _k_means(tokens: Array, number: int, seed: int) -> Array:
    """Lloyd's algorithm from a sample of the tokens; a centroid that loses all its tokens stays where it is."""
    first = np.random.default_rng(seed).choice(len(tokens), number, replace=False)
    centroids = tokens[jnp.asarray(np.sort(first))]
    step = _k_means_step
    for _ in range(STEPS):
        centroids = step(tokens, centroids)
    return centroids


@jax.jit
def _k_means_step(tokens: Array, centroids: Array) -> Array:
    near, number = _nearest(tokens, centroids), centroids.shape[0]
    sums = jax.ops.segment_sum(tokens, near, num_segments=number)
    counts = jax.ops.segment_sum(jnp.ones(tokens.shape[0], tokens.dtype), near, num_segments=number)[:, None]
    return jnp.where(counts > 0, sums / jnp.maximum(counts, 1), centroids)


def _pack_bits(codes: Array, bits: int) -> Array:
    """Several codes in a byte along the last axis, the first in the lowest bits."""
    per = 8 // bits
    missing = -codes.shape[-1] % per
    codes = jnp.pad(codes, ((0, 0), (0, missing))).reshape(codes.shape[0], -1, per)
    shift = (jnp.arange(per, dtype=jnp.uint8) * jnp.uint8(bits))[None, None]
    return jnp.sum(codes << shift, axis=-1, dtype=jnp.uint8)


def _unpack_bits(codes: Array, bits: int, dimensions: int) -> Array:
    per = 8 // bits
    shift = (jnp.arange(per, dtype=jnp.uint8) * jnp.uint8(bits))[None, None]
    parts = (codes[:, :, None] >> shift) & jnp.uint8((1 << bits) - 1)
    return parts.reshape(codes.shape[0], -1)[:, :dimensions]


_ENCODERS: dict[int, Callable[..., QuantizedDocs]] = {8: _encode_int8, 2: _encode_residual, 1: _encode_sign}
_DECODERS: dict[int, Callable[..., Array]] = {8: _decode_int8, 2: _decode_residual, 1: _decode_sign}
