"""Tests and intervals against SciPy, enumeration and theory."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank import stats
from jrank.errors import EvalError

VALUES = st.lists(st.integers(-20, 20).map(lambda i: i / 8), min_size=1, max_size=9)


def test_against_scipy(golden):
    for case in golden("evaluation.json")["tests"]:
        a, b = np.array(case["a"]), np.array(case["b"])
        t = stats.paired_t(a, b)
        assert [t.statistic, t.p_value] == pytest.approx(case["t"], rel=1e-9)
        # Differences of decimals are not exact: 0.3 - 0.1 and 0.2 tie only after rounding.
        d = np.round(a - b, 9)
        w = stats.wilcoxon(d, np.zeros(len(d)))
        assert [w.statistic, w.p_value] == pytest.approx(case["wilcoxon"], rel=1e-9)
        assert stats.sign(a, b).p_value == pytest.approx(case["sign"], rel=1e-9)
        assert stats.t_interval(a) == pytest.approx(case["interval"], rel=1e-9)


@given(VALUES)
def test_randomization_counts_all_flips(d):
    d = np.array(d)
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((1, -1), repeat=len(d))]
    want = np.mean(np.array(sums) >= abs(d.sum()))
    result = stats.randomization(d, np.zeros(len(d)))
    assert result.exact
    assert result.p_value == pytest.approx(want)
    assert result.statistic == pytest.approx(d.mean())


@given(VALUES)
def test_wilcoxon_against_enumeration(d):
    d = np.array(d)
    nonzero = d[d != 0]
    result = stats.wilcoxon(d, np.zeros(len(d)))
    if not len(nonzero):
        assert result.p_value == 1
        return
    if len(set(np.abs(nonzero))) < len(nonzero):
        assert not result.exact
        return
    ranks = np.argsort(np.argsort(np.abs(nonzero))) + 1
    sums = np.array([np.dot(ranks, chosen) for chosen in itertools.product((0, 1), repeat=len(ranks))])
    plus = ranks[nonzero > 0].sum()
    want = min(1.0, 2 * min(np.mean(sums <= plus), np.mean(sums >= plus)))
    assert result.exact
    assert result.p_value == pytest.approx(want)


@given(VALUES)
def test_sign_test_is_binomial(d):
    d = np.array(d)
    wins, n = int(np.sum(d > 0)), int(np.sum(d != 0))
    tail = sum(math.comb(n, i) for i in range(min(wins, n - wins) + 1)) / 2**n
    assert stats.sign(d, np.zeros(len(d))).p_value == pytest.approx(min(1.0, 2 * tail))


@given(VALUES, VALUES)
def test_swapping_the_systems_changes_signs_only(a, b):
    n = min(len(a), len(b))
    a, b = np.array(a[:n]), np.array(b[:n])
    for test in stats.TESTS.values():
        assert test(a, b).p_value == pytest.approx(test(b, a).p_value)
    assert stats.effect_size(a, b) == pytest.approx(-stats.effect_size(b, a))


@pytest.mark.parametrize("test", stats.TESTS.values())
def test_nothing_to_find(test):
    same = np.array([0.1, 0.2, 0.3])
    assert test(same, same).p_value == 1
    assert test(np.array([1.0]), np.array([0.5])).p_value == 1
    assert test(np.arange(30.0), np.arange(30.0)).p_value == 1
    assert stats.effect_size(same, same) == 0
    assert stats.effect_size(np.array([1.0]), np.array([0.0])) == 0


def test_constant_differences():
    a = np.array([0.3, 0.4, 0.5, 0.6]) + 0.1
    b = np.array([0.3, 0.4, 0.5, 0.6])
    assert stats.paired_t(a, b).p_value == 0
    assert stats.paired_t(b, a).statistic == -math.inf
    assert stats.effect_size(a, b) == math.inf
    assert stats.randomization(a, b).p_value == 1 / 8


def test_sampled_randomization():
    rng = np.random.default_rng(3)
    d = rng.normal(0.25, 1, 100)
    a = stats.randomization(d, np.zeros(100), samples=20_000)
    assert not a.exact
    # Close to the t-test for values like these: four standard errors of the sampling.
    p = stats.paired_t(d, np.zeros(100)).p_value
    assert abs(a.p_value - p) < 4 * math.sqrt(p / 20_000) + 0.003
    assert a == stats.randomization(d, np.zeros(100), samples=20_000)
    assert a != stats.randomization(d, np.zeros(100), samples=20_000, seed=1)
    strong = stats.randomization(d + 9, np.zeros(100), samples=999)
    assert strong.p_value == 1 / 1000


def test_p_values_are_uniform_without_a_difference():
    rng = np.random.default_rng(0)
    d = rng.normal(size=(2000, 12))
    for test in (stats.paired_t, stats.wilcoxon):
        p = np.array([test(row, np.zeros(12)).p_value for row in d])
        # Four standard deviations of a binomial share.
        assert abs(np.mean(p < 0.05) - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 2000)


def test_intervals_hold_the_mean_as_often_as_promised():
    rng = np.random.default_rng(1)
    inside = np.zeros(2)
    for i in range(400):
        x = rng.normal(2.0, 1.0, 40)
        for j, (low, high) in enumerate((stats.t_interval(x), stats.bootstrap_interval(x, samples=400, seed=i))):
            inside[j] += low <= 2.0 <= high
    # The percentile bootstrap is a little narrow on 40 values.
    assert inside[0] / 400 == pytest.approx(0.95, abs=0.04)
    assert inside[1] / 400 == pytest.approx(0.94, abs=0.05)


def test_intervals_at_the_edges():
    assert stats.t_interval(np.array([1.0])) == (-math.inf, math.inf)
    assert stats.bootstrap_interval(np.array([0.1])) == (0.1, 0.1)
    assert stats.bootstrap_interval(np.array([0.1] * 7)) == pytest.approx((0.1, 0.1))
    x = np.arange(20.0)
    narrow, wide = stats.bootstrap_interval(x, level=0.5), stats.bootstrap_interval(x, level=0.99)
    assert wide[0] < narrow[0] < x.mean() < narrow[1] < wide[1]


P = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@given(P)
def test_holm_by_definition(p):
    p = np.array(p)
    order = np.argsort(p, kind="stable")
    want, running = np.empty(len(p)), 0.0
    for i, index in enumerate(order):
        running = max(running, min(1.0, p[index] * (len(p) - i)))
        want[index] = running
    np.testing.assert_allclose(stats.holm(p), want)
    assert np.all(stats.holm(p) <= stats.bonferroni(p) + 1e-15)


@given(P)
def test_benjamini_hochberg_rejects_by_the_step_up_rule(p):
    p = np.array(p)
    corrected = stats.benjamini_hochberg(p)
    ordered = np.sort(p)
    for level in (0.0371, 0.2113, 0.5377):
        passed = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / len(p))
        limit = ordered[passed[-1]] if len(passed) else -1.0
        np.testing.assert_array_equal(corrected <= level, p <= limit)


@pytest.mark.parametrize("correct", stats.CORRECTIONS.values())
def test_corrections_refuse_what_is_no_probability(correct):
    for bad in (np.array([1.5]), np.array([-0.1]), np.array([np.nan]), np.ones((2, 2))):
        with pytest.raises(EvalError, match="between 0 and 1"):
            correct(bad)
    assert len(correct(np.zeros(0))) == 0


def test_wrong_input(unchecked):
    for test in stats.TESTS.values():
        with pytest.raises(EvalError, match="a has 2 values and b has 3") as error:
            test(np.ones(2), np.ones(3))
        assert error.value.reason == "length_mismatch"
        with pytest.raises(EvalError, match="NaN or infinity"):
            test(np.array([1.0, np.nan]), np.ones(2))
        with pytest.raises(EvalError, match="expected one value per query"):
            test(np.zeros(0), np.zeros(0))
        with pytest.raises(TypeError, match="array of numbers"):
            test("ab", np.ones(2))
    for level in (0, 1, 1.5):
        with pytest.raises(EvalError, match="level"):
            stats.t_interval(np.ones(3), level=level)
    for samples in (0, -1, 1.5, True):
        with pytest.raises(EvalError, match="samples"):
            stats.randomization(np.ones(3), np.zeros(3), samples=samples)
