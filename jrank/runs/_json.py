"""JSON files: one object, {query id: {document id: number}}."""

import json
import os
from collections.abc import Iterator
from typing import Any

from jrank.errors import DataError

__all__ = ["read", "write"]


def read(data: bytes, path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Return the object in the file.

    Args:
      data: the file.
      path: what messages call it.

    Raises:
      DataError: the file is not such an object, or an id comes twice in one object.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            seen = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            raise DataError(f"{path}: the id {twice!r} comes twice in one object", reason="duplicate")
        return result

    def no_constant(text: str) -> float:
        raise DataError(f"{path}: {text} is no finite number", reason="invalid_value")

    try:
        value = json.loads(data, object_pairs_hook=unique, parse_constant=no_constant)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8", reason="encoding", hint="save it as UTF-8"
        ) from None
    except (json.JSONDecodeError, RecursionError) as error:
        place = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise DataError(f"{path}: not JSON: {place}", reason="malformed") from None
    if not isinstance(value, dict) or not all(isinstance(items, dict) for items in value.values()):
        raise DataError(f"{path}: expected an object {{query id: {{document id: number}}}}", reason="malformed")
    for query, items in value.items():
        for document, number in items.items():
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise DataError(
                    f"{path}: query {query!r}, document {document!r}: {number!r} is no number", reason="invalid_value"
                )
    if not value:
        raise DataError(f"{path} holds no query", reason="empty")
    return value


def write(table: Any) -> Iterator[str]:
    """Yield the text of a table.

    Args:
      table: a Run or Qrels.
    """
    yield json.dumps(table.to_dict(), ensure_ascii=False, indent=1)
    yield "\n"
