"""Rank correlations: Spearman's of the soft ranks, and Kendall's of the soft signs of all pairs."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped

from jrank.arrays import neutralise, segment_sum, take_last
from jrank.errors import SoftError
from jrank.soft._arguments import (
    check_mask,
    check_scores,
    check_segments,
    check_temperature,
    choose,
    over_rows,
    work_dtype,
)
from jrank.soft._lists import slots
from jrank.soft._pairwise import few_rows, over_pairs
from jrank.soft._parts import positive, take_apart
from jrank.soft._rank import rank
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "kendall", "spearman"]


def _tanh(d: Array) -> Array:
    return jnp.tanh(d / 2)


def _laplace(d: Array) -> Array:
    return -jnp.sign(d) * jnp.expm1(-jnp.abs(d))


# Soft sign of a difference over the temperature, odd, from -1 to 1: twice the step of the soft rank, less 1.
METHODS: dict[str, Callable[[Array], Array]] = {"sigmoid": _tanh, "laplace": _laplace}


class _Two(NamedTuple):
    """Two arrays of scores in one layout, list axis last, and where the axis was."""

    x: Array
    y: Array
    mask: Array | None
    segments: Array | None
    weights: Array | None


def _arguments(x: Any, y: Any, axis: int, where: Any, segments: Any, weights: Any) -> _Two:
    a, position = check_scores(x, axis)
    b, _ = check_scores(y, axis, "y")
    if a.shape != b.shape:
        raise SoftError(f"x has shape {a.shape} and y {b.shape}, list axis last", reason="shape_mismatch")
    mask = check_mask(where, a.shape, position)
    work = work_dtype(a)
    w = None
    if weights is not None:
        w, _ = check_scores(weights, axis, "weights")
        if w.shape != a.shape:
            raise SoftError(f"weights has shape {w.shape} and x {a.shape}, list axis last", reason="shape_mismatch")
        w = neutralise(w.astype(work), mask)
    return _Two(a, b.astype(a.dtype), mask, check_segments(segments, a.shape, position), w)


def _cosine(product: Array, first: Array, second: Array, floor: float) -> Array:
    """Return product / sqrt(first second), 0 with gradient 0 where a factor is at most the floor."""
    # The square root has no slope at 0: neither value nor gradient comes from there.
    flat = (first <= floor) | (second <= floor)
    one = jnp.ones_like(first)
    root = jnp.sqrt(jnp.where(flat, one, first)) * jnp.sqrt(jnp.where(flat, one, second))
    return jnp.where(flat, jnp.zeros_like(product), jnp.clip(product / root, -1, 1))


def spearman(
    x: Shaped[ArrayLike, "..."],
    y: Shaped[ArrayLike, "..."],
    *,
    method: str = "l2",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    y_temperature: Shaped[ArrayLike, "..."] | None = None,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "..."] | None = None,
    weights: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return the differentiable rank correlation of Spearman: the correlation of the soft ranks of x and of y.

    .. math:: \rho = \frac{\sum_i (r_i - \bar{r}) (q_i - \bar{q})}
        {\sqrt{\sum_i (r_i - \bar{r})^2 \sum_i (q_i - \bar{q})^2}}, \quad r = r(x), q = r(y)

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      y: what they are compared with, in the same shape.
      method: see ``rank``.
      temperature: see ``rank``.
      y_temperature: that of y; None is ``temperature``. The number 0 takes the hard ranks of y, equal ones for ties.
      axis: the axis of the list.
      where: True at real items.
      segments: ids, in any order and in the shape of ``x``: items of a row that share one are a list of their own; for
        the methods of ``rank`` that take them.
      weights: a factor >= 0 for each item in the sums and means of the formula, in the shape of ``x``.

    Returns:
      The correlations, ``[...]``, from -1 to 1; 0, with gradient 0, where the ranks of x or y do not vary. With
      ``segments`` one for each item, that of its list, in the shape of ``x``.

    Raises:
      SoftError: as for ``rank``, and y or weights in another shape than x.
      TypeError: ``x`` or ``y`` is not an array of real numbers.

    Numerics: a NaN in a list makes its correlation NaN. Half types are computed in float32.
    Cost: that of two ``rank``.

    >>> spearman(jnp.array([0.1, 0.7, 0.3]), jnp.array([1.0, 3.0, 2.0]), temperature=0.1).round(3)
    Array(1., dtype=float32)
    """
    two = _arguments(x, y, axis, where, segments, weights)
    work, n = work_dtype(two.x), two.x.shape[-1]
    slot = None if two.segments is None else over_rows(slots, two.x.ndim - 1)(two.segments)
    w = jnp.ones(two.x.shape, work) if two.weights is None else two.weights
    w = neutralise(w, two.mask)

    def total(values: Array) -> Array:
        if slot is None:
            return jnp.sum(values, axis=-1, keepdims=True)
        return take_last(segment_sum(values, slot, n), slot)

    mass = total(w)
    some = mass > 0

    def centred(scores: Array, t: Any) -> Array:
        # Hard ranks, equal ones for ties, are what the exact method has at temperature 0.
        kind = "l2" if isinstance(t, (int, float)) and t == 0 else method
        options = {"temperature": t, "where": two.mask, "segments": two.segments}
        ranks = neutralise(rank(scores.astype(work), method=kind, **options), two.mask)
        mean = jnp.where(some, total(w * ranks) / jnp.where(some, mass, jnp.ones_like(mass)), jnp.zeros_like(mass))
        return neutralise(ranks - mean, two.mask)

    first = centred(two.x, temperature)
    second = centred(two.y, temperature if y_temperature is None else y_temperature)
    floor = math.sqrt(float(jnp.finfo(work).eps)) / max(n, 1)
    value = _cosine(total(w * first * second), total(w * first**2), total(w * second**2), floor)
    value = value if slot is not None else value[..., 0]
    return _as_given(value.astype(two.x.dtype), slot, axis, two)


