"""Weights of pairs: what swapping two items would do to a metric.

Each weight is given by a few numbers per item and a function of the numbers of two items, so that losses can work tile
by tile. Called, it gives the weights of all pairs, as Rax does.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_array
from jrank.losses._pairs import PairWeights
from jrank.metrics import default_discount_fn, default_gain_fn
from jrank.metrics._dcg import ideal_dcg, item_gains
from jrank.metrics._lists import Fn, Lists, check_topn, prepare
from jrank.metrics._ranking import ranks
from jrank.types import Array, ArrayLike

__all__ = [
    "dcg2_lambdaweight",
    "dcg_lambdaweight",
    "labeldiff_lambdaweight",
    "pair_form",
]

# Numbers per item, and the weight of a pair.
Form = tuple[tuple[Array, ...], PairWeights]


def pair_form(lambdaweight_fn: Fn) -> Callable[..., Form] | None:
    """Find the form by items of a lambda weight, through ``functools.partial``.

    Args:
      lambdaweight_fn: any lambda weight.

    Returns:
      A function of (scores, labels, weights, lists, segments) to the numbers per item and the weight of a pair; None
      for a callable that only knows all pairs at once.
    """
    if isinstance(lambdaweight_fn, functools.partial) and not lambdaweight_fn.args:
        form = pair_form(lambdaweight_fn.func)
        return None if form is None else functools.partial(form, **lambdaweight_fn.keywords)
    return FORMS.get(lambdaweight_fn)


def _matrix(form: Callable[..., Form], scores: Any, labels: Any, where: Any, segments: Any, weights: Any) -> Array:
    """Weights of all pairs of a list, flattened to ``[..., n * n]``; 0 for pairs that do not belong together."""
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    features, pair = form(s, y, w, lists, segments)
    first = tuple(f[..., :, None] for f in features)
    second = tuple(f[..., None, :] for f in features)
    matrix = pair.fn(first, second)
    matrix = jnp.broadcast_to(matrix, (*s.shape, s.shape[-1]))
    counts = pair_mask(lists)
    if counts is not None:
        matrix = jnp.where(counts, matrix, jnp.zeros_like(matrix))
    return matrix.reshape((*s.shape[:-1], -1))


def pair_mask(lists: Lists) -> Array | None:
    """Which pairs of items are valid and of one list, ``[..., n, n]``; None for all.

    Args:
      lists: the lists.
    """
    counts = None
    if lists.where is not None:
        counts = lists.where[..., :, None] & lists.where[..., None, :]
    if lists.slot is not None:
        same = lists.slot[..., :, None] == lists.slot[..., None, :]
        counts = same if counts is None else counts & same
    return counts


def _labeldiff_form(s: Array, y: Array, w: Array | None, lists: Lists, segments: Any) -> Form:
    return (y,), PairWeights(lambda a, b: jnp.abs(a[0] - b[0]))


def labeldiff_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by the difference of its labels.

    .. math:: \lambda_{ij} = |y_i - y_j|

    Args:
      scores: not used.
      labels: grades.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: not used.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``.

    Raises:
      LearnError: shapes differ.

    Cost: O(n²) when called; inside a pairwise loss one number per item.
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization" (ARP-Loss2).

    >>> labeldiff_lambdaweight(jnp.array([0.0, 1.0]), jnp.array([2.0, 0.0])).tolist()
    [0.0, 2.0, 2.0, 0.0]
    """
    return _matrix(_labeldiff_form, scores, labels, where, segments, weights)


def _gains(y: Array, w: Array | None, lists: Lists, topn: int | None, normalize: bool, gain_fn: Fn, discount_fn: Fn):
    check_topn(topn)
    gains = item_gains(y, w, gain_fn, lists)
    if not normalize:
        return gains
    best = lists.spread(ideal_dcg(gains, lists, topn=topn, discount_fn=discount_fn))
    return gains / jnp.where(best == 0, jnp.ones_like(best), best)


def _list_size(lists: Lists, like: Array) -> Array:
    """How many items the list of each item has: what a weight is scaled by, so that padding changes nothing."""
    count = lists.count(like.dtype)
    return jnp.broadcast_to(count if count.ndim == 0 else lists.spread(count), like.shape)


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
    gains = gains * _list_size(lists, gains)
    return (gains, discounts), PairWeights(lambda a, b: jnp.abs(a[0] - b[0]) * jnp.abs(a[1] - b[1]))


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
    return _matrix(form, scores, labels, where, segments, weights)


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
    gains = gains * _list_size(lists, gains)

    def weight(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        apart = jnp.abs(a[1] - b[1])
        # Two items are at least one rank apart; the pair of an item with itself has weight 0 by its gains.
        apart = jnp.maximum(apart, jnp.ones_like(apart))
        delta = jnp.abs(discount_fn(apart) if light_discount else discount_fn(apart) - discount_fn(apart + 1))
        if topn is not None:
            lower = jnp.maximum(a[1], b[1])
            beyond = lower > topn
            share = discount_fn(jnp.where(beyond, lower, jnp.full_like(lower, 3)))
            delta = delta * jnp.where(beyond, 1 / (1 - share), jnp.ones_like(share))
        return jnp.abs(a[0] - b[0]) * delta

    return (gains, place), PairWeights(weight)


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
    return _matrix(form, scores, labels, where, segments, weights)


# One lambda weight, one line.
FORMS: dict[Fn, Callable[..., Form]] = {
    labeldiff_lambdaweight: _labeldiff_form,
    dcg_lambdaweight: _dcg_form,
    dcg2_lambdaweight: _dcg2_form,
}


def dense_weights(lambdaweight_fn: Fn, s: Array, y: Array, w: Array | None, lists: Lists, segments: Any) -> Array:
    """Weights of all pairs as ``[..., n, n]``, whichever way a lambda weight gives them.

    Args:
      lambdaweight_fn: any lambda weight.
      s: scores.
      y: labels.
      w: weights, or None.
      lists: the lists.
      segments: the ids that ``lists`` was made from, or None.
    """
    ids = None if segments is None else as_array(segments, "segments")
    matrix = lambdaweight_fn(s, y, where=lists.where, segments=ids, weights=w)
    return jax.lax.stop_gradient(matrix).reshape((*s.shape, s.shape[-1])).astype(s.dtype)
