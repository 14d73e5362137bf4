"""One body for NumPy and JAX: which namespace an array belongs to, checked arguments, missing documents.

NumPy arrays are computed by NumPy, in float64 and without a compiler; ``jax.Array`` and tracers by jax.numpy. JAX is
never imported here: an array of it can only come from a program that has done so.
"""

import sys
from types import ModuleType
from typing import Any

import numpy as np

from jrank.errors import FusionError

__all__ = [
    "check_option",
    "check_weights",
    "count_not_above",
    "finish",
    "floating",
    "is_concrete",
    "namespace",
    "ranks_of",
    "scores_of",
    "spread",
]


def _is_jax(x: Any) -> bool:
    kind = getattr(sys.modules.get("jax"), "Array", None)
    return kind is not None and isinstance(x, kind)


def namespace(*arrays: Any) -> ModuleType:
    """Return jax.numpy if one of the arrays is of JAX, otherwise numpy.

    Args:
      *arrays: arrays, numbers or None.
    """
    if any(_is_jax(x) for x in arrays):
        return sys.modules["jax"].numpy
    return np


def is_concrete(x: Any) -> bool:
    """Return whether the values of ``x`` can be looked at without waiting for a device.

    Args:
      x: an array or number.
    """
    return not _is_jax(x)


def check_option(
    name: str, value: Any, *, least: float | int = -np.inf, most: float | int = np.inf, within: bool = False
) -> None:
    """Refuse an option that is no finite number, or one beyond its bounds; what is traced is taken as it is.

    Args:
      name: what the message calls it.
      value: a number or an array of numbers.
      least: the smallest that is right.
      most: the largest.
      within: whether the bounds themselves are wrong.

    Raises:
      FusionError: it is none of these.
    """
    if not is_concrete(value):
        return
    array = np.asarray(value)
    if array.dtype.kind in "iuf" and np.isfinite(array).all():
        right = (least < array) & (array < most) if within else (least <= array) & (array <= most)
        if right.all():
            return
    bounds = ""
    if most < np.inf:
        bounds = f" between {least:g} and {most:g}" if within else f" from {least:g} to {most:g}"
    elif least > -np.inf:
        bounds = f" above {least:g}" if within else f" of at least {least:g}"
    raise FusionError(f"{name} is {value!r}, expected a finite number{bounds}", reason="invalid_config")


def floating(xp: ModuleType, x: Any, name: str) -> Any:
    """Return an array to compute with: at least float32, integers as the default float type.

    Args:
      xp: the namespace.
      x: an array.
      name: what messages call it.

    Raises:
      TypeError: ``x`` is no array of real numbers.
    """
    if not hasattr(x, "dtype") or not hasattr(x, "shape"):
        raise TypeError(f"{name} must be an array, got {type(x).__name__}; write np.asarray({name})")
    x = xp.asarray(x)
    if x.dtype.kind == "c" or (x.dtype.kind not in "iufb" and not xp.issubdtype(x.dtype, np.floating)):
        raise TypeError(f"{name} must be an array of real numbers, got {x.dtype}")
    if x.dtype.kind in "iub":
        return x.astype(xp.result_type(float))
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def _present(xp: ModuleType, x: Any, valid: Any, where: Any, name: str) -> Any:
    if x.ndim < 2:
        raise FusionError(
            f"{name} has shape {tuple(x.shape)}, expected [..., runs, docs]",
            reason="invalid_run",
            hint="stack the runs along the last but one axis",
        )
    if not x.shape[-2]:
        raise FusionError(
            f"{name} of shape {tuple(x.shape)} holds no run", reason="empty_input", hint="stack at least one run"
        )
    if where is None:
        return valid
    where = xp.asarray(where)
    if where.dtype != bool:
        where = where != 0
    try:
        return valid & xp.broadcast_to(where, x.shape)
    except ValueError:
        raise FusionError(
            f"where has shape {tuple(where.shape)}, which does not fit the shape {tuple(x.shape)} of {name}",
            reason="invalid_run",
        ) from None


