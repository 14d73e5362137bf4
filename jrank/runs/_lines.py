"""Columns between blanks or tabs, quickly where every line is regular and precisely where one is not."""

import os
from dataclasses import dataclass

import numpy as np

from jrank.errors import DataError
from jrank.runs._fields import split_fields
from jrank.runs._vocabulary import Interner

__all__ = ["Columns", "Layout", "encoding_error", "parse_columns", "parse_number"]

# About as much text as stays in the cache of one core together with what is made of it.
CHUNK = 1 << 19
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
      tabs: whether tabs alone separate columns; there are no comments then, and the first line may be a header.
    """

    name: str
    form: str
    width: int
    query: int
    document: int
    value: int
    what: str
    open_end: bool = False
    tabs: bool = False


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
    start, number = _skip_header(data, layout) if layout.tabs else (0, 1)
    while start < len(data):
        stop = len(data)
        if stop - start > CHUNK:
            stop = data.rfind(b"\n", start, start + CHUNK) + 1 or data.find(b"\n", start + CHUNK) + 1 or len(data)
        chunk = data[start:stop]
        parsed = _regular(chunk, layout)
        regular = parsed is not None
        parsed = parsed if parsed is not None else _irregular(chunk, path, number, layout)
        names, counts, ids, found, line, end = parsed
        if found.size:
            if not rows:
                last = end
            rows.append(np.repeat(queries.encode(names, len(names)), counts))
            codes.append(documents.encode(ids, len(ids)))
            values.append(found)
            lines.append(line + number)
        # A regular chunk has one entry for each line.
        number += len(line) if regular else chunk.count(b"\n")
        start = stop
    if not rows:
        raise DataError(f"{path} holds no {layout.name} line", reason="empty", hint=f"expected: {layout.form}")
    try:
        query_names = [token.decode() for token in queries.names]
        document_names = [token.decode() for token in documents.names]
    except UnicodeDecodeError:
        raise encoding_error(data, path) from None
    return Columns(
        query_names,
        np.concatenate(rows),
        document_names,
        np.concatenate(codes),
        np.concatenate(values),
        np.concatenate(lines),
        last.decode(errors="replace"),
    )


def _skip_header(data: bytes, layout: Layout) -> tuple[int, int]:
    """Return where the line behind the header starts, and its number; the header's number column is no number."""
    start, number = 0, 1
    while start < len(data):
        stop = data.find(b"\n", start) + 1 or len(data)
        fields = _split(data[start:stop], layout)
        if len(fields) == layout.width:
            try:
                float(fields[layout.value])
            except ValueError:
                return stop, number + 1
        if fields:
            break
        start, number = stop, number + 1
    return start, number


def _split(line: bytes, layout: Layout) -> list[bytes]:
    """Return the fields of a line; none of a line that is passed over."""
    if layout.tabs:
        return line.rstrip(b"\r\n").split(b"\t") if line.strip() else []
    fields = line.split(None, layout.width - 1) if layout.open_end else line.split()
    return [] if fields and fields[0].startswith(b"#") else fields


def _regular(chunk: bytes, layout: Layout) -> tuple | None:
    """Take all lines apart at once; None if one needs a closer look."""
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n")
    fields = split_fields(chunk, layout.width, tabs=layout.tabs)
    if fields is None:
        return None
    names, counts = fields.stretches(layout.query)
    if not layout.tabs and any(name.startswith(b"#") for name in names):
        return None
    values = fields.numbers(layout.value)
    if values is None:
        return None
    return names, counts, fields.strings(layout.document), values, np.arange(len(values)), fields.last(0)


def _irregular(chunk: bytes, path: str | os.PathLike, number: int, layout: Layout) -> tuple:
    """Look at every line; the same as ``_regular`` returns."""
    queries, documents, values, lines = [], [], [], []
    first = b""
    for index, line in enumerate(chunk.split(b"\n")):
        place = f"{path}, line {number + index}"
        if len(line) > MAX_LINE:
            raise DataError(f"{place}: longer than {MAX_LINE} bytes", reason="too_large")
        fields = _split(line, layout)
        if not fields:
            continue
        if len(fields) != layout.width:
            kind = "tab-separated columns" if layout.tabs else "columns"
            raise DataError(
                f"{place}: {len(fields)} {kind}, expected {layout.width}",
                reason="malformed",
                hint=f"a {layout.name} line is: {layout.form}",
            )
        values.append(parse_number(fields[layout.value], place, layout.what))
        queries.append(fields[layout.query])
        documents.append(fields[layout.document])
        lines.append(index)
        first = first or fields[-1].rstrip()
    counts = np.ones(len(queries), np.int64)
    return queries, counts, documents, np.array(values, np.float64), np.array(lines, np.int64), first


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


def encoding_error(data: bytes, path: str | os.PathLike) -> DataError:
    """Return the error that names the first line that is not UTF-8.

    Args:
      data: the file.
      path: what the message calls it.
    """
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return DataError(
                f"{path}, line {number}: byte {error.start} is not UTF-8", reason="encoding", hint="save it as UTF-8"
            )
    return DataError(f"{path} is not UTF-8", reason="encoding", hint="save it as UTF-8")
