"""Weights of query tokens from the statistics of a collection."""

import jax.numpy as jnp
from jaxtyping import Float, Real

from jrank.arrays import as_floating
from jrank.errors import RerankError
from jrank.types import Array, ArrayLike

__all__ = ["bm25_weights", "idf_weights"]


def idf_weights(
    document_frequencies: Real[ArrayLike, "*batch q"], documents: Real[ArrayLike, ""], *, scale: bool = True
) -> Float[Array, "*batch q"]:
    r"""Weigh query tokens by how rare they are.

    .. math:: w_i = \ln \frac{N + 1}{f_i + 1}

    Args:
      document_frequencies: in how many documents each token occurs.
      documents: how many documents there are, ``N``.
      scale: whether the weights of a query are then mapped linearly onto [0, 1]; all are 1 where they are equal.

    Returns:
      The weights; before scaling 0 for a token that is counted in more documents than there are.

    Raises:
      RerankError: ``documents`` is no scalar.

    >>> [round(w, 3) for w in idf_weights(jnp.array([9.0, 99.0, 0.0]), 99).tolist()]
    [0.5, 0.0, 1.0]
    """
    weights = _idf(document_frequencies, documents)
    return _scaled(weights) if scale else weights


def bm25_weights(
    document_frequencies: Real[ArrayLike, "*batch q"],
    term_frequencies: Real[ArrayLike, "*batch q"],
    documents: Real[ArrayLike, ""],
    *,
    k1: Real[ArrayLike, ""] = 1.2,
    scale: bool = True,
) -> Float[Array, "*batch q"]:
    r"""Weigh query tokens by rarity and by how often the query repeats them.

    .. math:: w_i = \ln \frac{N + 1}{f_i + 1} \cdot \frac{c_i (k_1 + 1)}{c_i + k_1}

    Args:
      document_frequencies: in how many documents each token occurs.
      term_frequencies: how often the query holds each token, ``c``.
      documents: how many documents there are, ``N``.
      k1: how slowly repetition saturates.
      scale: whether the weights of a query are then mapped linearly onto [0, 1]; all are 1 where they are equal.

    Returns:
      The weights.

    Raises:
      RerankError: the shapes differ, or ``documents`` is no scalar.

    >>> bm25_weights(jnp.array([9.0, 9.0]), jnp.array([1.0, 2.0]), 99).tolist()
    [0.0, 1.0]
    """
    idf = _idf(document_frequencies, documents)
    counts = as_floating(term_frequencies, "term_frequencies").astype(idf.dtype)
    if counts.shape != idf.shape:
        raise RerankError(
            f"document_frequencies have shape {idf.shape}, term_frequencies {counts.shape}",
            reason="dimension_mismatch",
            hint="give one of each for every query token",
        )
    k1 = as_floating(k1, "k1").astype(idf.dtype)
    some = counts > 0
    weights = jnp.where(some, idf * counts * (k1 + 1) / jnp.where(some, counts + k1, jnp.ones_like(counts)), 0)
    return _scaled(weights) if scale else weights


def _idf(document_frequencies: ArrayLike, documents: ArrayLike) -> Array:
    frequencies = as_floating(document_frequencies, "document_frequencies")
    number = as_floating(documents, "documents").astype(frequencies.dtype)
    if number.ndim:
        raise RerankError(f"documents has shape {number.shape}, expected a number", reason="invalid_parameter")
    return jnp.maximum(jnp.log((number + 1) / (frequencies + 1)), 0)


def _scaled(weights: Array) -> Array:
    low, high = jnp.min(weights, -1, keepdims=True, initial=jnp.inf), jnp.max(weights, -1, keepdims=True, initial=0)
    spread = ~(high <= low)  # NaN is passed on, not taken for equality
    return jnp.where(
        spread, (weights - low) / jnp.where(spread, high - low, jnp.ones_like(low)), jnp.ones_like(weights)
    )
