r"""Pool adjacent violators: the solver behind the exact projections.

A block is a run of neighbours that share one value. Blocks A, B (left, right) are merged where

.. math:: \bar{s}_B - \bar{s}_A \le h (|A| + |B|)

with the block means of the sorted scores and a slope h. h = T / 2 gives the soft rank at temperature T, h = -1 / (2T),
on negated scores, the soft sort, h = 0 isotonic regression: ranks enter only through block lengths, so nothing cancels
however small T is. Which items are in which block is piecewise constant; the operators put the blocks into closed forms
that autodiff handles, hence no gradient passes here.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jrank.sharding import common_variance
from jrank.types import Array

Pair = tuple[Array, Array]

# Up to this many items a mean is kept relative to the first item of its block; beyond it, as a compensated mean.
SHORT = 4096


class Blocks(NamedTuple):
    """The blocks of one list. The mean of a block is the unevaluated sum ``high + low``; other rules keep other pairs.

    Attributes:
      ids: for each item, where its block stands in the tables; the items in the order of the input.
      begin: table, the sorted position at which the block begins, counted from the beginning of its list.
      length: table, how many items the block has; 0 where the table holds no block.
      high: table, the first number that the rule keeps, for means their leading part.
      low: table, the second number, for means the rest.
      order: the order in which the items of a block stand together.
    """

    ids: Array
    begin: Array
    length: Array
    high: Array
    low: Array
    order: Array


class Cut(NamedTuple):
    """Where two neighbouring blocks lie: places from the beginning of their list, as floats; the last is exclusive."""

    begin: Array
    middle: Array
    end: Array


class Rule(NamedTuple):
    """What a projection pools, and what it keeps of a block: a pair of numbers.

    Attributes:
      closes: (left, right, cut, slope) to whether the two blocks become one.
      join: (left, right, cut, slope, short) to the pair of the joined block. A single score x has the pair (x, first).
      first: the second number of a block of one.
    """

    closes: Callable[[Pair, Pair, Cut, Array], Array]
    join: Callable[[Pair, Pair, Cut, Array, bool], Pair]
    first: float


def _gap(left: Pair, right: Pair) -> Array:
    return (right[0] - left[0]) + (right[1] - left[1])


def _mean_closes(left: Pair, right: Pair, cut: Cut, slope: Array) -> Array:
    gap = _gap(left, right)
    # A gap that overflowed, and one next to a place without a score (NaN), never closes.
    return (gap <= slope * (cut.end - cut.begin)) & (jnp.abs(gap) < jnp.inf)


def _mean_join(left: Pair, right: Pair, cut: Cut, slope: Array, short: bool) -> Pair:
    step = _gap(left, right) * ((cut.end - cut.middle) / (cut.end - cut.begin))
    if short:
        return left[0], left[1] + step
    # Knuth's two-sum: what the rounded mean loses goes to the second number.
    total = left[0] + step
    part = total - left[0]
    return total, left[1] + ((left[0] - (total - part)) + (step - part))


# The pair of a block is its mean, as an unevaluated sum.
MEAN = Rule(_mean_closes, _mean_join, 0.0)


def _stack(s: Array, slope: Array, lower: Array | None, rule: Rule) -> tuple[Array, Array, Array, Array]:
    """One pass over the sorted scores: how many blocks there are, and their begin, high and low."""
    n, dtype = s.shape[0], s.dtype
    short = n <= SHORT

    def outer(i: Array, carry: tuple) -> tuple:
        count, begin, high, low = carry
        floor = jnp.zeros_like(i) if lower is None else lower[i]

        def look(inner: tuple) -> tuple[Array, Pair, Pair, Cut]:
            top = jnp.maximum(inner[0] - 1, 0)
            place = begin[top]
            cut = Cut(*((p - floor).astype(dtype) for p in (place, inner[1], i + 1)))
            return place, (high[top], low[top]), inner[2:], cut

        def pooled(inner: tuple) -> Array:
            _, left, right, cut = look(inner)
            return (inner[1] > floor) & rule.closes(left, right, cut, slope)

        def pool(inner: tuple) -> tuple:
            place, left, right, cut = look(inner)
            return inner[0] - 1, place, *rule.join(left, right, cut, slope, short)

        # Only scalars are carried through the inner loop: the arrays are read there, and written once per item.
        score, here = common_variance(s[i], i)
        inner = (count, here, score, jnp.full_like(score, rule.first))
        count, *top = lax.while_loop(pooled, pool, inner)
        put = [a.at[count].set(v, mode="promise_in_bounds") for a, v in zip((begin, high, low), top, strict=True)]
        return count + 1, *put

    places = jnp.zeros_like(s, jnp.int32)
    start = (jnp.sum(places, dtype=jnp.int32), places, jnp.zeros_like(s), jnp.zeros_like(s))
    return lax.fori_loop(jnp.int32(0), jnp.int32(n), outer, start)


def _spread(order: Array, count: Array, begin: Array) -> Array:
    """Write the number of its block to every item, in the order of the input."""
    n = order.shape[0]

    def body(t: Array, carry: tuple) -> tuple:
        block, ids = carry
        i = n - 1 - t
        ids = ids.at[order[i]].set(block, mode="promise_in_bounds", unique_indices=True)
        return jnp.where(begin[block] == i, block - 1, block), ids

    return lax.fori_loop(jnp.int32(0), jnp.int32(n), body, (count - 1, jnp.zeros_like(order)))[1]


def _solve(rule: Rule, s: Array, order: Array, slope: Array, *lower: Array) -> Blocks:
    s, order, slope, *rest = common_variance(s, order, slope, *lower)
    count, begin, high, low = _stack(s, slope, rest[0] if rest else None, rule)
    ids = _spread(order, count, begin)
    n = s.shape[0]
    place = lax.iota(jnp.int32, n)
    after = jnp.concatenate([begin[1:], begin[:1]])
    end = jnp.where(place == count - 1, n, after)
    length = jnp.where(place < count, end - begin, 0)
    if rest:
        begin = begin - rest[0].at[begin].get(mode="promise_in_bounds")
    return Blocks(ids, begin, length, high, low, order)


@functools.cache
def _solve_rows(rule: Rule) -> Callable[..., Blocks]:
    # A batch is solved list by list: a loop of scalars is faster on CPU than one that moves all lists in lockstep,
    # where every list waits for the one that pools most.
    return jax.custom_batching.sequential_vmap(functools.partial(_solve, rule))


def solve(s: Array, order: Array, slope: Array, *, rule: Rule = MEAN, lower: Array | None = None) -> Blocks:
    """Find the blocks of one list.

    Args:
      s: scores in sorted order, NaN where there is none; ``[n]``, n >= 1.
      order: int32 permutation that sorted them.
      slope: how much gap closes per item, a scalar; other rules than the mean give it another meaning.
      rule: what is pooled.
      lower: int32, for each sorted position where its list begins, if the array holds several; no block crosses lists.

    Returns:
      The blocks, a place without a score in a block of its own; no gradient passes.

    Cost: O(n) time and memory.
    """
    given = (s, order, slope) if lower is None else (s, order, slope, lower)
    return _solve_rows(rule)(*map(lax.stop_gradient, given))
