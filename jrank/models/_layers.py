"""The layers that the families share, as functions of plain dictionaries of arrays.

Everything is written in the form that the ONNX converter takes with a dynamic batch and a dynamic length: dense layers
as ``x W + b``, positions from ``broadcasted_iota``, squares as products, attention written out with a finite mask.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jrank.types import Array

__all__ = [
    "MASKED",
    "activate",
    "attend",
    "dense",
    "drop",
    "embed",
    "first_token",
    "layer_norm",
    "mask_bias",
    "merge_heads",
    "positions",
    "split_heads",
    "subkey",
]

# Added to the scores at padding. It is finite, so a row that is padding throughout gives numbers, not NaN.
MASKED = -1e9


def dense(params: dict, x: Array) -> Array:
    """Affine map of the last axis, in the dtype of ``x``; without "bias" a linear map.

    Args:
      params: "kernel" ``[d, e]`` and, optionally, "bias" ``[e]``.
      x: ``[b, t, d]`` or ``[b, d]``.
    """
    *before, width = x.shape
    # A product of two matrices: over three axes, the gradient of the kernel makes a training step on a CPU a tenth
    # slower. With a batch of unknown size, for ONNX, it stays one MatMul.
    flat = len(before) > 1 and all(isinstance(size, int) for size in before)
    rows = x.reshape(-1, width) if flat else x
    y = jnp.matmul(rows, params["kernel"].astype(x.dtype))  # the operator @ would become Einsum in ONNX, not MatMul
    bias = params.get("bias")
    if bias is not None:
        y = y + bias.astype(x.dtype).reshape((1,) * (y.ndim - 1) + bias.shape)
    return y.reshape(*before, y.shape[-1]) if flat else y


def layer_norm(params: dict, x: Array, eps: float) -> Array:
    """Layer normalisation of the last axis, in two passes and in float32.

    The one-pass form, mean of squares minus square of mean, cancels; this one does not.

    Args:
      params: "scale" ``[d]`` and, optionally, "bias" ``[d]``.
      x: ``[..., d]``.
      eps: added to the variance.
    """
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    rank = (1,) * (x.ndim - 1)
    y = centred / jnp.sqrt(variance + eps) * params["scale"].astype(x.dtype).reshape((*rank, -1))
    bias = params.get("bias")
    if bias is not None:
        y = y + bias.astype(x.dtype).reshape((*rank, -1))
    return y.astype(dtype)


def activate(x: Array, name: str) -> Array:
    """Apply an activation.

    Args:
      x: any array.
      name: "gelu" (exact, by erf), "gelu_tanh", "tanh", "relu" or "silu".
    """
    if name == "gelu":
        return jax.nn.gelu(x, approximate=False)
    if name == "gelu_tanh":
        return jax.nn.gelu(x, approximate=True)
    if name == "tanh":
        return jnp.tanh(x)
    if name == "relu":
        return jax.nn.relu(x)
    return jax.nn.silu(x)


def embed(table: Array, ids: Array) -> Array:
    """Rows of a table. The ids must be within it: an id outside gives NaN, as everywhere in jax.numpy.

    Args:
      table: ``[v, d]``.
      ids: integers, any shape.
    """
    return jnp.take(table, ids, axis=0)


def positions(ids: Array, offset: int) -> Array:
    """Position of each token, counted from ``offset``, ``[1, t]``.

    Args:
      ids: ``[b, t]``.
      offset: position of the first token.
    """
    return lax.broadcasted_iota(jnp.int32, (1, ids.shape[1]), 1) + offset


def mask_bias(attention_mask: Array) -> Array:
    """Additive bias of the attention scores: 0 at tokens, ``MASKED`` at padding, ``[b, 1, 1, t]``, float32.

    Args:
      attention_mask: ``[b, t]``, 1 at tokens, 0 at padding.
    """
    bias = jnp.where(attention_mask > 0, jnp.float32(0.0), jnp.float32(MASKED))
    return bias[:, None, None, :]


def split_heads(x: Array, heads: int) -> Array:
    """``[b, t, h * e]`` to ``[b, h, t, e]``."""
    b, t, d = x.shape
    return x.reshape(b, t, heads, d // heads).transpose(0, 2, 1, 3)


def merge_heads(x: Array) -> Array:
    """``[b, h, t, e]`` to ``[b, t, h * e]``."""
    b, h, t, e = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b, t, h * e)


def attend(query: Array, key: Array, value: Array, bias: Array, *, rate: float, rng: Array | None) -> Array:
    """Scaled dot-product attention, written out; scores and softmax in float32.

    Args:
      query: ``[b, h, t, e]``.
      key: ``[b, h, t, e]``.
      value: ``[b, h, t, e]``.
      bias: added to the scores, broadcastable to ``[b, h, t, t]``.
      rate: dropout of the probabilities.
      rng: key of the dropout; None for none.
    """
    scale = 1.0 / math.sqrt(query.shape[-1])
    scores = jnp.matmul(query, key.transpose(0, 1, 3, 2)).astype(jnp.promote_types(query.dtype, jnp.float32))
    probabilities = jax.nn.softmax(scores * scale + bias.astype(scores.dtype), axis=-1)
    return jnp.matmul(drop(probabilities.astype(value.dtype), rate, rng), value)


def drop(x: Array, rate: float, rng: Array | None) -> Array:
    """Dropout: zero with probability ``rate``, scaled so that the mean stays.

    Args:
      x: any array.
      rate: probability, in [0, 1).
      rng: the key; None leaves ``x`` as it is.
    """
    if rng is None or rate == 0.0:
        return x
    keep = jax.random.bernoulli(rng, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros_like(x))


def first_token(hidden: Array) -> Array:
    """Hidden state of the first token, in float32 for the head, ``[b, d]``.

    Args:
      hidden: ``[b, t, d]``.
    """
    return hidden[:, 0, :].astype(jnp.promote_types(hidden.dtype, jnp.float32))


def subkey(rng: Array | None, index: int) -> Array | None:
    """The ``index``-th key derived from a key; None stays None."""
    return None if rng is None else jax.random.fold_in(rng, index)
