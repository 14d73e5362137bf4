"""Every error that jrank raises on purpose.

Each area has one class. An instance carries ``reason``, a member of the class's ``Reason`` enumeration that programs
can branch on, and ``hint``, the remedy that people read. The message says what came and what was expected;
``str(error)`` is the message followed by the hint.

>>> from jrank.errors import RetrieveError
>>> try:
...     raise RetrieveError("the query has no terms", reason="empty_query", hint="pass at least one term")
... except ValueError as error:
...     print(error.reason.name, "|", error)
EMPTY_QUERY | the query has no terms; pass at least one term
"""

import difflib
import importlib
from collections.abc import Iterable
from enum import StrEnum
from types import ModuleType
from typing import Any, ClassVar

__all__ = [
    "DataError",
    "EvalError",
    "ExportError",
    "FusionError",
    "JrankError",
    "LearnError",
    "MissingExtraError",
    "ModelError",
    "RerankError",
    "RetrieveError",
    "ServeError",
    "SoftError",
    "TrainError",
    "did_you_mean",
    "require",
]


class JrankError(Exception):
    """The base of all errors of jrank; what is raised is always one of its children.

    Args:
      message: what came and what was expected, without a full stop at the end.
      reason: a member of ``Reason``, or its value.
      hint: what to do about it; empty if the message says it all.
    """

    # Each child has an enumeration of its own; the base is for catching.
    Reason: ClassVar[Any]
    reason: StrEnum
    hint: str

    def __init__(self, message: str, *, reason: StrEnum | str, hint: str = ""):
        super().__init__(f"{message}; {hint}" if hint else message)
        self.reason = type(self).Reason(reason)
        self.hint = hint
        self._message = message

    def __reduce__(self):
        return _rebuild, (type(self), self._message, str(self.reason), self.hint)


def _rebuild(kind: type[JrankError], message: str, reason: str, hint: str) -> JrankError:
    return kind(message, reason=reason, hint=hint)


class SoftError(JrankError, ValueError):
    """A soft operator was called with a shape, type or option that it cannot take."""

    class Reason(StrEnum):
        """Why the error was raised."""

        UNKNOWN_METHOD = "unknown_method"
        INVALID_PARAMETER = "invalid_parameter"
        SHAPE_MISMATCH = "shape_mismatch"


class LearnError(JrankError, ValueError):
    """A loss, a metric or a transformation was called with input that it cannot take."""

    class Reason(StrEnum):
        """Why the error was raised."""

        EMPTY_INPUT = "empty_input"
        LENGTH_MISMATCH = "length_mismatch"
        INVALID_NDCG = "invalid_ndcg"
        INVALID_PARAMETER = "invalid_parameter"
        INVALID_RELEVANCE = "invalid_relevance"


class RerankError(JrankError, ValueError):
    """Late interaction or reranking was called with input that it cannot take."""

    class Reason(StrEnum):
        """Why the error was raised."""

        DIMENSION_MISMATCH = "dimension_mismatch"
        EMPTY_INPUT = "empty_input"
        INVALID_HEAD_DIMS = "invalid_head_dims"
        INVALID_PARAMETER = "invalid_parameter"
        INVALID_POOL_FACTOR = "invalid_pool_factor"
        INVALID_WINDOW_SIZE = "invalid_window_size"


class RetrieveError(JrankError, ValueError):
    """An index was built or searched with input that it cannot take."""

    class Reason(StrEnum):
        """Why the error was raised."""

        EMPTY_QUERY = "empty_query"
        EMPTY_INDEX = "empty_index"
        DIMENSION_MISMATCH = "dimension_mismatch"
        INVALID_PARAMETER = "invalid_parameter"
        INVALID_SPARSE_VECTOR = "invalid_sparse_vector"
        DUPLICATE_ID = "duplicate_id"
        UNKNOWN_ID = "unknown_id"
        INVALID_INDEX_FILE = "invalid_index_file"


class FusionError(JrankError, ValueError):
    """Runs cannot be fused as asked."""

    class Reason(StrEnum):
        """Why the error was raised."""

        EMPTY_INPUT = "empty_input"
        INVALID_CONFIG = "invalid_config"
        INVALID_RUN = "invalid_run"
        UNKNOWN_METHOD = "unknown_method"
        ZERO_WEIGHTS = "zero_weights"


