"""Pseudo-relevance feedback: the words of the best documents join the query."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from jrank.retrieval._documents import check_choice, check_k, check_number
from jrank.retrieval._inverted import Snapshot
from jrank.retrieval._lexical import LexicalIndex

__all__ = ["expand_queries"]

# For the feedback documents of one query: counts [documents, terms], the weights of the documents, the snapshot. Each
# returns how good every term is.
Method = Callable[[sparse.csr_array, np.ndarray, Snapshot], np.ndarray]


def _relevance_model(counts: sparse.csr_array, weights: np.ndarray, snapshot: Snapshot) -> np.ndarray:
    lengths = np.asarray(counts.sum(axis=1), np.float64)
    return counts.T @ (weights / np.where(lengths > 0, lengths, 1))


def _idf(snapshot: Snapshot) -> np.ndarray:
    df = snapshot.postings.document_frequency
    return np.log1p((snapshot.postings.num_documents - df + 0.5) / (df + 0.5))


def _rocchio(counts: sparse.csr_array, weights: np.ndarray, snapshot: Snapshot) -> np.ndarray:
    vectors = counts.astype(np.float64)
    vectors.data = (1 + np.log(vectors.data)) * _idf(snapshot)[vectors.indices]
    norms = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)))
    return vectors.T @ (1 / np.where(norms > 0, norms, 1))


def _term_frequency(counts: sparse.csr_array, weights: np.ndarray, snapshot: Snapshot) -> np.ndarray:
    return np.asarray(counts.sum(axis=0), np.float64)


def _idf_weighted(counts: sparse.csr_array, weights: np.ndarray, snapshot: Snapshot) -> np.ndarray:
    return _term_frequency(counts, weights, snapshot) * _idf(snapshot)


def _robertson(counts: sparse.csr_array, weights: np.ndarray, snapshot: Snapshot) -> np.ndarray:
    n, df = snapshot.postings.num_documents, snapshot.postings.document_frequency
    r, size = np.bincount(counts.indices, minlength=len(df)), len(counts.indptr) - 1
    # Relevance weight with the halves that keep it finite, times how many feedback documents hold the term.
    odds = (r + 0.5) * (n - df - size + r + 0.5) / ((df - r + 0.5) * (size - r + 0.5))
    return r * np.maximum(np.log(np.maximum(odds, 1e-9)), 0)


METHODS: dict[str, Method] = {
    "rm3": _relevance_model,
    "rocchio": _rocchio,
    "idf": _idf_weighted,
    "tf": _term_frequency,
    "robertson": _robertson,
}


def expand_queries(
    index: LexicalIndex,
    queries: Any,
    *,
    method: str = "rm3",
    depth: int = 10,
    terms: int = 10,
    weight: float | int = 0.5,
) -> list[dict[str, float]]:
    r"""Add the words of the best documents to queries.

    .. math:: q'(t) = (1 - \mathrm{weight})\,q(t) + \mathrm{weight}\,f(t)

    q is the query, f the feedback, each brought to sum 1. The result is searched like any other query, and it can be
    read: it is a mapping from terms to weights.

    Args:
      index: a lexical index.
      queries: as for its ``search``.
      method: how good a word of the feedback documents is. "rm3": its share in each document, weighted by the
        document's score (the relevance model); "rocchio": the sum of the documents' tf-idf vectors of length 1; "idf":
        its count times its idf; "tf": its count; "robertson": Robertson's selection value.
      depth: how many of the best documents give feedback.
      terms: how many words the feedback has at most, those of the query among them.
      weight: the share of the feedback in the result, from 0 to 1.

    Returns:
      One mapping per query. A query that finds nothing, or whose feedback is worth nothing, stays as it is.

    Raises:
      RetrieveError: a parameter is not one of these.

    Cost: two searches, and, the first time after a change, a copy of the counts by document.

    References: Rocchio (1971); Robertson (1990); Lavrenko and Croft (2001); Abdul-Jaleel et al. (2004).

    >>> from jrank.retrieval import BM25Index
    >>> index = BM25Index.build(["jax arrays compile", "jax compiles functions", "red fox"])
    >>> expand_queries(index, ["jax"], terms=2)
    [{'jax': 0.75, 'compil': 0.25}]
    """
    if not isinstance(index, LexicalIndex):
        raise TypeError(f"index must be a lexical index, such as BM25Index, got {type(index).__name__}")
    check_choice("method", method, METHODS)
    depth, terms = check_k(depth, "depth"), check_k(terms, "terms")
    share = check_number("weight", weight, most=1)
    snapshot, rows = index._prepare(queries, "row")
    hits, places = index._best(snapshot, rows, depth, None)
    counts, names = index._counts(snapshot), index.vocabulary
    expanded = []
    for row, (scores, found) in enumerate(zip(hits, places, strict=True)):
        part = slice(rows.indptr[row], rows.indptr[row + 1])
        own: dict[int, float] = {}
        for term, amount in zip(rows.indices[part].tolist(), rows.data[part].tolist(), strict=True):
            own[term] = own.get(term, 0.0) + amount
        added = _feedback(METHODS[method], counts, snapshot, scores, found[found >= 0], terms)
        expanded.append({names[term]: value for term, value in _mixed(own, added, share if added else 0.0).items()})
    return expanded


def _feedback(
    method: Method,
    counts: sparse.csr_array,
    snapshot: Snapshot,
    scores: np.ndarray,
    chosen: np.ndarray,
    terms: int,
) -> dict[int, float]:
    """Return the best terms of the chosen documents with their values, which sum to 1."""
    if not len(chosen):
        return {}
    best = scores[: len(chosen)].astype(np.float64)
    # Sums of logarithms become probabilities; other scores are weights as they are.
    weights = np.exp(best - best[0]) if best[0] < 0 else best
    value = method(sparse.csr_array(counts[chosen]), weights / weights.sum(), snapshot)
    some = np.flatnonzero(value > 0)
    # Of equal terms the one that came into the index earlier.
    some = some[np.argsort(-value[some], kind="stable")][:terms]
    return dict(zip(some.tolist(), (value[some] / value[some].sum()).tolist(), strict=True))


def _mixed(own: dict[int, float], added: dict[int, float], share: float) -> dict[int, float]:
    """Return the terms of the query, then the new ones, largest weight first."""
    total = sum(map(abs, own.values())) or 1.0
    mixed = {term: (1 - share) * value / total for term, value in own.items()}
    for term, value in added.items():
        mixed[term] = mixed.get(term, 0.0) + share * value
    return {term: value for term, value in mixed.items() if value}
