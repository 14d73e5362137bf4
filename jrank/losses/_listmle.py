"""ListMLE: the likelihood of the order of the labels."""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, neutralise, take_last
from jrank.errors import LearnError
from jrank.losses._label_order import LabelOrder
from jrank.losses._lambda_form import list_size
from jrank.losses._pairs import finite_scores, without_bound
from jrank.metrics._lists import Fn, Lists, finish, list_places, prepare
from jrank.types import Array, ArrayLike

__all__ = ["listmle_loss", "order_terms", "p_listmle_loss"]


def listmle_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    key: Array | None = None,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    reduce_fn: Fn | None = jnp.mean,
    ties: Literal["stable", "group"] = "stable",
) -> Float[Array, "..."]:
    r"""ListMLE: minus the log-likelihood of the order of the labels under the Plackett-Luce model of the scores.

    .. math:: \ell(s, y) = -\sum_k \log \frac{\exp(s_{\pi(k)})}{\sum_{j \ge k} \exp(s_{\pi(j)})}

    where :math:`\pi` sorts the labels in descending order.

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; a list without a label above 0 has nothing to say and costs nothing.
      key: a random key; equal labels are then put in random order. A new key in every step trains on all orders.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      reduce_fn: reduction over the lists; None returns one value per list.
      ties: without a key, equal labels stand in the order of the input ("stable", items with score -inf last), or are
        all chosen from the same items, themselves included ("group"), which does not depend on the order of the input.

    Returns:
      The reduced loss, at least 0. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or ``ties`` is unknown.

    Numerics: an item with score -inf that is to stand before one that was retrieved costs +inf. +inf counts as the
    largest
      finite number. Half types are accumulated in float32.
    Cost: O(n log n) time, O(n) memory.
    References: Xia et al. 2008, "Listwise approach to learning to rank: theory and algorithm"; "group", Breslow 1974,
      "Covariance analysis of censored survival data".

    >>> print(f"{listmle_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    2.1316
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, _, lists = prepare(scores, labels, where, segments)
    return finish(order_terms(s, y, lists, key, ties), lists, reduce_fn, dtype)


def order_terms(
    s: Array,
    y: Array,
    lists: Lists,
    key: Array | None,
    ties: str,
    factor: Callable[[LabelOrder], Array] | None = None,
    *,
    any_labels: bool = False,
) -> Array:
    """Sum the surprise of each next item in the order of the labels, for each list.

    Args:
      s: scores.
      y: labels.
      lists: the lists.
      key: a random key for ties, or None.
      ties: "stable" or "group".
      factor: a weight for each place, or None.
      any_labels: whether lists count that have no label above 0.
    """
    if ties not in ("stable", "group"):
        raise LearnError(f"ties is {ties!r}, 'stable' or 'group' was expected", reason="invalid_parameter")
    if lists.size == 0:
        return lists.sum(s)
    ranked = LabelOrder.of(y, finite_scores(s), lists, key)
    ahead = ranked.from_here()
    if ties == "group":
        ahead = take_last(ahead, ranked.start)
    terms = ahead - ranked.scores
    terms = without_bound(terms, ranked.take(s) == -jnp.inf)
    if factor is not None:
        weight = factor(ranked)
        counts = weight != 0
        terms = jnp.where(counts, weight * jnp.where(counts, terms, jnp.zeros_like(terms)), jnp.zeros_like(terms))
    if not any_labels:
        relevant = lists.max(y) > 0
        informed = ranked.take(jnp.broadcast_to(lists.spread(relevant), s.shape))
        terms = jnp.where(informed, terms, jnp.zeros_like(terms))
    return ranked.lists.sum(terms)


def p_listmle_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    key: Array | None = None,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    position_weight_fn: Callable[[Array, Array], Array] | None = None,
    normalize: bool = False,
    reduce_fn: Fn | None = jnp.mean,
    ties: Literal["stable", "group"] = "stable",
) -> Float[Array, "..."]:
    r"""p-ListMLE: ListMLE with a weight for each place, so that the top counts most.

    .. math:: \ell(s, y) = -\sum_k \alpha_k \log \frac{\exp(s_{\pi(k)})}{\sum_{j \ge k} \exp(s_{\pi(j)})}, \quad
        \alpha_k = 2^{n - k} - 1

    where :math:`\pi` sorts the labels in descending order and n is the number of items of the list.

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; a list without a label above 0 has nothing to say and costs nothing.
      key: a random key; equal labels are then put in random order.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the term of each item.
      position_weight_fn: ``(place from 1, number of items of the list) -> weight`` in place of the one above;
        ``lambda k, n: default_discount_fn(k)`` discounts as DCG does, and 0 beyond some place gives top-k ListMLE.
      normalize: whether the weights of each list are scaled to sum to 1.
      reduce_fn: reduction over the lists; None returns one value per list.
      ties: as in ``listmle_loss``.

    Returns:
      The reduced loss, at least 0 for such weights. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or ``ties`` is unknown.

    Numerics: the weights above overflow float32 from 129 items on, and the loss is then +inf; with ``normalize`` they
      do not, for any number of items. Otherwise as ``listmle_loss``.
    Cost: O(n log n) time, O(n) memory.
    References: Lan et al. 2014, "Position-aware ListMLE: a sequential learning process for ranking".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{p_listmle_loss(scores, labels):.4f} {p_listmle_loss(scores, labels, normalize=True):.4f}")
    11.2897 1.0263
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)

    def factor(ranked: LabelOrder) -> Array:
        place = list_places(ranked.order, ranked.lists.slot).astype(s.dtype)
        count = list_size(ranked.lists, place)
        if position_weight_fn is not None:
            weight = position_weight_fn(place, count)
        elif normalize:
            weight = jnp.exp2(-place) - jnp.exp2(-count)
        else:
            weight = jnp.exp2(count - place) - 1
        if normalize:
            total = ranked.lists.spread(ranked.lists.sum(weight))
            weight = weight / jnp.where(total == 0, jnp.ones_like(total), total)
        weight = neutralise(weight, ranked.lists.where)
        return weight if w is None else weight * ranked.take(w)

    return finish(order_terms(s, y, lists, key, ties, factor), lists, reduce_fn, dtype)
