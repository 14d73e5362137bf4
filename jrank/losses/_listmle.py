"""ListMLE: the likelihood of the order of the labels."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, take_last
from jrank.errors import LearnError
from jrank.losses._label_order import LabelOrder
from jrank.losses._pairs import finite_scores, without_bound
from jrank.metrics._lists import Fn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["listmle_loss"]


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
    if ties not in ("stable", "group"):
        raise LearnError(f"ties is {ties!r}, 'stable' or 'group' was expected", reason="invalid_parameter")
    dtype = as_floating(scores, "scores").dtype
    s, y, _, lists = prepare(scores, labels, where, segments)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    ranked = LabelOrder.of(y, finite_scores(s), lists, key)
    ahead = ranked.from_here()
    if ties == "group":
        ahead = take_last(ahead, ranked.start)
    terms = ahead - ranked.scores
    terms = without_bound(terms, ranked.take(s) == -jnp.inf)
    relevant = lists.max(y) > 0
    informed = ranked.take(jnp.broadcast_to(lists.spread(relevant), s.shape))
    terms = jnp.where(informed, terms, jnp.zeros_like(terms))
    return finish(ranked.lists.sum(terms), lists, reduce_fn, dtype)
