"""Ragged lists within one array: items that share a segment id are a list of their own."""

import jax.numpy as jnp
from jax import lax

from jrank.arrays import ordered_key, segment_sum, sort_keys, sort_with_order, take_last
from jrank.types import Array


def _starts(ids: Array) -> Array:
    """For each place of sorted ids, where the run of its id begins."""
    place = lax.iota(jnp.int32, ids.shape[0])
    fresh = jnp.concatenate([jnp.ones_like(ids[:1], bool), ids[1:] != ids[:-1]])
    return lax.cummax(jnp.where(fresh, place, jnp.zeros_like(place)))


def slots(segments: Array) -> Array:
    """Number the lists: each item gets the place at which its list begins when lists stand together.

    Args:
      segments: ids in any order, integers or floats, ``[n]``.

    Returns:
      int32 in [0, n).
    """
    key = ordered_key(segments) if jnp.issubdtype(segments.dtype, jnp.floating) else segments.astype(jnp.int32)
    ids, order = sort_keys(key)
    start = _starts(ids)
    return jnp.zeros_like(start).at[order].set(start, unique_indices=True, mode="promise_in_bounds")


def count_in_list(flags: Array, slot: Array | None) -> Array:
    """Count the places that hold: one number, or with ``slot`` for each item the number in its list.

    Args:
      flags: bool, ``[n]``.
      slot: the list of each item, or None for one list.

    Returns:
      int32, a scalar or ``[n]``.
    """
    if slot is None:
        return jnp.sum(flags, dtype=jnp.int32)
    return take_last(segment_sum(flags.astype(jnp.int32), slot, flags.shape[0]), slot)


def sort_lists(x: Array, where: Array | None, slot: Array | None) -> tuple[Array, Array, Array | None]:
    """Sort the items of each list, the lists one behind the other.

    Args:
      x: finite scores, ``[n]``.
      where: the items that count, or None; the others come last.
      slot: the list of each item, or None for one list.

    Returns:
      The sorted scores, NaN where there is none; the order; for each sorted place where its list begins, or None.

    Cost: one sort, two with ``slot``.
    """
    s, order = sort_with_order(x, where)
    if slot is None:
        return s, order, None
    key = slot if where is None else jnp.where(where, slot, jnp.asarray(x.shape[0], jnp.int32))
    key, again = sort_keys(take_last(key, order))
    return take_last(s, again), take_last(order, again), _starts(key)
