"""The operators beside rank and sort under every transformation, all in one function, so that it is compiled once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jrank import soft

X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 6)), jnp.float32)
KEY = jax.random.key(0)


def every(x, t):
    """All outputs for one list, one behind the other."""
    other = jnp.cos(3 * x)
    smooth = soft.perturbed(jnp.sort, num_samples=16, sigma=0.5, noise="normal")
    parts = [
        soft.argmax(x, temperature=t),
        soft.argmax(x, temperature=t, method="l2"),
        soft.argmax(x, temperature=t, method="network_cauchy"),
        soft.argmin(x, temperature=t, method="neuralsort"),
        soft.max(x, temperature=t, method="logsumexp"),
        soft.min(x, temperature=t, straight_through=True),
        soft.sort_with(x, other, temperature=t),
        soft.sort_with(x, other, temperature=t, method="odd_even"),
        soft.kendall(x, other, temperature=t),
        soft.gumbel_softmax(x, key=KEY, temperature=t),
        soft.gumbel_top_k(x, 2, key=KEY, temperature=t),
        soft.gumbel_top_k(x, 2, key=KEY, temperature=t, method="union", straight_through=True),
        smooth(x, key=KEY),
    ]
    return jnp.concatenate([jnp.atleast_1d(part) for part in parts])


def loss(x, t):
    return jnp.sum(jax.vmap(lambda row: every(row, t))(x) ** 2)


@pytest.mark.slow
def test_all_of_them(mesh8):
    want = np.stack([every(row, 0.3) for row in X])
    np.testing.assert_allclose(jax.jit(jax.vmap(every, (0, None)))(X, 0.3), want, rtol=1e-4, atol=1e-5)
    scanned = jax.lax.scan(lambda c, row: (c, every(row, 0.3)), 0, X)[1]
    np.testing.assert_allclose(scanned, want, rtol=1e-4, atol=1e-5)

    slope = jax.jit(jax.grad(loss))
    gradient = slope(X, 0.3)
    assert np.isfinite(gradient).all()
    exported = jax.export.export(slope, platforms=["cpu", "cuda", "tpu"])(X, 0.3)
    np.testing.assert_allclose(
        jax.export.deserialize(exported.serialize()).call(X, 0.3), gradient, rtol=1e-4, atol=1e-4
    )

    spec, alone = PartitionSpec("data"), PartitionSpec()
    sharded = jax.shard_map(
        lambda x, t: jax.lax.psum(loss(x, t), "data"), mesh=mesh8, in_specs=(spec, alone), out_specs=alone
    )
    got = jax.jit(jax.grad(sharded, (0, 1)))(X, jnp.float32(0.3))
    np.testing.assert_allclose(got[0], gradient, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got[1], jax.grad(loss, 1)(X, 0.3), rtol=1e-3)

    v = jnp.cos(X)
    forward = jax.jvp(lambda x: loss(x, 0.3), (X,), (v,))[1]
    np.testing.assert_allclose(forward, jnp.vdot(gradient, v), rtol=1e-4)
