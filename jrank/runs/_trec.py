"""The TREC formats: runs of six columns, relevance judgments of four."""

import os
from collections.abc import Iterator
from typing import Any

from jrank.errors import DataError
from jrank.runs._lines import Columns, Layout, parse_columns

__all__ = ["QRELS", "RUN", "read_qrels", "read_run", "write_qrels", "write_run"]

RUN = Layout("TREC run", "query Q0 document rank score name", 6, 0, 2, 4, "score", open_end=True)
QRELS = Layout("TREC qrels", "query 0 document grade", 4, 0, 2, 3, "grade")


def read_run(data: bytes, path: str | os.PathLike) -> Columns:
    """Read a run; the column with the rank is passed over, since order comes from scores.

    Args:
      data: the file.
      path: what messages call it.
    """
    return parse_columns(data, path, RUN)


def read_qrels(data: bytes, path: str | os.PathLike) -> Columns:
    """Read relevance judgments.

    Args:
      data: the file.
      path: what messages call it.
    """
    return parse_columns(data, path, QRELS)


def write_run(run: Any) -> Iterator[str]:
    """Yield the lines of a run, best document first.

    Args:
      run: a Run.

    Raises:
      DataError: an id cannot stand in a column.
    """
    data = run.ranked
    name = "_".join(run.name.split()) or "jrank"
    _check(data, RUN.name)
    for query, documents, scores in _lists(data):
        for rank, (document, score) in enumerate(zip(documents, scores, strict=True), 1):
            yield f"{query} Q0 {document} {rank} {score!r} {name}\n"


def write_qrels(qrels: Any) -> Iterator[str]:
    """Yield the lines of relevance judgments.

    Args:
      qrels: a Qrels.

    Raises:
      DataError: an id cannot stand in a column.
    """
    data = qrels.interned
    _check(data, QRELS.name)
    for query, documents, grades in _lists(data):
        for document, grade in zip(documents, grades, strict=True):
            yield f"{query} 0 {document} {int(grade) if grade == int(grade) else repr(grade)}\n"


def _lists(data: Any) -> Iterator[tuple[str, list[str], list[float]]]:
    names = data.vocabulary.names
    bounds = data.offsets.tolist()
    for query, start, stop in zip(data.queries, bounds[:-1], bounds[1:], strict=True):
        yield query, [names[code] for code in data.codes[start:stop].tolist()], data.values[start:stop].tolist()


def _check(data: Any, name: str) -> None:
    for what, ids in (("query", data.queries), ("document", data.vocabulary.names)):
        for text in ids:
            # Blanks would move the columns; a query that starts with "#" would read as a comment.
            if not text or len(text.split()) != 1 or text != text.strip() or (what == "query" and text[0] == "#"):
                raise DataError(
                    f"the {what} id {text!r} cannot stand in a {name} file",
                    reason="invalid_value",
                    hint='use a ".json" file, or ids without blanks',
                )
