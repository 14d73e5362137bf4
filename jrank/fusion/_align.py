"""Runs side by side: the documents of each query get local numbers, and each run its row of ranks and scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.errors import FusionError
from jrank.runs import Interned, Run
from jrank.runs._ragged import Block, blocks, offsets_of, sorted_order
from jrank.runs._vocabulary import Vocabulary, merge_vocabularies

__all__ = ["Aligned", "Side", "align"]


@dataclass(frozen=True)
class Side:
    """Some queries with their documents, runs side by side.

    Attributes:
      block: which queries, and where their documents stand in the flat arrays.
      ranks: int32 ``[queries, runs, docs]``, 1-based; 0 where the run lacks the document. None if not asked for.
      scores: float64 ``[queries, runs, docs]``; -inf where the run lacks the document. None if not asked for.
    """

    block: Block
    ranks: Any
    scores: Any


@dataclass(frozen=True)
class Aligned:
    """Several runs over one set of documents per query. Entries stand run by run.

    Attributes:
      queries: the query ids.
      offsets: where the documents of each query start.
      codes: the documents of all queries.
      vocabulary: what the codes mean.
      sizes: how many entries each run has.
      row: the query of each entry.
      rank: its 1-based rank.
      score: its score.
      document: its document, as a place in ``codes``.
    """

    queries: tuple[str, ...]
    offsets: np.ndarray
    codes: np.ndarray
    vocabulary: Vocabulary
    sizes: list[int]
    row: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    document: np.ndarray

    def sides(
        self, cells: int = 1 << 18, *, square: bool = False, ranks: bool = True, scores: bool = True
    ) -> Iterator[Side]:
        """Yield rectangular blocks.

        Args:
          cells: most cells of one array, except that one query is never cut.
          square: whether the caller makes arrays of documents times documents.
          ranks: whether ranks are wanted.
          scores: whether scores are wanted.
        """
        runs = len(self.sizes)
        longest = int(np.max(np.diff(self.offsets), initial=1)) if square else 1
        found = list(blocks(self.offsets, max(1, cells // max(longest, runs))))
        # Where the first document of each query stands in its block.
        base = np.zeros(len(self.queries), np.int64)
        width = np.zeros(len(self.queries), np.int64)
        for block in found:
            base[block.rows] = np.arange(len(block.rows)) * (runs * block.width) - self.offsets[block.rows]
            width[block.rows] = block.width
        run = np.repeat(np.arange(runs, dtype=np.int32), self.sizes)
        order = starts = None
        if len(found) == 1:
            place = self.document + base[self.row] + run * np.int64(found[0].width)
        else:
            place = self.document + base[self.row] + run * width[self.row]
            order = sorted_order(self.row.astype(np.int64))
            starts = offsets_of(np.bincount(self.row, minlength=len(self.queries)))
        for block in found:
            at = slice(None) if order is None or starts is None else order[_members(starts, block.rows)]
            shape = (len(block.rows), runs, block.width)
            yield Side(
                block,
                _scatter(shape, np.int32(0), place[at], self.rank[at]) if ranks else None,
                _scatter(shape, np.float64(-np.inf), place[at], self.score[at]) if scores else None,
            )

    def to_run(self, values: np.ndarray) -> Run:
        """Return a run with one score per document.

        Args:
          values: float64, in the order of ``codes``.
        """
        return Run._from_interned(Interned(self.queries, self.offsets, self.codes, values, self.vocabulary))


def _scatter(shape: tuple[int, ...], fill: np.number, place: np.ndarray, values: np.ndarray) -> np.ndarray:
    flat = np.full(shape[0] * shape[1] * shape[2], fill, fill.dtype)
    flat[place] = values
    return flat.reshape(shape)


def _members(starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the places of all items of some lists."""
    start, count = starts[rows], starts[rows + 1] - starts[rows]
    return np.arange(count.sum()) + np.repeat(start - np.concatenate([[0], np.cumsum(count)[:-1]]), count)


