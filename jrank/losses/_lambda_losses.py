"""The LambdaLoss family: logistic pair losses weighted by what they bound."""

import functools
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating
from jrank.losses._lambda_dcg import dcg1_lambdaweight, dcg2_lambdaweight, dcg2pp_lambdaweight
from jrank.losses._lambda_metrics import labeldiff_lambdaweight, labels_lambdaweight
from jrank.losses._pair_values import LOGISTIC, check_method, pair_totals
from jrank.losses._pairs import PairLoss
from jrank.metrics import default_discount_fn, default_gain_fn
from jrank.metrics._lists import Fn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["arp1_loss", "arp2_loss", "ndcg1_loss", "ndcg2_loss", "ndcg2pp_loss"]

# Every pair of two items, in both directions.
LOGISTIC_ALL = PairLoss(LOGISTIC.parts, "all")


def _value(
    lambdaweight_fn: Fn,
    scores: Any,
    labels: Any,
    where: Any,
    segments: Any,
    weights: Any,
    sigma: Any,
    reduce_fn: Fn | None,
    method: str,
    *,
    all_pairs: bool = False,
    per_item: bool = False,
) -> Array:
    """Sum the weighted logistic losses of the pairs of each list.

    With ``per_item`` the sum is divided by the number of items, which the weights of DCG are multiplied by.
    """
    check_method(method)
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    s = s * jnp.asarray(sigma, s.dtype)
    loss = LOGISTIC_ALL if all_pairs else LOGISTIC
    total, _ = pair_totals(loss, s, y, w, lists, segments, lambdaweight_fn, method)
    if per_item:
        count = lists.count(s.dtype)
        total = total / jnp.maximum(count, jnp.ones_like(count))
    return finish(total, lists, reduce_fn, dtype)


def arp1_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    all_pairs: bool = False,
    sigma: Real[ArrayLike, ""] = 1.0,
    reduce_fn: Fn | None = jnp.mean,
    method: Literal["auto", "blocked", "dense"] = "auto",
) -> Float[Array, "..."]:
    r"""ARP-Loss1: a bound on the average position of the relevant items.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} y_i \log(1 + \exp(-\sigma (s_i - s_j)))

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      all_pairs: whether every pair of two items counts, in both directions, as published, rather than only those with
        :math:`y_i > y_j`.
      sigma: steepness of the logistic function. May be traced.
      reduce_fn: reduction over the lists; None returns one value per list.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" is the first.

    Returns:
      The reduced loss, at least 0; 0 for a list without a pair that counts. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, or the method is unknown.

    Numerics: ranks give no gradient. As ``pairwise_logistic_loss`` for infinite scores. Half types are accumulated in
      float32.
    Cost: O(n²) time, O(n) memory beside one tile; "dense" holds [n, n].
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> print(f"{arp1_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    3.8617
    """
    return _value(
        labels_lambdaweight, scores, labels, where, segments, weights, sigma, reduce_fn, method, all_pairs=all_pairs
    )


def arp2_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    sigma: Real[ArrayLike, ""] = 1.0,
    reduce_fn: Fn | None = jnp.mean,
    method: Literal["auto", "blocked", "dense"] = "auto",
) -> Float[Array, "..."]:
    r"""ARP-Loss2: a tighter bound on the average position of the relevant items.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} |y_i - y_j| \log(1 + \exp(-\sigma (s_i - s_j)))

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      sigma: steepness of the logistic function. May be traced.
      reduce_fn: reduction over the lists; None returns one value per list.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" is the first.

    Returns:
      The reduced loss, at least 0; 0 for a list without a pair that counts. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, or the method is unknown.

    Numerics: ranks give no gradient. As ``pairwise_logistic_loss`` for infinite scores. Half types are accumulated in
      float32.
    Cost: O(n²) time, O(n) memory beside one tile; "dense" holds [n, n].
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> print(f"{arp2_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    2.5484
    """
    return _value(labeldiff_lambdaweight, scores, labels, where, segments, weights, sigma, reduce_fn, method)


