"""Lambda weights of DCG: LambdaRank and the LambdaLoss family."""

import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.losses._lambda_form import Form, lambda_weight, list_size, weight_matrix
from jrank.losses._pairs import PairWeights
from jrank.metrics import default_discount_fn, default_gain_fn
from jrank.metrics._dcg import ideal_dcg, item_gains
from jrank.metrics._lists import Fn, Lists, check_topn
from jrank.metrics._ranking import ranks
from jrank.types import Array, ArrayLike

__all__ = ["dcg1_lambdaweight", "dcg2_lambdaweight", "dcg2pp_lambdaweight", "dcg_lambdaweight"]


def _gains(y: Array, w: Array | None, lists: Lists, topn: int | None, normalize: bool, gain_fn: Fn, discount_fn: Fn):
    check_topn(topn)
    gains = item_gains(y, w, gain_fn, lists)
    if not normalize:
        return gains
    best = lists.spread(ideal_dcg(gains, lists, topn=topn, discount_fn=discount_fn))
    return gains / jnp.where(best == 0, jnp.ones_like(best), best)


def _dcg_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    topn: int | None = None,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
) -> Form:
    gains = _gains(y, w, lists, topn, normalize, gain_fn, discount_fn)
    place = ranks(s, where=lists.where, segments=segments).astype(s.dtype)
    discounts = discount_fn(place)
    if topn is not None:
        discounts = jnp.where(place <= topn, discounts, jnp.zeros_like(discounts))
    # The size of the list goes with the gain: one number fewer per item.
    gains = gains * list_size(lists, gains)
    return (gains, discounts), PairWeights(lambda a, b: jnp.abs(a[0] - b[0]) * jnp.abs(a[1] - b[1]))


@lambda_weight(_dcg_form)
def dcg_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by the change of DCG when the two swap places: with the logistic loss, LambdaRank.

    .. math:: \lambda_{ij} = n\, |g_i - g_j|\, |\operatorname{discount}(r_i) - \operatorname{discount}(r_j)|

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: grades; they give the gains g.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: a factor for the gain of each item.
      topn: ranks beyond it have discount 0; None for none.
      normalize: whether gains are divided by the best possible DCG of their list.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``. The factor n is the number of valid items of the list.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.

    Cost: O(n²) when called; inside a pairwise loss two numbers per item.
    References: Burges, Ragno and Le 2006, "Learning to rank with nonsmooth cost functions".

    >>> weights = dcg_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [0.    0.738 0.738 0.   ]
    """
    form = functools.partial(_dcg_form, topn=topn, normalize=normalize, gain_fn=gain_fn, discount_fn=discount_fn)
    return weight_matrix(form, scores, labels, where, segments, weights)


def _apart(a: Array, b: Array, topn: int | None, discount_fn: Fn, light_discount: bool = False) -> Array:
    """LambdaLoss's change of the discount, from how far apart two ranks are."""
    apart = jnp.abs(a - b)
    # Two items are at least one rank apart; the pair of an item with itself has weight 0 by its gains.
    apart = jnp.maximum(apart, jnp.ones_like(apart))
    delta = jnp.abs(discount_fn(apart) if light_discount else discount_fn(apart) - discount_fn(apart + 1))
    if topn is None:
        return delta
    lower = jnp.maximum(a, b)
    beyond = lower > topn
    share = discount_fn(jnp.where(beyond, lower, jnp.full_like(lower, 3)))
    return delta * jnp.where(beyond, 1 / (1 - share), jnp.ones_like(share))


