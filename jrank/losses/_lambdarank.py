"""LambdaRank as gradient boosting libraries train it: truncated to the top, with their normalisations."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, take_last
from jrank.losses._elementary import logistic_parts
from jrank.losses._pair_values import LOGISTIC, SOFT_ZERO_ONE
from jrank.losses._pairs import PairWeights, finite_scores, pair_sums
from jrank.metrics import default_discount_fn, default_gain_fn, ranks
from jrank.metrics._dcg import ideal_dcg, item_gains
from jrank.metrics._lists import Fn, Lists, check_topn, finish, iota_like, prepare, scatter_last
from jrank.types import Array, ArrayLike

__all__ = ["lambdarank_loss"]

BLOCK_ITEMS = 1 << 20


def lambdarank_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    sigma: Real[ArrayLike, ""] = 1.0,
    truncation: int | None = None,
    score_norm: bool = False,
    gradient_norm: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""LambdaRank: logistic pair losses weighted by the change of NDCG when the two items swap places.

    .. math:: \ell(s, y) = c \sum_{i,j : y_i > y_j} w_{ij} \log(1 + \exp(-\sigma (s_i - s_j))), \quad
        w_{ij} = \frac{|g_i - g_j|\, |D(r_i) - D(r_j)|}{\max\operatorname{dcg@k}}

    The gradient is that of LightGBM's objective ``lambdarank`` with ``truncation=30`` (its
    ``lambdarank_truncation_level``) and both normalisations (its ``lambdarank_norm``).

    Args:
      scores: larger is better; only their differences matter.
      labels: grades; the first item of a pair is the one with the larger label.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; items of different lists form no pairs.
      weights: a factor for each pair: the weight of its first item.
      sigma: steepness of the logistic function. May be traced.
      truncation: only pairs with an item among the k best scores count, and the best possible DCG is that at k. None
        takes all pairs.
      score_norm: whether each weight is divided by :math:`0.01 + |s_i - s_j|`, except in a list of equal scores: pairs
        that are nearly tied then count more.
      gradient_norm: whether each list is scaled by :math:`c = \log_2(1 + S) / S`, where S is the sum of the magnitudes
        of the gradients of all pairs on both items: lists with large gradients then count less. Otherwise c = 1.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0; 0 for a list without a pair that counts. A list without a valid item is left out of
      means.

    Raises:
      LearnError: shapes differ or ``truncation`` is below 1.

    Numerics: ranks, weights and c give no gradient. Equal scores rank in the order of the input. Half types are
      accumulated in float32.
    Cost: O(k n) time and O(n) memory beside a block with truncation; O(n²) time without it, or with segments.
    References: Burges, Ragno and Le 2006, "Learning to rank with nonsmooth cost functions"; Ke et al. 2017, "LightGBM:
      a highly efficient gradient boosting decision tree".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{lambdarank_loss(scores, labels):.4f} {lambdarank_loss(scores, labels, truncation=1):.4f}")
    0.3640 0.3592
    """
    check_topn(truncation)
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    sigma = jnp.asarray(sigma, s.dtype)
    gains = item_gains(y, None, gain_fn, lists)
    best = lists.spread(ideal_dcg(gains, lists, topn=truncation, discount_fn=discount_fn))
    gains = gains / jnp.where(best == 0, jnp.ones_like(best), best)
    place = ranks(s, where=lists.where, segments=segments)
    s = finite_scores(s)
    fixed = lax.stop_gradient(s)
    tied = lists.max(fixed) == -lists.max(-fixed)
    uneven = jnp.broadcast_to(lists.spread((~tied).astype(s.dtype)), s.shape)
    features = (gains, discount_fn(place.astype(s.dtype)), place, fixed, uneven)
    pair = _pair_weight(score_norm, lists.size if truncation is None else truncation)
    slopes = jnp.zeros_like(lists.sum(s))
    if truncation is None or truncation >= lists.size or lists.slot is not None:
        total = pair_sums(LOGISTIC, sigma * s, y, lists, w, pair, lax.stop_gradient(features))
        if gradient_norm:
            # The slope of the logistic loss is minus the soft zero-one loss.
            slopes = pair_sums(SOFT_ZERO_ONE, sigma * fixed, y, lists, w, pair, lax.stop_gradient(features))
    else:
        total, slopes = _top_sums(truncation, sigma * s, y, w, lists, pair, lax.stop_gradient(features))
    if gradient_norm:
        total = total * _damping(2 * lax.stop_gradient(sigma * slopes))
    return finish(total, lists, reduce_fn, dtype)


def _damping(size: Array) -> Array:
    some = size > 0
    size = jnp.where(some, size, jnp.ones_like(size))
    return jnp.where(some, jnp.log2(1 + size) / size, jnp.ones_like(size))


def _pair_weight(score_norm: bool, truncation: int) -> PairWeights:
    def weight(a: tuple[Array, ...], b: tuple[Array, ...]) -> Array:
        delta = jnp.abs(a[0] - b[0]) * jnp.abs(a[1] - b[1])
        if score_norm:
            gap = 0.01 + jnp.abs(a[3] - b[3])
            delta = delta / jnp.where(a[4] > 0, gap, jnp.ones_like(gap))
        return jnp.where(jnp.minimum(a[2], b[2]) <= truncation, delta, jnp.zeros_like(delta))

    return PairWeights(weight)


def _top_sums(
    k: int, s: Array, y: Array, w: Array | None, lists: Lists, pair: PairWeights, features: tuple[Array, ...]
) -> tuple[Array, Array]:
    """Sum losses and slopes over the pairs of the k best items with all below them, some of the best at a time."""
    order = scatter_last(features[2] - 1, iota_like(features[2]))

    def sort(x: Any) -> Any:
        return jax.tree.map(lambda a: take_last(a, order), x)

    items = sort((s, y, w, features, lists.where))
    rows = max(1, min(k, BLOCK_ITEMS // max(1, s.size)))
    blocks = -(-k // rows)

    @jax.checkpoint
    def block(start: Array) -> tuple[Array, Array]:
        index = start + lax.iota(jnp.int32, rows)
        above = index < k
        mine = jax.tree.map(lambda a: a[..., jnp.minimum(index, a.shape[-1] - 1)][..., :, None], items)
        theirs = jax.tree.map(lambda a: a[..., None, :], items)
        (s1, y1, w1, f1, m1), (s2, y2, w2, f2, m2) = mine, theirs
        counts = (y1 != y2) & (f2[2] > f1[2]) & above.reshape((1,) * (s.ndim - 1) + (rows, 1))
        if m1 is not None:
            counts &= m1 & m2
        first = y1 > y2
        x = jnp.where(first, s1 - s2, s2 - s1)
        value, slope = logistic_parts(jnp.where(counts, x, jnp.zeros_like(x)))
        scale = pair.fn(f1, f2)
        scale = scale if w1 is None else scale * jnp.where(first, w1, w2)
        value, slope = (jnp.where(counts, v * scale, jnp.zeros_like(v)) for v in (value, slope))
        return jnp.sum(value, axis=(-2, -1)), -jnp.sum(slope, axis=(-2, -1))

    def step(total: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
        part = block(start)
        return (total[0] + part[0], total[1] + part[1]), None

    starts = jnp.arange(blocks, dtype=jnp.int32) * rows
    zero = jnp.sum(jnp.zeros_like(s), axis=-1)
    return lax.scan(step, (zero, zero), starts)[0]
