r"""What a projection pools: how two neighbouring runs of a sorted list compare, and what is kept of their union.

A run has a level, which both solvers only compare: neighbours are pooled until levels increase. For means the level is

.. math:: \bar{s}_B - h (\text{begin}_B + \text{end}_B)

with a slope h: h = T / 2 gives the soft rank at temperature T, h = -1 / (2T), on negated scores, the soft sort, h = 0
isotonic regression. Ranks enter only through positions, so nothing cancels however small T is.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jrank.types import Array

# Up to this many items a mean is kept relative to the first item of its run; beyond it, as a compensated mean.
SHORT = 4096


class Run(NamedTuple):
    """Neighbours in a sorted list.

    Attributes:
      begin: the first place, counted from the beginning of the list, as a float.
      end: the place behind the last.
      kept: the numbers that the rule keeps of a run.
    """

    begin: Array
    end: Array
    kept: tuple[Array, ...]


class Rule(NamedTuple):
    """What is pooled.

    Attributes:
      single: what is kept of one item, from the arrays that describe the items.
      closes: (left, right, slope) to whether the level of the left run is at least that of the right one. Where a run
        holds a place without a score (NaN), it is not.
      join: (left, right, slope, short) to what is kept of the union of two adjacent runs.
    """

    single: Callable[..., tuple[Array, ...]]
    closes: Callable[[Run, Run, Array], Array]
    join: Callable[[Run, Run, Array, bool], tuple[Array, ...]]


def _gap(left: Run, right: Run) -> Array:
    return (right.kept[0] - left.kept[0]) + (right.kept[1] - left.kept[1])


def _mean_closes(left: Run, right: Run, slope: Array) -> Array:
    gap = _gap(left, right)
    # A gap that overflowed, and one next to a place without a score, never closes.
    return (gap <= slope * ((right.end - left.begin) + (right.begin - left.end))) & (jnp.abs(gap) < jnp.inf)


def _moved(left: Run, step: Array, short: bool) -> tuple[Array, Array]:
    """The mean of the left run moved by a step."""
    high, low = left.kept[:2]
    if short:
        return high, low + step
    # Knuth's two-sum: what the rounded mean loses goes to the second number.
    total = high + step
    part = total - high
    return total, low + ((high - (total - part)) + (step - part))


def _mean_join(left: Run, right: Run, slope: Array, short: bool) -> tuple[Array, ...]:
    return _moved(left, _gap(left, right) * ((right.end - left.end) / (right.end - left.begin)), short)


def weight_share(left: Run, right: Run) -> Array:
    """Return the share of the right run in the weight of both, which is the third number that is kept.

    Args:
      left: a run.
      right: its neighbour.
    """
    total = left.kept[2] + right.kept[2]
    # Items without weight are pooled as if all of them had the same, vanishing one.
    some = total > 0
    return jnp.where(some, right.kept[2], right.end - left.end) / jnp.where(some, total, right.end - left.begin)


def _weighted_join(left: Run, right: Run, slope: Array, short: bool) -> tuple[Array, ...]:
    step = _gap(left, right) * weight_share(left, right)
    return *_moved(left, step, short), left.kept[2] + right.kept[2]


# Kept of a run: its mean as an unevaluated sum, and with weights the sum of these.
MEAN = Rule(lambda s: (s, jnp.zeros_like(s)), _mean_closes, _mean_join)
WEIGHTED = Rule(lambda s, w: (s, jnp.zeros_like(s), w), _mean_closes, _weighted_join)
