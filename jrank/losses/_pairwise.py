"""Pairwise losses: sums over the pairs of a list of a function of the score difference."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, reduce_values
from jrank.errors import LearnError
from jrank.losses._elementary import logistic_parts
from jrank.losses._lambdaweights import dense_weights, pair_form, pair_mask
from jrank.losses._pairs import PairLoss, count_pairs, finite_scores, pair_sums, without_bound
from jrank.metrics._lists import Fn, Lists, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = [
    "pairwise_hinge_loss",
    "pairwise_logistic_loss",
    "pairwise_loss",
    "pairwise_mse_loss",
    "pairwise_qr_loss",
    "pairwise_soft_zero_one_loss",
]

Method = Literal["auto", "blocked", "dense"]
Normalize = Literal["pairs", "list"]


# The losses of a pair: value and slope at the difference x of the scores. Module-level, so that they are compiled once.
def _hinge(x: Array, dy: Array) -> tuple[Array, Array]:
    active = x < 1
    return jnp.where(active, 1 - x, jnp.zeros_like(x)), -active.astype(x.dtype)


def _logistic(x: Array, dy: Array) -> tuple[Array, Array]:
    return logistic_parts(x)


def _soft_zero_one(x: Array, dy: Array) -> tuple[Array, Array]:
    p = jax.nn.sigmoid(-x)
    return p, -p * jax.nn.sigmoid(x)


def _mse(x: Array, dy: Array) -> tuple[Array, Array]:
    return jnp.square(x - dy), 2 * (x - dy)


def _qr(tau: float, squared: bool, x: Array, dy: Array) -> tuple[Array, Array]:
    u = x - dy
    low, high = u < 0, u > 0
    slope = jnp.where(low, jnp.full_like(u, -tau), jnp.where(high, jnp.full_like(u, 1 - tau), jnp.zeros_like(u)))
    return (slope * u * jnp.abs(u), 2 * slope * jnp.abs(u)) if squared else (slope * u, slope)


HINGE = PairLoss(_hinge)
LOGISTIC = PairLoss(_logistic)
SOFT_ZERO_ONE = PairLoss(_soft_zero_one)
MSE = PairLoss(_mse, ordered=False)


@functools.cache
def _qr_loss(tau: float, squared: bool) -> PairLoss:
    return PairLoss(functools.partial(_qr, tau, squared))


def _options(normalize: str, method: str) -> None:
    if normalize not in ("pairs", "list"):
        raise LearnError(f"normalize is {normalize!r}, 'pairs' or 'list' was expected", reason="invalid_parameter")
    if method not in ("auto", "blocked", "dense"):
        raise LearnError(f"method is {method!r}, 'auto', 'blocked' or 'dense' was expected", reason="invalid_parameter")


def _matrix(loss: Any, s: Array, y: Array, w: Array | None, lists: Lists, lam: Array | None) -> tuple[Array, Array]:
    """The loss of every pair and which pairs count, ``[..., n, n]``."""
    counts = pair_mask(lists)
    counts = jnp.ones((*s.shape, s.shape[-1]), bool) if counts is None else counts
    dy = y[..., :, None] - y[..., None, :]
    unseen = s == -jnp.inf
    s = finite_scores(s)
    x = s[..., :, None] - s[..., None, :]
    if isinstance(loss, PairLoss):
        counts &= dy > 0 if loss.ordered else True
        values = loss.parts(jnp.where(counts, x, jnp.zeros_like(x)), dy)[0]
    else:
        values, valid = loss(jnp.where(counts, x, jnp.zeros_like(x)), dy)
        counts &= valid
    if w is not None:
        values = values * w[..., :, None]
    if lam is not None:
        values = values * lam
    values = jnp.where(counts, values, jnp.zeros_like(values))
    return without_bound(values, unseen[..., :, None] | unseen[..., None, :]), counts


def _pairwise(
    loss: Any,
    scores: Any,
    labels: Any,
    where: Any,
    segments: Any,
    weights: Any,
    lambdaweight_fn: Fn | None,
    reduce_fn: Fn | None,
    normalize: str,
    method: str,
    pairs: bool,
) -> Array:
    _options(normalize, method)
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    form = None if lambdaweight_fn is None else pair_form(lambdaweight_fn)
    by_pairs = pairs or (normalize == "pairs" and reduce_fn not in (None, jnp.mean, jnp.sum))
    all_at_once = by_pairs or not isinstance(loss, PairLoss) or (lambdaweight_fn is not None and form is None)
    if all_at_once and method == "blocked":
        raise LearnError(
            "method 'blocked' needs a loss and a lambda weight of jrank, and a reduction by jnp.mean, jnp.sum or None",
            reason="invalid_parameter",
            hint="use method='auto'",
        )
    if all_at_once or method == "dense":
        lam = None if lambdaweight_fn is None else dense_weights(lambdaweight_fn, s, y, w, lists, segments)
        values, counts = _matrix(loss, s, y, w, lists, lam)
        if by_pairs:
            flat = (*s.shape[:-1], s.shape[-1] ** 2)
            return reduce_values(values.reshape(flat), counts.reshape(flat), None if pairs else reduce_fn).astype(dtype)
        total, number = (lists.sum(jnp.sum(x.astype(s.dtype), axis=-1)) for x in (values, counts))
    elif loss is MSE and form is None and method == "auto":
        total, number = _mse_sums(s, y, w, lists), count_pairs(loss, y, lists)
    else:
        features, pair_weights = ((), None) if form is None else form(s, y, w, lists, segments)
        total = pair_sums(loss, s, y, lists, w, pair_weights, lax.stop_gradient(features))
        number = count_pairs(loss, y, lists)
    return _reduce(total, number, lists, reduce_fn, normalize).astype(dtype)


def _reduce(total: Array, number: Array, lists: Lists, reduce_fn: Fn | None, normalize: str) -> Array:
    """Sums and numbers of pairs per list to the result."""
    if normalize == "list":
        return finish(total / jnp.maximum(number, jnp.ones_like(number)), lists, reduce_fn)
    total = finish(total, lists, None if reduce_fn is None else jnp.sum)
    if reduce_fn is not jnp.mean:
        return total
    number = finish(number, lists, jnp.sum)
    return total / jnp.maximum(number, jnp.ones_like(number))


def _mse_sums(s: Array, y: Array, w: Array | None, lists: Lists) -> Array:
    """Sum of the squared differences over all pairs, from moments about the mean: nothing is cancelled."""
    u = finite_scores(s) - y
    count = lists.sum(jnp.ones_like(u))
    mean = lists.sum(u) / jnp.maximum(count, jnp.ones_like(count))
    u = u - lists.spread(mean)
    squares = lists.sum(u * u)
    if w is None:
        return 2 * count * squares
    # sum_ij w_i (u_i - u_j)^2 with sum_j u_j = 0
    return count * lists.sum(w * u * u) + lists.sum(w) * squares


def pairwise_hinge_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    lambdaweight_fn: Fn | None = None,
    reduce_fn: Fn | None = jnp.mean,
    normalize: Normalize = "pairs",
    method: Method = "auto",
    pairs: bool = False,
) -> Float[Array, "..."]:
    r"""Pairwise hinge loss: each pair shall be a score of 1 apart.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} \max(0, 1 - (s_i - s_j))

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      lambdaweight_fn: a factor for each pair from scores and labels, such as ``dcg_lambdaweight``; no gradient flows
        through it. A callable of your own gives all pairs, ``[..., n * n]`` or ``[..., n, n]``.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per list. Another function is called with the losses
        of all pairs, ``[..., n * n]``, and their mask, as in Rax, or with one value per list if ``normalize="list"``.
      normalize: "pairs": the mean is over the pairs of all lists, so that long lists count more, and None gives the sum
        over the pairs of each list. "list": each list has the mean over its own pairs.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" chooses the first where it can.
      pairs: whether to return the losses of all pairs, ``[..., n * n]`` row by row, 0 for those that do not count.

    Returns:
      The reduced loss, at least 0; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ, an option is unknown, or the method cannot do what is asked.

    Numerics: a first item with score -inf costs +inf against any that was retrieved; a second one costs nothing. +inf
    counts as the largest finite
      number. The slope at the kink is 0. Half types are accumulated in float32.
    Cost: O(n²) time, O(n) memory beside one tile; with segments O(n m) time for lists of at most m items. "dense" holds
      [n, n].
    References: Herbrich, Graepel and Obermayer 1999, "Support vector learning for ordinal regression".

    >>> print(f"{pairwise_hinge_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.4000
    """
    return _pairwise(
        HINGE,
        scores,
        labels,
        where,
        segments,
        weights,
        lambdaweight_fn,
        reduce_fn,
        normalize,
        method,
        pairs,
    )


def pairwise_logistic_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    lambdaweight_fn: Fn | None = None,
    reduce_fn: Fn | None = jnp.mean,
    normalize: Normalize = "pairs",
    method: Method = "auto",
    pairs: bool = False,
) -> Float[Array, "..."]:
    r"""Pairwise logistic loss (RankNet): the surprise at each pair that is to be in this order.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} \log(1 + \exp(-(s_i - s_j)))

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      lambdaweight_fn: a factor for each pair from scores and labels, such as ``dcg_lambdaweight``; no gradient flows
        through it. A callable of your own gives all pairs, ``[..., n * n]`` or ``[..., n, n]``.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per list. Another function is called with the losses
        of all pairs, ``[..., n * n]``, and their mask, as in Rax, or with one value per list if ``normalize="list"``.
      normalize: "pairs": the mean is over the pairs of all lists, so that long lists count more, and None gives the sum
        over the pairs of each list. "list": each list has the mean over its own pairs.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" chooses the first where it can.
      pairs: whether to return the losses of all pairs, ``[..., n * n]`` row by row, 0 for those that do not count.

    Returns:
      The reduced loss, at least 0; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ, an option is unknown, or the method cannot do what is asked.

    Numerics: a first item with score -inf costs +inf against any that was retrieved; a second one costs nothing. +inf
    counts as the largest finite
      number. Half types are accumulated in float32.
    Cost: O(n²) time, O(n) memory beside one tile; with segments O(n m) time for lists of at most m items. "dense" holds
      [n, n].
    References: Burges et al. 2005, "Learning to rank using gradient descent".

    >>> print(f"{pairwise_logistic_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.4068
    """
    return _pairwise(
        LOGISTIC,
        scores,
        labels,
        where,
        segments,
        weights,
        lambdaweight_fn,
        reduce_fn,
        normalize,
        method,
        pairs,
    )


def pairwise_soft_zero_one_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    lambdaweight_fn: Fn | None = None,
    reduce_fn: Fn | None = jnp.mean,
    normalize: Normalize = "pairs",
    method: Method = "auto",
    pairs: bool = False,
) -> Float[Array, "..."]:
    r"""Pairwise soft zero-one loss: a smooth count of the pairs in the wrong order.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} \sigma(-(s_i - s_j))

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      lambdaweight_fn: a factor for each pair from scores and labels, such as ``dcg_lambdaweight``; no gradient flows
        through it. A callable of your own gives all pairs, ``[..., n * n]`` or ``[..., n, n]``.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per list. Another function is called with the losses
        of all pairs, ``[..., n * n]``, and their mask, as in Rax, or with one value per list if ``normalize="list"``.
      normalize: "pairs": the mean is over the pairs of all lists, so that long lists count more, and None gives the sum
        over the pairs of each list. "list": each list has the mean over its own pairs.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" chooses the first where it can.
      pairs: whether to return the losses of all pairs, ``[..., n * n]`` row by row, 0 for those that do not count.

    Returns:
      The reduced loss, at least 0; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ, an option is unknown, or the method cannot do what is asked.

    Numerics: infinite scores give 0 or 1. Half types are accumulated in float32.
    Cost: O(n²) time, O(n) memory beside one tile; with segments O(n m) time for lists of at most m items. "dense" holds
      [n, n].
    References: Rudin and Schapire 2009, "Margin-based ranking and an equivalence between AdaBoost and RankBoost".

    >>> print(f"{pairwise_soft_zero_one_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.2755
    """
    return _pairwise(
        SOFT_ZERO_ONE,
        scores,
        labels,
        where,
        segments,
        weights,
        lambdaweight_fn,
        reduce_fn,
        normalize,
        method,
        pairs,
    )


def pairwise_mse_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    lambdaweight_fn: Fn | None = None,
    reduce_fn: Fn | None = jnp.mean,
    normalize: Normalize = "pairs",
    method: Method = "auto",
    pairs: bool = False,
) -> Float[Array, "..."]:
    r"""Pairwise mean squared error: score differences shall equal label differences.

    .. math:: \ell(s, y) = \sum_{i,j} ((y_i - y_j) - (s_i - s_j))^2

    Args:
      scores: larger is better; only their differences matter.
      labels: target scores, up to a constant.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      lambdaweight_fn: a factor for each pair from scores and labels, such as ``dcg_lambdaweight``; no gradient flows
        through it. A callable of your own gives all pairs, ``[..., n * n]`` or ``[..., n, n]``.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per list. Another function is called with the losses
        of all pairs, ``[..., n * n]``, and their mask, as in Rax, or with one value per list if ``normalize="list"``.
      normalize: "pairs": the mean is over the pairs of all lists, so that long lists count more, and None gives the sum
        over the pairs of each list. "list": each list has the mean over its own pairs.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" chooses the first where it can.
      pairs: whether to return the losses of all pairs, ``[..., n * n]`` row by row, 0 for those that do not count.

    Returns:
      The reduced loss, at least 0; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ, an option is unknown, or the method cannot do what is asked.

    Numerics: all pairs count, equal labels and an item with itself included. Infinite scores cost +inf. Half types are
    accumulated in float32. Cost: O(n) time and memory; with ``lambdaweight_fn`` or ``method="blocked"`` O(n²) time and
    O(n) memory beside
      one tile. "dense" holds [n, n].
    References: Hofstätter et al. 2020, "Improving efficient neural ranking models with cross-architecture knowledge
      distillation", for pairs of one relevant item: ``margin_mse_loss``.

    >>> print(f"{pairwise_mse_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    1.0938
    """
    return _pairwise(
        MSE,
        scores,
        labels,
        where,
        segments,
        weights,
        lambdaweight_fn,
        reduce_fn,
        normalize,
        method,
        pairs,
    )


def pairwise_qr_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    tau: float | int = 0.5,
    squared: bool = False,
    lambdaweight_fn: Fn | None = None,
    reduce_fn: Fn | None = jnp.mean,
    normalize: Normalize = "pairs",
    method: Method = "auto",
    pairs: bool = False,
) -> Float[Array, "..."]:
    r"""Pairwise quantile regression: score differences shall equal label differences, in a quantile.

    .. math:: \ell(s, y) = \sum_{i,j : y_i > y_j} \tau \max(0, (y_i - y_j) - (s_i - s_j))
        + (1 - \tau) \max(0, (s_i - s_j) - (y_i - y_j))

    Args:
      scores: larger is better; only their differences matter.
      labels: target scores, up to a constant; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      tau: the quantile, in (0, 1]; 0.5 is median regression. Static.
      squared: whether the two hinges are squared.
      lambdaweight_fn: a factor for each pair from scores and labels, such as ``dcg_lambdaweight``; no gradient flows
        through it. A callable of your own gives all pairs, ``[..., n * n]`` or ``[..., n, n]``.
      reduce_fn: ``jnp.mean``, ``jnp.sum``, or None for one value per list. Another function is called with the losses
        of all pairs, ``[..., n * n]``, and their mask, as in Rax, or with one value per list if ``normalize="list"``.
      normalize: "pairs": the mean is over the pairs of all lists, so that long lists count more, and None gives the sum
        over the pairs of each list. "list": each list has the mean over its own pairs.
      method: "blocked" works tile by tile, "dense" on all pairs at once, "auto" chooses the first where it can.
      pairs: whether to return the losses of all pairs, ``[..., n * n]`` row by row, 0 for those that do not count.

    Returns:
      The reduced loss, at least 0; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ, an option is unknown, or the method cannot do what is asked, or ``tau`` is not in (0,
      1].

    Numerics: infinite scores cost +inf. The slope at the kink is 0. Half types are accumulated in float32.
    Cost: O(n²) time, O(n) memory beside one tile; with segments O(n m) time for lists of at most m items. "dense" holds
      [n, n].
    References: Koenker and Bassett 1978, "Regression quantiles".

    >>> print(f"{pairwise_qr_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.6000
    """
    if not 0 < tau <= 1:
        raise LearnError(f"tau is {tau}, a number in (0, 1] was expected", reason="invalid_parameter")
    return _pairwise(
        _qr_loss(float(tau), bool(squared)),
        scores,
        labels,
        where,
        segments,
        weights,
        lambdaweight_fn,
        reduce_fn,
        normalize,
        method,
        pairs,
    )


def pairwise_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    pair_loss_fn: Fn,
    lambdaweight_fn: Fn | None = None,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
    normalize: Normalize = "pairs",
    pairs: bool = False,
) -> Float[Array, "..."]:
    r"""Sum a pair loss of your own over the pairs of each list.

    .. math:: \ell(s, y) = \sum_{i,j} f(s_i - s_j, y_i - y_j)

    Args:
      scores: larger is better; only their differences matter.
      labels: one label per item.
      pair_loss_fn: ``(differences of scores, differences of labels) -> (losses, which pairs count)``, elementwise on
        ``[..., n, n]``.
      lambdaweight_fn: a factor for each pair, see ``pairwise_logistic_loss``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      reduce_fn: as in ``pairwise_logistic_loss``.
      normalize: as in ``pairwise_logistic_loss``.
      pairs: whether to return the losses of all pairs, ``[..., n * n]``.

    Returns:
      The reduced loss; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ or an option is unknown.

    Cost: O(n²) time and memory.

    >>> def margin(x, dy):
    ...     return jnp.square(jnp.maximum(0.5 - x, 0)), dy > 0
    >>> scores, labels = jnp.array([2.0, 1.0, 3.0]), jnp.array([2.0, 0.0, 1.0])
    >>> print(pairwise_loss(scores, labels, pair_loss_fn=margin, reduce_fn=jnp.sum))
    2.25
    """
    return _pairwise(
        pair_loss_fn,
        scores,
        labels,
        where,
        segments,
        weights,
        lambdaweight_fn,
        reduce_fn,
        normalize,
        "auto",
        pairs,
    )
