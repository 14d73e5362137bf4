"""Exact search over vectors on the device: blocks of queries, and the best groups before the best documents."""

import functools

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
    scores = _scores(queries, vectors, scales)
    rows, capacity = scores.shape
    groups = capacity // GROUP
    # Added, not selected: so the mask joins the reduction, and the scores are written once and read once.
    mask = jnp.where(allowed, 0, -jnp.inf).astype(jnp.float32)
    if k * 2 >= groups:
        best, place = lax.top_k(scores + mask[None, :], k)
        return best, place
    grouped, mask = scores.reshape(rows, groups, GROUP), mask.reshape(groups, GROUP)
    chosen = jnp.sort(lax.top_k((grouped + mask[None]).max(axis=-1), k)[1], axis=-1)
    inside = jax.vmap(lambda row, which: row[which])(grouped, chosen) + mask[chosen]
    best, place = lax.top_k(inside.reshape(rows, k * GROUP), k)
    group = jnp.take_along_axis(chosen, place // GROUP, axis=-1)
    return best, group * GROUP + place % GROUP


def _scores(queries, vectors, scales):
    contract = (((1,), (1,)), ((), ()))
    if scales is None:
        return lax.dot_general(
            queries.astype(vectors.dtype),
            vectors,
            contract,
            precision=lax.Precision.HIGHEST,
            preferred_element_type=jnp.float32,
        )
    # The queries become bytes too, so that the product runs on integers.
    step = jnp.abs(queries).max(axis=1, keepdims=True) / 127
    whole = jnp.round(queries / jnp.where(step > 0, step, 1)).astype(jnp.int8)
    product = lax.dot_general(whole, vectors, contract, preferred_element_type=jnp.int32)
    return product.astype(jnp.float32) * step * scales[None, :]
