"""Grades from 0 to 10, against the formula written out."""

import math

import numpy as np
import pytest

from jrank import fusion
from jrank.errors import FusionError


def test_the_formula():
    scores = [0.9, 0.35, -0.2, -1.0, 1.7, -3.0]
    best = max(scores)
    want = [round(10 * (0.6 * min(max((s + 1) / 2.5, 0), 1) + 0.4 * math.exp((s - best) / 0.5))) for s in scores]
    got = fusion.grade(np.array(scores), low=-1, high=1.5, share=0.4, temperature=0.5)
    assert got.tolist() == want


def test_missing_documents_and_extremes():
    scores = np.array([[0.5, np.nan, -np.inf, 1e308], [-np.inf, -np.inf, -np.inf, -np.inf], [2.0, 2.0, 2.0, 2.0]])
    got = fusion.grade(scores)
    assert got.tolist() == [[5, -1, -1, 10], [-1, -1, -1, -1], [10, 10, 10, 10]]
    assert fusion.grade(scores, where=np.array([1, 1, 1, 0])).tolist()[0] == [8, -1, -1, -1]
    assert fusion.grade(np.zeros((2, 0))).shape == (2, 0)


def test_a_better_score_never_has_a_lower_grade():
    scores = np.random.default_rng(0).normal(size=(50, 20))
    order = np.argsort(scores, axis=1)
    grades = np.take_along_axis(fusion.grade(scores), order, axis=1)
    assert (np.diff(grades, axis=1) >= 0).all()
    assert grades.min() >= 0
    assert grades.max() <= 10


@pytest.mark.parametrize("options", [{"low": 1.0}, {"share": 2.0}, {"temperature": 0.0}, {"temperature": -1.0}])
def test_wrong_options(options):
    with pytest.raises(FusionError, match="expected"):
        fusion.grade(np.array([0.5]), **options)


def test_equal_scores_under_the_norm_of_each_system():
    runs = [{"q": {"a": 2.0, "b": 2.0}}, {"q": {"a": 1.0, "c": 0.0}}]
    found = {p: fusion.fuse(runs, method="comb_sum", preset=p)["q"]["b"] for p in ("ranx", "weaviate")}
    assert found == {"ranx": 0.0, "weaviate": 1.0}
    assert fusion.fuse(runs, method="comb_sum", norm="min_max_half")["q"]["b"] == 0.5
    # One document in a list counts 0.5 there, and b lies at the mean of two equal ones.
    assert fusion.fuse(runs, method="dbsf", preset="qdrant")["q"]["b"] == 0.5
