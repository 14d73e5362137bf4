"""Scores of queries against padded documents: one query, all pairs of a batch, or each query with its own documents."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import map_blocks, neutralise
from jrank.maxsim._core import best, block_size
from jrank.maxsim._inputs import embeddings, mask
from jrank.types import Array, ArrayLike

__all__ = ["score", "score_matrix", "score_pairs"]


def score(
    query: Real[ArrayLike, "*batch q d"],
    docs: Real[ArrayLike, "*batch n t d"],
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch n"]:
    r"""Late-interaction score of one query against each of several documents.

    .. math:: s_j = \sum_{i \in q} \max_{u \in t_j} \langle q_i, d_{ju} \rangle

    Args:
      query: token embeddings of the query. Nothing is normalised here: normalised embeddings give cosines.
      docs: token embeddings of the documents, padded to ``t`` tokens.
      query_where: which query tokens count, ``[*batch, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, n, t]``. None is all.

    Returns:
      One score a document. A document without a real token has score 0, as has a query without a token.

    Raises:
      RerankError: the shapes do not fit.

    Numerics: half types are multiplied and summed in float32, and the scores are float32, since half a digit of a sum
    over query tokens would tie documents; float64 stays. What stands at masked places, NaN and inf included, reaches
    neither scores nor gradients. Of document tokens that tie, the first gets the gradient. Derivatives of every order
    are those of the bilinear function between ties. On TPU the precision of float32 products is that of
    ``jax.default_matmul_precision``.

    Cost: the time of the product alone, :math:`O(q n t d)`; memory of one block of documents beyond inputs and outputs.
    Leading axes are mapped.

    References: Khattab and Zaharia, ColBERT, SIGIR 2020.

    >>> query = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> docs = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [9.0, 9.0]]])
    >>> score(query, docs, doc_where=jnp.array([[True, True], [True, False]]))
    Array([2., 1.], dtype=float32)
    """
    query, docs = embeddings(query, docs, (2, 3), ("query", "docs"))
    query_where = mask(query_where, query.shape[:-1], "query_where")
    doc_where = mask(doc_where, docs.shape[:-1], "doc_where")
    fn: Callable[..., Array] = _one
    for _ in range(query.ndim - 2):
        fn = jax.vmap(fn)
    return fn(query, docs, query_where, doc_where)


def score_matrix(
    queries: Real[ArrayLike, "*batch b q d"],
    docs: Real[ArrayLike, "*batch n t d"],
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch b n"]:
    r"""Late-interaction scores of every query against every document, for training with in-batch negatives.

    .. math:: s_{bj} = \sum_{i \in q_b} \max_{u \in t_j} \langle q_{bi}, d_{ju} \rangle

    Args:
      queries: token embeddings of the queries.
      docs: token embeddings of the documents, padded to ``t`` tokens.
      query_where: which query tokens count, ``[*batch, b, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, n, t]``. None is all.

    Returns:
      The scores; 0 for an empty query or document.

    Raises:
      RerankError: the shapes do not fit.

    Numerics: see ``score``.

    Cost: a forward and backward pass takes little more than the forward product. What is kept between the two is one
    int16 index (int32 beyond 32767 tokens) for each query token and document: :math:`2 b q n` bytes instead of the
    :math:`4 b q n t` of plain differentiation.

    References: Khattab and Zaharia, ColBERT, SIGIR 2020.

    >>> queries = jnp.array([[[1.0, 0.0]], [[0.0, 2.0]]])
    >>> docs = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 3.0], [-2.0, 0.0]]])
    >>> score_matrix(queries, docs).tolist()
    [[1.0, -1.0], [2.0, 6.0]]
    """
    queries, docs = embeddings(queries, docs, (3, 3), ("queries", "docs"))
    query_where = mask(query_where, queries.shape[:-1], "query_where")
    doc_where = mask(doc_where, docs.shape[:-1], "doc_where")
    fn: Callable[..., Array] = _matrix
    for _ in range(queries.ndim - 3):
        fn = jax.vmap(fn)
    return fn(queries, docs, query_where, doc_where)


def score_pairs(
    queries: Real[ArrayLike, "*batch b q d"],
    docs: Real[ArrayLike, "*batch b k t d"],
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch b k"]:
    r"""Late-interaction scores of each query against documents of its own, for reranking and distillation.

    .. math:: s_{bj} = \sum_{i \in q_b} \max_{u \in t_{bj}} \langle q_{bi}, d_{bju} \rangle

    Args:
      queries: token embeddings of the queries.
      docs: token embeddings of ``k`` documents for each query, padded to ``t`` tokens.
      query_where: which query tokens count, ``[*batch, b, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, b, k, t]``. None is all.

    Returns:
      The scores; 0 for an empty query or document.

    Raises:
      RerankError: the shapes do not fit.

    Numerics: see ``score``, of which this is the form with a leading axis and bounded memory.

    Cost: :math:`O(b q k t d)` time; the queries are scored in blocks, one after the other.

    >>> queries = jnp.array([[[1.0, 0.0]], [[0.0, 2.0]]])
    >>> docs = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]], [[[-1.0, 3.0], [-2.0, 0.0]]]])
    >>> score_pairs(queries, docs).tolist()
    [[1.0], [6.0]]
    """
    queries, docs = embeddings(queries, docs, (3, 4), ("queries", "docs"), own=(2, 3))
    query_where = mask(query_where, queries.shape[:-1], "query_where")
    doc_where = mask(doc_where, docs.shape[:-1], "doc_where")
    fn: Callable[..., Array] = _pairs
    for _ in range(queries.ndim - 3):
        fn = jax.vmap(fn)
    return fn(queries, docs, query_where, doc_where)


def _one(query: Array, docs: Array, query_where: Array | None, doc_where: Array | None) -> Array:
    rows = neutralise(query, None if query_where is None else query_where[:, None])
    return jnp.sum(neutralise(best(rows, docs, doc_where), _like(query_where, docs.shape[0])), axis=-1)


def _like(query_where: Array | None, n: int) -> Array | None:
    return None if query_where is None else jnp.broadcast_to(query_where, (n, *query_where.shape))


def _matrix(queries: Array, docs: Array, query_where: Array | None, doc_where: Array | None) -> Array:
    b, q, d = queries.shape
    rows = neutralise(queries, None if query_where is None else query_where[:, :, None]).reshape(b * q, d)
    maxima = best(rows, docs, doc_where).reshape(docs.shape[0], b, q)
    return jnp.sum(neutralise(maxima, _like(query_where, docs.shape[0])), axis=-1).T


def _pairs(queries: Array, docs: Array, query_where: Array | None, doc_where: Array | None) -> Array:
    b, q, _ = queries.shape
    _, k, t, _ = docs.shape
    if not b:
        return jax.vmap(_one)(queries, docs, query_where, doc_where)
    block = block_size(q * k, t, 8 * queries.dtype.itemsize)
    block = next(size for size in range(min(block, b), 0, -1) if b % size == 0)  # no remainder: nothing is copied
    masks = tuple(m for m in (query_where, doc_where) if m is not None)

    def some(queries: Array, docs: Array, *masks: Array) -> Array:
        rest = list(masks)
        return jax.vmap(_one)(
            queries,
            docs,
            None if query_where is None else rest.pop(0),
            None if doc_where is None else rest.pop(0),
        )

    return map_blocks(some, (queries, docs, *masks), block)
