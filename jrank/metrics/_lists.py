"""The arguments of losses and metrics, checked and made safe, and reductions per list, for rows and for segments.

A list is a row of the last axis or, with ``segments``, the items of a row that share an id. Results of segmented lists
keep the shape of the scores: each value stands at the first valid item of its segment, and 0 elsewhere.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import (
    accumulator_dtype,
    as_array,
    as_floating,
    as_mask,
    masked_max,
    masked_sum,
    neutralise,
    ordered_key,
    reduce_values,
    segment_sum,
    take_last,
)
from jrank.errors import LearnError
from jrank.types import Array

__all__ = [
    "Fn",
    "Lists",
    "accepts",
    "as_items",
    "check_topn",
    "finish",
    "iota_like",
    "list_places",
    "prepare",
    "product_before",
    "running_count",
    "segment_slots",
    "valid_lists",
]

# A function that users hand in; jrank.types describes each kind. Those protocols name the arguments,
# which a type checker would then ask of every function.
Fn = Callable[..., Array]


def iota_like(x: Array) -> Array:
    """Return 0, 1, 2, ... along the last axis, in the shape of ``x``.

    Args:
      x: any array.
    """
    return lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)


def segment_slots(segments: Array, where: Array | None) -> Array:
    """Give each item the index of the first valid item of its segment.

    Args:
      segments: ids in any order, ``[..., n]``.
      where: the mask, or None.

    Returns:
      int32 indices in [0, n). Those of masked items are in range and mean nothing.
    """
    ids = ordered_key(segments) if jnp.issubdtype(segments.dtype, jnp.floating) else segments
    keys = (neutralise(ids, where), iota_like(segments))
    if where is not None:
        keys = ((~where).astype(jnp.int32), *keys)
    *_, ids, order = lax.sort(keys, dimension=-1, num_keys=len(keys) - 1, is_stable=True)
    place = iota_like(order)
    fresh = jnp.concatenate([jnp.ones_like(ids[..., :1], bool), ids[..., 1:] != ids[..., :-1]], axis=-1)
    start = lax.cummax(jnp.where(fresh, place, jnp.zeros_like(place)), axis=place.ndim - 1)
    return scatter_last(order, take_last(order, start))


def scatter_last(order: Array, values: Array) -> Array:
    """Undo a gather: put ``values`` at the places ``order`` of the last axis.

    Args:
      order: int32 permutations, ``[..., n]``.
      values: ``[..., n]``.
    """

    def one(place: Array, value: Array) -> Array:
        return jnp.zeros_like(value).at[place].set(value, unique_indices=True, mode="promise_in_bounds")

    for _ in range(order.ndim - 1):
        one = jax.vmap(one)
    return one(order, values)


def list_starts(slot: Array) -> tuple[Array, Array]:
    """Which items are the first of their list, and where the list of each item starts.

    Args:
      slot: which list an item belongs to; the items of a list stand together.
    """
    fresh = jnp.concatenate([jnp.ones_like(slot[..., :1], bool), slot[..., 1:] != slot[..., :-1]], axis=-1)
    place = iota_like(slot)
    return fresh, lax.cummax(jnp.where(fresh, place, jnp.zeros_like(place)), axis=place.ndim - 1)


def list_places(like: Array, slot: Array | None = None) -> Array:
    """Count 1, 2, 3, ... along each list.

    Args:
      like: an array of the wanted shape.
      slot: which list an item belongs to, the items of a list standing together; None for one list.
    """
    place = iota_like(like) + 1
    return place if slot is None else place - list_starts(slot)[1]


def running_count(x: Array, slot: Array | None = None) -> Array:
    """Sum the items so far, this one included, within each list.

    Args:
      x: ``[..., n]``; with ``slot``, the items of a list stand together. Meant for counts, which the difference of two
        running sums keeps exact.
      slot: which list an item belongs to, or None for one list.
    """
    total = jnp.cumsum(x, axis=-1)
    return total if slot is None else total - take_last(total - x, list_starts(slot)[1])


def product_before(x: Array, slot: Array | None = None) -> Array:
    """Multiply the items before this one within each list.

    Args:
      x: ``[..., n]``; with ``slot``, the items of a list stand together.
      slot: which list an item belongs to, or None for one list.
    """
    shifted = jnp.concatenate([jnp.ones_like(x[..., :1]), x[..., :-1]], axis=-1)[..., : x.shape[-1]]
    if slot is None:
        return lax.cumprod(shifted, axis=x.ndim - 1)
    fresh, _ = list_starts(slot)

    def combine(a: tuple[Array, Array], b: tuple[Array, Array]) -> tuple[Array, Array]:
        return a[0] | b[0], jnp.where(b[0], b[1], a[1] * b[1])

    shifted = jnp.where(fresh, jnp.ones_like(shifted), shifted)
    return lax.associative_scan(combine, (fresh, shifted), axis=x.ndim - 1)[1]


@dataclasses.dataclass(frozen=True)
class Lists:
    """Which items there are and which list each belongs to.

    Args:
      size: the number of items of a row, static.
      where: which items are valid, or None for all.
      slot: with segments, the place of the result of the list of each item; None where each row is a list.
      valid: which results stand for a list with a valid item, or None for all.
    """

    size: int
    where: Array | None
    slot: Array | None
    valid: Array | None

    @classmethod
    def of(cls, where: Array | None, segments: Array | None, shape: tuple[int, ...]) -> "Lists":
        """Describe the lists of an array of the given shape."""
        if shape[-1] == 0 and where is None:
            where = jnp.zeros(shape, bool)
        if segments is None:
            return cls(shape[-1], where, None, None if where is None else jnp.any(where, axis=-1))
        slot = segment_slots(segments, where)
        first = slot == iota_like(slot)
        return cls(shape[-1], where, slot, first if where is None else first & where)

    def sum(self, x: Array) -> Array:
        """Sum over the valid items of each list."""
        if self.slot is None:
            return masked_sum(x, self.where)
        return segment_sum(neutralise(x, self.where), self.slot, self.size)

    def count(self, dtype: Any) -> Array:
        """Count the valid items of each list."""
        if self.slot is not None:
            return self.sum(jnp.ones(self.slot.shape, dtype))
        if self.where is not None:
            return jnp.sum(self.where, axis=-1, dtype=dtype)
        return jnp.asarray(self.size, dtype)

    def max(self, x: Array, empty: float | int = 0) -> Array:
        """Maximum over the valid items of each list; ``empty`` for a list without one."""
        if self.slot is None:
            return masked_max(x, self.where, empty=empty)

        def one(values: Array, ids: Array) -> Array:
            return jax.ops.segment_max(values, ids, num_segments=self.size)

        for _ in range(x.ndim - 1):
            one = jax.vmap(one)
        top = one(neutralise(x, self.where, -jnp.inf), self.slot)
        return top if self.valid is None else jnp.where(self.valid, top, jnp.asarray(empty, x.dtype))

    def spread(self, values: Array) -> Array:
        """Give every item the value of its list, ready to combine with ``[..., n]``."""
        return values[..., None] if self.slot is None else take_last(values, self.slot)

    def take(self, order: Array) -> "Lists":
        """Describe the same lists with the items in another order."""
        where = None if self.where is None else take_last(self.where, order)
        slot = None if self.slot is None else take_last(self.slot, order)
        return dataclasses.replace(self, where=where, slot=slot)


def as_items(x: Any, shape: tuple[int, ...], name: str, dtype: Any, where: Array | None) -> Array:
    """Check an array with one number per item; masked places become 0.

    Args:
      x: the array.
      shape: the shape of the scores.
      name: what the message calls it.
      dtype: the type to compute in.
      where: the mask, or None.
    """
    array = as_array(x, name)
    if array.shape != shape:
        raise LearnError(
            f"{name} has shape {array.shape}, the scores have shape {shape}",
            reason="length_mismatch",
            hint="give one number per item",
        )
    return neutralise(array.astype(dtype), where)


def check_topn(topn: int | None) -> None:
    """Refuse a cut-off below 1.

    Args:
      topn: the cut-off, or None.
    """
    if topn is not None and (isinstance(topn, bool) or not hasattr(topn, "__index__")):
        raise TypeError(f"topn must be an integer or None, got {topn!r}")
    if topn is not None and topn < 1:
        raise LearnError(f"topn is {topn}, at least 1 was expected", reason="invalid_parameter")


def prepare(
    scores: Any, labels: Any, where: Any = None, segments: Any = None, weights: Any = None
) -> tuple[Array, Array, Array | None, Lists]:
    """Check the arguments that losses and metrics share.

    Args:
      scores: one score per item, ``[..., n]``.
      labels: one label per item.
      where: the mask, or None.
      segments: ids of the lists within a row, or None.
      weights: one weight per item, or None.

    Returns:
      Scores, labels, weights (in at least float32, 0 at masked places) and the lists.

    Raises:
      LearnError: shapes differ.
    """
    s = as_floating(scores, "scores")
    if s.ndim == 0:
        raise LearnError("the scores are one number, an array [..., n] was expected", reason="empty_input")
    try:
        mask = as_mask(where, s.shape)
    except ValueError as error:
        raise LearnError(str(error), reason="length_mismatch") from None
    dtype = accumulator_dtype(s.dtype)
    y = as_items(labels, s.shape, "labels", dtype, mask)
    w = None if weights is None else as_items(weights, s.shape, "weights", dtype, mask)
    if segments is not None:
        segments = as_array(segments, "segments")
        if segments.shape != s.shape:
            raise LearnError(
                f"segments has shape {segments.shape}, the scores have shape {s.shape}", reason="length_mismatch"
            )
        if segments.dtype == jnp.bool_:
            segments = segments.astype(jnp.int32)
    return neutralise(s.astype(dtype), mask), y, w, Lists.of(mask, segments, s.shape)


def finish(values: Array, lists: Lists, reduce_fn: Fn | None, dtype: Any = None) -> Array:
    """Reduce one value per list, leaving out the lists without a valid item.

    Args:
      values: one value per list.
      lists: the lists.
      reduce_fn: the reduction, or None.
      dtype: the type of the result; None is that of the values.
    """
    result = reduce_values(values, lists.valid, reduce_fn)
    return result if dtype is None else result.astype(dtype)


def valid_lists(
    scores: Any,
    *,
    where: Any = None,
    segments: Any = None,
) -> Array:
    """Tell which values of a loss or metric with ``reduce_fn=None`` stand for a list.

    Args:
      scores: one score per item, ``[..., n]``; only the shape counts.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.

    Returns:
      Bools in the shape of those values, ``[...]``, or ``[..., n]`` with segments: whether the list has a valid item.

    Raises:
      LearnError: shapes differ.

    Cost: O(n), with segments one sort.

    >>> where = jnp.array([[True, False], [False, False]])
    >>> valid_lists(jnp.zeros((2, 2)), where=where).tolist()
    [True, False]
    """
    s, _, _, lists = prepare(scores, scores, where, segments)
    if lists.valid is not None:
        return lists.valid
    return jnp.ones(s.shape[:-1], bool)


def accepts(fn: Callable[..., Any], name: str) -> bool:
    """Tell whether a function takes a keyword argument of that name.

    Args:
      fn: any callable.
      name: the keyword.
    """
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(
        p.kind is p.VAR_KEYWORD or (p.name == name and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
        for p in parameters
    )
