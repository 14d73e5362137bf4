"""Isotonic regression: the closest monotone sequence, exactly."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.soft._arguments import check_mask, check_scores, check_weights, choose, over_rows, work_dtype
from jrank.soft._blocks import at_items, block_mean, means
from jrank.soft._kl import decayed
from jrank.soft._rules import WEIGHTED, Rule, Run, weight_share
from jrank.soft._solve import Blocks, solve
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "isotonic"]


def _log_closes(left: Run, right: Run, slope: Array) -> Array:
    return left.kept[1] * jnp.exp(left.kept[0] - right.kept[0]) >= right.kept[1]


def _log_join(left: Run, right: Run, slope: Array, short: bool) -> tuple[Array, ...]:
    top = jnp.maximum(left.kept[0], right.kept[0])
    mine, other = (run.kept[1] * jnp.exp(run.kept[0] - top) for run in (left, right))
    return top, mine + (other - mine) * weight_share(left, right), left.kept[2] + right.kept[2]


# Kept of a run: the largest target, the weighted mean of exp of the differences to it, and the weight.
LOG_MEAN = Rule(lambda y, w: (y, jnp.ones_like(y), w), _log_closes, _log_join)


def _of_blocks(values: Array, weights: Array, blocks: Blocks) -> Array:
    """Weighted means; 0 where a block has no weight."""
    total = block_mean(weights, blocks)
    some = total > 0
    mean = block_mean(weights * values, blocks) / jnp.where(some, total, jnp.ones_like(total))
    return jnp.where(some, mean, jnp.zeros_like(mean))


def _l2(y: Array, weights: Array | None, blocks: Callable[..., Blocks]) -> Array:
    # Scaled by a power of 2, so that no difference of two targets overflows.
    large = jnp.max(jnp.abs(y)) > float(jnp.finfo(y.dtype).max) / 8
    scale = lax.stop_gradient(jnp.where(large, 0.125, 1.0).astype(y.dtype))
    y = y * scale
    if weights is None:
        return means(y, blocks(y)) / scale
    found = blocks(y, weights, rule=WEIGHTED)
    # Relative to what the solver found, which costs no digits.
    level = at_items(found.kept[0] + found.kept[1], found.ids)
    alone = at_items(found.length, found.ids) == 1
    # An item alone is its own level, with slope 1.
    return jnp.where(alone, y, level + _of_blocks(y - level, weights, found)) / scale


def _kl(y: Array, weights: Array | None, blocks: Callable[..., Blocks]) -> Array:
    weights = jnp.ones_like(y) if weights is None else weights
    found = blocks(y, weights, rule=LOG_MEAN)
    top, mean = (at_items(a, found.ids) for a in found.kept[:2])
    alone = at_items(found.length, found.ids) == 1
    share = decayed(y - top, jnp.ones((), y.dtype))
    total = _of_blocks(share, weights, found)
    total = jnp.where(total > 0, total, mean)
    return jnp.where(alone, y, top + jnp.log(total))


# Levels of one list of finite targets: (y[n], weights[n] or None, the blocks as a function of these) -> [n].
METHODS: dict[str, Callable[..., Array]] = {"l2": _l2, "kl": _kl}


def _row(y: Array, weights: Array | None, where: Array | None, *, method: str, increasing: bool) -> Array:
    """Fit of one list, in the working type."""
    real = jnp.isfinite(y) if where is None else jnp.isfinite(y) & where
    total = jnp.sum(real, dtype=jnp.int32)
    place = jnp.cumsum(real, dtype=jnp.int32) - 1
    place = place if increasing else total - 1 - place
    place = jnp.where(real, place, total + jnp.cumsum(~real, dtype=jnp.int32) - 1)
    order = jnp.zeros_like(place).at[place].set(lax.iota(jnp.int32, y.shape[0]), unique_indices=True)
    safe = jnp.where(real, y, jnp.zeros_like(y))
    if weights is not None:
        weights = jnp.where(real & (weights > 0), weights, jnp.zeros_like(weights))

    def blocks(*items: Array, **options) -> Blocks:
        ordered = [a.at[order].get(mode="promise_in_bounds", unique_indices=True) for a in items]
        ordered[0] = jnp.where(lax.iota(jnp.int32, y.shape[0]) < total, ordered[0], jnp.asarray(jnp.nan, y.dtype))
        return solve(tuple(ordered), order, jnp.zeros((), y.dtype), **options)

    fit = METHODS[method](safe, weights, blocks)
    fit = jnp.where(real, fit, jnp.asarray(jnp.nan, y.dtype))
    return fit if where is None else jnp.where(where, fit, jnp.zeros_like(fit))


@partial(jax.jit, static_argnames=("method", "increasing"))
def _isotonic(y, weights, where, **options):
    y = y.astype(work_dtype(y))
    weights = None if weights is None else weights.astype(y.dtype)
    return over_rows(partial(_row, **options), y.ndim - 1)(y, weights, where)


def isotonic(
    y: Shaped[ArrayLike, "..."],
    *,
    weights: Shaped[ArrayLike, "..."] | None = None,
    increasing: bool = True,
    method: str = "l2",
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return the exact isotonic regression of a list: the closest sequence that never falls.

    .. math:: v(y) = \operatorname*{argmin}_{v_1 \le \dots \le v_n} \sum_i w_i (v_i - y_i)^2,
        \qquad v_i = \frac{\sum_{j \in B} w_j y_j}{\sum_{j \in B} w_j}

    with the block B of neighbours that i is pooled with.

    Args:
      y: targets in the order in which the fit shall be monotone; the list is along ``axis``, all other axes are batch.
      weights: finite numbers >= 0 in a shape that broadcasts to ``y``; None is 1 for all. What is not positive counts
        as a vanishing weight: the item follows its neighbours and moves none.
      increasing: whether the fit never falls, or never rises.
      method: ``"l2"``, above, or ``"kl"``: the same in the logarithm, v_i = log(sum_B w_j exp(y_j) / sum_B w_j), which
        minimises the sum of w_i (exp(y_i - v_i) + v_i).
      axis: the axis of the list.
      where: True at real items, in a shape that broadcasts to ``y``; the others are as if they were not there.

    Returns:
      The fit, in the shape and floating type of ``y``; 0, with gradient 0, at masked places.

    Raises:
      SoftError: unknown method, axis out of range, shapes that do not fit.
      TypeError: ``y`` is not an array of real numbers.

    Numerics: equal levels are pooled. NaN and infinite targets get NaN and leave the others as if they were not there.
    Half types are computed in float32; means are compensated or pairwise, so that a million items lose no digits.
    Differentiable in targets and weights to any order: within a block, and not where blocks change. For bounds, clip
    the fit: that is the fit within them.
    Cost: O(n) time and memory on CPU, forward and backward; on accelerators O(log(n)^2) parallel steps.
    References: Best and Chakravarti, "Active set algorithms for isotonic regression", 1990; Blondel et al., "Fast
    Differentiable Sorting and Ranking", ICML 2020 (kl).

    >>> y = jnp.array([1.0, 3.0, 2.0, 4.0])
    >>> isotonic(y), isotonic(y, weights=jnp.array([1.0, 3.0, 1.0, 1.0]))
    (Array([1. , 2.5, 2.5, 4. ], dtype=float32), Array([1.  , 2.75, 2.75, 4.  ], dtype=float32))
    """
    targets, axis = check_scores(y, axis, "y")
    choose(METHODS, method, "isotonic")
    mask = check_mask(where, targets.shape, axis)
    w = check_weights(weights, targets.shape, axis)
    if targets.size:
        targets = _isotonic(targets, w, mask, method=method, increasing=increasing).astype(targets.dtype)
    return jnp.moveaxis(targets, -1, axis)
