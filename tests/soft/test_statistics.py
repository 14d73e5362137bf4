"""Quantiles, medians and rank correlations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jrank import soft
from jrank.errors import SoftError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 3, 9)).astype(np.float32)
WHERE = RNG.random((3, 9)) < 0.7


def test_quantiles_become_hard():
    q = np.array([0, 0.25, 0.4, 0.5, 1], np.float32)
    got = soft.quantile(X, q, temperature=1e-3)
    np.testing.assert_allclose(got, np.quantile(X, q, axis=-1).T, rtol=1e-5)
    np.testing.assert_allclose(soft.median(X.T, axis=0, temperature=1e-3), np.median(X, -1), rtol=1e-5)
    got = soft.quantile(np.where(WHERE, X, np.nan), 0.3, temperature=1e-3, where=WHERE)
    want = [np.quantile(x[w], 0.3) for x, w in zip(X, WHERE, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_quantiles_interpolate_the_soft_sort(oracle, x64):
    x = X[0].astype(np.float64)
    want = np.quantile(oracle.sort["l2"](x, 1.0), 0.3)
    np.testing.assert_allclose(soft.quantile(x, 0.3), want, rtol=1e-9)
    gradient = jax.grad(lambda v: soft.quantile(v, 0.3))(jnp.asarray(x))
    np.testing.assert_allclose(gradient, oracle.differences(lambda v: soft.quantile(v, 0.3), x), atol=1e-7)
    np.testing.assert_allclose(gradient.sum(), 1, rtol=1e-9)


def test_quantiles_of_infinite_and_no_scores():
    x = jnp.array([1.0, jnp.inf, 2.0])
    np.testing.assert_allclose(soft.quantile(x, jnp.array([0.0, 0.5, 1.0]), temperature=1e-3), [1, 2, np.inf])
    value, gradient = jax.value_and_grad(lambda v: soft.median(v, where=jnp.zeros(3, bool)))(x)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_spearman():
    want = [scipy.stats.spearmanr(x, y).statistic for x, y in zip(X, Y, strict=True)]
    np.testing.assert_allclose(soft.spearman(X, Y, temperature=1e-5), want, rtol=1e-5)
    want = [scipy.stats.spearmanr(x[w], y[w]).statistic for x, y, w in zip(X, Y, WHERE, strict=True)]
    junk = np.where(WHERE, X, np.nan)

    def f(x, y):
        return soft.spearman(x, y, temperature=1e-5, where=WHERE)

    np.testing.assert_allclose(f(junk, Y), want, rtol=1e-5)
    gradient = jax.grad(lambda v: jnp.sum(soft.spearman(v, Y, temperature=0.5, where=WHERE)))(jnp.asarray(junk))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~WHERE], 0)
    np.testing.assert_allclose(soft.spearman(X, X, temperature=0.5), 1, rtol=1e-6)
    np.testing.assert_allclose(soft.spearman(X, -X, temperature=0.5), -1, rtol=1e-6)


def test_spearman_against_its_formula(oracle, x64):
    x, y = X[0].astype(np.float64), Y[0].astype(np.float64)

    def want(v):
        return np.corrcoef(oracle.rank["l2"](v, 0.5), oracle.rank["l2"](y, 0.5))[0, 1]

    np.testing.assert_allclose(soft.spearman(x, y, temperature=0.5), want(x), rtol=1e-9)
    gradient = jax.grad(lambda v: soft.spearman(v, y, temperature=0.5))(jnp.asarray(x))
    np.testing.assert_allclose(gradient, oracle.differences(want, x), atol=1e-7)


def test_spearman_of_a_constant_is_zero():
    value, gradient = jax.value_and_grad(lambda v: soft.spearman(v, jnp.arange(4.0)))(jnp.ones(4))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_errors(unchecked):
    with pytest.raises(SoftError, match="q is 2"):
        soft.quantile(X, 2)
    with pytest.raises(SoftError, match="q has 2 axes"):
        soft.quantile(X, jnp.ones((1, 1)))
    with pytest.raises(SoftError, match="no items"):
        soft.quantile(X[:, :0], 0.5)
    with pytest.raises(SoftError, match=r"x has shape \(3, 9\) and y \(9,\)"):
        soft.spearman(X, Y[0])
