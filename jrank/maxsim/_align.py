"""Which document token answers which query token."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int, Real, Shaped

from jrank.arrays import accumulator_dtype, neutralise
from jrank.maxsim._core import best_index
from jrank.maxsim._inputs import as_threshold, embeddings, mask
from jrank.maxsim._total import unit
from jrank.types import Array, ArrayLike

__all__ = ["Alignment", "align", "highlight"]


class Alignment(NamedTuple):
    """The best document token of each query token.

    Attributes:
      tokens: index of the document token, int32 ``[..., q]``; -1 where the query token is masked or the document empty.
      scores: the dot products, ``[..., q]``; 0 where ``tokens`` is -1. Their sum is the score of the document.
    """

    tokens: Int[Array, "*batch q"]
    scores: Float[Array, "*batch q"]


def align(
    query: Real[ArrayLike, "*batch q d"],
    doc: Real[ArrayLike, "*batch t d"],
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
    normalize: bool = False,
) -> Alignment:
    """Find the document token that each query token matches best, and how well.

    Args:
      query: token embeddings of the query.
      doc: token embeddings of one document.
      query_where: which query tokens count, ``[*batch, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, t]``. None is all.
      normalize: whether vectors are scaled to length 1 first, so that scores are cosines.

    Returns:
      The alignment. Of tokens that tie the first is named.

    Raises:
      RerankError: the shapes do not fit.

    Numerics: see ``score``; the scores are differentiable.

    Cost: that of ``score`` for one document.

    >>> found = align(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[0.0, 3.0], [2.0, 3.0]]))
    >>> found.tokens.tolist(), found.scores.tolist()
    ([1, 0], [2.0, 3.0])
    """
    query, doc = embeddings(query, doc, (2, 2), ("query", "doc"))
    query_where = mask(query_where, query.shape[:-1], "query_where")
    doc_where = mask(doc_where, doc.shape[:-1], "doc_where")
    if normalize:
        query, doc = unit(query, query_where), unit(doc, doc_where)
    fn: Callable[..., Alignment] = _align
    for _ in range(query.ndim - 2):
        fn = jax.vmap(fn)
    return fn(query, doc, query_where, doc_where)


def _align(query: Array, doc: Array, query_where: Array | None, doc_where: Array | None) -> Alignment:
    rows = neutralise(query, None if query_where is None else query_where[:, None])
    scores, tokens = best_index(rows, doc[None], None if doc_where is None else doc_where[None])
    return Alignment(
        neutralise(tokens[0].astype(jnp.int32), query_where, -1),
        neutralise(scores[0], query_where),
    )


def highlight(
    query: Real[ArrayLike, "*batch q d"],
    doc: Real[ArrayLike, "*batch t d"],
    threshold: Real[ArrayLike, ""] = 0.5,
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
    normalize: bool = False,
) -> Bool[Array, "*batch t"]:
    """Mark the document tokens that some query token matches at least as well as ``threshold``.

    Args:
      query: token embeddings of the query.
      doc: token embeddings of one document.
      threshold: smallest dot product that counts; with normalised embeddings a cosine.
      query_where: which query tokens count, ``[*batch, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, t]``. None is all.
      normalize: whether vectors are scaled to length 1 first, so that scores are cosines.

    Returns:
      True at tokens to highlight; ``jnp.flatnonzero`` gives their indices, in order and without repetition.

    Raises:
      RerankError: the shapes do not fit, or the threshold is no scalar.

    Numerics: the comparison is made in the type of ``score``; NaN is never highlighted.

    Cost: :math:`O(q t d)` time, :math:`O(q t)` memory.

    >>> highlight(jnp.array([[1.0, 0.0]]), jnp.array([[0.9, 0.0], [0.1, 1.0], [0.5, 0.5]]), 0.5).tolist()
    [True, False, True]
    """
    threshold = as_threshold(threshold)
    query, doc = embeddings(query, doc, (2, 2), ("query", "doc"))
    query_where = mask(query_where, query.shape[:-1], "query_where")
    doc_where = mask(doc_where, doc.shape[:-1], "doc_where")
    if normalize:
        query, doc = unit(query, query_where), unit(doc, doc_where)
    dims = tuple(range(query.ndim - 2))
    last = query.ndim - 1
    scores = lax.dot_general(
        query, doc, (((last,), (last,)), (dims, dims)), preferred_element_type=accumulator_dtype(query.dtype)
    )
    found = scores >= threshold.astype(scores.dtype)
    if query_where is not None:
        found = found & query_where[..., None]
    found = jnp.any(found, axis=-2)
    return found if doc_where is None else found & doc_where
