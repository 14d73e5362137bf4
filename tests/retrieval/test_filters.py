"""Predicates over metadata, and filtering after a search against filtering before it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import DataError, RetrieveError
from jrank.retrieval import BM25Index, DenseIndex, Metadata, field, post_filter

ROWS = {
    "a": {"year": 2019, "topic": "art", "tags": ["x", "y"]},
    "b": {"year": 2021, "topic": "music", "tags": []},
    "c": {"year": None, "topic": "music"},
    "d": {"year": "2022"},
    "e": {},
}


@pytest.mark.parametrize(
    ("predicate", "want"),
    [
        (field("year") == 2019, "a"),
        (field("year") != 2019, "bd"),
        (~(field("year") == 2019), "bcde"),
        (field("year") > 2019, "b"),
        (field("year") >= 2019, "ab"),
        (field("year") < 2021, "a"),
        (field("year") <= 2021, "ab"),
        (field("year").between(2020, 2021), "b"),
        (field("topic").isin(["art", "sport"]), "a"),
        (field("topic").isin(t for t in ["art", "music"]), "abc"),
        (field("tags").contains("x"), "a"),
        (field("topic").contains("us"), "bc"),
        (field("year").exists(), "abd"),
        ((field("topic") == "music") & (field("year") > 2000), "b"),
        ((field("topic") == "art") | field("tags").exists(), "ab"),
        (~field("topic").exists(), "de"),
        (lambda fields: len(fields) == 1, "d"),
    ],
)
def test_predicates(predicate, want):
    metadata = Metadata(ROWS)
    assert metadata.select(predicate) == set(want)
    assert metadata.selectivity(predicate) == len(want) / 5


def test_conditions_have_no_truth_of_their_own():
    with pytest.raises(
        RetrieveError, match=r"\(year > 1\) is true or false for a document only; combine conditions with &"
    ):
        (field("year") > 1) and (field("year") < 3)
    assert repr((field("year") > 1) | ~field("tag").contains("x")) == "((year > 1) | ~(tag contains 'x'))"


def test_one_table_serves_all_indexes(tmp_path):
    metadata = Metadata(ROWS)
    chosen = metadata.select(field("topic") == "music")
    words = BM25Index.build([["w"]] * 5, ids=list(ROWS))
    vectors = DenseIndex.build(np.eye(5), ids=list(ROWS))
    assert words.search([["w"]], k=5, filter=chosen).ids.tolist() == [["b", "c", None, None, None]]
    assert set(vectors.search(np.ones((1, 5)), k=2, filter=chosen).ids[0]) == {"b", "c"}
    metadata.update({"f": {"topic": "music"}, "b": {"topic": "art"}})
    metadata.delete(["c", "none"])
    assert metadata.select(field("topic") == "music") == {"f"}
    assert (len(metadata), metadata["b"]) == (5, {"topic": "art"})
    metadata.save(tmp_path / "metadata.json")
    again = Metadata.load(tmp_path / "metadata.json")
    assert {i: again[i] for i in "abdef"} == {i: metadata[i] for i in "abdef"}
    Metadata({1: {"a": 1}}).save(tmp_path / "metadata.json")
    assert Metadata.load(tmp_path / "metadata.json").select(field("a") == 1) == {1}
    assert Metadata({}).selectivity(field("a") == 1) == 0


def test_files_without_metadata(tmp_path):
    path = tmp_path / "metadata.json"
    with pytest.raises(DataError, match="there is no file"):
        Metadata.load(path)
    for text in ("{}", "[1]", '[["a", 1]]', '[["a", {}, 1]]', "[[null, {}]]"):
        path.write_text(text)
        with pytest.raises(RetrieveError, match="holds no metadata"):
            Metadata.load(path)


@given(st.sets(st.integers(0, 59)), st.sampled_from([None, 0.0, 0.1, 1.0]), st.sampled_from([1, 5, 60]))
def test_filtering_after_the_search_loses_nothing(allowed, selectivity, k):
    rng = np.random.default_rng(3)
    documents = [rng.choice(list("abcdef"), 3).tolist() for _ in range(60)]
    index, queries = BM25Index.build(documents), [["a", "b"], ["f"], ["z"]]
    asked = []

    def search(n):
        asked.append(n)
        return index.search(queries, k=n)

    got = post_filter(search, allowed, k, selectivity=selectivity)
    want = index.search(queries, k=k, filter=allowed)
    assert got.ids.tolist() == want.ids.tolist()
    np.testing.assert_array_equal(got.scores, want.scores)
    assert asked == sorted(set(asked))


def test_a_limit_stops_the_search():
    index = BM25Index.build([["a"]] * 50)
    hits = post_filter(lambda n: index.search([["a"]], k=n), lambda i: i >= 40, 5, limit=43)
    assert hits.ids.tolist() == [[40, 41, 42, None, None]]


def test_bad_input(unchecked):
    with pytest.raises(RetrieveError, match="selectivity must be from 0 to 1, got 2"):
        post_filter(lambda n: None, [], 1, selectivity=2)
    with pytest.raises(RetrieveError, match="k must be"):
        post_filter(lambda n: None, [], 0)
