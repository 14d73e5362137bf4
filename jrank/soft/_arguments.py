"""What every soft operator does with its arguments: checks, axis, batch, temperature, mask."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import accumulator_dtype, as_array, as_floating, as_mask
from jrank.errors import SoftError, did_you_mean
from jrank.types import Array


def choose(table: Mapping[str, Callable[..., Any]], method: str, operator: str) -> Callable[..., Any]:
    """Look a method up in the table of an operator.

    Args:
      table: name to function.
      method: the name asked for.
      operator: what the message calls the operator.

    Raises:
      SoftError: there is no such method.
      TypeError: the name is not a string.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be a string, got {type(method).__name__}")
    if method not in table:
        guess = did_you_mean(method.lower(), table)
        raise SoftError(
            f"soft.{operator} has no method {method!r}",
            reason="unknown_method",
            hint=f"{guess}methods: {', '.join(table)}",
        )
    return table[method]


def check_axis(axis: int, ndim: int) -> int:
    """Return the axis counted from the front.

    Args:
      axis: the axis asked for.
      ndim: the number of axes there are.

    Raises:
      SoftError: the array has no axis, or not this one.
    """
    if ndim == 0:
        raise SoftError("x is a single number, expected at least one axis", reason="shape_mismatch")
    if not -ndim <= axis < ndim:
        raise SoftError(f"axis {axis} is out of range for {ndim} axes", reason="invalid_parameter")
    return axis % ndim


def check_scores(x: Any, axis: int, name: str = "x") -> tuple[Array, int]:
    """Return the scores with the list axis last, and where that axis was.

    Args:
      x: scores.
      axis: the axis of the list.
      name: what the messages call the scores.
    """
    x = as_floating(x, name)
    axis = check_axis(axis, x.ndim)
    return jnp.moveaxis(x, axis, -1), axis


def check_mask(where: Any, shape: tuple[int, ...], axis: int) -> Array | None:
    """Return the mask with the list axis last.

    Args:
      where: mask in the layout of the user, or None.
      shape: the shape of the scores with the list axis last.
      axis: where the list axis was, counted from the front.
    """
    if where is None:
        return None
    given = list(shape[:-1])
    given.insert(axis, shape[-1])
    try:
        mask = as_mask(where, tuple(given))
    except ValueError as error:
        raise SoftError(str(error), reason="shape_mismatch", hint="where has one entry for each item") from None
    return None if mask is None else jnp.moveaxis(mask, axis, -1)


def check_weights(weights: Any, shape: tuple[int, ...], axis: int, name: str = "weights") -> Array | None:
    """Return numbers that go with the items, with the list axis last.

    Args:
      weights: numbers in the layout of the user, in a shape that broadcasts to that of the scores, or None.
      shape: the shape of the scores with the list axis last.
      axis: where the list axis was, counted from the front.
      name: what the messages call them.

    Raises:
      SoftError: the shape does not fit.
    """
    if weights is None:
        return None
    given = list(shape[:-1])
    given.insert(axis, shape[-1])
    array = as_floating(weights, name)
    missing = len(given) - array.ndim
    if missing < 0 or any(a not in (1, b) for a, b in zip(array.shape[::-1], given[::-1], strict=False)):
        raise SoftError(
            f"{name} has shape {array.shape}, which does not broadcast to {tuple(given)}",
            reason="shape_mismatch",
            hint="give one number for each item",
        )
    array = jnp.broadcast_to(array.reshape((1,) * missing + array.shape), tuple(given))
    return jnp.moveaxis(array, axis, -1)


def check_segments(segments: Any, shape: tuple[int, ...], axis: int) -> Array | None:
    """Return the segment ids with the list axis last.

    Args:
      segments: ids in the layout of the user, or None.
      shape: the shape of the scores with the list axis last.
      axis: where the list axis was, counted from the front.

    Raises:
      SoftError: the shape is not that of the scores.
    """
    if segments is None:
        return None
    ids = as_array(segments, "segments")
    given = list(shape[:-1])
    given.insert(axis, shape[-1])
    if ids.shape != tuple(given):
        raise SoftError(
            f"segments has shape {ids.shape}, expected {tuple(given)}",
            reason="shape_mismatch",
            hint="give one id for each item",
        )
    return jnp.moveaxis(ids, axis, -1)


def check_temperature(temperature: Any, batch: tuple[int, ...], dtype: Any, name: str = "temperature") -> Array:
    """Return the temperature in the working type, one for each row.

    Args:
      temperature: a number, an array of one, or one for each row.
      batch: the batch shape.
      dtype: the working type.
      name: what the messages call it.

    Raises:
      SoftError: the shape does not fit, or a number is negative.
    """
    if isinstance(temperature, (int, float)) and not temperature >= 0:
        raise SoftError(f"{name} is {temperature}, expected a number >= 0", reason="invalid_parameter")
    value = as_array(temperature, name).astype(dtype)
    if value.shape == batch:
        return value
    if value.size != 1 or value.ndim > max(len(batch), 1):
        raise SoftError(
            f"{name} has shape {value.shape}, expected () or the batch shape {batch}",
            reason="shape_mismatch",
            hint="give one number, or one for each list",
        )
    return jnp.broadcast_to(value.reshape(()), batch)


BACKENDS = ("xla", "numpy", "pallas")


def check_backend(backend: str, method: str) -> dict[str, str]:
    """Return the option that says so to the exact methods, none for XLA.

    Args:
      backend: "xla", "numpy" or "pallas".
      method: the method that shall use it.

    Raises:
      SoftError: there is no such backend, or the method has only one.
    """
    if backend not in BACKENDS:
        raise SoftError(
            f"there is no backend {backend!r}", reason="invalid_parameter", hint=f"backends: {', '.join(BACKENDS)}"
        )
    if backend != "xla" and method not in ("l2", "kl"):
        raise SoftError(
            f"method {method!r} has only the backend 'xla', got {backend!r}",
            reason="invalid_parameter",
            hint="methods with others: l2, kl",
        )
    return {} if backend == "xla" else {"backend": backend}


def work_dtype(x: Array) -> Any:
    """Return the type to compute in: float32 for the half types, otherwise that of the scores.

    Args:
      x: scores.
    """
    return accumulator_dtype(x.dtype)


# Numbers that the lists of a batch hold at a time, where one list holds many: some 300 MB with what a gradient keeps.
AT_A_TIME = 1 << 23


def over_rows(fn: Callable[..., Any], ndim: int, held: int = 0) -> Callable[..., Any]:
    """Apply a function of one list to every list of a batch; None among the arguments stays None.

    Args:
      fn: takes arrays without batch axes.
      ndim: the number of batch axes.
      held: how many numbers one list holds at a time, where these are many. A large batch is then taken a few lists
        at a time, and what they held is computed again for the gradient.
    """

    def batched(*args: Any) -> Any:
        present = [a is not None for a in args]
        given = tuple(a for a in args if a is not None)

        def row(*given: Any) -> Any:
            rest = iter(given)
            return fn(*(next(rest) if there else None for there in present))

        if math.prod(given[0].shape[:ndim]) * held > AT_A_TIME:
            few = max(1, AT_A_TIME // held)
            one: Callable[..., Any] = jax.checkpoint(lambda given: row(*given))
            for level in range(ndim):
                one = partial(lax.map, one, batch_size=None if level else few)
            return one(given)
        mapped: Callable[..., Any] = row
        for _ in range(ndim):
            mapped = jax.vmap(mapped)
        return mapped(*given)

    return batched
