"""Judgments in groups: by subtopic of a query, or by judge."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from jrank import files
from jrank.errors import DataError
from jrank.runs._formats import read_file
from jrank.runs._lines import encoding_error, parse_number
from jrank.runs._qrels import Qrels
from jrank.runs._table import counted

__all__ = ["Grouped", "GroupedQrels", "keep", "name_of", "read_rows"]

Value = TypeVar("Value")
Kind = TypeVar("Kind", bound="Grouped")


class Grouped(Mapping[str, Value]):
    """What judgments in groups have in common: a mapping of queries, and reading a file of them."""

    _data: dict[str, Value]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    @classmethod
    def read(cls: type[Kind], path: str | os.PathLike) -> Kind:
        """Read a file with the lines that ``parse`` takes.

        Args:
          path: the file, in UTF-8; ``.gz`` is decompressed.

        Raises:
          DataError: the file cannot be read or holds something else; the message names the line.
        """
        return cls.parse(read_file(path), name=path)

    @classmethod
    def parse(cls: type[Kind], data: str | bytes, *, name: str | os.PathLike = "data") -> Kind:
        """Read the text of a file that is not on disk.

        Args:
          data: the text.
          name: what messages call it.

        Raises:
          DataError: it is something else; the message names the line.
        """
        raise NotImplementedError


class GroupedQrels(Grouped[dict[str, dict[str, float]]]):
    """Judgments of one query by several groups: subtopics of the query, or judges.

    ``{query id: {group: {document id: grade}}}``. Diversity metrics read the groups as subtopics, ``map_avgjg`` and its
    like as judges; every other metric sees ``merged``.

    Args:
      data: ids and groups are str; grades are finite.

    Attributes:
      merged: the judgments with the groups taken together: a document has its largest grade.
      groups: per query, the names of its groups.
      group: int32, the group of each judgment, as a place in those of its query.
      entry: int64, the entry of ``merged.interned`` that each judgment is about.
      grade: float64, the grade of each judgment.

    Raises:
      TypeError: an id is not a str, or a grade not a number.
      DataError: a grade is not finite.

    >>> qrels = GroupedQrels({"q1": {"cars": {"d1": 1, "d2": 1}, "cats": {"d2": 2}}})
    >>> qrels["q1"]["cats"], qrels.merged["q1"]
    ({'d2': 2.0}, {'d1': 1, 'd2': 2})
    """

    def __init__(self, data: Mapping[str, Mapping[str, Mapping[str, Any]]]):
        if not isinstance(data, Mapping):
            raise TypeError(
                f"GroupedQrels takes a mapping {{query id: {{group: {{document id: grade}}}}}}, got "
                f"{type(data).__name__}; files are read with GroupedQrels.read(path)"
            )
        self._data: dict[str, dict[str, dict[str, float]]] = {}
        for query, groups in data.items():
            if not isinstance(groups, Mapping):
                raise TypeError(f"query {query!r}: expected a mapping {{group: {{document id: grade}}}}")
            # A table of one query checks ids and grades.
            self._data[query] = {
                name_of(group, query): {d: float(g) for d, g in Qrels({query: grades})[query].items()}
                for group, grades in groups.items()
            }
        merged: dict[str, dict[str, float]] = {}
        for query, groups in self._data.items():
            best = merged.setdefault(query, {})
            for grades in groups.values():
                for document, grade in grades.items():
                    best[document] = max(grade, best.get(document, grade))
        self.merged = Qrels(merged)
        self.groups = tuple(tuple(groups) for groups in self._data.values())
        group, entry, grade, start = [], [], [], 0
        for groups, best in zip(self._data.values(), merged.values(), strict=True):
            place = dict(zip(best, range(start, start + len(best)), strict=True))
            for number, grades in enumerate(groups.values()):
                group += [number] * len(grades)
                entry += [place[document] for document in grades]
                grade += grades.values()
            start += len(best)
        self.group = np.array(group, np.int32)
        self.entry = np.array(entry, np.int64)
        self.grade = np.array(grade, np.float64)

    def __getitem__(self, query: str) -> dict[str, dict[str, float]]:
        return {group: dict(grades) for group, grades in self._data[query].items()}

    def __repr__(self) -> str:
        groups = sum(map(len, self.groups))
        return (
            f"{type(self).__name__}({counted(len(self), 'query', 'queries')}, {counted(groups, 'group')}, "
            f"{counted(len(self.grade), 'judgment')})"
        )

    def to_dict(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return plain dictionaries, ``{query id: {group: {document id: grade}}}``."""
        return {query: self[query] for query in self}

    @classmethod
    def parse(cls, data: str | bytes, *, name: str | os.PathLike = "data") -> "GroupedQrels":
        """Read text with a line ``query group document grade`` per judgment, as TREC diversity qrels are written.

        Args:
          data: the text.
          name: what messages call it.

        Raises:
          DataError: it is something else; the message names the line.
        """
        table: dict[str, dict[str, dict[str, float]]] = {}
        for (query, group, document), grade, place in read_rows(data, name, "query group document grade"):
            grades = table.setdefault(query, {}).setdefault(group, {})
            keep(grades, document, grade, place, f"query {query!r}, group {group!r}")
        return cls(table)

    def to_text(self) -> str:
        """Return the lines that ``read`` takes."""
        return "".join(
            f"{query} {group} {document} {grade:.17g}\n"
            for query, groups in self._data.items()
            for group, grades in groups.items()
            for document, grade in grades.items()
        )

    def write(self, path: str | os.PathLike) -> None:
        """Write a file, whole or not at all.

        Args:
          path: the file.

        Raises:
          DataError: the file cannot be written.
        """
        with files.atomic_write(path) as file:
            file.write(self.to_text())


