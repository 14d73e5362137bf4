"""NDCG of soft permutations: NeuralNDCG and PiRank."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank import soft
from jrank.arrays import as_floating, neutralise
from jrank.errors import LearnError
from jrank.losses._neural_sort import SoftOrder, largest_score
from jrank.metrics import default_discount_fn, default_gain_fn
from jrank.metrics._dcg import ideal_dcg, item_gains
from jrank.metrics._lists import Fn, Lists, check_topn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["neural_ndcg_loss", "pirank_loss"]

# Entries of the matrices that are held at a time.
BLOCK_ITEMS = 1 << 22


def _no_segments(segments: Any, what: str) -> None:
    if segments is not None:
        raise LearnError(f"{what} takes no segments", reason="invalid_parameter", hint="pad the lists and pass where=")


def _ratio(value: Array, best: Array) -> Array:
    return value / jnp.where(best == 0, jnp.ones_like(best), best)


def _discounts(places: int, topn: int | None, discount_fn: Fn, like: Array) -> Array:
    """Discounts of the places of one list, 0 beyond the cut-off, ready to combine with ``[..., places]``."""
    place = jnp.arange(1, places + 1, dtype=like.dtype)
    weights = discount_fn(place)
    weights = weights if topn is None else jnp.where(place <= topn, weights, jnp.zeros_like(weights))
    return weights.reshape((1,) * (like.ndim - 1) + (-1,))


def neural_ndcg_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    method: str = "neuralsort",
    sinkhorn: int = 0,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""NeuralNDCG: minus the NDCG of gains that a soft permutation puts in the order of the scores.

    .. math:: \ell(s, y) = -\frac{1}{\max \operatorname{dcg@k}} \sum_{r \le k} D(r) \sum_i \hat P_{ri}(s)\, g(y_i)

    Args:
      scores: larger is better; only their differences matter. An item with score -inf takes no part.
      labels: grades; see ``gain_fn``.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; for "neuralsort" without Sinkhorn scaling.
      weights: a factor for the gain of each item.
      topn: the cut-off k; None for none. Only k rows are computed.
      temperature: that of the soft permutation, in the units of the scores; towards 0 the loss is minus NDCG. May be
        traced.
      method: the soft permutation: any of ``jrank.soft.argsort``.
      sinkhorn: how many times columns and rows are scaled to sum to 1, so that no item counts twice; the published
        form takes about 50. 0 leaves the rows alone normalised.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts D.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, 0 for a list without a gain. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, or segments were given where they cannot be.
      SoftError: the method is unknown.

    Numerics: half types are computed in float32.
    Cost: O(k n) time and O(n) memory beside a block of rows for "neuralsort" without Sinkhorn scaling; by another
      method that of ``jrank.soft.sort_with``; with Sinkhorn scaling O(n²) time for each of them, and the matrices of
      one or a few lists at a time: for lists of up to a few thousand items.
    References: Pobrotyn and Białobrzeski 2021, "NeuralNDCG: direct optimisation of a ranking metric via differentiable
      relaxation of sorting".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{neural_ndcg_loss(scores, labels):.4f} {neural_ndcg_loss(scores, labels, temperature=0.1):.4f}")
    -0.8235 -0.7967
    """
    check_topn(topn)
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    gains = item_gains(y, w, gain_fn, lists)
    best = ideal_dcg(gains, lists, topn=topn, discount_fn=discount_fn)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    if method == "neuralsort" and sinkhorn == 0:
        soft_order = SoftOrder.of(s, lists)
        if lists.slot is None:
            (sorted_gains,) = soft_order.apply((gains,), jnp.asarray(temperature, s.dtype), topn)
            value = jnp.sum(sorted_gains * _discounts(sorted_gains.shape[-1], topn, discount_fn, s), axis=-1)
        else:
            (sorted_gains,) = soft_order.apply((gains,), jnp.asarray(temperature, s.dtype))
            discounts = discount_fn(soft_order.rank.astype(s.dtype))
            kept = soft_order.counts if topn is None else soft_order.counts & (soft_order.rank <= topn)
            value = soft_order.lists.sum(jnp.where(kept, sorted_gains * discounts, jnp.zeros_like(sorted_gains)))
    elif sinkhorn == 0:
        _no_segments(segments, f"neural_ndcg_loss by method {method!r}")
        options = {"method": method, "temperature": temperature, "descending": True, "where": _taken(s, lists)}
        sorted_gains = soft.sort_with(s, gains, **options)
        value = jnp.sum(sorted_gains * _discounts(lists.size, topn, discount_fn, s), axis=-1)
    else:
        _no_segments(segments, "neural_ndcg_loss with Sinkhorn scaling")
        taken = _taken(s, lists)
        discounts = _discounts(lists.size, topn, discount_fn, s).reshape(-1)

        @jax.checkpoint
        def one(parts: tuple[Array, Array, Array]) -> Array:
            x, g, m = parts
            matrix = soft.argsort(neutralise(x, m), method=method, temperature=temperature, descending=True, where=m)
            up, down = _scales(matrix, sinkhorn)
            return jnp.sum(discounts * up * jnp.sum(matrix * (down * neutralise(g, m))[None, :], axis=-1))

        value = _one_by_one(one, (s, gains, taken), lists.size)
    return finish(-_ratio(value, best), lists, reduce_fn, dtype)


def _taken(s: Array, lists: Lists) -> Array:
    return jnp.isfinite(s) if lists.where is None else lists.where & jnp.isfinite(s)


