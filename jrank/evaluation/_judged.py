"""The join of judgments and a run: which judged documents stand at which rank. Every metric is computed from this."""

import copy
import weakref
from functools import cached_property
from typing import Any

import numpy as np

from jrank.runs import GroupedQrels, Interned, Preferences, Qrels, Run
from jrank.runs._ragged import list_of, offsets_of

__all__ = ["Judged"]

# Ranks of judged documents, and sorted keys of judgments: tables never change, so both are computed once per pair.
_RANKS: weakref.WeakKeyDictionary[Interned, Any] = weakref.WeakKeyDictionary()
_KEYS: weakref.WeakKeyDictionary[Interned, tuple[np.ndarray, np.ndarray]] = weakref.WeakKeyDictionary()


class Judged:
    """Judged documents of the evaluated queries, with their grades and ranks.

    The flat arrays hold the judged documents that were retrieved, query by query, best rank first.

    Args:
      size: the number of queries, q.
      all_query: ``[m]``, the query of each judged document, retrieved or not.
      all_grade: ``[m]``, its grade.
      rank: ``[m]``, its 1-based rank; 0 where it was not retrieved.
      num_ret: ``[q]``, how many documents were retrieved.
      judged_only: whether documents without a judgment leave the ranking before anything is computed.
      source: the judgments in groups that ``all_grade`` was merged from, or None.
      entries: ``[m]``, the entry of the judgments that each judged document is.

    Attributes:
      all_rank: ``[m]``, the rank of each judged document among those that count; 0 where it was not retrieved.
      query: ``[h]``, the query of each retrieved judged document.
      rank: ``[h]``, its 1-based rank.
      grade: ``[h]``, its grade.
      judgments: what ``entries`` are entries of, or None.
      all_score: ``[m]``, the score of each judged document that was retrieved; with preferences alone.
    """

    judgments: Interned | None = None
    all_score: np.ndarray | None = None

    def __init__(
        self,
        size: int,
        all_query: np.ndarray,
        all_grade: np.ndarray,
        rank: np.ndarray,
        num_ret: np.ndarray,
        *,
        judged_only: bool = False,
        source: GroupedQrels | Preferences | None = None,
        entries: np.ndarray | None = None,
    ):
        self.size, self.source = size, source
        self.entries = np.arange(len(all_query)) if entries is None else entries
        self.all_query, self.all_grade, self.num_ret = all_query, all_grade, num_ret
        found = np.flatnonzero(rank)
        order = found[np.lexsort((rank[found], all_query[found]))]
        self.query, self.rank, self.grade = all_query[order], rank[order].astype(np.int64), all_grade[order]
        self.all_rank = rank
        if judged_only:
            pooled = self.grade >= 0
            self.query, self.grade = self.query[pooled], self.grade[pooled]
            self.num_ret = self.count(self.query)
            self.rank = self.place_in_query(self.query) + 1
            self.all_rank = np.zeros(len(rank), np.int64)
            self.all_rank[order[pooled]] = self.rank

    @classmethod
    def join(
        cls,
        qrels: Qrels,
        run: Run,
        rows: np.ndarray,
        run_rows: np.ndarray,
        *,
        judged_only: bool = False,
        depth: int | None = None,
        source: GroupedQrels | Preferences | None = None,
    ) -> "Judged":
        """Find the judged documents in a run.

        Args:
          qrels: the judgments.
          run: the run.
          rows: the evaluated queries, as numbers of rows of ``qrels``.
          run_rows: the row of each in the run, or -1.
          judged_only: see the class.
          depth: most documents of a ranking that count, or None.
          source: the judgments in groups that ``qrels`` was merged from, or None.
        """
        judgments, ranking = qrels.interned, run.ranked
        rank, query, grade = _ranks(judgments, ranking), list_of(judgments.offsets), judgments.values
        entries = None
        if len(rows) < len(judgments.queries):
            place = np.full(len(judgments.queries), -1)
            place[rows] = np.arange(len(rows))
            kept = place[query] >= 0
            rank, grade, query = rank[kept], grade[kept], place[query[kept]]
            entries = np.flatnonzero(kept)
        num_ret = np.append(ranking.lengths, 0)[run_rows]
        if depth is not None:
            num_ret = np.minimum(num_ret, depth)
            rank = np.where(rank <= depth, rank, 0)
        judged = cls(len(rows), query, grade, rank, num_ret, judged_only=judged_only, source=source, entries=entries)
        judged.judgments = judgments
        if isinstance(source, Preferences):
            at = ranking.offsets[run_rows[query]] + rank - 1
            judged.all_score = ranking.values[np.where(rank > 0, at, 0)]
        return judged

    def reranked(self, query: np.ndarray, rank: np.ndarray, grade: np.ndarray) -> "Judged":
        """Return the same judgments with other ranks; what depends on judgments alone is kept.

        Args:
          query: the query of each retrieved judged document, ascending.
          rank: its 1-based rank, ascending within a query.
          grade: its grade.
        """
        other = copy.copy(self)
        other.query, other.rank, other.grade = query, rank, grade
        return other

    def count(self, query: np.ndarray) -> np.ndarray:
        """Count the items of each query.

        Args:
          query: the query of each item.
        """
        return np.bincount(query, minlength=self.size)

    def sum(self, query: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Sum the items of each query, one after the other as they stand.

        Args:
          query: the query of each item.
          values: what is summed.
        """
        return np.bincount(query, values, self.size)

    def place_in_query(self, query: np.ndarray) -> np.ndarray:
        """Return the 0-based place of each item among those of its query.

        Args:
          query: the query of each item, ascending.
        """
        return np.arange(len(query)) - offsets_of(self.count(query))[query]

    def relevant(self, level: float | int, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return query and rank of the relevant documents that were retrieved.

        Args:
          level: the least grade that counts as relevant.
          k: only the first k ranks, or None for all.
        """
        keep = self.grade >= level
        if k is not None:
            keep &= self.rank <= k
        return self.query[keep], self.rank[keep]

    def num_rel(self, level: float | int) -> np.ndarray:
        """Return how many relevant documents each query has, retrieved or not.

        Args:
          level: the least grade that counts as relevant.
        """
        return self.count(self.all_query[self.all_grade >= level])

    def num_rel_ret(self, level: float | int, k: int | None = None) -> np.ndarray:
        """Return how many relevant documents of each query were retrieved.

        Args:
          level: the least grade that counts as relevant.
          k: only the first k ranks, or None for all.
        """
        return self.count(self.relevant(level, k)[0])

    @cached_property
    def ideal(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, rank and grade of the documents with a positive grade in the best possible order."""
        positive = np.flatnonzero(self.all_grade > 0)
        query, grade = self.all_query[positive], self.all_grade[positive]
        order = np.lexsort((-grade, query))
        query = query[order]
        return query, self.place_in_query(query) + 1, grade[order]

    @cached_property
    def max_grade(self) -> float:
        """The largest grade of any judgment, at least 0."""
        return float(max(self.all_grade.max(initial=0.0), 0.0))


def _ranks(judgments: Interned, ranking: Interned) -> np.ndarray:
    """Return the 1-based rank of every judged document, 0 where it was not retrieved."""
    known = _RANKS.setdefault(judgments, weakref.WeakKeyDictionary())
    ranks = known.get(ranking)
    if ranks is None:
        ranks = known[ranking] = _join(judgments, ranking)
    return ranks


def _join(judgments: Interned, ranking: Interned) -> np.ndarray:
    ranks = np.zeros(len(judgments.codes), np.int32)
    if not len(judgments.codes) or not len(ranking.codes):
        return ranks
    row_of = dict(zip(judgments.queries, range(len(judgments.queries)), strict=True))
    rows = np.fromiter((row_of.get(query, -1) for query in ranking.queries), np.int64, len(ranking.queries))
    codes = ranking.vocabulary.codes_in(judgments.vocabulary)[ranking.codes]
    row = np.repeat(rows, ranking.lengths)
    candidates = np.flatnonzero((codes >= 0) & (row >= 0))
    wanted = row[candidates] * np.int64(len(judgments.vocabulary)) + codes[candidates]
    at = _find(judgments, wanted)
    hit = at >= 0
    place = candidates[hit] - np.repeat(ranking.offsets[:-1], ranking.lengths)[candidates[hit]]
    ranks[at[hit]] = place + 1
    return ranks


def _find(judgments: Interned, wanted: np.ndarray) -> np.ndarray:
    """Return the place of each key among the judgments, -1 where it is not judged."""
    size = len(judgments.queries) * len(judgments.vocabulary)
    if judgments not in _KEYS and size <= 8 * (len(wanted) + len(judgments.codes)):
        # Few possible keys: a table of all is quicker than sorting.
        table = np.full(size, -1, np.int32)
        table[judgments.keys()] = np.arange(len(judgments.codes), dtype=np.int32)
        return table[wanted]
    if judgments not in _KEYS:
        keys = judgments.keys()
        order = np.argsort(keys)
        _KEYS[judgments] = order, keys[order]
    order, keys = _KEYS[judgments]
    at = np.searchsorted(keys, wanted)
    at[at == len(keys)] = 0
    return np.where(keys[at] == wanted, order[at], -1)
