"""Metrics of pairs, counted by sorting: ordered pair accuracy and Kendall's rank correlations."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import segment_sum, take_last
from jrank.errors import LearnError
from jrank.metrics._dominance import count_smaller, dense_labels, dominance_sums
from jrank.metrics._lists import Fn, Lists, finish, iota_like, prepare, scatter_last
from jrank.metrics._ranking import ranks
from jrank.types import Array, ArrayLike

__all__ = ["joint", "kendall_metric", "misplaced_below", "opa_metric"]


def _counts(s: Array, y: Array, lists: Lists, weights: Array | None) -> tuple[Array, Array, Array]:
    """Per list: pairs with different labels, those in the right order, and those with equal scores."""
    one = jnp.ones_like(s)
    own = one if weights is None else weights
    one = one if lists.where is None else jnp.where(lists.where, one, jnp.zeros_like(one))
    # key_j > query_i with negated scores: s_j < s_i.
    (right,), _ = dominance_sums(dense_labels(y, lists), -s, -s, lists, (one,))
    return lists.sum(own * count_smaller(y, lists)), lists.sum(own * right), lists.sum(own * count_smaller(y, lists, s))


def _soft_counts(
    s: Array, y: Array, lists: Lists, segments: Any, weights: Array | None, rank_fn: Fn
) -> tuple[Array, Array, Array]:
    """The same by a rank function, differentiable where that is: a pair tied in scores counts half, as it ranks it."""
    own = jnp.ones_like(s) if weights is None else weights
    below = count_smaller(y, lists)
    right = below - misplaced_below(s, dense_labels(y, lists), lists, rank_fn)
    return lists.sum(own * below), lists.sum(own * right), jnp.zeros_like(lists.sum(own))


def misplaced_below(s: Array, number: Array, lists: Lists, rank_fn: Fn) -> Array:
    """Count for each item those with a smaller label that a rank function puts before it.

    Of two labels, written in binary, the larger has the first bit that differs: the rank among the items with equal
    leading bits less that among those with this bit too is what stands before from below.

    Args:
      s: scores, 0 at masked places.
      number: labels as dense numbers from 0.
      lists: the lists.
      rank_fn: scores to ranks.

    Returns:
      Counts, 0 at masked places.
    """
    retrieved = s > -jnp.inf if lists.where is None else lists.where & (s > -jnp.inf)
    every = jnp.ones(s.shape, bool) if lists.where is None else lists.where
    safe = jnp.where(retrieved, s, jnp.zeros_like(s))
    slot = jnp.zeros(s.shape, jnp.int32) if lists.slot is None else lists.slot
    # What was not retrieved is last, and equal to its like.
    lost = jnp.where(retrieved, jnp.zeros_like(slot), jnp.ones_like(slot))

    def level(bit: Array) -> Array:
        up = (number >> bit) & 1
        group = number >> (bit + 1)
        ids = (joint(slot, group, every), joint(slot, group * 2 + up, every))
        places = [rank_fn(safe, where=retrieved, segments=x, key=None).astype(s.dtype) for x in ids]
        before = jnp.where((up == 1) & retrieved, places[0] - places[1], jnp.zeros_like(s))
        # Of an item that was not retrieved all that were stand before it, and half of those that were not.
        below = jnp.where((up == 0) & every, jnp.ones_like(s), jnp.zeros_like(s))
        first = segment_sum(below * (1 - lost / 2).astype(s.dtype), ids[0], lists.size)
        return before + jnp.where((up == 1) & (lost == 1) & every, take_last(first, ids[0]), jnp.zeros_like(s))

    bits = max(1, (max(lists.size, 2) - 1).bit_length())
    if isinstance(number, jax.core.Tracer):
        levels = lax.map(jax.checkpoint(level), jnp.arange(bits, dtype=jnp.int32))
        return jnp.sum(levels, axis=0)
    bits = int(jnp.max(number, initial=0)).bit_length()
    return sum((level(jnp.int32(bit)) for bit in range(bits)), jnp.zeros_like(s))


def joint(slot: Array, group: Array, where: Array) -> Array:
    """Number the pairs of list and group: equal pairs get the index of the first item that has them.

    Args:
      slot: the list of each item.
      group: a number within it.
      where: the items that count; others get numbers of their own.
    """
    keys = ((~where).astype(jnp.int32), slot, group, iota_like(slot))
    outside, slot, group, order = lax.sort(keys, dimension=-1, num_keys=3, is_stable=True)
    change = (slot[..., 1:] != slot[..., :-1]) | (group[..., 1:] != group[..., :-1])
    change |= outside[..., 1:] != outside[..., :-1]
    fresh = jnp.concatenate([jnp.ones_like(order[..., :1], bool), change], axis=-1)
    place = iota_like(order)
    start = lax.cummax(jnp.where(fresh, place, jnp.zeros_like(place)), axis=place.ndim - 1)
    return scatter_last(order, take_last(order, start))


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
    rank_fn: Fn = ranks,
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
      rank_fn: scores to ranks; a soft one makes the metric differentiable. A tied pair then counts as it is ranked.

    Returns:
      The reduced accuracy, in [0, 1]; 0 for a list without a pair. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or ``ties`` is unknown.

    Numerics: counts are exact up to 2**24 per item in float32, beyond that within rounding.
    Cost: O(n log n log g) time for g grades, O(n) memory; with a soft ``rank_fn`` two soft ranks for each of the
    log n levels of the labels, where the pairwise losses need one pass.

    >>> print(opa_metric(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])))
    0.8
    """
    share = {"worst": 0.0, "average": 0.5, "best": 1.0}.get(ties)
    if share is None:
        raise LearnError(f"ties is {ties!r}, worst, average or best was expected", reason="invalid_parameter")
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    if rank_fn is ranks:
        pairs, right, equal = _counts(_ordered(s), y, lists, w)
    else:
        pairs, right, equal = _soft_counts(s, y, lists, segments, w, rank_fn)
    return finish((right + share * equal) / jnp.where(pairs == 0, jnp.ones_like(pairs), pairs), lists, reduce_fn)


def kendall_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
    variant: Literal["b", "a", "gamma"] = "b",
    rank_fn: Fn = ranks,
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
      rank_fn: scores to ranks; a soft one makes C and D differentiable, while the ties are counted exactly.

    Returns:
      The reduced correlation, in [-1, 1]; 0 where it is not defined (one item, or all tied). A list without a valid
      item is left out of means.

    Raises:
      LearnError: shapes differ or the variant is unknown.

    Numerics: counts are exact up to 2**24 per item in float32, beyond that within rounding.
    Cost: O(n log² n) time, O(n) memory; with a soft ``rank_fn`` as ``opa_metric``.
    References: Kendall 1945, "The treatment of ties in ranking problems".

    >>> print(f"{kendall_metric(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.5477
    """
    if variant not in ("b", "a", "gamma"):
        raise LearnError(f"variant is {variant!r}, 'b', 'a' or 'gamma' was expected", reason="invalid_parameter")
    s, y, _, lists = prepare(scores, labels, where, segments)
    exact = _ordered(s)
    by_labels, same, tied_scores = _counts(exact, y, lists, None)
    opposite = by_labels - same - tied_scores
    if rank_fn is not ranks:
        # A tied pair is half in each order, so that it takes no part in the difference.
        _, soft, _ = _soft_counts(s, y, lists, segments, None, rank_fn)
        same, opposite = soft - tied_scores / 2, by_labels - soft - tied_scores / 2
    by_scores = lists.sum(count_smaller(exact, lists))
    size = lists.sum(jnp.ones_like(exact))
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
