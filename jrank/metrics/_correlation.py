"""Correlations of two rankings that weigh their tops: AP correlation and rank-biased overlap."""

from typing import Any, Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import segment_sum
from jrank.errors import LearnError
from jrank.metrics._dominance import count_smaller, dense_labels, dominance_sums
from jrank.metrics._lists import Fn, Lists, finish, iota_like, list_places, prepare, running_count
from jrank.metrics._opa import joint, misplaced_below
from jrank.metrics._ranking import Ranking, TieGroups, list_offsets, rank_items, ranks
from jrank.types import Array, ArrayLike

__all__ = ["rbo_metric", "tau_ap_metric"]


def tau_ap_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    rank_fn: Fn = ranks,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""AP correlation: Kendall's correlation in which errors near the top of the ranking by score count more.

    .. math:: \tau_{ap} = \frac{2}{n - 1} \sum_{r = 2}^{n} \frac{C(r)}{r - 1} - 1

    where C(r) is the number of items above rank r that the labels, too, put above the item there.

    Args:
      scores: larger is better. Those of -inf and NaN are equal and last.
      labels: grades, or the scores of the system that is the truth.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced correlation, in [-1, 1]. Equal scores and equal labels are in random order: the value is the mean over
      all orders. 0 for a list of one item; a list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: counts are exact up to 2**24 per item in float32, beyond that within rounding.
    Cost: O(n log² n) time, O(n) memory; with a soft ``rank_fn`` as ``opa_metric``.
    References: Yilmaz, Aslam and Robertson 2008, "A new rank correlation coefficient for information retrieval";
    Urbano and Marrero 2017, "The treatment of ties in AP correlation".

    >>> print(f"{tau_ap_metric(jnp.array([4.0, 3.0, 2.0, 1.0]), jnp.array([3.0, 4.0, 2.0, 1.0])):.4f}")
    0.3333
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    size = lists.sum(jnp.ones_like(s))
    number = dense_labels(y, lists)
    one = jnp.ones_like(s)
    one = one if lists.where is None else jnp.where(lists.where, one, jnp.zeros_like(one))
    low = jnp.where(jnp.isnan(s), jnp.asarray(-jnp.inf, s.dtype), s)
    if rank_fn is not ranks:
        above, before = _soft_agreement(low, number, lists, segments, rank_fn)
        values = one * above / jnp.maximum(before, jnp.ones_like(before))
    else:
        _, (agree,) = dominance_sums(number, -low, -low, lists, (), (one,))
        agree = agree + count_smaller(-low, lists, number.astype(s.dtype)) / 2
        # Every item counts: what was not retrieved shares the last ranks.
        last = jnp.maximum(low, jnp.asarray(jnp.finfo(s.dtype).min, s.dtype))
        ranking = rank_items(last, lists, ties="average", value=one)
        ties = ranking.ties if ranking.ties is not None else TieGroups(iota_like(number))
        inside = (iota_like(ties.start) - ties.start).astype(s.dtype)
        mean = ties.mean(ranking.take(agree)) + inside / 2
        before = ranking.ranks - 1
        lists = ranking.lists
        values = ranking.take(one) * jnp.where(before > 0, mean / jnp.where(before > 0, before, 1), 0)
    total = lists.sum(values)
    some = size > 1
    value = jnp.where(some, 2 * total / jnp.where(some, size - 1, jnp.ones_like(size)) - 1, jnp.zeros_like(total))
    return finish(value, lists, reduce_fn)


def _soft_agreement(s: Array, number: Array, lists: Lists, segments: Any, rank_fn: Fn) -> tuple[Array, Array]:
    """How many items stand before each in both orders, and how many in that by score, by a rank function."""
    every = jnp.ones(s.shape, bool) if lists.where is None else lists.where
    last = jnp.maximum(s, jnp.asarray(jnp.finfo(s.dtype).min, s.dtype))
    ids = None if segments is None else jnp.asarray(segments)
    before = rank_fn(last, where=every, segments=ids, key=None).astype(s.dtype) - 1
    wrong = misplaced_below(s, number, lists, rank_fn)
    slot = jnp.zeros_like(number) if lists.slot is None else lists.slot
    equal = rank_fn(last, where=every, segments=joint(slot, number, every), key=None).astype(s.dtype) - 1
    return before - wrong - equal / 2, before


