"""Which temperature to take, and what it does to a list: is there a gradient, and how far are the ranks from hard?"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.arrays import sort_with_order
from jrank.errors import SoftError
from jrank.soft._arguments import check_mask, check_scores, check_temperature, choose, over_rows, work_dtype
from jrank.soft._parts import count, positive, take_apart
from jrank.soft._rank import METHODS, rank
from jrank.types import Array, ArrayLike

__all__ = ["Diagnosis", "diagnose", "suggest_temperature"]

# Neighbours further apart than this many temperatures exchange less than a thousandth of a gradient: log(1000).
REACH = 6.9
# What counts as a gradient, in ranks per temperature.
LEAST = 1e-3
# Methods that project, whose items reach those of their block alone.
EXACT = ("l2", "kl")


def _gap(x: Array, where: Array | None, *, neighbours: int) -> Array:
    """Median distance of one list between scores that many places apart; 1 where there is none."""
    parts = take_apart(x, where)
    s, _ = sort_with_order(parts.safe, parts.counts)
    n = count(parts.counts)
    reach = jnp.minimum(neighbours, jnp.maximum(n - 1, 1))
    place = lax.iota(jnp.int32, x.shape[0])
    other = jnp.minimum(place + reach, x.shape[0] - 1)
    apart = s.at[other].get(mode="promise_in_bounds") - s
    # Places without a score are NaN, and ties say nothing about the units.
    apart = jnp.where((place + reach < n) & (apart > 0), apart, jnp.asarray(jnp.nan, x.dtype))
    apart, _ = sort_with_order(apart)
    number = jnp.sum(~jnp.isnan(apart), dtype=jnp.int32)
    middle = apart.at[jnp.maximum(number - 1, 0) // 2].get(mode="promise_in_bounds")
    return jnp.where(number > 0, middle, jnp.ones_like(middle))


@partial(jax.jit, static_argnames=("neighbours",))
def _gaps(x, where, *, neighbours):
    x = lax.stop_gradient(x.astype(work_dtype(x)))
    return over_rows(partial(_gap, neighbours=neighbours), x.ndim - 1)(x, where)


def suggest_temperature(
    x: Shaped[ArrayLike, "..."],
    *,
    neighbours: int = 3,
    operator: str = "rank",
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return a temperature for each list from the gaps of its scores: one that mixes an item with its neighbours.

    .. math:: T = \operatorname{median}_i \left(x_{(i + m)} - x_{(i)}\right)

    with m ``neighbours``: half of the items that stand m places apart are closer than T.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      neighbours: how many places apart, at least 1; in a short list as many as there are. With 1 most items keep nearly
        hard ranks and learn from their next neighbours alone; from 2 or 3 on ``"l2"`` pools nearly the whole of an even
        list, while the smooth methods mix about that many.
      operator: ``"rank"``, for temperatures in the units of the scores: all of ``rank``, ``argsort``, ``top_k_mask``,
        ``argmax`` and the others; or ``"sort"``, the inverse, for the published epsilon that ``sort`` and ``quantile``
        have by ``"l2"`` and ``"kl"``, in 1 / score.
      axis: the axis of the list.
      where: True at real items.

    Returns:
      The temperatures, ``[...]``, without gradient: one for each list, as every operator takes them. Their mean, or the
      value of a first batch, kept as a number, is steadier in training. 1 for a list without two different scores.

    Raises:
      SoftError: neighbours below 1, another operator, axis out of range, shapes that do not fit.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: ties, infinite and missing scores do not count.
    Cost: two sorts.
    See also: ``diagnose``, which says what a temperature does.

    >>> suggest_temperature(jnp.array([0.0, 1.0, 1.5, 4.0]), neighbours=1)
    Array(1., dtype=float32)
    """
    if isinstance(neighbours, bool) or neighbours < 1:
        raise SoftError(f"neighbours is {neighbours}, expected at least 1", reason="invalid_parameter")
    if operator not in ("rank", "sort"):
        raise SoftError(f"operator is {operator!r}, expected 'rank' or 'sort'", reason="invalid_parameter")
    scores, axis = check_scores(x, axis)
    mask = check_mask(where, scores.shape, axis)
    if not scores.size:
        return jnp.ones(scores.shape[:-1], scores.dtype)
    t = _gaps(scores, mask, neighbours=neighbours)
    return (t if operator == "rank" else 1 / t).astype(scores.dtype)


