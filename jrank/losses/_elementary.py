"""The functions of one number that losses are made of, with value and slope at once."""

import jax
import jax.numpy as jnp

from jrank.types import Array

__all__ = ["logistic_parts", "softplus"]


def _log1p_unit(e: Array) -> Array:
    """Log(1 + e) for e in [0, 1], to the last bit or two; XLA's log1p takes several times as long on CPUs."""
    if e.dtype != jnp.float32:
        return jnp.log1p(e)
    z = e / (2 + e)
    q = z * z
    # 2 artanh(z); the first term left out is below 2e-8 of the sum.
    return 2 * z * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13)))))))


@jax.custom_jvp
def logistic_parts(x: Array) -> tuple[Array, Array]:
    """Log(1 + exp(-x)) and its derivative, from one exponential.

    Args:
      x: any floating array; infinities are fine.

    Returns:
      The value and the slope, in [-1, 0].
    """
    e = jnp.exp(-jnp.abs(x))
    r = 1 / (1 + e)
    return jnp.maximum(-x, jnp.zeros_like(x)) + _log1p_unit(e), -jnp.where(x >= 0, e * r, r)


@logistic_parts.defjvp
def _logistic_parts_jvp(primals, tangents):
    value, slope = logistic_parts(*primals)
    return (value, slope), (slope * tangents[0], -slope * (1 + slope) * tangents[0])


def softplus(x: Array) -> Array:
    """Log(1 + exp(x)), with derivatives that are finite everywhere.

    Args:
      x: any floating array.
    """
    return logistic_parts(-x)[0]