def _dcg2_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    topn: int | None = None,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    light_discount: bool = False,
) -> Form:
    gains = _gains(y, w, lists, topn, normalize, gain_fn, discount_fn)
    place = ranks(s, where=lists.where, segments=segments).astype(s.dtype)
    gains = gains * list_size(lists, gains)

    def weight(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        return jnp.abs(a[0] - b[0]) * _apart(a[1], b[1], topn, discount_fn, light_discount)

    return (gains, place), PairWeights(weight)


@lambda_weight(_dcg2_form)
def dcg2_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    light_discount: bool = False,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair as LambdaLoss does: a tighter bound on DCG than LambdaRank's.

    .. math:: \lambda_{ij} = n\, |g_i - g_j|\, |D(|r_i - r_j|) - D(|r_i - r_j| + 1)|

    where D is the discount; with ``light_discount`` the last factor is :math:`|D(|r_i - r_j|)|`.

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: grades; they give the gains g.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: a factor for the gain of each item.
      topn: pairs with an item of rank m beyond it are scaled by :math:`1 / (1 - D(m))`; None for none.
      normalize: whether gains are divided by the best possible DCG of their list.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.
      light_discount: whether to take the lighter discount.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``. The factor n is the number of valid items of the list.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.

    Cost: O(n²) when called; inside a pairwise loss two numbers per item.
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization" (NDCG-Loss2); Jagerman et
    al.
      2022, "On optimizing top-K metrics for neural ranking models" (``topn``).

    >>> weights = dcg2_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [0.    0.738 0.738 0.   ]
    """
    form = functools.partial(
        _dcg2_form,
        topn=topn,
        normalize=normalize,
        gain_fn=gain_fn,
        discount_fn=discount_fn,
        light_discount=light_discount,
    )
    return weight_matrix(form, scores, labels, where, segments, weights)


def _dcg2pp_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    topn: int | None = None,
    mu: float | int = 10.0,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
) -> Form:
    gains = _gains(y, w, lists, topn, normalize, gain_fn, discount_fn)
    place = ranks(s, where=lists.where, segments=segments).astype(s.dtype)
    gains = gains * list_size(lists, gains)

    def weight(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        delta = jnp.abs(a[2] - b[2]) + mu * _apart(a[1], b[1], topn, discount_fn)
        return jnp.abs(a[0] - b[0]) * delta

    return (gains, place, discount_fn(place)), PairWeights(weight)


@lambda_weight(_dcg2pp_form)
def dcg2pp_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    mu: float | int = 10.0,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by LambdaRank's and LambdaLoss's change of DCG together (NDCG-Loss2++).

    .. math:: \lambda_{ij} = n\, |g_i - g_j|\, (|D(r_i) - D(r_j)| + \mu |D(|r_i - r_j|) - D(|r_i - r_j| + 1)|)

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: grades; they give the gains g.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: a factor for the gain of each item.
      topn: as in ``dcg2_lambdaweight``, for the second term.
      mu: weight of the second term. Static.
      normalize: whether gains are divided by the best possible DCG of their list.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``. The factor n is the number of valid items of the list.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.

    Cost: O(n²) when called; inside a pairwise loss three numbers per item.
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> weights = dcg2pp_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [0.   8.12 8.12 0.  ]
    """
    options = {"topn": topn, "mu": mu, "normalize": normalize, "gain_fn": gain_fn, "discount_fn": discount_fn}
    return weight_matrix(functools.partial(_dcg2pp_form, **options), scores, labels, where, segments, weights)


def _dcg1_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    topn: int | None = None,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
) -> Form:
    gains = _gains(y, w, lists, topn, normalize, gain_fn, discount_fn)
    place = ranks(s, where=lists.where, segments=segments).astype(s.dtype)
    value = gains * discount_fn(place) * list_size(lists, gains)
    if topn is not None:
        value = jnp.where(place <= topn, value, jnp.zeros_like(value))
    return (value,), PairWeights(lambda a, b: a[0])


@lambda_weight(_dcg1_form)
def dcg1_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    normalize: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by what its first item adds to DCG (NDCG-Loss1).

    .. math:: \lambda_{ij} = n\, g_i \operatorname{discount}(r_i)

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: grades; they give the gains g.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: a factor for the gain of each item.
      topn: ranks beyond it have discount 0; None for none.
      normalize: whether gains are divided by the best possible DCG of their list.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``. The factor n is the number of valid items of the list.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.

    Cost: O(n²) when called; inside a pairwise loss one number per item.
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> weights = dcg1_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [0.    0.    1.262 1.262]
    """
    options = {"topn": topn, "normalize": normalize, "gain_fn": gain_fn, "discount_fn": discount_fn}
    return weight_matrix(functools.partial(_dcg1_form, **options), scores, labels, where, segments, weights)
