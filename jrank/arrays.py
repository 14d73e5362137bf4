"""What every array function needs: checked arguments, masked reductions, sorting by integer keys, segments, blocks.

The last axis is the list of items. ``where`` is True at real items; what stands elsewhere never matters.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jrank.types import Array

__all__ = [
    "accumulator_dtype",
    "as_array",
    "as_floating",
    "as_mask",
    "inverse_permutation",
    "map_blocks",
    "masked_logsumexp",
    "masked_max",
    "masked_mean",
    "masked_sum",
    "neutralise",
    "ordered_key",
    "reduce_values",
    "segment_count",
    "segment_sum",
    "sort_keys",
    "sort_order",
    "sort_with_order",
    "take_last",
    "values_of_key",
]


# Arguments ------------------------------------------------------------------------------------------------------------


def as_array(x: Any, name: str = "x") -> Array:
    """Return ``x`` as a ``jax.Array``; Python sequences are refused, as jax.numpy refuses them.

    Args:
      x: a jax or NumPy array of integer, float or bool dtype, a tracer, or a number.
      name: what the message calls it.

    Raises:
      TypeError: ``x`` is none of these.

    >>> as_array(jnp.arange(2.0)).shape
    (2,)
    """
    if isinstance(x, jax.Array):
        array = x
    elif isinstance(x, (list, tuple)):
        raise TypeError(f"{name} must be an array, got a {type(x).__name__}; write jnp.asarray({name})")
    else:
        try:
            array = jnp.asarray(x)
        except (TypeError, ValueError):
            kind = f"dtype {x.dtype}" if hasattr(x, "dtype") else type(x).__name__
            raise TypeError(f"{name} must be an array of numbers, got {kind}") from None
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be real, got {array.dtype}")
    return array


def as_floating(x: Any, name: str = "x") -> Array:
    """Return ``x`` as a floating ``jax.Array``; integers and bools become the default float type.

    Args:
      x: see ``as_array``.
      name: what the message calls it.

    >>> as_floating(jnp.arange(2)).dtype
    dtype('float32')
    """
    array = as_array(x, name)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.result_type(float))


def as_mask(where: Any, shape: tuple[int, ...], name: str = "where") -> Array | None:
    """Return a mask as bool in the given shape, or None for no mask.

    Args:
      where: None, or bool or 0/1 of a shape that broadcasts to ``shape``.
      shape: the shape of the scores.
      name: what the message calls it.

    Raises:
      ValueError: the shape does not fit.

    >>> as_mask(jnp.array([1, 0]), (2,))
    Array([ True, False], dtype=bool)
    """
    if where is None:
        return None
    mask = as_array(where, name)
    if mask.dtype != jnp.bool_:
        mask = mask != 0
    if mask.ndim > len(shape) or any(m not in (1, s) for m, s in zip(mask.shape[::-1], shape[::-1], strict=False)):
        raise ValueError(f"{name} has shape {mask.shape}, which does not fit the shape {shape} of the scores")
    if mask.shape != shape:
        mask = jnp.broadcast_to(mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape), shape)
    return mask


def accumulator_dtype(dtype: Any) -> Any:
    """Return the type to accumulate in: float32 for the half types, otherwise the type itself.

    Args:
      dtype: a floating type.

    >>> accumulator_dtype(jnp.bfloat16).dtype
    dtype('float32')
    """
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else jnp.dtype(dtype).type


def neutralise(x: Array, where: Array | None, fill: float | int = 0) -> Array:
    """Put ``fill`` at masked places, so that nothing there reaches a value or a gradient.

    Args:
      x: any array.
      where: the mask, or None.
      fill: a finite number.
    """
    return x if where is None else jnp.where(where, x, jnp.asarray(fill, x.dtype))


# Masked reductions ----------------------------------------------------------------------------------------------------


def masked_sum(x: Array, where: Array | None, axis: int = -1, *, keepdims: bool = False) -> Array:
    """Sum over the valid places; 0 where there is none.

    Args:
      x: any array.
      where: the mask, or None.
      axis: the axis to sum over.
      keepdims: whether the axis stays, with size 1.
    """
    return jnp.sum(neutralise(x, where), axis=axis, keepdims=keepdims)


def masked_mean(x: Array, where: Array | None, axis: int = -1, *, keepdims: bool = False) -> Array:
    """Mean over the valid places; 0, with gradient 0, where there is none.

    Args:
      x: any floating array.
      where: the mask, or None.
      axis: the axis to average over.
      keepdims: whether the axis stays, with size 1.
    """
    if where is None:
        count = jnp.asarray(max(x.shape[axis], 1), x.dtype)
    else:
        count = jnp.maximum(jnp.sum(where, axis=axis, keepdims=keepdims, dtype=x.dtype), jnp.asarray(1, x.dtype))
    return masked_sum(x, where, axis, keepdims=keepdims) / count


def masked_max(
    x: Array, where: Array | None, axis: int = -1, *, keepdims: bool = False, empty: float | int = 0
) -> Array:
    """Maximum over the valid places; ``empty`` where there is none.

    Args:
      x: any floating array.
      where: the mask, or None.
      axis: the axis to reduce.
      keepdims: whether the axis stays, with size 1.
      empty: the value of an empty list.
    """
    low = neutralise(x, where, -jnp.inf)
    top = jnp.max(low, axis=axis, keepdims=keepdims, initial=-jnp.inf)
    if where is None and x.shape[axis]:
        return top
    none = jnp.zeros(top.shape, bool) if where is None else jnp.any(where, axis=axis, keepdims=keepdims)
    return jnp.where(none, top, jnp.asarray(empty, x.dtype))


def masked_logsumexp(x: Array, where: Array | None, axis: int = -1, *, keepdims: bool = False) -> Array:
    """Logarithm of the sum of exponentials over the valid places, shifted by the maximum.

    Args:
      x: any floating array; -inf counts as probability 0.
      where: the mask, or None.
      axis: the axis to reduce.
      keepdims: whether the axis stays, with size 1.

    Returns:
      The value; 0, with gradient 0, where no place is valid, and -inf where every valid place is -inf.
    """
    top = lax.stop_gradient(masked_max(x, where, axis, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, jnp.zeros_like(top))
    valid = x > -jnp.inf if where is None else where & (x > -jnp.inf)
    shifted = jnp.where(valid, x - top, jnp.zeros_like(x))
    total = jnp.sum(jnp.where(valid, jnp.exp(shifted), jnp.zeros_like(x)), axis=axis, keepdims=True)
    some = total > 0
    value = jnp.where(some, jnp.log(jnp.where(some, total, jnp.ones_like(total))) + top, jnp.asarray(-jnp.inf, x.dtype))
    if where is not None:
        value = jnp.where(jnp.any(where, axis=axis, keepdims=True), value, jnp.zeros_like(value))
    return value if keepdims else jnp.squeeze(value, axis)


def reduce_values(values: Array, where: Array | None, reduce_fn: Callable[..., Array] | None) -> Array:
    """Reduce one value per list to the result of a loss or metric.

    Args:
      values: one value per list, ``[...]``.
      where: which lists count, or None for all.
      reduce_fn: ``jnp.mean``, ``jnp.sum`` or another with a ``where`` argument; None keeps one value per list, 0 for
        those that do not count.

    Returns:
      The reduced value; 0 when no list counts.
    """
    values = neutralise(values, where)
    if reduce_fn is None:
        return values
    if where is None:
        return reduce_fn(values)
    reduced = reduce_fn(values, where=where)
    # A mean over nothing is 0/0: the second `where` keeps its NaN out of the gradient too.
    if reduced.ndim == 0:
        safe = reduce_fn(values, where=where | ~jnp.any(where))
        return jnp.where(jnp.any(where), safe, jnp.zeros_like(safe))
    return jnp.where(jnp.isnan(reduced), jnp.zeros_like(reduced), reduced)


# Sorting --------------------------------------------------------------------------------------------------------------


def ordered_key(x: Array) -> Array:
    """Map floats to integers of the same order; XLA sorts integers two to three times faster than floats.

    Args:
      x: floats; float16 and bfloat16 are widened to float32.

    Returns:
      int32, or int64 for float64. -0 and +0 get one key, and so do subnormal numbers where the device flushes them
      to 0; every NaN gets the largest, above +inf.

    >>> ordered_key(jnp.array([-jnp.inf, -1.0, 0.0, 2.0])).tolist() == sorted(
    ...     ordered_key(jnp.array([-jnp.inf, -1.0, 0.0, 2.0])).tolist())
    True
    """
    x = lax.stop_gradient(x)
    x = x.astype(accumulator_dtype(x.dtype))
    integer = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
    largest = jnp.iinfo(integer).max
    bits = lax.bitcast_convert_type(x, integer)
    key = jnp.where(bits < 0, bits ^ jnp.asarray(largest, integer), bits)
    key = jnp.where(x == 0, jnp.zeros_like(key), key)
    return jnp.where(jnp.isnan(x), jnp.asarray(largest, integer), key)


def values_of_key(key: Array, dtype: Any) -> Array:
    """Return the floats that ``ordered_key`` mapped to these keys.

    Args:
      key: int32, or int64 for float64; the largest integer is NaN.
      dtype: float32, or float64 for int64 keys.

    >>> values_of_key(ordered_key(jnp.array([-1.5, 2.0])), jnp.float32).tolist()
    [-1.5, 2.0]
    """
    largest = jnp.asarray(jnp.iinfo(key.dtype).max, key.dtype)
    return lax.bitcast_convert_type(jnp.where(key < 0, key ^ largest, key), dtype)


def _sort_pairs(key: Array) -> tuple[Array, Array]:
    position = lax.broadcasted_iota(jnp.int32, key.shape, key.ndim - 1)
    sorted_key, order = lax.sort((key, position), dimension=-1, num_keys=1, is_stable=True)
    return sorted_key, order


def _sort_packed(key: Array) -> tuple[Array, Array]:
    # XLA's CPU sort of one integer operand is two to five times faster than that of two operands: key and position
    # travel as the halves of one 64-bit integer, which also makes the sort stable. Only this sort sees that type.
    position = lax.broadcasted_iota(jnp.int32, key.shape, key.ndim - 1)
    with jax.enable_x64(True):
        packed = lax.bitcast_convert_type(jnp.stack([position, key], axis=-1), jnp.int64)
        packed = lax.sort(packed, dimension=-1, is_stable=False)
        halves = lax.bitcast_convert_type(packed, jnp.int32)
        return halves[..., 1], halves[..., 0]


def sort_keys(key: Array) -> tuple[Array, Array]:
    """Sort integers along the last axis, with the stable order that does it.

    Args:
      key: integers, ``[..., n]``.

    Returns:
      The sorted keys and the int32 order, both ``[..., n]``.

    Cost: one sort; on CPU, int32 keys are sorted as one 64-bit operand.

    >>> [a.tolist() for a in sort_keys(jnp.array([5, 1, 5, 0]))]
    [[0, 1, 5, 5], [3, 1, 0, 2]]
    """
    if key.dtype != jnp.int32:
        return _sort_pairs(key)
    return lax.platform_dependent(key, cpu=_sort_packed, default=_sort_pairs)


def sort_with_order(x: Array, where: Array | None = None) -> tuple[Array, Array]:
    """Sort floats along the last axis; the values come out of the sort itself, without a gather.

    Args:
      x: floats, ``[..., n]``.
      where: masked items come last, in the order of the input.

    Returns:
      The sorted values, float32 for half types, with NaN at the masked and at the NaN items, which come last together;
      and the int32 order. No gradient passes: gather with the order for one.

    >>> [a.tolist() for a in sort_with_order(jnp.array([2.0, 3.0, 1.0]), jnp.array([True, False, True]))]
    [[1.0, 2.0, nan], [2, 0, 1]]
    """
    key = ordered_key(x)
    if where is not None:
        key = jnp.where(where, key, jnp.asarray(jnp.iinfo(key.dtype).max, key.dtype))
    key, order = sort_keys(key)
    return values_of_key(key, accumulator_dtype(x.dtype)), order


def sort_order(x: Array, *, descending: bool = False, where: Array | None = None) -> Array:
    """Return the indices that sort the last axis; ties keep the order of the input.

    Args:
      x: floats or integers, ``[..., n]``.
      descending: whether the largest comes first.
      where: masked items come last, in the order of the input.

    Returns:
      int32 indices, ``[..., n]``. NaN comes after every number.

    Cost: one stable sort of integer keys.

    >>> sort_order(jnp.array([2.0, 3.0, 1.0])).tolist()
    [2, 0, 1]
    """
    if jnp.issubdtype(x.dtype, jnp.floating):
        key = ordered_key(-x if descending else x)
        if where is None:
            return sort_keys(key)[1]
        # No number and no infinity has a key near the largest: there is room for NaN before the masked items.
        largest = jnp.iinfo(key.dtype).max
        key = jnp.minimum(key, jnp.asarray(largest - 1, key.dtype))
        return sort_keys(jnp.where(where, key, jnp.asarray(largest, key.dtype)))[1]
    key = ~x if descending else x
    if where is None:
        return sort_keys(key)[1]
    position = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    masked = (~where).astype(jnp.int32)
    return lax.sort((masked, neutralise(key, where), position), dimension=-1, num_keys=2, is_stable=True)[2]


def take_last(x: Array, index: Array) -> Array:
    """Gather along the last axis with an index of the same batch shape.

    Args:
      x: ``[..., n]``.
      index: int32, ``[..., m]``, all within range.
    """
    return jnp.take_along_axis(x, index, axis=-1, mode="promise_in_bounds")


def inverse_permutation(order: Array) -> Array:
    """Invert permutations of the last axis, by scatter.

    A second argsort would be slower, and XLA's GPU simplifier has been seen to compile that wrongly.

    Args:
      order: int32 permutations, ``[..., n]``.

    >>> inverse_permutation(jnp.array([2, 0, 1])).tolist()
    [1, 2, 0]
    """

    def invert(row: Array) -> Array:
        iota = lax.iota(row.dtype, row.shape[0])
        return jnp.zeros_like(row).at[row].set(iota, unique_indices=True, mode="promise_in_bounds")

    for _ in range(order.ndim - 1):
        invert = jax.vmap(invert)
    return invert(order)


# Segments -------------------------------------------------------------------------------------------------------------


def segment_sum(x: Array, segments: Array, num_segments: int, *, sorted_ids: bool = False) -> Array:
    """Sum the items of each segment along the last axis.

    Args:
      x: ``[..., n]``.
      segments: int32 in [0, num_segments), ``[..., n]``.
      num_segments: how many segments there are, static.
      sorted_ids: whether the ids are in ascending order.

    Returns:
      The sums, ``[..., num_segments]``; 0 for an empty segment.
    """

    def one(values: Array, ids: Array) -> Array:
        return jax.ops.segment_sum(values, ids, num_segments=num_segments, indices_are_sorted=sorted_ids)

    for _ in range(x.ndim - 1):
        one = jax.vmap(one)
    return one(x, segments)


def segment_count(segments: Array, num_segments: int, where: Array | None = None) -> Array:
    """Count the valid items of each segment.

    Args:
      segments: int32, ``[..., n]``.
      num_segments: how many segments there are, static.
      where: the mask, or None.

    Returns:
      int32 counts, ``[..., num_segments]``.
    """
    ones = jnp.ones(segments.shape, jnp.int32) if where is None else where.astype(jnp.int32)
    return segment_sum(ones, segments, num_segments)


# Blocks ---------------------------------------------------------------------------------------------------------------


def map_blocks(fn: Callable[..., Any], arrays: tuple[Array, ...], block: int, *, axis_size: int | None = None) -> Any:
    """Apply ``fn`` to blocks of the first axis, one after the other, and put the results together.

    Args:
      fn: takes one block of each array, ``[<= block, ...]``, and returns arrays with that first axis.
      arrays: arrays with the same first axis.
      block: most rows at a time; the last, shorter block is computed apart, so nothing is padded.
      axis_size: the size of the first axis, where ``arrays`` cannot tell it.

    Returns:
      What ``fn`` returns, with the whole first axis. Memory is that of one block beyond inputs and outputs.
    """
    size = arrays[0].shape[0] if axis_size is None else axis_size
    if size <= block:
        return fn(*arrays)
    full = size // block
    head = [a[: full * block].reshape((full, block, *a.shape[1:])) for a in arrays]
    out = lax.map(lambda parts: fn(*parts), tuple(head))
    out = jax.tree.map(lambda o: o.reshape((full * block, *o.shape[2:])), out)
    if full * block == size:
        return out
    tail = fn(*(a[full * block :] for a in arrays))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), out, tail)
