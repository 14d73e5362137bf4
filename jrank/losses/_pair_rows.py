"""Sums of a pair loss of the user's own: all pairs of a list, a few rows at a time."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jrank.arrays import map_blocks
from jrank.losses._pairs import PairWeights, finite_scores, without_bound
from jrank.metrics._lists import Fn, Lists
from jrank.types import Array

__all__ = ["row_sums"]

# Pairs of all lists together that are held at a time.
BLOCK_PAIRS = 1 << 21


def row_sums(
    loss: Fn,
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    pair_weights: PairWeights | None,
    features: tuple[Array, ...],
) -> tuple[Array, Array]:
    """Sum a pair loss over the pairs of each list, and count these pairs.

    Args:
      loss: differences of scores and of labels to losses and to which pairs count; elementwise.
      s: scores, ``[..., n]``.
      y: labels.
      w: one weight per item, that of the first item of a pair; or None.
      lists: the lists.
      pair_weights: weights of pairs, or None.
      features: the numbers per item that ``pair_weights`` takes.

    Cost: O(n²) time, O(n) memory beside a block of rows; computed again for the gradient.
    """
    unseen = s == -jnp.inf
    items = (finite_scores(s), y, w, lists.where, lists.slot, unseen, features)
    rows, tree = jax.tree.flatten(jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), items))
    second = jax.tree.map(lambda x: x[None], items)

    @jax.checkpoint
    def block(*rows: Array) -> tuple[Array, Array]:
        first: Any = jax.tree.map(lambda x: x[..., None], jax.tree.unflatten(tree, rows))
        a, b = first, second
        x, dy = a[0] - b[0], a[1] - b[1]
        counts = jnp.ones(x.shape, bool)
        if lists.where is not None:
            counts &= a[3] & b[3]
        if lists.slot is not None:
            counts &= a[4] == b[4]
        values, valid = loss(jnp.where(counts, x, jnp.zeros_like(x)), dy)
        counts &= valid
        if w is not None:
            values = values * a[2]
        if pair_weights is not None:
            values = values * pair_weights.fn(a[6], b[6])
        values = without_bound(jnp.where(counts, values, jnp.zeros_like(values)), a[5] | b[5])
        return jnp.sum(values, axis=-1), jnp.sum(counts, axis=-1, dtype=s.dtype)

    size = max(1, BLOCK_PAIRS // max(1, math.prod(s.shape)))
    sums = map_blocks(block, tuple(rows), size, axis_size=s.shape[-1])
    total, number = (lists.sum(jnp.moveaxis(x, 0, -1)) for x in sums)
    return total, number
