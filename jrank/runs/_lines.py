"""Whitespace-separated columns, quickly where every line is regular and precisely where one is not."""

import os
from dataclasses import dataclass

import numpy as np

from jrank.errors import DataError
from jrank.runs._vocabulary import Interner

__all__ = ["Columns", "Layout", "parse_columns"]

# About as much text as stays in the cache of one core together with what is made of it.
CHUNK = 1 << 22
MAX_LINE = 8 << 20


@dataclass(frozen=True)
class Layout:
    """Where things stand in a line.

    Attributes:
      name: what the format is called in messages.
      form: the line as people write it.
      width: how many columns there are.
      query: column of the query id.
      document: column of the document id.
      value: column of the number.
      what: what the number is called.
      open_end: whether the last column may hold blanks.
    """

    name: str
    form: str
    width: int
    query: int
    document: int
    value: int
    what: str
    open_end: bool = False


@dataclass
class Columns:
    """What the lines of a file held.

    Attributes:
      queries: distinct query ids, in order of appearance.
      rows: int32, the query of each entry.
      documents: distinct document ids.
      codes: int32, the document of each entry.
      values: float64, the number of each entry.
      lines: the 1-based line of each entry.
      last: the last column of the first entry.
    """

    queries: list[str]
    rows: np.ndarray
    documents: list[str]
    codes: np.ndarray
    values: np.ndarray
    lines: np.ndarray
    last: str


def parse_columns(data: bytes, path: str | os.PathLike, layout: Layout) -> Columns:
    """Read lines of columns; blank lines and lines that start with "#" are passed over.

    Args:
      data: the file.
      path: what messages call it.
      layout: where things stand.

    Raises:
      DataError: a line has another form, a number is no finite number, an id is not UTF-8, a line is too long.
    """
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    queries, documents = Interner(), Interner()
    rows, codes, values, lines = [], [], [], []
    last = b""
    start, number = 0, 1
    while start < len(data):
        stop = len(data)
        if stop - start > CHUNK:
            stop = data.rfind(b"\n", start, start + CHUNK) + 1 or data.find(b"\n", start + CHUNK) + 1 or len(data)
        chunk = data[start:stop]
        parsed = _regular(chunk, layout) or _irregular(chunk, path, number, layout)
        tokens, found, line = parsed
        if found.size:
            if not rows:
                last = tokens[3]
            rows.append(queries.encode(tokens[0], len(tokens[0])))
            codes.append(documents.encode(tokens[1], len(tokens[1])))
            values.append(found)
            lines.append(line + number)
        number += chunk.count(b"\n")
        start = stop
    if not rows:
        raise DataError(f"{path} holds no {layout.name} line", reason="empty", hint=f"expected: {layout.form}")
    try:
        query_names = [token.decode() for token in queries.names]
        document_names = [token.decode() for token in documents.names]
    except UnicodeDecodeError:
        raise _encoding_error(data, path) from None
    return Columns(
        query_names,
        np.concatenate(rows),
        document_names,
        np.concatenate(codes),
        np.concatenate(values),
        np.concatenate(lines),
        last.decode(errors="replace"),
    )


def _regular(chunk: bytes, layout: Layout) -> tuple[tuple, np.ndarray, np.ndarray] | None:
    """Split all lines at once; None if one needs a closer look."""
    text = np.frombuffer(chunk, np.uint8)
    blank = text <= 32
    begins = ~blank
    begins[1:] &= blank[:-1]
    starts = np.flatnonzero(begins)
    ends = np.flatnonzero(text == 10)
    if not len(ends) or ends[-1] != len(text) - 1:
        ends = np.append(ends, len(text))
    if len(ends) and np.max(np.diff(ends, prepend=-1)) > MAX_LINE:
        return None
    upto = np.searchsorted(starts, ends)
    counts = np.diff(upto, prepend=0)
    if not np.all((counts == layout.width) | (counts == 0)):
        return None
    line = np.flatnonzero(counts)
    if np.any(text[starts[:: layout.width]] == ord("#")):
        return None
    tokens = chunk.split()
    # Control characters that do not separate words would shift the columns.
    if len(tokens) != len(starts):
        return None
    width = layout.width
    numbers = tokens[layout.value :: width]
    try:
        values = np.fromiter(map(float, numbers), np.float64, len(numbers))
    except ValueError:
        return None
    if not np.isfinite(values).all() or b"_" in b"".join(numbers):
        return None
    first = tokens[width - 1] if tokens else b""
    return (tokens[layout.query :: width], tokens[layout.document :: width], numbers, first), values, line


def _irregular(chunk: bytes, path: str | os.PathLike, number: int, layout: Layout):
    queries, documents, values, lines = [], [], [], []
    first = b""
    for index, line in enumerate(chunk.split(b"\n")):
        place = f"{path}, line {number + index}"
        if len(line) > MAX_LINE:
            raise DataError(f"{place}: longer than {MAX_LINE} bytes", reason="too_large")
        fields = line.split(None, layout.width - 1) if layout.open_end else line.split()
        if not fields or fields[0].startswith(b"#"):
            continue
        if len(fields) != layout.width:
            raise DataError(
                f"{place}: {len(fields)} columns, expected {layout.width}",
                reason="malformed",
                hint=f"a {layout.name} line is: {layout.form}",
            )
        values.append(parse_number(fields[layout.value], place, layout.what))
        queries.append(fields[layout.query])
        documents.append(fields[layout.document])
        lines.append(index)
        first = first or fields[-1].rstrip()
    return (queries, documents, [], first), np.array(values, np.float64), np.array(lines, np.int64)


def parse_number(token: bytes | str, place: str, what: str) -> float:
    """Return a finite number, or say where it is none.

    Args:
      token: the text.
      place: file and line.
      what: what the number is called.

    Raises:
      DataError: the text is no number, or the number is not finite.
    """
    shown = token.decode(errors="replace") if isinstance(token, bytes) else token
    try:
        if "_" in shown:
            raise ValueError
        value = float(token)
    except ValueError:
        raise DataError(f"{place}: the {what} is {shown!r}, expected a number", reason="invalid_value") from None
    if not np.isfinite(value):
        raise DataError(f"{place}: the {what} is {shown!r}, expected a finite number", reason="invalid_value")
    return value


def _encoding_error(data: bytes, path: str | os.PathLike) -> DataError:
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return DataError(
                f"{path}, line {number}: byte {error.start} is not UTF-8", reason="encoding", hint="save it as UTF-8"
            )
    return DataError(f"{path} is not UTF-8", reason="encoding", hint="save it as UTF-8")
