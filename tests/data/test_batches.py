"""Batches by length, in order and shuffled, and padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank import data
from jrank.errors import DataError

LENGTHS = st.lists(st.integers(0, 40), max_size=30)


@given(
    LENGTHS,
    st.integers(1, 100),
    st.none() | st.integers(1, 5),
    st.none() | st.just([8, 16, 64]),
    st.none() | st.just(3),
)
def test_batches_by_length_keep_their_promises(lengths, max_tokens, max_batch, buckets, seed):
    got = data.batches_by_length(lengths, max_tokens=max_tokens, max_batch=max_batch, buckets=buckets, seed=seed)
    assert sorted(i for batch in got for i in batch) == list(range(len(lengths)))
    for batch in got:
        longest = max(lengths[i] for i in batch)
        width = longest if buckets is None else data.bucket_length(longest, buckets)
        assert len(batch) == 1 or len(batch) * width <= max_tokens
        assert max_batch is None or len(batch) <= max_batch
        if buckets is not None:
            assert {data.bucket_length(lengths[i], buckets) for i in batch} == {width}
    if seed is None:
        flat = [lengths[i] for batch in got for i in batch]
        assert flat == sorted(lengths, reverse=True)


def test_batches_are_full():
    lengths = [10] * 9
    assert [len(b) for b in data.batches_by_length(lengths, max_tokens=40)] == [4, 4, 1]
    assert [len(b) for b in data.batches_by_length(lengths, max_tokens=40, buckets=[16])] == [2, 2, 2, 2, 1]


def test_seeds():
    lengths = np.random.default_rng(0).integers(1, 50, 100)
    first, again, other = (data.batches_by_length(lengths, max_tokens=99, seed=seed) for seed in (1, 1, 2))
    assert [b.tolist() for b in first] == [b.tolist() for b in again] != [b.tolist() for b in other]
    orders = [np.concatenate(list(data.batches(50, 7, seed=5, epoch=epoch))).tolist() for epoch in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list(range(50))


def test_plain_batches():
    assert [b.tolist() for b in data.batches(5, 2, drop_last=True)] == [[0, 1], [2, 3]]
    assert list(data.batches(0, 2)) == []
    assert [len(b) for b in data.batches(3, 9)] == [3]
    with pytest.raises(DataError, match="cannot make batches of 0 rows"):
        list(data.batches(3, 0))


@given(LENGTHS, st.sampled_from([None, 50]))
def test_padding(lengths, width):
    rows = [np.arange(1, n + 1) for n in lengths]
    padded, where = data.pad_rows(rows, width, fill=-1)
    assert padded.shape == where.shape == (len(rows), width or max(lengths, default=0))
    for row, values, mask in zip(rows, padded, where, strict=True):
        np.testing.assert_array_equal(values[: len(row)], row)
        assert (values[len(row) :] == -1).all()
        np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(len(row)))


def test_padding_of_vectors():
    padded, where = data.pad_rows(
        [np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32), np.ones((1, 3), np.float32)]
    )
    assert padded.shape == (3, 2, 3)
    assert padded.dtype == np.float32
    assert padded.sum() == 9
    assert where.tolist() == [[True, True], [False, False], [True, False]]


def test_bad_input(unchecked):
    for call, message in (
        (lambda: data.bucket_length(9, [4, 8]), r"length 9 is longer than every bucket \[4, 8\]"),
        (lambda: data.batches_by_length([1, -1], max_tokens=3), "non-negative integers"),
        (lambda: data.batches_by_length([1.5], max_tokens=3), "got float64"),
        (lambda: data.batches_by_length([1], max_tokens=0), "max_tokens must be at least 1"),
        (lambda: data.batches_by_length([1], max_tokens=3, max_batch=0), "max_batch must be at least 1"),
        (lambda: data.batches_by_length([9], max_tokens=3, buckets=[4]), "longer than every bucket"),
        (lambda: data.pad_rows([[1, 2, 3]], 2), "row 0 has length 3, more than 2"),
        (lambda: data.pad_rows([np.ones((1, 2)), np.ones((1, 3))]), "differ in their trailing axes"),
    ):
        with pytest.raises(DataError, match=message):
            call()
