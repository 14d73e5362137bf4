"""The suggested temperature from gaps counted by hand, and the diagnosis against blocks counted in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.errors import SoftError

X = np.random.default_rng(0).normal(size=(3, 12)).astype(np.float32)
WHERE = np.random.default_rng(1).random((3, 12)) < 0.7


def test_the_median_distance_of_neighbours():
    for m in (1, 3):
        got = soft.suggest_temperature(X, neighbours=m, where=WHERE)
        for row, w, t in zip(X, WHERE, got, strict=True):
            s = np.sort(row[w])
            apart = np.sort(s[m:] - s[:-m])
            np.testing.assert_allclose(t, apart[(len(apart) - 1) // 2], rtol=1e-6)
        np.testing.assert_allclose(soft.suggest_temperature(X * 8, neighbours=m, where=WHERE), got * 8, rtol=1e-6)
    junk = np.where(WHERE, X, np.float32(np.nan))
    np.testing.assert_array_equal(soft.suggest_temperature(junk.T, neighbours=3, where=WHERE.T, axis=0), got)
    sort = soft.suggest_temperature(X, neighbours=3, where=WHERE, operator="sort")
    np.testing.assert_allclose(sort, 1 / got, rtol=1e-6)


def test_lists_without_a_gap():
    inf, nan = jnp.inf, jnp.nan
    x = jnp.array([[2.0, 2, 2, 2], [inf, -inf, nan, 1], [0, 0, 3, inf]])
    np.testing.assert_array_equal(soft.suggest_temperature(x, neighbours=1), [1, 1, 3])
    np.testing.assert_array_equal(soft.suggest_temperature(x, neighbours=9), [1, 1, 3])
    assert soft.suggest_temperature(jnp.zeros((2, 0))).tolist() == [1, 1]
    np.testing.assert_array_equal(jax.grad(lambda v: soft.suggest_temperature(v).sum())(x), 0)


def blocks_of(fit):
    return 1 + np.sum(np.diff(fit) > 1e-9)


def test_blocks_are_those_of_the_projection(oracle, x64):
    x = X[0].astype(np.float64)
    s, rho = np.sort(x), np.arange(1, 13.0)
    for t in (0.01, 0.05, 0.1, 0.3, 1.0, 10.0):
        want = {
            "l2": blocks_of(oracle.isotonic(s / t - rho)),
            "kl": blocks_of(oracle.log_isotonic(s / t, np.log(rho))),
        }
        for method, number in want.items():
            assert int(soft.diagnose(x, method=method, temperature=t).blocks) == number, (method, t)


def test_gradient_share_and_softness(oracle, x64):
    x, t = X[1].astype(np.float64), 0.2
    got = soft.diagnose(x, temperature=t)
    ranks = oracle.rank["l2"](x, t)
    order = np.argsort(x)
    fit = oracle.isotonic(x[order] / t - np.arange(1, 13))
    alone = np.array([np.sum(np.abs(fit - v) < 1e-9) == 1 for v in fit])
    np.testing.assert_allclose(got.gradient_share, 1 - alone.mean())
    hard = x.argsort().argsort() + 1
    np.testing.assert_allclose(got.softness, np.abs(ranks - hard).mean() / np.abs(hard - 6.5).mean(), rtol=1e-9)


@pytest.mark.parametrize("method", ["laplace", pytest.param("l2", marks=pytest.mark.slow)])
def test_both_ends_of_the_temperature(method):
    fn = jax.jit(lambda t: soft.diagnose(X, method=method, temperature=t, where=WHERE))
    cold, hot = fn(1e-7), fn(1e4)
    np.testing.assert_array_equal(cold.blocks, WHERE.sum(-1))
    np.testing.assert_allclose(cold.gradient_share, 0, atol=1e-6)
    np.testing.assert_allclose(cold.softness, 0, atol=1e-5)
    np.testing.assert_array_equal(hot.blocks, 1)
    np.testing.assert_allclose(hot.gradient_share, 1, atol=1e-6)
    np.testing.assert_allclose(hot.softness, 1, atol=1e-3)


def test_odd_lists_and_errors(unchecked):
    inf, nan = jnp.inf, jnp.nan
    x = jnp.array([[2.0, 2, 2, 2], [inf, -inf, nan, nan], [0, 0, 3, inf]])
    got = soft.diagnose(x, temperature=0.1)
    np.testing.assert_array_equal(got.blocks, [1, 0, 2])
    np.testing.assert_allclose(got.softness, 0, atol=1e-6)
    assert all(np.isfinite(part).all() for part in got)
    nothing = soft.diagnose(x, where=jnp.zeros(4, bool))
    for part in nothing:
        np.testing.assert_array_equal(part, 0)
    with pytest.raises(SoftError, match="neighbours is 0"):
        soft.suggest_temperature(x, neighbours=0)
    with pytest.raises(SoftError, match="operator is 'top_k', expected 'rank' or 'sort'"):
        soft.suggest_temperature(x, operator="top_k")
    with pytest.raises(SoftError, match="diagnose has no method 'softmax'"):
        soft.diagnose(x, method="softmax")
