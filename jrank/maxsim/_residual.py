"""The residual code of 2 bits: the nearest of some typical tokens, and which of four levels the rest is near."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jrank.errors import RerankError
from jrank.types import Array, ArrayLike

__all__ = ["ResidualCode", "residual_code"]

# Tokens that the levels are learnt from, tokens coded at a time, and how often centroids and levels are moved.
LEVEL_SAMPLE, BLOCK, STEPS = 1 << 14, 1 << 11, 8
MOST = 1 << 12


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ResidualCode:
    """What 2 bits a dimension mean; made by ``residual_code``, a pytree of arrays.

    Attributes:
      centroids: typical tokens, float32 ``[centroids, d]``.
      borders: where, in each dimension, one level ends and the next begins, float32 ``[3, d]``, ascending.
      levels: what the four levels add to a centroid, float32 ``[4, d]``.
    """

    centroids: Any
    borders: Any
    levels: Any

    def encode(self, tokens: ArrayLike) -> tuple[Array, Array]:
        """Return the code of tokens.

        Args:
          tokens: ``[t, d]``.

        Returns:
          Four levels in a byte, uint8 ``[t, d / 4]`` rounded up; the nearest centroids, uint16 ``[t]``.
        """
        tokens = jnp.asarray(tokens)
        count, d = tokens.shape
        if not count:
            return jnp.zeros((0, -(-d // 4)), jnp.uint8), jnp.zeros(0, jnp.uint16)
        # Blocks of few sizes: a code does not depend on what is coded with it.
        size = min(BLOCK, 1 << (count - 1).bit_length())
        blocks = jnp.pad(tokens, ((0, -count % size), (0, 0))).reshape(-1, size, d)
        codes, nearest = _encode(self, blocks)
        return codes.reshape(-1, codes.shape[-1])[:count], nearest.reshape(-1)[:count]

    def decode(self, codes: ArrayLike, nearest: ArrayLike) -> Array:
        """Return the tokens that a code tells, float32 ``[t, d]``.

        Args:
          codes: from ``encode``.
          nearest: from ``encode``.
        """
        return decode_residual(jnp.asarray(self.centroids), jnp.asarray(self.levels), jnp.asarray(codes), nearest)


def residual_code(tokens: ArrayLike, centroids: int | None = None, *, seed: int = 0) -> ResidualCode:
    r"""Learn a code of 2 bits a dimension from tokens like those that it will be used for.

    Args:
      tokens: a sample, ``[n, d]``; some ten thousand tokens of many documents will do.
      centroids: how many typical tokens, at most 65536 and ``n``; None takes a power of two near :math:`4 \sqrt{n}`, at
        most 4096.
      seed: of the tokens that the search for centroids starts from.

    Returns:
      The code, for ``quantize(packed, 2, code=code)``.

    Raises:
      RerankError: another number of centroids, or ``tokens`` is not a matrix.

    Numerics: centroids by Lloyd's algorithm; borders and levels likewise in each dimension, from the quartiles of what
    centroids leave over.

    Cost: :math:`O(n c d)` for c centroids.

    References: Santhanam et al., ColBERTv2, NAACL 2022.

    >>> code = residual_code(jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), centroids=2)
    >>> code.decode(*code.encode(jnp.array([[1.0, 0.0]]))).tolist()
    [[1.0, 0.0]]
    """
    if centroids is not None and not 1 <= centroids <= 1 << 16:
        raise RerankError(f"centroids is {centroids}, expected 1 to 65536", reason="invalid_parameter")
    sample = np.asarray(tokens)
    if sample.ndim != 2:
        raise RerankError(f"tokens have shape {sample.shape}, expected [n, d]", reason="dimension_mismatch")
    sample = sample.astype(np.float32) if len(sample) else np.zeros((1, sample.shape[1]), np.float32)
    if centroids is None:
        centroids = min(MOST, 1 << round(np.log2(4 * np.sqrt(len(sample)))))
    found = _k_means(sample, min(centroids, len(sample)), seed)
    some = sample[:: -(-len(sample) // LEVEL_SAMPLE)]
    rest = some - np.asarray(found)[np.asarray(_nearest_of_all(some, found))]
    borders, levels = _levels(jnp.asarray(rest), jnp.asarray(np.quantile(rest, [0.25, 0.5, 0.75], axis=0), jnp.float32))
    return ResidualCode(found, borders, levels)


def decode_residual(centroids: Array, levels: Array, codes: Array, nearest: ArrayLike) -> Array:
    """Return decoded tokens, float32 ``[t, d]``.

    Args:
      centroids: those of the code.
      levels: those of the code.
      codes: levels, four in a byte.
      nearest: the centroid of each token.
    """
    code = unpack_bits(codes, 2, centroids.shape[-1])
    added = jnp.zeros(code.shape, jnp.float32)
    for value in range(4):  # a selection, where a gather of single numbers would be slow
        added = jnp.where(code == value, levels[value][None], added)
    return centroids[jnp.asarray(nearest).astype(jnp.int32)] + added


@jax.jit
def _encode(code: ResidualCode, blocks: Array) -> tuple[Array, Array]:
    centroids, borders = jnp.asarray(code.centroids), jnp.asarray(code.borders)

    def one(tokens: Array) -> tuple[Array, Array]:
        tokens = tokens.astype(jnp.float32)
        near = _nearest(tokens, centroids)
        rest = tokens - centroids[near]
        return pack_bits(_level(rest, borders), 2), near.astype(jnp.uint16)

    return lax.map(one, blocks)


def _level(rest: Array, borders: Array) -> Array:
    low, middle, high = ((rest > borders[place][None]).astype(jnp.uint8) for place in range(3))
    return low + middle + high


def _nearest(tokens: Array, centroids: Array) -> Array:
    scores = tokens @ centroids.T - jnp.sum(centroids * centroids, axis=-1)[None] / 2
    best = jnp.max(scores, axis=-1, keepdims=True)
    number = lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    # The first place of the maximum: faster than argmax on a CPU.
    return jnp.min(jnp.where(scores >= best, number, centroids.shape[0] - 1), axis=-1)


def _nearest_of_all(tokens: np.ndarray, centroids: Array) -> np.ndarray:
    """The same for many tokens, a block at a time."""
    padded = np.pad(tokens, ((0, -len(tokens) % BLOCK), (0, 0)))
    found = [np.asarray(_nearest_jit(padded[low : low + BLOCK], centroids)) for low in range(0, len(padded), BLOCK)]
    return np.concatenate(found)[: len(tokens)]


_nearest_jit = jax.jit(_nearest)


def _k_means(tokens: np.ndarray, number: int, seed: int) -> Array:
    """Lloyd's algorithm from a sample of the tokens; a centroid that loses all its tokens stays where it is."""
    first = np.random.default_rng(seed).choice(len(tokens), number, replace=False)
    centroids = tokens[np.sort(first)]
    for _ in range(STEPS if number < len(tokens) else 0):
        near = _nearest_of_all(tokens, jnp.asarray(centroids))
        order = np.argsort(near, kind="stable")
        counts = np.bincount(near, minlength=number)
        used = np.flatnonzero(counts)
        sums = np.add.reduceat(tokens[order], (np.cumsum(counts) - counts)[used], axis=0)
        centroids[used] = sums / counts[used, None]
    return jnp.asarray(centroids)


