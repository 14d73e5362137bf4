"""Metrics of graded labels: expected reciprocal rank, Q-measure, rank-biased precision, average relevance position."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import neutralise, take_last
from jrank.metrics._binary import relevance
from jrank.metrics._dcg import discounted_gain
from jrank.metrics._gains import linear_gain_fn
from jrank.metrics._lists import Fn, finish, iota_like, list_places, prepare, product_before
from jrank.metrics._ranking import Ranking, TieGroups, Ties, at_ranks, cutoff, rank_items, ranks
from jrank.types import Array, ArrayLike

__all__ = ["arp_metric", "err_metric", "q_metric", "rbp_metric"]


def err_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    cutoff_fn: Fn = cutoff,
    reduce_fn: Fn | None = jnp.mean,
    max_label: Real[ArrayLike, ""] | None = None,
    ties: Ties = "stable",
) -> Float[Array, "..."]:
    r"""Expected reciprocal rank: where a user who stops at the first satisfying item is expected to stop.

    .. math:: \operatorname{err@k}(s, y) = \sum_{r \le k} \frac{R_r}{r} \prod_{q < r} (1 - R_q), \quad
        R_r = \frac{2^{y_r} - 1}{2^{y_{\max}}}

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: grades.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k; None for none. It may exceed the number of items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      max_label: the largest grade that there is; None takes the largest label of each list.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".

    Returns:
      The reduced value, in [0, 1); 0 for a list without a relevant item. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n²) with ``ties="average"``; O(n) memory.
    References: Chapelle et al. 2009, "Expected reciprocal rank for graded relevance".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(err_metric(scores, labels))
    0.53125
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    top = lists.spread(lists.max(y)) if max_label is None else jnp.asarray(max_label, y.dtype)
    # 2^y / 2^max with one subtraction in the exponent: large grades do not overflow.
    shift = jnp.minimum(y - top, jnp.zeros_like(y))
    chance = jnp.where(y > 0, jnp.exp2(shift) - jnp.exp2(jnp.broadcast_to(-top, y.shape)), jnp.zeros_like(y))
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=chance
    ).in_order()
    chance = ranking.take(chance) * ranking.seen
    slot = ranking.lists.slot
    if slot is not None and ranking.lists.where is not None:
        slot = jnp.where(ranking.lists.where, slot, jnp.asarray(lists.size, jnp.int32))
    if ranking.ties is not None:
        values = _expected_stops(ranking.ties, 1 - chance, slot, topn)
        return finish(ranking.lists.sum(values), lists, reduce_fn)
    reached = product_before(1 - chance, slot)
    return finish(ranking.lists.sum(chance * reached * ranking.kept / ranking.ranks), lists, reduce_fn)


def _expected_stops(ties: TieGroups, goes_on: Array, slot: Array | None, topn: int | None) -> Array:
    """Sum over the ranks of a tie of the chance to stop there over the rank, in random order; 0 but at its last item.

    After p items of a tie in random order a reader is still there with the mean, over all sets of p of them, of the
    product of their chances to go on. These means grow by one item at a time, by averages alone.
    """
    n = goes_on.shape[-1]
    size = jnp.arange(n + 1, dtype=goes_on.dtype)
    place = list_places(ties.number, slot).astype(goes_on.dtype)
    fresh = ties.fresh
    first = place == 1
    last = jnp.concatenate([fresh[..., 1:], jnp.ones_like(fresh[..., :1])], axis=-1)
    empty = (size == 0).astype(goes_on.dtype)

    def step(state: tuple[Array, Array, Array], item: tuple[Array, ...]) -> tuple[tuple[Array, Array, Array], Array]:
        means, count, reached = state
        x, place, fresh, first, last = (a[..., None] for a in item)
        reached = jnp.where(first, jnp.ones_like(reached), reached)
        means, count = jnp.where(fresh, empty, means), jnp.where(fresh, jnp.zeros_like(count), count)
        more = jnp.concatenate([jnp.zeros_like(means[..., :1]), means[..., :-1]], axis=-1)
        means = (jnp.maximum(count + 1 - size, jnp.zeros_like(means)) * means + size * x * more) / (count + 1)
        means = jnp.where(size <= count + 1, means, jnp.zeros_like(means))
        count = count + 1
        rank = place - count + size[1:]
        stops = jnp.where(size[1:] <= count, means[..., :-1] - means[..., 1:], jnp.zeros_like(rank))
        stops = stops if topn is None else jnp.where(rank <= topn, stops, jnp.zeros_like(stops))
        value = jnp.sum(reached * stops / jnp.maximum(rank, jnp.ones_like(rank)), axis=-1)
        left = jnp.sum(jnp.where(size == count, means, jnp.zeros_like(means)), axis=-1, keepdims=True)
        return (means, count, jnp.where(last, reached * left, reached)), jnp.where(item[-1], value, 0)

    items = tuple(jnp.moveaxis(a, -1, 0) for a in (goes_on, place, fresh, first, last))
    # From the inputs, so that inside shard_map the state varies as they do.
    one = jnp.ones_like(goes_on[..., :1])
    start = (one * empty, jnp.zeros_like(one), one)
    return jnp.moveaxis(lax.scan(step, start, items)[1], 0, -1)