def align(runs: Sequence[Run], *, queries: str = "union", depth: int | None = None, by_id: bool = False) -> Aligned:
    """Put runs side by side.

    Args:
      runs: at least one.
      queries: "union" keeps every query, "intersection" those that all runs hold.
      depth: how many documents of each run count, or None for all.
      by_id: whether the documents of a query stand in the order of their ids in bytes.

    Raises:
      FusionError: there is no run, no query is left, or an option is wrong.
    """
    tables = [run.ranked for run in runs]
    if not tables:
        raise FusionError("there is no run to fuse", reason="empty_input", hint="pass a list of runs")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 1):
        raise FusionError(f"depth is {depth!r}, expected an integer of at least 1", reason="invalid_config")
    names = _queries(tables, queries)
    row_of = dict(zip(names, range(len(names)), strict=True))
    vocabulary = merge_vocabularies(table.vocabulary for table in tables)
    if by_id:
        vocabulary = Vocabulary(sorted(vocabulary.names))
    rows, codes, ranks, scores = [], [], [], []
    for table in tables:
        if table.queries == names:
            where = np.arange(len(names), dtype=np.int32)
        else:
            where = np.fromiter((row_of.get(query, -1) for query in table.queries), np.int32, len(table.queries))
        row = np.repeat(where, table.lengths)
        rank = np.arange(1, len(row) + 1, dtype=np.int32)
        rank -= np.repeat(table.offsets[:-1].astype(np.int32), table.lengths)
        code = table.codes
        if table.vocabulary is not vocabulary:
            code = table.vocabulary.codes_in(vocabulary)[code]
        score = table.values
        if depth is not None or where.min(initial=0) < 0:
            keep = row >= 0 if depth is None else (row >= 0) & (rank <= depth)
            row, rank, code, score = row[keep], rank[keep], code[keep], score[keep]
        rows.append(row)
        codes.append(code)
        ranks.append(rank)
        scores.append(score)
    row, code = np.concatenate(rows), np.concatenate(codes)
    keys = row * np.int64(max(len(vocabulary), 1)) + code
    document, distinct = _number(keys, len(names) * max(len(vocabulary), 1))
    owner, code = np.divmod(distinct, max(len(vocabulary), 1))
    return Aligned(
        queries=names,
        offsets=offsets_of(np.bincount(owner, minlength=len(names))),
        codes=code.astype(np.int32),
        vocabulary=vocabulary,
        sizes=[len(part) for part in rows],
        row=row,
        rank=np.concatenate(ranks),
        score=np.concatenate(scores),
        document=document,
    )


def _queries(tables: list[Interned], queries: str) -> tuple[str, ...]:
    if queries not in ("union", "intersection"):
        raise FusionError(f"queries is {queries!r}", reason="invalid_config", hint='use "union" or "intersection"')
    names = tables[0].queries
    if any(table.queries != names for table in tables[1:]):
        names = tuple(dict.fromkeys(query for table in tables for query in table.queries))
        if queries == "intersection":
            held = [set(table.queries) for table in tables]
            names = tuple(query for query in names if all(query in one for one in held))
    if not names:
        raise FusionError("the runs have no query to fuse", reason="empty_input", hint="check the ids of the queries")
    return names


def _number(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each key among the distinct keys in ascending order, and these.

    Args:
      keys: non-negative integers.
      size: a number above all of them.
    """
    if size <= 8 * len(keys):
        # Few possible keys: ticking them off is quicker than sorting.
        seen = np.zeros(size, bool)
        seen[keys] = True
        return (np.cumsum(seen) - 1)[keys], np.flatnonzero(seen)
    order = sorted_order(keys)
    ordered = keys[order]
    new = np.ones(len(keys), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    place = np.empty(len(keys), np.int64)
    place[order] = np.cumsum(new) - 1
    return place, ordered[new]
