"""Metrics of pairs, counted by sorting: ordered pair accuracy and Kendall's rank correlations."""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.errors import LearnError
from jrank.metrics._dominance import count_smaller, dense_labels, dominance_sums
from jrank.metrics._lists import Fn, Lists, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["kendall_metric", "opa_metric"]


def _counts(s: Array, y: Array, lists: Lists, weights: Array | None) -> tuple[Array, Array, Array]:
    """Per list: pairs with different labels, those in the right order, and those with equal scores."""
    one = jnp.ones_like(s)
    own = one if weights is None else weights
    one = one if lists.where is None else jnp.where(lists.where, one, jnp.zeros_like(one))
    # key_j > query_i with negated scores: s_j < s_i.
    (right,), _ = dominance_sums(dense_labels(y, lists), -s, -s, lists, (one,))
    return lists.sum(own * count_smaller(y, lists)), lists.sum(own * right), lists.sum(own * count_smaller(y, lists, s))


def _ordered(scores: Array) -> Array:
    """Scores that compare: NaN as -inf."""
    return lax.stop_gradient(jnp.where(jnp.isnan(scores), jnp.asarray(-jnp.inf, scores.dtype), scores))


def opa_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    reduce_fn: Fn | None = jnp.mean,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    ties: Literal["worst", "average", "best"] = "worst",
) -> Float[Array, "..."]:
    r"""Ordered pair accuracy: the share of the pairs with different labels that the scores put in the right order.

    .. math:: \operatorname{opa}(s, y) = \frac{|\{(i, j) : y_i > y_j, s_i > s_j\}|}{|\{(i, j) : y_i > y_j\}|}

    Args:
      scores: larger is better. Those of -inf and NaN are equal and last.
      labels: grades.
      where: True at real items. None: all are.
      reduce_fn: reduction over the lists; None returns one value per list.
      segments: ids of lists within a row, in any order.
      weights: a factor for each pair: the weight of the item with the larger label.
      ties: what a pair with equal scores counts: 0 ("worst"), a half ("average", the area under the ROC curve for two
        grades) or 1 ("best").

    Returns:
      The reduced accuracy, in [0, 1]; 0 for a list without a pair. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or ``ties`` is unknown.

    Numerics: counts are exact up to 2**24 per item in float32, beyond that within rounding.
    Cost: O(n log n log g) time for g grades, O(n) memory.

    >>> print(opa_metric(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])))
    0.8
    """
    share = {"worst": 0.0, "average": 0.5, "best": 1.0}.get(ties)
    if share is None:
        raise LearnError(f"ties is {ties!r}, worst, average or best was expected", reason="invalid_parameter")
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    pairs, right, equal = _counts(_ordered(s), y, lists, w)
    return finish((right + share * equal) / jnp.where(pairs == 0, jnp.ones_like(pairs), pairs), lists, reduce_fn)


def kendall_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
    variant: Literal["b", "a", "gamma"] = "b",
) -> Float[Array, "..."]:
    r"""Kendall's rank correlation of scores and labels.

    .. math:: \tau_b = \frac{C - D}{\sqrt{(C + D + T_s)(C + D + T_y)}}

    where C and D count the pairs in the same and in the opposite order, and T the pairs tied in scores or labels alone.

    Args:
      scores: larger is better. Those of -inf and NaN are equal and last.
      labels: grades, or the scores of another system.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      reduce_fn: reduction over the lists; None returns one value per list.
      variant: "b" corrects for ties, "a" divides by the number of all pairs, "gamma" by C + D.

    Returns:
      The reduced correlation, in [-1, 1]; 0 where it is not defined (one item, or all tied). A list without a valid
      item is left out of means.

    Raises:
      LearnError: shapes differ or the variant is unknown.

    Numerics: counts are exact up to 2**24 per item in float32, beyond that within rounding.
    Cost: O(n log² n) time, O(n) memory.
    References: Kendall 1945, "The treatment of ties in ranking problems".

    >>> print(f"{kendall_metric(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.5477
    """
    if variant not in ("b", "a", "gamma"):
        raise LearnError(f"variant is {variant!r}, 'b', 'a' or 'gamma' was expected", reason="invalid_parameter")
    s, y, _, lists = prepare(scores, labels, where, segments)
    s = _ordered(s)
    by_labels, same, tied_scores = _counts(s, y, lists, None)
    opposite = by_labels - same - tied_scores
    by_scores = lists.sum(count_smaller(s, lists))
    size = lists.sum(jnp.ones_like(s))
    every = size * (size - 1) / 2
    if variant == "a":
        whole = every
    elif variant == "gamma":
        whole = same + opposite
    else:
        whole = jnp.sqrt(by_labels) * jnp.sqrt(by_scores)
    some = whole > 0
    return finish(
        jnp.where(some, (same - opposite) / jnp.where(some, whole, jnp.ones_like(whole)), 0), lists, reduce_fn
    )
