"""Sums over all pairs of a list, block by block: never [n, n] in memory, and differentiable to any order."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jrank.arrays import map_blocks
from jrank.types import Array

# Entries of a block of pairs of one list. Each list of a batch has such a block at a time, and the gradient keeps a few
# of them: 128 lists of 1000 items stay below half a gigabyte.
PAIRS = 1 << 17


def row_block(n: int) -> int:
    """Return how many rows of n entries a block has.

    Args:
      n: the length of a row.
    """
    return max(1, PAIRS // max(n, 1))


def few_rows(n: int) -> int:
    """Return how many rows of n entries a block has where each entry costs little.

    Short lists come in batches, of which every list has such a block at a time: four rows of each stay in the cache.

    Args:
      n: the length of a row.
    """
    return min(row_block(n), max(4, n // 256))


def over_pairs(
    fn: Callable[..., Array], rows: tuple[Array, ...], size: int, block: Callable[[int], int] = row_block
) -> Array:
    """Apply a function to blocks of rows and forget what it computed on the way, also for the gradient.

    Args:
      fn: takes one block of each array and returns an array with that first axis.
      rows: arrays with the same first axis.
      size: the length of what each row is paired with.
      block: that length to the number of rows of a block.
    """
    return map_blocks(jax.checkpoint(fn), rows, block(size))


def sum_over_others(
    step: Callable[[Array], Array], x: Array, temperature: Array, where: Array | None, slot: Array | None = None
) -> Array:
    """Sum a step of the scaled difference to every item, itself included: sum_j step((x_i - x_j) / T).

    Args:
      step: an elementwise function that has become constant at differences of 200 temperatures.
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that are summed over, or None.
      slot: the list of each item, if only those of the same list are summed over.
    """

    def block(rows: Array, *mine: Array) -> Array:
        # Clipped before the division: a quotient that overflows would make the gradient 0 * inf.
        difference = jnp.clip(rows[:, None] - x[None, :], -200 * temperature, 200 * temperature)
        terms = step(difference / temperature)
        if where is not None:
            terms = jnp.where(where[None, :], terms, jnp.zeros_like(terms))
        if slot is not None:
            terms = jnp.where(mine[0][:, None] == slot[None, :], terms, jnp.zeros_like(terms))
        return jnp.sum(terms, axis=-1)

    return over_pairs(block, (x,) if slot is None else (x, slot), x.shape[0], few_rows)


def rank_sigmoid(x: Array, temperature: Array, where: Array | None, slot: Array | None = None) -> Array:
    """Return ascending soft ranks of one list: 1 plus the sum of sigmoid((x_i - x_j) / T) over all other j.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      slot: the list of each item, or None for one list.
    """
    return sum_over_others(jax.nn.sigmoid, x, temperature, where, slot) + 0.5
