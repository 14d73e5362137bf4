"""Pool adjacent violators by divide and conquer: log n rounds of array operations, for accelerators.

The list is padded to a power of two. In every round neighbouring nodes L, R that are solved become one: the union is
pooled between a block of L and a block of R, and all blocks outside of that stay. The boundaries are found by comparing
levels alone:

- a block of L is pooled iff its level is at least that of all between it and the last block of R that is not above it;
- given the first pooled block of L, a block of R is pooled iff its level is at most that of all pooled before it.

For that, every place keeps the runs from the beginning of its node to it and from it to the end. They grow by their
sibling's total, so that means have the accuracy of pairwise sums. All rounds are one loop over the width, and every
operation is one of whole arrays, so that there is little to compile.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jrank.sharding import common_variance
from jrank.soft._rules import SHORT, Rule, Run
from jrank.types import Array


class Nodes(NamedTuple):
    """What is known of every place, ``[n]`` each.

    Attributes:
      begin: where its block begins.
      end: where its block ends.
      kept: what the rule keeps of its block.
      before: the same of the run from the beginning of the node to here.
      after: the same of the run from here to the end of the node.
    """

    begin: Array
    end: Array
    kept: tuple[Array, ...]
    before: tuple[Array, ...]
    after: tuple[Array, ...]


@functools.partial(jax.jit, static_argnums=0)
def pool_merge(
    rule: Rule, items: tuple[Array, ...], slope: Array, lower: Array | None
) -> tuple[Array, Array, tuple[Array, ...]]:
    """Find the blocks of one list, or of several that stand one behind the other.

    Args:
      rule: what is pooled.
      items: the arrays that describe the items in sorted order, ``[n]``, the first NaN where there is none.
      slope: the parameter of the rule.
      lower: for each place where its list begins, or None for one list.

    Returns:
      For every place where its block begins and ends, and what the rule keeps of the block; all ``[n]``.

    Cost: O(n log(n)^2) operations in about log(n)^2 / 2 steps, O(n) memory.
    """
    n = items[0].shape[0]
    rounds = (n - 1).bit_length()
    size = 1 << rounds

    def padded(a: Array, fill: float | int) -> Array:
        return jnp.concatenate([a, jnp.full_like(a, fill, shape=(size - n,))]) if size > n else a

    place = lax.iota(jnp.int32, size)
    lower = jnp.zeros_like(place) if lower is None else padded(lower, n)
    items = tuple(padded(a, jnp.nan if i == 0 else 0) for i, a in enumerate(items))
    # What a loop over rounds carries varies over the mesh axes that the items vary over.
    *described, slope, lower, place = common_variance(*items, slope, lower, place)
    kept = rule.single(*described)
    nodes = Nodes(place, place + 1, kept, kept, kept)
    merge = functools.partial(_merged, rule, place=place, lower=lower, slope=slope, short=n <= SHORT)
    nodes = lax.fori_loop(jnp.int32(0), jnp.int32(rounds), merge, nodes)
    return nodes.begin[:n], nodes.end[:n], tuple(a[:n] for a in nodes.kept)


def _merged(rule: Rule, number: Array, nodes: Nodes, *, place: Array, lower: Array, slope: Array, short: bool) -> Nodes:
    """One round: nodes of twice the width."""
    size = place.shape[0]
    width = jnp.left_shift(jnp.int32(1), number)
    first = place & -(2 * width)
    middle = first + width
    is_left = place < middle
    # Several lists: only that which reaches over the middle is pooled, and positions count from its beginning.
    zero = at(lower, middle)
    mine = lower == zero

    def run(begin: Array, end: Array, kept: tuple[Array, ...]) -> Run:
        return Run((begin - zero).astype(kept[0].dtype), (end - zero).astype(kept[0].dtype), kept)

    def block(index: Array) -> Run:
        return run(at(nodes.begin, index), at(nodes.end, index), at(nodes.kept, index))

    def joined(a: Run, b: Run) -> tuple[Array, ...]:
        return rule.join(a, b, slope, short)

    def earliest(candidate: Array, otherwise: Array) -> Array:
        """The first candidate of each node; few places are, so that the minimum is cheap."""
        index = jnp.where(candidate, first, size)
        return at(otherwise.at[index].min(place, mode="drop"), first)

    own = run(nodes.begin, nodes.end, nodes.kept)
    starts = place == nodes.begin
    previous = jnp.maximum(place - 1, 0)
    joins = at(mine, middle - 1) & rule.closes(block(middle - 1), block(middle), slope)

    # Which blocks of L: against all between them and the last block of R that is not above them.
    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        half = (low + high) // 2
        index = jnp.minimum(half, first + 2 * width - 1)
        below = (half < first + 2 * width) & at(mine, index) & rule.closes(own, block(index), slope)
        return jnp.where(below, half + 1, low), jnp.where(below, high, half)

    reach = lax.fori_loop(jnp.int32(0), number + 1, halve, (middle, middle + width))[0]
    tail = run(nodes.end, middle, at(nodes.after, jnp.minimum(nodes.end, size - 1)))
    found = run(middle, reach, at(nodes.before, reach - 1))
    between = _where(nodes.end == middle, found.kept, joined(tail, found))
    between = _where(reach == middle, tail.kept, between)
    pools = is_left & mine & rule.closes(own, run(nodes.end, reach, between), slope)
    pools = pools & starts
    start = earliest(pools & ((place == first) | ~at(pools, at(nodes.begin, previous))), middle)
    start = jnp.where(joins, jnp.minimum(start, at(nodes.begin, middle - 1)), middle)

    # Which blocks of R: against all that is pooled before them.
    top = run(start, middle, at(nodes.after, jnp.minimum(start, size - 1)))
    ahead = run(middle, place, at(nodes.before, previous))
    stays = mine & rule.closes(run(start, place, joined(top, ahead)), own, slope)
    stays = stays | (place == middle)
    stops = starts & ~is_left & ~stays & at(stays, at(nodes.begin, previous))
    stop = earliest(stops, first + 2 * width)
    stop = jnp.where(joins, stop, middle)

    pooled = joined(top, run(middle, stop, at(nodes.before, stop - 1)))
    inside = (place >= start) & (place < stop)
    total_l, total_r = (
        run(first, middle, at(nodes.before, middle - 1)),
        run(middle, first + 2 * width, at(nodes.after, middle)),
    )
    return Nodes(
        jnp.where(inside, start, nodes.begin),
        jnp.where(inside, stop, nodes.end),
        _where(inside, pooled, nodes.kept),
        _where(is_left, nodes.before, joined(total_l, run(middle, place + 1, nodes.before))),
        _where(is_left, joined(run(place, middle, nodes.after), total_r), nodes.after),
    )


def _where(condition: Array, a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(jnp.where(condition, x, y) for x, y in zip(a, b, strict=True))


def at(table: Any, index: Array) -> Any:
    """Look up entries of an array, or of several.

    Args:
      table: ``[n]`` each.
      index: int32 within range.
    """
    return jax.tree.map(lambda a: a.at[index].get(mode="promise_in_bounds"), table)
