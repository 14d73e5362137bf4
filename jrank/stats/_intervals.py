"""Confidence intervals of means."""

import math
from typing import Any, Literal

import numpy as np

from jrank.errors import EvalError
from jrank.stats._values import check_level, check_samples, deviation, on_device, values

__all__ = ["bootstrap_interval", "t_interval"]


def t_interval(x: Any, *, level: float | int = 0.95, where: Any = None) -> tuple[Any, Any]:
    """Confidence interval of a mean, if values are about normal.

    Args:
      x: one value per query, ``[q]``; an array of JAX also ``[..., q]``, for as many intervals at once.
      level: the share of samples whose interval holds the mean, between 0 and 1.
      where: True at the queries that count. None: all do.

    Returns:
      Lower and upper end; infinite for a single value, which says nothing about the spread.

    Raises:
      EvalError: there is no value, a value is not finite, or the level is out of range.

    >>> [round(end, 4) for end in t_interval(np.array([1.0, 2.0, 3.0]))]
    [-0.4841, 4.4841]
    """
    check_level(level)
    if on_device(x):
        from jrank.stats import _device

        return _device.t_interval(x, level, where)
    x = values(x, "x", where)
    if len(x) < 2:
        return -math.inf, math.inf
    from scipy.special import stdtrit

    half = float(stdtrit(len(x) - 1, 0.5 + level / 2)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def bootstrap_interval(
    x: Any,
    *,
    level: float | int = 0.95,
    samples: int = 10_000,
    seed: int = 0,
    method: Literal["bca", "percentile", "basic"] = "bca",
    where: Any = None,
    key: Any = None,
) -> tuple[Any, Any]:
    r"""Bootstrap confidence interval of a mean, from the means of resampled queries.

    For the interval of a difference hand in the differences. With :math:`z_0` the bias and a the acceleration the ends
    of the default are the quantiles

    .. math:: \Phi\left(z_0 + \frac{z_0 + z}{1 - a (z_0 + z)}\right), \quad
        z = \Phi^{-1}\left(\tfrac{1 \mp level}{2}\right)

    Args:
      x: one value per query, ``[q]``; an array of JAX also ``[..., q]``, for as many intervals at once.
      level: the share of samples whose interval holds the mean, between 0 and 1.
      samples: how often the queries are resampled.
      seed: of the random numbers; equal seeds give equal results.
      method: "bca", bias-corrected and accelerated, right to the second order; "percentile", the quantiles themselves;
        "basic", these mirrored at the mean.
      where: True at the queries that count. None: all do.
      key: a random key in place of the seed, on a device.

    Returns:
      Lower and upper end; both are the value itself for a single query, and where all values are equal.

    Raises:
      EvalError: there is no value, a value is not finite, the level is out of range, the method is unknown, or
        samples < 1.

    Cost: O(samples n) time, a few megabytes.
    References: Efron 1987, "Better bootstrap confidence intervals".

    >>> bootstrap_interval(np.array([0.5, 0.5, 0.5]))
    (0.5, 0.5)
    """
    check_level(level)
    check_samples(samples)
    if method not in ("bca", "percentile", "basic"):
        raise EvalError(f"unknown method {method!r}", reason="invalid_parameter", hint="bca, percentile or basic")
    if on_device(x):
        from jrank.stats import _device

        return _device.bootstrap_interval(x, level, samples, seed, method, where, key)
    x = values(x, "x", where)
    rng = np.random.default_rng(seed)
    means, block = np.empty(samples), max(1, (1 << 20) // len(x))
    # Around the mean, so that constant values give their own mean exactly.
    mean = x.mean()
    centred = x - mean
    for start in range(0, samples, block):
        stop = min(start + block, samples)
        means[start:stop] = centred[rng.integers(0, len(x), (stop - start, len(x)))].mean(axis=1)
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca" and len(x) > 1 and deviation(x):
        ends = _corrected(ends, means, centred)
    low, high = np.quantile(means, ends)
    if method == "basic":
        low, high = -high, -low
    return float(low + mean), float(high + mean)


def _corrected(ends: np.ndarray, means: np.ndarray, centred: np.ndarray) -> np.ndarray:
    """Levels of the quantiles, corrected for bias and for how the variance grows with the mean."""
    from scipy.special import ndtr, ndtri  # SciPy takes longer to import than this module

    share = (np.mean(means < 0) + np.mean(means <= 0)) / 2
    if not 0 < share < 1:
        return ends
    bias = ndtri(share)
    acceleration = np.sum(centred**3) / (6 * np.sum(centred**2) ** 1.5)
    z = bias + ndtri(ends)
    return ndtr(bias + z / (1 - acceleration * z))
