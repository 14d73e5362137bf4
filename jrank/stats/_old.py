r"""Which differences between systems are real: paired tests, intervals, corrections.

All functions run on the host on NumPy arrays; an item is a query, and two arrays are paired query by query.

>>> import numpy as np
>>> from jrank import stats
>>> a = np.array([0.5, 0.6, 0.7, 0.4, 0.9])
>>> b = np.array([0.3, 0.5, 0.6, 0.4, 0.5])
>>> round(stats.paired_t(a, b).p_value, 4)
0.0777
>>> stats.holm(np.array([0.01, 0.04, 0.03])).tolist()
[0.03, 0.06, 0.06]
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.errors import EvalError

__all__ = [
    "CORRECTIONS",
    "TESTS",
    "TestResult",
    "benjamini_hochberg",
    "bonferroni",
    "bootstrap_interval",
    "effect_size",
    "holm",
    "paired_t",
    "randomization",
    "sign",
    "t_interval",
    "wilcoxon",
]

# Up to this many pairs all sign flips are counted instead of sampled.
EXACT = 20


@dataclass(frozen=True)
class TestResult:
    """The outcome of a two-sided test.

    Attributes:
      statistic: the test statistic.
      p_value: the chance of a result at least as extreme if there were no difference.
      exact: whether the p-value comes from the exact distribution, not from samples or an approximation.
    """

    __test__ = False  # the name starts with "Test": this keeps pytest from collecting it

    statistic: float
    p_value: float
    exact: bool


def _differences(a: Any, b: Any) -> np.ndarray:
    a, b = _values(a, "a"), _values(b, "b")
    if a.shape != b.shape:
        raise EvalError(
            f"a has {len(a)} values and b has {len(b)}, expected one pair per query",
            reason="length_mismatch",
            hint="evaluate both systems on the same queries",
        )
    return a - b


def _values(x: Any, name: str) -> np.ndarray:
    if isinstance(x, str) or not (hasattr(x, "__array__") or isinstance(x, (list, tuple))):
        raise TypeError(f"{name} must be an array of numbers, got {type(x).__name__}")
    x = np.asarray(x, np.float64)
    if x.ndim != 1 or not len(x):
        raise EvalError(f"{name} has shape {x.shape}, expected one value per query", reason="empty_input")
    if not np.isfinite(x).all():
        raise EvalError(f"{name} holds NaN or infinity, expected finite values", reason="invalid_parameter")
    return x


def paired_t(a: np.ndarray, b: np.ndarray) -> TestResult:
    r"""Paired t-test: is the mean difference zero, if differences are about normal?

    .. math:: t = \bar d / (s_d / \sqrt n)

    Args:
      a: one value per query of the one system.
      b: the values of the other, in the same order.

    Returns:
      The result; p = 1 for a single query or where all differences are 0, p = 0 where they are equal and not 0.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.

    Numerics: the exact t distribution with n - 1 degrees of freedom.

    >>> round(paired_t(np.array([3.0, 4.0, 6.0]), np.array([1.0, 3.0, 3.0])).p_value, 4)
    0.0742
    """
    d = _differences(a, b)
    n = len(d)
    if n < 2 or not d.any():
        return TestResult(0.0, 1.0, True)
    deviation = _deviation(d)
    if deviation == 0:
        return TestResult(math.copysign(math.inf, d[0]), 0.0, True)
    from scipy.special import stdtr  # SciPy takes longer to import than this module

    t = float(d.mean() / (deviation / math.sqrt(n)))
    return TestResult(t, min(1.0, float(2 * stdtr(n - 1, -abs(t)))), True)


def _deviation(d: np.ndarray) -> float:
    """Return the standard deviation with n - 1; 0 where values differ by rounding alone."""
    deviation = float(d.std(ddof=1))
    return 0.0 if deviation <= 4 * np.finfo(np.float64).eps * np.abs(d).max() else deviation


def randomization(a: np.ndarray, b: np.ndarray, *, samples: int = 10_000, seed: int = 0) -> TestResult:
    r"""Fisher's randomisation test: how often do random swaps of the two systems give a mean difference as large?

    .. math:: p = (b + 1) / (m + 1)

    with b of m sampled sign flips at least as extreme, so p is never 0. Up to 20 queries all flips are counted, and p
    is their share.

    Args:
      a: one value per query of the one system.
      b: the values of the other, in the same order.
      samples: number of sampled flips, m.
      seed: of the random numbers; equal seeds give equal results.

    Returns:
      The result, with the mean difference as statistic; p = 1 where all differences are 0.

    Raises:
      EvalError: the lengths differ, there is no value, a value is not finite, or samples < 1.

    Cost: O(m n) time, a few megabytes.

    >>> randomization(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0])).p_value
    0.25
    """
    d = _differences(a, b)
    _check_samples(samples)
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


def _check_samples(samples: int) -> None:
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise EvalError(f"samples is {samples!r}, expected an integer of at least 1", reason="invalid_parameter")


def wilcoxon(a: np.ndarray, b: np.ndarray) -> TestResult:
    """Wilcoxon's signed-rank test: do the ranks of positive and negative differences balance?

    Args:
      a: one value per query of the one system.
      b: the values of the other, in the same order.

    Returns:
      The result, with the smaller sum of ranks as statistic; p = 1 where all differences are 0.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.

    Numerics: differences of 0 are left out, equal ones share their mean rank. The exact distribution up to 50
    differences without ties, beyond that the normal approximation with tie correction.

    >>> wilcoxon(np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4)).p_value
    0.125
    """
    d = _differences(a, b)
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


def sign(a: np.ndarray, b: np.ndarray) -> TestResult:
    """Sign test: is each system better on half of the queries?

    Args:
      a: one value per query of the one system.
      b: the values of the other, in the same order.

    Returns:
      The result, with the number of queries on which ``a`` is better as statistic; ties are left out, and p = 1 where
      there is nothing else.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.

    >>> sign(np.array([1.0, 2.0, 3.0, 0.0]), np.zeros(4)).p_value
    0.25
    """
    d = _differences(a, b)
    wins, n = int(np.sum(d > 0)), int(np.sum(d != 0))
    if not n:
        return TestResult(0.0, 1.0, True)
    from scipy.special import bdtr

    return TestResult(float(wins), min(1.0, float(2 * bdtr(min(wins, n - wins), n, 0.5))), True)


def effect_size(a: np.ndarray, b: np.ndarray) -> float:
    r"""Cohen's d of paired values: the mean difference in standard deviations of the differences.

    .. math:: d_z = \bar d / s_d

    Args:
      a: one value per query of the one system.
      b: the values of the other, in the same order.

    Returns:
      The effect size; 0 for a single query or where all differences are 0, infinite where they are equal and not 0.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.

    >>> effect_size(np.array([1.0, 3.0]), np.array([0.0, 0.0])).__round__(4)
    1.4142
    """
    d = _differences(a, b)
    if len(d) < 2 or not d.any():
        return 0.0
    deviation = _deviation(d)
    return float(d.mean() / deviation) if deviation else math.copysign(math.inf, d[0])


def t_interval(x: np.ndarray, *, level: float | int = 0.95) -> tuple[float, float]:
    """Confidence interval of a mean, if values are about normal.

    Args:
      x: one value per query.
      level: the share of samples whose interval holds the mean, between 0 and 1.

    Returns:
      Lower and upper end; infinite for a single value, which says nothing about the spread.

    Raises:
      EvalError: there is no value, a value is not finite, or the level is out of range.

    >>> [round(end, 4) for end in t_interval(np.array([1.0, 2.0, 3.0]))]
    [-0.4841, 4.4841]
    """
    x = _values(x, "x")
    _check_level(level)
    if len(x) < 2:
        return -math.inf, math.inf
    from scipy.special import stdtrit

    half = float(stdtrit(len(x) - 1, 0.5 + level / 2)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def bootstrap_interval(
    x: np.ndarray, *, level: float | int = 0.95, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap confidence interval of a mean: quantiles of the means of resampled queries.

    For the interval of a difference hand in the differences.

    Args:
      x: one value per query.
      level: the share of resampled means inside, between 0 and 1.
      samples: how often the queries are resampled.
      seed: of the random numbers; equal seeds give equal results.

    Returns:
      Lower and upper end; both are the value itself for a single query.

    Raises:
      EvalError: there is no value, a value is not finite, the level is out of range, or samples < 1.

    Cost: O(samples n) time, a few megabytes.

    >>> bootstrap_interval(np.array([0.5, 0.5, 0.5]))
    (0.5, 0.5)
    """
    x = _values(x, "x")
    _check_level(level)
    _check_samples(samples)
    rng = np.random.default_rng(seed)
    means, block = np.empty(samples), max(1, (1 << 20) // len(x))
    # Around the mean, so that constant values give their own mean exactly.
    centred = x - x.mean()
    for start in range(0, samples, block):
        stop = min(start + block, samples)
        means[start:stop] = centred[rng.integers(0, len(x), (stop - start, len(x)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2]) + x.mean()
    return float(low), float(high)


def _check_level(level: float | int) -> None:
    if not 0 < level < 1:
        raise EvalError(f"level is {level}, expected a number between 0 and 1", reason="invalid_parameter")


def _p_values(p: Any) -> np.ndarray:
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise EvalError("p must be one-dimensional with values between 0 and 1", reason="invalid_parameter")
    return p


def bonferroni(p: np.ndarray) -> np.ndarray:
    """Correct p-values by their number; the chance of any false discovery stays below the level.

    Args:
      p: p-values, ``[m]``.

    Returns:
      Corrected p-values, ``[m]``, at most 1.

    Raises:
      EvalError: a value is not between 0 and 1.

    >>> bonferroni(np.array([0.01, 0.5])).tolist()
    [0.02, 1.0]
    """
    p = _p_values(p)
    return np.minimum(p * len(p), 1.0)


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p-values by Holm's method: the promise of Bonferroni with more power.

    Args:
      p: p-values, ``[m]``.

    Returns:
      Corrected p-values, ``[m]``, at most 1.

    Raises:
      EvalError: a value is not between 0 and 1.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    p = _p_values(p)
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return corrected


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Correct p-values so that the expected share of false ones among the discoveries stays below the level.

    Args:
      p: p-values, ``[m]``.

    Returns:
      Corrected p-values, ``[m]``, at most 1.

    Raises:
      EvalError: a value is not between 0 and 1.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.04, 0.04]
    """
    p = _p_values(p)
    m = len(p)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * m / np.arange(1, m + 1)
    corrected = np.empty(m)
    corrected[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return corrected


# What ``compare`` knows by name.
TESTS: dict[str, Callable[..., TestResult]] = {
    "t": paired_t,
    "randomization": randomization,
    "wilcoxon": wilcoxon,
    "sign": sign,
}
CORRECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "holm": holm,
    "bh": benjamini_hochberg,
    "bonferroni": bonferroni,
}
