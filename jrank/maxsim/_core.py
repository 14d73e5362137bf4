"""The one computation behind every form: for each query token and document, the best dot product, block by block.

``best`` has an exact derivative of every order: between ties the function is bilinear in queries and documents, so the
tangent is a gather along the saved argmax, and JAX transposes that gather into a scatter-add.
"""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jrank.arrays import accumulator_dtype, map_blocks, masked_logsumexp, neutralise
from jrank.sharding import common_variance
from jrank.types import Array

__all__ = ["best", "best_index", "block_size", "fitting", "index_dtype", "picked", "soft_best"]

# Query rows that are scored at a time: they bound the memory of a block from one side, the documents from the other.
MAX_ROWS = 4096
# Bytes of a block of scores. On CPU it stays in the cache, with work enough for all threads; accelerators need more.
BLOCK_BYTES = {"one core": 1 << 18, "cores": 3 << 17, "accelerator": 1 << 26}
# Document tokens of a block at least: with fewer the threads wait for each other, however many the query tokens are.
BLOCK_TOKENS = {"one core": 1, "cores": 512, "accelerator": 1}
# Bytes of the document tokens that a block of the backward pass gathers.
PICKED_BYTES = 1 << 19


def machine() -> str:
    """Return which kind of machine the default backend is: "one core", "cores" or "accelerator"."""
    if jax.default_backend() != "cpu":
        return "accelerator"
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not every platform tells
        cores = os.cpu_count() or 1
    return "one core" if cores == 1 else "cores"


