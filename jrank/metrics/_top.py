"""The first items of long lists, found through the largest values of groups of items."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jrank.metrics._lists import iota_like
from jrank.types import Array

__all__ = ["top_items"]

# Items in a group. A group that holds one of the k first items has one of the k first maxima, so that n / GROUP maxima
# and k * GROUP items are looked at instead of n; the maxima of all groups cost as little as reading the list.
GROUP = 8


def top_items(arrays: tuple[Array, ...], value: Callable[..., Array], k: int) -> tuple[Array, Array]:
    """Find the k largest values of each row, the largest first, equal ones in the order of the items.

    Args:
      arrays: what values are computed from, item by item, ``[..., n]`` each.
      value: the arrays -> the values, floating and without NaN. It is called for the rows, and again for the items of a
        few groups: whole rows of values are never stored.
      k: how many, at most n.

    Returns:
      The values and the int32 places of the items, ``[..., k]``.
    """
    n = arrays[0].shape[-1]
    if n < 4 * GROUP or 2 * (n // GROUP + k * GROUP) > n:
        best, place = lax.top_k(value(*arrays), k)
        return best, place
    return _grouped(arrays, value, k)


def _grouped(arrays: tuple[Array, ...], value: Callable[..., Array], k: int) -> tuple[Array, Array]:
    n = arrays[0].shape[-1]
    count = -(-n // GROUP)
    largest = _largest(arrays, value, count)
    low = jnp.asarray(-jnp.inf, largest.dtype)
    # Of equal values the first ones are taken: the groups that hold them have to come in their order.
    first = GROUP * jnp.sort(lax.top_k(largest, k)[1], axis=-1)
    # The last group may be short: it is read from further left, and what belongs to the one before is left out.
    start = jnp.minimum(first, n - GROUP)
    parts = [_slices(array, start) for array in arrays]
    place = start[..., None] + iota_like(parts[0])
    inside = jnp.where(place >= first[..., None], value(*parts), low)
    best, at = lax.top_k(inside.reshape(*inside.shape[:-2], k * GROUP), k)
    place = place.reshape(*place.shape[:-2], k * GROUP)
    return best, jnp.take_along_axis(place, at, axis=-1)


def _largest(arrays: tuple[Array, ...], value: Callable[..., Array], count: int) -> Array:
    """Take the largest value of each group, ``[..., count]``."""
    # Item by item of all groups: a reduction over eight neighbours that computes its values is not vectorised.
    largest = None
    for item in range(GROUP):
        found = value(*(array[..., item::GROUP] for array in arrays))
        if found.shape[-1] < count:
            last = [(0, 0, 0)] * (found.ndim - 1) + [(0, 1, 0)]
            found = lax.pad(found, jnp.asarray(-jnp.inf, found.dtype), last)
        largest = found if largest is None else jnp.where(found > largest, found, largest)
    assert largest is not None
    return largest


def _slices(array: Array, start: Array) -> Array:
    """Take ``GROUP`` items from each start, ``[..., k, GROUP]``."""

    def row(items: Array, starts: Array) -> Array:
        return jax.vmap(lambda one: lax.dynamic_slice(items, (one,), (GROUP,)))(starts)

    for _ in range(array.ndim - 1):
        row = jax.vmap(row)
    return row(array, start)