def _one_by_one(one: Any, arrays: tuple[Array, ...], n: int) -> Array:
    """Apply a function of one list to all of them, a few at a time."""
    together = max(1, BLOCK_ITEMS // max(1, n * n))
    for level in range(arrays[0].ndim - 1):
        one = functools.partial(lax.map, one, batch_size=None if level else together)
    return one(arrays)


def _scales(matrix: Array, iterations: int) -> tuple[Array, Array]:
    """Factors of rows and columns after Sinkhorn scaling; those of empty rows and columns are 1."""

    def inverse(total: Array) -> Array:
        return 1 / jnp.where(total > 0, total, jnp.ones_like(total))

    def step(scales: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        down = inverse(jnp.sum(matrix * scales[0][:, None], axis=0))
        return (inverse(jnp.sum(matrix * down[None, :], axis=1)), down), None

    one = jnp.ones_like(matrix[:, 0])
    return lax.scan(step, (one, one), None, length=iterations)[0]


def pirank_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    depth: int = 1,
    straight_through: bool = False,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""PiRank: one minus the NDCG of labels that NeuralSort puts in the order of the scores.

    .. math:: \ell(s, y) = 1 - \frac{1}{\max \operatorname{dcg@k}} \sum_{r \le k} D(r)\,
        g\Big(\sum_i \hat P_{ri}(s)\, y_i\Big)

    With ``depth`` above 1 the list is cut into parts, and the softly sorted top k of the parts are merged level by
    level, as in a tournament.

    Args:
      scores: larger is better; only their differences matter. An item with score -inf takes no part.
      labels: grades; see ``gain_fn``. Grades are averaged, then gains taken.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; for ``depth`` 1.
      weights: a factor for each label.
      topn: the cut-off k; None for none.
      temperature: that of NeuralSort, in the units of the scores. May be traced.
      depth: how many levels; above 1 it needs ``topn``. Static.
      straight_through: whether the value is that of the hard order, with the derivatives of the soft one.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts D.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss; 0 for a list without a gain. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, or ``depth`` is below 1, or above 1 without
        ``topn`` or with segments.

    Numerics: half types are computed in float32.
    Cost: O(k n) time, O(n) memory beside a block of rows; with depth d, parts of :math:`n^{1/d}` items and their top k.
    References: Swezey et al. 2021, "PiRank: scalable learning to rank via differentiable sorting".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{pirank_loss(scores, labels):.4f} {pirank_loss(scores, labels, temperature=0.1):.4f}")
    0.3208 0.2033
    """
    check_topn(topn)
    if depth < 1 or (depth > 1 and topn is None):
        raise LearnError(
            f"depth is {depth} with topn={topn}; at least 1, and a topn above 1, was expected",
            reason="invalid_parameter",
        )
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    if depth > 1:
        _no_segments(segments, f"pirank_loss of depth {depth}")
    y = y if w is None else y * w
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    gains = neutralise(gain_fn(y), lists.where)
    best = ideal_dcg(gains, lists, topn=topn, discount_fn=discount_fn)
    scale = jnp.asarray(temperature, s.dtype)
    if lists.slot is not None:
        order = SoftOrder.of(s, lists)
        (sorted_labels,) = order.apply((y,), scale, None, straight_through)
        kept = order.counts if topn is None else order.counts & (order.rank <= topn)
        terms = neutralise(gain_fn(sorted_labels), kept) * discount_fn(order.rank.astype(s.dtype))
        return finish(_one_minus(order.lists.sum(neutralise(terms, kept)), best), lists, reduce_fn, dtype)
    k = lists.size if topn is None else min(topn, lists.size)
    mask = lists.where
    # Parts of at least 2 k items: each level then leaves about half of them, or fewer.
    size = max(2 * k, round(lists.size ** (1 / depth)))
    while depth > 1 and s.shape[-1] > size:
        s, y, mask = _merge(s, y, mask, size, k, scale, straight_through)
        size = max(2 * k, round(lists.size ** (1 / depth)) * k)
    order = SoftOrder.of(s, Lists.of(mask, None, s.shape))
    (sorted_labels,) = order.apply((y,), scale, k, straight_through)
    counts = (
        jnp.arange(sorted_labels.shape[-1], dtype=jnp.int32).reshape((1,) * (s.ndim - 1) + (-1,)) < order.size[..., :1]
    )
    gains = neutralise(gain_fn(sorted_labels), counts)
    value = jnp.sum(gains * _discounts(gains.shape[-1], topn, discount_fn, s), axis=-1)
    return finish(_one_minus(value, best), lists, reduce_fn, dtype)


def _one_minus(value: Array, best: Array) -> Array:
    return jnp.where(best == 0, jnp.zeros_like(value), 1 - _ratio(value, best))


def _merge(
    s: Array, y: Array, mask: Array | None, size: int, k: int, temperature: Array, straight_through: bool
) -> tuple[Array, Array, Array]:
    """Softly sort parts of ``size`` items and keep the top k of each."""
    n = s.shape[-1]
    parts = -(-n // size)
    mask = jnp.ones(s.shape, bool) if mask is None else mask

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, parts * size - n)])
        return x.reshape((*x.shape[:-1], parts, size))

    s, y, mask = split(s), split(y), split(mask)
    order = SoftOrder.of(s, Lists.of(mask, None, s.shape))
    # Weighted means of +inf would be NaN.
    finite = jnp.clip(neutralise(s, mask & (s > -jnp.inf)), -largest_score(s), largest_score(s))
    top_s, top_y = order.apply((finite, y), temperature, k, straight_through)
    kept = top_s.shape[-1]
    live = jnp.arange(kept, dtype=jnp.int32).reshape((1,) * (s.ndim - 1) + (-1,)) < order.size[..., :1]
    flat = (*s.shape[:-2], parts * kept)
    return top_s.reshape(flat), top_y.reshape(flat), live.reshape(flat)
