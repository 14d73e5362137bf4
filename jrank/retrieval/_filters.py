"""Filters by what is known about documents: predicates over their fields, and filtering after a search."""

import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.errors import RetrieveError
from jrank.files import read_json, write_json
from jrank.retrieval._documents import check_k
from jrank.runs import Hits

__all__ = ["Field", "Metadata", "Predicate", "field", "post_filter"]

_MISSING = object()


@dataclass(frozen=True)
class Predicate:
    """A condition on the fields of a document; combine with ``&``, ``|`` and ``~``.

    Made by ``field``; any function from a mapping of fields to a bool can be wrapped too.

    Args:
      test: takes the fields of a document and tells whether it passes.
      text: what the condition looks like.

    >>> recent = field("year") >= 2020
    >>> chosen = recent & ~field("topic").isin(["sports", "weather"])
    >>> chosen({"year": 2024, "topic": "music"}), chosen({"year": 2024, "topic": "sports"})
    (True, False)
    >>> chosen
    ((year >= 2020) & ~(topic in ['sports', 'weather']))
    """

    test: Callable[[Mapping[str, Any]], bool]
    text: str = "condition"

    def __call__(self, fields: Mapping[str, Any]) -> bool:
        """Return whether a document passes.

        Args:
          fields: what is known about it.
        """
        return bool(self.test(fields))

    def __and__(self, other: "Predicate") -> "Predicate":
        return Predicate(lambda fields: self(fields) and other(fields), f"({self} & {other})")

    def __or__(self, other: "Predicate") -> "Predicate":
        return Predicate(lambda fields: self(fields) or other(fields), f"({self} | {other})")

    def __invert__(self) -> "Predicate":
        return Predicate(lambda fields: not self(fields), f"~{self}")

    def __bool__(self) -> bool:
        raise RetrieveError(
            f"the condition {self} is true or false for a document only",
            reason="invalid_parameter",
            hint="combine conditions with &, | and ~, each in parentheses, not with and, or, not",
        )

    def __repr__(self) -> str:
        return self.text


