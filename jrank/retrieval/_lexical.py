"""What all lexical indexes share: texts become terms, and the counts of terms are kept."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from jrank.errors import RetrieveError
from jrank.retrieval._inverted import InvertedIndex, Snapshot
from jrank.retrieval._postings import Postings, compressed, postings_from_rows
from jrank.retrieval._store import damaged, read_index, strings_from_arrays, strings_to_arrays
from jrank.text import Analyzer, TokenizerAnalyzer, encode_texts

__all__ = ["LexicalIndex", "posting_terms"]

Index = TypeVar("Index", bound="LexicalIndex")


class LexicalIndex(InvertedIndex):
    """An inverted index of texts; a child says what a term in a document is worth.

    Args:
      analyzer: what cuts texts into terms; None is ``jrank.text.Analyzer()``.
    """

    def __init__(self, analyzer: Callable[[str], Sequence[str]] | None = None):
        super().__init__()
        if analyzer is not None and not callable(analyzer):
            raise TypeError(f"analyzer must be a function from a string to its terms, got {type(analyzer).__name__}")
        self.analyzer = Analyzer() if analyzer is None else analyzer
        self._vocabulary: dict[str, int] = {}
        self._counted: tuple[Snapshot, sparse.csr_array] | None = None

    @classmethod
    def build(
        cls: type[Index],
        items: Iterable[str] | Iterable[Sequence[str]],
        ids: Iterable[str] | Iterable[int] | None = None,
        **params: Any,
    ) -> Index:
        """Index documents.

        Args:
          items: texts, or lists of terms, which are taken as they are; a generator is indexed as it comes.
          ids: one unique id per document, all strings or all integers; None counts from 0.
          **params: the arguments of the class.

        Returns:
          The index.

        Raises:
          RetrieveError: an id comes twice, there are more or fewer ids than documents, or a parameter is wrong.
          TypeError: an item is neither text nor a list of terms.

        Cost: linear in the text; a few times faster than the words can be read from disk one by one.
        """
        index = cls(**params)
        index.add(items, ids)
        return index

    @property
    def vocabulary(self) -> list[str]:
        """All terms, in the order of their numbers; those of deleted documents included."""
        return list(self._vocabulary)

    def _counts(self, snapshot: Snapshot) -> sparse.csr_array:
        """Return the counts by document, ``[documents, terms]``; kept until the documents change."""
        counted = self._counted
        if counted is None or counted[0] is not snapshot:
            postings = snapshot.postings
            shape = (postings.num_terms, postings.num_documents)
            by_term = compressed(postings.values, postings.documents, postings.starts, shape)
            counted = self._counted = snapshot, by_term.T.tocsr()
        return counted[1]

    def _scoring(self) -> dict[str, Any]:
        """Return the arguments of the class other than the analyzer."""
        raise NotImplementedError

    def _num_terms(self) -> int:
        return len(self._vocabulary)

    def _make_postings(self, items: list[Any]) -> Postings:
        terms, lengths = encode_texts(items, self.analyzer, self._vocabulary)
        return postings_from_rows(terms, lengths, len(self._vocabulary))

    def _make_rows(self, queries: Sequence[Any], num_terms: int) -> sparse.csr_array:
        if queries and isinstance(queries[0], Mapping):
            return self._weighted_rows(queries, num_terms)
        terms, lengths = encode_texts(queries, self.analyzer, self._vocabulary, grow=False)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        # Terms that came after the snapshot are in none of its documents.
        late = terms >= num_terms
        if late.any():
            terms, bounds = terms[~late], bounds - np.concatenate([[0], np.cumsum(late)])[bounds]
        return compressed(np.ones(len(terms), np.float32), terms, bounds, (len(lengths), num_terms))

    def _weighted_rows(self, queries: Sequence[Any], num_terms: int) -> sparse.csr_array:
        terms, weights, bounds = [], [], [0]
        for place, query in enumerate(queries):
            if not isinstance(query, Mapping):
                raise TypeError(f"queries must all be mappings, got {type(query).__name__} among them")
            for term, weight in query.items():
                if not isinstance(weight, (int, float, np.number)):
                    raise TypeError(f"query {place}: the weight of {term!r} must be a number, got {weight!r}")
                number = self._vocabulary.get(term, num_terms)
                if number < num_terms:
                    terms.append(number)
                    weights.append(weight)
            if not np.isfinite(np.asarray(weights[bounds[-1] :], np.float64)).all():
                raise RetrieveError(f"query {place} has a weight that is not finite", reason="invalid_parameter")
            bounds.append(len(terms))
        data = np.array(weights, np.float32), np.array(terms, np.int32), np.array(bounds)
        return compressed(*data, (len(queries), num_terms))

    def _parameters(self) -> dict[str, Any]:
        analyzer = self.analyzer.config() if isinstance(self.analyzer, Analyzer) else None
        return {"analyzer": analyzer, "scoring": self._scoring()}

    def _save_arrays(self) -> dict[str, np.ndarray]:
        arrays = strings_to_arrays("vocabulary", list(self._vocabulary))
        if isinstance(self.analyzer, TokenizerAnalyzer):
            arrays["tokenizer"] = np.frombuffer(self.analyzer.to_bytes(), np.uint8)
        return arrays

    @classmethod
    def load(
        cls: type[Index], path: str | os.PathLike, *, analyzer: Callable[[str], Sequence[str]] | None = None
    ) -> Index:
        """Read an index that ``save`` wrote; the postings stay on disk and are mapped into memory.

        Args:
          path: the directory.
          analyzer: for an index that was built with a function of one's own, which is not stored.

        Raises:
          RetrieveError: there is no index, or it is damaged or of another kind. Nothing is unpickled, and numbers that
            would point outside of the index are refused.
        """
        parameters, arrays = read_index(path, cls.kind)
        config = parameters.get("analyzer")
        if analyzer is None and config is None and "tokenizer" in arrays:
            try:
                analyzer = TokenizerAnalyzer(arrays["tokenizer"].tobytes())
            except RetrieveError as error:
                raise damaged(path, str(error)) from None
        if analyzer is None and not isinstance(config, dict):
            raise RetrieveError(
                "the index was built with an analyzer of one's own, which is not stored",
                reason="invalid_parameter",
                hint="pass it as analyzer=",
            )
        try:
            analyzer = Analyzer(**dict(config or {})) if analyzer is None else analyzer
            index = cls(analyzer=analyzer, **parameters["scoring"])
        except (TypeError, KeyError, RetrieveError) as error:
            raise damaged(path, str(error)) from None
        index._restore(path, parameters, arrays)
        terms = strings_from_arrays("vocabulary", arrays, index._parts[0].num_terms)
        index._vocabulary = {str(term): number for number, term in enumerate(terms)}
        if len(index._vocabulary) != len(terms):
            raise damaged(path, "its vocabulary holds a term twice")
        return index


def posting_terms(postings: Postings, low: int = 0, high: int | None = None) -> np.ndarray:
    """Return the term of each posting.

    Args:
      postings: the postings.
      low: the first.
      high: the one behind the last; None is all.
    """
    count = len(postings.documents)
    places = np.arange(low, count if high is None else min(high, count))
    return np.searchsorted(postings.starts, places, side="right") - 1