def q_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    cutoff_fn: Fn = cutoff,
    gain_fn: Fn = linear_gain_fn,
    reduce_fn: Fn | None = jnp.mean,
    beta: Real[ArrayLike, ""] = 1.0,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Q-measure: average precision whose counts are blended with gains.

    .. math:: \operatorname{q@k}(s, y) = \frac{1}{|R|} \sum_{i \in R,\, r_i \le k}
        \frac{|\{j \in R : r_j \le r_i\}| + \beta \operatorname{cg}(r_i)}{r_i + \beta \operatorname{cg}^*(r_i)}

    where cg(r) is the sum of the gains of the relevant items down to rank r, and cg*(r) that of the best order.

    Args:
      scores: larger is better. An item with score -inf was not retrieved; it still counts among the relevant items.
      labels: grades; an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k of the sum; the divisor stays the number of all relevant items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks. With soft ranks the gradient flows through the denominator, not through the counts.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      gain_fn: labels to gains, by default the labels.
      reduce_fn: reduction over the lists; None returns one value per list.
      beta: how much gains count, at least 0; with 0 it is average precision. May be traced.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced value, in [0, 1]; 0 for a list without a relevant item. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.
    References: Sakai 2004, "New performance metrics based on multigrade relevance".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{q_metric(scores, labels):.4f}")
    0.8333
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    relevant = relevance(y, threshold)
    gains = neutralise(gain_fn(y) * relevant, lists.where)
    share = jnp.asarray(beta, s.dtype)
    blend = relevant + share * gains
    ranking = rank_items(
        s,
        lists,
        segments=segments,
        topn=topn,
        key=key,
        rank_fn=rank_fn,
        cutoff_fn=cutoff_fn,
        ties=ties,
        value=blend,
        counts=relevant,
    )
    ideal = rank_items(gains, lists)
    best = ideal.running(ideal.take(gains))
    if ranking.order is None:
        best = at_ranks(best, ranking.ranks, ideal)
    else:
        # Both orders have the lists in the same places.
        best = best[..., : ranking.ranks.shape[-1]]
    found = ranking.take(relevant) * ranking.seen
    blended = ranking.take(blend) * ranking.seen
    whole = ranking.ranks + share * best
    if ranking.ties is None:
        value = found * ranking.running(blended) / whole
    else:
        value = _expected_blend(ranking, ranking.ties, found, blended) / whole
    total = lists.sum(relevant)
    value = ranking.lists.sum(value * ranking.kept)
    return finish(value / jnp.where(total == 0, jnp.ones_like(total), total), lists, reduce_fn)


def _expected_blend(ranking: Ranking, ties: TieGroups, found: Array, blended: Array) -> Array:
    """Chance that a relevant item stands at each rank, times the mean of the blended count down to it."""
    one = jnp.ones_like(found)
    start = ties.start
    before = (iota_like(start) - start).astype(found.dtype)
    count, hits, inside = ties.sum(one), ties.sum(found), ties.sum(blended)
    own = ties.sum(found * blended)
    earlier = take_last(ranking.running(blended) - blended, start)
    others = before * (hits * inside - own) / jnp.maximum(count - 1, one)
    return (hits * earlier + own + others) / count


def rbp_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    cutoff_fn: Fn = cutoff,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
    p: Real[ArrayLike, ""] = 0.8,
    graded: bool = False,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Rank-biased precision: what a user finds who goes on to the next item with probability p.

    .. math:: \operatorname{rbp}(s, y) = (1 - p) \sum_i g_i p^{r_i - 1}

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k; None for none. It may exceed the number of items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      weights: a factor for the gain of each item.
      reduce_fn: reduction over the lists; None returns one value per list.
      p: persistence, in (0, 1). May be traced.
      graded: whether gains are the labels, over the largest of the list where that exceeds 1 (trec_eval's rule), rather
        than 1 for relevant items.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced value, in [0, 1]; 0 for a list without a relevant item. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.
    References: Moffat and Zobel 2008, "Rank-biased precision for measurement of retrieval effectiveness".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{rbp_metric(scores, labels):.2f}")
    0.36
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    if graded:
        top = lists.spread(lists.max(y))
        gains = jnp.maximum(y, jnp.zeros_like(y)) / jnp.maximum(top, jnp.ones_like(top))
    else:
        gains = relevance(y, threshold)
    gains = gains if w is None else gains * w
    persistence = jnp.asarray(p, s.dtype)

    def discount(place: Array) -> Array:
        return (1 - persistence) * persistence ** (place - 1)

    values = discounted_gain(s, gains, lists, segments, topn, key, discount, rank_fn, cutoff_fn, ties)
    return finish(values, lists, reduce_fn)


def arp_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Average relevance position: the mean rank of the items, weighted by label. Smaller is better.

    .. math:: \operatorname{arp}(s, y) = \frac{\sum_i y_i r_i}{\sum_i y_i}

    Args:
      scores: larger is better. Every valid item has a rank, those with score -inf the last ones.
      labels: non-negative grades.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      weights: a factor for the label of each item.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced mean rank, at least 1; 0 for a list without a label above 0. A list without a valid item is left out
      of means.

    Raises:
      LearnError: shapes differ.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{arp_metric(scores, labels):.4f}")
    1.6667
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    y = y if w is None else y * w
    ids = None if segments is None else jnp.asarray(segments)
    place = rank_fn(s, where=lists.where, segments=ids, key=key).astype(s.dtype)
    total = lists.sum(y)
    return finish(lists.sum(y * place) / jnp.where(total == 0, jnp.ones_like(total), total), lists, reduce_fn)
