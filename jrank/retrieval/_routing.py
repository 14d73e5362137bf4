"""Which index a query is asked of: a rule of thumb, or what was learned from how well each index did."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jrank.errors import RetrieveError
from jrank.retrieval._documents import check_number
from jrank.retrieval._lexical import LexicalIndex
from jrank.text import Analyzer

__all__ = ["ALL", "FEATURES", "QueryRouter", "query_features"]

ALL = "all"
FEATURES = ("terms", "unique share", "mean length", "known share", "mean idf", "largest idf")


def query_features(queries: Sequence[str], index: LexicalIndex | None = None) -> np.ndarray:
    """Return numbers that tell keyword queries from questions.

    Args:
      queries: texts.
      index: a lexical index; without one the last three features are 0, and English is assumed.

    Returns:
      float64, ``[queries, 6]``: number of terms; share of distinct ones; mean length in characters; share of terms that
      the index knows; mean and largest idf of those. All 0 for a query without terms.

    >>> query_features(["red red fox"]).round(2).tolist()
    [[3.0, 0.67, 3.0, 0.0, 0.0, 0.0]]
    """
    analyze = Analyzer() if index is None else index.analyzer
    idf = {} if index is None else _idf(index)
    rows = np.zeros((len(queries), len(FEATURES)))
    for row, query in zip(rows, queries, strict=True):
        terms = list(analyze(query))
        if not terms:
            continue
        known = [idf[term] for term in terms if term in idf]
        row[:3] = len(terms), len(set(terms)) / len(terms), np.mean([len(term) for term in terms])
        if known:
            row[3:] = len(known) / len(terms), np.mean(known), max(known)
    return rows


def _idf(index: LexicalIndex) -> dict[str, float]:
    snapshot = index._ready()
    df, n = snapshot.postings.document_frequency, snapshot.postings.num_documents
    values = np.log1p((n - df + 0.5) / (df + 0.5))
    return {term: float(v) for term, v, c in zip(index.vocabulary, values, df, strict=False) if c}


class QueryRouter:
    """Chooses for each query the index to ask, or all of them.

    Untrained it follows a rule of thumb: many different long terms make a question, which goes to ``semantic``; few
    short ones repeated make keywords, which go to ``keyword``; others go to all. Trained, it predicts from
    ``query_features`` how well each choice would do, by ridge regression, and takes the best.

    Args:
      keyword: the name of the index for keywords.
      semantic: the name of the index for questions.
      index: the lexical index that knows how rare terms are; None does without.

    >>> router = QueryRouter("words", "vectors")
    >>> router.choose(["go go ok go go", "differentiable sorting operators gradients", "red fox"])
    ['words', 'vectors', 'all']
    """

    def __init__(self, keyword: str, semantic: str, *, index: LexicalIndex | None = None):
        self.keyword, self.semantic, self.index = keyword, semantic, index
        self.names: tuple[str, ...] = (keyword, semantic, ALL)
        self._model: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def fit(self, queries: Sequence[str], utilities: Mapping[str, Any], *, ridge: float | int = 1.0) -> "QueryRouter":
        """Learn from how well each choice did.

        Args:
          queries: texts.
          utilities: name of an index, or "all", to one number per query, such as its NDCG; larger is better.
          ridge: how strongly the regression is held back, in units of one query.

        Returns:
          The router itself.

        Raises:
          RetrieveError: there are no queries or choices, or the numbers do not fit.
        """
        values = {name: np.asarray(value, np.float64) for name, value in utilities.items()}
        count = len(queries)
        bad = [name for name, value in values.items() if value.shape != (count,) or not np.isfinite(value).all()]
        if not count or not values or bad:
            what = f"utilities of {bad[0]!r} are" if bad else "there are"
            raise RetrieveError(
                f"{what} no {count} finite numbers, one per query",
                reason="invalid_parameter",
                hint="evaluate each choice",
            )
        ridge = check_number("ridge", ridge, least=1e-9)
        x = query_features(queries, self.index)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 0, scale, 1)
        z = np.hstack([(x - mean) / scale, np.ones((count, 1))])
        # The mean utility itself is not held back.
        penalty = np.diag([ridge] * len(FEATURES) + [1e-9])
        target = np.stack(list(values.values()), axis=1)
        self._model = mean, scale, np.linalg.solve(z.T @ z + penalty, z.T @ target)
        self.names = tuple(values)
        return self

    def predict(self, queries: Sequence[str]) -> np.ndarray:
        """Return how well each choice is expected to do.

        Args:
          queries: texts.

        Returns:
          float64, ``[queries, choices]``, in the order of ``names``.

        Raises:
          RetrieveError: the router was not trained.
        """
        if self._model is None:
            raise RetrieveError("the router was not trained", reason="invalid_parameter", hint="call fit first")
        mean, scale, weights = self._model
        z = (query_features(queries, self.index) - mean) / scale
        return np.hstack([z, np.ones((len(z), 1))]) @ weights

    def choose(self, queries: Sequence[str]) -> list[str]:
        """Return the name of the index to ask, or "all", for each query.

        Args:
          queries: texts.
        """
        if self._model is not None:
            return [self.names[i] for i in self.predict(queries).argmax(axis=1)] if len(queries) else []
        chosen = []
        for _, unique, length, *_ in query_features(queries, self.index):
            if unique > 0.8 and length > 5:
                chosen.append(self.semantic)
            else:
                chosen.append(self.keyword if unique < 0.5 and 0 < length < 4 else ALL)
        return chosen
