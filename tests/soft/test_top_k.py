"""Soft permutation matrices, top-k values and top-k masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import soft
from jrank.errors import SoftError
from jrank.soft import _argsort, _top_k_mask

X = np.random.default_rng(0).normal(size=9).astype(np.float32)
SUMMING = [m for m in _top_k_mask.METHODS if m != "threshold"]


def capped_simplex(x, k, t):
    """Projection by trying every split into ones, interior and zeros, in float64."""
    s = np.sort(np.asarray(x, np.float64) / t)[::-1]
    for ones in range(len(s) + 1):
        for end in range(ones, len(s) + 1):
            level = (s[ones:end].sum() - (k - ones)) / (end - ones) if end > ones else 0.0
            y = np.clip(s - level, 0, 1)
            inner = s[ones:end] - level
            if end > ones and (inner >= 0).all() and (inner <= 1).all() and abs(y.sum() - k) < 1e-9:
                return np.clip(np.asarray(x, np.float64) / t - level, 0, 1)
    return (np.argsort(np.argsort(-np.asarray(x))) < k).astype(float)


@pytest.mark.parametrize("k", [1, 4, 8])
def test_the_l2_mask_is_the_projection(k, oracle):
    for t in (0.1, 0.6, 5.0):
        got = soft.top_k_mask(X, k, temperature=t)
        np.testing.assert_allclose(got, capped_simplex(X, k, t), atol=2e-6)


@pytest.mark.parametrize("method", SUMMING)
@given(hnp.arrays(np.float32, 9, elements=st.floats(-8, 8, width=16)), st.sampled_from([1e-3, 0.3, 2.0, 50.0]))
def test_masks_sum_to_k(method, x, t):
    for k in (1, 4):
        m = np.asarray(soft.top_k_mask(x, k, method=method, temperature=t))
        np.testing.assert_allclose(m.sum(), k, rtol=2e-4)
        assert (m >= 0).all()
        assert (m <= 1).all()
        assert (np.diff(m[np.argsort(x)]) >= -1e-5).all()


@pytest.mark.parametrize("method", _top_k_mask.METHODS)
def test_masks_at_the_ends(method):
    hard = (np.sort(X)[-3] <= X).astype(np.float32)
    np.testing.assert_allclose(soft.top_k_mask(X, 3, method=method, temperature=1e-5), hard, atol=1e-6)
    np.testing.assert_array_equal(soft.top_k_mask(X, 9, method=method), 1)
    np.testing.assert_array_equal(soft.top_k_mask(X, 20, method=method), 1)
    odd = jnp.array([1.0, jnp.inf, -jnp.inf, jnp.nan, 2.0])
    np.testing.assert_allclose(
        soft.top_k_mask(odd, 2, method=method, temperature=1e-3), [0, 1, 0, np.nan, 1], atol=1e-6
    )
    where = jnp.arange(9) % 3 != 0
    junk = jnp.where(where, X, jnp.nan)

    def f(v):
        return soft.top_k_mask(v, 2, method=method, temperature=0.5, where=where)

    want = soft.top_k_mask(X[np.asarray(where)], 2, method=method, temperature=0.5)
    np.testing.assert_allclose(f(junk)[where], want, rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda v: jnp.sum(f(v) ** 2))(junk)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~where], 0)


@pytest.mark.parametrize("method", _top_k_mask.METHODS)
def test_derivatives_of_masks(method, oracle, x64):
    x, g = jnp.asarray(X, jnp.float64), jnp.arange(9.0)

    def f(v, t):
        return soft.top_k_mask(v, 3, method=method, temperature=t)

    jacobian = jax.jit(jax.jacrev(f, (0, 1)))
    got = jacobian(x, 0.8)
    fast = jax.jit(f)
    np.testing.assert_allclose(got[0], oracle.differences(lambda v: fast(v, 0.8), x), atol=1e-6)
    np.testing.assert_allclose(got[1], (fast(x, 0.8 + 1e-6) - fast(x, 0.8 - 1e-6)) / 2e-6, atol=1e-6)
    gradient = jax.jit(jax.grad(lambda v: jnp.vdot(g, f(v, 0.8) ** 2)))
    hessian = jax.jit(jax.jacfwd(gradient))(x)
    np.testing.assert_allclose(hessian, oracle.differences(gradient, x), atol=1e-5)


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=pytest.mark.slow if m.count("_") > m.count("odd_") else ()) for m in _argsort.METHODS],
)
def test_argsort(method):
    # The shares of some comparators tend to 1 no faster than the inverse of the difference.
    p = soft.argsort(X, method=method, temperature=1e-8)
    np.testing.assert_allclose(p, np.eye(9)[np.argsort(X)], atol=1e-6)
    p = soft.argsort(X, method=method, temperature=0.4, descending=True)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    want = soft.sort(X, method=method, temperature=0.4, descending=True)
    np.testing.assert_allclose(p @ X, want, rtol=1e-4, atol=1e-5)
    where = np.array([1, 0, 1, 1, 1, 0, 1], bool)
    junk = np.where(where, X[:7], np.nan)
    got = soft.argsort(junk, method=method, temperature=0.4, where=where)
    small = soft.argsort(X[:7][where], method=method, temperature=0.4)
    np.testing.assert_allclose(got[:5, where], small, atol=1e-6)
    np.testing.assert_array_equal(got[5:], 0)
    np.testing.assert_array_equal(got[:, ~where], 0)


def test_argsort_of_infinite_scores_batches_and_axes():
    x = jnp.array([1.0, jnp.inf, -jnp.inf, 2.0, jnp.inf])
    want = [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0.5, 0, 0, 0.5], [0, 0.5, 0, 0, 0.5]]
    np.testing.assert_allclose(soft.argsort(x, temperature=1e-3), want, atol=1e-6)
    both = soft.argsort(jnp.stack([X, X[::-1]], axis=1), axis=0)
    np.testing.assert_allclose(both[1], soft.argsort(X[::-1].copy()), rtol=1e-5)


def test_top_k():
    values, weights = soft.top_k(X, 3, temperature=1e-5)
    np.testing.assert_allclose(values, np.sort(X)[::-1][:3], rtol=1e-6)
    assert weights.shape == (3, 9)
    values, weights = soft.top_k(X[:4], 6, where=jnp.array([1, 1, 0, 1]))
    assert values.shape == (4,)
    assert values[3] == 0
    values, _ = soft.top_k(jnp.array([1.0, jnp.inf, 0.0]), 2, temperature=1e-3)
    np.testing.assert_allclose(values, [np.inf, 1])


def test_errors(unchecked):
    with pytest.raises(SoftError, match="k is 0"):
        soft.top_k_mask(X, 0)
    with pytest.raises(SoftError, match="k is -1"):
        soft.top_k(X, -1)
    with pytest.raises(SoftError, match=r"soft.argsort has no method 'l2'"):
        soft.argsort(X, method="l2")
