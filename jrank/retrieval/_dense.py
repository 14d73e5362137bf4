"""Exact search over dense vectors."""

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jrank.errors import RetrieveError, require
from jrank.retrieval._documents import Documents, allowed_documents, check_choice, check_k, check_on_empty
from jrank.retrieval._store import damaged, read_index, strings_from_arrays, strings_to_arrays, write_index
from jrank.runs import Hits

__all__ = ["DenseIndex"]

METRICS = ("cosine", "dot")
DTYPES = ("float32", "bfloat16", "float16")
# Queries per block; larger batches are searched block by block.
QUERIES = 128
# Scores per block, of 4 bytes each.
SCORES = 1 << 26


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The index at one moment.

    Attributes:
      vectors: on the device, ``[capacity, d]``.
      allowed: which of them are documents, ``[capacity]``.
      ids: object array, ``[documents + 1]``; the last one is None, so that -1 finds it.
    """

    vectors: Any
    allowed: Any
    ids: np.ndarray


class DenseIndex:
    r"""Search by the similarity of vectors, exact: every document is compared with every query.

    .. math:: s(q, d) = \frac{q \cdot d}{\lVert q \rVert \lVert d \rVert} \quad\text{or}\quad q \cdot d

    Args:
      metric: "cosine", for which vectors are normalised here, or "dot", for which they are taken as they are.
      dtype: how vectors are stored: "float32", or "bfloat16" or "float16" for half the memory and about three digits.

    Raises:
      RetrieveError: a parameter is not one of these.

    Numerics: products are added up in float32. The cosine with a vector of zeros is 0. Of equal scores the document
    that was added earlier comes first; scores that differ by rounding alone may change places between machines.

    Cost: 2 n d operations per query; memory for the vectors and a block of scores. Shapes are rounded up, so that
    adding documents or queries seldom compiles anew.

    >>> index = DenseIndex.build(np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]]), ids=["a", "b", "c"])
    >>> hits = index.search(np.array([[0.0, 1.0]]), k=2)
    >>> hits.ids.tolist(), hits.scores.round(4).tolist()
    ([['c', 'b']], [[1.0, 0.800000011920929]])
    """

    kind: ClassVar[str] = "dense"

    def __init__(self, *, metric: str = "cosine", dtype: str = "float32"):
        self.metric = check_choice("metric", metric, METRICS)
        self.dtype = check_choice("dtype", dtype, DTYPES)
        self._lock = threading.RLock()
        self._documents = Documents()
        self._dimension = 0
        # Stored vectors are on the device in the snapshot, those that came after it are here.
        self._parts: list[np.ndarray] = []
        self._snapshot: Snapshot | None = None
        self._stale = True

    @classmethod
    def build(cls, items: Any, ids: Iterable[str] | Iterable[int] | None = None, **params: Any) -> "DenseIndex":
        """Index vectors.

        Args:
          items: array of finite numbers, ``[n, d]``.
          ids: one unique id per vector, all strings or all integers; None counts from 0.
          **params: the arguments of the class.

        Returns:
          The index.

        Raises:
          RetrieveError: a number is not finite, an id comes twice, there are more or fewer ids than vectors.
        """
        index = cls(**params)
        index.add(items, ids)
        return index

    def __len__(self) -> int:
        return len(self._documents)

    def __repr__(self) -> str:
        return f"DenseIndex({len(self)} vectors of {self.dimension} dimensions, {self.metric!r})"

    @property
    def dimension(self) -> int:
        """The number of dimensions; 0 before the first vector was added."""
        return self._dimension

    @property
    def ids(self) -> list[str | int]:
        """The ids of all vectors, in the order in which they were added."""
        with self._lock:
            return self._documents.alive()

    def add(self, items: Any, ids: Iterable[str] | Iterable[int] | None = None) -> None:
        """Add vectors; either all are added, or, after an error, none.

        Args:
          items: as for ``build``.
          ids: as for ``build``; None goes on counting.

        Raises:
          RetrieveError: the dimension differs, an id is there already, or see ``build``.
        """
        vectors = self._checked(items, "items").astype(self._storage())
        with self._lock:
            if self._dimension not in (0, vectors.shape[1]):
                raise _dimensions(vectors.shape[1], self._dimension)
            self._documents.add(len(vectors), ids)
            self._dimension = vectors.shape[1]
            self._parts.append(vectors)
            self._stale = True

    def delete(self, ids: Iterable[str] | Iterable[int]) -> None:
        """Delete vectors; the index is then the same as if they had never been added.

        Args:
          ids: their ids.

        Raises:
          RetrieveError: an id is not there; nothing is deleted then.
        """
        with self._lock:
            self._documents.delete(ids)
            self._stale = True

    def search(self, queries: Any, k: int = 10, *, filter: Any = None, on_empty: str = "row") -> Hits:
        """Return the most similar documents of each query.

        Args:
          queries: array of finite numbers, ``[queries, d]``; one vector ``[d]`` is one query.
          k: how many documents at most; more than there are is allowed.
          filter: which documents may be found: None for all, the ids of some, or a function from an id to a bool. The
            result is exact: the best of those that may be found.
          on_empty: "row" lets an empty index find nothing, "raise" raises.

        Returns:
          Hits of shape ``[queries, k]``, best first; short rows are padded with None and -inf.

        Raises:
          RetrieveError: the dimension differs, a number is not finite, ``k`` is less than 1, or, with
            ``on_empty="raise"``, the index is empty.
        """
        k = check_k(k)
        snapshot = self._ready()
        check_on_empty(on_empty, len(snapshot.ids) - 1)
        vectors = self._checked(queries, "queries")
        self._check_dimension(vectors)
        count, capacity = len(vectors), len(snapshot.allowed)
        scores = np.full((count, k), -np.inf, np.float32)
        rows = np.full((count, k), -1)
        allowed = snapshot.allowed
        mask = allowed_documents(filter, snapshot.ids)
        if mask is not None:
            allowed = np.pad(mask, (0, capacity - len(mask)))
        if capacity:
            from jrank.retrieval._kernels import best_documents

            block = max(min(QUERIES, SCORES // capacity), 1)
            for low in range(0, count, block):
                part = vectors[low : low + block]
                # A few sizes of blocks, so that few are compiled.
                size = min(block, 1 << (len(part) - 1).bit_length())
                padded = np.pad(part, ((0, size - len(part)), (0, 0)))
                best, place = best_documents(padded, snapshot.vectors, allowed, min(k, capacity))
                part = slice(low, low + len(part)), slice(0, best.shape[1])
                scores[part] = np.asarray(best)[: part[0].stop - low]
                rows[part] = np.asarray(place)[: part[0].stop - low]
            rows[scores == -np.inf] = -1
        return Hits(snapshot.ids[rows], scores)

    def scores(self, queries: Any) -> np.ndarray:
        """Return the score of every document for each query.

        Args:
          queries: as for ``search``.

        Returns:
          float32, ``[queries, documents]``, in the order of ``ids``.
        """
        vectors = self._checked(queries, "queries")
        self._check_dimension(vectors)
        return vectors @ self._host(self._ready()).astype(np.float32, copy=False).T

    def _checked(self, vectors: Any, name: str) -> np.ndarray:
        """Return vectors as float32, ``[n, d]``, of length 1 for the cosine."""
        if isinstance(vectors, (list, tuple)):
            raise TypeError(f"{name} must be an array, got a {type(vectors).__name__}; write np.asarray({name})")
        array = np.asarray(vectors)
        if array.ndim == 1 and name == "queries":
            array = array[None]
        if array.ndim != 2 or (array.dtype.kind not in "fiub" and str(array.dtype) != "bfloat16"):
            raise RetrieveError(
                f"{name} must be numbers of shape [n, d], got {array.dtype} of shape {array.shape}",
                reason="invalid_parameter",
            )
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
            raise RetrieveError(f"{name}[{row}] holds a number that is not finite", reason="invalid_parameter")
        if self.metric == "cosine" and array.size:
            # Scaled first, so that squares neither overflow nor vanish.
            largest = np.abs(array).max(axis=1, keepdims=True)
            array /= np.where(largest > 0, largest, 1)
            norm = np.sqrt(np.einsum("nd,nd->n", array, array, dtype=np.float64))[:, None]
            array = (array / np.where(norm > 0, norm, 1)).astype(np.float32)
        return array

    def _check_dimension(self, queries: np.ndarray) -> None:
        if self._dimension and queries.shape[1] != self._dimension:
            raise _dimensions(queries.shape[1], self._dimension)

    def _storage(self) -> np.dtype:
        return np.dtype(require("ml_dtypes", "").bfloat16 if self.dtype == "bfloat16" else self.dtype)

    @staticmethod
    def _host(snapshot: Snapshot) -> np.ndarray:
        return np.asarray(snapshot.vectors)[: len(snapshot.ids) - 1]

    def _ready(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is not None and not self._stale:
            return snapshot
        with self._lock:
            if self._stale or self._snapshot is None:
                old = [] if self._snapshot is None else [self._host(self._snapshot)]
                parts = [part for part in old + self._parts if len(part)]
                vectors = np.concatenate(parts) if parts else np.zeros((0, self._dimension), self._storage())
                keep = self._documents.compact()
                vectors = vectors if keep is None else vectors[keep]
                require("jax", "")
                from jrank.retrieval._kernels import place_documents

                self._snapshot = Snapshot(*place_documents(vectors, _capacity(len(vectors))), self._documents.lookup())
                self._parts, self._stale = [], False
            return self._snapshot

    def save(self, path: str | os.PathLike) -> None:
        """Write the index into a directory, whole or not at all.

        Args:
          path: the directory; an index that stands there is replaced.

        Raises:
          DataError: the directory cannot be written, or holds something other than an index.
        """
        with self._lock:
            vectors = self._host(self._ready())
            # NumPy's files know no bfloat16.
            vectors = vectors.view(np.uint16) if self.dtype == "bfloat16" else vectors
            parameters = {"metric": self.metric, "dtype": self.dtype, "next_id": self._documents.next_id}
            arrays = {"vectors": vectors, **strings_to_arrays("ids", self._documents.alive())}
            write_index(path, self.kind, parameters, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "DenseIndex":
        """Read an index that ``save`` wrote.

        Args:
          path: the directory.

        Returns:
          The index; its vectors are mapped into memory until the first search puts them on the device.

        Raises:
          RetrieveError: there is no index, or it is damaged or of another kind. Nothing is unpickled.
        """
        parameters, arrays = read_index(path, cls.kind)
        try:
            index = cls(metric=parameters["metric"], dtype=parameters["dtype"])
            vectors, next_id = arrays["vectors"], int(parameters["next_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{error}") from None
        wanted = np.dtype(np.uint16) if index.dtype == "bfloat16" else np.dtype(index.dtype)
        if vectors.dtype != wanted or vectors.ndim != 2:
            raise damaged(path, f"vectors are {vectors.dtype} of shape {vectors.shape}")
        ids = strings_from_arrays("ids", arrays, len(vectors))
        if len(set(ids)) != len(ids):
            raise damaged(path, "an id comes twice")
        index._documents, index._dimension = Documents(ids, next_id), vectors.shape[1]
        index._parts = [vectors.view(index._storage())]
        return index


def _capacity(count: int) -> int:
    """Return a number of rows that many counts share: an eighth of the power of two below at most is wasted."""
    step = 1 << max(count.bit_length() - 4, 4)
    return -(-count // step) * step


def _dimensions(got: int, wanted: int) -> RetrieveError:
    return RetrieveError(
        f"vectors of {got} dimensions, the index holds vectors of {wanted}", reason="dimension_mismatch"
    )
