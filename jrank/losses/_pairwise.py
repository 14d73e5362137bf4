"""Pairwise losses: sums over the pairs of a list of a function of the score difference."""

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.errors import LearnError
from jrank.losses._pair_values import HINGE, LOGISTIC, MSE, SOFT_ZERO_ONE, Method, Normalize, pairwise_value, quantile
from jrank.metrics._lists import Fn
from jrank.types import Array, ArrayLike

__all__ = [
    "pairwise_hinge_loss",
    "pairwise_logistic_loss",
    "pairwise_loss",
    "pairwise_mse_loss",
    "pairwise_qr_loss",
    "pairwise_soft_zero_one_loss",
]


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
    key: Array | None = None,
    num_pairs: int = 4096,
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
      method: "blocked" works tile by tile, "dense" on all pairs at once, "sorted" visits no pair (hinge, quantile and
        squared losses without lambda weights), "sampled" draws pairs. "auto" is exact, and sorts where that is
        quicker.
      key: a random key for "sampled", a new one in every step.
      num_pairs: how many pairs of each row "sampled" draws; value and gradient are estimates without bias.
      pairs: whether to return the losses of all pairs, ``[..., n * n]`` row by row, 0 for those that do not count.

    Returns:
      The reduced loss, at least 0; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ, an option is unknown, or the method cannot do what is asked.

    Numerics: a first item with score -inf costs +inf against any that was retrieved; a second one costs nothing. +inf
    counts as the largest finite
      number. The slope at the kink is 0. Half types are accumulated in float32.
    Cost: O(n log n log L) time for L different labels and O(n) memory by sorting, which "auto" does from 16,384 items
      on; else O(n²) time, O(n) memory beside one tile; with segments O(n m) time for lists of at most m items. "dense"
      holds [n, n].
    References: Herbrich, Graepel and Obermayer 1999, "Support vector learning for ordinal regression".

    >>> print(f"{pairwise_hinge_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.4000
    """
    return pairwise_value(
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
        key,
        num_pairs,
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
    key: Array | None = None,
    num_pairs: int = 4096,
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
      method: "blocked" works tile by tile, "dense" on all pairs at once, "sorted" visits no pair (hinge, quantile and
        squared losses without lambda weights), "sampled" draws pairs. "auto" is exact, and sorts where that is
        quicker.
      key: a random key for "sampled", a new one in every step.
      num_pairs: how many pairs of each row "sampled" draws; value and gradient are estimates without bias.
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
    return pairwise_value(
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
        key,
        num_pairs,
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
    key: Array | None = None,
    num_pairs: int = 4096,
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
      method: "blocked" works tile by tile, "dense" on all pairs at once, "sorted" visits no pair (hinge, quantile and
        squared losses without lambda weights), "sampled" draws pairs. "auto" is exact, and sorts where that is
        quicker.
      key: a random key for "sampled", a new one in every step.
      num_pairs: how many pairs of each row "sampled" draws; value and gradient are estimates without bias.
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
    return pairwise_value(
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
        key,
        num_pairs,
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
    key: Array | None = None,
    num_pairs: int = 4096,
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
      method: "blocked" works tile by tile, "dense" on all pairs at once, "sorted" visits no pair (hinge, quantile and
        squared losses without lambda weights), "sampled" draws pairs. "auto" is exact, and sorts where that is
        quicker.
      key: a random key for "sampled", a new one in every step.
      num_pairs: how many pairs of each row "sampled" draws; value and gradient are estimates without bias.
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
    return pairwise_value(
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
        key,
        num_pairs,
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
    key: Array | None = None,
    num_pairs: int = 4096,
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
      method: "blocked" works tile by tile, "dense" on all pairs at once, "sorted" visits no pair (hinge, quantile and
        squared losses without lambda weights), "sampled" draws pairs. "auto" is exact, and sorts where that is
        quicker.
      key: a random key for "sampled", a new one in every step.
      num_pairs: how many pairs of each row "sampled" draws; value and gradient are estimates without bias.
      pairs: whether to return the losses of all pairs, ``[..., n * n]`` row by row, 0 for those that do not count.

    Returns:
      The reduced loss, at least 0; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ, an option is unknown, or the method cannot do what is asked, or ``tau`` is not in (0,
      1].

    Numerics: infinite scores cost +inf. The slope at the kink is 0. Half types are accumulated in float32.
    Cost: as ``pairwise_hinge_loss``; squared, O(n²) time, O(n) memory beside one tile.
    References: Koenker and Bassett 1978, "Regression quantiles".

    >>> print(f"{pairwise_qr_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    0.6000
    """
    if not 0 < tau <= 1:
        raise LearnError(f"tau is {tau}, a number in (0, 1] was expected", reason="invalid_parameter")
    return pairwise_value(
        quantile(float(tau), bool(squared)),
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
        key,
        num_pairs,
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
      pair_loss_fn: ``(differences of scores, differences of labels) -> (losses, which pairs count)``, elementwise:
        it is called with blocks of pairs, or with all of them, ``[..., n, n]``.
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

    Cost: O(n²) time, O(n) memory beside a block of pairs; O(n²) memory with ``pairs``, a ``reduce_fn`` other than
      ``jnp.mean``, ``jnp.sum`` and None, or a lambda weight of your own.

    >>> def margin(x, dy):
    ...     return jnp.square(jnp.maximum(0.5 - x, 0)), dy > 0
    >>> scores, labels = jnp.array([2.0, 1.0, 3.0]), jnp.array([2.0, 0.0, 1.0])
    >>> print(pairwise_loss(scores, labels, pair_loss_fn=margin, reduce_fn=jnp.sum))
    2.25
    """
    return pairwise_value(
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
