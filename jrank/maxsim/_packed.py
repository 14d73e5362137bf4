"""Scores of a query against packed documents."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Float, Real, Shaped

from jrank.arrays import accumulator_dtype, as_floating, neutralise
from jrank.errors import RerankError
from jrank.maxsim._core import index_dtype, picked
from jrank.maxsim._inputs import common_type, mask
from jrank.maxsim._pack import TILE, PackedDocs
from jrank.maxsim._quantize import QuantizedDocs
from jrank.maxsim._total import Reduction, as_weights, check_reduction, total, unit
from jrank.sharding import common_variance, refuse_explicit
from jrank.types import Array, ArrayLike

__all__ = ["score_packed"]


def score_packed(
    query: Real[ArrayLike, "*batch q d"],
    packed: PackedDocs | QuantizedDocs,
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    normalize: bool = False,
    reduction: Reduction = "sum",
    mesh: Mesh | None = None,
    axis: str = "data",
) -> Float[Array, "*batch n"]:
    """Late-interaction score of one query against each packed document.

    Args:
      query: token embeddings of the query.
      packed: the documents, from ``pack`` or ``quantize``.
      query_where: which query tokens count, ``[*batch, q]``. None is all.
      weights: weight of each query token, ``[*batch, q]``. None is 1 for all.
      normalize: whether query vectors are scaled to length 1 first. Stored documents are normalised once, by ``pack``.
      reduction: "sum" or "mean" over the query tokens; see ``score``.
      mesh: the mesh that ``packed.shard`` spread the documents over; each device scores its own. None is one device.
      axis: the axis of the mesh.

    Returns:
      One score a document, in the order given to ``pack``; 0 for an empty document.

    Raises:
      RerankError: query and documents have different dimensions.
      TypeError: the documents are not packed.

    Numerics: those of ``score``, to the rounding of another blocking.

    Cost: the time of the product alone; memory of one group of scores, and of one number for each query token and
    document. The queries of a batch are scored together.

    >>> from jrank.maxsim import pack
    >>> packed = pack([jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.zeros((0, 2)), jnp.array([[0.0, 3.0]])])
    >>> score_packed(jnp.array([[1.0, 0.0], [0.0, 2.0]]), packed).tolist()
    [3.0, 0.0, 6.0]
    """
    check_reduction(reduction)
    if not isinstance(packed, (PackedDocs, QuantizedDocs)):
        raise TypeError(f"packed must be packed documents, got a {type(packed).__name__}; write pack(docs)")
    query = as_floating(query, "query")
    if query.ndim < 2 or query.shape[-1] != packed.dimensions:
        raise RerankError(
            f"query has shape {query.shape}, expected [..., q, {packed.dimensions}] as the packed documents have",
            reason="dimension_mismatch",
            hint="encode both with the same model",
        )
    query_where = mask(query_where, query.shape[:-1], "query_where")
    weights = as_weights(weights, query.shape[:-1], query_where)
    stored = packed.tokens.dtype if isinstance(packed, PackedDocs) else jnp.float32
    query = query.astype(common_type(query.dtype, stored))
    if normalize:
        query = unit(query, query_where)
    elif query_where is not None:
        query = neutralise(query, query_where[..., None])
    return _run(packed, query, query_where, weights, reduction=reduction, mesh=mesh, axis=axis)


# Without this, each call outside of jit would compile its loop over groups anew.
@functools.partial(jax.jit, static_argnames=("reduction", "mesh", "axis"))
def _run(
    packed: PackedDocs | QuantizedDocs,
    query: Array,
    query_where: Array | None,
    weights: Array | None,
    *,
    reduction: str,
    mesh: Mesh | None,
    axis: str,
) -> Array:
    layout, shared, arrays, slots = _plan(packed)
    if mesh is not None:
        slots = _sharded(slots, mesh, axis, len(shared), len(arrays))
    return _score(layout, (*shared, *arrays), slots, reduction, query, query_where, weights)


def _plan(
    packed: PackedDocs | QuantizedDocs,
) -> tuple[PackedDocs, tuple[Array, ...], tuple[Array, ...], Callable[..., Array]]:
    """How documents are scored.

    Returns:
      Where documents lie; arrays that all groups share; arrays by group; the function from query tokens and all these
      arrays to the best match of each slot.
    """
    if isinstance(packed, PackedDocs):
        arrays = jnp.asarray(packed.tokens), jnp.asarray(packed.segments)
        return packed, (), arrays, lambda rows, *arrays: _slots(rows, *arrays, packed.max_docs)
    layout = packed.codes
    arrays = tuple(jnp.asarray(x) for x in packed.group_arrays())
    if packed.on_integers:
        return layout, (), arrays, lambda rows, *arrays: _slots_int8(rows, *arrays, layout.max_docs)
    shared = tuple(jnp.asarray(x) for x in packed.shared_arrays())

    def decoded(rows: Array, *arrays: Array) -> Array:
        # Those that were passed: on several devices each has its own.
        docs = dataclasses.replace(packed, centroids=arrays[0], levels=arrays[1]) if shared else packed

        @functools.partial(jax.checkpoint, prevent_cse=False)  # decoded tokens of all groups are never kept
        def one(group: tuple[Array, ...]) -> Array:
            return _slots(rows, docs.decode(*group)[None], group[-1][None], layout.max_docs)[0]

        return lax.map(one, arrays[len(shared) :])

    return layout, shared, arrays, decoded


def _sharded(slots: Callable[..., Array], mesh: Mesh, axis: str, shared: int, grouped: int) -> Callable[..., Array]:
    refuse_explicit(mesh)
    spread = PartitionSpec(axis)

    def local(*arrays: Array) -> Array:
        return slots(*common_variance(*arrays))

    specs = (*(PartitionSpec(),) * (1 + shared), *(spread,) * grouped)
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=spread)


def _score(
    packed: PackedDocs,
    arrays: tuple[Array, ...],
    best: Callable[..., Array],
    reduction: str,
    query: Array,
    query_where: Array | None,
    weights: Array | None,
) -> Array:
    *batch, q, d = query.shape
    n = len(packed)
    if not query.size:
        return jnp.zeros((*batch, n), accumulator_dtype(query.dtype))
    # All queries of a batch are one matrix: each group is read once.
    maxima = best(*common_variance(query.reshape(-1, d), *arrays))
    if packed.span > 1:
        maxima = maxima.at[:, 0].set(_joined(maxima[:, 0], packed))
    totals = total(maxima.reshape(*maxima.shape[:2], *batch, q), query_where, weights, reduction)
    slots = jnp.asarray(packed.slots)
    found = totals.reshape(-1, *batch).at[jnp.maximum(slots, 0)].get(mode="promise_in_bounds")
    occupied = (slots >= 0).reshape(n, *(1 for _ in batch))
    return jnp.moveaxis(jnp.where(occupied, found, jnp.zeros_like(found)), 0, -1)


def _joined(first: Array, packed: PackedDocs) -> Array:
    """For each group the best of its first document over all the groups that this document fills."""
    groups, size = first.shape[0], packed.tokens.shape[1]
    slots = jnp.asarray(packed.slots)
    start = jnp.where((slots >= 0) & (slots % packed.max_docs == 0), slots // packed.max_docs, groups)
    fills = -(-jnp.asarray(packed.lengths) // size)
    spans = jnp.ones(groups, jnp.int32).at[start].set(fills, mode="drop")

    def extend(best: Array, step: Array) -> tuple[Array, None]:
        other = jnp.roll(first, -step, axis=0)
        better = (step < spans)[:, None] & (other > best)  # on a tie the earlier group keeps the gradient
        return jnp.where(better, other, best), None

    return lax.scan(extend, first, jnp.arange(1, packed.span, dtype=jnp.int32))[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _slots(rows: Array, tokens: Array, segments: Array, max_docs: int) -> Array:
    """Best dot product of each query token in each slot, ``[groups, max_docs, r]``; 0 in empty slots."""
    return lax.map(lambda group: _group(rows, group[0], group[1], max_docs, index=False)[0], (tokens, segments))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _slots_index(rows: Array, tokens: Array, segments: Array, max_docs: int) -> tuple[Array, Array]:
    return lax.map(lambda group: _group(rows, group[0], group[1], max_docs, index=True), (tokens, segments))


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _slots_int8(rows: Array, codes: Array, scale: Array, segments: Array, max_docs: int) -> Array:
    """As ``_slots``, on integers: the largest product needs no scale, as every token of a document has the same."""
    step = jnp.max(jnp.abs(rows), axis=-1, initial=0) / 127
    safe = jnp.where(step > 0, step, jnp.ones_like(step))
    small = jnp.round(rows / safe[:, None]).astype(jnp.int8)

    def one(group: tuple[Array, Array, Array]) -> Array:
        codes, scale, segments = group
        products = lax.dot_general(codes, small, (((1,), (1,)), ((), ())), preferred_element_type=jnp.int32)
        tops = _tile_tops(products.reshape(-1, TILE, small.shape[0]))
        low = jnp.full((max_docs, small.shape[0]), jnp.iinfo(jnp.int32).min, jnp.int32)
        value = low.at[segments].max(tops, indices_are_sorted=True, mode="drop")
        value = value.astype(jnp.float32) * (scale.astype(jnp.float32)[:, None] * step.astype(jnp.float32)[None])
        return neutralise(value, _occupied(segments, max_docs))

    return lax.map(one, (codes, scale, segments))


@_slots_int8.defjvp
def _slots_int8_rule(max_docs, primals, tangents):
    raise RerankError(
        "scores of documents in 8 bits have no gradient",
        reason="invalid_parameter",
        hint="differentiate score_packed(query, docs.unpack())",
    )


def _tile_tops(scores: Array) -> Array:
    # Written out, the maximum over a tile runs over contiguous query tokens; XLA's reduction does not.
    return functools.reduce(jnp.maximum, [scores[:, place] for place in range(TILE)])


def _occupied(segments: Array, max_docs: int) -> Array:
    return jnp.zeros((max_docs, 1), bool).at[segments].set(True, mode="drop")


def _group(rows: Array, tokens: Array, segments: Array, max_docs: int, *, index: bool) -> tuple[Array, ...]:
    r = rows.shape[0]
    tiles = tokens.shape[0] // TILE
    scores = lax.dot_general(
        tokens.astype(rows.dtype),
        rows,
        (((1,), (1,)), ((), ())),
        preferred_element_type=accumulator_dtype(rows.dtype),
    ).reshape(tiles, TILE, r)
    tops = _tile_tops(scores)
    low = jnp.full((max_docs, r), -jnp.inf, tops.dtype)
    value = low.at[segments].max(tops, indices_are_sorted=True, mode="drop")
    occupied = _occupied(segments, max_docs)
    result = jnp.where(occupied, value, jnp.zeros_like(value))
    if not index:
        return (result,)
    hit = tops >= value.at[segments].get(mode="clip")
    number = lax.broadcasted_iota(jnp.int32, tops.shape, 0)
    beyond = jnp.full((max_docs, r), tiles - 1, jnp.int32)
    tile = beyond.at[segments].min(jnp.where(hit, number, tiles - 1), indices_are_sorted=True, mode="drop")
    inside = jnp.take_along_axis(scores, tile[:, None], axis=0, mode="promise_in_bounds")
    place = lax.broadcasted_iota(jnp.int32, inside.shape, 1)
    place = jnp.min(jnp.where(inside >= value[:, None], place, TILE - 1), axis=1)
    token = jnp.where(occupied, tile * TILE + place, -1)
    return result, token.astype(index_dtype(tokens.shape[0]))


def _tangent(primals: tuple[Any, ...], tangents: tuple[Any, ...], index: Array) -> Array:
    (rows, tokens, _), (d_rows, d_tokens, _) = primals, tangents
    groups, max_docs, r = index.shape
    terms = []
    if not isinstance(d_rows, SymbolicZero):
        terms.append((jnp.tile(d_rows, (max_docs, 1)), tokens))
    if not isinstance(d_tokens, SymbolicZero):
        terms.append((jnp.tile(rows, (max_docs, 1)), d_tokens))
    return picked(terms, index.reshape(groups, max_docs * r), masked=True).reshape(index.shape)


def _slots_rule(max_docs, primals, tangents):
    value, index = _slots_index(*primals, max_docs)
    return value, _tangent(primals, tangents, index)


def _slots_index_rule(max_docs, primals, tangents):
    value, index = _slots_index(*primals, max_docs)
    no_tangent = jnp.zeros(index.shape, jax.dtypes.float0)
    return (value, index), (_tangent(primals, tangents, index), no_tangent)


_slots.defjvp(_slots_rule, symbolic_zeros=True)
_slots_index.defjvp(_slots_index_rule, symbolic_zeros=True)
