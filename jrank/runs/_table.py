"""What Run and Qrels share: a mapping of mappings for people, flat arrays for programs."""

import contextlib
import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from numbers import Real
from typing import Any, ClassVar, TypeVar

import numpy as np

from jrank.errors import DataError
from jrank.runs import _columns, _formats
from jrank.runs._ragged import list_of, offsets_of
from jrank.runs._vocabulary import Interner, Vocabulary

__all__ = ["Interned", "Table", "counted"]

T = TypeVar("T", bound="Table")


@dataclass(frozen=True, eq=False)
class Interned:
    """The arrays behind a Run or Qrels; read-only.

    Attributes:
      queries: the query ids.
      offsets: int64 ``[queries + 1]``; the entries of query i stand at ``offsets[i]`` to ``offsets[i + 1]``.
      codes: int32, the document of each entry, as a code of ``vocabulary``.
      values: float64, the score or grade of each entry.
      vocabulary: the document ids.
    """

    queries: tuple[str, ...]
    offsets: np.ndarray
    codes: np.ndarray
    values: np.ndarray
    vocabulary: Vocabulary

    def __post_init__(self):
        for part in (self.offsets, self.codes, self.values):
            part.flags.writeable = False

    @property
    def lengths(self) -> np.ndarray:
        """How many entries each query has."""
        return np.diff(self.offsets)

    def keys(self, vocabulary_size: int | None = None) -> np.ndarray:
        """Return one int64 per entry that tells query and document.

        Args:
          vocabulary_size: what the query number is multiplied with; that of the own vocabulary by default.
        """
        size = len(self.vocabulary) if vocabulary_size is None else vocabulary_size
        return list_of(self.offsets) * np.int64(max(size, 1)) + self.codes


