"""Correlation losses: SciPy's correlations in the limit, gradients by differences, lists that ask for nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jrank.soft
from jrank import losses as L
from jrank.errors import LearnError, SoftError

RNG = np.random.default_rng(0)
S = RNG.normal(size=(3, 8)).astype(np.float32)
Y = RNG.integers(0, 4, size=(3, 8)).astype(np.float32)
WHERE = RNG.random((3, 8)) < 0.8
EXACT = {L.spearman_loss: scipy.stats.spearmanr, L.kendall_loss: scipy.stats.kendalltau}
both = pytest.mark.parametrize("loss", EXACT, ids=lambda fn: fn.__name__)


@both
def test_it_is_exact_when_cold_and_masked_is_removed(loss):
    fn = jax.jit(lambda s, w, t: loss(s, Y, where=w, temperature=t, reduce_fn=None))
    got = fn(S, WHERE, 1e-6)
    want = [1 - EXACT[loss](s[w], y[w]).statistic for s, y, w in zip(S, Y, WHERE, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loss(S, Y, where=WHERE, temperature=1e-6), np.mean(want), rtol=1e-5)
    warm = fn(S, WHERE, 0.5)
    for junk in (np.nan, np.inf):
        np.testing.assert_array_equal(fn(np.where(WHERE, S, np.float32(junk)), WHERE, 0.5), warm)


@both
def test_gradients_by_finite_differences(loss, oracle_differences, x64):
    s, y, w = S[0].astype(np.float64), Y[0], WHERE[0]

    def fn(v):
        return loss(v, y, where=w, temperature=0.6)

    slope = jax.grad(fn)(jnp.asarray(s))
    np.testing.assert_allclose(slope, oracle_differences(jax.jit(fn), s), atol=1e-7)
    np.testing.assert_array_equal(slope[~w], 0)
    # A step against the gradient helps.
    assert fn(s - 0.1 * slope) < fn(s)


@pytest.fixture
def oracle_differences():
    def differences(fn, x, step=1e-6):
        return np.array([(fn(x + d) - fn(x - d)) / (2 * step) for d in step * np.eye(len(x))])

    return differences


@pytest.mark.parametrize("loss", [L.kendall_loss, pytest.param(L.spearman_loss, marks=pytest.mark.slow)])
def test_segments_are_lists(loss):
    ids = np.array([[1, 1, 0, 1, 0, 0, 1, 0]] * 3)
    got = loss(S, Y, segments=ids, where=WHERE, reduce_fn=None, temperature=0.5)
    want = []
    for row in range(3):
        for name in (0, 1):
            mine = (ids[row] == name) & WHERE[row]
            value = loss(S[row], Y[row], where=mine, temperature=0.5)
            want.append(value)
            first = int(np.flatnonzero(mine)[0])
            np.testing.assert_allclose(got[row, first], value, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(loss(S, Y, segments=ids, where=WHERE, temperature=0.5), np.mean(want), rtol=1e-4)


@pytest.mark.parametrize("variant", ["a", "b"])
def test_kendall_from_sums_over_pairs_is_the_correlation(variant):
    """Two ways to one number: sums over the pairs in the order of the labels, and the correlation of jrank.soft."""
    weights, temperature = RNG.uniform(0.5, 2, (3, 8)).astype(np.float32), np.array([0.1, 0.5, 2], np.float32)
    scores = S.copy()
    scores[0, :2], scores[1, 4] = -np.inf, np.inf
    options = {"variant": variant, "temperature": temperature, "weights": weights, "where": WHERE}
    for method in ("sigmoid", "laplace"):
        options["method"] = method

        def theirs(s, options=options):
            return 3 - jnp.sum(jrank.soft.kendall(s, jnp.asarray(Y), y_temperature=0, **options))

        def ours(s, options=options):
            return jnp.sum(L.kendall_loss(s, Y, reduce_fn=None, **options))

        got, want = (jax.jit(jax.value_and_grad(fn))(scores) for fn in (ours, theirs))
        np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
        np.testing.assert_allclose(got[1], want[1], rtol=2e-4, atol=2e-6)


@both
def test_lists_that_ask_for_no_order(loss):
    where = np.array([[0] * 8, [1] + [0] * 7, [1] * 8], bool)
    labels = np.stack([Y[0], Y[1], np.full(8, 2.0, np.float32)])
    value, slope = jax.value_and_grad(lambda s: jnp.sum(loss(s, labels, where=where, reduce_fn=None)))(S)
    assert value == 0
    np.testing.assert_array_equal(slope, 0)
    np.testing.assert_allclose(loss(np.zeros_like(S), Y, reduce_fn=None), 1)
    half = loss(S, Y, where=np.array([[False] * 8, [True] * 8, [True] * 8]))
    np.testing.assert_allclose(half, loss(S[1:], Y[1:]), rtol=1e-5)
    assert loss(jnp.zeros((2, 0)), jnp.zeros((2, 0))) == 0
    assert loss(S.astype(jnp.bfloat16), Y).dtype == jnp.bfloat16


def test_errors(unchecked):
    with pytest.raises(LearnError, match="labels has shape"):
        L.spearman_loss(S, Y[0])
    with pytest.raises(LearnError, match="variant is 'c'"):
        L.kendall_loss(S, Y, variant="c")
    with pytest.raises(LearnError, match="method is 'l2'"):
        L.kendall_loss(S, Y, method="l2")
    with pytest.raises(SoftError, match="does not take segments"):
        L.spearman_loss(S, Y, method="network", segments=np.zeros((3, 8), np.int32))
