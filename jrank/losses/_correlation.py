"""Rank correlations as losses: 1 minus the soft correlation of scores and labels."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank import soft
from jrank.arrays import as_floating
from jrank.errors import LearnError
from jrank.metrics._lists import Fn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["kendall_loss", "spearman_loss"]


def _loss(
    correlation: Callable[..., Array],
    scores: Any,
    labels: Any,
    where: Any,
    segments: Any,
    weights: Any,
    reduce_fn: Fn | None,
) -> Array:
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    if s.shape[-1] == 0:
        return finish(jnp.zeros(s.shape[:-1], s.dtype) if segments is None else s, lists, reduce_fn, dtype)
    y = lax.stop_gradient(y)
    value = correlation(s, y, y_temperature=0, where=lists.where, segments=lists.slot, weights=w)
    # Labels that are all the same, or those of a single item, ask for no order.
    varied = lists.max(y) > -lists.max(-y)
    return finish(jnp.where(varied, 1 - value, jnp.zeros_like(value)), lists, reduce_fn, dtype)


def spearman_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    method: str = "l2",
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Spearman loss: 1 minus the correlation of the soft ranks of the scores and the ranks of the labels.

    .. math:: \ell(s, y) = 1 - \operatorname{corr}(\tilde{r}(s), r(y))

    Args:
      scores: larger is better; only their order and, relative to the temperature, their differences matter.
      labels: grades or other numbers; equal ones have the mean of their ranks. No gradient flows to them.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; for the methods of ``jrank.soft.rank`` that take them.
      weights: a factor >= 0 for each item in the sums of the correlation.
      temperature: that of the soft ranks, in the units of the scores; towards 0 the loss is exact and its gradient 0.
        One number or one for each row; may be traced.
      method: any method of ``jrank.soft.rank``.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, from 0 (same order) to 2 (reversed); 1 where the scores do not vary, 0 where the labels do not.
      A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.
      SoftError: the method is unknown or takes no segments.

    Numerics: infinite scores are ties at their end, with gradient 0. Half types are accumulated in float32.
    Cost: that of ``jrank.soft.rank`` by the method and of one sort.
    References: Blondel et al., "Fast Differentiable Sorting and Ranking", ICML 2020.

    >>> print(f"{spearman_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0]), temperature=0.1):.4f}")
    0.2621
    """

    def correlation(s: Array, y: Array, **options: Any) -> Array:
        return soft.spearman(s, y, method=method, temperature=temperature, **options)

    return _loss(correlation, scores, labels, where, segments, weights, reduce_fn)


def kendall_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    method: str = "sigmoid",
    variant: str = "b",
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Kendall loss: 1 minus the correlation of the soft signs of all pairs of scores and the signs of the labels.

    .. math:: \ell(s, y) = 1 - \frac{\sum_{i \ne j} a_{ij} b_{ij}}{\sqrt{\sum a_{ij}^2 \sum b_{ij}^2}}, \quad
        a_{ij} = \tanh\left(\frac{s_i - s_j}{2T}\right), \quad b_{ij} = \operatorname{sign}(y_i - y_j)

    Args:
      scores: larger is better; only their differences matter.
      labels: grades or other numbers, of which the order matters. No gradient flows to them.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor >= 0 for each item; a pair counts by the product of two.
      temperature: T, in the units of the scores; towards 0 the loss is 1 minus the exact tau-b and its gradient 0. One
        number or one for each row; may be traced.
      method: the soft sign, see ``jrank.soft.kendall``.
      variant: "b", above, or "a", the sum over the number of pairs, which grows with the differences of the scores.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, from 0 to 2; 1 where the scores do not vary, 0 where the labels do not. A list without a valid
      item is left out of means.

    Raises:
      LearnError: shapes differ, or the variant is unknown.
      SoftError: the method is unknown.

    Numerics: infinite scores are before and after all others, with gradient 0. Half types are accumulated in float32.
    Cost: O(n²) time, O(n) memory beside a block of pairs.
    References: Kendall, "The Treatment of Ties in Ranking Problems", 1945.

    >>> print(f"{kendall_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0]), temperature=0.01):.4f}")
    0.4523
    """
    if variant not in ("a", "b"):
        raise LearnError(f"variant is {variant!r}, 'a' or 'b' was expected", reason="invalid_parameter")

    def correlation(s: Array, y: Array, **options: Any) -> Array:
        return soft.kendall(s, y, method=method, temperature=temperature, variant=variant, **options)

    return _loss(correlation, scores, labels, where, segments, weights, reduce_fn)
