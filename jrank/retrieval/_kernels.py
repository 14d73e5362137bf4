"""Exact search over vectors on the device: blocks of queries, and the best groups before the best documents."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jrank.types import Array

__all__ = ["GROUP", "best_documents", "place_documents"]

# Documents per group. A row of scores is first reduced to group maxima, so that the sort sees 1/16 of it.
GROUP = 16


def place_documents(vectors, capacity: int) -> tuple[Array, Array]:
    """Put vectors on the device, padded to a capacity.

    Args:
      vectors: ``[n, d]``, in the type in which they are stored.
      capacity: how many rows the result has, a multiple of ``GROUP``.

    Returns:
      The vectors, ``[capacity, d]``, and which rows are documents.
    """
    missing = capacity - vectors.shape[0]
    return jnp.pad(jnp.asarray(vectors), ((0, missing), (0, 0))), jnp.arange(capacity) < vectors.shape[0]


@functools.partial(jax.jit, static_argnames="k")
def best_documents(queries: Array, vectors: Array, allowed: Array, k: int) -> tuple[Array, Array]:
    """Return the best documents of each query of a block.

    At most k groups hold a score as large as the k-th largest, so the best k groups hold the best k documents; groups
    are looked through in their order, so that of equal scores the earlier document wins.

    Args:
      queries: float32, ``[b, d]``.
      vectors: ``[capacity, d]``.
      allowed: bool, ``[capacity]``.
      k: at most the capacity.

    Returns:
      Scores, descending, and rows, ``[b, k]``; -inf where there is no allowed document left.
    """
    scores = lax.dot_general(
        queries.astype(vectors.dtype),
        vectors,
        (((1,), (1,)), ((), ())),
        precision=lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    # NaN would come first in a top-k.
    scores = jnp.where(allowed[None, :] & ~jnp.isnan(scores), scores, -jnp.inf)
    rows, capacity = scores.shape
    groups = capacity // GROUP
    if k * 2 >= groups:
        best, place = lax.top_k(scores, k)
        return best, place
    grouped = scores.reshape(rows, groups, GROUP)
    chosen = jnp.sort(lax.top_k(grouped.max(axis=-1), k)[1], axis=-1)
    inside = jnp.take_along_axis(grouped, chosen[:, :, None], axis=1).reshape(rows, k * GROUP)
    best, place = lax.top_k(inside, k)
    group = jnp.take_along_axis(chosen, place // GROUP, axis=-1)
    return best, group * GROUP + place % GROUP
