"""Linear maps that respect blocks, differentiable to any order."""

import jax
import jax.numpy as jnp
from jax import lax

from jrank.sharding import common_variance
from jrank.soft._pav import Blocks
from jrank.types import Array

# Up to this many items a plain sum loses less than 1e-5 of its size.
PLAIN = 256


def at_items(table: Array, ids: Array) -> Array:
    """Look up the entry of each item's block.

    Args:
      table: one entry for each block, ``[n]``.
      ids: the block of each item, ``[n]``.
    """
    return table.at[ids].get(mode="promise_in_bounds")


def _sums_compensated(v: Array, ids: Array, order: Array) -> Array:
    v, ids = (a.at[order].get(mode="promise_in_bounds", unique_indices=True) for a in (v, ids))

    # The table is only written: reading it too would make XLA copy it in every step.
    def body(i: Array, state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        last, high, low, table = state
        block = ids[i]
        high, low = (jnp.where(block == last, a, jnp.zeros_like(a)) for a in (high, low))
        total = high + v[i]
        part = total - high
        low = low + ((high - (total - part)) + (v[i] - part))
        return block, total, low, table.at[block].set(total + low, mode="promise_in_bounds")

    zero = jnp.zeros_like(v[0])
    state = (ids[0], zero, zero, jnp.zeros_like(v))
    return lax.fori_loop(jnp.int32(0), jnp.int32(v.shape[0]), body, state)[-1]


_sums_compensated_rows = jax.custom_batching.sequential_vmap(_sums_compensated)


def block_sums(v: Array, ids: Array, order: Array) -> Array:
    """Sum the items of each block into a table; not differentiable.

    Args:
      v: one value for each item, ``[n]``.
      ids: the block of each item, ``[n]``.
      order: the order in which the items of a block stand together, ``[n]``.

    Numerics: one running sum of a million equal numbers would be wrong in the second digit, so that sums of long lists
    are compensated.
    """
    if v.shape[0] > PLAIN:
        return _sums_compensated_rows(v, ids, order)
    return jnp.zeros_like(v).at[ids].add(v, mode="promise_in_bounds")


def block_mean(v: Array, blocks: Blocks) -> Array:
    """Replace every value by the mean of its block: linear, symmetric, idempotent, differentiable to any order.

    Args:
      v: one value for each item, ``[n]``.
      blocks: the blocks.
    """
    v, ids, length, order = common_variance(v, blocks.ids, blocks.length, blocks.order)

    def average(_, w: Array) -> Array:
        return at_items(block_sums(w, ids, order) / jnp.maximum(length, 1).astype(w.dtype), ids)

    # Of the linear primitives only the solver of systems takes a transpose from us. The map is its own transpose.
    return lax.custom_linear_solve(lambda w: w, v, average, average)


@jax.custom_jvp
def deviation(x: Array, blocks: Blocks) -> Array:
    """Subtract from every score the mean of its block, which the solver knows to more than working precision.

    Args:
      x: scores in the order of the blocks' ids, ``[n]``.
      blocks: the blocks.

    Returns:
      The differences; exactly 0 for an item alone in its block.
    """
    difference = (x - at_items(blocks.high, blocks.ids)) - at_items(blocks.low, blocks.ids)
    # Places without a score have no mean.
    return jnp.where(jnp.isnan(difference), jnp.zeros_like(difference), difference)


@deviation.defjvp
def _deviation_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, blocks = primals
    # A fused multiply-add would leave the rounding error of a product where an item is its own mean.
    alone = at_items(blocks.length, blocks.ids) == 1
    slope = jnp.where(alone, jnp.zeros_like(x), tangents[0] - block_mean(tangents[0], blocks))
    return deviation(x, blocks), slope


@jax.custom_jvp
def means(x: Array, blocks: Blocks) -> Array:
    """Return for every score the mean of its block.

    Args:
      x: scores in the order of the blocks' ids, ``[n]``.
      blocks: the blocks.

    Returns:
      The means; the score itself, exactly, for an item alone in its block.
    """
    return at_items(blocks.high + blocks.low, blocks.ids)


@means.defjvp
def _means_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, blocks = primals
    return means(x, blocks), block_mean(tangents[0], blocks)
