"""Pieces of long texts: every word is in one, in order, and they overlap as asked for."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import RetrieveError
from jrank.text import passages


@given(st.integers(0, 40), st.integers(1, 12), st.integers(0, 11))
def test_pieces_cover_the_text(count, words, overlap):
    overlap = min(overlap, words - 1)
    numbers = [str(i) for i in range(count)]
    pieces = [piece.split() for piece in passages(" \n".join(numbers), words=words, overlap=overlap)]
    assert all(len(piece) == words for piece in pieces[:-1])
    assert len(pieces[-1]) <= words
    joined = pieces[0] + [word for piece in pieces[1:] for word in piece[overlap:]]
    assert joined == numbers
    for before, after in itertools.pairwise(pieces):
        assert before[words - overlap :] == after[:overlap]
        assert len(after) > overlap  # each piece brings something new


def test_titles_and_short_texts():
    assert passages("a  b c", title=" The  title ") == ["The title a b c"]
    assert passages("", title="alone") == ["alone"]
    assert passages("") == [""]
    assert [len(piece.split()) for piece in passages("w " * 105)] == [60, 60]  # a quarter is repeated


@pytest.mark.parametrize("options", [{"words": 0}, {"words": 4, "overlap": 4}, {"overlap": -1}])
def test_bad_numbers(options):
    with pytest.raises(RetrieveError, match="expected 1 or more and 0 to words - 1"):
        passages("a b", **options)


def test_bad_types(unchecked):
    with pytest.raises(TypeError, match="text must be a string, got a list"):
        passages(["a"])
