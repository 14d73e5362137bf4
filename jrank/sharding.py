"""Meshes, and the helpers that code inside ``shard_map`` needs."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh

from jrank.types import Array

__all__ = ["common_variance", "make_mesh", "merge_top_k", "refuse_explicit"]


def make_mesh(axes: dict[str, int] | None = None, *, devices: Sequence[Any] | None = None) -> Mesh:
    """Make a mesh with automatic axes, the kind that every jrank function takes.

    Args:
      axes: name and size of each axis, in order; None is one axis ``"data"`` over all devices.
      devices: the devices; None is all of them.

    Returns:
      The mesh.

    >>> make_mesh({"data": 1}, devices=jax.devices()[:1]).axis_names
    ('data',)
    """
    devices = list(jax.devices() if devices is None else devices)
    axes = {"data": len(devices)} if axes is None else axes
    kinds = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=kinds, devices=devices)


def refuse_explicit(mesh: Mesh) -> None:
    """Refuse a mesh with explicit axes.

    Args:
      mesh: the mesh that a user handed in.

    Raises:
      ValueError: an axis is explicit.
    """
    if any(kind == AxisType.Explicit for kind in mesh.axis_types):
        raise ValueError(
            f"the mesh has explicit axes {mesh.axis_names}; make it with jrank.sharding.make_mesh "
            "or with axis_types=(AxisType.Auto, ...)"
        )


def common_variance(*arrays: Array) -> tuple[Array, ...]:
    """Give arrays the same varying axes, as the arguments of a custom VJP inside ``shard_map`` need.

    Args:
      *arrays: arrays that may vary over different mesh axes; outside of ``shard_map`` they pass unchanged.

    Returns:
      The arrays, each varying over the union of the axes.
    """
    axes = [_varying(a) for a in arrays]
    union = frozenset().union(*axes)

    def widen(array: Array, have: frozenset) -> Array:
        missing = tuple(sorted(union - have))
        return lax.pcast(array, missing, to="varying") if missing else array

    return tuple(widen(a, have) for a, have in zip(arrays, axes, strict=True))


def _varying(array: Array) -> frozenset:
    kind = jax.typeof(array)
    if hasattr(kind, "vma"):  # the name before jax 0.10
        return kind.vma
    return kind.manual_axis_type.varying


def merge_top_k(scores: Array, ids: Array, k: int, axis_name: str) -> tuple[Array, Array]:
    """Merge the best items of every shard, inside ``shard_map``.

    Args:
      scores: the best scores of this shard, descending, ``[..., k']``; -inf for none.
      ids: their ids, ``[..., k']``.
      k: how many to keep.
      axis_name: the mesh axis that the documents are sharded over.

    Returns:
      The best scores and ids over all shards, ``[..., min(k, shards * k')]``; of equal scores the one of the earlier
      shard comes first.
    """
    scores = lax.all_gather(scores, axis_name, axis=-1, tiled=True)
    ids = lax.all_gather(ids, axis_name, axis=-1, tiled=True)
    best, place = lax.top_k(scores, min(k, scores.shape[-1]))
    return best, jnp.take_along_axis(ids, place, axis=-1)
