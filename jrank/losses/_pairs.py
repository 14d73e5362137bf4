"""Sums over the pairs of a list, tile by tile: nothing of size n² is ever held.

The items of a list are put in the order of their labels, so that the preferred item of a pair comes first and only the
tiles on and above the diagonal matter. Value and slope come from one visit of a pair: a gradient costs no second sweep.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jrank.arrays import ordered_key, segment_sum, take_last
from jrank.metrics._lists import Lists, iota_like
from jrank.types import Array

__all__ = [
    "PairLoss",
    "PairWeights",
    "count_pairs",
    "finite_scores",
    "label_order",
    "pair_sums",
    "pairs_after",
    "without_bound",
]

TILE_ITEMS = 1 << 19


def finite_scores(scores: Array) -> Array:
    """Put large finite numbers in the place of infinite scores, so that all differences are numbers.

    Args:
      scores: floating.
    """
    large = jnp.asarray(jnp.finfo(scores.dtype).max / 8, scores.dtype)
    return jnp.clip(scores, -large, large)


def without_bound(total: Array, unseen: Array) -> Array:
    """Make a sum of losses of ``finite_scores`` infinite where it holds the difference of an infinite score.

    Args:
      total: sums of losses.
      unseen: which of them are of lists, or items, with a score of -inf.
    """
    large = jnp.asarray(jnp.finfo(total.dtype).max / 32, total.dtype)
    return jnp.where(unseen & (total > large), jnp.asarray(jnp.inf, total.dtype), total)


@dataclasses.dataclass(frozen=True)
class PairLoss:
    """A loss of a pair of items.

    Args:
      parts: ``(x, dy) -> (value, slope)``, where x is the difference of the scores, dy that of the labels and the slope
        is the derivative of the value with respect to x. Elementwise.
      pairs: which pairs count. "ordered": those with different labels, the item with the larger label first.
        "symmetric": every pair in both directions, with one and the same value, and that of an item with itself with
        value 0. "all": every pair of two items in both directions.
    """

    parts: Callable[[Array, Array], tuple[Array, Array]]
    pairs: Literal["ordered", "symmetric", "all"] = "ordered"

    @property
    def ordered(self) -> bool:
        """Whether labels decide which item of a pair is the first."""
        return self.pairs == "ordered"


@dataclasses.dataclass(frozen=True)
class PairWeights:
    """Weights of pairs from a few numbers per item.

    Args:
      fn: ``(first, second) -> weight``: the numbers of the preferred item and of the other. Elementwise.
    """

    fn: Callable[[tuple[Array, ...], tuple[Array, ...]], Array]


def label_order(labels: Array, lists: Lists) -> tuple[Array, Array, Array | None]:
    """Sort by list, then by descending label, masked items last.

    Args:
      labels: ``[..., n]``.
      lists: the lists.

    Returns:
      The order, the sorted label keys, and the sorted lists or None.
    """
    key = ~ordered_key(labels)
    if lists.where is not None:
        key = jnp.where(lists.where, key, jnp.asarray(jnp.iinfo(key.dtype).max, key.dtype))
    if lists.slot is None:
        key, order = lax.sort((key, iota_like(key)), dimension=-1, num_keys=1, is_stable=True)
        return order, key, None
    last = jnp.asarray(lists.size, jnp.int32)
    slot = lists.slot if lists.where is None else jnp.where(lists.where, lists.slot, last)
    slot, key, order = lax.sort((slot, key, iota_like(key)), dimension=-1, num_keys=2, is_stable=True)
    return order, key, slot


def pairs_after(loss: PairLoss, order: Array, key: Array, slot: Array | None, lists: Lists) -> tuple[Array, Array]:
    """Which items each item is the first of a pair with, in the order of the labels: from where, and how many.

    Args:
      loss: the pair loss.
      order: what ``label_order`` returns.
      key: the same.
      slot: the same.
      lists: the lists, in the order of the input.

    Returns:
      The first place and the count, int32; 0 for masked items. For pairs in both directions the item itself stands
      among them.
    """
    place = iota_like(order)
    n = order.shape[-1]
    end = jnp.asarray(n, jnp.int32)

    def last_of(change: Array) -> Array:
        closing = jnp.concatenate([change, jnp.ones_like(place[..., :1], bool)], axis=-1)[..., :n]
        return lax.cummin(jnp.where(closing, place, end), axis=place.ndim - 1, reverse=True)

    change = key[..., 1:] != key[..., :-1]
    begin = jnp.zeros_like(place)
    if slot is not None:
        new_list = slot[..., 1:] != slot[..., :-1]
        change |= new_list
        final = last_of(new_list)
        fresh = jnp.concatenate([jnp.ones_like(place[..., :1], bool), new_list], axis=-1)[..., :n]
        begin = lax.cummax(jnp.where(fresh, place, begin), axis=place.ndim - 1)
    elif lists.where is not None:
        final = jnp.broadcast_to(jnp.sum(lists.where, axis=-1, keepdims=True, dtype=jnp.int32) - 1, place.shape)
    else:
        final = jnp.broadcast_to(end - 1, place.shape)
    if loss.ordered:
        # Items of a list that come after the last item with the same label have a smaller label.
        begin = last_of(change) + 1
    count = final + 1 - begin - (1 if loss.pairs == "all" else 0)
    if lists.where is not None:
        count = jnp.where(take_last(lists.where, order), count, jnp.zeros_like(count))
    return begin, jnp.maximum(count, jnp.zeros_like(count))


def count_pairs(loss: PairLoss, labels: Array, lists: Lists) -> Array:
    """Count the pairs of each list that a pair loss sums over.

    Args:
      loss: the pair loss.
      labels: ``[..., n]``.
      lists: the lists.

    Returns:
      One floating count per list.

    Cost: one sort.
    """
    if not loss.ordered:
        one = lists.sum(jnp.ones_like(labels))
        return one * one if loss.pairs == "symmetric" else one * (one - 1)
    order, key, slot = label_order(labels, lists)
    _, count = pairs_after(loss, order, key, slot, lists)
    return lists.take(order).sum(count.astype(labels.dtype))


def pair_sums(
    loss: PairLoss,
    scores: Array,
    labels: Array,
    lists: Lists,
    weights: Array | None = None,
    pair_weights: PairWeights | None = None,
    features: tuple[Array, ...] = (),
) -> Array:
    """Sum a pair loss over the pairs of each list.

    Args:
      loss: the pair loss.
      scores: ``[..., n]``, 0 at masked places.
      labels: ``[..., n]``.
      lists: the lists.
      weights: one weight per item: that of the first item of a pair; or None.
      pair_weights: weights of pairs, or None.
      features: the numbers per item that ``pair_weights`` takes, ``[..., n]`` each.

    Returns:
      One sum per list.

    Cost: O(n²) time, O(n) memory beside one tile; with segments O(n m) time for lists of at most m items.
    """
    order, key, slot = label_order(labels, lists)
    if not loss.ordered:
        key = iota_like(order).astype(key.dtype)

    def sort(x: Any) -> Any:
        return jax.tree.map(lambda a: take_last(a, order), x)

    most, least = jnp.iinfo(key.dtype).max, jnp.iinfo(key.dtype).min
    # A pair counts if the first key is below the second: never with a masked item.
    first = second = key
    if lists.where is not None:
        mask = sort(lists.where)
        first, second = (jnp.where(mask, key, jnp.asarray(edge, key.dtype)) for edge in (most, least))
    items = _Items(sort(finite_scores(scores)), sort(labels), sort(weights), sort(features), first, second, slot)
    batch, n = scores.shape[:-1], scores.shape[-1]
    if n == 0:
        return lists.sum(scores)
    width = math.isqrt(TILE_ITEMS // max(1, math.prod(batch)))
    tile = min(n, max(16, width // 16 * 16))
    steps = None if slot is None else _steps(slot, lists.size, tile)

    def one(items: _Items) -> Array:
        return _row_sum(loss, pair_weights, tile, *items[:4], items[4:], steps)

    for _ in batch:
        one = jax.vmap(one)
    return without_bound(one(items), lists.max((scores == -jnp.inf).astype(scores.dtype)) > 0)


class _Items(NamedTuple):
    """What a tile needs to know of each item of a row, or of a block of it."""

    s: Array
    y: Array
    w: Array | None
    f: tuple[Array, ...]
    first: Array
    second: Array
    slot: Array | None


def _tiles(n: int, tile: int) -> list[tuple[int, int]]:
    """The tiles on and above the diagonal, those next to it first."""
    count = -(-n // tile)
    return [(i, i + offset) for offset in range(count) for i in range(count - offset)]


def _steps(slot: Array, size: int, tile: int) -> Array:
    """How many of the tiles hold pairs: only those not farther from the diagonal than a list is long."""
    n = slot.shape[-1]
    place = iota_like(slot)
    change = jnp.concatenate([slot[..., 1:] != slot[..., :-1], jnp.ones_like(slot[..., :1], bool)], axis=-1)
    last = lax.cummin(jnp.where(change, place, jnp.asarray(n, jnp.int32)), axis=place.ndim - 1, reverse=True)
    reach = jnp.max(jnp.where(slot < size, last // tile - place // tile, jnp.zeros_like(place)))
    return (reach + 1) * (-(-n // tile)) - reach * (reach + 1) // 2


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _row_sum(loss, pair_weights, tile, s, y, w, f, keys, steps):
    rows, _ = _sweep(loss, pair_weights, tile, False, _Items(s, y, w, f, *keys), steps)
    return _gather(rows, keys[2])


def _row_sum_jvp(loss, pair_weights, tile, primals, tangents):
    *values, keys, steps = primals

    def still(tangent: Any) -> bool:
        return isinstance(tangent, SymbolicZero)

    if all(map(still, jax.tree.leaves(tangents[1:4], is_leaf=still))):
        rows, slopes = _sweep(loss, pair_weights, tile, True, _Items(*values, *keys), steps)
        total = _gather(rows, keys[2])
        moved = jnp.zeros_like(rows) if still(tangents[0]) else tangents[0]
        return total, _gather(slopes * moved, keys[2])

    # Labels or weights are differentiated too: plain code, recomputed tile by tile in a reverse pass.
    def plain(*values: Any) -> Array:
        rows, _ = _sweep(loss, pair_weights, tile, False, _Items(*values, *keys), None)
        return _gather(rows, keys[2])

    moved = jax.tree.map(lambda t, p: jnp.zeros_like(p) if still(t) else t, tangents[:4], tuple(values), is_leaf=still)
    return jax.jvp(plain, tuple(values), moved)


_row_sum.defjvp(_row_sum_jvp, symbolic_zeros=True)


def _gather(rows: Array, slot: Array | None) -> Array:
    return jnp.sum(rows) if slot is None else segment_sum(rows, slot, rows.shape[0])


def _sweep(
    loss: PairLoss, pair_weights: PairWeights | None, tile: int, with_slopes: bool, items: _Items, steps: Array | None
) -> tuple[Array, Array]:
    """Visit the tiles; return the losses, at the first item of each pair, and the slopes of the scores."""
    n = items.s.shape[0]
    count = -(-n // tile)
    edge = jnp.iinfo(items.first.dtype)
    fill = jax.tree.map(lambda a: jnp.zeros((), a.dtype), items)
    most, least = (jnp.asarray(value, items.first.dtype) for value in (edge.max, edge.min))
    fill = fill._replace(first=most, second=least)
    blocks = jax.tree.map(
        lambda a, v: jnp.pad(a, (0, count * tile - n), constant_values=v).reshape(count, tile), items, fill
    )

    def visit(a: _Items, b: _Items) -> tuple[Array, Array, Array]:
        a, b = jax.tree.map(lambda x: x[:, None], a), jax.tree.map(lambda x: x[None, :], b)
        counts = a.first < b.second
        if a.slot is not None:
            counts &= a.slot == b.slot
        value, slope = loss.parts(a.s - b.s, a.y - b.y)
        forth = _scale(pair_weights, a, b)
        if loss.ordered:
            if forth is not None:
                value, slope = value * forth, slope * forth
        else:
            # Both directions of the pair at once.
            back = _scale(pair_weights, b, a)
            forth, back = (jnp.ones_like(value) if x is None else x for x in (forth, back))
            if loss.pairs == "symmetric":
                value, slope = value * (forth + back), slope * (forth + back)
            else:
                value_back, slope_back = loss.parts(b.s - a.s, b.y - a.y)
                value, slope = value * forth + value_back * back, slope * forth - slope_back * back
        value = jnp.where(counts, value, jnp.zeros_like(value))
        slope = jnp.where(counts, slope, jnp.zeros_like(slope))
        if with_slopes:
            # Two sums read the slopes: without the barrier XLA computes the exponentials for each of them again.
            slope = lax.optimization_barrier(slope)
        return jnp.sum(value, axis=1), jnp.sum(slope, axis=1), -jnp.sum(slope, axis=0)

    if count == 1:
        only = jax.tree.map(lambda x: x[0], blocks)
        value, up, down = visit(only, only)
        return value[:n], (up + down)[:n]

    index = jnp.asarray(_tiles(n, tile), jnp.int32)
    start = jnp.zeros_like(blocks.s)

    def step(carry: tuple[Array, Array], at: Array) -> tuple[tuple[Array, Array], None]:
        i, j = at
        value, up, down = visit(*(jax.tree.map(lambda x, at=at: x[at], blocks) for at in (i, j)))
        rows, slopes = carry
        rows = rows.at[i].add(value)
        if with_slopes:
            slopes = slopes.at[i].add(up).at[j].add(down)
        return (rows, slopes), None

    if steps is None:
        # Recomputed in a reverse pass: what is kept of a tile are its sums.
        (rows, slopes), _ = lax.scan(jax.checkpoint(step), (start, start), index)
    else:
        rows, slopes = lax.fori_loop(0, steps, lambda k, carry: step(carry, index[k])[0], (start, start))
    return rows.reshape(-1)[:n], slopes.reshape(-1)[:n]


def _scale(pair_weights: PairWeights | None, a: _Items, b: _Items) -> Array | None:
    """Weight of each pair of a tile with a first, or None for 1."""
    weight = None if pair_weights is None else pair_weights.fn(a.f, b.f)
    return weight if a.w is None else a.w if weight is None else a.w * weight
