"""Rank with some of the dimensions first and with the rest after that."""

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating
from jrank.errors import RerankError
from jrank.maxsim._inputs import common_type, whole
from jrank.maxsim._score import score
from jrank.maxsim._total import unit
from jrank.types import Array, ArrayLike

__all__ = ["refine", "truncate"]


def truncate(
    tokens: Real[ArrayLike, "*batch t d"], dimensions: int, *, normalize: bool = True
) -> Float[Array, "*batch t kept"]:
    """Keep the first dimensions of tokens from a model that was trained for it (Matryoshka).

    Args:
      tokens: token embeddings.
      dimensions: how many to keep.
      normalize: whether what is kept is scaled to length 1.

    Returns:
      The shorter tokens.

    Raises:
      RerankError: more dimensions are asked for than there are, or none.

    References: Kusupati et al., Matryoshka representation learning, NeurIPS 2022.

    >>> truncate(jnp.array([[3.0, 4.0, 5.0]]), 2).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    tokens, dimensions = as_floating(tokens, "tokens"), whole(dimensions, "dimensions")
    if not 1 <= dimensions <= tokens.shape[-1]:
        raise RerankError(f"dimensions is {dimensions}, expected 1 to {tokens.shape[-1]}", reason="invalid_head_dims")
    kept = tokens[..., :dimensions]
    return unit(kept, None) if normalize else kept


def refine(
    scores: Real[ArrayLike, "*batch n"],
    query: Real[ArrayLike, "*batch q d"],
    docs: Real[ArrayLike, "*batch n t d"],
    *,
    alpha: Real[ArrayLike, ""] = 0.5,
    skip: int = 0,
    query_where: Shaped[ArrayLike, "..."] | None = None,
    doc_where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch n"]:
    r"""Blend the scores of a first stage with late interaction over all dimensions, or those that the stage left out.

    .. math:: \alpha s_j + (1 - \alpha) \frac{1}{|q|} \sum_i \max_u \cos(q_i, d_{ju})

    Args:
      scores: those of the first stage, on the scale of a cosine.
      query: token embeddings of the query.
      docs: token embeddings of the documents, padded to ``t`` tokens.
      alpha: share of the first stage, in [0, 1]; may be traced and differentiated.
      skip: how many leading dimensions late interaction leaves out, such as those that ``truncate`` kept.
      query_where: which query tokens count, ``[*batch, q]``. None is all.
      doc_where: which document tokens are real, ``[*batch, n, t]``. None is all.

    Returns:
      The blended scores. A score of -inf, not retrieved, stays -inf.

    Raises:
      RerankError: the shapes do not fit, or no dimension is left.

    >>> refine(jnp.array([0.9]), jnp.array([[1.0, 0.0]]), jnp.array([[[0.0, 1.0]]]), alpha=0.25).tolist()
    [0.22499999403953552]
    """
    query, docs = as_floating(query, "query"), as_floating(docs, "docs")
    if not 0 <= skip < max(1, query.shape[-1]):
        raise RerankError(f"skip is {skip}, expected 0 to {query.shape[-1] - 1}", reason="invalid_head_dims")
    late = score(
        query[..., skip:],
        docs[..., skip:],
        query_where=query_where,
        doc_where=doc_where,
        normalize=True,
        reduction="mean",
    )
    first = as_floating(scores, "scores")
    if first.shape != late.shape:
        raise RerankError(
            f"scores have shape {first.shape}, expected {late.shape}: one for each document",
            reason="dimension_mismatch",
        )
    dtype = common_type(first.dtype, late.dtype)
    share = as_floating(alpha, "alpha").astype(dtype)
    first, late = first.astype(dtype), late.astype(dtype)
    found = first > -jnp.inf
    return jnp.where(found, share * jnp.where(found, first, jnp.zeros_like(first)) + (1 - share) * late, first)
