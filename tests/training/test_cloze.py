"""Queries from documents: sentence and rest make the document again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import TrainError
from jrank.training import cloze_queries

SENTENCES = [
    "Foxes are small dogs.",
    "They eat 3.5 mice a day, e.g. in winter!",
    "Do most hunt at night?",
    "(Yes.)",
    "It ends.",
]


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6), st.integers(0, 5))
def test_sentence_and_rest_are_the_document(parts, seed):
    found = cloze_queries([" ".join(parts)], shortest=5, seed=seed)
    if len(parts) < 3:
        assert not found
        return
    (place, query, rest) = found[0]
    assert place == 0
    at = [
        i for i, part in enumerate(parts) if part.rstrip(".") == query and " ".join(parts[:i] + parts[i + 1 :]) == rest
    ]
    assert at, (query, rest)


def test_each_document_alone():
    texts = [
        f"The number of this text is {i}. It has a second sentence {i}. And then a third one {i}." for i in range(9)
    ]
    together = cloze_queries(texts, shortest=10, seed=3)
    for place, text in enumerate(texts):
        assert cloze_queries([text], shortest=10, seed=3)[0][1:] == together[place][1:]
    assert [query.place for query in together] == list(range(9))
    other = cloze_queries(texts, shortest=10, seed=4)
    assert [a.query for a in together] != [a.query for a in other]


def test_lengths_and_other_scripts():
    text = "Short. This sentence is of a middle length. " + "This one is long " * 20 + ". End."
    assert [q.query for q in cloze_queries([text], shortest=10, longest=60)] == ["This sentence is of a middle length"]
    assert cloze_queries(["狐狸很小。它们吃老鼠。夜里狩猎。"], shortest=4)[0].query in (
        "狐狸很小",
        "它们吃老鼠",
        "夜里狩猎",
    )
    assert cloze_queries(["", "One sentence."]) == []


def test_bad_input(unchecked):
    with pytest.raises(TrainError, match="shortest is 9 and longest 3"):
        cloze_queries(["a"], shortest=9, longest=3)
    with pytest.raises(TrainError, match="sentences is 1"):
        cloze_queries(["a"], sentences=1)
    with pytest.raises(TypeError, match="got one string"):
        cloze_queries("a text")
    with pytest.raises(TypeError, match="document 1 must be a string, got a int"):
        cloze_queries(["a", 3])
