"""Relevance judgments."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from jrank.errors import DataError
from jrank.runs._table import Table, counted

__all__ = ["Qrels"]


class Qrels(Table):
    """Relevance judgments: query id -> document id -> grade.

    A mapping for people (``qrels["q1"]["d7"]``) and flat arrays for programs (``qrels.interned``). It never changes,
    so what is computed from it once is kept. Grades are real numbers; 1 and more counts as relevant unless a metric is
    told otherwise, 0 and less as judged not relevant.

    Args:
      data: ``{query id: {document id: grade}}``. Ids are str; grades are finite.

    Raises:
      TypeError: an id is not a str, or a grade not a number.
      DataError: a grade is not finite.

    >>> qrels = Qrels({"q1": {"d1": 2, "d2": 0}})
    >>> qrels["q1"], len(qrels)
    ({'d1': 2, 'd2': 0}, 1)
    """

    _what: ClassVar[str] = "grade"
    _kind: ClassVar[str] = "qrels"

    def __init__(self, data: Mapping[str, Mapping[str, Any]]):
        super().__init__(data)
        if np.isneginf(self._interned.values).any():
            raise DataError("a grade is -inf, expected a finite number", reason="invalid_value")

    def _numbers(self, values: np.ndarray) -> list[Any]:
        whole = np.trunc(values) == values
        if whole.all() and np.abs(values).max(initial=0) < 2**53:
            return values.astype(np.int64).tolist()
        return values.tolist()

    def __repr__(self) -> str:
        return f"Qrels({counted(len(self), 'query', 'queries')}, {counted(len(self._interned.codes), 'judgment')})"
