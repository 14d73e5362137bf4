"""Parquet files, where pyarrow is installed: columns query, document, and score or grade."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from jrank.errors import DataError, MissingExtraError
from jrank.runs._columns import to_columns

__all__ = ["ArrowColumns", "read", "write"]


@dataclass
class ArrowColumns:
    """The columns of a file.

    Attributes:
      columns: an Arrow table.
    """

    columns: Any


def _parquet() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError(
            "pyarrow is not installed, which reads and writes Parquet",
            reason="missing",
            hint="run: pip install pyarrow",
        ) from None
    return pa, pa.parquet


def read(data: bytes, path: str | os.PathLike) -> ArrowColumns:
    """Return the columns of a file.

    Args:
      data: the file.
      path: what messages call it.

    Raises:
      DataError: the file is no Parquet file.
      MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = _parquet()
    try:
        return ArrowColumns(parquet.read_table(io.BytesIO(data)))
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not Parquet: {str(error).splitlines()[0]}", reason="malformed") from None


def write(table: Any) -> Iterator[bytes]:
    """Yield the bytes of a file.

    Args:
      table: a Run or Qrels.

    Raises:
      MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = _parquet()
    sink = io.BytesIO()
    parquet.write_table(arrow.table(to_columns(table)), sink)
    yield sink.getvalue()
