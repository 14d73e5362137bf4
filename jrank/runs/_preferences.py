"""Preferences between documents, by judge."""

import os
from collections.abc import Mapping
from typing import Any

from jrank.errors import DataError
from jrank.runs._groups import Grouped, keep, name_of, read_rows
from jrank.runs._qrels import Qrels
from jrank.runs._table import counted

__all__ = ["Preferences"]


class Preferences(Grouped[dict[str, list[dict[str, float]]]]):
    """Preferences between documents: which one a judge would rather have.

    ``{query id: {judge: [{document id: level}, ...]}}``. Within one dictionary a document of a higher level is
    preferred to one of a lower level; several dictionaries of one judge hold partial orders, which together must not
    contradict each other. Level 0 means not relevant.

    Args:
      data: ids and judges are str; levels are finite and not negative.

    Attributes:
      merged: each document with its largest level, as Qrels.

    Raises:
      TypeError: an id is not a str, or a level not a number.
      DataError: a level is negative or not finite.

    >>> preferences = Preferences({"q1": {"ann": [{"d1": 2, "d2": 1}]}})
    >>> preferences["q1"]["ann"]
    [{'d1': 2.0, 'd2': 1.0}]
    """

    def __init__(self, data: Mapping[str, Mapping[str, Any]]):
        if not isinstance(data, Mapping):
            raise TypeError(
                f"Preferences takes a mapping {{query id: {{judge: [{{document id: level}}, ...]}}}}, got "
                f"{type(data).__name__}; files are read with Preferences.read(path)"
            )
        self._data: dict[str, dict[str, list[dict[str, float]]]] = {}
        merged: dict[str, dict[str, float]] = {}
        for query, judges in data.items():
            best = merged.setdefault(query, {})
            mine = self._data.setdefault(query, {})
            for judge, orders in judges.items():
                mine[name_of(judge, query)] = []
                for order in orders:
                    levels = {d: float(g) for d, g in Qrels({query: order})[query].items()}
                    if levels and min(levels.values()) < 0:
                        raise DataError(
                            f"query {query!r}, judge {judge!r}: level {min(levels.values()):g}, expected at least 0",
                            reason="invalid_value",
                            hint="0 means not relevant; leave out documents without a judgment",
                        )
                    mine[judge].append(levels)
                    for document, level in levels.items():
                        best[document] = max(level, best.get(document, level))
        self.merged = Qrels(merged)

    def __getitem__(self, query: str) -> dict[str, list[dict[str, float]]]:
        return {judge: [dict(order) for order in orders] for judge, orders in self._data[query].items()}

    def __repr__(self) -> str:
        judges = sum(map(len, self._data.values()))
        return f"Preferences({counted(len(self), 'query', 'queries')}, {counted(judges, 'judge')})"

    @classmethod
    def from_qrels(cls, qrels: Mapping[str, Mapping[str, Any]]) -> "Preferences":
        """Read grades as the levels of a single judge (trec_eval -R qrels_prefs).

        Args:
          qrels: the judgments, or ``{query id: {document id: grade}}``; negative grades are left out.
        """
        return cls({query: {"all": [{d: g for d, g in grades.items() if g >= 0}]} for query, grades in qrels.items()})

    @classmethod
    def parse(cls, data: str | bytes, *, name: str | os.PathLike = "data") -> "Preferences":
        """Read text with a line ``query judge order document level`` per document (trec_eval -R prefs).

        Args:
          data: the text.
          name: what messages call it.

        Raises:
          DataError: it is something else; the message names the line.
        """
        table: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
        form = "query judge order document level"
        for (query, judge, order, document), level, place in read_rows(data, name, form):
            levels = table.setdefault(query, {}).setdefault(judge, {}).setdefault(order, {})
            keep(levels, document, level, place, f"query {query!r}, judge {judge!r}, order {order!r}")
        return cls({q: {judge: list(orders.values()) for judge, orders in j.items()} for q, j in table.items()})
