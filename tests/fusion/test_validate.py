"""Findings about runs, one mistake at a time."""

import pytest

from jrank import fusion
from jrank.errors import FusionError

FINE = {"q1": {"a": 2.0, "b": 1.0}, "q2": {"a": 2.0, "c": 1.0}}


@pytest.mark.parametrize(
    ("other", "kinds"),
    [
        (FINE, []),
        ({"q1": {"a": 1.0}}, [("other", "missing_queries", 1)]),
        (
            {"q1": {"x": 1.0}, "q2": {"a": 1.0}},
            [("fine", "no_shared_documents", 1), ("other", "no_shared_documents", 1)],
        ),
        ({"q1": {"a": 1.0, "b": 1.0}, "q2": {"a": 1.0}}, [("other", "equal_scores", 1)]),
        ({"q1": {"a": 1.0, "b": -1.0}, "q2": {"a": -1.0}}, [("other", "negative_scores", 2)]),
        ({"q1": {}, "q2": {"a": 1.0}}, [("fine", "no_shared_documents", 1), ("other", "no_shared_documents", 1)]),
    ],
)
def test_findings(other, kinds):
    found = fusion.validate({"fine": FINE, "other": other})
    assert {(f.run, f.kind, f.count) for f in found} == set(kinds)


def test_one_run_and_none():
    assert fusion.validate([FINE]) == []
    with pytest.raises(FusionError, match="no run"):
        fusion.validate([])
