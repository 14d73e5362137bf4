"""Sums over the pairs of a list that labels and scores order, in O(n log n): no pair is ever looked at.

Of two items with different labels, written in binary, the labels agree down to some bit and differ there. So the pairs
with a larger and a smaller label are, for each bit, those of a group of equal leading bits, one item with that bit set
and one without; and within a group the scores are compared by sorting.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import ordered_key
from jrank.metrics._lists import Lists, iota_like, scatter_last
from jrank.types import Array

__all__ = ["count_smaller", "dense_labels", "dominance_sums"]


def _segmented(x: Array, fresh: Array, reverse: bool) -> Array:
    """Running sums that start anew where ``fresh`` is set (for a reverse sum: at the ends of the groups)."""

    def join(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] | b[0], jnp.where(b[0], b[1], a[1] + b[1])

    return lax.associative_scan(join, (fresh, x), reverse=reverse, axis=x.ndim - 1)[1]


def dense_labels(labels: Array, lists: Lists) -> Array:
    """Number the different labels of each list from 0, in ascending order.

    Args:
      labels: ``[..., n]``.
      lists: the lists.

    Returns:
      int32 numbers; equal labels have equal numbers, masked items some number in range.
    """
    key = ordered_key(labels)
    if lists.where is not None:
        key = jnp.where(lists.where, key, jnp.asarray(jnp.iinfo(key.dtype).max, key.dtype))
    keys = [key] if lists.slot is None else [lists.slot, key]
    *keys, order = lax.sort((*keys, iota_like(key)), dimension=-1, num_keys=len(keys), is_stable=True)
    change = keys[-1][..., 1:] != keys[-1][..., :-1]
    number = jnp.cumsum(change, axis=-1, dtype=jnp.int32)
    number = jnp.concatenate([jnp.zeros_like(order[..., :1]), number], axis=-1)[..., : order.shape[-1]]
    if len(keys) > 1:
        one = jnp.ones_like(order[..., :1], bool)
        fresh = jnp.concatenate([one, keys[0][..., 1:] != keys[0][..., :-1]], axis=-1)[..., : order.shape[-1]]
        number = number - lax.cummax(jnp.where(fresh, number, jnp.zeros_like(number)), axis=number.ndim - 1)
    return scatter_last(order, number)


def count_smaller(labels: Array, lists: Lists, within: Array | None = None) -> Array:
    """Count for each item the items of its list with a smaller label.

    Args:
      labels: ``[..., n]``.
      lists: the lists.
      within: count only items with the same number here; None for all.

    Returns:
      Counts in the type of the labels; those of masked items mean nothing.

    Cost: one sort.
    """
    key = ordered_key(labels)
    heads = [] if within is None else [ordered_key(within)]
    if lists.slot is not None:
        heads.insert(0, lists.slot)
    if lists.where is not None:
        heads.insert(0, (~lists.where).astype(jnp.int32))
    operands = (*heads, key, iota_like(key))
    *keys, order = lax.sort(operands, dimension=-1, num_keys=len(operands) - 1, is_stable=True)

    def start(keys: list[Array]) -> Array:
        """Where the run of items with equal keys starts."""
        place = iota_like(order)
        if not keys:
            return jnp.zeros_like(place)
        change = jnp.zeros_like(order[..., 1:], bool)
        for one in keys:
            change |= one[..., 1:] != one[..., :-1]
        fresh = jnp.concatenate([jnp.ones_like(order[..., :1], bool), change], axis=-1)[..., : order.shape[-1]]
        return lax.cummax(jnp.where(fresh, place, jnp.zeros_like(place)), axis=place.ndim - 1)

    return scatter_last(order, (start(keys) - start(keys[:-1])).astype(labels.dtype))


def dominance_sums(
    number: Array,
    query: Array,
    key: Array,
    lists: Lists,
    over_keys: tuple[Array, ...],
    over_queries: tuple[Array, ...] = (),
    *,
    strict: bool = True,
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """For pairs of i and j of one list with number_i > number_j and key_j > query_i, sum over j and over i.

    Args:
      number: labels as dense numbers from 0.
      query: the number that item i compares with.
      key: the number that item j is compared by.
      lists: the lists.
      over_keys: what to sum over j for each i; 0 at masked items.
      over_queries: what to sum over i for each j; 0 at masked items.
      strict: False for key_j >= query_i.

    Returns:
      The sums for each i and the sums for each j, ``[..., n]`` each.

    Cost: one sort for each bit of the largest number.
    """
    queries, keys = ordered_key(query), ordered_key(key)
    place = iota_like(number)
    first = () if lists.slot is None else (lists.slot,)
    bits = 32 - lax.clz(jnp.max(number, initial=0))

    def level(bit: Array, sums: Any) -> Any:
        up = (number >> bit) & 1
        group = number >> (bit + 1)
        # At equal numbers keys stand before queries, so that neither sees the other; after them if they shall.
        minor = up if strict else 1 - up
        value = jnp.where(up == 1, queries, keys)
        operands = (*first, group, value, minor, place)
        *heads, _, _, order = lax.sort(operands, dimension=-1, num_keys=len(operands) - 1, is_stable=True)
        change = jnp.zeros_like(order[..., 1:], bool)
        for head in heads:
            change |= head[..., 1:] != head[..., :-1]
        one = jnp.ones_like(order[..., :1], bool)
        fresh = jnp.concatenate([one, change], axis=-1)
        close = jnp.concatenate([change, one], axis=-1)

        def gather(x: Array) -> Array:
            return jnp.take_along_axis(x, order, axis=-1, mode="promise_in_bounds")

        above = gather(up) == 1
        to_queries, to_keys = sums
        new_queries = []
        for x, total in zip(over_keys, to_queries, strict=True):
            run = _segmented(jnp.where(above, jnp.zeros_like(x), gather(x)), close, True)
            new_queries.append(total + scatter_last(order, jnp.where(above, run, jnp.zeros_like(run))))
        new_keys = []
        for x, total in zip(over_queries, to_keys, strict=True):
            run = _segmented(jnp.where(above, gather(x), jnp.zeros_like(x)), fresh, False)
            new_keys.append(total + scatter_last(order, jnp.where(above, jnp.zeros_like(run), run)))
        return tuple(new_queries), tuple(new_keys)

    start = tuple(jnp.zeros_like(x) for x in over_keys), tuple(jnp.zeros_like(x) for x in over_queries)
    if number.shape[-1] == 0:
        return start
    return jax.lax.fori_loop(jnp.zeros_like(bits), bits, level, start)
