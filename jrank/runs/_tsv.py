"""Tab-separated files with a header, as BEIR ships relevance judgments: query-id, corpus-id, score."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from jrank.errors import DataError
from jrank.runs._lines import MAX_LINE, Columns, parse_number
from jrank.runs._trec import _lists
from jrank.runs._vocabulary import Vocabulary

__all__ = ["read", "write"]

FORM = "query-id<TAB>corpus-id<TAB>score"


def read(data: bytes, path: str | os.PathLike) -> Columns:
    """Read three tab-separated columns; a first line whose third column is no number is the header.

    Args:
      data: the file.
      path: what messages call it.

    Raises:
      DataError: a line has another form, a number is not finite, the text is not UTF-8.
    """
    queries, documents, values, lines = [], [], [], []
    first = True
    for number, raw in enumerate(data.split(b"\n"), 1):
        place = f"{path}, line {number}"
        if len(raw) > MAX_LINE:
            raise DataError(f"{place}: longer than {MAX_LINE} bytes", reason="too_large")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{place}: byte {error.start} is not UTF-8", reason="encoding", hint="save it as UTF-8"
            ) from None
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) != 3:
            raise DataError(
                f"{place}: {len(fields)} tab-separated columns, expected 3",
                reason="malformed",
                hint=f"a line is: {FORM}",
            )
        if first and not _is_number(fields[2]):
            first = False
            continue
        first = False
        values.append(parse_number(fields[2].strip(), place, "score"))
        queries.append(fields[0])
        documents.append(fields[1])
        lines.append(number)
    if not values:
        raise DataError(f"{path} holds no line of judgments", reason="empty", hint=f"expected: {FORM}")
    query_names, rows = Vocabulary.intern(queries)
    document_names, codes = Vocabulary.intern(documents)
    return Columns(
        query_names.names, rows, document_names.names, codes, np.array(values, np.float64), np.array(lines), ""
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write(table: Any) -> Iterator[str]:
    """Yield the lines of a table, with a header.

    Args:
      table: a Run or Qrels.

    Raises:
      DataError: an id holds a tab or a line end.
    """
    data = getattr(table, "ranked", table.interned)
    for text in (*data.queries, *data.vocabulary.names):
        if any(c in text for c in "\t\r\n"):
            raise DataError(f"the id {text!r} cannot stand in a .tsv file", reason="invalid_value", hint="use .json")
    yield "query-id\tcorpus-id\tscore\n"
    for query, documents, values in _lists(data):
        for document, value in zip(documents, values, strict=True):
            yield f"{query}\t{document}\t{int(value) if value == int(value) else repr(value)}\n"