def _as_given(value: Array, slot: Array | None, axis: int, two: _Two) -> Array:
    if slot is None:
        return value
    return jnp.moveaxis(neutralise(value, two.mask), -1, axis)


def _pair_sums(
    x: Array,
    y: Array,
    t: Array,
    u: Array,
    where: Array | None,
    slot: Array | None,
    weights: Array | None,
    *,
    method: str,
) -> Array:
    """Sums over all pairs of one list, for each first item: of products, of squares of either, and of 1: [n, 4]."""
    t, u = positive(t), positive(u)
    items: list[Any] = [take_apart(a, where) for a in (x, y)]
    # Infinite scores are further from all others than the step reaches, and tied among each other.
    level = [a.high.astype(x.dtype) - a.low.astype(x.dtype) for a in items]
    w = jnp.ones_like(x) if weights is None else weights
    w = neutralise(w, where)
    here = jnp.zeros(x.shape, jnp.int32) if slot is None else slot
    place = jnp.arange(x.shape[0], dtype=jnp.int32)
    step = METHODS[method]

    def sign(a: Array, b: Array, high: Array, low: Array, temperature: Array) -> Array:
        # Clipped before the division: a quotient that overflows would make the gradient 0 * inf.
        apart = (high[:, None] - low[None, :]) * 200 * temperature
        d = jnp.where(apart == 0, a[:, None] - b[None, :], apart)
        return step(jnp.clip(d, -200 * temperature, 200 * temperature) / temperature)

    def block(a: Array, b: Array, la: Array, lb: Array, v: Array, mine: Array, i: Array) -> Array:
        first = sign(a, items[0].safe, la, level[0], t)
        second = sign(b, items[1].safe, lb, level[1], u)
        pair = v[:, None] * w[None, :]
        if slot is not None:
            pair = jnp.where(mine[:, None] == here[None, :], pair, jnp.zeros_like(pair))
        ones = jnp.where(i[:, None] == place[None, :], jnp.zeros_like(pair), pair)
        terms = (pair * first * second, pair * first * first, pair * second * second, ones)
        return jnp.stack([jnp.sum(term, axis=-1) for term in terms], axis=-1)

    rows = (items[0].safe, items[1].safe, level[0], level[1], w, here, place)
    sums = over_pairs(block, rows, x.shape[0], few_rows)
    lost = ~(items[0].valid & items[1].valid)
    lost = lost if where is None else lost & where
    return jnp.where(lost[:, None], jnp.asarray(jnp.nan, x.dtype), sums)


@partial(jax.jit, static_argnames=("method",))
def _kendall_sums(x, y, t, u, where, slot, weights, *, method):
    return over_rows(partial(_pair_sums, method=method), x.ndim - 1)(x, y, t, u, where, slot, weights)


