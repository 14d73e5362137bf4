"""Projections onto the polytopes behind soft ranks and soft top-k masks."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.arrays import neutralise, sort_with_order, take_last
from jrank.soft._arguments import (
    check_mask,
    check_scores,
    check_temperature,
    check_weights,
    choose,
    over_rows,
    work_dtype,
)
from jrank.soft._blocks import at_items, block_mean, deviation, means
from jrank.soft._kl import decayed
from jrank.soft._parts import count, take_apart
from jrank.soft._rules import MEAN, Rule, Run
from jrank.soft._solve import Blocks, solve
from jrank.soft._top_k_mask import capped_simplex
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "projection_capped_simplex", "projection_permutahedron"]


def _half(run: Run, first: int) -> Run:
    return Run(run.begin, run.end, run.kept[first : first + 2])


def _closes(left: Run, right: Run, slope: Array) -> Array:
    gaps = [(right.kept[i] - left.kept[i]) + (right.kept[i + 1] - left.kept[i + 1]) for i in (0, 2)]
    return gaps[0] <= gaps[1]


def _join(left: Run, right: Run, slope: Array, short: bool) -> tuple[Array, ...]:
    return tuple(a for i in (0, 2) for a in MEAN.join(_half(left, i), _half(right, i), slope, short))


def _log_closes(left: Run, right: Run, slope: Array) -> Array:
    decay = jnp.exp((left.kept[0] - right.kept[0]) - (left.kept[2] - right.kept[2]))
    return left.kept[1] * right.kept[3] * decay >= right.kept[1] * left.kept[3]


def _log_join(left: Run, right: Run, slope: Array, short: bool) -> tuple[Array, ...]:
    sums = (right.kept[i + 1] + left.kept[i + 1] * jnp.exp(left.kept[i] - right.kept[i]) for i in (0, 2))
    return tuple(a for i, total in zip((0, 2), sums, strict=True) for a in (right.kept[i], total))


# Kept of a run: the means of z and of w; for the logarithmic one the largest of each, with the sum of exp of the
# differences to it. The level is what z has more than w.
DIFFERENCE = Rule(lambda z, w: (z, jnp.zeros_like(z), w, jnp.zeros_like(w)), _closes, _join)
LOG_DIFFERENCE = Rule(lambda z, w: (z, jnp.ones_like(z), w, jnp.ones_like(w)), _log_closes, _log_join)


def _l2(z: Array, w: Array, blocks: Callable[[Rule], Blocks]) -> Array:
    found = blocks(DIFFERENCE)
    return means(w, found._replace(kept=found.kept[2:])) + deviation(z, found)


def _kl(z: Array, w: Array, blocks: Callable[[Rule], Blocks]) -> Array:
    found = blocks(LOG_DIFFERENCE)
    one = jnp.ones((), z.dtype)
    tops = [at_items(found.kept[i], found.ids) for i in (0, 2)]
    sums = [block_mean(decayed(a - top, one), found) for a, top in zip((z, w), tops, strict=True)]
    # Both means are exactly 1 for an item alone in its block, which therefore gets exactly its w.
    return tops[1] + (z - tops[0]) + (jnp.log(sums[1]) - jnp.log(sums[0]))


# Projection of one list of finite numbers: (z[n], w[n] in the order of z, the blocks by a rule) -> [n].
METHODS: dict[str, Callable[..., Array]] = {"l2": _l2, "kl": _kl}


def _permutahedron_row(z: Array, w: Array | None, where: Array | None, *, method: str) -> Array:
    n = z.shape[0]
    finite = jnp.isfinite(z) if w is None else jnp.isfinite(z) & jnp.isfinite(w)
    fine = jnp.all(finite if where is None else finite | ~where)
    s, order = sort_with_order(jnp.where(finite, z, jnp.zeros_like(z)), where)
    if w is None:
        target = lax.iota(jnp.int32, n).astype(z.dtype) + 1
    else:
        w = jnp.where(finite, w, jnp.zeros_like(w))
        target = take_last(neutralise(w, where), sort_with_order(w, where)[1])

    def blocks(rule: Rule) -> Blocks:
        return solve((s, target), order, jnp.zeros((), z.dtype), rule=rule)

    own = jnp.zeros_like(target).at[order].set(target, mode="promise_in_bounds", unique_indices=True)
    safe = jnp.where(finite, z, jnp.zeros_like(z))
    got = METHODS[method](neutralise(safe, where), own, blocks)
    got = jnp.where(fine, got, jnp.asarray(jnp.nan, z.dtype))
    return neutralise(got, where)


@partial(jax.jit, static_argnames=("method",))
def _permutahedron(z, w, where, *, method):
    z = z.astype(work_dtype(z))
    w = None if w is None else w.astype(z.dtype)
    return over_rows(partial(_permutahedron_row, method=method), z.ndim - 1)(z, w, where)


def projection_permutahedron(
    z: Shaped[ArrayLike, "..."],
    w: Shaped[ArrayLike, "..."] | None = None,
    *,
    method: str = "l2",
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return the exact projection onto the permutahedron, the convex hull of all permutations of w.

    .. math:: P(z, w) = \operatorname*{argmin}_{p \in \operatorname{conv}\{w_\sigma\}} \lVert p - z \rVert^2

    ``rank`` is P(x / T, (1, ..., n)), and ``sort`` is P((1, ..., n) / T, x).

    Args:
      z: what is projected; the list is along ``axis``, all other axes are batch.
      w: the vertex, in any order, in a shape that broadcasts to ``z``; None is (1, ..., n).
      method: ``"l2"``, above, or ``"kl"``: the logarithm of the point of the permutahedron of exp(w) that has the least
        Kullback-Leibler divergence to exp(z).
      axis: the axis of the list.
      where: True at real items of both ``z`` and ``w``, in a shape that broadcasts to ``z``.

    Returns:
      The projection, in the shape and floating type of ``z``; 0, with gradient 0, at masked places.

    Raises:
      SoftError: unknown method, axis out of range, shapes that do not fit.
      TypeError: ``z`` or ``w`` is not an array of real numbers.

    Numerics: a list with a NaN or an infinite number is NaN. An item alone in its block gets exactly its entry of w.
    Half types are computed in float32. Differentiable in both arguments to any order; of ties in w the derivative
    goes to the order of the input.
    Cost: O(n log n) time for the sorts and O(n) for the rest, forward and backward; O(n) memory.
    References: Lim and Wright, "Efficient Bregman projections onto the permutahedron and related polytopes", AISTATS
    2016; Blondel et al., "Fast Differentiable Sorting and Ranking", ICML 2020.

    >>> z = jnp.array([2.5, 0.5, 1.0])
    >>> projection_permutahedron(z), projection_permutahedron(2 * z, jnp.array([0.0, 1.0, 0.0]))
    (Array([3.  , 1.25, 1.75], dtype=float32), Array([1., 0., 0.], dtype=float32))
    """
    points, axis = check_scores(z, axis, "z")
    choose(METHODS, method, "projection_permutahedron")
    mask = check_mask(where, points.shape, axis)
    vertex = check_weights(w, points.shape, axis, "w")
    if points.size:
        points = _permutahedron(points, vertex, mask, method=method).astype(points.dtype)
    return jnp.moveaxis(points, -1, axis)


