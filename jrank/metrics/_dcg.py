"""Discounted cumulative gain."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import neutralise
from jrank.metrics._gains import default_discount_fn, default_gain_fn, linear_gain_fn
from jrank.metrics._lists import Fn, Lists, finish, prepare
from jrank.metrics._ranking import Ties, cutoff, rank_items, ranks
from jrank.types import Array, ArrayLike

__all__ = ["dcg_metric", "discounted_gain", "ideal_dcg", "item_gains", "ndcg_metric"]


def item_gains(labels: Array, weights: Array | None, gain_fn: Fn, lists: Lists) -> Array:
    """Weighted gain of each item, 0 at masked places.

    Args:
      labels: one label per item.
      weights: one weight per item, or None.
      gain_fn: labels to gains.
      lists: the lists.
    """
    gains = gain_fn(labels)
    gains = gains if weights is None else gains * weights
    return neutralise(gains, lists.where)


def ideal_dcg(gains: Array, lists: Lists, *, topn: int | None = None, discount_fn: Fn = default_discount_fn) -> Array:
    """Largest DCG that any order of the items of each list can have.

    Args:
      gains: the gain of each item, 0 at masked places.
      lists: the lists.
      topn: the cut-off, or None.
      discount_fn: ranks to discounts.

    Returns:
      One value per list; 0 where nothing has a gain.
    """
    ranking = rank_items(gains, lists, topn=topn)
    return ranking.lists.sum(ranking.take(gains) * ranking.kept * discount_fn(ranking.ranks))


def dcg_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    rank_fn: Fn = ranks,
    cutoff_fn: Fn = cutoff,
    reduce_fn: Fn | None = jnp.mean,
    ties: Ties = "stable",
) -> Float[Array, "..."]:
    r"""Discounted cumulative gain: the gains of the items, discounted by rank.

    .. math:: \operatorname{dcg@k}(s, y) = \sum_{i : r_i \le k} \operatorname{gain}(y_i) \operatorname{discount}(r_i)

    where :math:`r_i` is the rank of item i by score.

    Args:
      scores: larger is better. An item with score -inf was not retrieved and contributes nothing.
      labels: grades; see ``gain_fn``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k; None for none. It may exceed the number of items.
      weights: a factor for the gain of each item.
      key: a random key; equal scores are then ranked in random order.
      gain_fn: labels to gains, :math:`2^y - 1` by default; ``linear_gain_fn`` is trec_eval's.
      discount_fn: ranks to discounts, :math:`1 / \log_2(r + 1)` by default.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      ties: equal scores are ranked in the order of the input ("stable"), or the metric is its mean over all orders of
        them ("average"), or that of the "worst" or "best" order.

    Returns:
      The reduced DCG. A list without a valid item has 0 and is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n) memory; O(n log n) time, O(n log k) with ``topn``.
    References: Järvelin and Kekäläinen 2002; ties, McSherry and Najork 2008.

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0]), jnp.array([2.0, 0.0, 1.0])
    >>> print(f"{dcg_metric(scores, labels):.4f}")
    2.8928
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    gains = item_gains(y, w, gain_fn, lists)
    values = discounted_gain(s, gains, lists, segments, topn, key, discount_fn, rank_fn, cutoff_fn, ties)
    return finish(values, lists, reduce_fn)


def discounted_gain(
    s: Array,
    gains: Array,
    lists: Lists,
    segments: Any,
    topn: int | None,
    key: Array | None,
    discount_fn: Fn,
    rank_fn: Fn,
    cutoff_fn: Fn,
    ties: str,
) -> Array:
    """Sum the gains of each list, discounted by rank: the body of DCG, for any discount."""
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=gains
    )
    discounts = ranking.expected(ranking.kept * discount_fn(ranking.ranks))
    return ranking.lists.sum(ranking.take(gains) * discounts)


# Gains that do not fall with the label: the best order by label is the best by gain.
RISING = (default_gain_fn, linear_gain_fn)


def _top_dcg(
    s: Array,
    y: Array,
    lists: Lists,
    segments: Any,
    topn: int,
    key: Array | None,
    gain_fn: Fn,
    discount_fn: Fn,
) -> Array:
    """DCG of the first items, whose gains alone are computed."""
    ranking = rank_items(s, lists, segments=segments, topn=topn, key=key)
    gains = item_gains(ranking.take(y), None, gain_fn, ranking.lists)
    return ranking.lists.sum(gains * ranking.kept * discount_fn(ranking.ranks))


def ndcg_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    rank_fn: Fn = ranks,
    cutoff_fn: Fn = cutoff,
    reduce_fn: Fn | None = jnp.mean,
    ties: Ties = "stable",
) -> Float[Array, "..."]:
    r"""Normalised discounted cumulative gain: DCG as a share of the best possible one.

    .. math:: \operatorname{ndcg@k}(s, y) = \frac{\operatorname{dcg@k}(s, y)}{\max_{\pi} \operatorname{dcg@k}(\pi, y)}

    Args:
      scores: larger is better. An item with score -inf was not retrieved; it still counts for the best possible DCG.
      labels: grades; see ``gain_fn``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k, of both numerator and denominator; None for none. It may exceed the number of items.
      weights: a factor for the gain of each item.
      key: a random key; equal scores are then ranked in random order.
      gain_fn: labels to gains, :math:`2^y - 1` by default; ``linear_gain_fn`` is trec_eval's.
      discount_fn: ranks to discounts, :math:`1 / \log_2(r + 1)` by default.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".

    Returns:
      The reduced NDCG, in [0, 1]. A list without a gain has 0; one without a valid item has 0 and is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n) memory; O(n log n) time, O(n log k) with ``topn``.
    References: Järvelin and Kekäläinen 2002; ties, McSherry and Najork 2008.

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0]), jnp.array([2.0, 0.0, 1.0])
    >>> print(f"{ndcg_metric(scores, labels):.4f} {ndcg_metric(scores, labels, topn=1):.4f}")
    0.7967 0.3333
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    exact = rank_fn is ranks and cutoff_fn is cutoff and ties == "stable"
    if topn is not None and exact and w is None and gain_fn in RISING:
        found, best = (_top_dcg(x, y, lists, segments, topn, k, gain_fn, discount_fn) for x, k in ((s, key), (y, None)))
        return finish(found / jnp.where(best == 0, jnp.ones_like(best), best), lists, reduce_fn)
    gains = item_gains(y, w, gain_fn, lists)
    value = discounted_gain(s, gains, lists, segments, topn, key, discount_fn, rank_fn, cutoff_fn, ties)
    best = ideal_dcg(gains, lists, topn=topn, discount_fn=discount_fn)
    return finish(value / jnp.where(best == 0, jnp.ones_like(best), best), lists, reduce_fn)
