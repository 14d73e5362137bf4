"""The arguments of tests and intervals, checked, and where they are to be computed."""

import sys
from typing import Any

import numpy as np

from jrank.errors import EvalError

__all__ = ["check_level", "check_samples", "deviation", "differences", "on_device", "values"]


def on_device(*arrays: Any) -> bool:
    """Tell whether one of them is an array of JAX, without importing it.

    Args:
      *arrays: anything.
    """
    jax = sys.modules.get("jax")
    return jax is not None and any(isinstance(x, jax.Array) for x in arrays)


def differences(a: Any, b: Any, where: Any = None) -> np.ndarray:
    """Return the differences of paired values.

    Args:
      a: one value per query.
      b: the values to subtract.
      where: which queries count, or None for all.

    Raises:
      EvalError: the lengths differ, there is no value, or a value is not finite.
    """
    a, b = values(a, "a", where), values(b, "b", where)
    if a.shape != b.shape:
        raise EvalError(
            f"a has {len(a)} values and b has {len(b)}, expected one pair per query",
            reason="length_mismatch",
            hint="evaluate both systems on the same queries",
        )
    return a - b


def values(x: Any, name: str, where: Any = None) -> np.ndarray:
    """Return one finite number per query that counts.

    Args:
      x: the numbers.
      name: what the message calls them.
      where: which queries count, or None for all.

    Raises:
      EvalError: there is no value, the mask does not fit, or a value is not finite.
    """
    if isinstance(x, str) or not (hasattr(x, "__array__") or isinstance(x, (list, tuple))):
        raise TypeError(f"{name} must be an array of numbers, got {type(x).__name__}")
    x = np.asarray(x, np.float64)
    if where is not None and x.ndim == 1:
        mask = np.asarray(where) != 0
        if mask.shape != x.shape:
            raise EvalError(f"where has shape {mask.shape} and {name} {x.shape}", reason="length_mismatch")
        x = x[mask]
    if x.ndim != 1 or not len(x):
        raise EvalError(
            f"{name} has shape {x.shape}, expected one value per query",
            reason="empty_input",
            hint="several comparisons at once are computed on the device: jnp.asarray(x)" if x.ndim > 1 else "",
        )
    if not np.isfinite(x).all():
        raise EvalError(f"{name} holds NaN or infinity, expected finite values", reason="invalid_parameter")
    return x


def deviation(d: np.ndarray) -> float:
    """Return the standard deviation with n - 1; 0 where values differ by rounding alone.

    Args:
      d: at least two numbers.
    """
    deviation = float(d.std(ddof=1))
    return 0.0 if deviation <= 4 * np.finfo(np.float64).eps * np.abs(d).max() else deviation


def check_samples(samples: int) -> None:
    """Refuse a number of samples below 1.

    Args:
      samples: the number.
    """
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise EvalError(f"samples is {samples!r}, expected an integer of at least 1", reason="invalid_parameter")


def check_level(level: float | int) -> None:
    """Refuse a confidence level that is not between 0 and 1.

    Args:
      level: the level.
    """
    if not 0 < level < 1:
        raise EvalError(f"level is {level}, expected a number between 0 and 1", reason="invalid_parameter")
