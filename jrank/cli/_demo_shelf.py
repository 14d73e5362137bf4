"""The first stages of the demo: indexes, embeddings, fusion, and MaxSim over the fused candidates."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np

from jrank import fusion, maxsim
from jrank.cli._demo_plan import Plan
from jrank.data import Collection
from jrank.files import progress as bar
from jrank.models import TextEncoder
from jrank.retrieval import BM25Index, DenseIndex
from jrank.runs import Run

DEPTH = 100


class Clock:
    """Seconds of each named piece of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, name: str, share: float = 1.0) -> Iterator[None]:
        """Add a share of the time of the block to a name."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + share * (time.perf_counter() - start)


@dataclasses.dataclass
class Shelf:
    """What the first stages know about all queries and documents, in the order of the collection.

    Attributes:
      collection: documents, queries, grades and splits.
      encoder: the encoder of texts.
      runs: "bm25", "dense" and "rrf", over all queries.
      bm25: scores of every query with every document.
      vectors: one vector for each document.
      query_vectors: one for each query.
      tokens: the token vectors of each document, normalised, without the special tokens.
      query_tokens: those of each query.
    """

    collection: Collection
    encoder: TextEncoder
    runs: dict[str, Run]
    bm25: np.ndarray
    vectors: np.ndarray
    query_vectors: np.ndarray
    tokens: list[np.ndarray]
    query_tokens: list[np.ndarray]

    def __post_init__(self) -> None:
        self.place = {doc: i for i, doc in enumerate(self.collection.doc_ids)}
        self.query_place = {query: i for i, query in enumerate(self.collection.query_ids)}
        self.text = dict(zip(self.collection.doc_ids, self.collection.documents, strict=True))
        self.words = dict(zip(self.collection.query_ids, self.collection.queries, strict=True))

    def fused(self, query: str) -> list[str]:
        """Return the documents that the first stage found for a query, best first."""
        return list(self.runs["rrf"][query])


def retrieve(collection: Collection, weights: Path, plan: Plan, clock: Clock, *, progress: bool) -> Shelf:
    """Build the two indexes, search all queries in both, and fuse.

    All queries are searched at once; the clock counts the share of the test queries.

    Args:
      collection: what to search.
      weights: a Hugging Face directory.
      plan: the sizes.
      clock: takes the times.
      progress: whether bars are shown.
    """
    queries, query_ids = list(collection.queries), list(collection.query_ids)
    share = len(collection.splits["test"]) / len(queries)
    lexical = BM25Index.build(collection.documents, ids=collection.doc_ids)
    with clock.measure("bm25", share):
        found = lexical.search(queries, k=DEPTH)
    runs = {"bm25": found.to_run(query_ids)}

    encoder = TextEncoder.from_pretrained(weights)

    def embed(texts: Sequence[str], show: bool) -> tuple[np.ndarray, list[np.ndarray]]:
        return encoder.encode(texts, max_length=plan.max_tokens, tokens=True, special_tokens=False, progress=show)

    vectors, tokens = embed(collection.documents, progress)
    # The training queries come first: they compile the shapes, so that the test queries measure encoding alone.
    test = set(collection.splits["test"])
    groups = [[i for i, query in enumerate(query_ids) if (query in test) == last] for last in (False, True)]
    query_vectors = np.zeros((len(queries), vectors.shape[1]), np.float32)
    query_tokens: list[np.ndarray] = [np.zeros((0, vectors.shape[1]), np.float32)] * len(queries)
    for name, group in zip(("encode the other queries", "dense"), groups, strict=True):
        with clock.measure(name):
            query_vectors[group], matrices = embed([queries[i] for i in group], False)
        for i, matrix in zip(group, matrices, strict=True):
            query_tokens[i] = matrix
    semantic = DenseIndex.build(vectors, ids=collection.doc_ids)
    semantic.search(query_vectors, k=DEPTH)
    with clock.measure("dense", share):
        found = semantic.search(query_vectors, k=DEPTH)
    runs["dense"] = found.to_run(query_ids)

    with clock.measure("fuse", share):
        runs["rrf"] = fusion.fuse([runs["bm25"], runs["dense"]], method="rrf")
    return Shelf(collection, encoder, runs, lexical.scores(queries), vectors, query_vectors, tokens, query_tokens)


def late_interaction(shelf: Shelf, plan: Plan, clock: Clock, *, progress: bool) -> dict[str, dict[str, float]]:
    """Score the best fused candidates of every query by MaxSim over token embeddings.

    Args:
      shelf: what the first stages know.
      plan: how many candidates.
      clock: takes the time of the test queries.
      progress: whether a bar is shown.

    Returns:
      MaxSim divided by the number of query tokens, by query and document.
    """
    test = set(shelf.collection.splits["test"])
    # One padded length for all queries: one compilation.
    width = max(len(tokens) for tokens in shelf.query_tokens)
    scores: dict[str, dict[str, float]] = {}
    score_packed = jax.jit(maxsim.score_packed)

    def score(query: str, docs: Sequence[str]) -> np.ndarray:
        tokens = shelf.query_tokens[shelf.query_place[query]]
        padded = np.zeros((width, tokens.shape[1]), np.float32)
        padded[: len(tokens)] = tokens
        packed = maxsim.pack([shelf.tokens[shelf.place[doc]] for doc in docs])
        values = score_packed(padded, packed, query_where=np.arange(width) < len(tokens))
        return np.asarray(values) / max(len(tokens), 1)

    # The training queries come first, so that the few shapes of packed documents are compiled before the test queries.
    order = sorted(shelf.collection.query_ids, key=test.__contains__)
    for query in bar(order, description="MaxSim", enabled=progress):
        docs = shelf.fused(query)[: plan.candidates]
        with clock.measure("maxsim" if query in test else "maxsim of the other queries"):
            scores[query] = dict(zip(docs, score(query, docs).tolist(), strict=True))
    return scores


def reranked(shelf: Shelf, scores: dict[str, dict[str, float]], queries: Sequence[str]) -> Run:
    """Put the scored documents of each query on top of its first stage, in the order of their scores.

    Args:
      shelf: what the first stages know.
      scores: by query and document.
      queries: which queries.
    """
    out = {}
    for query in queries:
        low = min(scores[query].values(), default=0.0)
        rest = [doc for doc in shelf.fused(query) if doc not in scores[query]]
        out[query] = scores[query] | {doc: low - 1.0 - place for place, doc in enumerate(rest)}
    return Run(out)


def only(run: Run, queries: Sequence[str]) -> Run:
    """Return the part of a run that is about some queries.

    Args:
      run: the run.
      queries: which queries.
    """
    return Run({query: run[query] for query in queries})
