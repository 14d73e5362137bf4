"""Metrics of preferences: how many of what judges would rather have a ranking fulfils. The values are trec_eval's."""

import itertools
import weakref
from dataclasses import dataclass
from functools import partial

import numpy as np

from jrank.errors import EvalError
from jrank.evaluation._judged import Judged
from jrank.runs import Preferences
from jrank.runs._ragged import offsets_of

__all__ = ["PREFERENCE_METRICS"]


@dataclass(frozen=True)
class Judge:
    """The preferences of one judge about one query; documents stand in the order of the ranking, others behind them.

    Attributes:
      prefers: bool ``[m, m]``, whether the first document is preferred to the second.
      level: ``[m]``, the level of each document, NaN for one that the judge says nothing about.
      whole: whether all documents of the judge stand in a single order.
      found: how many of the m documents were retrieved.
    """

    prefers: np.ndarray
    level: np.ndarray
    whole: bool
    found: int

    def count(self, area: np.ndarray) -> tuple[int, int]:
        """Count preferences fulfilled and possible.

        Args:
          area: bool ``[m, m]``, the pairs that count.
        """
        within = self.prefers & area
        return int(np.triu(within)[: self.found].sum()), int(within.sum())

    def area(self, scope: str) -> np.ndarray:
        """Tell which pairs count.

        Args:
          scope: "all"; "retrieved", both documents were; "implied", at least one was.
        """
        seen = np.arange(len(self.level)) < self.found
        if scope == "retrieved":
            return seen[:, None] & seen
        if scope == "implied":
            return seen[:, None] | seen
        return np.ones((len(seen), len(seen)), bool)


_JUDGES: weakref.WeakKeyDictionary[Judged, list[list[Judge]]] = weakref.WeakKeyDictionary()


def _judges(judged: Judged) -> list[list[Judge]]:
    """Return the judges of each query."""
    if judged not in _JUDGES:
        source = judged.source
        if not isinstance(source, Preferences):
            raise EvalError(
                "metrics of preferences need Preferences",
                reason="invalid_parameter",
                hint="read them with Preferences.read(path), or take Preferences.from_qrels(qrels)",
            )
        assert judged.judgments is not None
        assert judged.all_score is not None
        names, bounds = judged.judgments.vocabulary.names, offsets_of(judged.count(judged.all_query)).tolist()
        queries = judged.judgments.queries
        row_of = np.searchsorted(judged.judgments.offsets, judged.entries, side="right") - 1
        result: list[list[Judge]] = []
        for start, stop in itertools.pairwise(bounds):
            if start == stop:
                result.append([])
                continue
            rank = judged.all_rank[start:stop]
            codes = judged.judgments.codes[judged.entries[start:stop]]
            # Here, and here alone, trec_eval puts the smaller of two ids with the same score first.
            score = np.where(rank > 0, judged.all_score[start:stop], -np.inf)
            by_name = np.array(sorted(range(len(codes)), key=lambda i, codes=codes: names[codes[i]]))
            order = by_name[np.lexsort((-score[by_name], rank[by_name] == 0))]
            codes = codes[order].tolist()
            place = {names[code]: at for at, code in enumerate(codes)}
            query = queries[int(row_of[start])]
            found = int(np.sum(rank > 0))
            result.append(
                [
                    _judge(orders, place, found, f"query {query!r}, judge {name!r}")
                    for name, orders in source[query].items()
                ]
            )
        _JUDGES[judged] = result
    return _JUDGES[judged]


def _judge(orders: list[dict[str, float]], place: dict[str, int], found: int, what: str) -> Judge:
    size = len(place)
    level, prefers = np.full(size, np.nan), np.zeros((size, size), bool)
    for order in orders:
        mine = np.full(size, np.nan)
        for document, value in order.items():
            at = place[document]
            if not np.isnan(level[at]) and (level[at] == 0) != (value == 0):
                raise EvalError(
                    f"{what}: document {document!r} has level 0 in one order and another level in a second",
                    reason="invalid_relevance",
                )
            mine[at] = level[at] = value
        prefers |= mine[:, None] > mine
    if len(orders) > 1:
        # What is preferred to something preferred is preferred too.
        while True:
            further = prefers | (prefers.astype(np.float32) @ prefers.astype(np.float32) > 0)
            if np.array_equal(further, prefers):
                break
            prefers = further
        if np.any(prefers & prefers.T):
            raise EvalError(f"{what}: the orders contradict each other", reason="invalid_relevance")
    return Judge(prefers, level, len(orders) == 1, found)


def _totals(judged: Judged, k: int | None, *, scope: str, what: str) -> np.ndarray:
    """Count the preferences that are "possible" or "fulfilled"."""
    values = np.zeros(judged.size)
    for row, judges in enumerate(_judges(judged)):
        values[row] = sum(judge.count(judge.area(scope))[what == "possible"] for judge in judges)
    return values


