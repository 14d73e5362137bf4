"""From the best match of each query token to the score of a document."""

from typing import Any, Literal

import jax.numpy as jnp

from jrank.arrays import accumulator_dtype, as_floating, neutralise
from jrank.errors import RerankError
from jrank.types import Array

__all__ = ["SHORTEST", "Reduction", "as_weights", "check_reduction", "total", "unit"]

Reduction = Literal["sum", "mean"]
# Shorter vectors have no direction.
SHORTEST = 1e-9


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction.

    Args:
      reduction: what the user gave.

    Raises:
      RerankError: it is neither "sum" nor "mean".
    """
    if reduction not in ("sum", "mean"):
        raise RerankError(f"reduction is {reduction!r}, expected 'sum' or 'mean'", reason="invalid_parameter")


def as_weights(weights: Any, shape: tuple[int, ...], where: Array | None) -> Array | None:
    """Return the weights of query tokens in their shape, 0 at masked places, or None.

    Args:
      weights: what the user gave.
      shape: the shape of the query tokens without their dimensions.
      where: which query tokens count, or None.

    Raises:
      RerankError: the shape does not fit.
    """
    if weights is None:
        return None
    array = as_floating(weights, "weights")
    if array.ndim > len(shape) or array.shape != shape[len(shape) - array.ndim :]:
        raise RerankError(
            f"weights have shape {array.shape}, expected {shape}: one weight for each query token",
            reason="dimension_mismatch",
        )
    return neutralise(jnp.broadcast_to(array.reshape((1,) * (len(shape) - array.ndim) + array.shape), shape), where)


def total(maxima: Array, where: Array | None, weights: Array | None, reduction: str) -> Array:
    """Reduce the best matches over the query tokens.

    Args:
      maxima: the best match of each query token, ``[..., q]``.
      where: which query tokens count, or None; axes that lead ``maxima`` alone may be missing.
      weights: their weights, 0 at masked places, or None; likewise.
      reduction: "sum" or "mean".

    Returns:
      ``[...]``; 0 where no query token counts.
    """

    def spread(x: Array) -> Array:
        return jnp.broadcast_to(x.reshape((1,) * (maxima.ndim - x.ndim) + x.shape), maxima.shape)

    where = None if where is None else spread(where)
    each = jnp.ones_like(maxima) if weights is None else spread(weights.astype(maxima.dtype))
    weighted = neutralise(maxima if weights is None else maxima * each, where)
    value = jnp.sum(weighted, axis=-1)
    if reduction == "sum":
        return value
    mass = jnp.sum(neutralise(each, where), axis=-1)
    some = mass != 0
    return jnp.where(some, value / jnp.where(some, mass, jnp.ones_like(mass)), jnp.zeros_like(value))


def unit(x: Array, where: Array | None) -> Array:
    """Scale vectors to length 1; vectors without a direction become 0, with gradient 0.

    Args:
      x: ``[..., d]``.
      where: which vectors count, ``[...]``, or None; the others become 0.
    """
    dtype = x.dtype
    x = neutralise(x, None if where is None else where[..., None]).astype(accumulator_dtype(dtype))
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    some = square > SHORTEST**2
    length = jnp.sqrt(jnp.where(some, square, jnp.ones_like(square)))
    return jnp.where(some, x / length, jnp.zeros_like(x)).astype(dtype)
