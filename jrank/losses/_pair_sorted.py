"""Exact sums over the pairs of a list without visiting them: piecewise linear pair losses, by sorting."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jrank.losses._pairs import finite_scores, without_bound
from jrank.metrics._dominance import dense_labels, dominance_sums
from jrank.metrics._lists import Lists
from jrank.types import Array

__all__ = ["SortedSums", "sorted_hinge", "sorted_quantile"]

# (scores, labels, weights, lists) to one sum per list.
SortedSums = Callable[[Array, Array, Array | None, Lists], Array]


def _counts(query: Array, key: Array, number: Array, w: Array, lists: Lists) -> tuple[Array, Array, Array]:
    """How many j each i exceeds nothing of, the sum of their keys, and the weight of the i for each j."""
    one = jnp.ones_like(key) if lists.where is None else lists.where.astype(key.dtype)
    (count, total), (back,) = dominance_sums(number, query, key, lists, (one, key * one), (w * one,))
    return count, total, back


@jax.custom_jvp
def _ramp(query: Array, key: Array, w: Array, number: Array, where: Array | None, slot: Array | None) -> Array:
    """Sum w_i (key_j - query_i) over the pairs of a list with number_i > number_j and key_j > query_i, at each i."""
    count, total, _ = _counts(query, key, number, w, Lists(query.shape[-1], where, slot, None))
    return w * (total - count * query)


@_ramp.defjvp
def _ramp_jvp(primals, tangents):
    query, key, w, number, where, slot = primals
    count, total, back = _counts(query, key, number, w, Lists(query.shape[-1], where, slot, None))
    rows = total - count * query
    # The share of j stands at j, in the same list: sums per list are what is asked for.
    return w * rows, rows * tangents[2] - w * count * tangents[0] + back * tangents[1]


def _centred(x: Array, lists: Lists) -> Array:
    """Numbers about the mean of their list, so that sums of differences lose nothing to a common shift."""
    count = lists.sum(jnp.ones_like(x))
    mean = lists.sum(x) / jnp.maximum(count, jnp.ones_like(count))
    return x - jax.lax.stop_gradient(lists.spread(mean))


def sorted_hinge(s: Array, y: Array, w: Array | None, lists: Lists) -> Array:
    """Sum max(0, 1 - (s_i - s_j)) over the pairs with y_i > y_j of each list.

    Args:
      s: scores.
      y: labels.
      w: the weight of the pairs that an item is the first of, or None.
      lists: the lists.

    Cost: one sort for each bit of the number of different labels.
    """
    x = _centred(finite_scores(s), lists)
    w = jnp.ones_like(s) if w is None else w
    rows = _ramp(x - 1, x, w, dense_labels(y, lists), lists.where, lists.slot)
    return without_bound(lists.sum(rows), lists.max((s == -jnp.inf).astype(s.dtype)) > 0)


def sorted_quantile(tau: float) -> SortedSums:
    """Make the sum of the quantile loss of the differences of scores and labels.

    Args:
      tau: the quantile.
    """

    def sums(s: Array, y: Array, w: Array | None, lists: Lists) -> Array:
        u = _centred(finite_scores(s) - y, lists)
        w = jnp.ones_like(s) if w is None else w
        number = dense_labels(y, lists)
        under = _ramp(u, u, w, number, lists.where, lists.slot)
        over = _ramp(-u, -u, w, number, lists.where, lists.slot)
        total = lists.sum(tau * under + (1 - tau) * over)
        return without_bound(total, lists.max((s == -jnp.inf).astype(s.dtype)) > 0)

    return sums