def _simple(judged: Judged, k: int | None, *, scope: str) -> np.ndarray:
    """Share of the preferences that are fulfilled."""
    values = np.zeros(judged.size)
    for row, judges in enumerate(_judges(judged)):
        counts = [judge.count(judge.area(scope)) for judge in judges]
        possible = sum(whole for _, whole in counts)
        values[row] = sum(part for part, _ in counts) / possible if possible else 0.0
    return values


def _by_judge(judged: Judged, k: int | None, *, scope: str) -> np.ndarray:
    """Share of the preferences that are fulfilled, averaged over judges."""
    values = np.zeros(judged.size)
    for row, judges in enumerate(_judges(judged)):
        counts = [judge.count(judge.area(scope)) for judge in judges]
        values[row] = np.mean([part / whole if whole else 0.0 for part, whole in counts] or [0.0])
    return values


def _by_pair(judged: Judged, k: int | None, *, scope: str) -> np.ndarray:
    """Share of the judges whose preference is fulfilled, averaged over pairs of documents."""
    values = np.zeros(judged.size)
    for row, judges in enumerate(_judges(judged)):
        if not judges:
            continue
        votes = np.sum([judge.prefers for judge in judges], axis=0, dtype=np.int32) * judges[0].area(scope)
        either = np.triu(votes + votes.T, 1)
        pairs = np.count_nonzero(either)
        if pairs:
            either[judges[0].found :] = 0  # nothing is fulfilled where neither was retrieved
            with_votes = either > 0
            values[row] = np.sum(np.triu(votes, 1)[with_votes] / either[with_votes]) / pairs
    return values


def _balanced(judged: Judged, k: int | None, *, scope: str) -> np.ndarray:
    """Average over judges with as many non-relevant documents as relevant ones."""
    values = np.zeros(judged.size)
    for row, judges in enumerate(_judges(judged)):
        with np.errstate(invalid="ignore", divide="ignore"):
            counts = np.array([_balanced_counts(judge, scope) for judge in judges], np.float64).reshape(-1, 2)
            total = float(np.sum(counts[:, 0] / counts[:, 1]))
        # As trec_eval has it, a judge without any preference makes the value of the query 0.
        values[row] = total / len(judges) if total > 0 else 0.0
    return values


def _balanced_counts(judge: Judge, scope: str) -> tuple[np.float64, np.float64]:
    seen = np.arange(len(judge.level)) < judge.found
    good, bad = judge.level > 0, judge.level == 0
    num_rel, num_rel_ret = int(good.sum()), int((good & seen).sum())
    if scope == "retrieved":
        wanted, others = num_rel_ret, int((bad & seen).sum())
    else:
        wanted, others = num_rel, int(bad.sum())
    area = judge.area(scope)
    if wanted >= others:
        part, whole = judge.count(area)
        more = wanted - others
        return np.float64(part + num_rel_ret * more), np.float64(whole + num_rel * more)
    if judge.whole:
        # The first non-relevant documents take the place of all of them. They are compared with every document of the
        # judge, the non-relevant ones too: trec_eval counts so.
        first = bad & (np.cumsum(bad) <= wanted)
        prefers = judge.prefers & ~bad
        prefers |= (~np.isnan(judge.level))[:, None] & first
    else:
        # Among retrieved documents, too, the number of all relevant ones is the limit there.
        dropped = bad & (np.cumsum(bad) > num_rel)
        prefers = judge.prefers & ~dropped[:, None] & ~dropped
    within = prefers & area
    # A document is not before itself.
    part = np.triu(within, 1)[: judge.found].sum()
    return np.float64(part), np.float64(within.sum())


_SCOPES = {"": "all", "_ret": "retrieved", "_imp": "implied"}

# Name -> function and mean over queries.
PREFERENCE_METRICS = {
    "prefs_num_prefs_poss": (partial(_totals, scope="all", what="possible"), "sum"),
    "prefs_num_prefs_ful": (partial(_totals, scope="all", what="fulfilled"), "sum"),
    "prefs_num_prefs_ful_ret": (partial(_totals, scope="retrieved", what="fulfilled"), "sum"),
    **{f"prefs_simp{end}": (partial(_simple, scope=scope), "mean") for end, scope in _SCOPES.items()},
    **{f"prefs_pair{end}": (partial(_by_pair, scope=scope), "mean") for end, scope in _SCOPES.items()},
    **{f"prefs_avgjg{end}": (partial(_by_judge, scope=scope), "mean") for end, scope in _SCOPES.items()},
    "prefs_avgjg_rnonrel": (partial(_balanced, scope="all"), "mean"),
    "prefs_avgjg_rnonrel_ret": (partial(_balanced, scope="retrieved"), "mean"),
}