class Diagnosis(NamedTuple):
    """What a temperature does to the soft ranks of each list.

    Attributes:
      blocks: int32, how many groups of items do not reach each other: from 1, all are mixed, to the number of items,
        none is. For ``"l2"`` and ``"kl"`` the blocks of the projection; for the others runs of the sorted scores
        without a gap of 6.9 temperatures, over which less than a thousandth passes.
      gradient_share: which share of the real items a gradient reaches: that of a random linear function of the ranks is
        at least a thousandth of a rank per temperature there.
      softness: from 0, hard ranks, to 1, all ranks equal: how far the ranks are from the hard ones, on average, over
        how far those are from their mean.
    """

    blocks: Array
    gradient_share: Array
    softness: Array


def _same_block(gap: Array, low: Array, high: Array, *, method: str, n: int) -> Array:
    """Whether sorted neighbours, ``gap`` temperatures apart, share a block: within one, ranks follow the scores."""
    rounding = 8 * float(jnp.finfo(gap.dtype).eps)
    if method == "kl":
        return high >= low * jnp.exp(gap) * (1 - n * rounding)
    return high - low >= gap - rounding * (n + gap)


def _row(x: Array, r: Array, hard: Array, slope: Array, t: Array, where: Array | None, *, method: str) -> Diagnosis:
    """Diagnosis of one list with ascending soft ranks r, in the working type."""
    parts = take_apart(x, where)
    s, order = sort_with_order(parts.safe, parts.counts)
    n, total = count(parts.counts), count(parts.valid)
    gap = (s[1:] - s[:-1]) / positive(t)
    if method in EXACT:
        sorted_ranks = r.at[order].get(mode="promise_in_bounds")
        apart = ~_same_block(gap, sorted_ranks[:-1], sorted_ranks[1:], method=method, n=x.shape[0])
    else:
        apart = gap > REACH
    inside = lax.iota(jnp.int32, x.shape[0])[1:] < n
    blocks = jnp.where(n > 0, 1 + jnp.sum(apart & inside, dtype=jnp.int32), jnp.zeros_like(n))

    def mean(values: Array) -> Array:
        kept = jnp.where(parts.valid, values, jnp.zeros_like(x))
        return jnp.sum(kept) / jnp.maximum(total, 1).astype(x.dtype)

    share = mean((jnp.abs(slope) * positive(t) >= LEAST).astype(x.dtype))
    middle = (total.astype(x.dtype) + 1) / 2
    most = mean(jnp.abs(hard - middle))
    some = most > 0
    softness = jnp.where(
        some, mean(jnp.abs(r - hard)) / jnp.where(some, most, jnp.ones_like(most)), jnp.zeros_like(most)
    )
    return Diagnosis(blocks, share, softness)


def diagnose(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "l2",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Diagnosis:
    """Say what a temperature does to the soft ranks of each list: how much is mixed, and whether gradients pass.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: a method of ``rank``.
      temperature: see ``rank``.
      axis: the axis of the list.
      where: True at real items.

    Returns:
      A ``Diagnosis`` of arrays ``[...]``, one number for each list, without gradient; zeros for a list without a real
      item. A ``gradient_share`` near 0 means that the temperature is below the gaps of the scores and nothing is
      learnt; a ``softness`` near 1 that it is so far above them that ranks say little.

    Raises:
      SoftError: as for ``rank``.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: in long lists neighbouring blocks of ``"l2"`` that differ by less than n 1e-6 ranks (float32) count as
    one. Infinite and missing scores are in no block and have no gradient.
    Cost: that of ``rank`` with its gradient and two sorts.
    See also: ``suggest_temperature``.

    >>> seen = diagnose(jnp.array([0.0, 1.0, 1.5, 4.0]), temperature=0.75)
    >>> print(seen.blocks, seen.gradient_share, f"{seen.softness:.3f}")
    3 0.5 0.083
    """
    scores, axis = check_scores(x, axis)
    choose(METHODS, method, "diagnose")
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    if not scores.size:
        zero = jnp.zeros(scores.shape[:-1], scores.dtype)
        return Diagnosis(zero.astype(jnp.int32), zero, zero)
    return _diagnose(lax.stop_gradient(scores), lax.stop_gradient(t), mask, method=method)


@partial(jax.jit, static_argnames=("method",))
def _diagnose(x, t, where, *, method):
    kind, x = x.dtype, x.astype(work_dtype(x))
    r, back = jax.vjp(lambda v: rank(v, method=method, temperature=t, where=where), x)
    # Ties get equal hard ranks: what is tied is not mixed by the temperature.
    hard = rank(x, temperature=0.0, where=where)
    slope = back(jax.random.normal(jax.random.key(0), x.shape, x.dtype))[0]
    out = over_rows(partial(_row, method=method), x.ndim - 1)(x, r, hard, slope, t, where)
    return Diagnosis(out.blocks, out.gradient_share.astype(kind), out.softness.astype(kind))
