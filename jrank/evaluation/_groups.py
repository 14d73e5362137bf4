"""Judgments in groups, joined with a run: averages over judges and over subtopics, and the matrices of subtopics."""

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from jrank.errors import EvalError
from jrank.evaluation._binary import divide
from jrank.evaluation._judged import Judged
from jrank.runs import GroupedQrels
from jrank.runs._ragged import list_of, offsets_of

__all__ = ["Subtopics", "by_judge", "by_subtopic", "subtopics"]

_EXPANDED: weakref.WeakKeyDictionary[Judged, tuple[Judged, np.ndarray]] = weakref.WeakKeyDictionary()

Fn = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Subtopics:
    """The judged documents of one query with a line per document and a column per subtopic.

    Attributes:
      relevant: bool ``[m, s]``, whether the document is relevant to the subtopic; subtopics without a relevant document
        are left out.
      rank: ``[m]``, the rank of each document, 0 where it was not retrieved.
      names: the document ids.
      num_ret: how many documents were retrieved.
    """

    relevant: np.ndarray
    rank: np.ndarray
    names: list[str]
    num_ret: int


def _grouped(judged: Judged, name: str) -> GroupedQrels:
    if not isinstance(judged.source, GroupedQrels):
        raise EvalError(
            f"{name} needs judgments in groups, got Qrels",
            reason="invalid_parameter",
            hint="read them with GroupedQrels.read(path): query group document grade",
        )
    return judged.source


def _expand(judged: Judged, name: str) -> tuple[Judged, np.ndarray]:
    """Return the join with each group as a query of its own, and the query of each group."""
    known = _EXPANDED.get(judged)
    if known is not None:
        return known
    source = _grouped(judged, name)
    counts = np.array([len(groups) for groups in source.groups])
    assert judged.judgments is not None
    row = list_of(judged.judgments.offsets)[source.entry]
    number = offsets_of(counts)[row] + source.group
    at = np.full(len(judged.judgments.codes), -1)
    at[judged.entries] = np.arange(len(judged.entries))
    item = at[source.entry]
    kept = item >= 0
    number, item, grade = number[kept], item[kept], source.grade[kept]
    # Groups of the queries that count, in the order of the queries.
    place = np.full(len(counts), -1)
    queries = np.flatnonzero(np.bincount(list_of(judged.judgments.offsets)[judged.entries], minlength=len(counts)))
    place[queries] = judged.all_query[np.searchsorted(judged.entries, judged.judgments.offsets[queries])]
    query = np.repeat(place, counts)
    order = np.argsort(number, kind="stable")
    number, item, grade = number[order], item[order], grade[order]
    alive = np.flatnonzero(query >= 0)
    renumbered = np.full(len(query), -1)
    renumbered[alive] = np.arange(len(alive))
    expanded = Judged(len(alive), renumbered[number], grade, judged.all_rank[item], judged.num_ret[query[alive]])
    _EXPANDED[judged] = expanded, query[alive]
    return _EXPANDED[judged]


def by_judge(fn: Fn) -> Fn:
    """Make a metric the mean over the judges of each query.

    Args:
      fn: the metric.
    """

    def mean(judged: Judged, k: int | None, **params) -> np.ndarray:
        expanded, query = _expand(judged, "an average over judges")
        return divide(judged.sum(query, fn(expanded, k, **params)), judged.count(query))

    return mean


def by_subtopic(fn: Fn) -> Fn:
    """Make a metric the mean over the subtopics of each query that have a relevant document.

    Args:
      fn: the metric.
    """

    def mean(judged: Judged, k: int | None, **params) -> np.ndarray:
        expanded, query = _expand(judged, "an average over subtopics")
        some = expanded.num_rel(params.get("rel", 1)) > 0
        values = fn(expanded, k, **params)
        return divide(judged.sum(query[some], values[some]), judged.count(query[some]))

    return mean


def subtopics(judged: Judged, rel: float | int) -> Iterator[Subtopics]:
    """Yield the subtopics of each query, an empty matrix for a query without a relevant document.

    Args:
      judged: the join.
      rel: the least grade that counts as relevant.
    """
    source = _grouped(judged, "a diversity metric")
    assert judged.judgments is not None
    names = judged.judgments.vocabulary.names
    bounds = offsets_of(judged.count(judged.all_query))
    order = np.argsort(source.entry, kind="stable")
    entry, group, good = source.entry[order], source.group[order], source.grade[order] >= rel
    for start, stop, num_ret in zip(bounds[:-1].tolist(), bounds[1:].tolist(), judged.num_ret.tolist(), strict=True):
        entries = judged.entries[start:stop]
        if not len(entries):
            yield Subtopics(np.zeros((0, 0), bool), np.zeros(0, np.int64), [], num_ret)
            continue
        # The entries of one query stand together.
        part = slice(*np.searchsorted(entry, [entries[0], entries[-1] + 1]))
        relevant = np.zeros((len(entries), int(group[part].max()) + 1), bool)
        relevant[entry[part] - entries[0], group[part]] = good[part]
        codes = judged.judgments.codes[entries].tolist()
        yield Subtopics(
            relevant[:, relevant.any(axis=0)], judged.all_rank[start:stop], [names[c] for c in codes], num_ret
        )
