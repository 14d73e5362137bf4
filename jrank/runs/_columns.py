"""Tables as three columns, the form that data frames share."""

from typing import Any

import numpy as np

from jrank.errors import DataError

__all__ = ["from_columns", "to_columns"]


def _column(data: Any, name: str) -> list:
    try:
        column = data[name]
    except Exception:  # every frame library raises an error of its own
        known = next(
            (
                names
                for names in (getattr(data, "column_names", None), getattr(data, "columns", None))
                if names is not None
            ),
            None,
        )
        known = list(data) if isinstance(data, dict) else known
        raise DataError(
            f"there is no column {name!r}",
            reason="malformed",
            hint="name the columns with query=, document= and value="
            + (f"; there are: {', '.join(map(str, known))}" if known is not None else ""),
        ) from None
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, method):
            return getattr(column, method)()
    return list(column)


def from_columns(cls: Any, data: Any, query: str, document: str, value: str) -> Any:
    """Build a table; see ``Table.from_columns``.

    Args:
      cls: Run or Qrels.
      data: anything where ``data[name]`` is a column.
      query: the name of the column with query ids.
      document: the name of the column with document ids.
      value: the name of the column with numbers.
    """
    queries, documents, numbers = (_column(data, name) for name in (query, document, value))
    if not len(queries) == len(documents) == len(numbers):
        raise DataError(
            f"the columns have {len(queries)}, {len(documents)} and {len(numbers)} entries, expected the same number",
            reason="malformed",
        )
    nested: dict[Any, dict[Any, Any]] = {}
    for line, (q, d, number) in enumerate(zip(queries, documents, numbers, strict=True)):
        entries = nested.setdefault(q, {})
        if d in entries:
            raise DataError(
                f"row {line}: document {d!r} comes a second time for query {q!r}",
                reason="duplicate",
                hint="keep one of the two rows",
            )
        entries[d] = number
    return cls(nested)


def to_columns(table: Any) -> dict[str, list]:
    """Return three lists; see ``Table.to_columns``.

    Args:
      table: a Run or Qrels.
    """
    data = table._listed()
    queries = np.empty(len(data.queries), object)
    queries[:] = data.queries
    return {
        "query": np.repeat(queries, data.lengths).tolist(),
        "document": data.vocabulary.array[data.codes].tolist(),
        table._what: table._numbers(data.values),
    }
