"""Comma-separated files with a header: query, document, and score or grade."""

import csv
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from jrank.errors import DataError
from jrank.runs._columns import to_columns
from jrank.runs._lines import MAX_LINE, Columns, parse_number
from jrank.runs._vocabulary import Vocabulary

__all__ = ["read_qrels", "read_run", "write"]

# Names of columns in use, without "-", "_" and blanks.
QUERY = ("query", "queryid", "qid", "q", "topic", "topicid")
DOCUMENT = ("document", "documentid", "doc", "docid", "docno", "did", "corpusid", "passageid", "pid")
VALUE = {
    "score": ("score", "sim", "similarity", "value"),
    "grade": ("grade", "relevance", "rel", "label", "score", "value"),
}


def read_run(data: bytes, path: str | os.PathLike) -> Columns:
    """Read a run.

    Args:
      data: the file.
      path: what messages call it.
    """
    return _read(data, path, "score")


def read_qrels(data: bytes, path: str | os.PathLike) -> Columns:
    """Read relevance judgments.

    Args:
      data: the file.
      path: what messages call it.
    """
    return _read(data, path, "grade")


def _read(data: bytes, path: str | os.PathLike, what: str) -> Columns:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8", reason="encoding", hint="save it as UTF-8"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    csv.field_size_limit(MAX_LINE)
    queries, documents, values, lines = [], [], [], []
    try:
        header = next(reader, [])
        at = [_find(header, names, path, name) for names, name in ((QUERY, "query"), (DOCUMENT, "document"))]
        at.append(_find(header, VALUE[what], path, what))
        for row in reader:
            if not row:
                continue
            place = f"{path}, line {reader.line_num}"
            if len(row) != len(header):
                raise DataError(f"{place}: {len(row)} columns, expected {len(header)}", reason="malformed")
            queries.append(row[at[0]])
            documents.append(row[at[1]])
            values.append(parse_number(row[at[2]].strip(), place, what))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}", reason="malformed") from None
    if not values:
        raise DataError(f"{path} holds no line below its header", reason="empty")
    query_names, rows = Vocabulary.intern(queries)
    document_names, codes = Vocabulary.intern(documents)
    return Columns(query_names.names, rows, document_names.names, codes, np.array(values), np.array(lines), "")


def _find(header: list[str], names: tuple[str, ...], path: str | os.PathLike, what: str) -> int:
    plain = [name.lower().replace("-", "").replace("_", "").replace(" ", "") for name in header]
    for name in names:
        if name in plain:
            return plain.index(name)
    raise DataError(
        f"{path}, line 1: no column for the {what} among {', '.join(header) or 'nothing'}",
        reason="malformed",
        hint="write a header: query,document,score",
    )


def write(table: Any) -> Iterator[str]:
    """Yield the lines of a table, with a header.

    Args:
      table: a Run or Qrels.
    """
    columns = to_columns(table)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(row)
        if buffer.tell() > 1 << 20:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()
