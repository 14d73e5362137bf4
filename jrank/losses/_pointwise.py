"""Pointwise losses: each item by itself."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, reduce_values
from jrank.losses._elementary import softplus
from jrank.metrics._lists import Fn, prepare
from jrank.types import Array, ArrayLike

__all__ = ["pointwise_mse_loss", "pointwise_sigmoid_loss"]


def _reduce(values: Array, weights: Array | None, where: Any, reduce_fn: Fn | None, dtype: Any) -> Array:
    values = values if weights is None else values * weights
    return reduce_values(values, where, reduce_fn).astype(dtype)


def pointwise_sigmoid_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Sigmoid cross-entropy of each item: scores become log-odds of relevance.

    .. math:: \ell(s, y) = -\sum_i y_i \log \sigma(s_i) + (1 - y_i) \log(1 - \sigma(s_i))

    Args:
      scores: log-odds.
      labels: probabilities; values outside [0, 1] are clipped to it.
      where: True at real items. None: all are.
      segments: not used, since items do not meet; every loss takes it.
      weights: a factor for each item.
      reduce_fn: reduction over all items; None returns one value per item, ``[..., n]``.

    Returns:
      The reduced loss, at least 0; 0 if no item is valid.

    Raises:
      LearnError: shapes differ.

    Numerics: an infinite score costs 0 or +inf. Half types are accumulated in float32.
    Cost: O(n) time and memory.

    >>> print(f"{pointwise_sigmoid_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.6157
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    y = jnp.clip(y, 0, 1)
    # Two terms rather than relu(s) - s y + log(1 + exp(-|s|)): 0 * inf would be NaN.
    zero = jnp.zeros_like(s)
    values = jnp.where(y > 0, y * softplus(jnp.where(y > 0, -s, zero)), zero)
    values += jnp.where(y < 1, (1 - y) * softplus(jnp.where(y < 1, s, zero)), zero)
    return _reduce(values, w, lists.where, reduce_fn, dtype)


def pointwise_mse_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Squared error of each item: scores become estimates of the labels.

    .. math:: \ell(s, y) = \sum_i (y_i - s_i)^2

    Args:
      scores: estimates of the labels.
      labels: any numbers.
      where: True at real items. None: all are.
      segments: not used, since items do not meet; every loss takes it.
      weights: a factor for each item.
      reduce_fn: reduction over all items; None returns one value per item, ``[..., n]``.

    Returns:
      The reduced loss, at least 0; 0 if no item is valid.

    Raises:
      LearnError: shapes differ.

    Numerics: an infinite score costs +inf. Half types are accumulated in float32.
    Cost: O(n) time and memory.

    >>> print(pointwise_mse_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])))
    1.3125
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    return _reduce(jnp.square(s - y), w, lists.where, reduce_fn, dtype)
