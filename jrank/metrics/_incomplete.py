"""Metrics for incomplete judgments: bpref, inferred average precision, judged."""

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import neutralise, take_last
from jrank.metrics._binary import relevance
from jrank.metrics._lists import Fn, finish, prepare
from jrank.metrics._ranking import Ranking, TieGroups, Ties, cutoff, outranked_by, rank_items, ranks
from jrank.types import Array, ArrayLike

__all__ = ["bpref_metric", "infap_metric", "judged_metric"]


def bpref_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    reduce_fn: Fn | None = jnp.mean,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Bpref: how many judged non-relevant items stand above the relevant ones; what was not judged does not count.

    .. math:: \operatorname{bpref}(s, y) = \frac{1}{|R|} \sum_{i \in R} 1 - \frac{\min(|\{j \in N : r_j < r_i\}|,
    |R|)}{\min(|N|, |R|)}

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item is relevant if its label is at least ``threshold``, not judged if its label is below 0, and judged
        non-relevant otherwise.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      reduce_fn: reduction over the lists; None returns one value per list.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced value, in [0, 1], trec_eval's: 1 for each relevant item with no non-relevant one above it; 0 for a
      list without a relevant item. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.
    References: Buckley and Voorhees 2004, "Retrieval evaluation with incomplete information".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(bpref_metric(scores, labels))
    1.0
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    relevant = relevance(y, threshold)
    against = ((y >= 0) & (y < jnp.asarray(threshold, y.dtype))).astype(y.dtype)
    against = against if lists.where is None else jnp.where(lists.where, against, jnp.zeros_like(against))
    ranking = rank_items(
        s, lists, segments=segments, key=key, rank_fn=rank_fn, ties=ties, value=relevant - against, counts=relevant
    )
    good, bad = lists.sum(relevant), lists.sum(against)
    least = ranking.lists.spread(jnp.minimum(good, bad))
    most = ranking.lists.spread(good)
    if ranking.ties is None:
        above = jnp.minimum(outranked_by(against, relevant, s, ranking, rank_fn, segments, key), most)
    else:
        above = _expected_above(ranking, ranking.ties, ranking.take(against) * ranking.seen, most)
    share = jnp.where(above > 0, 1 - above / jnp.where(least == 0, jnp.ones_like(least), least), jnp.ones_like(above))
    total = ranking.lists.sum(ranking.take(relevant) * ranking.seen * share)
    return finish(total / jnp.where(good == 0, jnp.ones_like(good), good), lists, reduce_fn)


def _expected_above(ranking: Ranking, ties: TieGroups, against: Array, most: Array) -> Array:
    """Mean of the number of items above, ``most`` at most: each number of those of one's own tie is equally likely."""
    inside = ties.sum(against)
    before = jnp.minimum(take_last(ranking.running(against) - against, ties.start), most)
    free = jnp.clip(most - before, 0, inside)
    return ((free + 1) * (before + free / 2) + (inside - free) * most) / (inside + 1)


def infap_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    reduce_fn: Fn | None = jnp.mean,
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Inferred average precision: average precision estimated where only a sample of the pool was judged.

    .. math:: \operatorname{infap}(s, y) = \frac{1}{|R|} \sum_{i \in R} \frac{1}{r_i} \left(1 + p_i
        \frac{g_i + \epsilon}{g_i + b_i + 2 \epsilon}\right)

    with, above item i, the numbers of pooled items p, of relevant ones g and of judged non-relevant ones b, and
    :math:`\epsilon = 10^{-5}`.

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item is relevant if its label is at least ``threshold``, judged non-relevant if it is below that and at
        least 0, pooled but not judged if it is -1, and not pooled if it is smaller.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      key: a random key; equal scores are then ranked in random order. The mean over keys is that over all orders.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      reduce_fn: reduction over the lists; None returns one value per list.
      threshold: the smallest relevant label.

    Returns:
      The reduced value, in [0, 1], trec_eval's; average precision where everything is judged, but for
      :math:`\epsilon`. 0 for a list without a relevant item; a list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.
    References: Yilmaz and Aslam 2006, "Estimating average precision with incomplete and imperfect judgments".

    >>> scores, labels = jnp.array([4.0, 3.0, 2.0, 1.0]), jnp.array([1.0, -1.0, 0.0, 1.0])
    >>> print(f"{infap_metric(scores, labels):.4f}")
    0.8125
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    relevant = relevance(y, threshold)
    judged = (y >= 0).astype(y.dtype)
    against = judged * (1 - relevant)
    pooled = (y >= -1).astype(y.dtype) * (1 - relevant)
    if lists.where is not None:
        against, pooled = neutralise(against, lists.where), neutralise(pooled, lists.where)
    ranking = rank_items(s, lists, segments=segments, key=key, rank_fn=rank_fn, value=relevant)
    bad, rest = (outranked_by(x, relevant, s, ranking, rank_fn, segments, key) for x in (against, pooled))
    found = ranking.take(relevant) * ranking.seen
    if ranking.order is not None:
        good = ranking.running(found) - found
    else:
        alone = rank_fn(
            jnp.where(found > 0, s, jnp.zeros_like(s)),
            where=found > 0,
            segments=None if segments is None else jnp.asarray(segments),
            key=key,
        )
        good = jnp.where(found > 0, alone.astype(s.dtype) - 1, jnp.zeros_like(s))
    small = jnp.asarray(1e-5, s.dtype)
    precise = (1 + (rest + good) * (good + small) / (good + bad + 2 * small)) / ranking.ranks
    total = lists.sum(relevant)
    return finish(
        ranking.lists.sum(found * precise) / jnp.where(total == 0, jnp.ones_like(total), total), lists, reduce_fn
    )


def judged_metric(
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
    ties: Ties = "stable",
) -> Float[Array, "..."]:
    r"""Judged: the share of the items within the cut-off that have been judged at all.

    .. math:: \operatorname{judged@k}(s, y) = \frac{|\{i : y_i \ge 0,\, r_i \le k\}|}{|\{i : r_i \le k\}|}

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item was judged if its label is at least 0.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k; None for none. It may exceed the number of items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".

    Returns:
      The reduced share, in [0, 1]; 0 where nothing was retrieved. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(judged_metric(scores, jnp.array([1.0, -1.0, -1.0, 0.0]), topn=2))
    0.5
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    judged = (y >= 0).astype(y.dtype)
    # Whatever was retrieved counts, judged or not.
    every = jnp.ones_like(judged)
    ranking = rank_items(
        s,
        lists,
        segments=segments,
        topn=topn,
        key=key,
        rank_fn=rank_fn,
        cutoff_fn=cutoff_fn,
        ties=ties,
        value=judged,
        counts=every,
    )
    depth = ranking.lists.sum(ranking.kept)
    found = ranking.lists.sum(ranking.take(judged) * ranking.expected(ranking.kept))
    return finish(found / jnp.where(depth == 0, jnp.ones_like(depth), depth), lists, reduce_fn)
