"""Quality of many candidate settings, on aligned runs."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from jrank.errors import FusionError
from jrank.evaluation import parse_metric
from jrank.evaluation._judged import Judged
from jrank.fusion._align import Aligned, Side
from jrank.runs import Qrels
from jrank.runs._ragged import list_of

__all__ = ["Problem", "simplex"]


def simplex(runs: int, steps: int = 10) -> np.ndarray:
    """Return all weights that are multiples of 1 / steps and sum to 1, ``[candidates, runs]``.

    Args:
      runs: how many weights.
      steps: in how many parts 1 is divided.

    >>> simplex(2, 2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
    """
    # Bars between stars: integers, so that no candidate is lost to the rounding of sums.
    bars = np.array(list(combinations(range(steps + runs - 1), runs - 1)), np.int64)
    ends = np.full((len(bars), 1), steps + runs - 1)
    return (np.diff(np.hstack([np.full_like(ends, -1), bars, ends]), axis=1) - 1) / steps


@dataclass(frozen=True)
class _Part:
    """A block of queries, and where the judged documents that runs hold stand in it.

    Attributes:
      side: ranks and scores.
      entry: which judgments these are.
      row: the row of each in the block.
      column: its place among the documents.
    """

    side: Side
    entry: np.ndarray
    row: np.ndarray
    column: np.ndarray


class Problem:
    """Aligned runs with judgments: how good is a way of fusing them?

    Args:
      aligned: the runs side by side, with ``by_id``.
      qrels: the judgments. Judged queries that no run holds count as 0; queries without judgments do not count.
      metric: what is to be large.
      ranks: whether ranks are wanted in the blocks.
      scores: whether scores are wanted.

    Attributes:
      queries: the judged queries.
      parts: the blocks.
    """

    def __init__(self, aligned: Aligned, qrels: Qrels, metric: str, *, ranks: bool = True, scores: bool = True):
        self._measure = parse_metric(metric)
        data = qrels.interned
        self.queries = data.queries
        row_of = dict(zip(aligned.queries, range(len(aligned.queries)), strict=True))
        rows = np.fromiter((row_of.get(query, -1) for query in data.queries), np.int64, len(data.queries))
        if not np.any(rows >= 0):
            raise FusionError(
                "the runs and the qrels have no query in common",
                reason="empty_input",
                hint="check how the ids are written",
            )
        self._query, self._grade = list_of(data.offsets), data.values
        self._num_ret = np.append(np.diff(aligned.offsets), 0)[rows]
        # Judged documents among those that the runs hold: both lists are sorted by query and code.
        size = np.int64(max(len(aligned.vocabulary), 1))
        held = list_of(aligned.offsets) * size + aligned.codes
        codes = data.vocabulary.codes_in(aligned.vocabulary)[data.codes]
        wanted = np.where((codes >= 0) & (rows[self._query] >= 0), rows[self._query] * size + codes, -1)
        at = np.minimum(np.searchsorted(held, wanted), max(len(held) - 1, 0))
        found = np.flatnonzero(held[at] == wanted) if len(held) else np.zeros(0, np.int64)
        place, owner = at[found], rows[self._query[found]]
        self.parts = []
        for side in aligned.sides(1 << 19, ranks=ranks, scores=scores):
            local = np.full(len(aligned.queries), -1)
            local[side.block.rows] = np.arange(len(side.block.rows))
            inside = local[owner] >= 0
            row = local[owner[inside]]
            self.parts.append(_Part(side, found[inside], row, place[inside] - aligned.offsets[owner[inside]]))

    def grade_of(self, entry: np.ndarray) -> np.ndarray:
        """Return the grades of judgments.

        Args:
          entry: which judgments.
        """
        return self._grade[entry]

    def values(self, fuse: Callable[[int], Any]) -> np.ndarray:
        """Return the metric of each judged query.

        Args:
          fuse: the number of a block -> fused scores ``[queries, docs]``, -inf at padding.
        """
        rank = np.zeros(len(self._grade), np.int64)
        for number, part in enumerate(self.parts):
            fused = np.asarray(fuse(number))
            mine = fused[part.row, part.column]
            # A rank is one more than the number of documents above; among equal scores, ids count from the largest, and
            # columns are in the order of ids.
            step = max(1, (1 << 18) // max(fused.shape[1], 1))
            column = np.arange(fused.shape[1])
            for start in range(0, len(mine), step):
                stop = start + step
                rows, score = fused[part.row[start:stop]], mine[start:stop, None]
                above = np.count_nonzero(rows > score, axis=1)
                tied = np.flatnonzero(np.count_nonzero(rows >= score, axis=1) > above + 1)
                behind = column > part.column[start:stop][tied, None]
                above[tied] += np.count_nonzero((rows[tied] == score[tied]) & behind, axis=1)
                rank[part.entry[start:stop]] = above + 1
        return self._measure.values(Judged(len(self.queries), self._query, self._grade, rank, self._num_ret))

    def table(self, candidates: Iterable[Callable[[int], Any]]) -> np.ndarray:
        """Return the metric of each candidate and judged query, ``[candidates, queries]``; on all cores.

        Args:
          candidates: see ``values``.
        """
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(self.values, candidates)))
