"""Fewer tokens for a document: similar ones are replaced by their mean. Runs on the host, when an index is built."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Real
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from jrank.errors import RerankError
from jrank.maxsim._inputs import whole
from jrank.maxsim._pack import unit_rows
from jrank.types import Array, ArrayLike

__all__ = ["POOLINGS", "pool"]

# From this factor on clusters are large, and neighbours are as good a guess as any.
ADAPTIVE_FACTOR = 4


def pool(
    tokens: Real[ArrayLike, "t d"],
    factor: int,
    *,
    method: str = "hierarchical",
    protected: int = 1,
    normalize: bool = False,
) -> Float[Array, "kept d"]:
    r"""Reduce the tokens of a document by a factor, replacing clusters of tokens by their means.

    Args:
      tokens: token embeddings of one document, concrete: how many remain in a cluster depends on the values.
      factor: how many tokens make one; 1 changes nothing.
      method: how tokens are clustered by their cosines: "hierarchical" (Ward's criterion on vectors of length 1),
        "greedy" (the two clusters with the most similar means, again and again), "sequential" (neighbours),
        "adaptive" (hierarchical below factor 4, sequential from there on).
      protected: how many tokens at the start stay as they are, such as [CLS] and the marker of documents.
      normalize: whether the means are scaled to length 1.

    Returns:
      The protected tokens and :math:`\max(1, \lfloor m / f \rfloor)` means of the other ``m``, in the order of the
      first token of each cluster; nothing where there is nothing.

    Raises:
      RerankError: the factor is below 1 or no whole number, the method is unknown, or ``tokens`` is not a matrix of
        finite numbers.
      TypeError: ``tokens`` is traced, or ``protected`` no integer.

    Cost: :math:`O(t^2 d)` for "hierarchical", :math:`O(t^3)` for "greedy", :math:`O(t d)` for "sequential".

    References: Clavié, Chaffin and Adams, Reducing the footprint of multi-vector retrieval with minimal performance
    impact via token pooling, 2024.

    >>> tokens = jnp.array([[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0]])
    >>> pool(tokens, 2).tolist()
    [[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]]
    """
    if isinstance(tokens, jax.core.Tracer):
        raise TypeError("pool needs concrete tokens: call it outside of jit, when the index is built")
    if not isinstance(factor, (int, float, np.number)) or not (1 <= factor < np.inf and factor == int(factor)):
        raise RerankError(f"factor is {factor!r}, expected an integer of at least 1", reason="invalid_pool_factor")
    factor, protected = int(factor), whole(protected, "protected")
    if protected < 0:
        raise RerankError(f"protected is {protected}, expected at least 0", reason="invalid_parameter")
    if method not in POOLINGS:
        raise RerankError(
            f"method is {method!r}, expected one of {', '.join(sorted(POOLINGS))}", reason="invalid_parameter"
        )
    array = np.asarray(tokens)
    if array.ndim != 2:
        raise RerankError(f"tokens have shape {array.shape}, expected [t, d]", reason="dimension_mismatch")
    if not np.isfinite(array.astype(np.float32)).all():
        raise RerankError("tokens hold a number that is not finite", reason="invalid_parameter")
    kind = array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else np.dtype(np.float32)
    wide = array.astype(np.float64 if kind == np.float64 else np.float32)
    head, rest = wide[:protected], wide[protected:]
    number = max(1, len(rest) // factor)
    if factor > 1 and len(rest) > number:
        labels = POOLINGS[method](rest, number, factor)
        rest = _means(rest, labels)
    if normalize:
        rest = unit_rows(rest)
    return jnp.asarray(np.concatenate([head, rest]), jax.dtypes.canonicalize_dtype(kind))


def _means(tokens: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean of each cluster, clusters in the order in which they first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    sums = np.zeros((len(order), tokens.shape[1]), tokens.dtype)
    np.add.at(sums, place[inverse], tokens)
    return sums / np.bincount(place[inverse])[:, None]


def _sequential(tokens: np.ndarray, number: int, factor: int) -> np.ndarray:
    del factor
    return np.arange(len(tokens)) * number // len(tokens)


def _hierarchical(tokens: np.ndarray, number: int, factor: int) -> np.ndarray:
    del factor
    n = len(tokens)
    merges = linkage(pdist(unit_rows(tokens).astype(np.float64)), method="ward")[: n - number, :2].astype(int)
    # The first merges, replayed: cutting at a height would give another number of clusters where heights tie.
    parent = np.arange(2 * n - 1)
    for step, (left, right) in enumerate(merges):
        parent[left] = parent[right] = n + step
    for node in range(len(parent) - 1, -1, -1):
        parent[node] = parent[parent[node]]
    return parent[:n]


def _greedy(tokens: np.ndarray, number: int, factor: int) -> np.ndarray:
    del factor
    n = len(tokens)
    sums, labels = tokens.copy(), np.arange(n)
    units = unit_rows(sums)
    similar = units @ units.T
    np.fill_diagonal(similar, -np.inf)
    for _ in range(n - number):
        left, right = sorted(np.unravel_index(np.argmax(similar), similar.shape))
        labels[labels == right] = left
        sums[left] += sums[right]
        similar[right], similar[:, right] = -np.inf, -np.inf
        alive = np.isfinite(similar[left])
        fresh = unit_rows(sums[left : left + 1])[0]
        units[left] = fresh
        row = np.where(alive, units @ fresh, -np.inf)
        similar[left], similar[:, left] = row, row
        similar[left, left] = -np.inf
    return labels


def _adaptive(tokens: np.ndarray, number: int, factor: int) -> np.ndarray:
    return (_hierarchical if factor < ADAPTIVE_FACTOR else _sequential)(tokens, number, factor)


POOLINGS: dict[str, Callable[[np.ndarray, int, int], Any]] = {
    "adaptive": _adaptive,
    "greedy": _greedy,
    "hierarchical": _hierarchical,
    "sequential": _sequential,
}
