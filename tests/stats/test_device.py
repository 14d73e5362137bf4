"""Many comparisons at once on arrays of JAX, against SciPy and the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jrank import stats
from jrank.errors import EvalError


def sample(shape=(5, 40), seed=0, grid=None):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0.6, 0.2, shape), rng.normal(0.5, 0.2, shape)
    a[0] = b[0]  # nothing to find
    if grid:
        a, b = np.round(a * grid) / grid, np.round(b * grid) / grid
    return a.astype(np.float32), b.astype(np.float32), rng.random(shape) < 0.8


def rows(a, b, where):
    return [(x[w].astype(float), y[w].astype(float)) for x, y, w in zip(a, b, where, strict=True)]


@pytest.mark.parametrize("grid", [None, 8])
def test_tests(grid):
    """In float32, with a mask, under jit; on a grid of eighths differences are exact and tie."""
    a, b, where = sample(grid=grid)

    @jax.jit
    def run(a, b, where):
        tests = (stats.paired_t, stats.wilcoxon, stats.sign)
        return [test(a, b, where=where) for test in tests], stats.effect_size(a, b, where=where)

    (t, wilcoxon, sign), effect = run(jnp.asarray(a), b, where)
    assert [t.p_value[0], wilcoxon.p_value[0], sign.p_value[0], effect[0]] == [1, 1, 1, 0]
    for row, (x, y) in enumerate(rows(a, b, where)):
        if not row:
            continue
        want = scipy.stats.ttest_rel(x, y)
        np.testing.assert_allclose([t.statistic[row], t.p_value[row]], want, rtol=2e-4)
        d = x - y
        plain = len(set(np.abs(d))) == len(d) and np.all(d != 0)
        exact = {"method": "exact"} if plain else {"method": "asymptotic", "correction": False}
        want = scipy.stats.wilcoxon(d, **exact)
        assert bool(wilcoxon.exact[row]) == plain
        np.testing.assert_allclose([wilcoxon.statistic[row], wilcoxon.p_value[row]], want, rtol=2e-4)
        want = scipy.stats.binomtest(int(np.sum(d > 0)), int(np.sum(d != 0))).pvalue
        np.testing.assert_allclose(sign.p_value[row], want, rtol=2e-4)
        np.testing.assert_allclose(effect[row], d.mean() / d.std(ddof=1), rtol=1e-4)


def test_randomization():
    a, b, where = sample((4, 12), 1)
    got = stats.randomization(jnp.asarray(a), b, where=where, samples=20_000)
    assert got.p_value[0] == 1
    for row, (x, y) in enumerate(rows(a, b, where)):
        exact = scipy.stats.permutation_test((x, y), lambda x, y: np.mean(x - y), permutation_type="samples").pvalue
        # Four standard errors of the sampling.
        assert abs(got.p_value[row] - exact) < 4 * np.sqrt(exact / 20_000) + 1e-4
    same = stats.randomization(jnp.asarray(a), b, where=where, samples=20_000)
    np.testing.assert_array_equal(same.p_value, got.p_value)
    a, b, _ = sample()
    strong = stats.randomization(jnp.asarray(a) + 9, b, samples=999, key=jax.random.key(3))
    np.testing.assert_allclose(strong.p_value, 1 / 1000)


@pytest.mark.parametrize("method", ["bca", "percentile", "basic"])
def test_intervals(method):
    a, _, where = sample((3, 30), 2)
    a = np.exp(3 * a)  # skewed, so that the methods differ
    low, high = stats.bootstrap_interval(jnp.asarray(a), samples=20_000, where=where, method=method)
    start, end = jax.jit(stats.t_interval)(jnp.asarray(a), where=where)
    for row, w in enumerate(where):
        x = a[row, w].astype(float)
        kind = "BCa" if method == "bca" else method
        want = scipy.stats.bootstrap((x,), np.mean, n_resamples=20_000, method=kind, rng=1).confidence_interval
        host = stats.bootstrap_interval(x, samples=20_000, method=method)
        # The ends of two independent bootstraps are a few percent of the width apart.
        width = want.high - want.low
        np.testing.assert_allclose([low[row], high[row]], want, atol=0.04 * width)
        np.testing.assert_allclose(host, want, atol=0.04 * width)
        exact = scipy.stats.ttest_1samp(x, 0).confidence_interval()
        np.testing.assert_allclose([start[row], end[row]], exact, rtol=2e-4)


def test_the_edges():
    one = jnp.array([[0.5], [0.25]])
    assert stats.paired_t(one, one * 0).p_value.tolist() == [1, 1]
    assert stats.wilcoxon(one, one * 0).p_value.tolist() == [1, 1]
    assert stats.bootstrap_interval(one, samples=10)[0].tolist() == [0.5, 0.25]
    assert stats.t_interval(one)[1].tolist() == [np.inf, np.inf]
    three = jnp.array([0.5, 0.75, 1.0])
    equal = stats.paired_t(three, three - 0.5)
    assert (float(equal.statistic), float(equal.p_value)) == (np.inf, 0)
    assert stats.effect_size(three - 0.5, three) == -np.inf
    broken = jnp.array([1.0, jnp.nan, 2.0])
    assert np.isnan(stats.paired_t(broken, three).p_value)
    some = stats.paired_t(broken, three, where=jnp.array([1, 0, 1])).p_value
    assert float(some) == pytest.approx(stats.paired_t(np.array([1.0, 2.0]), np.array([0.5, 1.0])).p_value, rel=1e-5)
    with pytest.raises(EvalError, match="one pair per query"):
        stats.paired_t(three, three[:2])
    with pytest.raises(EvalError, match="one value per query"):
        stats.paired_t(np.ones((2, 3)), np.ones((2, 3)))


def test_effect_sizes():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 9, 25) / 8, rng.integers(0, 8, 25) / 8
    d = a - b
    n = len(d)
    sizes = {kind: stats.effect_size(a, b, kind=kind) for kind in stats.EFFECTS}
    assert sizes["cohen"] == pytest.approx(d.mean() / d.std(ddof=1))
    # The usual approximation of the factor, good to 0.1 % here.
    assert sizes["hedges"] == pytest.approx(sizes["cohen"] * (1 - 3 / (4 * (n - 1) - 1)), rel=2e-3)
    assert sizes["superiority"] == pytest.approx((np.sum(a > b) + np.sum(a == b) / 2) / n)
    assert sizes["cliff"] == pytest.approx(np.mean(np.sign(a[:, None] - b[None, :])))
    ranks = scipy.stats.rankdata(np.abs(d[d != 0]))
    assert sizes["rank_biserial"] == pytest.approx(np.sum(ranks * np.sign(d[d != 0])) / ranks.sum())
    for kind in stats.EFFECTS:
        neutral = 0.5 if kind == "superiority" else 0
        assert stats.effect_size(a, a, kind=kind) == pytest.approx(neutral)
    with pytest.raises(EvalError, match="unknown effect size"):
        stats.effect_size(a, b, kind="d")


def test_masks_on_the_host(unchecked):
    a, b, where = (x[1] for x in sample())
    for test in stats.TESTS.values():
        assert test(a, b, where=where) == test(a[where], b[where])
    assert stats.t_interval(a, where=where) == stats.t_interval(a[where])
    with pytest.raises(EvalError, match="where has shape"):
        stats.paired_t(a, b, where=where[:3])
    with pytest.raises(EvalError, match="unknown method"):
        stats.bootstrap_interval(a, method="student")