def rbo_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    reduce_fn: Fn | None = jnp.mean,
    p: Real[ArrayLike, ""] = 0.9,
    variant: Literal["ext", "min"] = "ext",
) -> Float[Array, "..."]:
    r"""Rank-biased overlap of two rankings: the mean share that their tops have in common, the first ranks most.

    .. math:: \operatorname{rbo} = \frac{1 - p}{p} \sum_{d \ge 1} p^d \frac{X_d}{d}

    where :math:`X_d` is the number of items among the first d of both.

    Args:
      scores: the one system's. Items with score -inf are not in its ranking.
      labels: the other system's scores; -inf likewise.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      reduce_fn: reduction over the lists; None returns one value per list.
      p: persistence, in (0, 1); at 0.9 the first ten ranks have 86 % of the weight. May be traced.
      variant: "ext" assumes that the rankings agree beyond their ends as they do there, also where they differ in
        length; "min" that they have nothing in common there, a lower bound.

    Returns:
      The reduced overlap, in [0, 1]; 0 where a ranking is empty. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or the variant is unknown.

    Numerics: NaN scores are as -inf. Between two ranks soft ranks count by a straight line.
    Cost: two sorts; O(n) memory.
    References: Webber, Moffat and Zobel 2010, "A similarity measure for indefinite rankings".

    >>> print(f"{rbo_metric(jnp.array([3.0, 2.0, 1.0]), jnp.array([2.0, 3.0, 1.0])):.4f}")
    0.9000
    """
    if variant not in ("ext", "min"):
        raise LearnError(f"variant is {variant!r}, 'ext' or 'min' was expected", reason="invalid_parameter")
    s, y, _, lists = prepare(scores, labels, where, segments)
    ids = None if segments is None else jnp.asarray(segments)
    seen, places = [], []
    for x, fn in ((s, rank_fn), (y, ranks)):
        mine = x > -jnp.inf if lists.where is None else lists.where & (x > -jnp.inf)
        seen.append(mine)
        places.append(fn(jnp.where(mine, x, jnp.zeros_like(x)), where=mine, segments=ids, key=key).astype(s.dtype))
    both = seen[0] & seen[1]
    meet = jnp.where(both, jnp.maximum(*places), jnp.ones_like(s))
    one, two = (lists.sum(mine.astype(s.dtype)) for mine in seen)
    # Ranks in the order of lists: rank d of a list is the place of its d-th item in the order by list.
    layout = rank_items(jnp.zeros_like(s), lists)
    slot = layout.lists.slot
    if slot is not None and layout.lists.where is not None:
        slot = jnp.where(layout.lists.where, slot, jnp.asarray(lists.size, slot.dtype))
    depth = list_places(iota_like(s), slot).astype(s.dtype)
    overlap = running_count(_histogram(meet, both, layout), slot)
    short, long = (layout.lists.spread(x) for x in (jnp.minimum(one, two), jnp.maximum(one, two)))
    common = _at_depth(overlap, depth, short, layout.lists), _at_depth(overlap, depth, long, layout.lists)
    persistence = jnp.asarray(p, s.dtype)
    terms = persistence**depth / depth * overlap
    some = short > 0
    whole = jnp.where(some, short, jnp.ones_like(short))
    if variant == "ext":
        beyond = common[0] * (depth - whole) / (whole * depth) * persistence**depth
        terms = terms + jnp.where(depth > whole, beyond, jnp.zeros_like(beyond))
    terms = jnp.where(some & (depth <= long), terms, jnp.zeros_like(terms))
    value = (1 - persistence) / persistence * layout.lists.sum(terms)
    if variant == "ext":
        longest = jnp.where(some, long, jnp.ones_like(long))
        rest = ((common[1] - common[0]) / longest + common[0] / whole) * persistence**longest
        rest = jnp.where(some & (depth == 1), rest, jnp.zeros_like(rest))
        value = value + layout.lists.sum(rest)
    return finish(value, lists, reduce_fn)


def _histogram(meet: Array, both: Array, layout: Ranking) -> Array:
    """How many items are met first at each depth; what lies between two depths counts for both in part."""
    n = meet.shape[-1]
    below = jnp.floor(lax.stop_gradient(meet))
    share = meet - below
    at = list_offsets(layout, meet) + below.astype(jnp.int32) - 1
    end = jnp.asarray(n - 1, jnp.int32)
    one = both.astype(meet.dtype)
    parts = ((at, one * (1 - share)), (jnp.minimum(at + 1, end), one * share))
    return sum((segment_sum(x, jnp.clip(place, 0, end), n) for place, x in parts), jnp.zeros_like(meet))


def _at_depth(table: Array, depth: Array, at: Array, lists: Lists) -> Array:
    """The entry of each list at one depth, 0 at depth 0, for every item of it."""
    return lists.spread(lists.sum(jnp.where(depth == at, table, jnp.zeros_like(table))))
