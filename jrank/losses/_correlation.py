"""Spearman's rank correlation as a loss: 1 minus the soft correlation of scores and labels."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank import soft
from jrank.arrays import as_floating
from jrank.metrics._lists import Fn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["spearman_loss"]


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
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    if s.shape[-1] == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    y = lax.stop_gradient(y)
    options = {"temperature": temperature, "y_temperature": 0, "where": lists.where, "segments": lists.slot}
    value = soft.spearman(s, y, method=method, weights=w, **options)
    # Labels that are all the same, or those of a single item, ask for no order.
    varied = lists.max(y) > -lists.max(-y)
    return finish(jnp.where(varied, 1 - value, jnp.zeros_like(value)), lists, reduce_fn, dtype)
