"""Approximate search over dense vectors, by a graph of the library faiss."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jrank.errors import RetrieveError, require
from jrank.retrieval._documents import (
    allowed_documents,
    check_choice,
    check_k,
    check_on_empty,
)
from jrank.retrieval._store import damaged, read_index, strings_from_arrays, strings_to_arrays, write_index
from jrank.retrieval._vector_index import VectorIndex
from jrank.retrieval._vectors import check_vectors
from jrank.runs import Hits

__all__ = ["ANNIndex"]

# When deleted vectors are more than this share of the graph, it is built anew from the others.
WASTE = 0.3


class ANNIndex(VectorIndex):
    r"""Search by the similarity of vectors, approximate: a graph of neighbours is walked, most documents are not seen.

    The graph is the HNSW of faiss (the extra ``ann``); this class gives it the shape of the other indexes. Vectors are
    kept as well, so that the index can be saved, filtered and rebuilt.

    Args:
      metric: "cosine", for which vectors are normalised here, or "dot".
      neighbors: edges of each vector; more find more and take more memory.
      build_depth: candidates that are looked at when a vector joins the graph.
      search_depth: candidates that are looked at in a search, at least k; more find more and take longer.

    Raises:
      RetrieveError: a parameter is out of range.
      MissingExtraError: faiss is not installed.

    Numerics: the scores are exact, the documents need not be the best: measure the recall against ``DenseIndex`` on
    data like yours. With a filter, or where the graph would have to be searched for most of its vectors, the vectors
    themselves are compared, which is exact.

    Cost: about search_depth · neighbors comparisons per query; 4 d + 8 neighbors bytes per vector for the graph, and
    4 d more for the vectors.

    References: Malkov and Yashunin (2018); Douze et al. (2024).

    >>> index = ANNIndex.build(np.eye(4, dtype=np.float32), ids=list("abcd"))  # doctest: +SKIP
    >>> index.search(np.array([[0.6, 0.8, 0.0, 0.0]]), k=2).ids.tolist()  # doctest: +SKIP
    [['b', 'a']]
    """

    kind: ClassVar[str] = "ann"

    def __init__(self, *, metric: str = "cosine", neighbors: int = 32, build_depth: int = 200, search_depth: int = 64):
        super().__init__(check_choice("metric", metric, ("cosine", "dot")))
        self.neighbors = check_k(neighbors, "neighbors")
        self.build_depth = check_k(build_depth, "build_depth")
        self.search_depth = check_k(search_depth, "search_depth")
        require("faiss", "ann")
        self._vectors = np.zeros((0, 0), np.float32)
        # The id of each vector of the graph, None where it was deleted.
        self._ids: list[Any] = []
        self._places: dict[Any, int] = {}
        self._graph: Any = None

    @property
    def dimension(self) -> int:
        """The number of dimensions; 0 before the first vector was added."""
        return self._vectors.shape[1]

    def add(self, items: Any, ids: Iterable[str] | Iterable[int] | None = None, *, update: bool = False) -> None:
        """Add vectors; either all are added, or, after an error, none.

        Args:
          items: as for ``build``.
          ids: as for ``build``; None goes on counting.
          update: whether vectors that have these ids already are deleted; the new ones count as added last.

        Raises:
          RetrieveError: the dimension differs, an id is there already, or see ``build``.
        """
        self._append(check_vectors(items, "items", unit=self.metric == "cosine"), ids, update)

    def _append(self, vectors: np.ndarray, ids: Any, update: bool = False) -> None:
        """Add vectors that are checked and, where it applies, of length 1."""
        with self._lock:
            if self.dimension not in (0, vectors.shape[1]):
                raise _dimensions(vectors.shape[1], self.dimension)
            self._documents.add(len(vectors), ids, update)
            self._documents.compact()
            alive = self._documents.alive()
            new = alive[len(alive) - len(vectors) :]
            self._forget([name for name in new if name in self._places])
            if self._graph is None:
                self._graph = self._started(vectors.shape[1])
            self._graph.add(np.ascontiguousarray(vectors))
            self._vectors = np.concatenate([self._vectors.reshape(-1, vectors.shape[1]), vectors])
            self._places.update(zip(new, range(len(self._ids), len(self._ids) + len(new)), strict=True))
            self._ids = self._ids + new

    def _started(self, dimension: int) -> Any:
        """Return a graph without vectors."""
        faiss = require("faiss", "ann")
        graph = faiss.IndexHNSWFlat(dimension, self.neighbors, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = self.build_depth
        return graph

    def delete(self, ids: Iterable[str] | Iterable[int]) -> None:
        """Delete vectors. They stay in the graph as way-points and are never found, until it is built anew.

        Args:
          ids: their ids.

        Raises:
          RetrieveError: an id is not there; nothing is deleted then.
        """
        if isinstance(ids, (str, bytes)):
            raise TypeError(f"ids must be a collection of ids, got one {type(ids).__name__}")
        gone: list[Any] = ids.tolist() if isinstance(ids, np.ndarray) else list(dict.fromkeys(ids))
        with self._lock:
            self._documents.delete(gone)
            self._documents.compact()
            self._forget(dict.fromkeys(name.item() if isinstance(name, np.generic) else name for name in gone))

    def _forget(self, names: Iterable[Any]) -> None:
        """Leave the vectors of these documents in the graph as way-points, or build it anew without them."""
        kept = list(self._ids)
        for name in names:
            kept[self._places.pop(name)] = None
        self._ids = kept
        if kept.count(None) > WASTE * len(kept):
            alive = [place for place, name in enumerate(kept) if name is not None]
            self._ids = [kept[place] for place in alive]
            self._vectors = self._vectors[alive]
            self._places = {name: place for place, name in enumerate(self._ids)}
            self._graph = self._started(self.dimension)
            self._graph.add(self._vectors)

    def search(self, queries: Any, k: int = 10, *, filter: Any = None, on_empty: str = "row") -> Hits:
        """Return similar documents of each query, most of them the most similar ones.

        Args:
          queries: array of finite numbers, ``[queries, d]``; one vector ``[d]`` is one query.
          k: how many documents at most.
          filter: as for the other indexes; the result is exact then.
          on_empty: "row" lets an empty index find nothing, "raise" raises.

        Returns:
          Hits of shape ``[queries, k]``, best first; short rows are padded with None and -inf.

        Raises:
          RetrieveError: the dimension differs, a number is not finite, ``k`` is less than 1, or, with
            ``on_empty="raise"``, the index is empty.
        """
        k = check_k(k, documents=len(self))
        check_on_empty(on_empty, len(self))
        vectors = check_vectors(queries, "queries", unit=self.metric == "cosine", single=True)
        with self._lock:
            # The graph of faiss must not be searched while it grows.
            if self.dimension and vectors.shape[1] != self.dimension:
                raise _dimensions(vectors.shape[1], self.dimension)
            lookup = np.array([*self._ids, None], object)
            alive = lookup[:-1] != None  # noqa: E711  (element by element)
            if filter is not None:
                names = np.array([*lookup[:-1][alive], None], object)
                chosen = allowed_documents(filter, names)
                alive[alive] = chosen
            if not alive.any():
                return Hits(np.full((len(vectors), k), None, object), np.full((len(vectors), k), -np.inf, np.float32))
            if filter is not None or max(k, self.search_depth) * 2 >= len(alive):
                scores, places = self._exact(vectors, alive, k)
            else:
                scores, places = self._walk(vectors, alive, k)
        places[scores == -np.inf] = -1
        return Hits(lookup[places], scores)

    def _walk(self, vectors: np.ndarray, alive: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        faiss = require("faiss", "ann")
        options: dict[str, Any] = {"efSearch": max(k, self.search_depth)}
        if not alive.all():
            options["sel"] = faiss.IDSelectorBitmap(np.packbits(alive, bitorder="little"))
        parameters = faiss.SearchParametersHNSW(**options)
        scores, places = self._graph.search(np.ascontiguousarray(vectors), k, params=parameters)
        return np.where(places < 0, -np.inf, scores).astype(np.float32), places

    def _exact(self, vectors: np.ndarray, alive: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        from jrank.retrieval._top import top_dense

        rows = np.flatnonzero(alive)
        scores, places = top_dense(vectors @ self._vectors[rows].T, k)
        return scores, np.where(places >= 0, rows[places], -1)

    def scores(self, queries: Any) -> np.ndarray:
        """Return the score of every document for each query, exactly.

        Args:
          queries: as for ``search``.

        Returns:
          float32, ``[queries, documents]``, in the order of ``ids``.
        """
        vectors = check_vectors(queries, "queries", unit=self.metric == "cosine", single=True)
        with self._lock:
            return vectors @ self._vectors[[name is not None for name in self._ids]].T

    def save(self, path: str | os.PathLike) -> None:
        """Write the index into a directory, whole or not at all. The graph is built anew when it is loaded.

        Args:
          path: the directory; an index that stands there is replaced.

        Raises:
          DataError: the directory cannot be written, or holds something other than an index.
        """
        with self._lock:
            parameters = {
                "metric": self.metric,
                "neighbors": self.neighbors,
                "build_depth": self.build_depth,
                "search_depth": self.search_depth,
                "next_id": self._documents.next_id,
            }
            vectors = self._vectors[[name is not None for name in self._ids]]
            write_index(path, self.kind, parameters, {"vectors": vectors, **strings_to_arrays("ids", self.ids)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "ANNIndex":
        """Read an index that ``save`` wrote; nothing is unpickled, and no file of faiss is read.

        Args:
          path: the directory.

        Raises:
          RetrieveError: there is no index, or it is damaged or of another kind.

        Cost: that of building the graph.
        """
        parameters, arrays = read_index(path, cls.kind)
        try:
            next_id = int(parameters.pop("next_id"))
            index = cls(**parameters)
            vectors = arrays["vectors"]
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{error}") from None
        if vectors.dtype != np.float32 or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise damaged(Path(path), f"vectors are {vectors.dtype} of shape {vectors.shape}, or not finite")
        ids = strings_from_arrays("ids", arrays, len(vectors))
        if len(set(ids)) != len(ids):
            raise damaged(path, "an id comes twice")
        if len(ids):
            index._append(np.array(vectors), ids)
        index._documents.next_id = next_id
        return index


def _dimensions(got: int, wanted: int) -> RetrieveError:
    return RetrieveError(
        f"vectors of {got} dimensions, the index holds vectors of {wanted}", reason="dimension_mismatch"
    )