def block_size(rows: int, tokens: int, bits: int) -> int:
    """Return how many documents make a block.

    Args:
      rows: query tokens.
      tokens: tokens of one document.
      bits: bits of one score.
    """
    return max(fitting(rows, tokens, bits), -(-BLOCK_TOKENS[machine()] // max(1, tokens)))


def fitting(rows: int, tokens: int, bits: int) -> int:
    """Return of how many documents the scores fit into the memory of a block, at least 1.

    Args:
      rows: query tokens.
      tokens: tokens of one document.
      bits: bits of one score.
    """
    return max(1, BLOCK_BYTES[machine()] * 8 // max(1, rows * tokens * bits))


def index_dtype(tokens: int) -> type:
    """Return the narrowest type that holds an index of a token and -1.

    Args:
      tokens: how many tokens there are.
    """
    return jnp.int16 if tokens <= jnp.iinfo(jnp.int16).max else jnp.int32


def best(rows: Array, docs: Array, where: Array | None, *, deterministic: bool = False) -> Array:
    """Return the largest dot product of each query token with the valid tokens of each document.

    Args:
      rows: query tokens, ``[r, d]``, of the same dtype as ``docs``; nothing in them is masked.
      docs: document tokens, ``[n, t, d]``.
      where: which document tokens are valid, bool ``[n, t]``, or None.
      deterministic: whether gradients by the documents are products instead of scatters.

    Returns:
      ``[n, r]``, float32 for the half types; 0 where a document has no valid token.
    """
    r, (n, t, _) = rows.shape[0], docs.shape
    accumulator = accumulator_dtype(docs.dtype)
    if not (r and n and t):
        return jnp.zeros((n, r), accumulator)
    rows, docs, where = _same_variance(rows, docs, where)
    block = block_size(min(r, MAX_ROWS), t, jnp.finfo(accumulator).bits)
    if r <= MAX_ROWS:
        return _best(rows, docs, where, block, deterministic)
    return map_blocks(lambda part: _best(part, docs, where, block, deterministic).T, (rows,), MAX_ROWS).T


def best_index(rows: Array, docs: Array, where: Array | None) -> tuple[Array, Array]:
    """Return what ``best`` returns, and the first token that attains it.

    Args:
      rows: query tokens, ``[r, d]``.
      docs: document tokens, ``[n, t, d]``.
      where: which document tokens are valid, bool ``[n, t]``, or None.

    Returns:
      The values and the indices, ``[n, r]`` each; index -1 where a document has no valid token.
    """
    r, (n, t, _) = rows.shape[0], docs.shape
    accumulator = accumulator_dtype(docs.dtype)
    if not (r and n and t):
        return jnp.zeros((n, r), accumulator), jnp.full((n, r), -1, index_dtype(t))
    rows, docs, where = _same_variance(rows, docs, where)
    return _best_index(rows, docs, where, block_size(r, t, jnp.finfo(accumulator).bits), False)


def _same_variance(rows: Array, docs: Array, where: Array | None) -> tuple[Array, Array, Array | None]:
    if where is None:
        rows, docs = common_variance(rows, docs)
    else:
        rows, docs, where = common_variance(rows, docs, where)
    return rows, docs, where


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _best(rows: Array, docs: Array, where: Array | None, block: int, deterministic: bool) -> Array:
    return _scan(rows, docs, where, block, index=False)[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _best_index(rows: Array, docs: Array, where: Array | None, block: int, deterministic: bool) -> tuple[Array, Array]:
    value, index = _scan(rows, docs, where, block, index=True)
    return value, index


def _scan(rows: Array, docs: Array, where: Array | None, block: int, *, index: bool) -> tuple[Array, ...]:
    n = docs.shape[0]
    # Blocks of about one size: the last reaches back over the one before it, so nothing is padded or copied whole, and
    # little is computed twice.
    block = -(-n // -(-n // block))
    score = functools.partial(_block, rows, index=index)
    if block == n:
        return score(docs, where)
    starts = jnp.minimum(jnp.arange(-(-n // block)) * block, n - block)

    def one(start: Array) -> tuple[Array, ...]:
        part = lax.dynamic_slice_in_dim(docs, start, block)
        return score(part, None if where is None else lax.dynamic_slice_in_dim(where, start, block))

    def join(parts: Array) -> Array:
        if n % block == 0:
            return parts.reshape(n, *parts.shape[2:])
        head = parts[:-1].reshape(-1, *parts.shape[2:])
        return jnp.concatenate([head, parts[-1, head.shape[0] - n :]])

    return jax.tree.map(join, lax.map(one, starts))


def _products(rows: Array, docs: Array) -> Array:
    """All dot products, ``[m, t, r]``."""
    m, t, d = docs.shape
    # Documents as the long operand and query tokens last: the maximum runs over contiguous vector lanes.
    flat = lax.dot_general(
        docs.reshape(m * t, d),
        rows,
        (((1,), (1,)), ((), ())),
        preferred_element_type=accumulator_dtype(docs.dtype),
    )
    return flat.reshape(m, t, rows.shape[0])


def _block(rows: Array, docs: Array, where: Array | None, *, index: bool) -> tuple[Array, ...]:
    t = docs.shape[1]
    scores = _products(rows, docs)
    valid = None if where is None else where[:, :, None]
    if valid is not None:
        scores = jnp.where(valid, scores, jnp.asarray(-jnp.inf, scores.dtype))
    value = jnp.max(scores, axis=1)
    some = None if where is None else jnp.any(where, axis=1)[:, None]
    result = value if some is None else jnp.where(some, value, jnp.zeros_like(value))
    if not index:
        return (result,)
    # The smallest index that attains the maximum; XLA's argmax takes several times as long on CPU.
    # Places are counted in the type of the scores, where that is exact: mixed widths would not vectorise.
    hit = scores >= value[:, None, :]
    place = lax.broadcasted_iota(scores.dtype if t < 1 << 24 else jnp.int32, scores.shape, 1)
    last = jnp.asarray(t - 1, place.dtype)
    # A NaN is attained by no token; its index is that of the last one, so that gathers stay within bounds.
    first = jnp.min(jnp.where(hit if valid is None else hit & valid, place, last), axis=1).astype(index_dtype(t))
    return result, first if some is None else jnp.where(some, first, -jnp.ones_like(first))


def _tangent(primals: tuple[Any, ...], tangents: tuple[Any, ...], index: Array, dense: int | None) -> Array:
    (rows, docs, where), (d_rows, d_docs, _) = primals, tangents
    terms = []
    if not isinstance(d_rows, SymbolicZero):
        terms.append((d_rows, docs))
    if isinstance(d_docs, SymbolicZero) or dense is None:
        terms += [] if isinstance(d_docs, SymbolicZero) else [(rows, d_docs)]
        return picked(terms, index, masked=where is not None)
    found = _picked_densely(rows, d_docs, index, dense)
    return found + picked(terms, index, masked=where is not None) if terms else found


def _best_rule(block, deterministic, primals, tangents):
    value, index = _best_index(*primals, block, deterministic)
    return value, _tangent(primals, tangents, index, block if deterministic else None)


def _best_index_rule(block, deterministic, primals, tangents):
    value, index = _best_index(*primals, block, deterministic)
    no_tangent = jnp.zeros(index.shape, jax.dtypes.float0)
    return (value, index), (_tangent(primals, tangents, index, block if deterministic else None), no_tangent)


_best.defjvp(_best_rule, symbolic_zeros=True)
_best_index.defjvp(_best_index_rule, symbolic_zeros=True)


def picked(terms: list[tuple[Array, Array]], index: Array, *, masked: bool) -> Array:
    """Return dot products of query tokens with the document tokens that an index picks, summed over terms; bilinear.

    Args:
      terms: query tokens ``[r, d]`` and documents ``[n, t, d]`` of each term.
      index: token of each document for each query token, ``[n, r]``; -1 for none.
      masked: whether -1 can occur.

    Returns:
      ``[n, r]``, float32 for the half types.
    """
    if not terms:
        return jnp.zeros(index.shape)
    (r, d), t = terms[0][0].shape, terms[0][1].shape[1]
    accumulator = accumulator_dtype(terms[0][1].dtype)
    every = [rows.astype(accumulator) for rows, _ in terms]  # before the loop: cotangents are summed in that type

    # What is gathered is gathered again in the backward pass: kept, it would be the largest array of all.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one(index: Array, *documents: Array) -> Array:
        m = index.shape[0]
        offset = lax.broadcasted_iota(jnp.int32, (m, r), 0) * t
        token = jnp.maximum(index.astype(jnp.int32), 0) + offset
        total = jnp.zeros((m, r), accumulator)
        for rows, docs in zip(every, documents, strict=True):
            found = docs.reshape(m * t, d).at[token].get(mode="promise_in_bounds").astype(accumulator)
            if masked:
                found = jnp.where(index[:, :, None] >= 0, found, jnp.zeros_like(found))
            total += jnp.sum(found * rows[None], axis=-1)
        return total

    block = max(1, PICKED_BYTES * 8 // max(1, r * d * jnp.finfo(accumulator).bits))
    return map_blocks(one, (index, *(docs for _, docs in terms)), block)


def _picked_densely(rows: Array, docs: Array, index: Array, block: int) -> Array:
    """As ``picked`` of one term, by way of all products.

    Its transpose is a product too, where on some devices a scatter adds in an order that differs from run to run.
    """

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one(index: Array, docs: Array) -> Array:
        scores = _products(rows, docs)
        chosen = lax.broadcasted_iota(jnp.int32, scores.shape, 1) == index.astype(jnp.int32)[:, None, :]
        return jnp.sum(jnp.where(chosen, scores, jnp.zeros_like(scores)), axis=1)

    return map_blocks(one, (index, docs), block)


def soft_best(rows: Array, docs: Array, where: Array | None, temperature: Array) -> Array:
    """Return the smooth maximum over the valid tokens of each document, ``T log sum exp(x / T)``.

    Args:
      rows: query tokens, ``[r, d]``.
      docs: document tokens, ``[n, t, d]``.
      where: which document tokens are valid, bool ``[n, t]``, or None.
      temperature: the temperature ``T``, a scalar.

    Returns:
      ``[n, r]``, float32 for the half types; 0 where a document has no valid token.
    """
    r, (n, t, _) = rows.shape[0], docs.shape
    accumulator = accumulator_dtype(docs.dtype)
    if not (r and n and t):
        return jnp.zeros((n, r), accumulator)
    rows, docs, where = _same_variance(rows, docs, where)
    temperature = temperature.astype(accumulator)

    # Scores are computed again in the backward pass: only the inputs of a block are kept.
    @functools.partial(jax.checkpoint, prevent_cse=False)
    def one(docs: Array, *mask: Array) -> Array:
        m = docs.shape[0]
        scores = _products(rows, docs)
        valid = jnp.broadcast_to(mask[0][:, :, None], (m, t, r)) if mask else None
        return temperature * masked_logsumexp(scores / temperature, valid, axis=1)

    inputs = (docs,) if where is None else (neutralise(docs, where[:, :, None]), where)
    return map_blocks(one, inputs, block_size(r, t, jnp.finfo(accumulator).bits))
