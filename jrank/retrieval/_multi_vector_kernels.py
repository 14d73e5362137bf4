"""Late interaction over one shard on the device: all its documents, or some for each query."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh

from jrank.maxsim import PackedDocs, QuantizedDocs, score_packed
from jrank.types import Array

__all__ = ["best_of_shard", "layout_of", "on_host", "place", "score_some", "taken"]


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
    docs = as_bits(docs)
    if mesh is None:
        return jax.tree.map(lambda array: jax.device_put(array, may_alias=True), docs)
    return docs.shard(mesh, mesh.axis_names[0])


def as_bits(docs: PackedDocs | QuantizedDocs) -> PackedDocs | QuantizedDocs:
    """Return a shard in bfloat16 as codes of 16 bits, on a CPU; any other as it is.

    There XLA up to jax 0.10 would make all of the shard float32 to read a part of it. What codes mean it does not know.

    Args:
      docs: a shard on the host.
    """
    if isinstance(docs, QuantizedDocs) or docs.tokens.dtype != jnp.bfloat16 or jax.default_backend() != "cpu":
        return docs
    codes = dataclasses.replace(docs, tokens=np.asarray(docs.tokens).view(np.uint16))
    return QuantizedDocs(codes, None, None, None, None, bits=16, dimensions=docs.dimensions)


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


def taken(docs: PackedDocs | QuantizedDocs, tiles: Any, segments: Any) -> Any:
    """Pack some tiles of tokens anew; with NumPy arrays on the host, traced on the device.

    Args:
      docs: a shard.
      tiles: numbers of tiles of all its groups, ``[groups, tiles]``.
      segments: which document of the group each belongs to, as in ``PackedDocs``.

    Returns:
      Packed documents with ``tiles`` slots in a group.
    """
    layout = layout_of(docs)
    groups, count = tiles.shape
    size = layout.tokens.shape[1] // layout.segments.shape[1]

    def rows(array: Any) -> Any:
        return array.reshape(-1, size, *array.shape[2:])[tiles].reshape(groups, count * size, *array.shape[2:])

    slots = np.arange(groups * count, dtype=np.int32)
    blank = np.zeros_like(slots)
    packed = PackedDocs(rows(layout.tokens), segments, slots, blank, blank, max_docs=count, span=1)
    if isinstance(docs, PackedDocs):
        return packed
    beside = {name: rows(getattr(docs, name)) for name in ("scale", "nearest") if getattr(docs, name) is not None}
    return dataclasses.replace(docs, codes=packed, **beside)


def on_host(docs: PackedDocs | QuantizedDocs, mesh: Mesh | None) -> PackedDocs | QuantizedDocs | None:
    """Return the shard from which candidates are to be taken on the host; None if the device does it.

    Args:
      docs: a shard on the host.
      mesh: the mesh that it is spread over, or None.
    """
    return None if mesh is None else as_bits(docs)


@jax.jit
def score_some(
    queries: Array | np.ndarray,
    where: Array | np.ndarray,
    weights: Array | np.ndarray | None,
    docs: PackedDocs | QuantizedDocs,
    owners: Array | np.ndarray,
    tiles: Array | np.ndarray,
    segments: Array | np.ndarray,
    count: Array | np.ndarray | int,
) -> Array:
    """Score some documents of a shard, others for each query.

    Args:
      queries: float32, ``[b, q, d]``.
      where: which query tokens count, bool ``[b, q]``.
      weights: weight of each query token, ``[b, q]``, or None.
      docs: the shard; only what is named is read.
      owners: the query of each group, ``[groups]``.
      tiles: which tiles of the shard stand in each group, ``[groups, tiles]``.
      segments: which document of the group each tile belongs to, ascending; ``tiles`` where there is none.
      count: how many groups are to be scored.

    Returns:
      Scores ``[groups, tiles]``, in the order of ``segments``; 0 where there is no document.
    """
    owners, tiles, segments = (jnp.asarray(x) for x in (owners, tiles, segments))
    docs = jax.tree.map(jnp.asarray, docs)

    def one(number: Array, found: Array) -> Array:
        def of(array: Any) -> Any:
            return None if array is None else jnp.asarray(array)[owners[number]][None]

        # Groups fit into the cache of a core: what was gathered is used at once.
        group = taken(docs, tiles[number][None], segments[number][None])
        scores = score_packed(of(queries), group, query_where=of(where), weights=of(weights))[0]
        # A score of -0 ties with 0.
        return found.at[number].set(jnp.where(scores == 0, jnp.zeros_like(scores), scores))

    return lax.fori_loop(0, count, one, jnp.zeros(tiles.shape, jnp.float32))
