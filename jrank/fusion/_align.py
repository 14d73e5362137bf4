"""Runs side by side: the documents of each query get local numbers, and each run its row of ranks and scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jrank.errors import FusionError
from jrank.runs import Interned, Run
from jrank.runs._ragged import Block, blocks, offsets_of
from jrank.runs._vocabulary import Vocabulary, merge_vocabularies

__all__ = ["Aligned", "Side", "align"]


@dataclass(frozen=True)
class Side:
    """Some queries with their documents, runs side by side.

    Attributes:
      block: which queries, and where their documents stand in the flat arrays.
      ranks: float64 ``[queries, runs, docs]``, 1-based; 0 where the run lacks the document.
      scores: float64 ``[queries, runs, docs]``; -inf where the run lacks the document.
    """

    block: Block
    ranks: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class Aligned:
    """Several runs over one set of documents per query.

    Attributes:
      queries: the query ids.
      offsets: where the documents of each query start.
      codes: the documents of all queries.
      vocabulary: what the codes mean.
      num_runs: how many runs there are.
      entries: where the entries of each query start.
      run: the run of each entry.
      rank: its 1-based rank.
      score: its score.
      local: the number of its document among those of the query.
    """

    queries: tuple[str, ...]
    offsets: np.ndarray
    codes: np.ndarray
    vocabulary: Vocabulary
    num_runs: int
    entries: np.ndarray
    run: np.ndarray
    rank: np.ndarray
    score: np.ndarray
    local: np.ndarray

    def sides(self, cells: int = 1 << 18, *, square: bool = False) -> Iterator[Side]:
        """Yield rectangular blocks.

        Args:
          cells: most cells of one array, except that one query is never cut.
          square: whether the caller makes arrays of documents times documents.
        """
        if square:
            longest = int(np.max(np.diff(self.offsets), initial=1))
            per_cell = max(longest, self.num_runs)
        else:
            per_cell = self.num_runs
        for block in blocks(self.offsets, max(1, cells // per_cell)):
            start, stop = self.entries[block.rows], self.entries[block.rows + 1]
            count = stop - start
            row = np.repeat(np.arange(len(block.rows)), count)
            at = np.arange(len(row)) + np.repeat(start - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
            shape = (len(block.rows), self.num_runs, block.width)
            place = (row * self.num_runs + self.run[at]) * block.width + self.local[at]
            ranks, scores = np.zeros(shape), np.full(shape, -np.inf)
            ranks.reshape(-1)[place] = self.rank[at]
            scores.reshape(-1)[place] = self.score[at]
            yield Side(block, ranks, scores)

    def to_run(self, values: np.ndarray) -> Run:
        """Return a run with one score per document.

        Args:
          values: float64, in the order of ``codes``.
        """
        return Run._from_interned(Interned(self.queries, self.offsets, self.codes, values, self.vocabulary))


def align(runs: Sequence[Run], *, queries: str = "union", depth: int | None = None) -> Aligned:
    """Put runs side by side.

    Args:
      runs: at least one.
      queries: "union" keeps every query, "intersection" those that all runs hold.
      depth: how many documents of each run count, or None for all.

    Raises:
      FusionError: there is no run, no query is left, or an option is wrong.
    """
    tables = [run.ranked for run in runs]
    if not tables:
        raise FusionError("there is no run to fuse", reason="empty_input", hint="pass a list of runs")
    if queries not in ("union", "intersection"):
        raise FusionError(f"queries is {queries!r}", reason="invalid_config", hint='use "union" or "intersection"')
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 1):
        raise FusionError(f"depth is {depth!r}, expected an integer of at least 1", reason="invalid_config")
    names = dict.fromkeys(query for table in tables for query in table.queries)
    if queries == "intersection":
        held = [set(table.queries) for table in tables]
        names = dict.fromkeys(query for query in names if all(query in one for one in held))
    if not names:
        raise FusionError("the runs have no query to fuse", reason="empty_input", hint="check the ids of the queries")
    row_of = dict(zip(names, range(len(names)), strict=True))
    vocabulary = merge_vocabularies(table.vocabulary for table in tables)
    rows, codes, ranks, scores, sizes = [], [], [], [], []
    for table in tables:
        where = np.fromiter((row_of.get(query, -1) for query in table.queries), np.int64, len(table.queries))
        row = np.repeat(where, table.lengths)
        rank = np.arange(1, len(row) + 1) - np.repeat(table.offsets[:-1], table.lengths)
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
        sizes.append(len(row))
    keys = np.concatenate(rows) * np.int64(max(len(vocabulary), 1)) + np.concatenate(codes)
    order = np.argsort(keys)
    keys = keys[order]
    new = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    document = np.cumsum(new) - 1
    distinct = keys[new]
    owner = distinct // max(len(vocabulary), 1)
    offsets = offsets_of(np.bincount(owner, minlength=len(names)))
    row = owner[document]
    return Aligned(
        queries=tuple(names),
        offsets=offsets,
        codes=(distinct - owner * max(len(vocabulary), 1)).astype(np.int32),
        vocabulary=vocabulary,
        num_runs=len(tables),
        entries=offsets_of(np.bincount(row, minlength=len(names))),
        run=np.repeat(np.arange(len(tables)), sizes)[order],
        rank=np.concatenate(ranks)[order],
        score=np.concatenate(scores)[order],
        local=document - offsets[row],
    )
