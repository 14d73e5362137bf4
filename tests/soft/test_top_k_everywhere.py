"""Soft matrices, top k and masks under every transformation, as test_contract holds rank and sort."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jrank import soft
from jrank.soft import _argsort, _top_k_mask

pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)
WHERE = jnp.asarray(np.arange(6) % 4 != 1)
CASES = [
    *(("argsort", m) for m in _argsort.METHODS),
    *(("top_k", m) for m in _argsort.METHODS),
    *(("top_k_mask", m) for m in _top_k_mask.METHODS),
]
CORE = [("top_k", "softsort"), ("top_k_mask", "l2"), ("top_k_mask", "threshold")]
each = pytest.mark.parametrize(
    ("operator", "method"), [pytest.param(*c, marks=() if c in CORE else pytest.mark.slow) for c in CASES]
)


def apply(operator, method, x, t, **options):
    options = {"method": method, "temperature": t, "where": WHERE, **options}
    if operator == "argsort":
        return soft.argsort(x, **options)
    if operator == "top_k":
        return soft.top_k(x, 2, **options)[0]
    return soft.top_k_mask(x, 2, **options)


def weights_of(out):
    """Different numbers along the last axis, so that no sum over it is constant."""
    return jnp.broadcast_to(jnp.cos(jnp.arange(out.shape[-1], dtype=out.dtype)), out.shape)


@each
def test_transformations(operator, method, mesh8):
    def loss(v, t):
        out = apply(operator, method, v, t)
        return jnp.sum(out**2 * weights_of(out))

    t = jnp.linspace(0.2, 0.9, 8)
    rows = np.stack([apply(operator, method, row, s) for row, s in zip(X, t, strict=True)])
    near = {"rtol": 2e-5, "atol": 1e-6}
    np.testing.assert_allclose(apply(operator, method, X, t), rows, **near)
    np.testing.assert_allclose(jax.vmap(lambda v, s: apply(operator, method, v, s))(X, t), rows, **near)
    scanned = jax.lax.scan(lambda c, row: (c, apply(operator, method, row, 0.3)), 0, X)[1]
    np.testing.assert_allclose(scanned, apply(operator, method, X, 0.3), **near)
    gradient, slope = jax.grad(loss, (0, 1))(X, t)
    np.testing.assert_array_equal(gradient[:, ~np.asarray(WHERE)], 0)
    assert slope.shape == (8,)
    exported = jax.export.export(jax.jit(jax.grad(loss)), platforms=["cpu", "cuda", "tpu"])(X, t)
    np.testing.assert_allclose(exported.call(X, t), gradient, rtol=1e-4, atol=1e-5)
    spec = PartitionSpec("data")
    sharded = jax.shard_map(
        lambda v, s: jax.lax.psum(loss(v, s), "data"), mesh=mesh8, in_specs=(spec, spec), out_specs=PartitionSpec()
    )
    np.testing.assert_allclose(jax.jit(jax.grad(sharded))(X, t), gradient, rtol=1e-4, atol=1e-5)


@each
def test_axes_types_and_odd_values(operator, method):
    t = jnp.linspace(0.2, 0.9, 8)
    want = apply(operator, method, X, t)
    got = apply(operator, method, X.T, t, axis=0, where=WHERE[:, None])
    np.testing.assert_allclose(got.T if operator == "top_k_mask" else got, want, rtol=2e-5, atol=1e-6)
    for dtype in (jnp.bfloat16, jnp.float16):
        half = apply(operator, method, X.astype(dtype), t)
        assert half.dtype == dtype
        full = apply(operator, method, X.astype(dtype).astype(jnp.float32), t)
        np.testing.assert_allclose(half.astype(jnp.float32), full, rtol=1e-2, atol=1e-2)
    for junk in (jnp.nan, jnp.inf, -jnp.inf, 3e38):
        value = apply(operator, method, jnp.where(WHERE, X, junk), t)
        np.testing.assert_array_equal(value, want)


@each
def test_second_derivatives(operator, method, oracle, x64):
    x = jnp.asarray(X[0], jnp.float64)

    def loss(v):
        out = apply(operator, method, v, 0.6)
        return jnp.sum(out**2 * weights_of(out))

    gradient = jax.jit(jax.grad(loss))
    want = oracle.differences(gradient, x)
    forward, reverse = jax.jit(lambda v: (jax.hessian(loss)(v), jax.jacrev(jax.grad(loss))(v)))(x)
    np.testing.assert_allclose(forward, want, atol=2e-6)
    np.testing.assert_allclose(reverse, want, atol=2e-6)
