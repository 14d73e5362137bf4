r"""Pool adjacent violators by divide and conquer: log n rounds of array operations, for accelerators.

The list is padded to a power of two. In every round neighbouring halves L, R that are solved become one: the union is
pooled between a block of L and a block of R, and all blocks outside of that stay. The boundaries are found by comparing
levels alone:

- a block of L is pooled iff its level is at least that of all between it and the last block of R that is not above it;
- given the first pooled block of L, a block of R is pooled iff its level is at most that of all pooled before it.

For that, every place keeps the runs from the beginning of its node to it and from it to the end. They grow by their
sibling's total, so that means have the accuracy of pairwise sums.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jrank.soft._rules import SHORT, Rule, Run
from jrank.types import Array

# Up to this width a position is found by comparing with all at once, beyond it by bisection.
DENSE = 16


class Nodes(NamedTuple):
    """What is known of every place: ``[n]``, or of one half of every node ``[nodes, width]``.

    Attributes:
      place: its number.
      lower: where its list begins.
      begin: where its block begins.
      end: where its block ends.
      kept: what the rule keeps of its block.
      before: the same of the run from the beginning of the node to here.
      after: the same of the run from here to the end of the node.
    """

    place: Array
    lower: Array
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
    size = 1 << (n - 1).bit_length()

    def padded(a: Array, fill: float | int) -> Array:
        return jnp.concatenate([a, jnp.full_like(a, fill, shape=(size - n,))]) if size > n else a

    place = lax.iota(jnp.int32, size)
    lower = jnp.zeros_like(place) if lower is None else padded(lower, n)
    kept = rule.single(*(padded(a, jnp.nan if i == 0 else 0) for i, a in enumerate(items)))
    nodes = Nodes(place, lower, place, place + 1, kept, kept, kept)
    width = 1
    while width < size:
        nodes = _merged(rule, nodes, slope, width, n <= SHORT)
        width *= 2
    return nodes.begin[:n], nodes.end[:n], tuple(a[:n] for a in nodes.kept)


def _merged(rule: Rule, nodes: Nodes, slope: Array, width: int, short: bool) -> Nodes:
    """One round: nodes of twice the width."""
    pairs = jax.tree.map(lambda a: a.reshape(-1, 2, width), nodes)
    left, right = (jax.tree.map(lambda a, i=i: a[:, i], pairs) for i in (0, 1))
    first, middle, zero = left.place[:, :1], right.place[:, :1], right.lower[:, :1]
    index = lax.iota(jnp.int32, width)[None, :]
    # Several lists: only that which reaches over the middle is pooled, and positions count from its beginning.
    mine_l, mine_r = left.lower == zero, right.lower == zero

    def run(begin: Array, end: Array, kept: tuple[Array, ...]) -> Run:
        shape = jnp.broadcast_shapes(begin.shape, end.shape, kept[0].shape)
        begin, end = (jnp.broadcast_to(p - zero, shape).astype(kept[0].dtype) for p in (begin, end))
        return Run(begin, end, tuple(jnp.broadcast_to(a, shape) for a in kept))

    def joined(a: Run, b: Run) -> tuple[Array, ...]:
        return rule.join(a, b, slope, short)

    block_l, block_r = (run(half.begin, half.end, half.kept) for half in (left, right))
    joins = mine_l[:, -1:] & rule.closes(_columns(block_l, -1, None), _columns(block_r, 0, 1), slope)

    # Which blocks of L: against all between them and the last block of R below them.
    below = _count(rule, block_l, block_r, mine_r, slope)
    rest = left.end - first
    tail = run(left.end, middle, _take(left.after, jnp.minimum(rest, width - 1)))
    found = run(middle, middle + below, _take(right.before, jnp.maximum(below - 1, 0)))
    both = joined(tail, found)
    between = _where(below == 0, tail.kept, _where(rest == width, found.kept, both))
    pools = mine_l & (left.place == left.begin) & rule.closes(block_l, run(left.end, middle + below, between), slope)
    start = jnp.min(jnp.where(pools, index, width), axis=1, keepdims=True)
    start = jnp.where(joins, jnp.minimum(start, left.begin[:, -1:] - first), width)

    # Which blocks of R: against all that is pooled before them.
    top = run(first + start, middle, _take(left.after, jnp.minimum(start, width - 1)))
    ahead = run(middle, right.place[:, 1:], tuple(a[:, :-1] for a in right.before))
    grown = run(first + start, right.place[:, 1:], joined(_spread(top, ahead), ahead))
    stays = mine_r[:, 1:] & rule.closes(grown, _columns(block_r, 1, None), slope)
    stops = (right.place == right.begin)[:, 1:] & ~stays
    stop = jnp.min(jnp.where(stops, index[:, 1:], width), axis=1, keepdims=True, initial=width)
    stop = jnp.where(joins, stop, 0)

    pooled = joined(top, run(middle, middle + stop, _take(right.before, jnp.maximum(stop - 1, 0))))
    inside_l, inside_r = index >= start, index < stop
    total_l = run(first, middle, tuple(a[:, -1:] for a in left.before))
    total_r = run(middle, middle + width, tuple(a[:, :1] for a in right.after))
    heads = run(middle, right.place + 1, right.before)
    tails = run(left.place, middle, left.after)
    new_l = Nodes(
        left.place,
        left.lower,
        jnp.where(inside_l, first + start, left.begin),
        jnp.where(inside_l, middle + stop, left.end),
        _where(inside_l, pooled, left.kept),
        left.before,
        joined(tails, _spread(total_r, tails)),
    )
    new_r = Nodes(
        right.place,
        right.lower,
        jnp.where(inside_r, first + start, right.begin),
        jnp.where(inside_r, middle + stop, right.end),
        _where(inside_r, pooled, right.kept),
        joined(_spread(total_l, heads), heads),
        right.after,
    )
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1).reshape(-1), new_l, new_r)


def _where(condition: Array, a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(jnp.where(condition, x, y) for x, y in zip(a, b, strict=True))


def _take(kept: tuple[Array, ...], index: Array) -> tuple[Array, ...]:
    return tuple(jnp.take_along_axis(a, index, axis=1, mode="promise_in_bounds") for a in kept)


def _columns(run: Run, begin: int, end: int | None) -> Run:
    return jax.tree.map(lambda a: a[:, begin:end], run)


def _spread(run: Run, like: Run) -> Run:
    """One run for every node, as many times as there are columns."""
    return jax.tree.map(lambda a: jnp.broadcast_to(a, like.begin.shape), run)


def _count(rule: Rule, left: Run, right: Run, valid: Array, slope: Array) -> Array:
    """For each item of L, how many of R have a level at or below its own."""
    width = valid.shape[1]
    if width <= DENSE:
        a, b = jax.tree.map(lambda x: x[:, :, None], left), jax.tree.map(lambda x: x[:, None, :], right)
        return jnp.sum(rule.closes(a, b, slope) & valid[:, None, :], axis=-1, dtype=jnp.int32)

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) // 2
        at = jnp.minimum(middle, width - 1)
        there = Run(*_take(tuple(right[:2]), at), _take(right.kept, at))
        below = (middle < width) & _take((valid,), at)[0] & rule.closes(left, there, slope)
        return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

    none = jnp.zeros_like(left.begin, jnp.int32)
    return lax.fori_loop(jnp.int32(0), jnp.int32(width.bit_length()), halve, (none, none + width))[0]
