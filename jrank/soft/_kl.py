r"""Exact soft rank and sort by entropic (log-KL) projection onto the permutahedron.

A block keeps its extreme score m and the sum of exp of the differences to it, so that every exponent is <= 0 and the
differences are taken before the division by the temperature.
"""

import jax.numpy as jnp
from jax import lax

from jrank.arrays import neutralise, take_last
from jrank.soft._blocks import at_items, block_mean
from jrank.soft._l2 import centres
from jrank.soft._lists import sort_lists, sorted_scores
from jrank.soft._rules import Rule, Run
from jrank.soft._solve import solve
from jrank.types import Array


def _rank_sum(run: Run) -> Array:
    return (run.end - run.begin) * ((run.begin + run.end + 1) / 2)


def _rank_closes(left: Run, right: Run, temperature: Array) -> Array:
    decay = jnp.exp((left.kept[0] - right.kept[0]) / temperature)
    return left.kept[1] * decay * _rank_sum(right) >= right.kept[1] * _rank_sum(left)


def _rank_join(left: Run, right: Run, temperature: Array, short: bool) -> tuple[Array, ...]:
    return right.kept[0], right.kept[1] + left.kept[1] * jnp.exp((left.kept[0] - right.kept[0]) / temperature)


def _geometric(length: Array, rate: Array) -> Array:
    """1 + e^-rate + ... + e^-rate (length - 1)."""
    return jnp.expm1(-length * rate) / jnp.expm1(-rate)


def _sort_closes(left: Run, right: Run, rate: Array) -> Array:
    growth = jnp.exp((right.begin - left.begin) * rate - (right.kept[0] - left.kept[0]))
    mine, other = (_geometric(run.end - run.begin, rate) for run in (left, right))
    return mine * right.kept[1] * growth <= other * left.kept[1]


def _sort_join(left: Run, right: Run, rate: Array, short: bool) -> tuple[Array, ...]:
    return left.kept[0], left.kept[1] + right.kept[1] * jnp.exp(left.kept[0] - right.kept[0])


def _single(s: Array) -> tuple[Array, ...]:
    return s, jnp.ones_like(s)


# Kept of a run: its largest score (for the sort its smallest) and the sum of exp of the differences to that.
RANK = Rule(_single, _rank_closes, _rank_join)
SORT = Rule(_single, _sort_closes, _sort_join)


def decayed(difference: Array, temperature: Array) -> Array:
    """Return exp(difference / temperature), with derivatives that stay finite where that is 0.

    Args:
      difference: numbers <= 0, or NaN where there is none, which gives 1.
      temperature: positive, a scalar.
    """
    far = difference < -200 * temperature
    near = jnp.where(far | jnp.isnan(difference), jnp.zeros_like(difference), difference)
    return jnp.where(far, jnp.zeros_like(difference), jnp.exp(near / temperature))


def rank_kl(
    x: Array, temperature: Array, where: Array | None, slot: Array | None = None, *, backend: str = "xla"
) -> Array:
    """Return ascending soft ranks of one list: projection of x / T onto the logarithms of the permutations of 1..n.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      slot: the list of each item, or None for one list.
      backend: see ``rank``.
    """
    s, order, lower = sort_lists(x, where, slot, backend)
    blocks = solve((s,), order, temperature, rule=RANK, lower=lower, backend=backend)
    share = decayed(neutralise(x, where) - at_items(blocks.kept[0], blocks.ids), temperature)
    return at_items(centres(blocks, x.dtype), blocks.ids) * (share / block_mean(share, blocks))


def sort_kl(x: Array, temperature: Array, where: Array | None, *, backend: str = "xla") -> Array:
    """Return ascending soft sorted values of one list, minus the descending ones of -x.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      backend: see ``sort``.
    """
    s, order = sorted_scores(x, where, backend)
    place = lax.iota(jnp.int32, x.shape[0])
    rate = jnp.maximum(1 / temperature, float(jnp.finfo(x.dtype).tiny) ** 0.5)
    blocks = solve((s,), place, rate, rule=SORT, backend=backend)
    low = at_items(blocks.kept[0], blocks.ids)
    values = take_last(neutralise(x, where), order)
    one = jnp.ones((), x.dtype)
    share = decayed(low - values, one)
    length = at_items(blocks.length, blocks.ids).astype(x.dtype)
    # Both means are exactly 1 for a value alone in its block, which is therefore kept as it is.
    reach = -jnp.expm1(-jnp.minimum(length * rate, 200)) / (-jnp.expm1(-jnp.minimum(rate, 200)) * length)
    offset = (place - at_items(blocks.begin, blocks.ids)).astype(x.dtype) * rate
    return low + offset + (jnp.log(reach) - jnp.log(block_mean(share, blocks)))