def ndcg1_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    all_pairs: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    sigma: Real[ArrayLike, ""] = 1.0,
    reduce_fn: Fn | None = jnp.mean,
    method: Literal["auto", "blocked", "dense"] = "auto",
) -> Float[Array, "..."]:
    r"""NDCG-Loss1: pairs weighted by what their first item adds to NDCG.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} g_i D(r_i) \log(1 + \exp(-\sigma (s_i - s_j)))

    where g is the gain over the best possible DCG, r the rank by score and D the discount.

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      topn: ranks beyond it have discount 0; None for none.
      all_pairs: whether every pair of two items counts, in both directions, as published, rather than only those with
        :math:`y_i > y_j`.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.
      sigma: steepness of the logistic function. May be traced.
      reduce_fn: reduction over the lists; None returns one value per list.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" is the first.

    Returns:
      The reduced loss, at least 0; 0 for a list without a pair that counts. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, or the method is unknown.

    Numerics: ranks give no gradient. As ``pairwise_logistic_loss`` for infinite scores. Half types are accumulated in
      float32.
    Cost: O(n²) time, O(n) memory beside one tile; "dense" holds [n, n].
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> print(f"{ndcg1_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    1.0096
    """
    options = {"topn": topn, "normalize": True, "gain_fn": gain_fn, "discount_fn": discount_fn}
    weight = functools.partial(dcg1_lambdaweight, **options)
    return _value(
        weight, scores, labels, where, segments, weights, sigma, reduce_fn, method, all_pairs=all_pairs, per_item=True
    )


def ndcg2_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    sigma: Real[ArrayLike, ""] = 1.0,
    reduce_fn: Fn | None = jnp.mean,
    method: Literal["auto", "blocked", "dense"] = "auto",
) -> Float[Array, "..."]:
    r"""NDCG-Loss2: a tighter bound on NDCG, pairs weighted by how far their ranks are apart.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} |g_i - g_j|\, |D(|r_i - r_j|) - D(|r_i - r_j| + 1)|
        \log(1 + \exp(-\sigma (s_i - s_j)))

    where g is the gain over the best possible DCG, r the rank by score and D the discount.

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      topn: the cut-off k of NDCG-Loss2@k: pairs with an item of rank m beyond it are scaled by
        :math:`1 / (1 - D(m))`; None for none.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.
      sigma: steepness of the logistic function. May be traced.
      reduce_fn: reduction over the lists; None returns one value per list.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" is the first.

    Returns:
      The reduced loss, at least 0; 0 for a list without a pair that counts. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, or the method is unknown.

    Numerics: ranks give no gradient. As ``pairwise_logistic_loss`` for infinite scores. Half types are accumulated in
      float32.
    Cost: O(n²) time, O(n) memory beside one tile; "dense" holds [n, n].
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization"; Jagerman et al. 2022, "On
      optimizing top-K metrics for neural ranking models".

    >>> print(f"{ndcg2_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.3904
    """
    options = {"topn": topn, "normalize": True, "gain_fn": gain_fn, "discount_fn": discount_fn}
    weight = functools.partial(dcg2_lambdaweight, **options)
    return _value(weight, scores, labels, where, segments, weights, sigma, reduce_fn, method, per_item=True)


def ndcg2pp_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    mu: float | int = 10.0,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    sigma: Real[ArrayLike, ""] = 1.0,
    reduce_fn: Fn | None = jnp.mean,
    method: Literal["auto", "blocked", "dense"] = "auto",
) -> Float[Array, "..."]:
    r"""NDCG-Loss2++: the weights of LambdaRank and of NDCG-Loss2 together.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} |g_i - g_j|\, (|D(r_i) - D(r_j)| + \mu \delta_{ij})
        \log(1 + \exp(-\sigma (s_i - s_j))), \quad \delta_{ij} = |D(|r_i - r_j|) - D(|r_i - r_j| + 1)|

    where g is the gain over the best possible DCG, r the rank by score and D the discount.

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      topn: as in ``ndcg2_loss``; None for none.
      mu: weight of NDCG-Loss2. Static.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.
      sigma: steepness of the logistic function. May be traced.
      reduce_fn: reduction over the lists; None returns one value per list.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" is the first.

    Returns:
      The reduced loss, at least 0; 0 for a list without a pair that counts. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, or the method is unknown.

    Numerics: ranks give no gradient. As ``pairwise_logistic_loss`` for infinite scores. Half types are accumulated in
      float32.
    Cost: O(n²) time, O(n) memory beside one tile; "dense" holds [n, n].
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> print(f"{ndcg2pp_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    4.2678
    """
    options = {"topn": topn, "normalize": True, "gain_fn": gain_fn, "discount_fn": discount_fn, "mu": mu}
    weight = functools.partial(dcg2pp_lambdaweight, **options)
    return _value(weight, scores, labels, where, segments, weights, sigma, reduce_fn, method, per_item=True)