def ranks_of(ranks: Any, where: Any, *others: Any) -> tuple[ModuleType, Any, Any]:
    """Return namespace, ranks with +inf where a run lacks the document, and where it has it.

    Args:
      ranks: 1-based ranks, ``[..., runs, docs]``; 0, negative numbers and NaN mean "not retrieved".
      where: the mask, or None.
      *others: further arrays that decide the namespace.
    """
    xp = namespace(ranks, where, *others)
    ranks = floating(xp, ranks, "ranks")
    present = _present(xp, ranks, (ranks > 0) & (ranks < xp.inf), where, "ranks")
    return xp, xp.where(present, ranks, xp.inf), present


def scores_of(scores: Any, where: Any, *others: Any) -> tuple[ModuleType, Any, Any]:
    """Return namespace, scores with 0 where a run lacks the document, and where it has it.

    Args:
      scores: ``[..., runs, docs]``; -inf, +inf and NaN mean "not retrieved".
      where: the mask, or None.
      *others: further arrays that decide the namespace.
    """
    xp = namespace(scores, where, *others)
    scores = floating(xp, scores, "scores")
    present = _present(xp, scores, xp.isfinite(scores), where, "scores")
    return xp, xp.where(present, scores, 0), present


def check_weights(xp: ModuleType, weights: Any, shape: tuple[int, ...], dtype: Any, name: str = "weights") -> Any:
    """Return weights as ``[..., runs, 1]``, or None for none.

    Args:
      xp: the namespace.
      weights: one number per run, ``[runs]`` or ``[..., runs]``.
      shape: the shape of the scores.
      dtype: the type to compute in.
      name: what messages call them.

    Raises:
      FusionError: the number is wrong, a weight is not finite, or all are 0.
    """
    if weights is None:
        return None
    if is_concrete(weights):
        try:
            values = np.asarray(weights, np.float64)
        except (TypeError, ValueError):
            raise FusionError(
                f"{name} is {weights!r}", reason="invalid_config", hint="pass a list of numbers, one for each run"
            ) from None
        if not np.isfinite(values).all():
            raise FusionError(f"{name} {values.tolist()} are not all finite", reason="invalid_config")
        if name == "weights" and values.size and not values.any():
            raise FusionError("all weights are 0", reason="zero_weights", hint="give at least one run a weight")
    weights = xp.asarray(weights, dtype=dtype)
    if weights.ndim < 1 or weights.shape[-1] != shape[-2]:
        raise FusionError(
            f"{name} of shape {tuple(weights.shape)} for {shape[-2]} runs, expected one number per run",
            reason="invalid_config",
        )
    # As many axes as the scores: users may have rank promotion switched off.
    return weights.reshape((1,) * (len(shape) - 1 - weights.ndim) + (*weights.shape, 1))


def spread(xp: ModuleType, values: Any, weights: Any) -> Any:
    """Sum over runs, with weights ``[..., runs, 1]`` or None.

    Args:
      xp: the namespace.
      values: ``[..., runs, docs]``, 0 where the run lacks the document.
      weights: see ``check_weights``.
    """
    return xp.sum(values if weights is None else values * weights, axis=-2)


def finish(xp: ModuleType, values: Any, present: Any, like: Any) -> Any:
    """Give documents that no run holds the score -inf, and cast back.

    Args:
      xp: the namespace.
      values: ``[..., docs]``.
      present: ``[..., runs, docs]``.
      like: the array that the caller handed in.
    """
    values = xp.where(xp.any(present, axis=-2), values, -xp.inf)
    return values.astype(like.dtype) if like.dtype.itemsize < 4 and like.dtype.kind not in "iub" else values


def count_not_above(xp: ModuleType, rows: Any) -> Any:
    """Count, for each value, the values of its row that are not above it.

    Args:
      xp: the namespace.
      rows: ``[rows, n]``.
    """
    ordered = xp.sort(rows, axis=-1)
    if xp is np:
        pairs = zip(ordered, rows, strict=True)
        return np.array([np.searchsorted(a, b, side="right") for a, b in pairs]).reshape(rows.shape)
    return sys.modules["jax"].vmap(lambda a, b: xp.searchsorted(a, b, side="right"))(ordered, rows)
