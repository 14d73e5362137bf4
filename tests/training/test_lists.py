import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import TrainError
from jrank.training._lists import encode_lists, epoch_batches, gather, length_widths, widths_of


def cheapest(lengths, shapes, limit):
    """All choices of widths, tried out."""
    grid = sorted({min(-(-n // 16) * 16, limit) for n in lengths})
    best = np.inf
    for widths in itertools.combinations(grid, min(shapes, len(grid))):
        if widths[-1] == grid[-1]:
            best = min(best, sum(min(w for w in widths if w >= n) for n in lengths))
    return best


@given(st.lists(st.integers(1, 120), min_size=1, max_size=30), st.integers(1, 4))
def test_widths_cost_the_least_or_nearly_with_fewer(lengths, shapes):
    widths = length_widths(np.array(lengths), shapes, 120)
    assert len(widths) <= shapes
    assert widths[-1] >= max(lengths)
    assert (np.diff(widths) > 0).all()
    cost = widths[widths_of(np.array(lengths), widths)].sum()
    assert cost == cheapest(lengths, len(widths), 120)
    assert cost * 0.95 <= cheapest(lengths, shapes, 120)


def test_one_width_where_a_second_saves_little():
    assert length_widths(np.array([96] * 50 + [80]), 3, 96).tolist() == [96]
    assert length_widths(np.array([96] * 10 + [20] * 10), 3, 96).tolist() == [32, 96]


def test_one_width_for_a_short_training():
    lengths = np.array([96] * 100 + [20] * 100)
    assert length_widths(lengths, 3, 96, visits=5).tolist() == [32, 96]
    assert length_widths(lengths, 3, 96, visits=1).tolist() == [96]


@pytest.mark.parametrize("seed", range(3))
def test_an_epoch_holds_every_list_once_in_full_batches(seed):
    bucket = np.random.default_rng(seed).integers(0, 3, 53)
    batches = epoch_batches(bucket, 8, seed, epoch=1)
    assert sorted(np.concatenate([rows for _, rows in batches]).tolist()) == list(range(53))
    assert sorted(len(rows) for _, rows in batches) == [5] + [8] * 6
    for width, rows in batches:
        assert (bucket[rows] <= width).all()
    # Only leftovers are padded to a larger width than theirs.
    assert sum((bucket[rows] < width).sum() for width, rows in batches) < 16


def test_epochs_differ_and_repeat():
    bucket = np.zeros(20, int)

    def flat(epoch):
        return [rows.tolist() for _, rows in epoch_batches(bucket, 4, 0, epoch)]

    assert flat(0) == flat(0) != flat(1)


def test_lists_are_padded_and_masked(tokenizer):
    lists = [("a", ["b", "c d e"], [1, 0]), ("b", ["a"], [2.0])]
    encoded = encode_lists(lists, tokenizer, max_length=8, list_size=None, name="lists")
    assert len(encoded) == 2
    assert encoded.sizes.tolist() == [2, 1]
    batch = gather(encoded, np.array([1, 0]), lists_per_batch=3, list_size=2, width=8)
    pad = tokenizer.pad_id
    pairs = [("b", "a"), ("a", "b"), ("a", "c d e")]
    expected = tokenizer.encode_pairs(pairs, max_length=8)
    ids, mask, types = tokenizer.pad(expected, length=8)
    np.testing.assert_array_equal(batch["ids"][[0, 1, 1], [0, 0, 1]], ids)
    np.testing.assert_array_equal(batch["mask"][[0, 1, 1], [0, 0, 1]], mask)
    np.testing.assert_array_equal(batch["types"][[0, 1, 1], [0, 0, 1]], types)
    assert (batch["ids"][2] == pad).all()
    assert batch["where"].tolist() == [[True, False], [True, True], [False, False]]
    assert batch["labels"].tolist() == [[2, 0], [1, 0], [0, 0]]


def test_long_lists_keep_their_best_documents_in_order(tokenizer):
    lists = [("a", ["b", "c", "d", "e"], [0, 1, 0, 3])]
    encoded = encode_lists(lists, tokenizer, max_length=8, list_size=3, name="lists")
    assert encoded.labels.tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("lists", "reason"),
    [
        ([], "empty_input"),
        ([("a", [], [])], "invalid_data"),
        ([("a", ["b"], [1, 0])], "invalid_data"),
        ([("a", ["b"], [float("nan")])], "invalid_data"),
        ([("a", ["b"], ["1"])], "invalid_data"),
    ],
)
def test_malformed_lists_are_refused(tokenizer, lists, reason):
    with pytest.raises(TrainError) as caught:
        encode_lists(lists, tokenizer, max_length=8, list_size=None, name="lists")
    assert caught.value.reason == reason


@pytest.mark.parametrize("item", ["abc", ("a", ["b"]), (1, ["b"], [1]), ("a", "b", [1]), ("a", [None], [1])])
def test_lists_of_another_form_are_refused(tokenizer, item):
    with pytest.raises(TypeError):
        encode_lists([("a", ["b"], [1]), item], tokenizer, max_length=8, list_size=None, name="lists")
