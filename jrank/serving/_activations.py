"""Raw scores to probabilities, when asked for."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from jrank.errors import ServeError

__all__ = ["ACTIVATIONS", "Activation", "activate"]

Activation = Literal["sigmoid", "softmax"] | Callable[[np.ndarray], np.ndarray] | None


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    # exp of a negative number only: no overflow, and no loss at either end.
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return weights / weights.sum(axis=-1, keepdims=True)


ACTIVATIONS = {"sigmoid": _sigmoid, "softmax": _softmax}


def activate(logits: np.ndarray, activation: Activation) -> np.ndarray:
    """Apply an activation in float64, where a sigmoid tells scores up to 36 apart from 1.

    Args:
      logits: float64 [rows, labels].
      activation: None = raw scores; "sigmoid" of each label; "softmax" over the labels; or a function of the array.

    Returns:
      float64 [rows, labels].

    Raises:
      ServeError: an unknown name, softmax of a single label, or a function that changes the shape.
    """
    if activation is None:
        return logits
    if callable(activation):
        result = np.asarray(activation(logits), np.float64)
        if result.shape != logits.shape:
            raise ServeError(f"the activation turned {logits.shape} into {result.shape}", reason="invalid_parameter")
        return result
    if activation not in ACTIVATIONS:
        raise ServeError(
            f"unknown activation {activation!r}",
            reason="invalid_parameter",
            hint=f"None, a function, or one of {', '.join(ACTIVATIONS)}",
        )
    if activation == "softmax" and logits.shape[-1] == 1:
        raise ServeError(
            "softmax of a single score is always 1", reason="invalid_parameter", hint='use activation="sigmoid"'
        )
    return ACTIVATIONS[activation](logits)
