"""Exact search over dense vectors."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jrank.errors import RetrieveError, require
from jrank.retrieval._documents import Documents, allowed_documents, check_choice, check_k, check_on_empty
from jrank.retrieval._store import damaged, read_index, strings_from_arrays, strings_to_arrays, write_index
from jrank.retrieval._vector_index import VectorIndex
from jrank.retrieval._vectors import (
    DTYPES,
    LARGEST,
    capacity_for,
    check_vectors,
    pack,
    split_int8,
    storage_dtype,
    unpack,
)
from jrank.runs import Hits

__all__ = ["DenseIndex"]

METRICS = ("cosine", "dot")
# Queries per block; larger batches are searched block by block. On a CPU the scores of a small block stay in caches.
QUERIES = {"cpu": 64}
MORE_QUERIES = 1024
# Scores per block, of 4 bytes each.
SCORES = 1 << 26


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The index at one moment.

    Attributes:
      vectors: on the device, ``[capacity, d]``.
      scales: on the device, float32, ``[capacity]``, for int8; otherwise None.
      allowed: which of them are documents, ``[capacity]``.
      ids: object array, ``[documents + 1]``; the last one is None, so that -1 finds it.
    """

    vectors: Any
    scales: Any
    allowed: Any
    ids: np.ndarray


