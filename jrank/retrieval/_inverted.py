"""The inverted index: documents by term, added and deleted without a rebuild, searched by one sparse product."""

import itertools
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from jrank.errors import RetrieveError
from jrank.retrieval._documents import Documents, allowed_documents, check_k, check_on_empty
from jrank.retrieval._postings import Postings, compressed, keep_documents, merge_postings
from jrank.retrieval._store import damaged, strings_from_arrays, strings_to_arrays, write_index
from jrank.retrieval._top import top_sparse
from jrank.runs import Hits

__all__ = ["InvertedIndex", "Snapshot"]

# Documents that become postings at a time: bounds the memory of indexing a stream.
DOCUMENTS = 1 << 13
# Postings that one product may touch at a time, and those per query from which on several threads pay: shorter queries
# spend their time under the interpreter's lock.
POSTINGS = 1 << 22
PARALLEL = 1 << 15


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An index at one moment; it never changes, so searches use it while documents are added.

    Attributes:
      postings: the documents of each term.
      ids: object array, ``[documents + 1]``; the last one is None, so that -1 finds it.
      weights: float32, ``[terms, documents]``; the score that each posting adds.
      background: what a child needs beside them to score.
    """

    postings: Postings
    ids: np.ndarray
    weights: sparse.csr_array
    background: Any = None


class InvertedIndex:
    """What all inverted indexes share; a child says how items become postings and what each posting is worth."""

    kind: ClassVar[str]
    # Whether a document whose terms add up to less than 0 is found.
    _signed: ClassVar[bool] = True

    def __init__(self):
        self._lock = threading.RLock()
        self._documents = Documents()
        self._parts: list[Postings] = []
        self._snapshot: Snapshot | None = None

    # What a child fills in -------------------------------------------------------------------------------------------

    def _make_postings(self, items: list[Any]) -> Postings:
        raise NotImplementedError

    def _listed(self, queries: Any) -> list[Any]:
        if not isinstance(queries, Iterable):
            raise TypeError(f"queries must be a list of queries or a single one, got {type(queries).__name__}")
        return [queries] if isinstance(queries, (str, Mapping)) else list(queries)

    def _make_rows(self, queries: Sequence[Any], num_terms: int) -> sparse.csr_array:
        """Return the weights of the terms of each query, ``[queries, terms]``."""
        raise NotImplementedError

    def _weigh(self, postings: Postings) -> np.ndarray:
        """Return the score that each posting adds, float32."""
        raise NotImplementedError

    def _background(self, postings: Postings) -> Any:
        """Return what ``_offsets`` needs."""
        return None

    def _offsets(self, snapshot: Snapshot, rows: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Return a, b ``[queries]`` and c ``[documents]``: a + b c is added to the score of a document; None for 0."""
        return None

    def _num_terms(self) -> int:
        raise NotImplementedError

    def _parameters(self) -> dict[str, Any]:
        raise NotImplementedError

    def _save_arrays(self) -> dict[str, np.ndarray]:
        return {}

    # Documents -------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._documents)

    def __contains__(self, value: Any) -> bool:
        """Whether there is a document with this id."""
        with self._lock:
            return value in self._documents

    def __repr__(self) -> str:
        count = len(self)
        return f"{type(self).__name__}({count} document{'' if count == 1 else 's'}, {self._num_terms()} terms)"

    @property
    def ids(self) -> list[str | int]:
        """The ids of all documents, in the order of the columns of ``scores``."""
        with self._lock:
            return self._documents.alive()

    def add(self, items: Iterable[Any], ids: Iterable[Any] | None = None, *, update: bool = False) -> None:
        """Add documents; either all are added, or, after an error, none.

        Args:
          items: as for ``build``.
          ids: as for ``build``; None goes on counting.
          update: whether documents that have these ids already are deleted; the new ones count as added last.

        Raises:
          RetrieveError: an id is there already, or there are more or fewer ids than items.

        Cost: linear in the new documents; the next search joins them to the old ones, which copies the postings.
        """
        if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
            raise TypeError(f"items must be a collection of documents, got one {type(items).__name__}")
        with self._lock:
            source, parts = iter(items), []
            while chunk := list(itertools.islice(source, DOCUMENTS)):
                parts.append(self._make_postings(chunk))
            self._documents.add(sum(part.num_documents for part in parts), ids, update)
            self._parts += parts
            self._snapshot = None

    def delete(self, ids: Iterable[Any]) -> None:
        """Delete documents; the index is then the same as if they had never been added.

        Args:
          ids: their ids.

        Raises:
          RetrieveError: an id is not there; nothing is deleted then.

        Cost: the next search copies the postings of the others.
        """
        with self._lock:
            self._documents.delete(ids)
            self._snapshot = None

    def _ready(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is not None:
            return snapshot
        with self._lock:
            if self._snapshot is None:
                self._snapshot = self._consolidate()
            return self._snapshot

    def _consolidate(self) -> Snapshot:
        postings = merge_postings(self._parts, self._num_terms())
        keep = self._documents.compact()
        if keep is not None:
            postings = keep_documents(postings, keep)
        self._parts = [postings]
        return self._take(postings, self._weigh(postings))

    def _take(self, postings: Postings, weights: np.ndarray) -> Snapshot:
        shape = (postings.num_terms, postings.num_documents)
        matrix = compressed(weights, postings.documents, postings.starts, shape)
        return Snapshot(postings, self._documents.lookup(), matrix, self._background(postings))

    # Search ----------------------------------------------------------------------------------------------------------

    def search(self, queries: Any, k: int = 10, *, filter: Any = None, on_empty: str = "row") -> Hits:
        """Return the best documents of each query.

        Args:
          queries: a list of what the class takes, or a single one.
          k: how many documents at most; more than there are is allowed.
          filter: which documents may be found: None for all, the ids of some, or a function from an id to a bool. The
            result is exact: the best of those that may be found.
          on_empty: "row" gives a query without any term that the index knows an empty row, "raise" raises.

        Returns:
          Hits of shape ``[queries, k]``, best first; of equal scores the document that was added earlier comes first.
          Only documents that share a term with the query are found, and a score of 0 is as good as none; short rows are
          padded with None and -inf.

        Raises:
          RetrieveError: ``k`` is less than 1, or, with ``on_empty="raise"``, the index or a query is empty.

        Cost: linear in the postings of the terms of the query; large batches use all cores.
        """
        k = check_k(k, documents=len(self))
        snapshot, rows = self._prepare(queries, on_empty)
        scores, places = self._best(snapshot, rows, k, allowed_documents(filter, snapshot.ids))
        return Hits(snapshot.ids[places], scores)

    def _best(
        self, snapshot: Snapshot, rows: sparse.csr_array, k: int, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        offsets = self._offsets(snapshot, rows)

        def best(part: slice) -> tuple[np.ndarray, np.ndarray]:
            found = rows[part] @ snapshot.weights
            scores, columns, bounds = found.data, found.indices, found.indptr
            if allowed is not None or not self._signed:
                stay = scores > 0 if allowed is None else allowed[columns] & (self._signed | (scores > 0))
                scores, columns, bounds = scores[stay], columns[stay], np.concatenate([[0], np.cumsum(stay)])[bounds]
            if offsets is not None:
                start, scale, add = offsets
                counts = np.diff(bounds)
                scores = scores + np.repeat(start[part], counts) + np.repeat(scale[part], counts) * add[columns]
            return top_sparse(scores, columns, bounds, k)

        parts = self._in_parts(best, rows, snapshot)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def scores(self, queries: Any) -> np.ndarray:
        """Return the score of every document for each query.

        Args:
          queries: as for ``search``.

        Returns:
          float32, ``[queries, documents]``, in the order of ``ids``; 0 where no term is shared.

        Cost: memory for the whole matrix.
        """
        snapshot, rows = self._prepare(queries, "row")
        parts = self._in_parts(lambda part: (rows[part] @ snapshot.weights).toarray(), rows, snapshot)
        scores = np.concatenate(parts)
        offsets = self._offsets(snapshot, rows)
        if offsets is not None:
            start, scale, add = offsets
            scores += start[:, None] + scale[:, None] * add
        return scores

    def _prepare(self, queries: Any, on_empty: str) -> tuple[Snapshot, sparse.csr_array]:
        snapshot = self._ready()
        strict = check_on_empty(on_empty, snapshot.postings.num_documents)
        queries = self._listed(queries)
        rows = self._make_rows(queries, snapshot.postings.num_terms)
        if strict and (np.diff(rows.indptr) == 0).any():
            empty = int(np.diff(rows.indptr).argmin())
            raise RetrieveError(
                f"query {empty}, {queries[empty]!r:.60}, has no term that the index knows", reason="empty_query"
            )
        return snapshot, rows

    def _in_parts(self, function: Any, rows: sparse.csr_array, snapshot: Snapshot) -> list[Any]:
        """Apply a function to slices of the queries, on several threads where there is enough to do."""
        touched = np.cumsum(snapshot.postings.document_frequency[rows.indices])
        reach = np.concatenate([[0], touched])[rows.indptr]
        total, count = int(reach[-1]), len(reach) - 1
        workers = _cores() if total >= PARALLEL * max(count, 64) else 1
        pieces = min(max(total // POSTINGS + 1, 4 * workers if workers > 1 else 1), max(count, 1))
        # Pieces of about equal work, not of equally many queries.
        inner = np.searchsorted(reach[1:], np.arange(1, pieces) * (total / pieces))
        edges = np.unique(np.concatenate([[0], inner, [count]]))
        slices = [slice(low, high) for low, high in itertools.pairwise(edges.tolist())] or [slice(0, 0)]
        if workers == 1 or len(slices) == 1:
            return [function(part) for part in slices]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, slices))

    # Disk ------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the index into a directory, whole or not at all.

        Args:
          path: the directory; an index that stands there is replaced.

        Raises:
          DataError: the directory cannot be written, or holds something other than an index.
        """
        with self._lock:
            snapshot = self._ready()
            postings = snapshot.postings
            arrays = {
                "starts": postings.starts,
                "documents": postings.documents,
                "values": postings.values,
                "lengths": postings.lengths,
                "weights": snapshot.weights.data,
                **strings_to_arrays("ids", self._documents.alive()),
                **self._save_arrays(),
            }
            write_index(path, self.kind, self._parameters() | {"next_id": self._documents.next_id}, arrays)

    def _restore(self, path: str | os.PathLike, parameters: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take over the documents of an index on disk."""
        try:
            postings = Postings(*(arrays[name] for name in ("starts", "documents", "values", "lengths")))
            weights, next_id = arrays["weights"], int(parameters["next_id"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{error} is missing") from None
        _check(path, postings, weights)
        ids = strings_from_arrays("ids", arrays, postings.num_documents)
        if len(set(ids)) != len(ids):
            raise damaged(path, "an id comes twice")
        self._documents = Documents(ids, next_id)
        self._parts = [postings]
        self._snapshot = self._take(postings, weights)


def _check(path: str | os.PathLike, postings: Postings, weights: np.ndarray) -> None:
    """Refuse postings that would make compiled code read or write outside of its arrays."""
    starts, documents = postings.starts, postings.documents
    if starts.dtype != np.int64 or starts.ndim != 1 or not len(starts) or starts[0] != 0 or (np.diff(starts) < 0).any():
        raise damaged(path, "starts do not ascend from 0")
    shape = (int(starts[-1]),)
    if documents.shape != shape or postings.values.shape != shape or weights.shape != shape:
        raise damaged(path, "its arrays differ in length")
    if documents.dtype != np.int32 or weights.dtype != np.float32 or postings.values.dtype.kind not in "if":
        raise damaged(path, "an array has the wrong type")
    if postings.lengths.ndim != 1 or postings.lengths.dtype != np.int64:
        raise damaged(path, "its lengths are no list of integers")
    if len(documents) and (documents.min() < 0 or documents.max() >= postings.num_documents):
        raise damaged(path, "a posting names a document that is not there")
    if not np.isfinite(weights).all():
        raise damaged(path, "a weight is not finite")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
