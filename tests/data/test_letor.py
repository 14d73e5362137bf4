"""Feature files: values, real files, and what is wrong with others."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank import data
from jrank.errors import DataError


def read(tmp_path, text, **options):
    path = tmp_path / "data.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return data.read_letor(path, **options)


def test_values(tmp_path):
    text = "\ufeff# made by hand\n2 qid:7 1:0.5 3:-1e-3 # doc a\r\n0 qid:7\n\n1.5 qid:x 2:4 1:1#b"
    lists = read(tmp_path, text)
    np.testing.assert_array_equal(lists.features, np.array([[0.5, 0, -1e-3], [0, 0, 0], [1, 4, 0]], np.float32))
    assert lists.labels.tolist() == [2, 0, 1.5]
    assert lists.offsets.tolist() == [0, 2, 3]
    assert lists.query_ids == ["7", "x"]
    assert lists.segments.tolist() == [0, 0, 1]
    assert repr(lists) == "RankingData(2 queries, 3 items, 3 features)"
    assert read(tmp_path, text, num_features=5).features.shape == (3, 5)


def test_features_may_count_from_0(tmp_path):
    assert read(tmp_path, "1 qid:1 0:7 2:8\n").features.tolist() == [[7, 0, 8]]


def test_compressed(tmp_path):
    path = tmp_path / "data.txt.gz"
    path.write_bytes(gzip.compress(b"1 qid:1 1:2\n"))
    assert data.read_letor(path).features.tolist() == [[2]]


def test_sizes_in_a_second_file(tmp_path):
    sizes = tmp_path / "sizes"
    sizes.write_text("2\n0\n1\n")
    lists = read(tmp_path, "1 1:1\n0 1:2\n2 1:3\n", sizes=sizes)
    assert (lists.offsets.tolist(), lists.query_ids) == ([0, 2, 2, 3], ["1", "2", "3"])
    sizes.write_text("2\n2\n")
    with pytest.raises(DataError, match="the lists have 4 items, the data 3"):
        read(tmp_path, "1 1:1\n0 1:2\n2 1:3\n", sizes=sizes)
    sizes.write_text("2\nx\n")
    with pytest.raises(DataError, match="sizes, line 2: expected the size of a list, got 'x'"):
        read(tmp_path, "1 1:1\n0 1:2\n2 1:3\n", sizes=sizes)


ITEMS = st.lists(
    st.tuples(st.integers(0, 4), st.dictionaries(st.integers(1, 6), st.floats(-9, 9, width=32))), max_size=5
)


@given(st.lists(ITEMS.filter(bool), min_size=1, max_size=4), st.data())
def test_what_is_written_is_read(tmp_path_factory, lists, chosen):
    path = tmp_path_factory.mktemp("letor") / "data"
    rows = [(q, label, features) for q, items in enumerate(lists) for label, features in items]
    path.write_text(
        "".join(f"{label} qid:{q} " + " ".join(f"{i}:{v!r}" for i, v in f.items()) + "\n" for q, label, f in rows)
    )
    got = data.read_letor(path, num_features=6)
    want = np.array([[features.get(i, 0) for i in range(1, 7)] for _, _, features in rows], np.float32)
    np.testing.assert_array_equal(got.features, want)
    np.testing.assert_array_equal(got.labels, [label for _, label, _ in rows])
    np.testing.assert_array_equal(got.lengths, [len(items) for items in lists])
    features, labels, where = got.padded(6)
    np.testing.assert_array_equal(features[where], got.features)
    np.testing.assert_array_equal(labels[where], got.labels)
    assert not features[~where].any()
    some = chosen.draw(st.lists(st.integers(0, len(lists) - 1), max_size=3))
    taken = got.take(some)
    parts = [got.features[got.offsets[i] : got.offsets[i + 1]] for i in some]
    np.testing.assert_array_equal(taken.features, np.concatenate([np.zeros((0, 6), np.float32), *parts]))
    assert taken.query_ids == [got.query_ids[i] for i in some]


@pytest.mark.data
def test_real_files(data_dir):
    train = data.read_letor(data_dir / "ltr" / "mq2008_fold1" / "train.txt")
    assert repr(train) == "RankingData(471 queries, 9630 items, 46 features)"
    assert set(train.labels.tolist()) == {0, 1, 2}
    relevant = np.add.reduceat(train.labels, train.offsets[:-1]) > 0
    assert (~relevant).sum() == 132
    folder = data_dir / "ltr" / "lightgbm_rank"
    test = data.read_letor(folder / "rank.test", sizes=folder / "rank.test.query", num_features=300)
    assert repr(test) == "RankingData(50 queries, 768 items, 300 features)"
    assert test.features[0, 9] == np.float32(0.89) or test.features[0].any()


@pytest.mark.parametrize(
    ("text", "message", "reason"),
    [
        ("", "is empty", "empty"),
        ("# nothing\n", "is empty", "empty"),
        ("1 1:2\n", "data.txt, line 1: expected label qid:Q i:v …, got '1 1:2'; pass sizes=", "malformed"),
        ("1 qid:1 1:2\nx qid:1 1:2\n", "line 2: could not convert string to float: 'x'", "malformed"),
        ("1 qid:1 1:\n", "line 1: could not convert", "malformed"),
        ("1 qid:1 a:1\n", "line 1: invalid literal", "malformed"),
        ("1 qid:1 1\n", "line 1: a feature must be written i:v", "malformed"),
        ("1 qid:1 1:2:3\n", "line 1: a feature must be written i:v", "malformed"),
        ("1 qid:1 1:2:3 4\n", "line 1", "malformed"),
        ("1 qid:1 1:1\n1 qid:1 1:nan\n", "line 2: a value is not finite", "invalid_value"),
        ("1 qid:1 1:1e999\n", "line 1: a value is not finite", "invalid_value"),
        ("inf qid:1 1:1\n", "line 1: the label is not finite", "invalid_value"),
        ("1 qid:1 -1:1\n", "line 1: a feature has a negative number", "invalid_value"),
        ("1 qid:1 1:1\n1 qid:1 3:1 3:2\n", "line 2: the feature 3 comes twice", "duplicate"),
        ("1 qid:1 1:1\n1 qid:2 1:1\n1 qid:1 1:1\n", "line 3: items of the query '1' stand in two places", "malformed"),
        ("1 qid:1 4000000000:1\n", "1 items by 4000000000 features need 15258 MiB", "too_large"),
        ("1 qid:1 99999999999999999999:1\n", "more than 64 bits", "invalid_value"),
        (b"1 qid:\xe9 1:1\n", "line 1: byte 6 is not UTF-8", "encoding"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, message, reason):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert caught.value.reason == reason


def test_limits(tmp_path):
    with pytest.raises(DataError, match="line 1: a feature has a number beyond 2"):
        read(tmp_path, "1 qid:1 3:1\n", num_features=2)
    with pytest.raises(DataError, match="expected without qid, since sizes= is given"):
        read(tmp_path, "1 qid:1 3:1\n", sizes=tmp_path / "sizes")
    with pytest.raises(DataError, match="a list has 2 items, more than 1"):
        read(tmp_path, "1 qid:1 3:1\n0 qid:1\n").padded(1)
