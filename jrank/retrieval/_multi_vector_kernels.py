"""Late interaction over one shard on the device: placed, scored, the best taken."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jrank.maxsim import PackedDocs, QuantizedDocs, score_packed
from jrank.types import Array

__all__ = ["best_of_shard", "layout_of", "place"]


def layout_of(docs: PackedDocs | QuantizedDocs) -> PackedDocs:
    """Return the packed documents, or those whose tokens are codes.

    Args:
      docs: documents, quantised or not.
    """
    return docs.codes if isinstance(docs, QuantizedDocs) else docs


def place(docs: PackedDocs | QuantizedDocs, mesh: Mesh | None) -> Any:
    """Put a shard on the device, or spread its groups over the devices of a mesh.

    Args:
      docs: arrays on the host. On a CPU memory that is mapped or aligned stays where it is and is not copied.
      mesh: a mesh with one axis, or None.

    Returns:
      The same documents on the device; with a mesh, empty groups fill up the last part.
    """
    if mesh is None:
        return jax.tree.map(lambda array: jax.device_put(array, may_alias=True), docs)
    layout = layout_of(docs)
    groups, size = layout.tokens.shape[0], mesh.size
    spread, whole = NamedSharding(mesh, PartitionSpec(mesh.axis_names[0])), NamedSharding(mesh, PartitionSpec())

    def of(name: str, array: Any) -> Array:
        if name in ("slots", "starts", "lengths"):
            return jax.device_put(array, whole)
        array = np.asarray(array)
        fill = layout.max_docs if name == "segments" else 0
        blank = np.full((-groups % size, *array.shape[1:]), fill, array.dtype)
        return jax.device_put(np.concatenate([array, blank]), spread)

    return jax.tree_util.tree_map_with_path(lambda path, array: of(path[-1].name, array), docs)


@functools.partial(jax.jit, static_argnames=("k", "mesh"))
def best_of_shard(
    queries: Array | np.ndarray,
    where: Array | np.ndarray,
    weights: Array | np.ndarray | None,
    docs: PackedDocs | QuantizedDocs,
    allowed: Array | np.ndarray,
    *,
    k: int,
    mesh: Mesh | None = None,
) -> tuple[Array, Array]:
    """Return the best documents of a shard for each query of a block.

    Args:
      queries: float32, ``[b, q, d]``.
      where: which query tokens count, bool ``[b, q]``.
      weights: weight of each query token, ``[b, q]``, or None.
      docs: what ``place`` returned.
      allowed: bool, ``[n]``.
      k: at most ``n``.
      mesh: the mesh that the shard is spread over, or None.

    Returns:
      Scores, descending, and places in the shard, ``[b, k]``; -inf where no allowed document with a token is left. Of
      equal scores the smaller place comes first.
    """
    axis = "data" if mesh is None else mesh.axis_names[0]
    scores = score_packed(queries, docs, query_where=where, weights=weights, mesh=mesh, axis=axis)
    found = jnp.asarray(allowed) & (layout_of(docs).lengths > 0)
    # A score of -0 ties with 0.
    scores = jnp.where(scores == 0, jnp.zeros_like(scores), scores)
    best, at = lax.top_k(jnp.where(found[None], scores, -jnp.inf), k)
    return best, at
