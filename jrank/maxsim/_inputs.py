"""Arguments of the public functions, checked once at the edge."""

import operator
from typing import Any

import jax
import jax.numpy as jnp

from jrank.arrays import as_floating, as_mask
from jrank.errors import RerankError
from jrank.types import Array

__all__ = ["as_temperature", "as_threshold", "common_type", "embeddings", "mask", "whole"]

_AXES = {"query": "[..., q, d]", "queries": "[..., b, q, d]", "doc": "[..., t, d]", "docs": "[..., n, t, d]"}


def embeddings(
    query: Any, docs: Any, ranks: tuple[int, int], names: tuple[str, str], *, own: tuple[int, int] | None = None
) -> tuple[Array, Array]:
    """Return queries and documents in one floating type, with at least ``ranks`` axes and equal dimensions.

    Args:
      query: token embeddings of one or more queries.
      docs: token embeddings of one or more documents.
      ranks: how many axes each needs.
      names: what messages call them.
      own: how many axes each has of its own; what leads them must be equal. None is ``ranks``.

    Raises:
      RerankError: the number of axes, the leading axes or the dimensions do not fit.
    """
    query, docs = as_floating(query, names[0]), as_floating(docs, names[1])
    for array, rank, name in zip((query, docs), ranks, names, strict=True):
        if array.ndim < rank:
            raise RerankError(
                f"{name} has shape {array.shape}, expected {_AXES[name]}",
                reason="dimension_mismatch",
                hint="add the missing axes, for one document with docs[None]",
            )
    if query.shape[-1] != docs.shape[-1]:
        raise RerankError(
            f"{names[0]} of {query.shape[-1]} dimensions (shape {query.shape}), "
            f"{names[1]} of {docs.shape[-1]} (shape {docs.shape})",
            reason="dimension_mismatch",
            hint="encode both with the same model",
        )
    own = own or ranks
    lead = query.shape[: query.ndim - own[0]], docs.shape[: docs.ndim - own[1]]
    if lead[0] != lead[1]:
        raise RerankError(
            f"{names[0]} of shape {query.shape} and {names[1]} of shape {docs.shape} differ in their leading axes",
            reason="dimension_mismatch",
            hint="many queries against the same documents is score_matrix",
        )
    dtype = common_type(query.dtype, docs.dtype)
    return query.astype(dtype), docs.astype(dtype)


def common_type(*dtypes: Any) -> Any:
    """Return the narrowest type that holds values of all these types; float32 for float16 with bfloat16.

    Args:
      *dtypes: the types.
    """
    with jax.numpy_dtype_promotion("standard"):  # asked for by name, so strict mode has nothing to object to
        return jnp.result_type(*dtypes)


def as_temperature(temperature: Any) -> Array:
    """Return a temperature as a floating scalar.

    Args:
      temperature: what the user gave.

    Raises:
      RerankError: it is no scalar, or a number that is not positive.
    """
    array = as_floating(temperature, "temperature")
    if array.ndim:
        raise RerankError(f"temperature has shape {array.shape}, expected a scalar", reason="invalid_parameter")
    if isinstance(temperature, (int, float)) and not temperature > 0:
        raise RerankError(
            f"temperature is {temperature}, expected a positive number",
            reason="invalid_parameter",
            hint="temperature=None takes the maximum itself",
        )
    return array


def as_threshold(threshold: Any) -> Array:
    """Return a threshold as a floating scalar.

    Args:
      threshold: what the user gave.

    Raises:
      RerankError: it is no scalar.
    """
    array = as_floating(threshold, "threshold")
    if array.ndim:
        raise RerankError(f"threshold has shape {array.shape}, expected a number", reason="invalid_parameter")
    return array


def whole(number: Any, name: str) -> int:
    """Return a number of things as an integer.

    Args:
      number: what the user gave.
      name: what the message calls it.

    Raises:
      TypeError: it is no integer.
    """
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {number!r:.80}") from None


def mask(where: Any, shape: tuple[int, ...], name: str) -> Array | None:
    """Return a mask of tokens as bool, or None.

    Args:
      where: what the user gave.
      shape: the shape of the tokens without their dimensions.
      name: what the message calls it.

    Raises:
      RerankError: the shape does not fit.
    """
    try:
        return as_mask(where, shape, name)
    except ValueError:
        raise RerankError(
            f"{name} has shape {jnp.shape(where)}, expected {shape}: one value for each token",
            reason="dimension_mismatch",
        ) from None
