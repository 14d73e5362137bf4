"""Ranks and cut-offs from a step function of score differences: smooth ones for approximations, hinges for bounds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int, Real, Shaped

from jrank.arrays import accumulator_dtype, as_array, as_floating, as_mask, neutralise
from jrank.losses._pairs import finite_scores
from jrank.metrics._lists import Lists, iota_like
from jrank.metrics._rank_sums import logistic_sums, smallest_temperature, sums_over_others
from jrank.metrics._ranking import BY_THRESHOLD, ranks
from jrank.types import Array, ArrayLike

__all__ = ["approx_cutoff", "approx_ranks", "sigmoid_ranks"]


def approx_ranks(
    scores: Real[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    step_fn: Callable[[Array], Array] = jax.nn.sigmoid,
    wanted: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch n"]:
    r"""Ranks from a step function of the score differences; the largest score has the smallest rank.

    .. math:: r_i = 1 + \sum_{j \ne i} \operatorname{step}(s_j - s_i)

    Args:
      scores: one score per item.
      where: True at real items; masked items are outranked by nobody and outrank nobody.
      segments: ids of lists within a row, in any order; items of different lists do not meet.
      key: not used; it is there because rank functions take one.
      step_fn: an elementwise function that is near 0 below 0 and near 1 above, and nowhere falls.
      wanted: the items whose rank is needed, in a shape that broadcasts to ``scores``; None for all.

    Returns:
      The ranks, 1 at masked places and where they are not wanted.

    Numerics: equal infinite scores differ by 0. NaN gets NaN and outranks nobody. Half types are accumulated in
      float32. Every derivative is that of the formula.
    Cost: O(n w) time for w wanted items in a list, computed again for the gradient; O(n) memory beside one block of
      pairs. The sigmoid of scores within a range of 40 takes one exponential for each item, not for each pair.
    References: Qin, Liu and Li 2010, "A general approximation framework for direct optimization of information
    retrieval measures".

    >>> ranks = approx_ranks(jnp.array([2.0, 1.0, 3.0, 0.5]))
    >>> print(jnp.array_str(ranks, precision=3))
    [2.182 2.989 1.464 3.364]
    """
    if step_fn is jax.nn.sigmoid:
        return sigmoid_ranks(scores, 1.0, where=where, segments=segments, wanted=wanted)
    s, safe, mask, slot, asked = _lists_of(scores, where, segments, wanted)
    lists = () if slot is None else (slot,)
    valid = () if mask is None else (mask,)

    def term(a: Any, b: Any) -> Array:
        difference = b[0] - a[0]
        counts = a[1] != b[1]
        counts = counts if mask is None else counts & b[2]
        counts = counts if slot is None else counts & (a[-1] == b[-1])
        steps = step_fn(jnp.where(counts, difference, jnp.zeros_like(difference)))
        return jnp.where(counts, steps, jnp.zeros_like(steps))

    place = iota_like(safe)
    total = sums_over_others(term, (safe, place, *lists), (safe, place, *valid, *lists), asked)
    return _placed(total + 1, s)


def _lists_of(
    scores: Any, where: Any, segments: Any, wanted: Any
) -> tuple[Array, Array, Array | None, Array | None, Array | None]:
    """Scores, finite ones in the working type, which count, their lists, and which ranks are asked for."""
    s = as_floating(scores, "scores")
    mask = as_mask(where, s.shape)
    asked = as_mask(wanted, s.shape, "wanted")
    asked = mask if asked is None else asked if mask is None else asked & mask
    s = neutralise(s, mask)
    number = ~jnp.isnan(s)
    mask = number if mask is None else mask & number
    slot = None if segments is None else as_array(segments, "segments")
    return s, finite_scores(neutralise(s.astype(accumulator_dtype(s.dtype)), mask)), mask, slot, asked


def _placed(place: Array, s: Array) -> Array:
    """Ranks in the type of the scores, NaN where those are."""
    return jnp.where(jnp.isnan(s), jnp.asarray(jnp.nan, s.dtype), place.astype(s.dtype))


def sigmoid_ranks(
    scores: Any, temperature: Any, *, where: Any = None, segments: Any = None, wanted: Any = None
) -> Array:
    """Ranks from the sigmoid of score differences over a temperature; see ``approx_ranks``.

    Args:
      scores: one score per item, ``[..., n]``.
      temperature: in the units of the scores: one number, or one for each row.
      where: the mask, or None.
      segments: ids of lists within a row, or None.
      wanted: the items whose rank is needed, or None for all.
    """
    s, safe, mask, slot, asked = _lists_of(scores, where, segments, wanted)
    t = jnp.maximum(as_floating(temperature, "temperature").astype(safe.dtype), smallest_temperature(safe.dtype))
    t = jnp.broadcast_to(t, s.shape[:-1])[..., None] if t.shape in ((), s.shape[:-1]) else t.reshape((1,) * s.ndim)
    total = logistic_sums(safe, jnp.broadcast_to(t, (*s.shape[:-1], 1)), mask, slot, asked)
    # The item itself was counted as a half; where no rank is wanted nothing was.
    total = total + 0.5 if asked is None else jnp.where(asked, total + 0.5, jnp.ones_like(total))
    return _placed(total, s)


def approx_cutoff(
    a: Real[ArrayLike, "*batch n"],
    n: int | Int[Array, "..."] | None = None,
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    step_fn: Callable[[Array], Array] = jax.nn.sigmoid,
) -> Float[Array, "*batch n"]:
    r"""How far each value is among the ``n`` largest of its list, by a step function.

    .. math:: c_i = \operatorname{step}(a_i - t), \quad t = \tfrac{1}{2} (a_{(n)} + a_{(n+1)})

    where :math:`a_{(n)}` is the n-th largest value.

    Args:
      a: any values; metrics hand in the negated ranks.
      n: how many to select, one number or one for each item; None selects all, 0 none.
      where: True at real items; masked items are not selected and do not move the threshold.
      segments: ids of lists within a row, in any order.
      step_fn: an elementwise function that is near 0 below 0 and near 1 above.

    Returns:
      The selection: 1 for every item of a list of at most ``n`` items, 0 at masked places.

    Numerics: the threshold is a constant for gradients.
    Cost: O(n log n).

    >>> print(jnp.array_str(approx_cutoff(jnp.array([-1.0, -2.0, -3.0]), n=1), precision=3))
    [0.622 0.378 0.182]
    """
    values = as_floating(a, "a")
    if n is None:
        return jnp.ones_like(values)
    if isinstance(n, int) and n == 0:
        return jnp.zeros_like(values)
    mask = as_mask(where, values.shape)
    lists = Lists.of(mask, None if segments is None else as_array(segments, "segments"), values.shape)
    safe = neutralise(values, mask)
    place = ranks(safe, where=mask, segments=segments)
    around = lists.sum(jnp.where((place == n) | (place == n + 1), safe, jnp.zeros_like(safe))) / 2
    chosen = step_fn(safe - lax.stop_gradient(lists.spread(around)))
    longer = lists.spread(jnp.broadcast_to(lists.count(jnp.int32), around.shape)) > n
    chosen = jnp.where(longer, chosen, jnp.ones_like(chosen))
    return neutralise(chosen, mask)


BY_THRESHOLD.add(approx_cutoff)
