"""Quantiles and medians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.errors import SoftError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 9)).astype(np.float32)
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


def test_errors(unchecked):
    with pytest.raises(SoftError, match="q is 2"):
        soft.quantile(X, 2)
    with pytest.raises(SoftError, match="q has 2 axes"):
        soft.quantile(X, jnp.ones((1, 1)))
    with pytest.raises(SoftError, match="no items"):
        soft.quantile(X[:, :0], 0.5)
