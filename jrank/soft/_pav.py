r"""Pool adjacent violators: the solver behind the exact projections.

A block is a run of neighbours that share one value. Blocks A, B (left, right) are merged where

.. math:: \bar{s}_B - \bar{s}_A \le h (|A| + |B|)

with the block means of the sorted scores and a slope h. h = T / 2 gives the soft rank at temperature T, h = -1 / (2T),
on negated scores, the soft sort, h = 0 isotonic regression: ranks enter only through block lengths, so nothing cancels
however small T is. Which items are in which block is piecewise constant; the operators put the blocks into closed forms
that autodiff handles, hence no gradient passes here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jrank.sharding import common_variance
from jrank.types import Array

# Up to this many items a mean is kept relative to the first item of its block; beyond it, as a compensated mean.
SHORT = 4096


class Blocks(NamedTuple):
    """The blocks of one list. The mean of a block is the unevaluated sum ``high + low``.

    Attributes:
      ids: for each item, where its block stands in the tables; the items in the order of the input.
      begin: table, the sorted position at which the block begins.
      length: table, how many items the block has; 0 where the table holds no block.
      high: table, the leading part of the mean.
      low: table, the rest of the mean.
      order: the order in which the items of a block stand together.
    """

    ids: Array
    begin: Array
    length: Array
    high: Array
    low: Array
    order: Array


def _stack(s: Array, slope: Array, lower: Array | None) -> tuple[Array, Array, Array, Array]:
    """One pass over the sorted scores: how many blocks there are, and their begin, high and low."""
    n, dtype = s.shape[0], s.dtype
    short = n <= SHORT

    def look(i: Array, state: list[Array], count: Array, start: Array, high: Array, low: Array) -> tuple:
        top = jnp.maximum(count - 1, 0)
        left_start, left_high = state[0][top], state[1][top]
        left_low = state[2][top]
        gap = (high - left_high) + (low - left_low)
        size = (i + 1 - left_start).astype(dtype)
        return left_start, left_high, left_low, gap, size

    def outer(i: Array, carry: tuple) -> tuple:
        count, state = carry[0], list(carry[1:])
        floor = 0 if lower is None else lower[i]

        def pooled(inner: tuple) -> Array:
            *_, gap, size = look(i, state, *inner)
            # A gap that overflowed, and one next to a place without a score (NaN), never closes.
            return (inner[1] > floor) & (gap <= slope * size) & (gap < jnp.inf) & (gap > -jnp.inf)

        def pool(inner: tuple) -> tuple:
            left_start, high, low, gap, size = look(i, state, *inner)
            step = gap * ((i + 1 - inner[1]).astype(dtype) / size)
            if short:
                return inner[0] - 1, left_start, high, low + step
            # Knuth's two-sum: what the rounded mean loses goes to the low part.
            total = high + step
            part = total - high
            low = low + ((high - (total - part)) + (step - part))
            return inner[0] - 1, left_start, total, low

        # Only scalars are carried through the inner loop: the arrays are read there, and written once per item.
        score, here = common_variance(s[i], i)
        count, start, high, low = lax.while_loop(pooled, pool, (count, here, score, jnp.zeros_like(score)))
        stacks = zip(state, (start, high, low), strict=True)
        return count + 1, *(a.at[count].set(v, mode="promise_in_bounds") for a, v in stacks)

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


def _solve(s: Array, order: Array, slope: Array, *lower: Array) -> Blocks:
    s, order, slope, *rest = common_variance(s, order, slope, *lower)
    count, begin, high, low = _stack(s, slope, rest[0] if rest else None)
    ids = _spread(order, count, begin)
    n = s.shape[0]
    place = lax.iota(jnp.int32, n)
    after = jnp.concatenate([begin[1:], begin[:1]])
    end = jnp.where(place == count - 1, n, after)
    length = jnp.where(place < count, end - begin, 0)
    return Blocks(ids, begin, length, high, low, order)


# A batch is solved list by list: a loop of scalars is faster on CPU than one that moves all lists in lockstep, where
# every list waits for the one that pools most.
_solve_rows = jax.custom_batching.sequential_vmap(_solve)


def solve(s: Array, order: Array, slope: Array, lower: Array | None = None) -> Blocks:
    """Find the blocks of one list.

    Args:
      s: scores in sorted order, NaN where there is none; ``[n]``, n >= 1.
      order: int32 permutation that sorted them.
      slope: how much gap closes per item, a scalar.
      lower: int32, for each sorted position where its list begins, if the array holds several; no block crosses lists.

    Returns:
      The blocks, a place without a score in a block of its own; no gradient passes.

    Cost: O(n) time and memory.
    """
    given = (s, order, slope) if lower is None else (s, order, slope, lower)
    return _solve_rows(*map(lax.stop_gradient, given))