class Table(Mapping[str, dict[str, Any]]):
    """Query id -> document id -> number, immutable."""

    # What the numbers are called, in messages.
    _what: ClassVar[str] = "value"
    _kind: ClassVar[str] = ""

    def __init__(self, data: Mapping[str, Mapping[str, Any]]):
        self._interned = _intern_mapping(data, type(self).__name__, self._what)
        self._rows: dict[str, int] | None = None

    @classmethod
    def _from_interned(cls: type[T], interned: Interned) -> T:
        table = cls.__new__(cls)
        table._interned = interned
        table._rows = None
        return table

    @classmethod
    def _from_codes(
        cls: type[T],
        queries: list[str],
        rows: np.ndarray,
        vocabulary: Vocabulary,
        codes: np.ndarray,
        values: np.ndarray,
    ) -> T:
        if len(rows) and np.any(rows[1:] < rows[:-1]):
            order = np.argsort(rows, kind="stable")
            rows, codes, values = rows[order], codes[order], values[order]
        offsets = offsets_of(np.bincount(rows, minlength=len(queries)))
        return cls._from_interned(Interned(tuple(queries), offsets, codes, values, vocabulary))

    @property
    def interned(self) -> Interned:
        """The entries as flat arrays, in the order in which they were given."""
        return self._interned

    @property
    def _row_of(self) -> dict[str, int]:
        if self._rows is None:
            queries = self._interned.queries
            self._rows = dict(zip(queries, range(len(queries)), strict=True))
        return self._rows

    def _listed(self) -> Interned:
        """The arrays in the order in which entries are shown."""
        return self._interned

    def _numbers(self, values: np.ndarray) -> list[Any]:
        return values.tolist()

    def __getitem__(self, query: str) -> dict[str, Any]:
        row = self._row_of[query]
        data = self._listed()
        part = slice(data.offsets[row], data.offsets[row + 1])
        names = data.vocabulary.names
        return dict(zip([names[c] for c in data.codes[part].tolist()], self._numbers(data.values[part]), strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self._interned.queries)

    def __len__(self) -> int:
        return len(self._interned.queries)

    def __contains__(self, query: object) -> bool:
        return query in self._row_of

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        if len(self) != len(other) or len(self._interned.codes) != len(other._interned.codes):
            return False
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain dictionaries, ``{query id: {document id: number}}``."""
        data = self._listed()
        names = data.vocabulary.array[data.codes].tolist()
        numbers = self._numbers(data.values)
        bounds = data.offsets.tolist()
        return {
            query: dict(zip(names[start:stop], numbers[start:stop], strict=True))
            for query, start, stop in zip(data.queries, bounds[:-1], bounds[1:], strict=True)
        }

    @classmethod
    def from_columns(
        cls: type[T], data: Any, *, query: str = "query", document: str = "document", value: str = ""
    ) -> T:
        """Build from columns: a pandas or polars frame, an Arrow table, or a dictionary of lists or arrays.

        Args:
          data: anything where ``data[name]`` is a column.
          query: the name of the column with query ids.
          document: the name of the column with document ids.
          value: the name of the column with numbers; "score" for a Run and "grade" for Qrels by default.

        Raises:
          DataError: a column is missing, columns differ in length, a document comes twice for a query, or a number is
            not finite.
          TypeError: an id is not a str, or a number not a number.
        """
        return _columns.from_columns(cls, data, query, document, value or cls._what)

    def to_columns(self) -> dict[str, list]:
        """Return three lists, "query", "document" and "score" or "grade", as ``pandas.DataFrame`` takes them."""
        return _columns.to_columns(self)

    @classmethod
    def read(cls: type[T], path: str | os.PathLike, *, format: str | None = None) -> T:
        """Read a file.

        Args:
          path: the file, in UTF-8; ``.gz`` is decompressed.
          format: "trec", "tsv", "csv", "json" or "parquet" (needs pyarrow); None decides by the ending of the name,
            then by the first line.

        Raises:
          DataError: the file cannot be read or holds something else; the message names the line.
        """
        return _formats.read(cls, path, format)

    @classmethod
    def parse(cls: type[T], data: str | bytes, *, format: str | None = None, name: str = "data") -> T:
        """Read the text of a file that is not on disk, such as standard input.

        Args:
          data: the text, or the bytes of a file that is not compressed.
          format: as for ``read``; None decides by the first line.
          name: what messages call it.

        Raises:
          DataError: it is no such table; the message names the line.
        """
        return _formats.parse(cls, data.encode() if isinstance(data, str) else data, name, format)

    def to_text(self, format: str = "trec") -> str:
        """Return the text that ``write`` puts into a file.

        Args:
          format: "trec", "tsv", "csv" or "json".

        Raises:
          DataError: the format is unknown or no text, or cannot hold an id.
        """
        return _formats.text(self, format)

    def write(self, path: str | os.PathLike, *, format: str | None = None) -> None:
        """Write a file, whole or not at all.

        Args:
          path: the file; ``.gz`` is compressed.
          format: "trec", "tsv", "csv", "json" or "parquet" (needs pyarrow); None decides by the ending of the name, and
            takes "trec" for any other.

        Raises:
          DataError: the file cannot be written, or the format cannot hold an id.
        """
        _formats.write(self, path, format)


def _intern_mapping(data: Any, kind: str, what: str) -> Interned:
    if not isinstance(data, Mapping):
        raise TypeError(
            f"{kind} takes a mapping {{query id: {{document id: {what}}}}}, got {type(data).__name__}; "
            f"files are read with {kind}.read(path)"
        )
    queries = tuple(data)
    lists = list(data.values())
    for query in queries:
        if not isinstance(query, str):
            raise TypeError(f"query ids must be str, got {type(query).__name__} {query!r}; write str({query!r})")
    for query, items in zip(queries, lists, strict=True):
        if not isinstance(items, Mapping):
            raise TypeError(f"query {query!r}: expected a mapping {{document id: {what}}}, got {type(items).__name__}")
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    interner = Interner()
    codes = interner.encode(chain.from_iterable(lists), int(lengths.sum()))
    vocabulary = Vocabulary(interner.names)
    values = _to_floats(lists, lambda i: _entry(queries, lists, i), what)
    # No str equals anything but a str, so the distinct ids tell for all.
    if any(not issubclass(kind, str) for kind in set(map(type, vocabulary.names))):
        query, bad = next(
            (q, d) for q, part in zip(queries, lists, strict=True) for d in part if not isinstance(d, str)
        )
        raise TypeError(
            f"query {query!r}: document ids must be str, got {type(bad).__name__} {bad!r}; write str({bad!r})"
        )
    return Interned(queries, offsets_of(lengths), codes, values, vocabulary)


def _entry(queries: tuple[str, ...], lists: list[Mapping], index: int) -> str:
    for query, items in zip(queries, lists, strict=True):
        if index < len(items):
            return f"query {query!r}, document {list(items)[index]!r}"
        index -= len(items)
    return "an entry"


def _to_floats(lists: list[Mapping], where: Any, what: str) -> np.ndarray:
    values = [part.values() for part in lists]
    if set(map(type, chain.from_iterable(values))) <= {float, int}:
        # The usual case; only an int can be too large.
        with contextlib.suppress(OverflowError):
            return _finite(np.fromiter(chain.from_iterable(values), np.float64), where, what)
    try:
        # Takes anything that is a number, and nothing that has to be read as one.
        floats = array("d", chain.from_iterable(values))
    except (TypeError, ValueError, OverflowError, DeprecationWarning):
        floats = array("d")
        for index, number in enumerate(chain.from_iterable(values)):
            if not isinstance(number, Real) and not (hasattr(number, "__float__") and getattr(number, "ndim", 1) == 0):
                raise TypeError(
                    f"{where(index)}: the {what} must be a number, got {type(number).__name__} {number!r}"
                ) from None
            try:
                floats.append(float(number))
            except OverflowError:
                raise DataError(f"{where(index)}: the {what} is too large", reason="invalid_value") from None
    return _finite(np.array(floats), where, what)


def _finite(values: np.ndarray, where: Any, what: str) -> np.ndarray:
    if not np.isfinite(values).all() and (bad := np.isnan(values) | (values == np.inf)).any():
        index = int(np.argmax(bad))
        raise DataError(
            f"{where(index)}: the {what} is {values[index]}, expected a finite number",
            reason="invalid_value",
            hint="leave the document out if it has none",
        )
    return values


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun.

    Args:
      number: how many.
      one: the noun for one.
      many: the noun for several; ``one`` with an "s" by default.

    >>> counted(1, "query", "queries"), counted(2, "judgment")
    ('1 query', '2 judgments')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