@jax.jit
def _levels(rest: Array, borders: Array) -> tuple[Array, Array]:
    """Four levels in each dimension: means between borders, borders midway between means, again and again."""

    def means(borders: Array, before: Array) -> Array:
        level = _level(rest, borders)
        found = []
        for value in range(4):
            here = level == value
            count = jnp.sum(here, axis=0, dtype=rest.dtype)
            mean = jnp.sum(jnp.where(here, rest, 0.0), axis=0) / jnp.maximum(count, 1)
            found.append(jnp.where(count > 0, mean, before[value]))
        return jnp.stack(found)

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        borders, levels = state
        levels = means(borders, levels)
        return ((levels[1:] + levels[:-1]) / 2, levels), None

    edge = jnp.concatenate([borders[:1], borders[:1], borders[1:2], borders[2:]])
    (borders, levels), _ = lax.scan(step, (borders, edge), None, length=STEPS)
    return borders, levels


def pack_bits(codes: Array, bits: int) -> Array:
    """Put several codes in a byte along the last axis, the first in the lowest bits.

    Args:
      codes: uint8, ``[t, d]``.
      bits: of a code.
    """
    per = 8 // bits
    missing = -codes.shape[-1] % per
    codes = jnp.pad(codes, ((0, 0), (0, missing))).reshape(codes.shape[0], -1, per)
    shift = (jnp.arange(per, dtype=jnp.uint8) * jnp.uint8(bits))[None, None]
    return jnp.sum(codes << shift, axis=-1, dtype=jnp.uint8)


def unpack_bits(codes: Array, bits: int, dimensions: int) -> Array:
    """Return what ``pack_bits`` was given.

    Args:
      codes: uint8.
      bits: of a code.
      dimensions: how many codes a row has.
    """
    per = 8 // bits
    shift = (jnp.arange(per, dtype=jnp.uint8) * jnp.uint8(bits))[None, None]
    parts = (codes[:, :, None] >> shift) & jnp.uint8((1 << bits) - 1)
    return parts.reshape(codes.shape[0], codes.shape[1] * per)[:, :dimensions]
