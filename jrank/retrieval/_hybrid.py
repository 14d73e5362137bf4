"""Several indexes searched at once, and their results fused."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jrank import fusion
from jrank.errors import RetrieveError
from jrank.retrieval._documents import check_k
from jrank.retrieval._routing import ALL, QueryRouter
from jrank.runs import Hits, Run

__all__ = ["HybridIndex", "hybrid"]


class HybridIndex:
    """Several indexes of one collection, searched with the same queries, their results fused.

    It searches like any other index, so it can stand where one is expected. Documents are added to the indexes it was
    made of.

    Args:
      indexes: name to index. All use the same ids.
      encoders: name to a function from the list of queries to what that index takes, such as an encoder's vectors; an
        index without one gets the queries as they are.
      method: how results are fused; see ``jrank.fusion.fuse``.
      depth: how many documents each index contributes.
      options: options of the fusion, such as ``{"weights": [0.3, 0.7]}`` in the order of ``indexes``.
      router: chooses for each query the index that is asked, or all of them; None asks all.

    Raises:
      RetrieveError: there is no index, or an encoder or the router names one that is not there.

    >>> from jrank.retrieval import BM25Index, DenseIndex
    >>> words = BM25Index.build(["red fox", "brown dog", "a red red dog"], ids=["a", "b", "c"])
    >>> vectors = DenseIndex.build(np.eye(3), ids=["a", "b", "c"])
    >>> encoders = {"vectors": lambda texts: np.array([[3, 2, 1]])}
    >>> both = HybridIndex({"words": words, "vectors": vectors}, encoders=encoders)
    >>> both.search(["red"], k=3).ids.tolist()
    [['a', 'c', 'b']]
    """

    def __init__(
        self,
        indexes: Mapping[str, Any],
        *,
        encoders: Mapping[str, Callable[[list[Any]], Any]] | None = None,
        method: str = "rrf",
        depth: int = 100,
        options: Mapping[str, Any] | None = None,
        router: QueryRouter | None = None,
    ):
        self.indexes = dict(indexes)
        self.encoders = dict(encoders or {})
        self.method, self.options, self.router = method, dict(options or {}), router
        self.depth = check_k(depth, "depth")
        if not self.indexes:
            raise RetrieveError("there is no index to search", reason="invalid_parameter", hint="name at least one")
        for name, index in self.indexes.items():
            if not callable(getattr(index, "search", None)):
                raise TypeError(f"indexes[{name!r}] must be an index with a search method, got {type(index).__name__}")
        named = [*self.encoders, *(name for name in (router.names if router else ()) if name != ALL)]
        unknown = [name for name in named if name not in self.indexes]
        if unknown:
            raise RetrieveError(
                f"there is no index {unknown[0]!r}",
                reason="invalid_parameter",
                hint=f"there are {', '.join(self.indexes)}",
            )

    def __repr__(self) -> str:
        return f"HybridIndex({', '.join(self.indexes)}; {self.method})"

    def search_each(self, queries: Sequence[Any], k: int | None = None, *, filter: Any = None) -> dict[str, Hits]:
        """Return what every index finds, before fusion.

        Args:
          queries: the queries.
          k: how many documents of each; None is ``depth``.
          filter: as for the indexes.
        """
        queries, k = list(queries), self.depth if k is None else check_k(k)
        found = {}
        for name, index in self.indexes.items():
            encode = self.encoders.get(name)
            hits = index.search(queries if encode is None else encode(queries), k, filter=filter)
            if len(hits) != len(queries):
                raise RetrieveError(
                    f"the index {name!r} got {len(hits)} queries, expected {len(queries)}",
                    reason="invalid_parameter",
                    hint="its encoder must return one query for each",
                )
            found[name] = hits
        return found

    def search(self, queries: Any, k: int = 10, *, filter: Any = None) -> Hits:
        """Return the best documents of each query.

        Args:
          queries: a list of queries; a single string is one.
          k: how many documents at most.
          filter: as for the indexes; all of them use it.

        Returns:
          Hits of shape ``[queries, k]``, best first; of equal scores by id, as in every run. Short rows are padded.

        Raises:
          RetrieveError: see the indexes.
          FusionError: the method or an option of it is wrong.
        """
        k = check_k(k)
        queries = [queries] if isinstance(queries, str) else list(queries)
        found = self.search_each(queries, max(k, self.depth), filter=filter)
        chosen = [ALL] * len(queries) if self.router is None else self.router.choose(queries)
        ids = np.full((len(queries), k), None, object)
        scores = np.full((len(queries), k), -np.inf)
        fused = self._fuse(found, [row for row, name in enumerate(chosen) if name == ALL])
        for row, name in enumerate(chosen):
            best = list(fused.get(row, {}).items()) if name == ALL else _pairs(found[name], row)
            for column, (document, score) in enumerate(best[:k]):
                ids[row, column], scores[row, column] = document, score
        return Hits(ids, scores)

    def _fuse(self, found: dict[str, Hits], rows: list[int]) -> dict[int, dict[Any, float]]:
        # Runs know strings only; integers become strings and back.
        names: dict[str, Any] = {}
        runs = []
        for hits in found.values():
            run = {}
            for row in rows:
                pairs = _pairs(hits, row)
                names.update((str(document), document) for document, _ in pairs)
                if pairs:
                    run[str(row)] = {str(document): score for document, score in pairs}
            runs.append(Run(run))
        if not names:
            return {}
        fused = fusion.fuse(runs, method=self.method, **self.options)
        return {int(row): {names[document]: score for document, score in fused[row].items()} for row in fused.to_dict()}


def _pairs(hits: Hits, row: int) -> list[tuple[Any, float]]:
    pairs = zip(hits.ids[row].tolist(), hits.scores[row].tolist(), strict=True)
    return [(document, score) for document, score in pairs if document is not None]


def hybrid(
    indexes: Mapping[str, Any],
    queries: Any,
    k: int = 10,
    *,
    encoders: Mapping[str, Callable[[list[Any]], Any]] | None = None,
    method: str = "rrf",
    depth: int = 100,
    options: Mapping[str, Any] | None = None,
    filter: Any = None,
) -> Hits:
    """Search several indexes once and fuse what they find: ``HybridIndex(...).search(...)``.

    Args:
      indexes: name to index.
      queries: a list of queries.
      k: how many documents at most.
      encoders: name to a function from the queries to what that index takes.
      method: how results are fused.
      depth: how many documents each index contributes.
      options: options of the fusion.
      filter: as for the indexes.

    Returns:
      Hits of shape ``[queries, k]``.

    >>> from jrank.retrieval import BM25Index, TfidfIndex
    >>> texts = ["red fox", "red red dog"]
    >>> hybrid({"bm25": BM25Index.build(texts), "tfidf": TfidfIndex.build(texts)}, ["fox"], k=1).ids.tolist()
    [[0]]
    """
    made = HybridIndex(indexes, encoders=encoders, method=method, depth=depth, options=options)
    return made.search(queries, k, filter=filter)
