"""Rank correlations against SciPy, their formulas written out, and their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import soft
from jrank.errors import SoftError
from jrank.soft import _correlation, _pairwise

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, 3, 9)).astype(np.float32)
WHERE = RNG.random((3, 9)) < 0.7
TIED = np.round(Y)


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


def test_hard_ranks_of_y_give_ties_their_mean():
    want = [scipy.stats.spearmanr(x, y).statistic for x, y in zip(X, TIED, strict=True)]
    got = soft.spearman(X, TIED, method="laplace", temperature=1e-5, y_temperature=0)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_weights_repeat_items():
    twice = np.array([1, 2, 1, 1, 3, 1, 1, 0, 1])
    x, y = np.repeat(X[0], twice), np.repeat(Y[0], twice)
    ranks = [np.asarray(soft.rank(v, temperature=0.5)) for v in (X[0], Y[0])]
    want = np.corrcoef(*(np.repeat(r, twice) for r in ranks))[0, 1]
    got = soft.spearman(X[0], Y[0], temperature=0.5, weights=twice.astype(np.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    got = soft.kendall(X[0], Y[0], temperature=0.5, weights=twice.astype(np.float32))
    np.testing.assert_allclose(got, soft.kendall(x, y, temperature=0.5), rtol=1e-5)


def test_spearman_of_a_constant_is_zero():
    for fn in (soft.spearman, soft.kendall):
        value, gradient = jax.value_and_grad(lambda v, fn=fn: fn(v, Y[0]))(jnp.ones(9))
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


SIGNS = {"sigmoid": lambda d: np.tanh(d / 2), "laplace": lambda d: np.sign(d) * (1 - np.exp(-np.abs(d)))}


def kendall(x, y, t, sign, variant="b"):
    a, b = (sign((v[:, None] - v[None, :]) / t) for v in (x, y))
    n = len(x)
    return (a * b).sum() / (n * (n - 1) if variant == "a" else np.sqrt((a**2).sum() * (b**2).sum()))


@pytest.mark.parametrize("method", _correlation.METHODS)
def test_kendall_against_its_formula(method, oracle, x64):
    x, y, sign = X[0].astype(np.float64), Y[0].astype(np.float64), SIGNS[method]
    fn = jax.jit(jax.value_and_grad(lambda v, t: soft.kendall(v, y, temperature=t, method=method), argnums=(0, 1)))
    for t in (0.1, 0.7, 5.0):
        value, slopes = fn(x, t)
        np.testing.assert_allclose(value, kendall(x, y, t, sign), rtol=1e-10)
        np.testing.assert_allclose(slopes[0], oracle.differences(lambda v, t=t: kendall(v, y, t, sign), x), atol=1e-7)
        want = (kendall(x, y, t + 1e-6, sign) - kendall(x, y, t - 1e-6, sign)) / 2e-6
        np.testing.assert_allclose(slopes[1], want, atol=1e-7)
    got = soft.kendall(x, y, temperature=0.7, variant="a", method=method)
    np.testing.assert_allclose(got, kendall(x, y, 0.7, sign, "a"), rtol=1e-10)


@pytest.mark.parametrize("method", _correlation.METHODS)
def test_kendall_is_exact_when_cold_and_linear_when_hot(method):
    cold = soft.kendall(X, TIED, temperature=1e-6, method=method, where=WHERE)
    rows = list(zip(X, TIED, WHERE, strict=True))
    np.testing.assert_allclose(cold, [scipy.stats.kendalltau(x[w], y[w]).statistic for x, y, w in rows], rtol=1e-5)
    hot = soft.kendall(X, TIED, temperature=1e6, method=method)
    np.testing.assert_allclose(hot, [np.corrcoef(x, y)[0, 1] for x, y, _ in rows], rtol=1e-4)
    half = soft.kendall(X, TIED, temperature=5.0, y_temperature=0, method=method)
    want = []
    for x, y, _ in rows:
        a, b = SIGNS[method]((x[:, None] - x) / 5), np.sign(y[:, None] - y)
        want.append((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
    np.testing.assert_allclose(half, want, rtol=1e-4)


@given(hnp.arrays(np.float32, (2, 9), elements=st.floats(-1e3, 1e3, width=16)), st.sampled_from([1e-3, 0.7, 50.0]))
def test_kendall_stays_within_its_bounds(xy, t):
    x, y = xy
    value, slope = jax.value_and_grad(lambda v: soft.kendall(v, y, temperature=t))(jnp.asarray(x))
    assert -1 <= value <= 1
    assert np.isfinite(slope).all()
    if np.ptp(x):
        np.testing.assert_allclose(soft.kendall(x, x, temperature=t), 1, rtol=1e-5)
        np.testing.assert_allclose(soft.kendall(x, -x, temperature=t), -1, rtol=1e-5)


def test_masks_infinite_and_missing_scores():
    junk = np.where(WHERE, X, np.nan)
    want = [
        kendall(x[w].astype(float), y[w].astype(float), 0.7, SIGNS["sigmoid"])
        for x, y, w in zip(X, Y, WHERE, strict=True)
    ]
    value, back = jax.vjp(lambda v: soft.kendall(v, Y, temperature=0.7, where=WHERE), jnp.asarray(junk))
    np.testing.assert_allclose(value, want, rtol=1e-5)
    slope = back(jnp.ones(3))[0]
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(slope[~WHERE], 0)
    x = jnp.array([np.inf, 1, -np.inf, 0.5, np.inf, -np.inf, 3e38, -3e38, 0])
    value, slope = jax.value_and_grad(lambda v: soft.kendall(v, Y[0], temperature=1e-4))(x)
    order = scipy.stats.rankdata(x)
    np.testing.assert_allclose(value, scipy.stats.kendalltau(order, Y[0]).statistic, rtol=1e-5)
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(slope[jnp.isinf(x)], 0)
    assert np.isnan(soft.kendall(x.at[0].set(np.nan), Y[0]))
    for fn in (soft.spearman, soft.kendall):
        value, slope = jax.value_and_grad(lambda v, fn=fn: fn(v, Y[0], where=jnp.zeros(9, bool)))(x)
        assert value == 0
        np.testing.assert_array_equal(slope, 0)


@pytest.mark.parametrize("fn", [pytest.param(soft.spearman, marks=pytest.mark.slow), soft.kendall])
def test_segments_are_lists_of_their_own(fn):
    ids = np.array([[2, 5, 2, 5, 5, 2, 2, 5, 7]] * 3)
    got = fn(X, Y, temperature=0.3, segments=ids, where=WHERE)
    for row in range(3):
        for name in (2, 5, 7):
            mine = (ids[row] == name) & WHERE[row]
            want = fn(X[row], Y[row], temperature=0.3, where=mine)
            np.testing.assert_allclose(got[row][mine], want, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(got[~WHERE], 0)
    np.testing.assert_allclose(fn(X.T, Y.T, temperature=0.3, segments=ids.T, where=WHERE.T, axis=0).T, got, rtol=1e-5)


@pytest.mark.slow
def test_blocks_of_pairs_change_nothing(monkeypatch, x64):
    f = jax.value_and_grad(lambda v: jnp.sum(soft.kendall(v, Y, temperature=0.7)))
    want = f(jnp.asarray(X))
    jax.clear_caches()
    monkeypatch.setattr(_pairwise, "PAIRS", 36)
    got = f(jnp.asarray(X))
    monkeypatch.undo()
    jax.clear_caches()
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5, atol=1e-7)


def test_errors(unchecked):
    with pytest.raises(SoftError, match=r"x has shape \(3, 9\) and y \(9,\)"):
        soft.spearman(X, Y[0])
    with pytest.raises(SoftError, match=r"weights has shape \(9,\)"):
        soft.kendall(X, Y, weights=Y[0])
    with pytest.raises(SoftError, match="variant is 'c', expected 'a' or 'b'"):
        soft.kendall(X, Y, variant="c")
    with pytest.raises(SoftError, match="kendall has no method 'l2'"):
        soft.kendall(X, Y, method="l2")
    with pytest.raises(SoftError, match="y_temperature is -1"):
        soft.kendall(X, Y, y_temperature=-1)
    assert soft.kendall(jnp.zeros((2, 0)), jnp.zeros((2, 0))).tolist() == [0, 0]
