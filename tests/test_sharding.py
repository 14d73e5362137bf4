"""Meshes and the merge of top-k lists, on simulated devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jrank import sharding


def test_meshes_have_automatic_axes(mesh8):
    assert mesh8.shape == {"data": 8}
    assert set(mesh8.axis_types) == {AxisType.Auto}
    sharding.refuse_explicit(mesh8)


def test_explicit_axes_are_refused_with_a_hint():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    with pytest.raises(ValueError, match=r"make it with jrank\.sharding\.make_mesh"):
        sharding.refuse_explicit(mesh)


def test_merged_top_k_equals_the_whole(mesh8):
    scores = jnp.asarray(np.random.default_rng(0).integers(0, 9, size=(3, 64)), jnp.float32)
    ids = jnp.broadcast_to(jnp.arange(64, dtype=jnp.int32), scores.shape)

    def local(scores, ids):
        best, place = jax.lax.top_k(scores, 5)
        return sharding.merge_top_k(best, jnp.take_along_axis(ids, place, axis=-1), 5, "data")

    spec, whole = PartitionSpec(None, "data"), PartitionSpec()
    # The results are equal on all devices after the gather, which the variance check cannot know.
    merged = jax.shard_map(local, mesh=mesh8, in_specs=(spec, spec), out_specs=(whole, whole), check_vma=False)
    best, place = merged(scores, ids)
    want, where = jax.lax.top_k(scores, 5)
    np.testing.assert_array_equal(best, want)
    np.testing.assert_array_equal(place, where)


def test_common_variance_joins_the_axes(mesh8):
    def f(x, c):
        a, b = sharding.common_variance(x, c)
        assert jax.typeof(x) != jax.typeof(c)  # one varies over the mesh, the other does not
        assert jax.typeof(a) == jax.typeof(b) == jax.typeof(x)
        return a + b

    spec = PartitionSpec("data")
    got = jax.shard_map(f, mesh=mesh8, in_specs=(spec, PartitionSpec()), out_specs=spec)(jnp.arange(8.0), jnp.ones(1))
    np.testing.assert_array_equal(got, np.arange(8) + 1)
    assert sharding.common_variance(jnp.ones(1))[0] == 1
