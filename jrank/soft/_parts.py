"""The parts of a list: what a method sees, and what is put around its answer.

A method sees finite scores only. Infinite ones stand at the ends, NaN ones count for nobody, masked ones are not there.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from jrank.types import Array


class Parts(NamedTuple):
    """One list, taken apart.

    Attributes:
      safe: the finite scores, 0 at all other places.
      counts: which places these are.
      low: which items are -inf.
      high: which items are +inf.
      valid: which items are neither masked nor NaN.
      where: the mask, or None.
    """

    safe: Array
    counts: Array
    low: Array
    high: Array
    valid: Array
    where: Array | None


def take_apart(x: Array, where: Array | None) -> Parts:
    """Sort out which places of a list hold what.

    Args:
      x: scores of one list, ``[n]``.
      where: the mask, or None.
    """
    if where is not None:
        x = jnp.where(where, x, jnp.asarray(jnp.nan, x.dtype))
    counts = jnp.isfinite(x)
    safe = jnp.where(counts, x, jnp.zeros_like(x))
    return Parts(safe, counts, x == -jnp.inf, x == jnp.inf, ~jnp.isnan(x), where)


def count(flags: Array) -> Array:
    """Count the places that hold, as int32.

    Args:
      flags: bool, ``[n]``.
    """
    return jnp.sum(flags, dtype=jnp.int32)


def positive(temperature: Array) -> Array:
    """Keep the temperature from 0, so that its inverse and the gradients divided by it stay finite.

    At 7e-16 in float32 only ties are pooled, and their differences are 0 whatever divides them.

    Args:
      temperature: one number.
    """
    return jnp.maximum(temperature, float(jnp.finfo(temperature.dtype).tiny) ** 0.4)


def straight(hard: Array, soft: Array) -> Array:
    """Return the hard values with the derivatives of the soft ones.

    Args:
      hard: what the value shall be.
      soft: what the derivatives are taken of.
    """
    nothing = soft - lax.stop_gradient(soft)
    return lax.stop_gradient(hard) + jnp.where(jnp.isfinite(soft), nothing, jnp.zeros_like(soft))
