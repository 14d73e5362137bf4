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
from jrank.fusion._order import sorted_columns
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
    """A block of queries with its judgments.

    Attributes:
      side: ranks and scores.
      rows: which rows of the block are judged queries.
      query: the judged query of each of these.
      grade: ``[rows of the block, docs]``, NaN where there is no judgment.
    """

    side: Side
    rows: np.ndarray
    query: np.ndarray
    grade: np.ndarray


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
        query = list_of(data.offsets)
        num_ret = np.append(np.diff(aligned.offsets), 0)[rows]
        self._judged = Judged(len(self.queries), query, data.values, np.zeros(len(query), np.int64), num_ret)
        self._judged.ideal  # noqa: B018 - computed here, so that every candidate shares it
        # Judged documents among those that the runs hold: both lists are sorted by query and code.
        size = np.int64(max(len(aligned.vocabulary), 1))
        held = list_of(aligned.offsets) * size + aligned.codes
        codes = data.vocabulary.codes_in(aligned.vocabulary)[data.codes]
        wanted = np.where((codes >= 0) & (rows[query] >= 0), rows[query] * size + codes, -1)
        at = np.minimum(np.searchsorted(held, wanted), max(len(held) - 1, 0))
        found = np.flatnonzero(held[at] == wanted) if len(held) else np.zeros(0, np.int64)
        grades = np.full(len(held), np.nan)
        grades[at[found]] = data.values[found]
        judged_as = np.full(len(aligned.queries), -1)
        judged_as[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
        self.parts = []
        for side in aligned.sides(1 << 20, ranks=ranks, scores=scores):
            number = judged_as[side.block.rows]
            kept = np.flatnonzero(number >= 0)
            kept = kept[np.argsort(number[kept])]
            self.parts.append(_Part(side, kept, number[kept], side.block.take(grades, np.nan)))

    def values(self, fuse: Callable[[int], Any]) -> np.ndarray:
        """Return the metric of each judged query.

        Args:
          fuse: the number of a block -> fused scores ``[queries, docs]``, -inf at padding.
        """
        found = []
        for number, part in enumerate(self.parts):
            if len(part.rows):
                columns = sorted_columns(np.asarray(fuse(number), np.float64), self._measure.k)[part.rows]
                grades = part.grade[part.rows[:, None], columns]
                row, place = np.nonzero(~np.isnan(grades))
                found.append((part.query[row], place + 1, grades[row, place]))
        query, rank, grade = (np.concatenate(column) for column in zip(*found, strict=True))
        if len(found) > 1:
            order = np.argsort(query, kind="stable")
            query, rank, grade = query[order], rank[order], grade[order]
        return self._measure.values(self._judged.reranked(query, rank, grade))

    def table(self, candidates: Iterable[Callable[[int], Any]]) -> np.ndarray:
        """Return the metric of each candidate and judged query, ``[candidates, queries]``; on all cores.

        Args:
          candidates: see ``values``.
        """
        with ThreadPoolExecutor() as pool:
            return np.stack(list(pool.map(self.values, candidates)))
