"""Search over sparse vectors, such as those of learned sparse encoders."""

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from jrank.errors import RetrieveError
from jrank.retrieval._documents import check_choice
from jrank.retrieval._inverted import InvertedIndex
from jrank.retrieval._postings import Postings, compressed, postings_from_rows
from jrank.retrieval._store import damaged, read_index

__all__ = ["SparseIndex", "SparseVector"]

# One number per dimension is kept for the start of its postings.
MAX_DIMENSIONS = 1 << 26


@dataclass(frozen=True, eq=False)
class SparseVector:
    """The entries of a vector that are not 0.

    Args:
      indices: the dimensions, non-negative integers, ascending, none twice.
      values: finite numbers, as many.

    Raises:
      RetrieveError: the indices are not such, a value is not finite, or their numbers differ.

    >>> vector = SparseVector(np.array([1, 4]), np.array([3.0, 4.0]))
    >>> vector.norm, vector.dot(SparseVector(np.array([4, 7]), np.array([0.5, 9.0])))
    (5.0, 2.0)
    """

    indices: np.ndarray
    values: np.ndarray

    def __post_init__(self):
        indices, values = np.asarray(self.indices), np.asarray(self.values)
        if indices.ndim != 1 or indices.shape != values.shape:
            raise _invalid(f"indices of shape {indices.shape} and values of shape {values.shape} do not fit")
        if len(indices) == 0:
            indices = indices.astype(np.int64)
        if indices.dtype.kind not in "iu" or values.dtype.kind not in "iuf":
            raise _invalid(f"indices are {indices.dtype} and values {values.dtype}, expected integers and numbers")
        indices, values = indices.astype(np.int64), values.astype(np.float32)
        if len(indices) and (indices[0] < 0 or (np.diff(indices) <= 0).any()):
            raise _invalid(
                "indices must be non-negative, ascending, and none twice", "SparseVector.from_dict sorts them"
            )
        if len(indices) and indices[-1] >= MAX_DIMENSIONS:
            raise _invalid(f"an index is {indices[-1]}, at most {MAX_DIMENSIONS - 1} is allowed", "number them densely")
        if not np.isfinite(values).all():
            raise _invalid("a value is not finite")
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "values", values)

    @classmethod
    def from_dict(cls, entries: Mapping[int, float]) -> "SparseVector":
        """Make a vector from a mapping, in any order.

        Args:
          entries: dimension to value.
        """
        order = sorted(entries)
        return cls(np.array(order), np.array([entries[i] for i in order], np.float64))

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def norm(self) -> float:
        """The Euclidean length."""
        return float(np.linalg.norm(self.values.astype(np.float64)))

    def normalize(self) -> "SparseVector":
        """Return the vector with length 1; a vector of length 0 stays as it is."""
        return SparseVector(self.indices, self.values / (self.norm or 1.0))

    def prune(self, threshold: float | int) -> "SparseVector":
        """Return the entries of at least some size.

        Args:
          threshold: the smallest absolute value that stays.
        """
        return self._keep(np.abs(self.values) >= threshold)

    def top_k(self, k: int) -> "SparseVector":
        """Return the largest entries by absolute value; of equal ones those of smaller dimensions.

        Args:
          k: how many stay.
        """
        keep = np.zeros(len(self), bool)
        keep[np.argsort(-np.abs(self.values), kind="stable")[:k]] = True
        return self._keep(keep)

    def dot(self, other: "SparseVector") -> float:
        """Return the dot product.

        Args:
          other: a vector.
        """
        _, mine, theirs = np.intersect1d(self.indices, other.indices, assume_unique=True, return_indices=True)
        return float(np.dot(self.values[mine].astype(np.float64), other.values[theirs].astype(np.float64)))

    def _keep(self, keep: np.ndarray) -> "SparseVector":
        return SparseVector(self.indices[keep], self.values[keep])


