"""Ranks as sums over the other items, block by block, for the items whose rank is asked for."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import take_last
from jrank.metrics._lists import iota_like, scatter_last
from jrank.types import Array

__all__ = ["logistic_sums", "smallest_temperature", "sums_over_others"]

# Pairs of the whole batch that are in memory at once.
BLOCK_PAIRS = 1 << 19

# Of 16 parts of the rows so many are computed, as few as hold those that are wanted.
PARTS = (1, 2, 4, 8, 16)

# Up to this range of the scores, in temperatures, the exponentials of all items are numbers at once: no pair needs one.
RANGE = 40


def sums_over_others(term: Callable[[Any, Any], Array], rows: Any, columns: Any, wanted: Array | None) -> Array:
    """Sum a term over all items of a list, for each wanted item; what is computed on the way is forgotten.

    Args:
      term: takes arrays ``[..., r, 1]`` of the first and ``[..., 1, n]`` of the second; returns ``[..., r, n]``.
      rows: what is known of the item that a sum belongs to, arrays ``[..., n]``.
      columns: what is known of the items summed over, arrays ``[..., n]``.
      wanted: which sums are needed, ``[..., n]``, or None for all.

    Returns:
      The sums, ``[..., n]``; 0 where they are not wanted.

    Cost: O(n w) time for at most w wanted items in a list; O(n) memory beside one block, also for the gradient.
    """
    first = jax.tree.leaves(rows)[0]
    n = first.shape[-1]
    block = max(1, min(n, BLOCK_PAIRS // max(1, first.size)))

    def sums(mine: Any) -> Array:
        mine = jax.tree.map(lambda x: x[..., :, None], mine)
        return jnp.sum(term(mine, jax.tree.map(lambda x: x[..., None, :], columns)), axis=-1)

    if block == n:
        total = sums(rows)
        return total if wanted is None else jnp.where(wanted, total, jnp.zeros_like(total))
    order = None
    if wanted is not None:
        *_, order = lax.sort(((~wanted).astype(jnp.int32), iota_like(wanted)), dimension=-1, num_keys=2)
        rows = jax.tree.map(lambda x: take_last(x, order), rows)
    body = jax.checkpoint(sums)

    def first_sums(size: int, rows: Any) -> Array:
        count = -(-size // block)
        extra = max(0, count * block - n)

        def split(x: Array) -> Array:
            x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, extra)], mode="edge")[..., : count * block]
            return jnp.moveaxis(x.reshape(*x.shape[:-1], count, block), -2, 0)

        parts = jnp.moveaxis(lax.map(body, jax.tree.map(split, rows)), 0, -2)
        parts = parts.reshape(*first.shape[:-1], count * block)[..., :n]
        return jnp.pad(parts, [(0, 0)] * (parts.ndim - 1) + [(0, n - parts.shape[-1])])

    if wanted is None or order is None:
        return first_sums(n, rows)
    # The rows asked for come first; how many there are decides between a few static numbers of blocks.
    sizes = [-(-n * part // PARTS[-1]) for part in PARTS]
    need = jnp.max(jnp.sum(wanted, axis=-1, dtype=jnp.int32))
    which = jnp.sum(jnp.asarray(sizes[:-1], jnp.int32) < need, dtype=jnp.int32)
    total = scatter_last(order, lax.switch(which, [functools.partial(first_sums, size) for size in sizes], rows))
    return jnp.where(wanted, total, jnp.zeros_like(total))


@jax.custom_jvp
def _share(x: Array, y: Array, ex: Array, ey: Array) -> Array:
    """sigmoid(y - x) from the exponentials of both; all of its derivatives are those with respect to x and y."""
    return ey / (ex + ey)


@_share.defjvp
def _share_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, y, ex, ey = primals
    up, down = _share(x, y, ex, ey), _share(y, x, ey, ex)
    return up, up * down * (tangents[1] - tangents[0])


def logistic_sums(
    scores: Array, temperature: Array, where: Array | None, slot: Array | None, wanted: Array | None
) -> Array:
    """Sum sigmoid((s_j - s_i) / T) over the items j of the list of i, itself included.

    Args:
      scores: finite, ``[..., n]``.
      temperature: positive, ``[..., 1]``.
      where: the items that are summed over, or None.
      slot: the list of each item, or None where each row is a list.
      wanted: the items whose sum is needed, or None for all.

    Returns:
      The sums, ``[..., n]``; 0 where they are not wanted.

    Numerics: within a range of 40 temperatures by one exponential for each item, beyond it by one for each pair.
    """
    still = lax.stop_gradient(scores)
    low = jnp.min(still if where is None else jnp.where(where, still, jnp.inf), axis=-1, keepdims=True, initial=jnp.inf)
    high = jnp.max(
        still if where is None else jnp.where(where, still, -jnp.inf), axis=-1, keepdims=True, initial=-jnp.inf
    )
    near = jnp.all((high - low <= RANGE * lax.stop_gradient(temperature)) | (low > high))

    def same(mine: Any, theirs: Any, terms: Array) -> Array:
        return terms if slot is None else jnp.where(mine[-1] == theirs[-1], terms, jnp.zeros_like(terms))

    lists = () if slot is None else (slot,)

    def by_items(scores: Array, temperature: Array) -> Array:
        middle = jnp.where(low > high, jnp.zeros_like(low), low + (high - low) / 2)
        x = (scores - middle) / temperature
        e = lax.stop_gradient(jnp.exp(jnp.clip(x, -RANGE, RANGE)))
        # A masked item outranks nobody: 0 of its own over any sum.
        theirs = e if where is None else jnp.where(where, e, jnp.zeros_like(e))

        def term(a: Any, b: Any) -> Array:
            return same(a, b, _share(a[0], b[0], a[1], b[1]))

        return sums_over_others(term, (x, e, *lists), (x, theirs, *lists), wanted)

    def by_pairs(scores: Array, temperature: Array) -> Array:
        t = temperature[..., None]
        mask = () if where is None else (where,)

        def term(a: Any, b: Any) -> Array:
            # Clipped before the division: a quotient that overflows would make the gradient 0 * inf.
            terms = jax.nn.sigmoid(jnp.clip(b[0] - a[0], -200 * t, 200 * t) / t)
            terms = terms if where is None else jnp.where(b[1], terms, jnp.zeros_like(terms))
            return same(a, b, terms)

        return sums_over_others(term, (scores, *lists), (scores, *mask, *lists), wanted)

    return lax.cond(near, by_items, by_pairs, scores, temperature)


def smallest_temperature(dtype: Any) -> float:
    """Return what smaller temperatures count as.

    Args:
      dtype: a floating type.
    """
    return 1e-15 if jnp.finfo(dtype).bits <= 32 else 1e-150
