"""Scores of queries against padded documents: one query, all pairs of a batch, or each query with its own documents."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import map_blocks, neutralise
from jrank.errors import RerankError
from jrank.maxsim._core import best, fitting, soft_best
from jrank.maxsim._inputs import as_temperature, embeddings, mask
from jrank.maxsim._pallas import best_pallas
from jrank.maxsim._total import Reduction, as_weights, check_reduction, total, unit
from jrank.types import Array, ArrayLike

__all__ = ["score", "score_matrix", "score_pairs"]

Backend = Literal["xla", "pallas"]


def score(
    query: Real[ArrayLike, "*batch q d"],
    docs: Real[ArrayLike, "*batch n t d"],
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    normalize: bool = False,
    temperature: Real[ArrayLike, ""] | None = None,
    reduction: Reduction = "sum",
    backend: Backend = "xla",
    deterministic: bool = False,
) -> Float[Array, "*batch n"]:
    r"""Late-interaction score of one query against each of several documents.

    .. math:: s_j = \sum_{i \in q} \max_{u \in t_j} \langle q_i, d_{ju} \rangle

    Args:
      query: token embeddings of the query.
      docs: token embeddings of the documents, padded to ``t`` tokens.
      query_where: which query tokens count, ``[*batch, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, n, t]``. None is all.
      weights: weight of each query token, ``[*batch, q]``, such as ``idf_weights`` gives. None is 1 for all.
      normalize: whether vectors are scaled to length 1 first, so that products are cosines; a vector shorter than 1e-9
        counts as 0. For stored documents it is cheaper to normalise once.
      temperature: None for the maximum; a number ``T`` in units of the products, which may be traced and
        differentiated, for the smooth :math:`T \log \sum_u \exp(\cdot / T)`, which approaches the maximum from above as
        ``T`` falls to 0.
      reduction: "sum" over the query tokens, or "mean", weighted with ``weights``: comparable across queries of
        different lengths, and with cosines in [-1, 1].
      backend: "xla", or "pallas" for kernels that keep the scores of tokens on the chip (GPU through Triton, TPU;
        elsewhere interpreted, which is slow): float32 and half types, first derivatives in reverse mode, no
        temperature. The kernels are held against "xla" by interpretation and lowered for these devices, not timed.
      deterministic: whether the gradient by the documents is a product instead of a scatter, whose order of summation
        some devices leave open; the backward pass then takes another product. The kernels always do so.

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

    >>> import jax.numpy as jnp
    >>> query = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> docs = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [9.0, 9.0]]])
    >>> score(query, docs, doc_where=jnp.array([[True, True], [True, False]]))
    Array([2., 1.], dtype=float32)
    """
    how = _checked_how(temperature, reduction, backend, deterministic=deterministic)
    arrays = embeddings(query, docs, (2, 3), ("query", "docs"))
    return _run(how, "one", _checked(arrays, query_where, doc_where, weights, temperature, normalize=normalize))


def score_matrix(
    queries: Real[ArrayLike, "*batch b q d"],
    docs: Real[ArrayLike, "*batch n t d"],
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    normalize: bool = False,
    temperature: Real[ArrayLike, ""] | None = None,
    reduction: Reduction = "sum",
    backend: Backend = "xla",
    deterministic: bool = False,
) -> Float[Array, "*batch b n"]:
    r"""Late-interaction scores of every query against every document, for training with in-batch negatives.

    .. math:: s_{bj} = \sum_{i \in q_b} \max_{u \in t_j} \langle q_{bi}, d_{ju} \rangle

    Args:
      queries: token embeddings of the queries.
      docs: token embeddings of the documents, padded to ``t`` tokens.
      query_where: which query tokens count, ``[*batch, b, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, n, t]``. None is all.
      weights: weight of each query token, ``[*batch, b, q]``, such as ``idf_weights`` gives. None is 1 for all.
      normalize: whether vectors are scaled to length 1 first.
      temperature: None for the maximum, a number for a smooth one; see ``score``.
      reduction: "sum" or "mean" over the query tokens; see ``score``.
      backend: "xla" or "pallas"; see ``score``.
      deterministic: whether the gradient by the documents is a product instead of a scatter; see ``score``.

    Returns:
      The scores; 0 for an empty query or document.

    Raises:
      RerankError: the shapes do not fit.

    Numerics: see ``score``.

    Cost: a forward and backward pass takes little more than the forward product. What is kept between the two is one
    int16 index (int32 beyond 32767 tokens) for each query token and document: :math:`2 b q n` bytes instead of the
    :math:`4 b q n t` of plain differentiation.

    References: Khattab and Zaharia, ColBERT, SIGIR 2020.

    >>> import jax.numpy as jnp
    >>> queries = jnp.array([[[1.0, 0.0]], [[0.0, 2.0]]])
    >>> docs = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 3.0], [-2.0, 0.0]]])
    >>> score_matrix(queries, docs).tolist()
    [[1.0, -1.0], [2.0, 6.0]]
    """
    how = _checked_how(temperature, reduction, backend, deterministic=deterministic)
    arrays = embeddings(queries, docs, (3, 3), ("queries", "docs"))
    return _run(how, "matrix", _checked(arrays, query_where, doc_where, weights, temperature, normalize=normalize))


def score_pairs(
    queries: Real[ArrayLike, "*batch b q d"],
    docs: Real[ArrayLike, "*batch b k t d"],
    *,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
    weights: Real[ArrayLike, "..."] | None = None,
    normalize: bool = False,
    temperature: Real[ArrayLike, ""] | None = None,
    reduction: Reduction = "sum",
    backend: Backend = "xla",
    deterministic: bool = False,
) -> Float[Array, "*batch b k"]:
    r"""Late-interaction scores of each query against documents of its own, for reranking and distillation.

    .. math:: s_{bj} = \sum_{i \in q_b} \max_{u \in t_{bj}} \langle q_{bi}, d_{bju} \rangle

    Args:
      queries: token embeddings of the queries.
      docs: token embeddings of ``k`` documents for each query, padded to ``t`` tokens.
      query_where: which query tokens count, ``[*batch, b, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, b, k, t]``. None is all.
      weights: weight of each query token, ``[*batch, b, q]``, such as ``idf_weights`` gives. None is 1 for all.
      normalize: whether vectors are scaled to length 1 first.
      temperature: None for the maximum, a number for a smooth one; see ``score``.
      reduction: "sum" or "mean" over the query tokens; see ``score``.
      backend: "xla" or "pallas"; see ``score``.
      deterministic: whether the gradient by the documents is a product instead of a scatter; see ``score``.

    Returns:
      The scores; 0 for an empty query or document.

    Raises:
      RerankError: the shapes do not fit.

    Numerics: see ``score``, of which this is the form with a leading axis and bounded memory.

    Cost: :math:`O(b q k t d)` time; the queries are scored in blocks, one after the other.

    >>> import jax.numpy as jnp
    >>> queries = jnp.array([[[1.0, 0.0]], [[0.0, 2.0]]])
    >>> docs = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]], [[[-1.0, 3.0], [-2.0, 0.0]]]])
    >>> score_pairs(queries, docs).tolist()
    [[1.0], [6.0]]
    """
    how = _checked_how(temperature, reduction, backend, deterministic=deterministic)
    arrays = embeddings(queries, docs, (3, 4), ("queries", "docs"), own=(2, 3))
    return _run(how, "pairs", _checked(arrays, query_where, doc_where, weights, temperature, normalize=normalize))


class _How(NamedTuple):
    """The options that a program is compiled for."""

    reduction: str
    backend: str
    deterministic: bool

    def maxima(self, rows: Array, docs: Array, doc_where: Array | None, temperature: Array | None) -> Array:
        """Best match of each query token in each document."""
        if temperature is not None:
            return soft_best(rows, docs, doc_where, temperature)
        if self.backend == "pallas":
            return best_pallas(rows, docs, doc_where)
        return best(rows, docs, doc_where, deterministic=self.deterministic)


def _checked_how(temperature: Any, reduction: str, backend: str, *, deterministic: bool) -> _How:
    check_reduction(reduction)
    if backend not in ("xla", "pallas"):
        raise RerankError(f"backend is {backend!r}, expected 'xla' or 'pallas'", reason="invalid_parameter")
    if backend == "pallas" and temperature is not None:
        raise RerankError("the kernels have no temperature", reason="invalid_parameter", hint="use backend='xla'")
    return _How(reduction, backend, bool(deterministic))


class _Inputs(NamedTuple):
    """Arguments after the checks."""

    query: Array
    docs: Array
    query_where: Array | None
    doc_where: Array | None
    weights: Array | None
    temperature: Array | None


def _checked(
    arrays: tuple[Array, Array], query_where: Any, doc_where: Any, weights: Any, temperature: Any, *, normalize: bool
) -> _Inputs:
    query, docs = arrays
    query_where = mask(query_where, query.shape[:-1], "query_where")
    doc_where = mask(doc_where, docs.shape[:-1], "doc_where")
    weights = as_weights(weights, query.shape[:-1], query_where)
    if normalize:
        query, docs = unit(query, query_where), unit(docs, doc_where)
    elif query_where is not None:
        query = neutralise(query, query_where[..., None])
    temperature = None if temperature is None else as_temperature(temperature)
    return _Inputs(query, docs, query_where, doc_where, weights, temperature)


# Without this, each call outside of jit would compile its loops over blocks anew.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(how: _How, form: str, inputs: _Inputs) -> Array:
    axes, build = {"one": (2, _one), "matrix": (3, _matrix), "pairs": (3, _pairs)}[form]
    fn = build(how, inputs.temperature)
    for _ in range(inputs.query.ndim - axes):
        fn = jax.vmap(fn)
    return fn(*inputs[:-1])


def _one(how: _How, temperature: Array | None) -> Callable[..., Array]:
    def fn(query: Array, docs: Array, query_where: Any, doc_where: Any, weights: Any) -> Array:
        return total(how.maxima(query, docs, doc_where, temperature), query_where, weights, how.reduction)

    return fn


def _matrix(how: _How, temperature: Array | None) -> Callable[..., Array]:
    def fn(queries: Array, docs: Array, query_where: Any, doc_where: Any, weights: Any) -> Array:
        b, q, d = queries.shape
        maxima = how.maxima(queries.reshape(b * q, d), docs, doc_where, temperature).reshape(docs.shape[0], b, q)
        return total(maxima, query_where, weights, how.reduction).T

    return fn


def _pairs(how: _How, temperature: Array | None) -> Callable[..., Array]:
    def fn(queries: Array, docs: Array, *rest: Array | None) -> Array:
        b, q, _ = queries.shape
        _, k, t, _ = docs.shape
        block = min(b, fitting(q * k, t, 8 * queries.dtype.itemsize))
        # A divisor of the batch leaves no remainder, and so copies nothing.
        block = next((size for size in range(block, 0, -1) if b % size == 0), 1)
        given = [x is not None for x in rest]

        def some(queries: Array, docs: Array, *arrays: Array) -> Array:
            left = iter(arrays)
            return jax.vmap(_one(how, temperature))(queries, docs, *(next(left) if x else None for x in given))

        return map_blocks(some, (queries, docs, *(x for x in rest if x is not None)), block)

    return fn
