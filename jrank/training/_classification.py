"""Losses and a metric of models with several outputs, where a label is a class or one number for each output."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped

from jrank.types import Array, ArrayLike

__all__ = ["accuracy", "binary_cross_entropy_loss", "cross_entropy_loss"]


def cross_entropy_loss(
    logits: Float[ArrayLike, "*b n c"], labels: Shaped[ArrayLike, "*b n"], *, where: Shaped[ArrayLike, "*b n"]
) -> Float[Array, ""]:
    r"""Cross-entropy of items that each belong to one of several classes.

    .. math:: -\frac{1}{n} \sum_i \log \frac{\exp s_{i, y_i}}{\sum_c \exp s_{i, c}}

    Args:
      logits: one number for each class.
      labels: the class of each item, from 0 to c - 1.
      where: which items are real.

    Returns:
      The mean over the real items; 0 if there is none. A class outside the range gives NaN.

    >>> import numpy as np
    >>> logits = np.array([[0.0, 0.0], [0.0, 9.0]], np.float32)
    >>> round(float(cross_entropy_loss(logits, np.array([0, 0]), where=np.array([True, False]))), 4)
    0.6931
    """
    logits, where = jnp.asarray(logits), jnp.asarray(where, bool)
    chances = jax.nn.log_softmax(jnp.where(where[..., None], logits, 0.0), axis=-1)
    chosen = jnp.where(where, jnp.asarray(labels), 0).astype(jnp.int32)
    return _mean(-jnp.take_along_axis(chances, chosen[..., None], axis=-1, mode="fill")[..., 0], where)


def binary_cross_entropy_loss(
    logits: Float[ArrayLike, "*b n c"], labels: Shaped[ArrayLike, "*b n c"], *, where: Shaped[ArrayLike, "*b n"]
) -> Float[Array, ""]:
    r"""Binary cross-entropy of items that may have any of several labels, or none.

    .. math:: \frac{1}{n c} \sum_{i, c} \log(1 + \exp s_{i, c}) - y_{i, c}\, s_{i, c}

    Args:
      logits: one number for each label.
      labels: in [0, 1], for each label of each item.
      where: which items are real.

    Returns:
      The mean over the real items and their labels; 0 if there is none.

    >>> import numpy as np
    >>> labels = np.array([[1.0, 0.0]])
    >>> round(float(binary_cross_entropy_loss(np.zeros((1, 2), np.float32), labels, where=np.array([True]))), 4)
    0.6931
    """
    where = jnp.asarray(where, bool)
    logits = jnp.where(where[..., None], jnp.asarray(logits), 0.0)
    labels = jnp.where(where[..., None], jnp.asarray(labels), 0.0).astype(logits.dtype)
    return _mean(jnp.mean(jax.nn.softplus(logits) - labels * logits, axis=-1), where)


def accuracy(
    logits: Float[ArrayLike, "*b n c"], labels: Shaped[ArrayLike, "..."], *, where: Shaped[ArrayLike, "*b n"]
) -> Float[Array, ""]:
    """Share of right decisions: the class with the largest output, or each label by the sign of its output.

    Args:
      logits: one number for each class or label.
      labels: a class for each item, or for each label of each item a number in [0, 1]; 0.5 and more count as 1.
      where: which items are real.

    Returns:
      The mean over the real items; 0 if there is none.

    >>> import numpy as np
    >>> logits = np.array([[1.0, 2.0], [3.0, 0.5]])
    >>> float(accuracy(logits, np.array([1, 1]), where=np.array([True, True])))
    0.5
    """
    logits, labels, where = jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(where, bool)
    if labels.ndim == logits.ndim:
        right = jnp.mean((logits > 0) == (labels >= 0.5), axis=-1, dtype=jnp.float32)
    else:
        right = (jnp.argmax(logits, axis=-1) == labels.astype(jnp.int32)).astype(jnp.float32)
    return _mean(right, where)


def _mean(values: Array, where: Array) -> Array:
    count = jnp.sum(where, dtype=values.dtype)
    return jnp.sum(jnp.where(where, values, 0.0)) / jnp.maximum(count, 1.0)
