"""Isotonic regression against the minimax formula, scikit-learn's values, and what its mathematics promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import soft
from jrank.errors import SoftError
from jrank.soft import _isotonic

RNG = np.random.default_rng(0)
Y = RNG.normal(size=12).astype(np.float32)
W = RNG.random(12).astype(np.float32) + np.float32(0.1)
METHODS = list(_isotonic.METHODS)


def fit(oracle, y, weights=None, method="l2", increasing=True):
    y = np.asarray(y, np.float64) if increasing else np.asarray(y, np.float64)[::-1]
    w = None if weights is None else weights if increasing else weights[::-1]
    out = oracle.isotonic(y, w) if method == "l2" else np.log(oracle.isotonic(np.exp(y), w))
    return out if increasing else out[::-1]


@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_against_minimax(method, increasing, oracle):
    plain = jax.jit(lambda y: soft.isotonic(y, method=method, increasing=increasing))
    weighted = jax.jit(lambda y, w: soft.isotonic(y, weights=w, method=method, increasing=increasing))
    for kind in ("normal", "falling", "tied", "offset"):
        y = {"normal": Y, "falling": np.sort(Y)[::-1].copy(), "tied": np.round(Y), "offset": Y + np.float32(60)}[kind]
        np.testing.assert_allclose(plain(y), fit(oracle, y, None, method, increasing), rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(weighted(y, W), fit(oracle, y, W, method, increasing), rtol=2e-6, atol=1e-6)


def test_values_of_scikit_learn(golden):
    fits = {way: jax.jit(lambda *a, way=way: _masked(*a, increasing=way)) for way in (True, False)}
    for case in golden("soft.json")["isotonic"]:
        n = len(case["y"])
        y, w = (np.pad(np.float32(case[name]), (0, 60 - n)) for name in ("y", "weights"))
        got = fits[case["increasing"]](y, w, np.arange(60) < n)
        np.testing.assert_allclose(got[:n], case["fit"], rtol=2e-6, atol=1e-6)


def _masked(y, weights, where, *, increasing):
    return soft.isotonic(y, weights=weights, where=where, increasing=increasing)


@pytest.mark.parametrize("method", ["l2", pytest.param("kl", marks=pytest.mark.slow)])
def test_derivatives(method, oracle, x64):
    y, w = jnp.asarray(Y[:7], jnp.float64), jnp.asarray(W[:7], jnp.float64)

    def f(y, w):
        return soft.isotonic(y, weights=w, method=method)

    by_y = oracle.differences(lambda v: fit(oracle, v, np.asarray(w), method), y)
    by_w = oracle.differences(lambda v: fit(oracle, np.asarray(y), v, method), w)
    forward, reverse = jax.jit(jax.jacfwd(f, (0, 1))), jax.jit(jax.jacrev(f, (0, 1)))
    for got in (forward(y, w), reverse(y, w)):
        np.testing.assert_allclose(got[0], by_y, atol=1e-8)
        np.testing.assert_allclose(got[1], by_w, atol=1e-8)
    gradient = jax.jit(jax.grad(lambda y, w: jnp.vdot(jnp.arange(7.0), f(y, w) ** 2), (0, 1)))
    hessian = jax.jit(jax.jacfwd(gradient, (0, 1)))(y, w)
    np.testing.assert_allclose(hessian[0][0], oracle.differences(lambda v: gradient(v, w)[0], y), atol=1e-6)
    np.testing.assert_allclose(hessian[1][1], oracle.differences(lambda v: gradient(y, v)[1], w), atol=1e-6)
    np.testing.assert_allclose(hessian[0][1], oracle.differences(lambda v: gradient(y, v)[0], w), atol=1e-6)
    # Without weights the map is the mean of each block.
    plain = jax.jacrev(lambda v: soft.isotonic(v, method=method))(y)
    np.testing.assert_allclose(plain, jax.jacrev(lambda v: f(v, jnp.ones_like(v)))(y), atol=1e-12)


@given(
    hnp.arrays(np.float32, 12, elements=st.floats(-8, 8, width=16)),
    hnp.arrays(np.float32, 12, elements=st.sampled_from([0, 0.5, 1, 3])),
)
def test_optimality(y, w):
    v = np.asarray(soft.isotonic(y, weights=w), np.float64)
    assert (np.diff(v) >= -1e-5).all()
    # The residuals of the tails point away from every other monotone fit, and vanish over a whole block.
    residual = w * (v - y)
    np.testing.assert_allclose(residual.sum(), 0, atol=1e-4)
    assert (np.cumsum(residual)[:-1] <= 1e-4).all()
    np.testing.assert_allclose((residual * v).sum(), 0, atol=1e-3)
    np.testing.assert_allclose(soft.isotonic(v.astype(np.float32), weights=w), v, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_masked_equals_removed(method):
    where = np.arange(12) % 3 != 1
    g = jnp.asarray(RNG.normal(size=8), jnp.float32)

    @jax.jit
    @jax.value_and_grad
    def padded(y):
        return jnp.vdot(g, soft.isotonic(y, weights=W, method=method, where=where)[np.flatnonzero(where)] ** 2)

    want, slope = jax.value_and_grad(lambda y: jnp.vdot(g, soft.isotonic(y, weights=W[where], method=method) ** 2))(
        jnp.asarray(Y[where])
    )
    seen = []
    for junk in (np.nan, np.inf, -np.inf, 3e38, 0.0):
        value, gradient = padded(jnp.asarray(np.where(where, Y, np.float32(junk))))
        np.testing.assert_allclose(value, want, rtol=1e-5)
        np.testing.assert_allclose(gradient[where], slope, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(gradient[~where], 0)
        seen.append((value, np.asarray(gradient)))
    for other in seen[1:]:
        for a, b in zip(seen[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", METHODS)
def test_odd_values(method):
    def fn(y, **options):
        return soft.isotonic(jnp.asarray(y, jnp.float32), method=method, **options)

    nan, inf = np.nan, np.inf
    got = fn([1.0, nan, 3.0, inf, 3.0, -inf])
    np.testing.assert_allclose(got, [1, nan, 3, nan, 3, nan], rtol=1e-6)
    np.testing.assert_array_equal(fn([7.0] * 6), 7)
    np.testing.assert_array_equal(fn([1.0, nan, 3.0, inf, 3.0, 2.0], where=jnp.zeros(6, bool)), 0)
    assert fn(np.zeros((0, 3))).shape == (0, 3)
    assert fn(np.zeros((3, 0))).shape == (3, 0)
    np.testing.assert_array_equal(fn([5.0]), 5)
    # What has no weight follows the others, and a list without any weight is fitted all the same.
    weights = jnp.array([1.0, 0, 1, 0, 0, 1])
    level = 0.5 if method == "l2" else np.log((1 + np.e) / 2)
    np.testing.assert_allclose(fn([1.0, 5, 0, 3, 9, 2], weights=weights), [level] * 3 + [2] * 3, rtol=1e-6)
    np.testing.assert_allclose(fn([2.0, 2, 1, 4, 5, 6], weights=jnp.zeros(6))[3:], [4, 5, 6])
    gradient = jax.grad(lambda w: jnp.sum(fn([3.0, 2, 1, 4, 5, 6], weights=w)))(jnp.zeros(6))
    assert np.isfinite(gradient).all()
    if method == "l2":
        np.testing.assert_allclose(fn([3e38, -3e38, 3e38, -3e38, 0, 0]), 0, atol=1e32)


def test_axes_batches_types_and_transformations(mesh8):
    y = jnp.asarray(RNG.normal(size=(8, 5)), jnp.float32)
    want = np.stack([soft.isotonic(row) for row in y])
    np.testing.assert_allclose(soft.isotonic(y), want, rtol=1e-6)
    np.testing.assert_allclose(soft.isotonic(y.T, axis=0).T, want, rtol=1e-6)
    np.testing.assert_allclose(soft.isotonic(y, weights=2 * jnp.ones(5)), want, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(soft.isotonic)(y), want, rtol=1e-6)
    half = soft.isotonic(y.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half, soft.isotonic(y.astype(jnp.bfloat16).astype(jnp.float32)).astype(jnp.bfloat16))
    assert soft.isotonic(jnp.arange(3)).dtype == jnp.float32

    def f(v):
        return jnp.sum(soft.isotonic(v) ** 3)

    gradient = jax.grad(f)(y)
    exported = jax.export.export(jax.jit(jax.grad(f)), platforms=["cpu", "cuda", "tpu"])(y)
    np.testing.assert_allclose(exported.call(y), gradient, rtol=1e-5, atol=1e-6)
    spec = jax.sharding.PartitionSpec("data")
    everywhere = jax.sharding.PartitionSpec()
    local = jax.shard_map(lambda v: jax.lax.psum(f(v), "data"), mesh=mesh8, in_specs=spec, out_specs=everywhere)
    np.testing.assert_allclose(jax.jit(jax.grad(local))(y), gradient, rtol=1e-5, atol=1e-6)


def test_errors(unchecked):
    with pytest.raises(SoftError, match=r"soft\.isotonic has no method 'l1'; methods: l2, kl"):
        soft.isotonic(Y, method="l1")
    with pytest.raises(SoftError, match=r"weights has shape \(3,\), which does not broadcast to \(12,\)"):
        soft.isotonic(Y, weights=jnp.ones(3))
    with pytest.raises(TypeError, match="y must be an array, got a list"):
        soft.isotonic([1.0, 2.0])