class Field:
    """A field of the metadata; comparing it makes a ``Predicate``.

    A document without the field passes no comparison, ``!=`` included; ``~(field == value)`` passes it. A value that
    cannot be compared, such as text with a number, passes neither.

    Args:
      name: the name of the field.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str):
        self.name = name

    def _compare(self, sign: str, compare: Callable[[Any, Any], Any], value: Any) -> Predicate:
        name = self.name

        def test(fields: Mapping[str, Any]) -> bool:
            mine = fields.get(name, _MISSING)
            if mine is _MISSING or mine is None:
                return False
            try:
                return bool(compare(mine, value))
            except TypeError:
                return False

        return Predicate(test, f"({name} {sign} {value!r})")

    def __eq__(self, value: object) -> Predicate:  # type: ignore[override]
        return self._compare("==", operator.eq, value)

    def __ne__(self, value: object) -> Predicate:  # type: ignore[override]
        return self._compare("!=", operator.ne, value)

    def __lt__(self, value: Any) -> Predicate:
        return self._compare("<", operator.lt, value)

    def __le__(self, value: Any) -> Predicate:
        return self._compare("<=", operator.le, value)

    def __gt__(self, value: Any) -> Predicate:
        return self._compare(">", operator.gt, value)

    def __ge__(self, value: Any) -> Predicate:
        return self._compare(">=", operator.ge, value)

    def isin(self, values: Iterable[Any]) -> Predicate:
        """Pass documents whose field is one of some values.

        Args:
          values: the values.
        """
        values = list(values)
        return self._compare("in", lambda mine, known: mine in known, values)

    def between(self, low: Any, high: Any) -> Predicate:
        """Pass documents whose field is within a range, both ends included.

        Args:
          low: the smallest value that passes.
          high: the largest value that passes.
        """
        return self._compare("between", lambda mine, ends: ends[0] <= mine <= ends[1], (low, high))

    def contains(self, value: Any) -> Predicate:
        """Pass documents whose field, a list or a text, holds a value.

        Args:
          value: an element of the list, or a part of the text.
        """
        return self._compare("contains", lambda mine, part: part in mine, value)

    def exists(self) -> Predicate:
        """Pass documents that have the field, with a value other than None."""
        return Predicate(lambda fields: fields.get(self.name) is not None, f"({self.name} exists)")


def field(name: str) -> Field:
    """Return a field of the metadata, to be compared.

    Args:
      name: its name.

    >>> (field("tags").contains("jax") | (field("stars") > 9))({"tags": ["jax", "ml"]})
    True
    """
    return Field(name)


class Metadata:
    """What is known about documents beside their content; one table serves all indexes of a collection.

    Args:
      rows: id of a document to its fields.

    >>> known = Metadata({"a": {"year": 2019}, "b": {"year": 2023}, "c": {}})
    >>> sorted(known.select(field("year") > 2020))
    ['b']
    """

    def __init__(self, rows: Mapping[Any, Mapping[str, Any]]):
        self._rows = {name: dict(fields) for name, fields in rows.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: Any) -> dict[str, Any]:
        return dict(self._rows[name])

    def update(self, rows: Mapping[Any, Mapping[str, Any]]) -> None:
        """Add documents, or replace what is known about them.

        Args:
          rows: id to fields.
        """
        self._rows.update({name: dict(fields) for name, fields in rows.items()})

    def delete(self, ids: Iterable[Any]) -> None:
        """Forget documents; ids that are not there are no error.

        Args:
          ids: their ids.
        """
        for name in ids:
            self._rows.pop(name, None)

    def select(self, predicate: Predicate | Callable[[Mapping[str, Any]], bool]) -> set[Any]:
        """Return the ids of the documents that pass: the ``filter=`` of a search.

        Args:
          predicate: made with ``field``, or a function of the fields.

        Cost: one call per document.
        """
        return {name for name, fields in self._rows.items() if predicate(fields)}

    def selectivity(self, predicate: Predicate | Callable[[Mapping[str, Any]], bool]) -> float:
        """Return the share of documents that pass; 0 where there are none.

        Args:
          predicate: as for ``select``.
        """
        return len(self.select(predicate)) / len(self._rows) if self._rows else 0.0

    def save(self, path: str | os.PathLike) -> None:
        """Write the table as a JSON file.

        Args:
          path: the file.

        Raises:
          DataError: the file cannot be written.
        """
        write_json(path, [[name, fields] for name, fields in self._rows.items()])

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Metadata":
        """Read what ``save`` wrote.

        Args:
          path: the file.

        Raises:
          DataError: the file cannot be read.
          RetrieveError: it holds something else.
        """
        rows = read_json(path)
        good = isinstance(rows, list) and all(
            isinstance(row, list) and len(row) == 2 and isinstance(row[0], (str, int)) and isinstance(row[1], dict)
            for row in rows
        )
        if not good:
            raise RetrieveError(f"{path} holds no metadata", reason="invalid_index_file", hint="write it with save")
        return cls(dict(rows))


def post_filter(
    search: Callable[[int], Hits],
    allowed: Collection[Any] | Callable[[Any], bool],
    k: int,
    *,
    selectivity: float | None = None,
    limit: int | None = None,
) -> Hits:
    """Filter after a search, for an engine that cannot filter; the indexes here do so exactly with ``filter=``.

    More and more documents are asked for until every query has ``k`` that pass, or has no more. With an exact search
    the result is therefore that of filtering first: nothing is lost, unless ``limit`` stops it; then rows are short.

    Args:
      search: takes a number of documents and returns as many hits per query, or fewer where there are no more.
      allowed: ids that pass, or a function from an id to a bool.
      k: how many documents at most.
      selectivity: the share of documents that pass, where it is known; the first search asks for k divided by it.
      limit: most documents to ask for; None goes on to the end.

    Returns:
      Hits of shape ``[queries, k]``, in the order of the search; short rows are padded.

    Raises:
      RetrieveError: ``k`` is less than 1, or ``selectivity`` is not a share.

    Cost: at most twice the documents that were needed are asked for in the last of several searches.

    >>> from jrank.retrieval import DenseIndex
    >>> index = DenseIndex.build(np.eye(4), ids=list("abcd"), metric="dot")
    >>> query = np.array([[4.0, 3.0, 2.0, 1.0]])
    >>> post_filter(lambda n: index.search(query, k=n), {"b", "d"}, 2).ids.tolist()
    [['b', 'd']]
    """
    k = check_k(k)
    if selectivity is not None and not 0 <= selectivity <= 1:
        raise RetrieveError(f"selectivity must be from 0 to 1, got {selectivity!r}", reason="invalid_parameter")
    passes = allowed if callable(allowed) else set(allowed).__contains__
    # An unknown share counts as one half, and none below a hundredth: the loop corrects both.
    depth = int(np.ceil(k / max(0.5 if selectivity is None else selectivity, 0.01)))
    while True:
        depth = depth if limit is None else min(depth, limit)
        hits = search(depth)
        keep = np.array([[i is not None and bool(passes(i)) for i in row] for row in hits.ids.tolist()], bool)
        keep = keep.reshape(hits.ids.shape)
        more = hits.ids.shape[1] >= depth and (hits.ids[:, -1:] != None).any(axis=1)  # noqa: E711  (element by element)
        if not (more & (keep.sum(axis=1) < k)).any() or depth == limit:
            break
        depth *= 2
    ids = np.full((len(hits), k), None, object)
    scores = np.full((len(hits), k), -np.inf, hits.scores.dtype)
    for row, mask in enumerate(keep):
        places = np.flatnonzero(mask)[:k]
        ids[row, : len(places)] = hits.ids[row, places]
        scores[row, : len(places)] = hits.scores[row, places]
    return Hits(ids, scores)