def kendall(
    x: Shaped[ArrayLike, "..."],
    y: Shaped[ArrayLike, "..."],
    *,
    method: str = "sigmoid",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    y_temperature: Shaped[ArrayLike, "..."] | None = None,
    variant: str = "b",
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "..."] | None = None,
    weights: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return the differentiable rank correlation of Kendall: the correlation of the soft signs of all pairs.

    .. math:: \tau_b = \frac{\sum_{i \ne j} a_{ij} b_{ij}}{\sqrt{\sum a_{ij}^2 \sum b_{ij}^2}}, \qquad
        a_{ij} = \tanh\left(\frac{x_i - x_j}{2T}\right), \quad b_{ij} = \tanh\left(\frac{y_i - y_j}{2T}\right)

    Towards temperature 0 this is the exact tau-b, towards infinity Pearson's correlation of x and y.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      y: what they are compared with, in the same shape.
      method: the soft sign: ``"sigmoid"``, above, or ``"laplace"``, sign(d) (1 - exp(-|d| / T)); those are the steps of
        the soft ranks of the same names.
      temperature: in the units of the scores, >= 0, one number or one for each list.
      y_temperature: that of y; None is ``temperature``, 0 takes the exact signs.
      variant: ``"b"``, above, or ``"a"``, the sum of the products over the number of pairs, which is smaller where
        scores are close or tied.
      axis: the axis of the list.
      where: True at real items.
      segments: ids, in any order and in the shape of ``x``: items of a row that share one are a list of their own.
      weights: a factor >= 0 for each item, in the shape of ``x``; a pair counts by the product of two.

    Returns:
      The correlations, ``[...]``, from -1 to 1; 0, with gradient 0, for lists without a pair or where x or y does not
      vary. With ``segments`` one for each item, that of its list, in the shape of ``x``.

    Raises:
      SoftError: unknown method or variant, axis out of range, shapes that do not fit, a negative number as temperature.
      TypeError: ``x`` or ``y`` is not an array of real numbers.

    Numerics: infinite scores are before and after all others and tied among each other, with gradient 0. A NaN in a
    list makes its correlation NaN. Half types are computed in float32. Derivatives of any order are right.
    Cost: O(n^2) time, forward and backward; O(n) memory and blocks of 1M pairs at most.
    References: Kendall, "A New Measure of Rank Correlation", 1938; "The Treatment of Ties in Ranking Problems", 1945.

    >>> print(f"{kendall(jnp.array([0.1, 0.7, 0.3, 0.9]), jnp.array([1.0, 3.0, 2.0, 2.5]), temperature=0.01):.3f}")
    0.667
    """
    choose(METHODS, method, "kendall")
    if variant not in ("a", "b"):
        raise SoftError(f"variant is {variant!r}, expected 'a' or 'b'", reason="invalid_parameter")
    two = _arguments(x, y, axis, where, segments, weights)
    work, (*batch, n) = work_dtype(two.x), two.x.shape
    t, u = (
        check_temperature(value, tuple(batch), work, name)
        for value, name in (
            (temperature, "temperature"),
            (temperature if y_temperature is None else y_temperature, "y_temperature"),
        )
    )
    slot = None if two.segments is None else over_rows(slots, two.x.ndim - 1)(two.segments)
    if two.x.size:
        given = (two.x.astype(work), two.y.astype(work), t, u, two.mask, slot, two.weights)
        rows = _kendall_sums(*given, method=method)
    else:
        rows = jnp.zeros((*two.x.shape, 4), work)
    if slot is None:
        sums = jnp.sum(rows, axis=-2)
    else:
        sums = jnp.moveaxis(rows, -1, 0)
        wide = jnp.broadcast_to(slot, sums.shape)
        sums = jnp.moveaxis(take_last(segment_sum(sums, wide, n), wide), 0, -1)
    product, first, second, pairs = (sums[..., i] for i in range(4))
    if variant == "a":
        some = pairs > 0
        value = jnp.where(some, product / jnp.where(some, pairs, jnp.ones_like(pairs)), jnp.zeros_like(product))
    else:
        value = _cosine(product, first, second, 0.0)
    return _as_given(value.astype(two.x.dtype), slot, axis, two)
