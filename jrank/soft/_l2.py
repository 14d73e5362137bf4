"""Exact soft rank and sort by Euclidean projection onto the permutahedron."""

import jax.numpy as jnp
from jax import lax

from jrank.arrays import neutralise, take_last
from jrank.soft._blocks import at_items, deviation, means
from jrank.soft._lists import sort_lists, sorted_scores
from jrank.soft._solve import Blocks, solve
from jrank.types import Array


def centres(blocks: Blocks, dtype) -> Array:
    """Return the table of the mean 1-based position of each block.

    Args:
      blocks: the blocks.
      dtype: the type of the result.
    """
    return blocks.begin.astype(dtype) + (blocks.length.astype(dtype) + 1) / 2


def rank_l2(
    x: Array, temperature: Array, where: Array | None, slot: Array | None = None, *, backend: str = "xla"
) -> Array:
    """Return ascending soft ranks of one list: projection of x / T onto the permutations of 1..n.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      slot: the list of each item, or None for one list.
      backend: see ``rank``.
    """
    s, order, lower = sort_lists(x, where, slot, backend)
    blocks = solve((s,), order, temperature / 2, lower=lower, backend=backend)
    centre = at_items(centres(blocks, x.dtype), blocks.ids)
    return centre + deviation(neutralise(x, where), blocks) / temperature


def sort_l2(x: Array, temperature: Array, where: Array | None, *, backend: str = "xla") -> Array:
    """Return ascending soft sorted values of one list: projection of (1..n) / T onto the permutations of x.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      backend: see ``sort``.
    """
    s, order = sorted_scores(x, where, backend)
    place = lax.iota(jnp.int32, x.shape[0])
    blocks = solve((-s,), place, -0.5 / temperature, backend=backend)
    mirrored = blocks._replace(kept=tuple(-a for a in blocks.kept))
    offset = (place + 1).astype(x.dtype) - at_items(centres(blocks, x.dtype), blocks.ids)
    return means(take_last(neutralise(x, where), order), mirrored) + offset / temperature
