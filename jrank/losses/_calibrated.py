"""Losses whose scores mean something by themselves: calibrated softmax, ordinal regression."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_array, as_floating, neutralise, reduce_values
from jrank.errors import LearnError
from jrank.losses._elementary import softplus
from jrank.losses._softmax import clip_scores, identity_labels, list_logsumexp, targets_of
from jrank.metrics._lists import Fn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["calibrated_softmax_loss", "ordinal_loss"]


def calibrated_softmax_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    virtual_label: Real[ArrayLike, ""] = 1.0,
    label_fn: Fn = identity_labels,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Softmax loss with one more item of score 0, which ties the scores to the scale of the labels.

    .. math:: \ell(s, y) = -\sum_i y_i \log \frac{\exp(s_i)}{1 + \sum_j \exp(s_j)}
        + y_0 \log\Big(1 + \sum_j \exp(s_j)\Big)

    At the minimum :math:`\exp(s_i) = y_i / y_0`.

    Args:
      scores: larger is better; log-ratios of the label to that of the virtual item.
      labels: non-negative grades, or probabilities.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the label of each item.
      virtual_label: :math:`y_0`, the label of the item of score 0. May be traced.
      label_fn: as in ``softmax_loss``.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0. A list without a label above 0 costs :math:`y_0 \log(1 + \sum_j \exp(s_j))`: its
      scores are to fall. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: a score of -inf costs +inf if its label is above 0 and nothing otherwise. +inf counts as the largest
      finite number. Half types are accumulated in float32.
    Cost: O(n) time and memory, O(n log n) time with segments.
    References: Yan et al. 2022, "Scale calibration of deep ranking models".

    >>> print(f"{calibrated_softmax_loss(jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 0.0])):.4f}")
    4.8804
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    s = clip_scores(s)
    y = targets_of(y, w, lists, segments, label_fn)
    total = softplus(list_logsumexp(s, lists))
    asked = (y != 0) | jnp.isnan(s)
    surprise = lists.spread(total) - s
    terms = jnp.where(asked, y * jnp.where(asked, surprise, jnp.zeros_like(s)), jnp.zeros_like(s))
    values = lists.sum(terms) + jnp.asarray(virtual_label, s.dtype) * total
    return finish(values, lists, reduce_fn, dtype)


def ordinal_loss(
    scores: Real[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    thresholds: Real[Any, " k"] = (0.5, 1.5, 2.5, 3.5),
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Ordinal regression of each item: the odds that its grade is at least 1, at least 2, and so on.

    .. math:: \ell(s, y) = -\sum_i \sum_{k=1}^{K} [y_i \ge k] \log \sigma(s_i - b_k)
        + [y_i < k] \log(1 - \sigma(s_i - b_k))

    Args:
      scores: one number for each item, ``[..., n]``, or, from a model with K outputs, the log-odds of each grade,
        ``[..., n, K]``; the latter take the place of :math:`s_i - b_k`.
      labels: grades from 0 to K.
      where: True at real items. None: all are.
      segments: not used, since items do not meet; every loss takes it.
      weights: a factor for each item.
      thresholds: where one grade ends and the next begins on the scale of the scores, ``[K]``, ascending; may be
        learned. Not used for scores of K outputs. The default tells the grades 0 to 4 apart.
      reduce_fn: reduction over all items; None returns one value per item, ``[..., n]``.

    Returns:
      The reduced loss, at least 0; 0 if no item is valid.

    Raises:
      LearnError: shapes differ.

    Numerics: an infinite score costs 0 or +inf. Half types are accumulated in float32.
    Cost: O(n K) time and memory.
    References: McCullagh 1980, "Regression models for ordinal data"; Frank and Hall 2001, "A simple approach to ordinal
      classification".

    >>> print(f"{ordinal_loss(jnp.array([2.0, 0.0]), jnp.array([2.0, 0.0])):.4f}")
    1.0676
    """
    s = as_floating(scores, "scores")
    dtype = s.dtype
    size = jnp.ndim(labels)
    if s.ndim not in (size, size + 1) or s.ndim == 0:
        raise LearnError(
            f"scores have shape {s.shape}, labels {jnp.shape(labels)}",
            reason="length_mismatch",
            hint="give one score for each item, or one more axis with the log-odds of each grade",
        )
    many = s.ndim > size
    if many and not s.shape[-1]:
        raise LearnError("scores have no output", reason="empty_input")
    first, y, w, lists = prepare(s[..., 0] if many else s, labels, where, segments, weights)
    if many:
        mask = None if lists.where is None else lists.where[..., None]
        logits = neutralise(s.astype(first.dtype), mask)
    else:
        b = as_array(jnp.asarray(thresholds), "thresholds").astype(first.dtype)
        logits = first[..., None] - b.reshape((1,) * first.ndim + (-1,))
    grade = jnp.arange(1, logits.shape[-1] + 1, dtype=y.dtype).reshape((1,) * y.ndim + (-1,))
    reached = y[..., None] >= grade
    values = jnp.sum(softplus(jnp.where(reached, -logits, logits)), axis=-1)
    values = values if w is None else values * w
    return reduce_values(values, lists.where, reduce_fn).astype(dtype)
