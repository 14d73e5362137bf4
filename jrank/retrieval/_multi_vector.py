"""Search over documents of many vectors each, by late interaction."""

import dataclasses
import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jrank.errors import RerankError, RetrieveError, require
from jrank.retrieval._dense import DenseIndex
from jrank.retrieval._documents import Documents, allowed_documents, check_choice, check_k, check_on_empty
from jrank.retrieval._multi_vector_codecs import CODECS, Coded, encode_all, learn
from jrank.retrieval._multi_vector_search import Snapshot, check_weights, padded, rerank, scan
from jrank.retrieval._multi_vector_shards import Shard, lay_out, with_code
from jrank.retrieval._multi_vector_store import check_shard, read_shards, write_shards
from jrank.retrieval._store import damaged, strings_from_arrays, strings_to_arrays
from jrank.retrieval._vector_index import VectorIndex
from jrank.retrieval._vectors import LARGEST, check_vectors
from jrank.runs import Hits

__all__ = ["MultiVectorIndex"]

METRICS = ("cosine", "dot")
# Documents whose encodings are made together: they are packed for it, which takes their memory twice more.
ENCODED = 1024
# A filter that lets fewer than one in so many documents pass is answered from these alone. To gather a document costs
# as much as to score a few in their place.
FEW = 8


