"""More metrics of relevant and non-relevant items: success, hits, F, R-precision."""

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.metrics._binary import first_relevant, relevance
from jrank.metrics._lists import Fn, finish, prepare
from jrank.metrics._ranking import Ties, call_cutoff, cutoff, rank_items, ranks
from jrank.types import Array, ArrayLike

__all__ = [
    "f_metric",
    "hits_metric",
    "rprec_metric",
    "success_metric",
]


def success_metric(
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
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Success: whether a relevant item stands within the cut-off.

    .. math:: \operatorname{success@k}(s, y) = \max_{i : r_i \le k} [y_i \ge 1]

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
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The share of the lists with a success, or 0 and 1. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(success_metric(scores, labels, topn=1))
    1.0
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    relevant = relevance(y, threshold)
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=relevant
    )
    found = ranking.take(relevant)
    if ranking.ties is not None:
        first = first_relevant(ranking, ranking.ties, found)
        return finish(ranking.lists.sum(first * ranking.kept), lists, reduce_fn)
    return finish(ranking.lists.max(found * ranking.kept), lists, reduce_fn)


def hits_metric(
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
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""Hits: how many relevant items stand within the cut-off.

    .. math:: \operatorname{hits@k}(s, y) = |\{i : y_i \ge 1,\, r_i \le k\}|

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
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced count. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(hits_metric(scores, labels, topn=1))
    1.0
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    relevant = relevance(y, threshold)
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=relevant
    )
    return finish(ranking.lists.sum(ranking.take(relevant) * ranking.expected(ranking.kept)), lists, reduce_fn)


def f_metric(
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
    beta: Real[ArrayLike, ""] = 1.0,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""F: the weighted harmonic mean of precision and recall.

    .. math:: F_\beta@k = \frac{(1 + \beta^2) P R}{\beta^2 P + R}
        = \frac{(1 + \beta^2)\, h}{\beta^2 |R| + k}, \quad h = \operatorname{hits@k}

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      topn: the cut-off k; None for all retrieved items. It may exceed the number of items.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks.
      reduce_fn: reduction over the lists; None returns one value per list.
      beta: how much recall counts more than precision. May be traced.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced value, in [0, 1]; 0 for a list without a relevant item in reach. A list without a valid item is left
      out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1 or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.
    References: van Rijsbergen 1979, "Information Retrieval".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{f_metric(scores, labels, topn=3):.2f}")
    0.80
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    relevant = relevance(y, threshold)
    ranking = rank_items(
        s, lists, segments=segments, topn=topn, key=key, rank_fn=rank_fn, cutoff_fn=cutoff_fn, ties=ties, value=relevant
    )
    found = ranking.lists.sum(ranking.take(relevant) * ranking.expected(ranking.kept))
    depth = ranking.lists.sum(ranking.kept) if topn is None else jnp.asarray(topn, s.dtype)
    square = jnp.square(jnp.asarray(beta, s.dtype))
    whole = square * lists.sum(relevant) + depth
    return finish((1 + square) * found / jnp.where(whole == 0, jnp.ones_like(whole), whole), lists, reduce_fn)


def rprec_metric(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    cutoff_fn: Fn = cutoff,
    reduce_fn: Fn | None = jnp.mean,
    ties: Ties = "stable",
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "..."]:
    r"""R-precision: precision at the number of relevant items.

    .. math:: \operatorname{rprec}(s, y) = \frac{|\{i \in R : r_i \le |R|\}|}{|R|}, \quad R = \{i : y_i \ge 1\}

    Args:
      scores: larger is better. An item with score -inf was not retrieved.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      key: a random key; equal scores are then ranked in random order.
      rank_fn: scores to ranks; a soft one makes the metric differentiable.
      cutoff_fn: negated ranks to cut-offs, soft with soft ranks; it is called with one ``n`` for each list.
      reduce_fn: reduction over the lists; None returns one value per list.
      ties: how equal scores are ranked: "stable" (input order), "average" (mean over all orders), "worst" or "best".
      threshold: the smallest relevant label.

    Returns:
      The reduced precision, in [0, 1]; 0 for a list without a relevant item. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ or ``ties`` is unknown.

    Numerics: NaN scores rank as -inf. Half types are computed in float32, which is also the type of the result.
    Cost: O(n log n) time, O(n) memory.

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(rprec_metric(scores, labels))
    1.0
    """
    s, y, _, lists = prepare(scores, labels, where, segments)
    relevant = relevance(y, threshold)
    total = lists.sum(relevant)
    if rank_fn is not ranks or cutoff_fn is not cutoff:
        depth = jnp.broadcast_to(lists.spread(total).astype(jnp.int32), s.shape)

        def at_depth(a: Array, n: None = None, *, where: Array | None = None, segments: Array | None = None) -> Array:
            return call_cutoff(cutoff_fn, a, depth, where, segments)

        ranking = rank_items(s, lists, segments=segments, key=key, rank_fn=rank_fn, cutoff_fn=at_depth)
        kept = ranking.kept
    else:
        ranking = rank_items(s, lists, segments=segments, key=key, ties=ties, value=relevant)
        depth = ranking.lists.spread(total)
        kept = ranking.expected(jnp.where(ranking.ranks <= depth, ranking.kept, jnp.zeros_like(ranking.kept)))
    found = ranking.lists.sum(ranking.take(relevant) * kept)
    return finish(found / jnp.where(total == 0, jnp.ones_like(total), total), lists, reduce_fn)
