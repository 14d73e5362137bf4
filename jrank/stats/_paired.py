"""Paired two-sided tests: is there a difference between two systems?"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.stats._values import check_samples, deviation, differences, on_device

__all__ = ["TESTS", "TestResult", "paired_t", "randomization", "sign", "wilcoxon"]

# Up to this many pairs all sign flips are counted instead of sampled.
EXACT = 20


@dataclass(frozen=True)
class TestResult:
    """The outcome of a two-sided test.

    Attributes:
      statistic: the test statistic; an array where several comparisons were made at once on a device.
      p_value: the chance of a result at least as extreme if there were no difference; likewise.
      exact: whether the p-value comes from the exact distribution, not from samples or an approximation.
    """

    __test__ = False  # the name starts with "Test": this keeps pytest from collecting it

    statistic: Any
    p_value: Any
    exact: Any


def paired_t(a: Any, b: Any, *, where: Any = None) -> TestResult:
    r"""Paired t-test: is the mean difference zero, if differences are about normal?

    .. math:: t = \bar d / (s_d / \sqrt n)

    Args:
      a: one value per query of the one system, ``[q]``; arrays of JAX also ``[..., q]``, for as many tests at once.
      b: the values of the other, in the same order.
      where: True at the queries that count. None: all do.

    Returns:
      The result; p = 1 for a single query or where all differences are 0, p = 0 where they are equal and not 0.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.

    Numerics: the exact t distribution with n - 1 degrees of freedom.

    >>> round(paired_t(np.array([3.0, 4.0, 6.0]), np.array([1.0, 3.0, 3.0])).p_value, 4)
    0.0742
    """
    if on_device(a, b):
        from jrank.stats import _device

        return _device.paired_t(a, b, where)
    d = differences(a, b, where)
    n = len(d)
    if n < 2 or not d.any():
        return TestResult(0.0, 1.0, True)
    spread = deviation(d)
    if spread == 0:
        return TestResult(math.copysign(math.inf, d[0]), 0.0, True)
    from scipy.special import stdtr  # SciPy takes longer to import than this module

    t = float(d.mean() / (spread / math.sqrt(n)))
    return TestResult(t, min(1.0, float(2 * stdtr(n - 1, -abs(t)))), True)


def randomization(
    a: Any, b: Any, *, samples: int = 10_000, seed: int = 0, where: Any = None, key: Any = None
) -> TestResult:
    r"""Fisher's randomisation test: how often do random swaps of the two systems give a mean difference as large?

    .. math:: p = (b + 1) / (m + 1)

    with b of m sampled sign flips at least as extreme, so p is never 0. On the host, up to 20 queries, all flips are
    counted, and p is their share.

    Args:
      a: one value per query of the one system, ``[q]``; arrays of JAX also ``[..., q]``, for as many tests at once.
      b: the values of the other, in the same order.
      samples: number of sampled flips, m.
      seed: of the random numbers; equal seeds give equal results.
      where: True at the queries that count. None: all do.
      key: a random key in place of the seed, on a device.

    Returns:
      The result, with the mean difference as statistic; p = 1 where all differences are 0.

    Raises:
      EvalError: the lengths differ, there is no value, a value is not finite, or samples < 1.

    Cost: O(m n) time, a few megabytes.

    >>> randomization(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0])).p_value
    0.25
    """
    if on_device(a, b):
        from jrank.stats import _device

        check_samples(samples)
        return _device.randomization(a, b, where, samples, seed, key)
    d = differences(a, b, where)
    check_samples(samples)
    mean = float(d.mean())
    if not d.any():
        return TestResult(0.0, 1.0, True)
    d = d[d != 0]  # their sign makes no difference
    n = len(d)
    # Sums that are equal in exact arithmetic must count as equal.
    bound = abs(d.sum()) - 1e-12 * np.abs(d).sum()
    if n <= EXACT:
        sums = np.zeros(1)
        for value in d[1:]:
            sums = np.concatenate([sums + value, sums - value])
        # The first sign is fixed: the other half mirrors this one.
        sums = np.abs(sums + d[0])
        return TestResult(mean, float(np.mean(sums >= bound)), True)
    rng = np.random.default_rng(seed)
    extreme, block = 0, max(1, (1 << 20) // n)
    for start in range(0, samples, block):
        signs = rng.integers(0, 2, (min(block, samples - start), n), dtype=np.int8)
        # A sum of signed values is 2 * (sum of the chosen) - total.
        extreme += int(np.sum(np.abs(2 * (signs @ d) - d.sum()) >= bound))
    return TestResult(mean, (extreme + 1) / (samples + 1), False)


def wilcoxon(a: Any, b: Any, *, where: Any = None) -> TestResult:
    """Wilcoxon's signed-rank test: do the ranks of positive and negative differences balance?

    Args:
      a: one value per query of the one system, ``[q]``; arrays of JAX also ``[..., q]``, for as many tests at once.
      b: the values of the other, in the same order.
      where: True at the queries that count. None: all do.

    Returns:
      The result, with the smaller sum of ranks as statistic; p = 1 where all differences are 0.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.

    Numerics: differences of 0 are left out, equal ones share their mean rank. The exact distribution up to 50
    differences without ties, beyond that the normal approximation with tie correction.

    >>> wilcoxon(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4)).p_value
    0.125
    """
    if on_device(a, b):
        from jrank.stats import _device

        return _device.wilcoxon(a, b, where)
    d = differences(a, b, where)
    d = d[d != 0]
    n = len(d)
    if not n:
        return TestResult(0.0, 1.0, True)
    size = np.abs(d)
    order = np.argsort(size, kind="stable")
    _, first, counts = np.unique(size[order], return_index=True, return_counts=True)
    ranks = np.empty(n)
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)
    total = n * (n + 1) / 2
    plus = float(ranks[d > 0].sum())
    statistic = min(plus, total - plus)
    if n <= 50 and counts.max() == 1:
        # Number of subsets of 1..n with each sum.
        ways = np.zeros(int(total) + 1)
        ways[0] = 1
        for rank in range(1, n + 1):
            ways[rank:] = ways[rank:] + ways[:-rank]
        p = 2 * ways[: int(statistic) + 1].sum() / 2.0**n
        return TestResult(statistic, min(1.0, float(p)), True)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float(np.sum(counts**3 - counts)) / 48
    z = (statistic - total / 2) / math.sqrt(variance)
    return TestResult(statistic, min(1.0, math.erfc(-z / math.sqrt(2))), False)


def sign(a: Any, b: Any, *, where: Any = None) -> TestResult:
    """Sign test: is each system better on half of the queries?

    Args:
      a: one value per query of the one system, ``[q]``; arrays of JAX also ``[..., q]``, for as many tests at once.
      b: the values of the other, in the same order.
      where: True at the queries that count. None: all do.

    Returns:
      The result, with the number of queries on which ``a`` is better as statistic; ties are left out, and p = 1 where
      there is nothing else.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.

    >>> sign(np.array([1.0, 2.0, 3.0, 0.0]), np.zeros(4)).p_value
    0.25
    """
    if on_device(a, b):
        from jrank.stats import _device

        return _device.sign(a, b, where)
    d = differences(a, b, where)
    wins, n = int(np.sum(d > 0)), int(np.sum(d != 0))
    if not n:
        return TestResult(0.0, 1.0, True)
    from scipy.special import bdtr

    return TestResult(float(wins), min(1.0, float(2 * bdtr(min(wins, n - wins), n, 0.5))), True)


# What ``compare`` knows by name.
TESTS: dict[str, Callable[..., TestResult]] = {
    "t": paired_t,
    "randomization": randomization,
    "wilcoxon": wilcoxon,
    "sign": sign,
}