class DenseIndex(VectorIndex):
    r"""Search by the similarity of vectors, exact: every document is compared with every query.

    .. math:: s(q, d) = \frac{q \cdot d}{\lVert q \rVert \lVert d \rVert} \quad\text{or}\quad q \cdot d

    Args:
      metric: "cosine", for which vectors are normalised here, or "dot", for which they are taken as they are.
      dtype: how vectors are stored: "float32"; "bfloat16" or "float16" for half the memory; "int8", with a scale for
        each vector, for a quarter.
      mesh: a mesh of devices with one axis, over which the documents are spread (``jrank.sharding.make_mesh()``); None
        uses one device.

    Raises:
      RetrieveError: a parameter is not one of these.

    Numerics: products are added up in float32. Cosines are off by about 1e-7 in float32, 1e-3 in float16, 4e-3 in
    bfloat16 and 1e-2 in int8, where queries are rounded too. The cosine with a vector of zeros is 0. Of equal scores
    the document that was added earlier comes first; scores that differ by rounding alone may change places between
    machines.

    Cost: 2 n d operations per query; memory for the vectors and a block of scores. Shapes are rounded up, so that
    adding documents or queries seldom compiles anew.

    >>> index = DenseIndex.build(np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]]), ids=["a", "b", "c"])
    >>> hits = index.search(np.array([[0.0, 1.0]]), k=2)
    >>> hits.ids.tolist(), hits.scores.round(4).tolist()
    ([['c', 'b']], [[1.0, 0.800000011920929]])
    """

    kind: ClassVar[str] = "dense"

    def __init__(self, *, metric: str = "cosine", dtype: str = "float32", mesh: Any = None):
        super().__init__(check_choice("metric", metric, METRICS))
        self.dtype = check_choice("dtype", dtype, DTYPES)
        self.mesh = mesh
        if mesh is not None and len(mesh.axis_names) != 1:
            raise RetrieveError(
                f"the mesh has the axes {mesh.axis_names}, one was expected",
                reason="invalid_parameter",
                hint="make it with jrank.sharding.make_mesh()",
            )
        self._dimension = 0
        # Stored vectors are on the device in the snapshot, those that came after it are here.
        self._parts: list[np.ndarray] = []
        self._snapshot: Snapshot | None = None
        self._stale = True

    @property
    def dimension(self) -> int:
        """The number of dimensions; 0 before the first vector was added."""
        return self._dimension

    def add(self, items: Any, ids: Iterable[str] | Iterable[int] | None = None, *, update: bool = False) -> None:
        """Add vectors; either all are added, or, after an error, none.

        Args:
          items: as for ``build``.
          ids: as for ``build``; None goes on counting.
          update: whether documents that have these ids already are deleted; the new ones count as added last.

        Raises:
          RetrieveError: the dimension differs, an id is there already, or see ``build``.
        """
        vectors = check_vectors(items, "items", unit=self.metric == "cosine", most=LARGEST[self.dtype])
        with self._lock:
            if self._dimension not in (0, vectors.shape[1]):
                raise _dimensions(vectors.shape[1], self._dimension)
            self._documents.add(len(vectors), ids, update)
            self._dimension = vectors.shape[1]
            self._parts.append(pack(vectors, self.dtype))
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
        k = check_k(k, documents=len(self))
        snapshot = self._ready()
        check_on_empty(on_empty, len(snapshot.ids) - 1)
        vectors = self._queries(queries)
        count, capacity = len(vectors), len(snapshot.allowed)
        scores = np.full((count, k), -np.inf, np.float32)
        rows = np.full((count, k), -1)
        allowed = snapshot.allowed
        mask = allowed_documents(filter, snapshot.ids)
        if mask is not None:
            allowed = np.pad(mask, (0, capacity - len(mask)))
        if capacity:
            from jrank.retrieval._kernels import backend, best_documents

            block = max(min(QUERIES.get(backend(), MORE_QUERIES), SCORES // capacity), 1)
            for low in range(0, count, block):
                part = vectors[low : low + block]
                # A few sizes of blocks, so that few are compiled.
                size = min(block, 1 << (len(part) - 1).bit_length())
                padded = np.pad(part, ((0, size - len(part)), (0, 0)))
                best, place = best_documents(
                    padded, snapshot.vectors, snapshot.scales, allowed, k=min(k, capacity), mesh=self.mesh
                )
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
        vectors = self._queries(queries)
        return vectors @ unpack(self._host(self._ready()), self.dtype).T

    def _queries(self, queries: Any) -> np.ndarray:
        unit = self.metric == "cosine"
        vectors = check_vectors(queries, "queries", unit=unit, single=True, most=LARGEST[self.dtype])
        if self._dimension and vectors.shape[1] != self._dimension:
            raise _dimensions(vectors.shape[1], self._dimension)
        return vectors

    @staticmethod
    def _host(snapshot: Snapshot) -> np.ndarray:
        """Return the stored vectors, ``[n, d]``, or ``[n, d + 4]`` for int8."""
        count = len(snapshot.ids) - 1
        vectors = np.asarray(snapshot.vectors)[:count]
        if snapshot.scales is None:
            return vectors
        return np.concatenate([vectors, np.asarray(snapshot.scales)[:count, None].view(np.int8)], axis=1)

    def _ready(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is not None and not self._stale:
            return snapshot
        with self._lock:
            if self._stale or self._snapshot is None:
                old = [] if self._snapshot is None else [self._host(self._snapshot)]
                empty = pack(np.zeros((0, self._dimension), np.float32), self.dtype)
                stored = np.concatenate([empty, *old, *self._parts])
                keep = self._documents.compact()
                stored = stored if keep is None else stored[keep]
                require("jax", "")
                from jrank.retrieval._kernels import place_documents

                vectors, scales = split_int8(stored) if self.dtype == "int8" else (stored, None)
                capacity = capacity_for(len(vectors), 1 if self.mesh is None else self.mesh.size)
                placed = place_documents(vectors, scales, capacity, self.mesh)
                self._snapshot = Snapshot(*placed, self._documents.lookup())
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
    def load(cls, path: str | os.PathLike, *, mesh: Any = None) -> "DenseIndex":
        """Read an index that ``save`` wrote.

        Args:
          path: the directory.
          mesh: as for the class.

        Returns:
          The index; its vectors are mapped into memory until the first search puts them on the device.

        Raises:
          RetrieveError: there is no index, or it is damaged or of another kind. Nothing is unpickled.
        """
        parameters, arrays = read_index(path, cls.kind)
        try:
            index = cls(metric=parameters["metric"], dtype=parameters["dtype"], mesh=mesh)
            vectors, next_id = arrays["vectors"], int(parameters["next_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{error}") from None
        wanted = np.dtype(np.uint16) if index.dtype == "bfloat16" else np.dtype(index.dtype)
        extra = 4 if index.dtype == "int8" else 0
        if vectors.dtype != wanted or vectors.ndim != 2 or vectors.shape[1] < extra:
            raise damaged(path, f"vectors are {vectors.dtype} of shape {vectors.shape}")
        ids = strings_from_arrays("ids", arrays, len(vectors))
        if len(set(ids)) != len(ids):
            raise damaged(path, "an id comes twice")
        index._documents, index._dimension = Documents(ids, next_id), vectors.shape[1] - extra
        index._parts = [vectors.view(storage_dtype(index.dtype))]
        return index


def _dimensions(got: int, wanted: int) -> RetrieveError:
    return RetrieveError(
        f"vectors of {got} dimensions, the index holds vectors of {wanted}", reason="dimension_mismatch"
    )
