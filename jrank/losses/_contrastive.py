"""Contrastive losses: queries against the documents of a batch."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int, Real, Shaped

from jrank.arrays import (
    accumulator_dtype,
    as_array,
    as_floating,
    as_mask,
    map_blocks,
    masked_logsumexp,
    neutralise,
    reduce_values,
)
from jrank.errors import LearnError
from jrank.losses._softmax import clip_scores
from jrank.metrics._lists import Fn
from jrank.types import Array, ArrayLike

__all__ = ["contrastive_loss", "info_nce_loss"]


def info_nce_loss(
    similarities: Real[ArrayLike, "*batch n"],
    positives: Int[ArrayLike, "*batch"] | int | None = None,
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    symmetric: bool = False,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""InfoNCE: the surprise at the positive document among all documents.

    .. math:: \ell_q = -\log \frac{\exp(s_{q p_q} / T)}{\sum_j \exp(s_{qj} / T)}

    Args:
      similarities: one row per query, one column per document: the matrix of a batch, or the positive document and the
        negatives of each query.
      positives: the column p of the positive document of each query. None: row i has column i, the documents of the
        batch in the order of their queries; more columns than rows are negatives from elsewhere. A number is one column
        for all.
      where: False at documents that shall not count as negatives, such as other positives. A query whose positive is
        masked costs nothing and is left out of means.
      temperature: T, in the units of the similarities. May be traced.
      symmetric: whether to add the same loss over each column, queries against documents, and halve the sum; needs a
        square matrix and no ``positives``.
      reduce_fn: reduction over the queries; None returns one value per query.

    Returns:
      The reduced loss, at least 0.

    Raises:
      LearnError: the shapes do not fit.

    Numerics: -inf is a similarity that does not count. Half types are accumulated in float32.
    Cost: O(n) time and memory for each query.
    References: van den Oord, Li and Vinyals 2018, "Representation learning with contrastive predictive coding".

    >>> matrix = jnp.array([[2.0, 1.0, 0.0], [0.5, 3.0, 1.0], [0.0, 1.0, 2.0]])
    >>> print(f"{info_nce_loss(matrix):.4f}")
    0.3373
    """
    s = as_floating(similarities, "similarities")
    dtype = s.dtype
    mask = as_mask(where, s.shape)
    if positives is None:
        if s.ndim < 2 or s.shape[-1] < s.shape[-2]:
            raise LearnError(
                f"similarities have shape {s.shape}, a column for every row was expected",
                reason="length_mismatch",
                hint="say with positives= which column is the positive one",
            )
        positives = jnp.broadcast_to(jnp.arange(s.shape[-2]), s.shape[:-1])
    elif symmetric:
        raise LearnError("symmetric=True has no meaning with positives", reason="invalid_parameter")
    if symmetric and s.shape[-1] != s.shape[-2]:
        raise LearnError(f"similarities have shape {s.shape}, a square matrix was expected", reason="length_mismatch")
    wide = neutralise(s.astype(accumulator_dtype(dtype)), mask)
    wide = wide / jnp.asarray(temperature, wide.dtype)
    values, valid = _surprise(wide, as_array(positives, "positives"), mask)
    if symmetric:
        turned = None if mask is None else jnp.swapaxes(mask, -1, -2)
        other, _ = _surprise(jnp.swapaxes(wide, -1, -2), as_array(positives, "positives"), turned)
        values = (values + other) / 2
    return reduce_values(values, valid, reduce_fn).astype(dtype)


def _surprise(s: Array, positives: Array, mask: Array | None) -> tuple[Array, Array | None]:
    index = jnp.broadcast_to(positives, s.shape[:-1])[..., None]
    valid = None if mask is None else jnp.take_along_axis(mask, index, axis=-1)[..., 0]
    s = clip_scores(s)
    own = jnp.take_along_axis(s, index, axis=-1)[..., 0]
    return masked_logsumexp(s, mask) - own, valid


