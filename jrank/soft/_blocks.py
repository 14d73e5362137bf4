"""Linear maps that respect blocks, differentiable to any order."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jrank.sharding import common_variance
from jrank.soft._solve import Blocks
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


def _permuted(v: Array, order: Array) -> Array:
    return v.at[order].get(mode="promise_in_bounds", unique_indices=True)


def _plain(v: Array, blocks: Blocks) -> Array:
    return jnp.zeros_like(v).at[blocks.ids].add(v, mode="promise_in_bounds")


@jax.custom_batching.sequential_vmap
def _compensated(v: Array, blocks: Blocks) -> Array:
    v, ids = _permuted(v, blocks.order), _permuted(blocks.ids, blocks.order)

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


def _tree(v: Array, blocks: Blocks) -> Array:
    """Pairwise sums in log n rounds, for accelerators: neither a long chain nor a scatter of unordered additions."""
    v, ids = _permuted(v, blocks.order), _permuted(blocks.ids, blocks.order)
    place = lax.iota(jnp.int32, v.shape[0])
    fresh = jnp.concatenate([jnp.ones_like(place[:1], bool), ids[1:] != ids[:-1]])

    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return left[0] | right[0], jnp.where(right[0], right[1], left[1] + right[1])

    sums = lax.associative_scan(join, (fresh, v))[1]
    last = jnp.concatenate([fresh[1:], jnp.ones_like(fresh[:1])])
    return jnp.zeros_like(v).at[jnp.where(last, ids, v.shape[0])].set(sums, mode="drop")


def _sums(v: Array, blocks: Blocks) -> Array:
    """Table of the sums over the blocks; not differentiable."""
    short = _plain if v.shape[0] <= PLAIN else _compensated
    return lax.platform_dependent(v, blocks, cpu=short, default=_tree)


def _symmetric(fn: Callable[[Array, Blocks], Array], v: Array, blocks: Blocks) -> Array:
    """Apply a symmetric linear map that XLA shall not differentiate itself."""
    leaves, tree = jax.tree.flatten((v, blocks._replace(kept=())))
    v, blocks = jax.tree.unflatten(tree, common_variance(*leaves))

    def apply(_, w: Array) -> Array:
        return fn(w, blocks)

    # Of the linear primitives only the solver of systems takes a transpose from us. The map is its own transpose.
    return lax.custom_linear_solve(lambda w: w, v, apply, apply)


def block_sum(v: Array, blocks: Blocks) -> Array:
    """Replace every value by the sum over its block: linear, symmetric, differentiable to any order.

    Args:
      v: one value for each item, ``[n]``.
      blocks: the blocks.

    Numerics: one running sum of a million equal numbers would be wrong in the second digit, so that sums of long lists
    are compensated, or pairwise.
    """
    return _symmetric(lambda w, b: at_items(_sums(w, b), b.ids), v, blocks)


def block_mean(v: Array, blocks: Blocks) -> Array:
    """Replace every value by the mean of its block: linear, symmetric, idempotent, differentiable to any order.

    Args:
      v: one value for each item, ``[n]``.
      blocks: the blocks.

    Numerics: as ``block_sum``.
    """

    def mean(w: Array, b: Blocks) -> Array:
        return at_items(_sums(w, b) / jnp.maximum(b.length, 1).astype(w.dtype), b.ids)

    return _symmetric(mean, v, blocks)


@jax.custom_jvp
def deviation(x: Array, blocks: Blocks) -> Array:
    """Subtract from every score the mean of its block, which the solver knows to more than working precision.

    Args:
      x: scores in the order of the blocks' ids, ``[n]``.
      blocks: the blocks.

    Returns:
      The differences; exactly 0 for an item alone in its block.
    """
    high, low = (at_items(a, blocks.ids) for a in blocks.kept[:2])
    difference = (x - high) - low
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
    return at_items(blocks.kept[0] + blocks.kept[1], blocks.ids)


@means.defjvp
def _means_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, blocks = primals
    return means(x, blocks), block_mean(tangents[0], blocks)
