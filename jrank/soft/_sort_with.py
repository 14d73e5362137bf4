"""Other values in the soft order of the scores."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.arrays import as_floating, sort_with_order
from jrank.errors import SoftError
from jrank.soft import _matrix, _network
from jrank.soft._arguments import check_mask, check_scores, check_temperature, choose, over_rows, work_dtype
from jrank.soft._parts import count, positive, straight, take_apart
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "sort_with"]

# P v for one list of finite scores: (x[n], temperature, where[n], v[n, d]) -> [n, d], in ascending order of x.
METHODS: dict[str, Callable[..., Array]] = {**_matrix.CARRIERS, **_network.CARRIERS}
# How many numbers a list of n scores holds at a time, for one value each.
HELD: dict[str, Callable[[int], int]] = {**_matrix.HELD, **_network.HELD}


def _mean(values: Array, flags: Array) -> Array:
    total = jnp.sum(jnp.where(flags[:, None], values, jnp.zeros_like(values)), axis=0)
    return total / jnp.maximum(count(flags), 1).astype(values.dtype)


def _row(
    x: Array,
    temperature: Array,
    where: Array | None,
    values: Array,
    *,
    method: str,
    descending: bool,
    straight_through: bool,
) -> Array:
    """Values of one list, ``[n, d]``, in the working type."""
    x = -x if descending else x
    parts = take_apart(x, where)
    below, finite, valid = (count(a) for a in (parts.low, parts.counts, parts.valid))
    values = jnp.where(parts.valid[:, None], values, jnp.zeros_like(values))
    entering = jnp.where(parts.counts[:, None], values, jnp.zeros_like(values))
    carried = METHODS[method](parts.safe, positive(temperature), parts.counts, entering)
    place = lax.iota(jnp.int32, x.shape[0])
    carried = carried.at[jnp.maximum(place - below, 0)].get(mode="promise_in_bounds")
    # Infinite scores are ties at the ends: each end shares the mean of its values.
    low, high = (jnp.broadcast_to(_mean(values, a)[None, :], values.shape) for a in (parts.low, parts.high))
    carried = jnp.where((place < below + finite)[:, None], carried, high)
    carried = jnp.where((place < below)[:, None], low, carried)
    if straight_through:
        order = sort_with_order(x, parts.valid)[1]
        carried = straight(values.at[order].get(mode="promise_in_bounds", unique_indices=True), carried)
    return jnp.where((place < valid)[:, None], carried, jnp.zeros_like(carried))


@partial(jax.jit, static_argnames=("method", "descending", "straight_through"))
def _sort_with(x, temperature, where, values, **options):
    work = work_dtype(x)
    held = HELD[options["method"]](x.shape[-1]) * max(1, values.shape[-1])
    return over_rows(partial(_row, **options), x.ndim - 1, held)(
        x.astype(work), temperature, where, values.astype(work)
    )


def sort_with(
    x: Shaped[ArrayLike, "..."],
    values: Shaped[ArrayLike, "..."],
    *,
    method: str = "softsort",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    descending: bool = False,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
) -> Float[Array, "..."]:
    r"""Return values in the soft order of the scores, with gradients to both: P v, without the matrix P.

    .. math:: s_i = \sum_j P_{ij} v_j

    where row i of P, the soft permutation matrix of ``argsort``, says with which weight each item stands at place i.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      values: what is put in order: in the shape of ``x``, or with more axes behind those, such as a vector for each
        item, ``[..., n, d]``.
      method: see ``argsort``.
      temperature: in the units of the scores, see ``argsort``; towards 0 the order is hard.
      axis: the axis of the list in ``x``, counted over the axes of ``x``.
      descending: whether what belongs to the largest score comes first.
      where: True at real items.
      straight_through: return the values in the hard order with the derivatives of the soft ones.

    Returns:
      The values, in their shape and, if that is floating, in their type. Those of the real items come first and 0, with
      gradient 0, fills the rest. NaN scores count as masked.

    Raises:
      SoftError: as for ``argsort``, and values whose first axes are not those of ``x``.
      TypeError: ``x`` or ``values`` is not an array of real numbers.

    Numerics: values at masked places never matter; those of real items should be finite, since they are multiplied by
    weights that may be 0. Infinite scores are ties at their end. Half types are computed in float32. Derivatives of
    any order are right.
    Cost: for d numbers for each item, ``"softsort"`` and ``"neuralsort"`` take O(n^2 d) time and a block of 1M pairs at
    most beside O(n d) memory; ``"network"`` O(n d log(n)^2) time and memory, odd-even networks O(n^2 d).
    See also: ``sort``, ``top_k``.

    >>> sort_with(jnp.array([3.0, 1.0, 2.0]), jnp.array([30.0, 10.0, 20.0]), temperature=0.01)
    Array([10., 20., 30.], dtype=float32)
    """
    scores, axis = check_scores(x, axis)
    payload = as_floating(values, "values")
    choose(METHODS, method, "sort_with")
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    given = _original(scores.shape, axis)
    if payload.shape[: scores.ndim] != given:
        raise SoftError(
            f"values has shape {payload.shape}, expected {given} or that with more axes behind",
            reason="shape_mismatch",
            hint="give one value, or one array of values, for each score",
        )
    if not payload.size:
        return payload
    features = payload.shape[scores.ndim :]
    moved = jnp.moveaxis(payload, axis, scores.ndim - 1).reshape(*scores.shape, math.prod(features))
    options = {"method": method, "descending": descending, "straight_through": straight_through}
    moved = _sort_with(scores, t, mask, moved, **options).astype(payload.dtype)
    return jnp.moveaxis(moved.reshape(*scores.shape, *features), scores.ndim - 1, axis)


def _original(shape: tuple[int, ...], axis: int) -> tuple[Any, ...]:
    given = list(shape[:-1])
    given.insert(axis, shape[-1])
    return tuple(given)
