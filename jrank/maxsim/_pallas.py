"""The same computation as Pallas kernels: no score of a token leaves the chip, and no scatter in the backward pass."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jrank.arrays import neutralise
from jrank.errors import RerankError
from jrank.maxsim._core import index_dtype, picked
from jrank.types import Array

__all__ = ["best_pallas"]

# Document tokens of one step, and query tokens of one program.
TILE, ROWS = 32, 128


def best_pallas(rows: Array, docs: Array, where: Array | None, platform: str | None = None) -> Array:
    """Return the largest dot product of each query token with the valid tokens of each document.

    Args:
      rows: query tokens, ``[r, d]``.
      docs: document tokens, ``[n, t, d]``.
      where: which document tokens are valid, bool ``[n, t]``, or None.
      platform: "tpu" or "gpu" for a kernel, "cpu" for its interpretation; None is the default backend.

    Returns:
      ``[n, r]``, float32; 0 where a document has no valid token.

    Raises:
      RerankError: the type is float64.
    """
    if docs.dtype == jnp.float64:
        raise RerankError("the kernels have no float64", reason="invalid_parameter", hint="use backend='xla'")
    (r, _), (n, t, _) = rows.shape, docs.shape
    if not (r and n and t):
        return jnp.zeros((n, r), jnp.float32)
    where = jnp.ones((n, t), bool) if where is None else where
    return _best(rows, docs, where, platform or jax.default_backend())


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _best(rows: Array, docs: Array, where: Array, platform: str) -> Array:
    return _forward(rows, docs, where, platform)[0]


def _best_fwd(rows, docs, where, platform):
    value, index = _forward(rows, docs, where, platform)
    return value, (rows, docs, index)


def _best_bwd(platform, residuals, cotangent):
    rows, docs, index = residuals
    # By the query: a gather and a sum. By the documents: a product with what is 1 at the picked tokens, no scatter.
    (by_rows,) = jax.vjp(lambda rows: picked([(rows, docs)], index, masked=True), rows)[1](cotangent)
    return by_rows, _backward(rows, docs, index, cotangent, platform), None


_best.defvjp(_best_fwd, _best_bwd)


def _forward(rows: Array, docs: Array, where: Array, platform: str) -> tuple[Array, Array]:
    (r, _), (n, t, _) = rows.shape, docs.shape
    block = _row_block(r, platform)
    rows, docs = _padded(rows, block, platform), _padded(docs, TILE, platform)
    length, d = docs.shape[1:]
    valid = jnp.pad(where.astype(jnp.int32), ((0, 0), (0, length - t)))[:, None]
    out = pl.BlockSpec((1, 1, block), lambda i, j: (i, 0, j))
    value, index = pl.pallas_call(
        _forward_kernel,
        grid=(n, rows.shape[0] // block),
        in_specs=[
            pl.BlockSpec((block, d), lambda i, j: (j, 0)),
            pl.BlockSpec((1, length, d), lambda i, j: (i, 0, 0)),
            pl.BlockSpec((1, 1, length), lambda i, j: (i, 0, 0)),
        ],
        out_specs=[out, out],
        out_shape=[jax.ShapeDtypeStruct((n, 1, rows.shape[0]), kind) for kind in (jnp.float32, jnp.int32)],
        **_how(platform),
    )(rows, docs, valid)
    value, index = value[:, 0, :r], index[:, 0, :r]
    return neutralise(value, index >= 0), index.astype(index_dtype(t))


def _forward_kernel(rows_ref: Any, docs_ref: Any, valid_ref: Any, value_ref: Any, index_ref: Any) -> None:
    rows = rows_ref[...]
    low = jnp.full((rows.shape[0],), -jnp.inf, jnp.float32)

    def step(k: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        best, index = carry
        tokens = docs_ref[0, pl.ds(k * TILE, TILE), :]
        valid = valid_ref[0, 0, pl.ds(k * TILE, TILE)] > 0
        scores = jnp.where(valid[:, None], _dot(tokens, rows, 1), -jnp.inf)
        top = jnp.max(scores, axis=0)
        place = lax.broadcasted_iota(jnp.int32, scores.shape, 0)
        first = jnp.min(jnp.where((scores >= top[None]) & valid[:, None], place, TILE - 1), axis=0) + k * TILE
        some = jnp.max(valid.astype(jnp.int32), axis=0) > 0
        # A valid token of score -inf is better than none.
        better = some & ((top > best) | (index < 0))
        return jnp.maximum(best, top), jnp.where(better, first, index)

    start = low, jnp.full(low.shape, -1, jnp.int32)
    value_ref[0, 0, :], index_ref[0, 0, :] = lax.fori_loop(0, docs_ref.shape[1] // TILE, step, start)


def _backward(rows: Array, docs: Array, index: Array, cotangent: Array, platform: str) -> Array:
    (r, d), (n, t, _) = rows.shape, docs.shape
    block = _row_block(r, platform)
    rows = _padded(rows, block, platform)
    length = -(-t // TILE) * TILE
    more = ((0, 0), (0, rows.shape[0] - r))
    index = jnp.pad(index.astype(jnp.int32), more, constant_values=-1)[:, None]
    cotangent = jnp.pad(cotangent.astype(jnp.float32), more)[:, None]
    line = pl.BlockSpec((1, 1, rows.shape[0]), lambda i, j: (i, 0, 0))
    result = pl.pallas_call(
        functools.partial(_backward_kernel, block=block),
        grid=(n, length // TILE),
        in_specs=[pl.BlockSpec(rows.shape, lambda i, j: (0, 0)), line, line],
        out_specs=pl.BlockSpec((1, TILE, rows.shape[1]), lambda i, j: (i, j, 0)),
        out_shape=jax.ShapeDtypeStruct((n, length, rows.shape[1]), docs.dtype),
        **_how(platform),
    )(rows, index, cotangent)
    return result[:, :t, :d]


def _backward_kernel(rows_ref: Any, index_ref: Any, cotangent_ref: Any, out_ref: Any, *, block: int) -> None:
    token = lax.broadcasted_iota(jnp.int32, (TILE, block), 0) + pl.program_id(1) * TILE

    def step(k: Array, total: Array) -> Array:
        span = pl.ds(k * block, block)
        chosen = token == index_ref[0, 0, span][None]
        weight = jnp.where(chosen, cotangent_ref[0, 0, span][None], 0.0)
        return total + _dot(weight, rows_ref[span, :].astype(jnp.float32), 0)

    total = jnp.zeros((TILE, rows_ref.shape[1]), jnp.float32)
    total = lax.fori_loop(0, rows_ref.shape[0] // block, step, total)
    out_ref[0, :, :] = total.astype(out_ref.dtype)


def _dot(left: Array, right: Array, axis: int) -> Array:
    precision = lax.Precision.HIGHEST if left.dtype == jnp.float32 else None
    return lax.dot_general(
        left, right, (((1,), (axis,)), ((), ())), precision=precision, preferred_element_type=jnp.float32
    )


def _row_block(r: int, platform: str) -> int:
    if platform == "tpu":
        return ROWS  # vector lanes
    return min(ROWS, max(16, 1 << (r - 1).bit_length()))


def _padded(x: Array, multiple: int, platform: str) -> Array:
    """Zeros up to a multiple of tokens, and up to the dimensions that the compilers take."""
    d = x.shape[-1]
    width = -(-d // 128) * 128 if platform == "tpu" else max(16, 1 << (d - 1).bit_length())
    more = [(0, 0)] * (x.ndim - 2) + [(0, -x.shape[-2] % multiple), (0, width - d)]
    return jnp.pad(x, more)


def _how(platform: str) -> dict[str, Any]:
    if platform in ("gpu", "cuda"):
        return {"compiler_params": triton.CompilerParams(num_warps=4, num_stages=2)}
    return {"interpret": platform == "cpu"}