class SparseIndex(InvertedIndex):
    r"""Search by the dot product of sparse vectors, exact.

    .. math:: s(q, d) = \sum_i q_i d_i

    Documents and queries are ``SparseVector`` objects, mappings from dimension to value, or the rows of a SciPy sparse
    matrix.

    Args:
      metric: "dot", or "cosine", for which vectors are brought to length 1.

    Raises:
      RetrieveError: the metric is neither.

    Numerics: products are added up in float32. Only documents with a product above 0 are found: those that share
    nothing with the query have 0.

    Cost: 12 bytes per entry; a search touches the entries of the query's dimensions only.

    >>> index = SparseIndex.build([{3: 1.0, 8: 2.0}, {8: 0.5}, {5: 1.0}], ids=["a", "b", "c"])
    >>> index.search([{8: 1.0, 3: 0.5}], k=3).scores.tolist()
    [[2.5, 0.5, -inf]]
    """

    kind: ClassVar[str] = "sparse"
    _signed: ClassVar[bool] = False

    def __init__(self, *, metric: str = "dot"):
        super().__init__()
        self.metric = check_choice("metric", metric, ("dot", "cosine"))
        self._dimensions = 0

    @classmethod
    def build(cls, items: Any, ids: Iterable[str] | Iterable[int] | None = None, **params: Any) -> "SparseIndex":
        """Index vectors.

        Args:
          items: vectors, mappings, or a SciPy sparse matrix ``[n, dimensions]``.
          ids: one unique id per vector, all strings or all integers; None counts from 0.
          **params: the arguments of the class.

        Returns:
          The index.

        Raises:
          RetrieveError: a vector is not valid (see ``SparseVector``), an id comes twice, there are more or fewer ids
            than vectors.
        """
        index = cls(**params)
        index.add(items, ids)
        return index

    def add(self, items: Any, ids: Iterable[Any] | None = None, *, update: bool = False) -> None:
        """Add vectors; either all are added, or, after an error, none.

        Args:
          items: as for ``build``.
          ids: as for ``build``; None goes on counting.
          update: whether vectors that have these ids already are deleted; the new ones count as added last.

        Raises:
          RetrieveError: see ``build``.
        """
        super().add(_rows(items), ids, update=update)

    def _make_postings(self, items: list[Any]) -> Postings:
        matrix = self._matrix(items)
        self._dimensions = max(self._dimensions, int(matrix.indices.max(initial=-1)) + 1)
        return postings_from_rows(matrix.indices, np.diff(matrix.indptr), self._dimensions, matrix.data)

    def _listed(self, queries: Any) -> list[Any]:
        return [queries] if isinstance(queries, (Mapping, SparseVector)) else list(_rows(queries))

    def _make_rows(self, queries: Sequence[Any], num_terms: int) -> sparse.csr_array:
        matrix = self._matrix(list(queries))
        known = matrix.indices < num_terms
        bounds = np.concatenate([[0], np.cumsum(known)])[matrix.indptr]
        return compressed(matrix.data[known], matrix.indices[known], bounds, (len(bounds) - 1, num_terms))

    def _matrix(self, items: list[Any]) -> sparse.csr_array:
        vectors = []
        for place, item in enumerate(items):
            try:
                vector = SparseVector.from_dict(item) if isinstance(item, Mapping) else item
            except RetrieveError as error:
                raise RetrieveError(f"vector {place}: {error}", reason=error.reason) from None
            if not isinstance(vector, SparseVector):
                raise TypeError(f"expected sparse vectors or mappings, got {type(item).__name__}")
            vectors.append(vector.normalize() if self.metric == "cosine" else vector)
        counts = [len(vector) for vector in vectors]
        none = SparseVector(np.zeros(0, np.int64), np.zeros(0))
        indices = np.concatenate([vector.indices for vector in [none, *vectors]])
        values = np.concatenate([vector.values for vector in [none, *vectors]])
        bounds = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        dimensions = int(indices.max(initial=-1)) + 1
        return compressed(values, indices.astype(np.int32), bounds, (len(vectors), dimensions))

    def _weigh(self, postings: Postings) -> np.ndarray:
        return postings.values.astype(np.float32, copy=False)

    def _num_terms(self) -> int:
        return self._dimensions

    def _parameters(self) -> dict[str, Any]:
        return {"metric": self.metric}

    @classmethod
    def load(cls, path: str | os.PathLike) -> "SparseIndex":
        """Read an index that ``save`` wrote; the postings stay on disk and are mapped into memory.

        Args:
          path: the directory.

        Raises:
          RetrieveError: there is no index, or it is damaged or of another kind. Nothing is unpickled.
        """
        parameters, arrays = read_index(path, cls.kind)
        try:
            index = cls(metric=parameters["metric"])
        except (KeyError, RetrieveError) as error:
            raise damaged(path, str(error)) from None
        index._restore(path, parameters, arrays)
        index._dimensions = index._parts[0].num_terms
        return index


def _rows(items: Any) -> Iterable[Any]:
    if isinstance(items, (Mapping, SparseVector)):
        raise TypeError(f"expected a collection of vectors, got one {type(items).__name__}; put it into a list")
    if not sparse.issparse(items):
        return items
    matrix = sparse.csr_array(items)
    matrix.sum_duplicates()
    bounds = matrix.indptr.tolist()
    parts = [slice(low, high) for low, high in itertools.pairwise(bounds)]
    return (SparseVector(matrix.indices[part], matrix.data[part]) for part in parts)


def _invalid(message: str, hint: str = "") -> RetrieveError:
    return RetrieveError(message, reason="invalid_sparse_vector", hint=hint)
