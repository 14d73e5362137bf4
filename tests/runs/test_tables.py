"""Run and Qrels as mappings, their order, and what they refuse."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import DataError
from jrank.runs import Hits, Qrels, Run
from jrank.runs._ragged import blocks, list_of, offsets_of, positions

IDS = st.sampled_from(["d1", "d10", "d2", "D2", "é", "zß", "文", "😀", "d", "ﬁ"])
# Few distinct scores, so that ties are common.
RUNS = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3", "10"]),
    st.dictionaries(IDS, st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0, 1.00000001, 1e300])),
)


def by_trec_eval(documents):
    """The published rule, on bytes."""
    by_id = sorted(documents, key=lambda d: d.encode(), reverse=True)
    return sorted(by_id, key=lambda d: documents[d], reverse=True)


@given(RUNS)
def test_documents_stand_in_the_order_of_trec_eval(data):
    run = Run(data)
    assert list(run) == list(data)
    for query, documents in data.items():
        assert list(run[query]) == by_trec_eval(documents)
        assert run[query] == documents
    assert {q: list(d) for q, d in run.to_dict().items()} == {q: by_trec_eval(d) for q, d in data.items()}


@given(RUNS, RUNS)
def test_equality_is_that_of_the_dictionaries(a, b):
    assert (Run(a) == Run(b)) == (a == b)
    assert Run(a) == Run({q: dict(reversed(d.items())) for q, d in reversed(a.items())})
    assert Run(a) != a


def test_order_with_lists_of_very_different_length():
    rng = np.random.default_rng(0)
    data = {
        f"q{i}": {f"d{j}": float(s) for j, s in enumerate(rng.integers(0, 40, n))}
        for i, n in enumerate([0, 1, 700, 3, 2, 0, 90, 5, 1, 41])
    }
    run = Run(data)
    for query, documents in data.items():
        assert list(run[query]) == by_trec_eval(documents)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 20))
def test_blocks_cover_every_item_once(lengths, cells):
    offsets = offsets_of(np.array(lengths))
    flat = np.arange(offsets[-1], dtype=float)
    seen = []
    for block in blocks(offsets, cells):
        taken = block.take(flat, -1.0)
        assert taken.shape == (len(block.rows), block.width)
        np.testing.assert_array_equal(taken == -1, ~block.where)
        for row, values, where in zip(block.rows, taken, block.where, strict=True):
            np.testing.assert_array_equal(values[where], flat[offsets[row] : offsets[row + 1]])
        assert block.where.sum() * 2 >= block.where.size
        assert len(block.rows) == 1 or block.where.size <= cells
        seen.extend(taken[block.where])
    np.testing.assert_array_equal(np.sort(seen), flat)
    np.testing.assert_array_equal(positions(offsets), np.concatenate([np.arange(n) for n in lengths]))
    np.testing.assert_array_equal(list_of(offsets), np.repeat(np.arange(len(lengths)), lengths))


def test_minus_infinity_is_not_retrieved():
    run = Run({"q1": {"a": -np.inf, "b": 1.0}, "q2": {"a": -np.inf}})
    assert run.to_dict() == {"q1": {"b": 1.0}, "q2": {}}
    assert run.interned.vocabulary.names == ["b"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan")])
def test_scores_that_are_no_numbers_are_refused(bad):
    with pytest.raises(DataError, match="query 'q2', document 'b': the score is") as error:
        Run({"q1": {"a": 1.0}, "q2": {"a": 2, "b": bad}})
    assert error.value.reason == "invalid_value"


@pytest.mark.parametrize("grade", [float("nan"), float("-inf")])
def test_grades_that_are_no_numbers_are_refused(grade):
    with pytest.raises(DataError, match="grade"):
        Qrels({"q": {"d": grade}})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([("q", {})], "Run takes a mapping"),
        ("run.txt", r"Run.read\(path\)"),
        ({1: {"d": 1.0}}, r"query ids must be str, got int 1; write str\(1\)"),
        ({"q": ["d"]}, "expected a mapping"),
        ({"q": {"a": 1.0, 7: 2.0}}, "document ids must be str, got int 7"),
        ({"q": {"a": "1.0"}}, "the score must be a number, got str '1.0'"),
        ({"q": {"a": 1.0, "b": None}}, "query 'q', document 'b': the score must be a number"),
        ({"q": {"a": [1.0]}}, "must be a number"),
        ({"q": {"a": 1j}}, "must be a number"),
        ({"q": {"a": np.ones(1)}}, "must be a number"),
    ],
)
def test_wrong_types(unchecked, data, message):
    with pytest.raises(TypeError, match=message):
        Run(data)


def test_numbers_of_every_kind():
    run = Run({"q": {"a": np.float32(1.5), "b": 2, "c": np.int8(3), "d": True, "e": jnp.float32(0.25)}})
    assert run["q"] == {"a": 1.5, "b": 2.0, "c": 3.0, "d": 1.0, "e": 0.25}
    assert Run({"q": {"a": 2**70}})["q"]["a"] == 2.0**70
    with pytest.raises(DataError, match="the score is too large"):
        Run({"q": {"a": 10**400}})


def test_tables_do_not_change():
    data = {"q": {"a": 1.0}}
    run = Run(data)
    data["q"]["a"] = 5.0
    assert run["q"]["a"] == 1.0
    with pytest.raises(ValueError):
        run.interned.values[0] = 2.0
    with pytest.raises(TypeError):
        hash(run)


def test_mapping_of_nothing():
    assert len(Run({})) == 0
    assert Run({}).to_dict() == {}
    assert len(Run({}).ranked.codes) == 0
    assert "q" not in Run({})
    with pytest.raises(KeyError):
        Run({"q": {}})["p"]


def test_grades_keep_their_kind():
    assert Qrels({"q": {"a": 1, "b": 0}}).to_dict() == {"q": {"a": 1, "b": 0}}
    assert isinstance(Qrels({"q": {"a": 1.0}})["q"]["a"], int)
    assert Qrels({"q": {"a": 1.9, "b": -1}})["q"] == {"a": 1.9, "b": -1.0}


def test_repr():
    assert repr(Run({"q": {"a": 1.0}})) == "Run(1 query, 1 document)"
    assert repr(Qrels({"q": {"a": 1}, "p": {}})) == "Qrels(2 queries, 1 judgment)"


def test_hits():
    hits = Hits(np.array([["b", "a"], ["a", None], [None, None]]), np.array([[2, 1], [1, -np.inf], [-np.inf] * 2]))
    assert len(hits) == 3
    assert list(hits) == [[("b", 2.0), ("a", 1.0)], [("a", 1.0)], []]
    run = hits.to_run(["x", "y", "z"], name="bm25")
    assert run == Run({"x": {"a": 1.0, "b": 2.0}, "y": {"a": 1.0}, "z": {}})
    assert run.name == "bm25"


def test_hits_that_do_not_fit():
    hits = Hits(np.array([["b", "b"]]), np.array([[2.0, 1.0]]))
    with pytest.raises(DataError, match="a document id comes twice"):
        hits.to_run(["q"])
    with pytest.raises(DataError, match="2 query ids"):
        hits.to_run(["q", "p"])
    with pytest.raises(DataError, match="comes twice"):
        Hits(np.array([["a"], ["b"]]), np.ones((2, 1))).to_run(["q", "q"])
    with pytest.raises(DataError, match=r"expected \[queries, k\]"):
        Hits(np.array(["a"]), np.ones(1))
