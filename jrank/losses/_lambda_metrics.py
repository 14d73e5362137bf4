"""Lambda weights of labels and of metrics other than DCG: what swapping two items would do to them."""

import functools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import take_last
from jrank.losses._lambda_form import Form, lambda_weight, weight_matrix
from jrank.losses._pairs import PairWeights
from jrank.metrics import ranks
from jrank.metrics._lists import Lists, check_topn, iota_like, product_before, running_count, scatter_last
from jrank.types import Array, ArrayLike

__all__ = [
    "ap_lambdaweight",
    "err_lambdaweight",
    "labeldiff_lambdaweight",
    "labels_lambdaweight",
    "mrr_lambdaweight",
    "precision_lambdaweight",
]


def _labeldiff_form(s: Array, y: Array, w: Array | None, lists: Lists, segments: Any) -> Form:
    return (y,), PairWeights(lambda a, b: jnp.abs(a[0] - b[0]))


@lambda_weight(_labeldiff_form)
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
    return weight_matrix(_labeldiff_form, scores, labels, where, segments, weights)


def _labels_form(s: Array, y: Array, w: Array | None, lists: Lists, segments: Any) -> Form:
    return (y,), PairWeights(lambda a, b: a[0])


@lambda_weight(_labels_form)
def labels_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by the label of its first item (ARP-Loss1).

    .. math:: \lambda_{ij} = y_i

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
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> weights = labels_lambdaweight(jnp.array([0.0, 1.0]), jnp.array([2.0, 0.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [2. 2. 0. 0.]
    """
    return weight_matrix(_labels_form, scores, labels, where, segments, weights)


def _relevant(y: Array, w: Array | None, lists: Lists, threshold: ArrayLike) -> Array:
    """1, or the weight, at relevant items."""
    relevant = (y >= threshold).astype(y.dtype)
    relevant = relevant if w is None else relevant * w
    return relevant if lists.where is None else jnp.where(lists.where, relevant, jnp.zeros_like(relevant))


def _precision_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    topn: int | None = None,
    threshold: Real[ArrayLike, ""] = 1,
) -> Form:
    check_topn(topn)
    size = lists.size if topn is None else topn
    kept = (ranks(s, where=lists.where, segments=segments) <= size).astype(s.dtype) / max(size, 1)
    features = (_relevant(y, w, lists, threshold), kept)
    return features, PairWeights(lambda a, b: jnp.abs(a[0] - b[0]) * jnp.abs(a[1] - b[1]))


@lambda_weight(_precision_form)
def precision_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by the change of precision at k when the two swap places.

    .. math:: \lambda_{ij} = |\operatorname{rel}_i - \operatorname{rel}_j|\, |[r_i \le k] - [r_j \le k]| / k

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: a factor for each relevant item.
      topn: the cut-off k. None, the whole list, leaves no pair a weight.
      threshold: the smallest label that counts as relevant.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.

    Cost: O(n²) when called; inside a pairwise loss two numbers per item.
    References: Jagerman et al. 2022, "On optimizing top-K metrics for neural ranking models".

    >>> weights = precision_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]), topn=1)
    >>> print(jnp.array_str(weights, precision=3))
    [0. 1. 1. 0.]
    """
    return weight_matrix(
        functools.partial(_precision_form, topn=topn, threshold=threshold), scores, labels, where, segments, weights
    )


def _mrr_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    topn: int | None = None,
    threshold: Real[ArrayLike, ""] = 1,
) -> Form:
    check_topn(topn)
    relevant = _relevant(y, None, lists, threshold)
    place = ranks(s, where=lists.where, segments=segments).astype(s.dtype)
    # Reciprocal ranks of the first and of the second relevant item of each list: what a swap can change.
    gain = 1 / place if topn is None else jnp.where(place <= topn, 1 / place, jnp.zeros_like(place))
    own = relevant * gain
    first = jnp.broadcast_to(lists.spread(lists.max(own)), s.shape)
    second = jnp.broadcast_to(lists.spread(lists.max(jnp.where(own == first, jnp.zeros_like(own), own))), s.shape)

    def weight(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        kept, other = jnp.where(a[0] > b[0], a[1], b[1]), jnp.where(a[0] > b[0], b[1], a[1])
        # A relevant item moves up before the first one, or the first one moves down, to the second one at most.
        up = jnp.maximum(other - a[2], jnp.zeros_like(other))
        down = jnp.where(kept == a[2], a[2] - jnp.maximum(other, a[3]), jnp.zeros_like(other))
        return jnp.abs(a[0] - b[0]) * jnp.where(other > kept, up, down)

    return (relevant, gain, first, second), PairWeights(weight)


@lambda_weight(_mrr_form)
def mrr_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by the change of the reciprocal rank of the first relevant item when the two swap places.

    .. math:: \lambda_{ij} = |\operatorname{mrr@k}(s, y) - \operatorname{mrr@k}(s^{i \leftrightarrow j}, y)|

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: not used.
      topn: the cut-off k; None for none.
      threshold: the smallest label that counts as relevant.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.

    Cost: O(n²) when called; inside a pairwise loss four numbers per item.
    References: Donmez, Svore and Burges 2009, "On the local optimality of LambdaRank".

    >>> weights = mrr_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [0.  0.5 0.5 0. ]
    """
    return weight_matrix(
        functools.partial(_mrr_form, topn=topn, threshold=threshold), scores, labels, where, segments, weights
    )


def _by_rank(s: Array, lists: Lists, segments: Any) -> tuple[Array, Array, Array | None]:
    """Ranks, and the order that puts the items of each list by rank, and the lists in that order."""
    place = ranks(s, where=lists.where, segments=segments)
    if lists.slot is None:
        return place, scatter_last(place - 1, iota_like(place)), None
    # Masked items stand apart, whatever list they are said to be of.
    slot = lists.slot if lists.where is None else jnp.where(lists.where, lists.slot, jnp.int32(lists.size))
    slot, _, order = lax.sort((slot, place, iota_like(place)), dimension=-1, num_keys=2, is_stable=True)
    return place, order, slot


def _ap_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    threshold: Real[ArrayLike, ""] = 1,
) -> Form:
    relevant = _relevant(y, None, lists, threshold)
    place, order, slot = _by_rank(s, lists, segments)
    place = place.astype(s.dtype)
    ordered = take_last(relevant, order)
    count = scatter_last(order, running_count(ordered, slot))
    inverse = scatter_last(order, running_count(ordered / take_last(place, order), slot))
    total = lists.spread(lists.sum(relevant))
    share = jnp.broadcast_to(1 / jnp.maximum(total, jnp.ones_like(total)), s.shape)

    def weight(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        above = a[1] < b[1]
        upper, lower = (tuple(jnp.where(above, p, q) for p, q in zip(*pair, strict=True)) for pair in ((a, b), (b, a)))
        between = lower[3] - upper[3]
        down = upper[2] / upper[1] + between - lower[2] / lower[1]
        up = (upper[2] + 1) / upper[1] + between - (lower[2] + 1) / lower[1]
        return jnp.abs(a[0] - b[0]) * jnp.abs(jnp.where(upper[0] > lower[0], down, up)) * upper[4]

    return (relevant, place, count, inverse, share), PairWeights(weight)


@lambda_weight(_ap_form)
def ap_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    threshold: Real[ArrayLike, ""] = 1,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by the change of average precision when the two swap places.

    .. math:: \lambda_{ij} = |\operatorname{ap}(s, y) - \operatorname{ap}(s^{i \leftrightarrow j}, y)|

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: not used.
      threshold: the smallest label that counts as relevant.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``.

    Raises:
      LearnError: shapes differ.

    Cost: O(n²) when called; inside a pairwise loss five numbers per item.
    References: Donmez, Svore and Burges 2009, "On the local optimality of LambdaRank".

    >>> weights = ap_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [0.  0.5 0.5 0. ]
    """
    return weight_matrix(functools.partial(_ap_form, threshold=threshold), scores, labels, where, segments, weights)


def _err_form(
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    segments: Any,
    *,
    max_label: Real[ArrayLike, ""] | None = None,
) -> Form:
    place, order, slot = _by_rank(s, lists, segments)
    place = place.astype(s.dtype)
    top = lists.spread(lists.max(y)) if max_label is None else jnp.asarray(max_label, y.dtype)
    stop = (jnp.exp2(y) - 1) / jnp.exp2(jnp.broadcast_to(top, y.shape))
    stop = stop if lists.where is None else jnp.where(lists.where, stop, jnp.zeros_like(stop))
    ordered = take_last(stop, order)
    before = product_before(1 - ordered, slot)
    total = scatter_last(order, running_count(before * ordered / take_last(place, order), slot))
    before = scatter_last(order, before)

    def weight(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        above = a[1] < b[1]
        upper, lower = (tuple(jnp.where(above, p, q) for p, q in zip(*pair, strict=True)) for pair in ((a, b), (b, a)))
        left = 1 - upper[0]
        rest = jnp.where(left > 0, (1 - lower[0]) / jnp.where(left > 0, left, jnp.ones_like(left)), jnp.ones_like(left))
        below = lower[2] / lower[1]
        between = lower[3] - lower[0] * below - upper[3]
        first = upper[2] * (upper[0] - lower[0]) / upper[1]
        return jnp.abs(first + (1 - rest) * between + below * (lower[0] - rest * upper[0]))

    return (stop, place, before, total), PairWeights(weight)


@lambda_weight(_err_form)
def err_lambdaweight(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    max_label: Real[ArrayLike, ""] | None = None,
) -> Float[Array, "*batch nn"]:
    r"""Weight a pair by the change of expected reciprocal rank when the two swap places.

    .. math:: \lambda_{ij} = |\operatorname{err}(s, y) - \operatorname{err}(s^{i \leftrightarrow j}, y)|

    Args:
      scores: larger is better; they give the ranks r and no gradient.
      labels: grades; a reader stops at an item with probability :math:`(2^y - 1) / 2^m`.
      where: True at real items; pairs with a masked item have weight 0.
      segments: ids of lists within a row; pairs across lists have weight 0.
      weights: not used.
      max_label: the largest grade m that there is; None takes the largest label of each list.

    Returns:
      The weights of all pairs, row by row: ``[..., n * n]``.

    Raises:
      LearnError: shapes differ.

    Cost: O(n²) when called; inside a pairwise loss four numbers per item.
    References: Chapelle et al. 2009, "Expected reciprocal rank for graded relevance"; Burges 2010, "From RankNet
      to LambdaRank to LambdaMART".

    >>> weights = err_lambdaweight(jnp.array([2.0, 1.0]), jnp.array([0.0, 1.0]))
    >>> print(jnp.array_str(weights, precision=3))
    [0.   0.25 0.25 0.  ]
    """
    return weight_matrix(functools.partial(_err_form, max_label=max_label), scores, labels, where, segments, weights)