class MultiVectorIndex(VectorIndex):
    r"""Search by late interaction: documents and queries are sets of token vectors.

    .. math:: s(q, d) = \sum_i \max_u \langle q_i, d_u \rangle

    Every document is scored, exactly, unless ``candidates=`` says which ones are: those that another index found, or
    those that fixed-dimensional encodings (``fde=``) bring up.

    Args:
      metric: "cosine", for which vectors are normalised here, or "dot", for which they are taken as they are.
      dtype: how vectors are stored: "float32"; "bfloat16" or "float16" for half the memory; "int8", with a scale for
        each token, for a quarter; "2bit", which of four levels the difference from the nearest of some typical tokens
        is near, for about a fifteenth; "1bit", the signs with a scale for each token, for a thirtieth. What 2 bits mean
        is learnt from the documents that are there at the first search or save, and kept from then on; until then
        these stay in float32.
      fde: whether to keep fixed-dimensional encodings too, for ``search(candidates=n)``: True, or the options of
        ``jrank.maxsim.fde`` and the ``dtype`` in which a ``DenseIndex`` keeps the encodings.
      mesh: a mesh of devices with one axis, over which each shard is spread (``jrank.sharding.make_mesh()``); None uses
        one device.

    Raises:
      RetrieveError: a parameter is not one of these.

    Numerics: products are added up in float32. Scores do not depend on how documents were added, beyond rounding, and
    not at all if all products are whole numbers. Of equal scores the document that was added earlier comes first. A
    document without a token is never found.

    Cost: 2 q t d operations for each query and document, of a filter that lets few pass for these alone; memory for the
    vectors. Shapes are rounded up, so that adding documents or queries seldom compiles anew. Deleted documents take
    space until half of their shard is deleted.

    References: Khattab and Zaharia, ColBERT, SIGIR 2020; Dhulipala et al., MUVERA, NeurIPS 2024.

    >>> docs = [np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.6, 0.8]]), np.array([[-1.0, 0.0]])]
    >>> index = MultiVectorIndex.build(docs, ids=["both", "between", "away"])
    >>> hits = index.search([np.array([[1.0, 0.0], [0.0, 1.0]])], k=2)
    >>> hits.ids.tolist(), hits.scores.round(4).tolist()
    ([['both', 'between']], [[2.0, 1.399999976158142]])
    """

    kind: ClassVar[str] = "multi-vector"

    def __init__(
        self,
        *,
        metric: str = "cosine",
        dtype: str = "float32",
        fde: bool | Mapping[str, Any] | None = None,
        mesh: Any = None,
    ):
        super().__init__(check_choice("metric", metric, METRICS))
        self.dtype = check_choice("dtype", dtype, tuple(CODECS))
        if not (fde is None or isinstance(fde, (bool, Mapping))):
            raise TypeError(f"fde must be True or a dictionary of options, got {fde!r}")
        self.fde = None if fde is None or fde is False else dict({} if fde is True else fde)
        self.mesh = mesh
        if not (mesh is None or hasattr(mesh, "axis_names")):
            raise TypeError(f"mesh must be a mesh of devices, got {mesh!r}; see jrank.sharding.make_mesh()")
        if mesh is not None and len(mesh.axis_names) != 1:
            raise RetrieveError(
                f"the mesh has the axes {mesh.axis_names}, one was expected",
                reason="invalid_parameter",
                hint="make it with jrank.sharding.make_mesh()",
            )
        self._dimension = 0
        # Every row was a document once; ``_alive`` says which still are. Rows beyond the shards are pending. The last
        # shard is laid out anew when documents are added, until it is full.
        self._shards: list[Shard] = []
        self._placed: list[tuple[Shard, Any]] = []
        self._pending: list[Coded] = []
        # What 2 bits mean; until it is learnt, pending documents are not coded.
        self._code: Any = None
        self._alive = np.zeros(0, bool)
        self._open = False
        self._snapshot: Snapshot | None = None
        self._encoder: Any = None
        self._coarse: DenseIndex | None = None
        # Directory and name under which the encodings lie as they are; None if they have changed.
        self._coarse_at: tuple[Path, str] | None = None
        if self.fde is not None:
            options = dict(self.fde)
            self._coarse = DenseIndex(metric="dot", dtype=options.pop("dtype", "float32"))
            unknown = set(options) - {"bits", "repetitions", "projection", "seed"}
            if unknown:
                raise RetrieveError(
                    f"fde has no option {min(unknown)!r}",
                    reason="invalid_parameter",
                    hint="there are bits, repetitions, projection, seed and dtype",
                )

    def __repr__(self) -> str:
        return (
            f"MultiVectorIndex({len(self)} documents, vectors of {self.dimension} dimensions, {self.metric!r}, "
            f"{self.dtype!r})"
        )

    @property
    def dimension(self) -> int:
        """The number of dimensions; 0 before the first document was added."""
        return self._dimension

    @property
    def nbytes(self) -> int:
        """How many bytes the stored documents take, padding included, ids and encodings not."""
        return sum(shard.docs.nbytes for shard in self._ready().shards)

    # Documents -------------------------------------------------------------------------------------------------------

    def add(self, items: Any, ids: Iterable[str] | Iterable[int] | None = None, *, update: bool = False) -> None:
        """Add documents; either all are added, or, after an error, none.

        Args:
          items: as for ``build``.
          ids: as for ``build``; None goes on counting.
          update: whether documents that have these ids already are deleted; the new ones count as added last.

        Raises:
          RetrieveError: the dimension differs, an id is there already, or see ``build``.
        """
        matrices = self._matrices(items, "items")
        with self._lock:
            widths = {matrix.shape[1] for matrix in matrices} | ({self._dimension} - {0})
            if len(widths) > 1:
                raise _dimensions(max(widths - {self._dimension}), self._dimension or min(widths))
            if widths == {0}:
                raise RetrieveError("vectors have no dimension", reason="dimension_mismatch")
            waits = CODECS[self.dtype].learns and self._code is None
            coded = [Coded(m, None) for m in matrices] if waits else encode_all(matrices, self.dtype, self._code)
            codes = self._encode(matrices, *widths) if self._coarse is not None and matrices else None
            before = self._documents.next_id
            names: Any = list(ids) if ids is not None else list(range(before, before + len(matrices)))
            if codes is not None and self._coarse is not None:
                self._coarse.add(codes, names, update=update)  # refuses the same ids
                self._coarse_at = None
            self._documents.add(len(matrices), names, update)
            self._dimension = widths.pop() if widths else 0
            self._pending += coded
            self._alive = np.append(self._alive, np.ones(len(coded), bool))
            self._snapshot = None

    def delete(self, ids: Iterable[str] | Iterable[int]) -> None:
        """Delete documents; searches then find what they would if those had never been added.

        Args:
          ids: their ids.

        Raises:
          RetrieveError: an id is not there; nothing is deleted then.
        """
        with self._lock:
            names: Any = ids if isinstance(ids, (str, bytes, np.ndarray)) else list(ids)
            self._documents.delete(names)
            if self._coarse is not None:
                self._coarse.delete(names)
                self._coarse_at = None
            self._snapshot = None

    def vectors(self, ids: Iterable[str] | Iterable[int]) -> list[np.ndarray]:
        """Return the token vectors of documents as they are stored, for ``jrank.maxsim.align`` and the like.

        Args:
          ids: their ids.

        Returns:
          float32 ``[t, d]`` for each id.

        Raises:
          RetrieveError: an id is not there.
        """
        snapshot = self._ready()
        found = []
        for name in ids:
            if name not in snapshot.row_of:
                raise RetrieveError(f"there is no document {name!r}", reason="unknown_id", hint="see .ids")
            stored = snapshot.coded(snapshot.row_of[name])
            found.append(CODECS[self.dtype].decode(stored, snapshot.dimension, snapshot.code))
        return found

    def _matrices(self, items: Any, name: str) -> list[np.ndarray]:
        if isinstance(items, (str, bytes, Mapping)):
            raise TypeError(f"{name} must be arrays, one for each, got a {type(items).__name__}")
        unit, most = self.metric == "cosine", LARGEST.get(self.dtype, 1e16)
        return [check_vectors(item, f"{name}[{place}]", unit=unit, most=most) for place, item in enumerate(items)]

    def _encode(self, matrices: list[np.ndarray], dimension: int) -> np.ndarray:
        from jrank.maxsim import fde, pack

        # Another dimension than before: documents that were to be the first were refused.
        if self._encoder is None or self._encoder.planes.shape[-1] != dimension:
            options = {key: value for key, value in (self.fde or {}).items() if key != "dtype"}
            try:
                self._encoder = fde(dimension, **options)
            except RerankError as error:
                raise RetrieveError(f"fde: {error}", reason="invalid_parameter") from None
        # At least once: without a document there is an encoder all the same.
        parts = [matrices[low : low + ENCODED] for low in range(0, max(len(matrices), 1), ENCODED)]
        return np.concatenate([np.asarray(self._encoder.packed(pack(part))) for part in parts])

    # Search ----------------------------------------------------------------------------------------------------------

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        filter: Any = None,
        on_empty: str = "row",
        candidates: Any = None,
        weights: Sequence[Any] | None = None,
    ) -> Hits:
        """Return the best documents of each query.

        Args:
          queries: one array of finite numbers for each query, ``[q, d]``; one such array alone is one query.
          k: how many documents at most; more than there are is allowed.
          filter: which documents may be found: None for all, the ids of some, or a function from an id to a bool. The
            result is exact: the best of those that may be found.
          on_empty: "row" gives a query without a token an empty row, "raise" raises.
          candidates: None scores every document. A number takes as many from the fixed-dimensional encodings. Hits of
            another index, or one list of ids for each query, say which documents are scored; ids that are not here are
            passed over.
          weights: a weight for each token of each query, ``[q]`` arrays; None is 1 for all.

        Returns:
          Hits of shape ``[queries, k]``, best first; short rows are padded with None and -inf.

        Raises:
          RetrieveError: the dimension differs, a number is not finite, ``k`` is less than 1, candidates are asked for
            that there are no encodings for, or, with ``on_empty="raise"``, the index or a query is empty.
        """
        k = check_k(k)
        snapshot = self._ready()
        strict = check_on_empty(on_empty, len(snapshot.ids) - 1)
        single = isinstance(queries, np.ndarray) or hasattr(queries, "ndim")
        queries = self._matrices([queries] if single and queries.ndim == 2 else queries, "queries")
        for place, query in enumerate(queries):
            if self._dimension and query.shape[1] != self._dimension:
                raise _dimensions(query.shape[1], self._dimension)
            if strict and not len(query):
                raise RetrieveError(f"query {place} has no token", reason="empty_query")
        weights = check_weights(weights, queries)
        allowed = np.zeros(int(snapshot.offsets[-1]), bool)
        chosen = allowed_documents(filter, snapshot.ids)
        allowed[snapshot.rows if chosen is None else snapshot.rows[chosen]] = True
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        if allowed.size and len(queries):
            few = chosen is not None and FEW * np.count_nonzero(allowed) < len(snapshot.rows)
            if candidates is None and few:
                listed = [np.flatnonzero(allowed)] * len(queries)
                scores, rows = rerank(snapshot, queries, weights, listed, k, mesh=self.mesh)
            elif candidates is None:
                for block, best, found in scan(snapshot, queries, weights, allowed, k, mesh=self.mesh):
                    scores[block], rows[block] = best, found
            else:
                listed = [some[allowed[some]] for some in self._candidates(snapshot, queries, candidates, filter)]
                scores, rows = rerank(snapshot, queries, weights, listed, k, mesh=self.mesh)
        places = np.searchsorted(snapshot.rows, rows)
        return Hits(snapshot.ids[np.where(scores > -np.inf, places, -1)], scores)

    def _candidates(
        self, snapshot: Snapshot, queries: list[np.ndarray], candidates: Any, filter: Any
    ) -> list[np.ndarray]:
        """Return the rows of the documents to be scored for each query."""
        if isinstance(candidates, (int, np.integer)):
            count = check_k(candidates, "candidates")
            if self._coarse is None:
                raise RetrieveError(
                    "the index keeps no fixed-dimensional encodings",
                    reason="invalid_parameter",
                    hint="build it with fde=True, or pass the hits of another index as candidates",
                )
            arrays = padded(queries, None, list(range(len(queries))), self._dimension)
            codes = np.asarray(self._encoder.queries(arrays[0], arrays[1]))[: len(queries)]
            candidates = self._coarse.search(codes, count, filter=filter)
        lists = candidates.ids.tolist() if isinstance(candidates, Hits) else list(candidates)
        if len(lists) != len(queries):
            raise RetrieveError(
                f"there are candidates for {len(lists)} queries, expected {len(queries)}", reason="invalid_parameter"
            )
        known = snapshot.row_of
        for place, names in enumerate(lists):
            ids = isinstance(names, Iterable) and not isinstance(names, (str, bytes))
            lists[place] = list(names) if ids else []
            if not ids or not all(isinstance(name, Hashable) for name in lists[place]):
                raise TypeError(f"candidates[{place}] must be a list of ids, got {names!r:.80}")
        return [np.array([known[name] for name in names if name in known], np.int64) for names in lists]

    # The inside ------------------------------------------------------------------------------------------------------

    def _ready(self) -> Snapshot:
        snapshot = self._snapshot
        if snapshot is not None:
            return snapshot
        with self._lock:
            if self._snapshot is None:
                require("jax", "")
                keep = self._documents.compact()
                if keep is not None:
                    self._alive[np.flatnonzero(self._alive)[~keep]] = False
                self._learn()
                laid_out = lay_out(
                    self._shards,
                    self._pending,
                    self._alive,
                    self.dtype,
                    self._dimension,
                    self._code,
                    is_open=self._open,
                )
                self._shards, self._alive, self._open = laid_out
                self._pending = []
                self._snapshot = self._view()
            return self._snapshot

    def _learn(self) -> None:
        """Learn what the dtype has to learn, from all pending documents, and code these."""
        if not CODECS[self.dtype].learns or self._code is not None or not self._pending:
            return
        matrices = [document.tokens for document in self._pending]
        code = learn(matrices)
        self._pending = encode_all(matrices, self.dtype, code)
        if any(map(len, matrices)):  # what was learnt from nothing is good for nothing but empty documents
            self._code = code

    def _view(self) -> Snapshot:
        from jrank.retrieval._multi_vector_kernels import place

        before = {id(shard): placed for shard, placed in self._placed}
        self._placed = [
            (shard, before[id(shard)] if id(shard) in before else place(shard.docs, self.mesh))
            for shard in self._shards
        ]
        counts = [shard.count for shard in self._shards]
        return Snapshot(
            tuple(self._shards),
            tuple(placed for _, placed in self._placed),
            np.cumsum([0, *counts]),
            np.flatnonzero(self._alive),
            self._documents.lookup(),
            self.dtype,
            self._dimension,
            self._code,
        )

    # Files -----------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the index into a directory.

        What is there already is not written again. If the writing is interrupted, the index that stood there before
        is whole.

        Args:
          path: the directory; an index of this kind that stands there is replaced.

        Raises:
          DataError: the directory cannot be written, or holds something other than an index of this kind.
        """
        with self._lock:
            self._ready()
            parameters = {
                "metric": self.metric,
                "dtype": self.dtype,
                "fde": self.fde,
                "dimension": self._dimension,
                "open": self._open,
                "next_id": self._documents.next_id,
            }
            table = {"alive": self._alive, **strings_to_arrays("ids", self._documents.alive())}
            written, self._coarse_at = write_shards(
                path, self.kind, parameters, table, self._shards, self._coarse, self._code, self._coarse_at
            )
            # The same documents on the device, under the shards that know where they lie.
            self._placed = [(new, placed) for new, (_, placed) in zip(written, self._placed, strict=True)]
            self._shards = written
            self._snapshot = self._view()

    @classmethod
    def load(cls, path: str | os.PathLike, *, mesh: Any = None, mmap: bool = True) -> "MultiVectorIndex":
        """Read an index that ``save`` wrote.

        Args:
          path: the directory.
          mesh: as for the class.
          mmap: whether documents are mapped into memory: on a CPU they are read where they are used.

        Returns:
          The index; it finds what the saved one found, bit for bit.

        Raises:
          RetrieveError: there is no index, or it is damaged or of another kind. Nothing is unpickled.
        """
        parameters, table, shards, coarse, code = read_shards(path, cls.kind, mmap=mmap)
        try:
            index = cls(metric=parameters["metric"], dtype=parameters["dtype"], fde=parameters["fde"], mesh=mesh)
            dimension, next_id, alive = int(parameters["dimension"]), int(parameters["next_id"]), table["alive"]
            index._open = bool(parameters["open"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, f"{error}") from None
        if alive.dtype != bool or alive.shape != (sum(shard.count for shard in shards),):
            raise damaged(path, "its table does not fit its shards")
        for shard in shards:
            check_shard(path, shard, index.dtype, dimension, code)
        ids = strings_from_arrays("ids", table, int(alive.sum()))
        if len(set(ids)) != len(ids):
            raise damaged(path, "an id comes twice")
        index._documents, index._dimension = Documents(ids, next_id), dimension
        if CODECS[index.dtype].learns and dimension:
            known = code or learn([np.zeros((0, dimension), np.float32)])  # without a token there was nothing to learn
            shards = [dataclasses.replace(shard, docs=with_code(shard.docs, known)) for shard in shards]
        index._code, index._shards, index._alive = code, shards, np.array(alive)
        if (coarse is None) != (index._coarse is None):
            raise damaged(path, "its encodings are missing")
        if coarse is not None:
            index._coarse, index._coarse_at = DenseIndex.load(coarse), (coarse.parent.resolve(), coarse.name)
            if index._coarse.ids != ids:
                raise damaged(path, "its encodings are of other documents")
            if dimension:
                index._encode([np.zeros((0, dimension), np.float32)], dimension)
        return index


def _dimensions(got: int, wanted: int) -> RetrieveError:
    return RetrieveError(
        f"vectors of {got} dimensions, the index holds vectors of {wanted}", reason="dimension_mismatch"
    )