def name_of(group: Any, query: str) -> str:
    """Return the name of a group, which must be a str.

    Args:
      group: the name.
      query: the query, for the message.
    """
    if not isinstance(group, str):
        raise TypeError(f"query {query!r}: groups must be str, got {type(group).__name__} {group!r}")
    return group


def read_rows(data: str | bytes, name: Any, form: str) -> Iterator[tuple[tuple[str, ...], float, str]]:
    """Yield the fields of each line but the last, the number in the last, and file and line as messages name them.

    Args:
      data: the text; blank lines and lines that start with "#" are passed over.
      name: what messages call it.
      form: the line as people write it, the number last.

    Raises:
      DataError: a line has another form, or the text is empty or not UTF-8.
    """
    raw = (data.encode() if isinstance(data, str) else data).removeprefix(b"\xef\xbb\xbf")
    width, found = len(form.split()), False
    for number, line in enumerate(raw.split(b"\n"), 1):
        fields = line.split()
        if not fields or fields[0].startswith(b"#"):
            continue
        place = f"{name}, line {number}"
        if len(fields) != width:
            raise DataError(
                f"{place}: {counted(len(fields), 'column')}, expected {width}",
                reason="malformed",
                hint=f"a line is: {form}",
            )
        value = parse_number(fields[-1], place, form.split()[-1])
        try:
            texts = tuple(field.decode() for field in fields[:-1])
        except UnicodeDecodeError:
            raise encoding_error(raw, name) from None
        found = True
        yield texts, value, place
    if not found:
        raise DataError(f"{name} holds no line", reason="empty", hint=f"expected: {form}")


def keep(levels: dict[str, float], document: str, value: float, place: str, what: str) -> None:
    """Put a document into a dictionary that does not hold it yet.

    Args:
      levels: the dictionary.
      document: the document.
      value: its number.
      place: file and line.
      what: what it is about, for the message.

    Raises:
      DataError: it is there already.
    """
    if document in levels:
        raise DataError(
            f"{place}: document {document!r} comes a second time for {what}",
            reason="duplicate",
            hint="keep one of the two lines",
        )
    levels[document] = value
