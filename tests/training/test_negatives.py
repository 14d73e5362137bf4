import numpy as np
import pytest

from jrank.errors import TrainError
from jrank.runs import Hits, Qrels, Run
from jrank.training import mine_negatives

FOUND = {f"q{i}": [f"d{j}" for j in range(10)] for i in range(4)}
QRELS = {"q0": {"d3": 1, "x": 2}, "q1": {"d0": 1}, "q2": {"d1": 0}}


def test_lists_hold_the_relevant_documents_and_then_negatives_in_rank_order():
    mined = mine_negatives(FOUND, QRELS, num_negatives=4)
    assert list(mined) == ["q0", "q1"]  # q2 and q3 have nothing relevant
    docs, labels = mined["q0"]
    assert docs[:2] == ["x", "d3"]
    assert labels == [2, 1, 0, 0, 0, 0]
    negatives = docs[2:]
    assert negatives == sorted(negatives)
    assert len(set(negatives)) == 4
    assert not set(negatives) & {"d3", "x"}


def test_all_candidates_are_taken_where_they_are_few():
    mined = mine_negatives(FOUND, QRELS, num_negatives=50)
    assert mined["q1"] == (["d0", *(f"d{j}" for j in range(1, 10))], [1.0] + [0.0] * 9)


def test_ranks_at_the_top_and_below_the_depth_are_left_out():
    mined = mine_negatives(FOUND, QRELS, num_negatives=50, skip_top=2, depth=6)
    assert mined["q0"][0] == ["x", "d3", "d2", "d4", "d5"]


def test_positives_can_be_limited_and_low_grades_be_negatives():
    mined = mine_negatives(FOUND, QRELS, num_negatives=50, max_positives=1)
    assert mined["q0"][0][0] == "x"
    assert "d3" not in mined["q0"][0]
    mined = mine_negatives(FOUND, QRELS, num_negatives=50, min_grade=2)
    assert list(mined) == ["q0"]
    assert "d3" in mined["q0"][0][1:]
    assert mined["q0"][1] == [2.0] + [0.0] * 10


def test_draws_depend_on_seed_and_query_alone():
    first = mine_negatives(FOUND, QRELS, num_negatives=3, seed=1)
    alone = mine_negatives({"q1": FOUND["q1"]}, QRELS, num_negatives=3, seed=1)
    assert alone["q1"] == first["q1"]
    assert any(mine_negatives(FOUND, QRELS, num_negatives=3, seed=s) != first for s in range(2, 5))


def test_hits_and_runs_will_do():
    hits = Hits(np.array([["d1", "d2", None]], object), np.array([[2.0, 1.0, -np.inf]]))
    qrels = Qrels({"q": {"d2": 1}})
    expected = {"q": (["d2", "d1"], [1.0, 0.0])}
    assert mine_negatives(dict(zip(["q"], hits.ids, strict=True)), qrels, num_negatives=5) == expected
    assert mine_negatives(hits.to_run(["q"]), qrels, num_negatives=5) == expected
    run = Run({"q": {"d1": 0.1, "d2": 0.2, "d3": 0.3}})
    assert mine_negatives(run, qrels, num_negatives=1, depth=1)["q"][0] == ["d2", "d3"]


@pytest.mark.parametrize("option", [{"num_negatives": -1}, {"skip_top": -1}, {"depth": 0}, {"max_positives": 0}])
def test_numbers_out_of_range_are_refused(option):
    with pytest.raises(TrainError) as caught:
        mine_negatives(FOUND, QRELS, **{"num_negatives": 1, **option})
    assert caught.value.reason == "invalid_parameter"


def test_a_string_of_hits_is_refused():
    with pytest.raises(TypeError, match="q1"):
        mine_negatives({"q1": "d1 d2"}, QRELS, num_negatives=1)
