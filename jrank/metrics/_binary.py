"""Metrics of relevant and non-relevant items: reciprocal rank, precision, recall, average precision."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import take_last
from jrank.errors import LearnError
from jrank.metrics._lists import Fn, finish, iota_like, prepare
from jrank.metrics._ranking import Ranking, TieGroups, Ties, cutoff, rank_items, ranks
from jrank.types import Array, ArrayLike

__all__ = ["ap_metric", "first_relevant", "mrr_metric", "precision_metric", "recall_metric", "relevance"]


def relevance(labels: Array, threshold: ArrayLike) -> Array:
    """1 where the label reaches the threshold, 0 elsewhere.

    Args:
      labels: floating labels, 0 at masked places.
      threshold: the smallest label that counts as relevant.
    """
    return (labels >= threshold).astype(labels.dtype)


def _ratio(part: Array, whole: Array) -> Array:
    return part / jnp.where(whole == 0, jnp.ones_like(whole), whole)


def mrr_metric(
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
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Mean reciprocal rank: one over the rank of the first relevant item.

    .. math:: \operatorname{mrr@k}(s, y) = \max_{i : y_i \ge 1,\, r_i \le k} \frac{1}{r_i}

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k; None for none. It may exceed the number of items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      weights: a factor for each relevant item, before the maximum; not with ``ties="average"``.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced reciprocal rank, in [0, 1]; 0 for a list without a relevant item in reach. A list without a valid item
      is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, ``ties`` is unknown or cannot be combined with weights.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n) memory; O(n log n) time, O(n log k) with ``topn``.
    References: Voorhees 1999, "The TREC-8 question answering track report".

    >>> print(mrr_metric(jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 0.0])))
    0.5
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    relevant = relevance(y, threshold)
    if w is not None:
        if ties == "average":
            raise LearnError(
                'weights have no meaning with ties="average"', reason="invalid_parameter", hint='use ties="stable"'
            )
        relevant = relevant * w
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=relevant
    )
    relevant = ranking.take(relevant)
    if ranking.ties is not None:
        first = first_relevant(ranking, ranking.ties, relevant)
        return finish(ranking.lists.sum(first * ranking.kept / ranking.ranks), lists, reduce_fn)
    value = ranking.lists.max(relevant * ranking.kept / ranking.ranks)
    return finish(jnp.maximum(value, jnp.zeros_like(value)), lists, reduce_fn)


def first_relevant(ranking: Ranking, ties: TieGroups, relevant: Array) -> Array:
    """Probability that the first relevant item stands at each rank, equal scores being in random order.

    Args:
      ranking: a ranking with tie groups.
      ties: its tie groups.
      relevant: 1 for relevant items, in the order of the ranking.
    """
    start, fresh = ties.start, ties.fresh
    inside = ties.sum(relevant)
    earlier = take_last(ranking.running(relevant) - relevant, start)
    # Items of the group from here on, this one included; a miss is none of the relevant ones.
    left = ties.sum(jnp.ones_like(relevant)) - (iota_like(start) - start).astype(relevant.dtype)
    miss = jnp.maximum(left - inside, jnp.zeros_like(left)) / left
    missed = jnp.concatenate([jnp.ones_like(miss[..., :1]), miss[..., :-1]], axis=-1)
    missed = jnp.where(fresh, jnp.ones_like(missed), missed)

    def combine(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] | b[0], jnp.where(b[0], b[1], a[1] * b[1])

    _, none_yet = lax.associative_scan(combine, (fresh, missed), axis=relevant.ndim - 1)
    here = none_yet * jnp.minimum(inside / left, jnp.ones_like(left))
    return jnp.where((earlier == 0) & (inside > 0), here, jnp.zeros_like(here))


def recall_metric(
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
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Recall: the share of the relevant items that stand within the cut-off.

    .. math:: \operatorname{recall@k}(s, y) = \frac{|\{i : y_i \ge 1,\, r_i \le k\}|}{|\{i : y_i \ge 1\}|}

    Args:
      scores: larger is better. An item with score -inf was not retrieved; it still counts among the relevant items.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k; None for none. It may exceed the number of items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      weights: a factor for each relevant item, above and below.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced recall, in [0, 1]; 0 for a list without a relevant item. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n) memory; O(n log n) time, O(n log k) with ``topn``.

    >>> print(recall_metric(jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 1.0, 0.0]), topn=2))
    0.5
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    relevant = relevance(y, threshold)
    relevant = relevant if w is None else relevant * w
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=relevant
    )
    found = ranking.lists.sum(ranking.take(relevant) * ranking.expected(ranking.kept))
    return finish(_ratio(found, lists.sum(relevant)), lists, reduce_fn)


def precision_metric(
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
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Precision: the share of the first k places that hold a relevant item.

    .. math:: \operatorname{precision@k}(s, y) = \frac{1}{k} |\{i : y_i \ge 1,\, r_i \le k\}|

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k. The sum is divided by k even where the list is shorter, as trec_eval does; None divides by
        the number of retrieved items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      weights: a factor for each relevant item.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced precision, in [0, 1]. A list without a valid item has 0 and is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n) memory; O(n log n) time, O(n log k) with ``topn``.

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 1.0, 0.0])
    >>> print(precision_metric(scores, labels, topn=2), precision_metric(scores, labels, topn=5))
    0.5 0.4
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    relevant = relevance(y, threshold)
    relevant = relevant if w is None else relevant * w
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=relevant
    )
    found = ranking.lists.sum(ranking.take(relevant) * ranking.expected(ranking.kept))
    if topn is None:
        return finish(_ratio(found, ranking.lists.sum(ranking.kept)), lists, reduce_fn)
    return finish(found / topn, lists, reduce_fn)


def ap_metric(
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
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Average precision: the mean over the relevant items of the precision at their ranks.

    .. math::
        \operatorname{ap@k}(s, y) = \frac{1}{|R|} \sum_{i \in R,\, r_i \le k} \frac{|\{j \in R : r_j \le r_i\}|}{r_i},
        \quad R = \{i : y_i \ge 1\}

    Args:
      scores: larger is better. An item with score -inf was not retrieved; it still counts among the relevant items.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k of the sum; the divisor stays the number of all relevant items, as in trec_eval.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks. With soft ranks the gradient flows through :math:`1 / r_i`, not through the count.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      weights: a factor for each relevant item, above and below; the counts are not weighted.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced average precision, in [0, 1]; 0 for a list without a relevant item. A list without a valid item is
      left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n) memory; O(n log n) time, O(n log k) with ``topn``.
    References: ties, McSherry and Najork 2008.

    >>> scores, labels = jnp.array([4.0, 3.0, 2.0, 1.0]), jnp.array([1.0, 0.0, 1.0, 0.0])
    >>> print(f"{ap_metric(scores, labels):.4f}")
    0.8333
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    relevant = relevance(y, threshold)
    weighted = relevant if w is None else relevant * w
    ranking = rank_items(
        s,
        lists,
        segments=segments,
        topn=topn,
        key=key,
        rank_fn=rank_fn,
        cutoff_fn=cutoff_fn,
        ties=ties,
        value=weighted,
        counts=relevant,
    )
    hits = ranking.take(relevant) * ranking.seen
    if ranking.ties is None:
        precision = ranking.running(hits) / ranking.ranks
    else:
        precision = _expected_precision(ranking, ranking.ties, hits)
    total = ranking.lists.sum(ranking.expected(ranking.take(weighted)) * ranking.kept * precision)
    return finish(_ratio(total, lists.sum(weighted)), lists, reduce_fn)


def _expected_precision(ranking: Ranking, ties: TieGroups, hits: Array) -> Array:
    """Precision at each rank, given that a relevant item stands there, equal scores being in random order."""
    one = jnp.ones_like(hits)
    start = ties.start
    before = (iota_like(start) - start).astype(hits.dtype)
    earlier = take_last(ranking.running(hits) - hits, start)
    others = before * (ties.sum(hits) - 1) / jnp.maximum(ties.sum(one) - 1, one)
    return (earlier + 1 + jnp.maximum(others, jnp.zeros_like(others))) / ranking.ranks
