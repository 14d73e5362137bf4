"""SmoothAP: average precision of soft ranks."""

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, neutralise
from jrank.losses._pairs import finite_scores
from jrank.metrics._lists import Fn, finish, prepare
from jrank.metrics._rank_sums import logistic_sums, smallest_temperature
from jrank.types import Array, ArrayLike

__all__ = ["smooth_ap_loss"]


def smooth_ap_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    temperature: Real[ArrayLike, ""] = 0.01,
    threshold: Real[ArrayLike, ""] = 1,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""SmoothAP: one minus the average precision of ranks that sigmoids make soft.

    .. math:: \ell(s, y) = 1 - \frac{1}{|R|} \sum_{i \in R}
        \frac{1 + \sum_{j \in R, j \ne i} \sigma((s_j - s_i) / T)}{1 + \sum_{j \ne i} \sigma((s_j - s_i) / T)}, \quad
        R = \{i : y_i \ge 1\}

    Args:
      scores: larger is better; only their differences matter. The published ones are cosines.
      labels: an item is relevant if its label is at least ``threshold``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for each relevant item.
      temperature: T, in the units of the scores; towards 0 the loss is exact, with a gradient only between near ties.
        May be traced.
      threshold: the smallest label that counts as relevant.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, in [0, 1]; 0 for a list without a relevant item. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ.

    Numerics: infinite scores are ties at the ends, with gradient 0. Half types are computed in float32.
    Cost: O(n R) time for at most R relevant items in a list, O(n) memory beside one block.
    References: Brown et al. 2020, "Smooth-AP: smoothing the path towards large-scale image retrieval".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([0.0, 1.0, 1.0, 0.0])
    >>> print(f"{smooth_ap_loss(scores, labels):.4f} {smooth_ap_loss(scores, labels, temperature=1.0):.4f}")
    0.1667 0.3032
    """
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    relevant = y >= threshold
    relevant = relevant if lists.where is None else relevant & lists.where
    s = finite_scores(s)
    scale = jnp.maximum(jnp.asarray(temperature, s.dtype), smallest_temperature(s.dtype))
    scale = jnp.broadcast_to(scale, (*s.shape[:-1], 1))
    # Half of an item outranks itself in these sums, and its rank begins at 1.
    among_all, among_relevant = (
        logistic_sums(s, scale, mask, lists.slot, relevant) + 0.5 for mask in (lists.where, relevant)
    )
    precision = neutralise(among_relevant, relevant) / neutralise(among_all, relevant, 1)
    w = relevant.astype(s.dtype) if w is None else neutralise(w, relevant)
    total = lists.sum(w)
    some = total != 0
    mean = lists.sum(precision * w) / jnp.where(some, total, jnp.ones_like(total))
    return finish(jnp.where(some, 1 - mean, jnp.zeros_like(mean)), lists, reduce_fn, dtype)
