"""Listwise losses over the softmax of the scores."""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, masked_logsumexp, neutralise
from jrank.losses._elementary import softplus
from jrank.losses._label_order import LabelOrder
from jrank.losses._pairs import finite_scores, without_bound
from jrank.metrics import default_gain_fn
from jrank.metrics._lists import Fn, Lists, accepts, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = [
    "clip_scores",
    "identity_labels",
    "list_logsumexp",
    "poly1_softmax_loss",
    "softmax_loss",
    "targets_of",
    "unique_softmax_loss",
]


def identity_labels(labels: Array, *, where: Array | None = None) -> Array:
    """Return labels as they are.

    Args:
      labels: any.
      where: not used; label functions take it.
    """
    return labels


def clip_scores(scores: Array) -> Array:
    """Make +inf the largest finite number, so that no difference of two infinite scores is taken.

    Args:
      scores: floating.
    """
    return jnp.where(scores == jnp.inf, jnp.asarray(jnp.finfo(scores.dtype).max, scores.dtype), scores)


def list_logsumexp(scores: Array, lists: Lists) -> Array:
    """Logarithm of the sum of the exponentials of each list, shifted by the maximum.

    Args:
      scores: floating, 0 at masked places.
      lists: the lists.

    Returns:
      One value per list: 0 without a valid item, the lowest finite number where every score is -inf.
    """
    lowest = jnp.asarray(jnp.finfo(scores.dtype).min, scores.dtype)
    if lists.slot is None:
        return jnp.maximum(masked_logsumexp(scores, lists.where), lowest)
    top = lax.stop_gradient(lists.max(scores))
    top = jnp.where(jnp.isfinite(top), top, jnp.zeros_like(top))
    live = scores > -jnp.inf
    shifted = jnp.where(live, scores - lists.spread(top), jnp.zeros_like(scores))
    total = lists.sum(jnp.where(live, jnp.exp(shifted), jnp.zeros_like(scores)))
    some = total > 0
    value = jnp.where(some, jnp.log(jnp.where(some, total, jnp.ones_like(total))) + top, lowest)
    return value if lists.valid is None else jnp.where(lists.valid, value, jnp.zeros_like(value))


def targets_of(labels: Array, weights: Array | None, lists: Lists, segments: Any, label_fn: Fn) -> Array:
    """Weight labels, and hand them to a label function; 0 at masked places.

    Args:
      labels: one label per item.
      weights: one weight per item, or None.
      lists: the lists.
      segments: the ids that ``lists`` was made from, or None.
      label_fn: called with ``where``, and with ``segments`` if it takes them.
    """
    labels = labels if weights is None else labels * weights
    options = {"segments": segments} if segments is not None and accepts(label_fn, "segments") else {}
    targets = label_fn(labels, where=lists.where, **options)
    return targets if lists.where is None else jnp.where(lists.where, targets, jnp.zeros_like(targets))


def _asked(targets: Array, surprise: Array, scores: Array) -> Array:
    """Cost of each item: 0 * inf is 0, since an item that is not asked for costs nothing, wherever it stands."""
    asked = (targets != 0) | jnp.isnan(scores)
    return jnp.where(asked, targets * jnp.where(asked, surprise, jnp.zeros_like(surprise)), jnp.zeros_like(targets))


