"""Projections onto the permutahedron and the capped simplex: optimal, differentiable, and what the operators use."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.errors import SoftError

RNG = np.random.default_rng(0)
Z, V = RNG.normal(size=(2, 6)) * 2


def test_the_permutahedron_projection_is_optimal(oracle, x64):
    projection = {m: jax.jit(lambda z, w, m=m: soft.projection_permutahedron(z, w, method=m)) for m in ("l2", "kl")}
    for _ in range(5):
        z, w = RNG.normal(size=(2, 6)) * 2
        p, q = (np.asarray(projection[m](z, w)) for m in ("l2", "kl"))
        order = np.argsort(z)
        np.testing.assert_allclose(p[order], z[order] - oracle.isotonic(z[order] - np.sort(w)), atol=1e-10)
        q = np.exp(q)
        vertices = np.array(list(itertools.permutations(w)))
        assert ((vertices - p) @ (z - p)).max() <= 1e-9
        assert ((np.exp(vertices) - q) @ (z - np.log(q))).max() <= 1e-9
        np.testing.assert_allclose(q.sum(), np.exp(w).sum(), rtol=1e-12)


def test_rank_and_sort_are_projections(x64):
    x, t, places = jnp.asarray(Z), 0.7, jnp.arange(1, 7.0)
    ranks = soft.projection_permutahedron(x / t)
    np.testing.assert_allclose(ranks, soft.rank(x, temperature=t), atol=1e-12)
    np.testing.assert_allclose(soft.projection_permutahedron(x / t, places), ranks, atol=1e-12)
    values = soft.projection_permutahedron(places / t, x)
    np.testing.assert_allclose(values, soft.sort(x, temperature=t), atol=1e-12)
    entropic = jnp.exp(soft.projection_permutahedron(x / t, jnp.log(places), method="kl"))
    np.testing.assert_allclose(entropic, soft.rank(x, temperature=t, method="kl"), atol=1e-12)
    mask = soft.projection_capped_simplex(x / t, 2)
    np.testing.assert_allclose(mask, soft.top_k_mask(x, 2, temperature=t), atol=1e-12)


def test_the_capped_simplex_projection_is_optimal(x64):
    project = jax.jit(soft.projection_capped_simplex)
    for k in (0.0, 0.3, 1.0, 2.5, 5.9, 6.0):
        y = np.asarray(project(Z, k))
        assert abs(y.sum() - k) < 1e-12
        # Moving mass from j to i never brings y nearer, for every pair that can give and take.
        for i, j in itertools.permutations(range(6), 2):
            if y[i] < 1 and y[j] > 0:
                assert (Z[i] - y[i]) - (Z[j] - y[j]) <= 1e-12
    np.testing.assert_array_equal(project(Z, 7.0), 1)


@pytest.mark.parametrize("method", ["l2", pytest.param("kl", marks=pytest.mark.slow)])
def test_derivatives_of_the_permutahedron_projection(method, oracle, x64):
    def f(z, w):
        return soft.projection_permutahedron(z, w, method=method)

    fast, both = jax.jit(f), jax.jit(lambda z, w: (jax.jacfwd(f, (0, 1))(z, w), jax.jacrev(f, (0, 1))(z, w)))
    want = oracle.differences(lambda z: fast(z, V), Z), oracle.differences(lambda w: fast(Z, w), V)
    for got in both(Z, V):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)


def test_derivatives_of_the_capped_simplex_projection(oracle, x64):
    f = jax.jit(soft.projection_capped_simplex)
    got = jax.jit(jax.jacrev(soft.projection_capped_simplex, (0, 1)))(jnp.asarray(Z), 2.3)
    np.testing.assert_allclose(got[0], oracle.differences(lambda z: f(z, 2.3), Z), atol=1e-8)
    np.testing.assert_allclose(got[1], (f(Z, 2.3 + 1e-6) - f(Z, 2.3 - 1e-6)) / 2e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["l2", "kl", "capped"])
def test_masked_equals_removed(kind):
    where = np.array([1, 0, 1, 1, 0, 1], bool)

    def f(z, w, mask=None):
        if kind == "capped":
            return soft.projection_capped_simplex(z, 2, where=mask)
        return soft.projection_permutahedron(z, w, method=kind, where=mask)

    want = f(Z[where], V[where])
    padded = jax.jit(jax.value_and_grad(lambda z, w: jnp.sum(f(z, w, where)[where] ** 2), (0, 1)))
    results = []
    for junk in (np.nan, np.inf, 3e38, 0):
        z, w = (jnp.asarray(np.where(where, a, junk), jnp.float32) for a in (Z, V))
        value, gradients = padded(z, w)
        np.testing.assert_allclose(value, jnp.sum(want**2), rtol=1e-5)
        for gradient in gradients:
            np.testing.assert_array_equal(gradient[~where], 0)
            assert np.isfinite(gradient).all()
        results.append((value, *map(np.asarray, gradients)))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_odd_values_axes_and_types():
    z = jnp.asarray(np.stack([Z, V]), jnp.float32)
    np.testing.assert_array_equal(soft.projection_permutahedron(z.at[0, 2].set(jnp.nan))[0], np.nan)
    want = soft.projection_permutahedron(z)
    np.testing.assert_allclose(soft.projection_permutahedron(z.T, axis=0).T, want, rtol=1e-6)
    np.testing.assert_allclose(soft.projection_permutahedron(z, jnp.arange(1, 7)), want, rtol=1e-6)
    assert soft.projection_permutahedron(z.astype(jnp.float16)).dtype == jnp.float16
    np.testing.assert_allclose(soft.projection_permutahedron(z * 1e-30 + 1000), 3.5, rtol=1e-6)
    odd = jnp.array([jnp.inf, 1.0, -jnp.inf, jnp.nan, 0.5, jnp.inf])
    np.testing.assert_allclose(soft.projection_capped_simplex(odd, 3), [1, 0.75, 0, np.nan, 0.25, 1], rtol=1e-6)
    np.testing.assert_allclose(soft.projection_capped_simplex(odd, 1), [0.5, 0, 0, np.nan, 0, 0.5], rtol=1e-6)
    rows = soft.projection_capped_simplex(z, jnp.array([1.0, 2.5]))
    np.testing.assert_allclose(rows.sum(-1), [1, 2.5], rtol=1e-6)
    assert soft.projection_capped_simplex(jnp.zeros((2, 0))).shape == (2, 0)


def test_errors(unchecked):
    with pytest.raises(SoftError, match=r"soft\.projection_permutahedron has no method 'l3'"):
        soft.projection_permutahedron(Z, method="l3")
    with pytest.raises(SoftError, match=r"w has shape \(5,\), which does not broadcast to \(6,\)"):
        soft.projection_permutahedron(Z, jnp.ones(5))
    with pytest.raises(SoftError, match="k is -1, expected a number >= 0"):
        soft.projection_capped_simplex(Z, -1)
