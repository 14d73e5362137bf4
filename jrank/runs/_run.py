"""Scored documents per query."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from jrank.errors import DataError
from jrank.runs._ragged import offsets_of, rank_order
from jrank.runs._table import Interned, Table, counted
from jrank.runs._vocabulary import Vocabulary

__all__ = ["Run"]


class Run(Table):
    """What a system retrieved: query id -> document id -> score.

    A mapping for people (``run["q1"]`` is a dictionary, best document first) and flat arrays for programs
    (``run.interned`` as given, ``run.ranked`` best first). It never changes, so what is computed from it once is kept.

    Documents are ranked as trec_eval 10 ranks them: by score as float64, larger first, and equal scores by document id
    in bytes, larger first.

    Args:
      data: ``{query id: {document id: score}}``. Ids are str; scores are finite, or -inf for "not retrieved", which is
        the same as leaving the document out.
      name: what tables and files call the run.

    Raises:
      TypeError: an id is not a str, or a score not a number.
      DataError: a score is NaN or +inf.

    >>> run = Run({"q1": {"d1": 0.5, "d2": 2.0, "d3": 0.5}}, name="bm25")
    >>> run
    Run('bm25', 1 query, 3 documents)
    >>> list(run["q1"])
    ['d2', 'd3', 'd1']
    """

    _what: ClassVar[str] = "score"
    _kind: ClassVar[str] = "run"

    name: str = ""
    _ranked: Interned | None = None

    def __init__(self, data: Mapping[str, Mapping[str, Any]], *, name: str = ""):
        super().__init__(data)
        self._interned = _drop_missing(self._interned)
        self.name = name

    @classmethod
    def from_arrays(
        cls, query_ids: list[str], document_ids: np.ndarray, scores: np.ndarray, *, name: str = ""
    ) -> "Run":
        """Build from rectangular arrays, such as those of ``Hits``.

        Args:
          query_ids: one id per row.
          document_ids: ``[queries, k]``, str; None where there is no document.
          scores: ``[queries, k]``; -inf where there is no document.
          name: see the class.

        Raises:
          DataError: shapes differ, an id comes twice, a score is NaN or +inf.

        >>> Run.from_arrays(["q1"], np.array([["d1", "d2"]]), np.array([[1.0, 2.0]]))["q1"]
        {'d2': 2.0, 'd1': 1.0}
        """
        document_ids = np.asarray(document_ids, object)
        scores = np.asarray(scores, np.float64)
        if document_ids.shape != scores.shape or scores.ndim != 2 or len(query_ids) != len(scores):
            raise DataError(
                f"{len(query_ids)} query ids, document ids of shape {document_ids.shape} and scores of shape "
                f"{scores.shape}, expected one row per query and one score per document",
                reason="malformed",
            )
        data: dict[str, dict[str, float]] = {}
        for query, documents, row in zip(query_ids, document_ids.tolist(), scores.tolist(), strict=True):
            pairs = [(d, s) for d, s in zip(documents, row, strict=True) if d is not None]
            if query in data:
                raise DataError(f"the query id {query!r} comes twice", reason="duplicate")
            data[query] = dict(pairs)
            if len(data[query]) < len(pairs):
                raise DataError(f"query {query!r}: a document id comes twice", reason="duplicate")
        return cls(data, name=name)

    @property
    def ranked(self) -> Interned:
        """The entries as flat arrays, best document first within each query."""
        if self._ranked is None:
            data = self._interned
            order = rank_order(data.values, data.offsets, data.codes, data.vocabulary)
            if order is None:
                self._ranked = data
            else:
                self._ranked = Interned(
                    data.queries, data.offsets, data.codes[order], data.values[order], data.vocabulary
                )
        return self._ranked

    def top_k(self, k: int) -> "Run":
        """Return the run with the best documents of each query alone.

        Args:
          k: how many; shorter lists stay as they are.

        Raises:
          DataError: k is no integer of at least 1.

        >>> Run({"q1": {"d1": 1.0, "d2": 2.0}}).top_k(1)["q1"]
        {'d2': 2.0}
        """
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise DataError(f"k is {k!r}, expected an integer of at least 1", reason="invalid_value")
        data = self.ranked
        place = np.arange(len(data.codes)) - np.repeat(data.offsets[:-1], data.lengths)
        keep = place < k
        offsets = offsets_of(np.minimum(data.lengths, k))
        kept = Interned(data.queries, offsets, data.codes[keep], data.values[keep], data.vocabulary)
        run = Run._from_interned(kept)
        run.name, run._ranked = self.name, kept
        return run

    def _listed(self) -> Interned:
        return self.ranked

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"Run({name}{counted(len(self), 'query', 'queries')}, {counted(len(self._interned.codes), 'document')})"


def _drop_missing(data: Interned) -> Interned:
    missing = np.isneginf(data.values)
    if not missing.any():
        return data
    keep = ~missing
    rows = np.repeat(np.arange(len(data.queries)), data.lengths)[keep]
    offsets = offsets_of(np.bincount(rows, minlength=len(data.queries)))
    codes = data.codes[keep]
    # Ids that nobody retrieved leave the vocabulary as well.
    used, codes = np.unique(codes, return_inverse=True)
    vocabulary = Vocabulary([data.vocabulary.names[code] for code in used.tolist()])
    return Interned(data.queries, offsets, codes.astype(np.int32), data.values[keep], vocabulary)