class EvalError(JrankError, ValueError):
    """A run cannot be evaluated as asked."""

    class Reason(StrEnum):
        """Why the error was raised."""

        EMPTY_INPUT = "empty_input"
        INVALID_PARAMETER = "invalid_parameter"
        INVALID_RELEVANCE = "invalid_relevance"
        LENGTH_MISMATCH = "length_mismatch"
        UNKNOWN_METRIC = "unknown_metric"


class DataError(JrankError, ValueError):
    """A file, or what it holds, is not what was expected."""

    class Reason(StrEnum):
        """Why the error was raised."""

        DUPLICATE = "duplicate"
        EMPTY = "empty"
        ENCODING = "encoding"
        INVALID_VALUE = "invalid_value"
        MALFORMED = "malformed"
        NOT_FOUND = "not_found"
        TOO_LARGE = "too_large"
        UNWRITABLE = "unwritable"


class ModelError(JrankError, ValueError):
    """A model, its weights or its tokenizer cannot be used."""

    class Reason(StrEnum):
        """Why the error was raised."""

        CHECKSUM = "checksum"
        INVALID_CONFIG = "invalid_config"
        INVALID_INPUT = "invalid_input"
        INVALID_WEIGHTS = "invalid_weights"
        NOT_FOUND = "not_found"
        TOO_LONG = "too_long"
        UNKNOWN_FAMILY = "unknown_family"
        UNWRITABLE = "unwritable"


class TrainError(JrankError, ValueError):
    """Training cannot start or go on."""

    class Reason(StrEnum):
        """Why the error was raised."""

        DIVERGED = "diverged"
        EMPTY_INPUT = "empty_input"
        INVALID_DATA = "invalid_data"
        INVALID_PARAMETER = "invalid_parameter"
        INVALID_STATE = "invalid_state"


class ExportError(JrankError):
    """A model was not exported: nothing was written."""

    class Reason(StrEnum):
        """Why the error was raised."""

        CONVERSION = "conversion"
        INVALID_PARAMETER = "invalid_parameter"
        PARITY = "parity"
        QUANTIZATION = "quantization"


class ServeError(JrankError, ValueError):
    """A model cannot be loaded for serving, or a request cannot be answered."""

    class Reason(StrEnum):
        """Why the error was raised."""

        EXTERNAL_DATA = "external_data"
        INFERENCE = "inference"
        INVALID_INPUT = "invalid_input"
        INVALID_MODEL = "invalid_model"
        INVALID_PARAMETER = "invalid_parameter"
        NOT_FOUND = "not_found"
        TOO_LONG = "too_long"


class MissingExtraError(JrankError, ImportError):
    """An optional package is not installed; the message holds the line that installs it."""

    class Reason(StrEnum):
        """Why the error was raised."""

        MISSING = "missing"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The start of a hint about a name that does not exist.

    Args:
      name: what was asked for.
      known: the names that there are.

    Returns:
      A question that ends with a space, or "" if nothing is near.

    >>> did_you_mean("ndgc", ["ndcg", "map", "mrr"])
    'did you mean ndcg? '
    >>> did_you_mean("ndgc", ["map", "mrr"])
    ''
    """
    near = difflib.get_close_matches(name, known, n=2)
    return f"did you mean {' or '.join(near)}? " if near else ""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which line installs it.

    Args:
      module: dotted name of the module.
      extra: the extra of jrank that brings it; "" for a module of the core that a slim installation left out.

    Returns:
      The module.

    Raises:
      MissingExtraError: the module is not installed.

    >>> require("json", "plot").__name__
    'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that is there but fails on an import of its own is another fault: let it be seen.
        if error.name is None or module.split(".")[0] != error.name.split(".")[0]:
            raise
        package = f'"jrank[{extra}]"' if extra else "jrank"
        raise MissingExtraError(
            f"{module.split('.')[0]} is not installed", reason="missing", hint=f"run: pip install {package}"
        ) from None
