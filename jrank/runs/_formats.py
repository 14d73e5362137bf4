"""Which reader and writer a file gets."""

import gzip
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jrank import files
from jrank.errors import DataError
from jrank.runs import _csv, _json, _parquet, _trec, _tsv
from jrank.runs._lines import Columns
from jrank.runs._ragged import count_distinct
from jrank.runs._vocabulary import Vocabulary

__all__ = ["FORMATS", "parse", "read", "read_file", "text", "write"]

Reader = Callable[[bytes, str | os.PathLike], Any]
Writer = Callable[[Any], Iterable[Any]]

# Format -> kind of table -> reader and writer. A new format is one file and one line.
FORMATS: dict[str, dict[str, tuple[Reader, Writer]]] = {
    "trec": {"run": (_trec.read_run, _trec.write_run), "qrels": (_trec.read_qrels, _trec.write_qrels)},
    "tsv": {"run": (_tsv.read, _tsv.write), "qrels": (_tsv.read, _tsv.write)},
    "csv": {"run": (_csv.read_run, _csv.write), "qrels": (_csv.read_qrels, _csv.write)},
    "json": {"run": (_json.read, _json.write), "qrels": (_json.read, _json.write)},
    "parquet": {"run": (_parquet.read, _parquet.write), "qrels": (_parquet.read, _parquet.write)},
}

# Ending of a name -> format; any other is decided by content when read, and TREC when written.
ENDINGS = {".json": "json", ".tsv": "tsv", ".csv": "csv", ".parquet": "parquet"}

# Text of this kind shrinks five to twenty times; a hundred is a bomb.
MAX_RATIO = 100
MIN_LIMIT = 64 << 20


def read(cls: Any, path: str | os.PathLike, format: str | None) -> Any:
    """Read a table; see ``Table.read``.

    Args:
      cls: Run or Qrels.
      path: the file.
      format: a key of ``FORMATS``, or None.
    """
    path = Path(path)
    return parse(cls, read_file(path), path, _check(format) or _by_ending(path))


def read_file(path: str | os.PathLike) -> bytes:
    """Read a file of text, decompressing ``.gz`` as far as such text can grow.

    Args:
      path: the file.

    Raises:
      DataError: the file is missing, cut off or too large.
    """
    path = Path(path)
    limit = files.MAX_BYTES
    if path.suffix == ".gz" and path.is_file():
        limit = min(limit, max(MIN_LIMIT, MAX_RATIO * path.stat().st_size))
    return files.read_bytes(path, max_bytes=limit)


def parse(cls: Any, data: bytes, path: str | os.PathLike, format: str | None) -> Any:
    """Read a table from the bytes of a file; see ``Table.parse``.

    Args:
      cls: Run or Qrels.
      data: the bytes.
      path: what messages call them.
      format: a key of ``FORMATS``, or None.
    """
    if not data.strip():
        raise DataError(f"{path} is empty", reason="empty", hint=f"a {cls.__name__} file was expected")
    name = _check(format) or _by_content(data)
    got = FORMATS[name][cls._kind][0](data, path)
    if not isinstance(got, Columns):
        try:
            return cls(got) if isinstance(got, dict) else cls.from_columns(got.columns)
        except DataError as error:
            raise DataError(f"{path}: {error}", reason=error.reason) from None
    _check_duplicates(got, path)
    table = cls._from_codes(got.queries, got.rows, Vocabulary(got.documents), got.codes, got.values)
    if got.last and name == "trec" and hasattr(table, "name"):
        table.name = got.last
    return table


def text(table: Any, format: str) -> str:
    """Return the text of a table; see ``Table.to_text``.

    Args:
      table: a Run or Qrels.
      format: a key of ``FORMATS``, other than "parquet".
    """
    name = _check(format) or "trec"
    if name == "parquet":
        raise DataError("Parquet is no text", reason="invalid_value", hint="write it to a file")
    return "".join(FORMATS[name][table._kind][1](table))


def write(table: Any, path: str | os.PathLike, format: str | None) -> None:
    """Write a table; see ``Table.write``.

    Args:
      table: a Run or Qrels.
      path: the file.
      format: a key of ``FORMATS``, or None.
    """
    path = Path(path)
    name = _check(format) or _by_ending(path) or "trec"
    lines = FORMATS[name][table._kind][1](table)
    try:
        if path.suffix == ".gz":
            # No name and no time in the header: equal tables give equal bytes.
            with files.atomic_write(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
                for line in lines:
                    file.write(line if isinstance(line, bytes) else line.encode())
        elif name == "parquet":
            with files.atomic_write(path, "wb") as file:
                file.writelines(lines)
        else:
            with files.atomic_write(path) as file:
                file.writelines(lines)
    except UnicodeEncodeError as error:
        raise DataError(
            f"an id holds {error.object[error.start : error.end]!r}, which UTF-8 cannot hold", reason="encoding"
        ) from None


def _check(format: str | None) -> str | None:
    if format is not None and format not in FORMATS:
        raise DataError(
            f"unknown format {format!r}", reason="invalid_value", hint=f"known formats: {', '.join(sorted(FORMATS))}"
        )
    return format


def _by_ending(path: Path) -> str | None:
    name = path.name.lower().removesuffix(".gz")
    return next((format for ending, format in ENDINGS.items() if name.endswith(ending)), None)


def _by_content(data: bytes) -> str:
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    # A query id may begin with a brace too.
    if re.match(rb'\{\s*("[^"]*"\s*:|\})', head):
        return "json"
    line = next((part for part in head.split(b"\n") if part.strip() and not part.startswith(b"#")), b"")
    return "tsv" if line.count(b"\t") == 2 and len(line.split()) <= 3 else "trec"


def _check_duplicates(got: Columns, path: str | os.PathLike) -> None:
    keys = got.rows * np.int64(len(got.documents)) + got.codes
    if count_distinct(keys, len(got.queries) * len(got.documents)) == len(keys):
        return
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    second = int(again.min())
    first = int(np.flatnonzero(keys == keys[second])[0])
    raise DataError(
        f"{path}, line {got.lines[second]}: document {got.documents[got.codes[second]]!r} comes a second time for "
        f"query {got.queries[got.rows[second]]!r}, first on line {got.lines[first]}",
        reason="duplicate",
        hint="keep one of the two lines",
    )
