"""Running sums within each list."""

import jax.numpy as jnp
from jax import lax

from jrank.types import Array

__all__ = ["decayed_sum", "suffix_logsumexp", "suffix_sum"]


def suffix_logsumexp(x: Array, close: Array | None = None) -> Array:
    r"""Logarithm of the sum of the exponentials from each place to the end of its list.

    .. math:: c_k = \log \sum_{j \ge k} \exp(x_j)

    Args:
      x: finite numbers, ``[..., n]``.
      close: which places end a list, or None where only the last one does.

    Returns:
      The running values, ``[..., n]``.

    Numerics: every term is shifted by the largest number that it stands together with, so nothing overflows and no
    running
      value loses small terms to a larger one outside of it.
    Cost: O(n log n) time of cheap parallel steps, O(n) memory.
    """
    axis = x.ndim - 1
    fixed = lax.stop_gradient(x)
    if close is None:
        top = lax.cummax(fixed, axis=axis, reverse=True)
    else:

        def larger(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
            # A reverse scan hands in the later part first.
            return a[0] | b[0], jnp.where(b[0], b[1], jnp.maximum(a[1], b[1]))

        top = lax.associative_scan(larger, (close, fixed), reverse=True, axis=axis)[1]
    after = jnp.concatenate([top[..., 1:], top[..., -1:]], axis=-1)
    decay = jnp.exp(after - top)
    if close is not None:
        decay = jnp.where(close, jnp.zeros_like(decay), decay)

    # S_k = exp(x_k - top_k) + decay_k S_{k+1}
    def join(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] * b[0], a[1] * b[0] + b[1]

    total = lax.associative_scan(join, (decay, jnp.exp(x - top)), reverse=True, axis=axis)[1]
    return jnp.log(total) + top


def suffix_sum(x: Array, close: Array | None = None) -> Array:
    """Sum from each place to the end of its list.

    Args:
      x: ``[..., n]``.
      close: which places end a list, or None where only the last one does.
    """
    axis = x.ndim - 1
    if close is None:
        return lax.cumsum(x, axis=axis, reverse=True)

    def join(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] | b[0], jnp.where(b[0], b[1], a[1] + b[1])

    return lax.associative_scan(join, (close, x), reverse=True, axis=axis)[1]


def decayed_sum(x: Array, decay: Array) -> Array:
    r"""Running sum that is scaled down at every step.

    .. math:: c_k = d_k c_{k-1} + x_k

    Args:
      x: ``[..., n]``.
      decay: the factors d, ``[..., n]``; 0 where a list begins.
    """

    def join(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] * b[0], a[1] * b[0] + b[1]

    return lax.associative_scan(join, (decay, x), axis=x.ndim - 1)[1]