def _capped_row(x: Array, total: Array, where: Array | None) -> Array:
    parts = take_apart(x, where)
    finite, high, low = (count(a).astype(x.dtype) for a in (parts.counts, parts.high, parts.low))
    rest = jnp.clip(total - high, 0, finite)
    y = capped_simplex(parts.safe, jnp.ones((), x.dtype), parts.counts, rest)
    y = jnp.where(rest <= 0, jnp.zeros_like(y), jnp.where(rest >= finite, jnp.ones_like(y), y))
    # Infinite numbers are in or out before all others; those of one end share what there is evenly.
    top = jnp.clip(total / jnp.maximum(high, 1), 0, 1)
    bottom = jnp.clip((total - high - finite) / jnp.maximum(low, 1), 0, 1)
    y = jnp.where(parts.high, top, jnp.where(parts.low, bottom, y))
    y = jnp.where(parts.valid, y, jnp.asarray(jnp.nan, x.dtype))
    return neutralise(y, where)


@jax.jit
def _capped_simplex(x, total, where):
    return over_rows(_capped_row, x.ndim - 1)(x.astype(work_dtype(x)), total, where)


def projection_capped_simplex(
    x: Shaped[ArrayLike, "..."],
    k: Shaped[ArrayLike, "..."] = 1.0,
    *,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return the exact projection onto the capped simplex, the numbers between 0 and 1 that sum to k.

    .. math:: y = \operatorname*{argmin}_{0 \le y_i \le 1,\ \sum_i y_i = k} \lVert y - x \rVert^2
        = \min(\max(x_i - \theta, 0), 1)

    ``top_k_mask`` by ``"l2"`` is this projection of x / T.

    Args:
      x: what is projected; the list is along ``axis``, all other axes are batch.
      k: the sum, one number or one for each list; a whole number is not needed. 0 gives 0 for all, n or more gives
        1 for all. May be traced and differentiated.
      axis: the axis of the list.
      where: True at real items, in a shape that broadcasts to ``x``.

    Returns:
      The projection, in the shape and floating type of ``x``; 0, with gradient 0, at masked places.

    Raises:
      SoftError: axis out of range, shapes that do not fit, a negative number as k.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: ties get equal shares. +inf is in and -inf is out before all others; NaN gets NaN and leaves the others as
    if it were not there. Half types are computed in float32. Derivatives of any order are right.
    Cost: O(n): passes of bisection and no sort; O(n) memory.
    References: Wang and Lu, "Projection onto the capped simplex", 2015.

    >>> projection_capped_simplex(jnp.array([1.5, 0.5, 0.75, -1.0]), 2.0)
    Array([1.   , 0.375, 0.625, 0.   ], dtype=float32)
    """
    points, axis = check_scores(x, axis)
    mask = check_mask(where, points.shape, axis)
    work = work_dtype(points)
    total = check_temperature(k, points.shape[:-1], work, "k")
    if points.size:
        points = _capped_simplex(points, total, mask).astype(points.dtype)
    return jnp.moveaxis(points, -1, axis)
