"""Ragged lists within one array: items that share a segment id are a list of their own."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jrank.arrays import ordered_key, segment_sum, sort_keys, sort_with_order, take_last, values_of_key
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


def _on_host(key: Array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort int32 keys with NumPy: key and position as one 64-bit integer, which makes the sort stable."""
    packed = (np.asarray(key, np.int64) << 32) | np.arange(key.shape[-1], dtype=np.int64)
    packed.sort(axis=-1)
    return (packed >> 32).astype(np.int32), packed.astype(np.int32)


def sorted_scores(x: Array, where: Array | None, backend: str = "xla") -> tuple[Array, Array]:
    """Sort the items of one list, by XLA or by NumPy on the host.

    Args:
      x: finite scores, ``[n]``.
      where: the items that count, or None; the others come last.
      backend: "numpy" for the host, if the scores are float32.

    Returns:
      The sorted scores, NaN where there is none, and the order.
    """
    if backend != "numpy" or x.dtype != jnp.float32:
        return sort_with_order(x, where)
    key = ordered_key(x)
    if where is not None:
        key = jnp.where(where, key, jnp.asarray(jnp.iinfo(key.dtype).max, key.dtype))
    shape = jax.ShapeDtypeStruct(key.shape, jnp.int32)
    key, order = jax.pure_callback(_on_host, (shape, shape), key, vmap_method="expand_dims")
    return values_of_key(key, x.dtype), order


def sort_lists(
    x: Array, where: Array | None, slot: Array | None, backend: str = "xla"
) -> tuple[Array, Array, Array | None]:
    """Sort the items of each list, the lists one behind the other.

    Args:
      x: finite scores, ``[n]``.
      where: the items that count, or None; the others come last.
      slot: the list of each item, or None for one list.
      backend: see ``sorted_scores``.

    Returns:
      The sorted scores, NaN where there is none; the order; for each sorted place where its list begins, or None.

    Cost: one sort, two with ``slot``.
    """
    s, order = sorted_scores(x, where, backend)
    if slot is None:
        return s, order, None
    key = slot if where is None else jnp.where(where, slot, jnp.asarray(x.shape[0], jnp.int32))
    key, again = sort_keys(take_last(key, order))
    return take_last(s, again), take_last(order, again), _starts(key)