def contrastive_loss(
    queries: Real[ArrayLike, "b d"],
    documents: Real[ArrayLike, "m d"],
    *,
    positives: Int[ArrayLike, " b"] | None = None,
    where: Shaped[ArrayLike, "..."] | None = None,
    temperature: Real[ArrayLike, ""] = 0.05,
    normalize: bool = True,
    symmetric: bool = False,
    axis_name: str | tuple[str, ...] | None = None,
    block_size: int | None = None,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""InfoNCE of embeddings: every other document of the batch, and of all devices, is a negative.

    .. math:: \ell_i = -\log \frac{\exp(q_i^\top d_{p_i} / T)}{\sum_j \exp(q_i^\top d_j / T)}

    Together with ``gradient_cache`` it trains on batches whose activations do not fit into memory. Inside ``shard_map``
    each device hands in its own queries and documents; with ``axis_name`` the documents of all devices are gathered,
    and gradients go back to where they came from.

    Args:
      queries: embeddings ``[b, d]``.
      documents: embeddings ``[m, d]``, the positive of query i in row i; rows from b on are further negatives.
      positives: the row of the positive of each query, among the own documents; None: row i.
      where: False at documents that shall not count as negatives, such as other positives, ``[b, m]``, or ``[b, D m]``
        with the documents of all D devices. A query whose positive is masked costs nothing and is left out of means.
      temperature: T. May be traced.
      normalize: whether embeddings are scaled to length 1, so that similarities are cosines.
      symmetric: whether to add the same loss for each positive document among all queries, and halve the sum; without
        ``positives`` and ``where``.
      axis_name: the mesh axis, or axes, whose documents are gathered, inside ``shard_map``.
      block_size: how many queries are compared at a time; the gradient then compares again instead of keeping the
        similarities. None: all.
      reduce_fn: reduction over the own queries; None returns one value per query.

    Returns:
      The reduced loss of the own queries, at least 0. Average it over devices with ``jax.lax.pmean``.

    Raises:
      LearnError: the shapes do not fit, or options exclude each other.

    Numerics: half types are accumulated in float32. An embedding of length 0 stays 0, with gradient 0.
    Cost: O(b m d) time; [b, m] memory, with ``block_size`` [block, m].
    References: van den Oord, Li and Vinyals 2018, "Representation learning with contrastive predictive coding";
      Karpukhin et al. 2020, "Dense passage retrieval for open-domain question answering" (in-batch); Qu et al. 2021,
      "RocketQA" (cross-batch).

    >>> q = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> d = jnp.array([[2.0, 0.1], [0.3, 1.0], [1.0, 1.0]])
    >>> print(f"{contrastive_loss(q, d, temperature=1.0):.4f}")
    0.7928
    """
    q, d = as_floating(queries, "queries"), as_floating(documents, "documents")
    if q.ndim != 2 or d.ndim != 2 or q.shape[1] != d.shape[1] or (positives is None and d.shape[0] < q.shape[0]):
        raise LearnError(
            f"queries have shape {q.shape}, documents {d.shape}; [b, d] and [m, d] with m >= b were expected",
            reason="length_mismatch",
        )
    if symmetric and (positives is not None or where is not None):
        raise LearnError("symmetric=True takes neither positives nor where", reason="invalid_parameter")
    dtype = jnp.result_type(q, d)
    q, d = (x.astype(accumulator_dtype(dtype)) for x in (q, d))
    if normalize:
        q, d = _unit(q), _unit(d)
    scale = jnp.asarray(temperature, q.dtype)
    place = jnp.arange(q.shape[0], dtype=jnp.int32) if positives is None else as_array(positives, "positives")
    values, valid = _against_all(q, d, place, where, scale, axis_name, block_size)
    if symmetric:
        other, _ = _against_all(d[: q.shape[0]], q, place, None, scale, axis_name, block_size)
        values = (values + other) / 2
    return reduce_values(values, valid, reduce_fn).astype(dtype)


def _unit(x: Array) -> Array:
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    some = square > 0
    return jnp.where(some, x * lax.rsqrt(jnp.where(some, square, jnp.ones_like(square))), jnp.zeros_like(x))


def _against_all(
    q: Array,
    d: Array,
    place: Array,
    where: ArrayLike | None,
    temperature: Array,
    axis_name: str | tuple[str, ...] | None,
    block_size: int | None,
) -> tuple[Array, Array | None]:
    """Surprise of each query at its document among the documents of all devices."""
    own = d.shape[0]
    place = place.astype(jnp.int32)
    if axis_name is not None:
        d = lax.all_gather(d, axis_name, axis=0, tiled=True)
        place = place + lax.axis_index(axis_name) * own
    try:
        mask = as_mask(where, (q.shape[0], d.shape[0]))
    except ValueError as error:
        raise LearnError(str(error), reason="length_mismatch") from None

    def compare(q: Array, place: Array, *mask: Array) -> Array:
        similarities = jnp.matmul(q, d.T, precision=lax.Precision.HIGHEST) / temperature
        allowed = mask[0] if mask else None
        return _surprise(neutralise(similarities, allowed), place, allowed)[0]

    arrays = (q, place) if mask is None else (q, place, mask)
    values = compare(*arrays) if block_size is None else map_blocks(jax.checkpoint(compare), arrays, block_size)
    valid = None if mask is None else jnp.take_along_axis(mask, place[:, None], axis=-1)[:, 0]
    return values, valid