def softmax_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    label_fn: Fn = identity_labels,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Softmax cross-entropy: the listwise loss to start with.

    .. math:: \ell(s, y) = -\sum_i w_i y_i \log \frac{\exp(s_i)}{\sum_j \exp(s_j)}

    Args:
      scores: larger is better; only their differences matter.
      labels: non-negative grades, or probabilities.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the label of each item.
      label_fn: called as ``label_fn(labels, where=where)``, and with ``segments`` where it takes them, to make the
        targets of the weighted labels; ``normalize_probabilities`` makes every list count the same.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0; 0 for a list without a label above 0. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ.

    Numerics: a score of -inf is probability 0: it costs +inf if its label is above 0 and nothing otherwise. +inf counts
    as
      the largest finite number. NaN makes the loss of its own list NaN. Half types are accumulated in float32.
    Cost: O(n) time and memory, O(n log n) time with segments.
    References: Cao et al. 2007, "Learning to rank: from pairwise approach to listwise approach"; Bruch et al. 2019, "An
      analysis of the softmax cross entropy loss for learning-to-rank with binary relevance".

    >>> print(f"{softmax_loss(jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 0.0])):.4f}")
    1.4076
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    s = clip_scores(s)
    targets = targets_of(y, w, lists, segments, label_fn)
    surprise = lists.spread(list_logsumexp(s, lists)) - s
    return finish(lists.sum(_asked(targets, surprise, s)), lists, reduce_fn, dtype)


def poly1_softmax_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    epsilon: Real[ArrayLike, ""] = 1.0,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Softmax loss with one more term of its expansion: it presses harder on the probability of the relevant items.

    .. math:: \ell(s, y) = \operatorname{softmax}(s, y)
        + \epsilon \left(1 - \sum_i \frac{y_i}{\sum_j y_j} \frac{\exp(s_i)}{\sum_j \exp(s_j)}\right)

    Args:
      scores: larger is better; only their differences matter.
      labels: non-negative grades, or probabilities.
      epsilon: weight of the second term; at 0 this is ``softmax_loss``. May be traced.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the label of each item.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss; 0 for a list without a label above 0. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: as ``softmax_loss``.
    Cost: O(n) time and memory, O(n log n) time with segments.
    References: Leng et al. 2022, "PolyLoss: a polynomial expansion perspective of classification loss functions".

    >>> print(f"{poly1_softmax_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    4.0174
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    s = clip_scores(s)
    y = y if w is None else y * w
    total = lists.sum(y)
    some = total != 0
    # Masked before the exponential, which could overflow there and make the gradient NaN.
    surprise = neutralise(lists.spread(list_logsumexp(s, lists)) - s, lists.where)
    loss = lists.sum(_asked(y, surprise, s))
    hit = lists.sum(y * jnp.exp(-surprise)) / jnp.where(some, total, jnp.ones_like(total))
    rest = jnp.where(some, 1 - hit, jnp.zeros_like(hit))
    return finish(loss + jnp.asarray(epsilon, s.dtype) * rest, lists, reduce_fn, dtype)


def unique_softmax_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    gain_fn: Fn | None = default_gain_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Softmax loss of each relevant item against the items with smaller labels (uRank): for graded labels.

    .. math:: \ell(s, y) = -\sum_i \operatorname{gain}(y_i)
        \log \frac{\exp(s_i)}{\exp(s_i) + \sum_{j : y_j < y_i} \exp(s_j)}

    Args:
      scores: larger is better; only their differences matter.
      labels: grades.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the term of each item.
      gain_fn: labels to gains; None counts every item once.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0; 0 for a list without a gain. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: an item with score -inf costs +inf against any that was retrieved, if it has a gain. +inf counts as the
      largest finite number. Half types are accumulated in float32.
    Cost: O(n log n) time, O(n) memory, for any number of grades.
    References: Zhu and Klabjan 2020, "Listwise learning to rank by exploring unique ratings".

    >>> print(f"{unique_softmax_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    4.5791
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    gains = jnp.ones_like(y) if gain_fn is None else gain_fn(y)
    gains = gains if w is None else gains * w
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    ranked = LabelOrder.of(y, finite_scores(s), lists)
    below = ranked.below()
    # log(1 + exp(below - s)); nothing is below the smallest label.
    surprise = softplus(jnp.where(ranked.has_below, below - ranked.scores, jnp.zeros_like(below)))
    surprise = jnp.where(ranked.has_below, surprise, jnp.zeros_like(surprise))
    surprise = without_bound(surprise, ranked.take(s) == -jnp.inf)
    return finish(ranked.lists.sum(_asked(ranked.take(gains), surprise, ranked.scores)), lists, reduce_fn, dtype)
