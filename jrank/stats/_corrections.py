"""Corrections of p-values for how many there are."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jrank.errors import EvalError

__all__ = ["CORRECTIONS", "benjamini_hochberg", "bonferroni", "holm"]


def _p_values(p: Any) -> np.ndarray:
    p = np.asarray(p, np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise EvalError("p must be one-dimensional with values between 0 and 1", reason="invalid_parameter")
    return p


def bonferroni(p: Any) -> np.ndarray:
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


def holm(p: Any) -> np.ndarray:
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


def benjamini_hochberg(p: Any) -> np.ndarray:
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


CORRECTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "holm": holm,
    "bh": benjamini_hochberg,
    "bonferroni": bonferroni,
}
