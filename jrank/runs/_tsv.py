"""Tab-separated files with a header, as BEIR ships relevance judgments: query-id, corpus-id, score."""

import os
from collections.abc import Iterator
from typing import Any

from jrank.errors import DataError
from jrank.runs._lines import Columns, Layout, parse_columns
from jrank.runs._trec import _lists

__all__ = ["read", "write"]

LAYOUT = Layout(".tsv", "query-id<TAB>corpus-id<TAB>score", 3, 0, 1, 2, "score", tabs=True)


def read(data: bytes, path: str | os.PathLike) -> Columns:
    """Read three tab-separated columns; a first line whose third column is no number is the header.

    Args:
      data: the file.
      path: what messages call it.
    """
    return parse_columns(data, path, LAYOUT)


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
