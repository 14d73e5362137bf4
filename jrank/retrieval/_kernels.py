"""Exact search over vectors on the device: blocks of queries, and the best groups before the best documents."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jrank.sharding import merge_top_k
from jrank.types import Array

__all__ = ["GROUP", "backend", "best_documents", "place_documents"]

# Documents per group. A row of scores is first reduced to group maxima, so that the sort sees 1/16 of it.
GROUP = 16
# Documents in bytes that a CPU scores at a time: the most, and fewer than which do not keep its cores busy.
MOST, LEAST = 2048, 256


def place_documents(
    vectors: np.ndarray, scales: np.ndarray | None, capacity: int, mesh: Mesh | None
) -> tuple[Array, Array | None, Array]:
    """Put vectors on the device, or spread them over the devices of a mesh, padded to a capacity.

    Args:
      vectors: ``[n, d]``, in the type in which they are stored.
      scales: float32, ``[n]``, for int8.
      capacity: how many rows the result has; each device gets a multiple of ``GROUP``.
      mesh: a mesh with one axis, or None.

    Returns:
      The vectors, ``[capacity, d]``, the scales, and which rows are documents.
    """
    missing = capacity - len(vectors)
    where = None if mesh is None else NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))

    def place(array: np.ndarray) -> Array:
        return jax.device_put(array, where)

    padded = place(np.pad(vectors, ((0, missing), (0, 0))))
    steps = None if scales is None else place(np.pad(scales, (0, missing)))
    return padded, steps, place(np.arange(capacity) < len(vectors))


def backend() -> str:
    """Return the platform that searches run on."""
    return jax.default_backend()


@functools.partial(jax.jit, static_argnames=("k", "mesh"))
def best_documents(
    queries: Array | np.ndarray,
    vectors: Array,
    scales: Array | None,
    allowed: Array | np.ndarray,
    *,
    k: int,
    mesh: Mesh | None = None,
) -> tuple[Array, Array]:
    """Return the best documents of each query of a block.

    Args:
      queries: float32, ``[b, d]``.
      vectors: ``[capacity, d]``.
      scales: float32, ``[capacity]``, for int8 vectors.
      allowed: bool, ``[capacity]``.
      k: at most the capacity.
      mesh: the mesh that the documents are spread over, or None. Each device searches its part, then the best of all
        are put together.

    Returns:
      Scores, descending, and rows, ``[b, k]``; -inf where there is no allowed document left. Of equal scores the
      smaller row comes first.
    """
    if mesh is None:
        return _best(queries, vectors, scales, allowed, k)
    axis = mesh.axis_names[0]

    def local(queries, vectors, scales, allowed):
        size = vectors.shape[0]
        best, place = _best(queries, vectors, scales, allowed, min(k, size))
        return merge_top_k(best, place + size * lax.axis_index(axis), k, axis)

    whole, spread = PartitionSpec(), PartitionSpec(axis)
    # After the gather the results are equal on all devices, which the variance check cannot know.
    run = jax.shard_map(
        local, mesh=mesh, in_specs=(whole, spread, spread, spread), out_specs=(whole, whole), check_vma=False
    )
    return run(queries, vectors, scales, allowed)


def _best(queries, vectors, scales, allowed, k):
    """Search one device: at most k groups hold a score as large as the k-th largest, so the best k groups are enough.

    Groups are looked through in their order, so that of equal scores the earlier document wins.
    """
    count, capacity = queries.shape[0], vectors.shape[0]
    on_cpu = jax.default_backend() == "cpu"
    # On a CPU XLA takes numbers of 16 bits one by one for the product of a matrix with a vector.
    if count == 1 and on_cpu and vectors.dtype.itemsize == 2:
        queries = jnp.concatenate([queries, queries])
    rows, groups, block = queries.shape[0], capacity // GROUP, math.gcd(capacity, MOST)
    queries, factor = _prepared(queries, vectors.dtype, scales)
    # Added, not selected: so the mask joins the reduction, and the scores are written once and read once.
    mask = jnp.where(allowed, 0, -jnp.inf).astype(jnp.float32)
    # In blocks bytes are several times as fast for one query; other types gain on one core and lose on several.
    if not on_cpu or vectors.dtype != jnp.int8 or block < LEAST:
        scores, axis = _scores(queries, factor, vectors, scales).reshape(rows, groups, GROUP), 0
        maxima = (scores + mask.reshape(1, groups, GROUP)).max(axis=-1)
    else:
        scores, maxima = _in_blocks(queries, factor, vectors, scales, mask, block)
        axis, maxima = 2, maxima.T
    if k * 2 >= groups:
        best, place = lax.top_k(jnp.moveaxis(scores, axis, 0).reshape(rows, capacity) + mask[None], k)
        return best[:count], place[:count]
    chosen = jnp.sort(lax.top_k(maxima, k)[1], axis=-1)
    inside = jax.vmap(lambda scores, which: scores[which], (axis, 0))(scores, chosen)
    inside += mask.reshape(groups, GROUP)[chosen]
    best, place = lax.top_k(inside.reshape(rows, k * GROUP), k)
    group = jnp.take_along_axis(chosen, place // GROUP, axis=-1)
    return best[:count], (group * GROUP + place % GROUP)[:count]


def _in_blocks(queries, factor, vectors, scales, mask, block):
    """Scores ``[groups, GROUP, b]`` and maxima of the allowed ones ``[groups, b]``.

    The scores of a block are in the cache when its maxima are taken, and documents are the long operand of the product.
    """
    rows = queries.shape[0]

    def score(part):
        vectors, scales, mask = part
        scores = _scores(vectors, scales, queries, factor).reshape(-1, GROUP, rows)
        return scores, (scores + mask.reshape(-1, GROUP, 1)).max(axis=1)

    parts = jax.tree.map(lambda array: array.reshape(-1, block, *array.shape[1:]), (vectors, scales, mask))
    scores, maxima = lax.map(score, parts)
    return scores.reshape(-1, GROUP, rows), maxima.reshape(-1, rows)


def _prepared(queries, dtype, scales):
    """Queries in the type of the vectors, and what a step of each is worth where these are bytes."""
    if scales is None:
        return queries.astype(dtype), None
    # The queries become bytes too, so that the product runs on integers.
    step = jnp.abs(queries).max(axis=1) / 127
    return jnp.round(queries / jnp.where(step > 0, step, 1)[:, None]).astype(jnp.int8), step


def _scores(left, left_steps, right, right_steps):
    """Products of all rows on the left with all on the right."""
    contract = (((1,), (1,)), ((), ()))
    if left_steps is None:
        return lax.dot_general(
            left, right, contract, precision=lax.Precision.HIGHEST, preferred_element_type=jnp.float32
        )
    product = lax.dot_general(left, right, contract, preferred_element_type=jnp.int32)
    return product.astype(jnp.float32) * left_steps[:, None] * right_steps[None, :]
