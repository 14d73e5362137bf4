"""Errors carry a reason and a remedy, and survive a trip through another process."""

import inspect
import pickle
from enum import StrEnum

import pytest

from jrank import errors

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, errors.JrankError)]
CLASSES.remove(errors.JrankError)


@pytest.mark.parametrize("kind", CLASSES)
def test_errors_carry_reason_and_hint(kind):
    member = next(iter(kind.Reason))
    assert issubclass(kind.Reason, StrEnum)
    error = kind("this came", reason=str(member), hint="do that")
    assert (error.reason, error.hint, str(error)) == (member, "do that", "this came; do that")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.reason, str(again)) == (kind, member, str(error))


def test_unknown_reasons_are_refused():
    with pytest.raises(ValueError, match="not a valid"):
        errors.SoftError("x", reason="nonsense")


def test_input_errors_are_value_errors():
    for kind in (errors.SoftError, errors.LearnError, errors.RetrieveError, errors.DataError, errors.ModelError):
        assert issubclass(kind, ValueError)
    assert issubclass(errors.MissingExtraError, ImportError)


def test_require_names_the_line_that_installs():
    with pytest.raises(
        errors.MissingExtraError, match=r'no_such_module is not installed; run: pip install "jrank\[plot\]"'
    ):
        errors.require("no_such_module", "plot")
