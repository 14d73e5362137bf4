"""The embedded corpus: its size, its splits, and that it is the same every time."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from jrank import data
from jrank.data import _pydocs
from jrank.data._pydocs_modules import MODULES
from jrank.errors import DataError
from jrank.retrieval import BM25Index


@pytest.fixture(scope="module")
def collection():
    return data.load_pydocs()


def test_size(collection):
    # On a Python without tkinter and idlelib the corpus is smaller; the module list is the same everywhere.
    whole = collection.notes["modules missing"] == 0
    assert 3800 <= len(collection.documents) <= 4200 or not whole
    assert 2100 <= len(collection.queries) <= 2350 or not whole
    assert 7300 <= collection.notes["documented objects"] <= 7900 or not whole
    assert len(collection.queries) >= 1500
    assert collection.notes["modules read"] + collection.notes["modules missing"] == len(MODULES) == len(set(MODULES))


def test_every_query_has_its_document(collection):
    judged = collection.qrels.to_dict()
    assert list(judged) == list(collection.query_ids)
    documents = dict(zip(collection.doc_ids, collection.documents, strict=True))
    for query, text in zip(collection.query_ids, collection.queries, strict=True):
        ((document, grade),) = judged[query].items()
        assert (query, grade) == (f"{document}?", 1)
        assert documents[document].startswith(f"{document}: ")
        assert text


def test_splits_are_disjoint_and_hold_no_near_duplicates(collection):
    shares = {split: len(ids) / len(collection.queries) for split, ids in collection.splits.items()}
    assert list(shares) == ["train", "validation", "test"]
    assert sum(shares.values()) == pytest.approx(1)
    assert 0.11 <= shares["test"] <= 0.17
    assert 0.07 <= shares["validation"] <= 0.13
    # All pairs across splits, by a matrix product: an independent way to the same statement.
    split_of = {query: split for split, ids in collection.splits.items() for query in ids}
    splits = np.array([split_of[query] for query in collection.query_ids])
    answers = dict(zip(collection.doc_ids, collection.documents, strict=True))
    for texts, threshold in (
        (collection.queries, _pydocs.SAME_QUERY),
        ([answers[query[:-1]].split(": ", 1)[1] for query in collection.query_ids], _pydocs.SAME_ANSWER),
    ):
        words = [set(_pydocs._plain(text).split()) for text in texts]
        number = {word: i for i, word in enumerate(sorted(set().union(*words)))}
        matrix = np.zeros((len(words), len(number)), np.float32)
        for row, each in enumerate(words):
            matrix[row, [number[word] for word in each]] = 1
        shared, size = matrix @ matrix.T, matrix.sum(axis=1)
        alike = shared >= threshold * (size[:, None] + size - shared)
        assert not (alike & (splits[:, None] != splits)).any()
        assert alike.sum() > len(words), "there are near-duplicates, and they are together"


def test_no_text_comes_twice(collection):
    assert len(set(map(_pydocs._plain, collection.queries))) == len(collection.queries)
    rests = [_pydocs._plain(text.split(": ", 1)[1]) for text in collection.documents]
    assert len(set(rests)) == len(rests)


def test_the_same_in_another_process_and_nothing_is_imported(collection):
    code = (
        "from jrank import data; import hashlib, sys; c = data.load_pydocs();"
        "assert not {'turtle', 'imaplib', 'jax'} & set(sys.modules);"
        "print(hashlib.sha256(repr((c.documents, c.queries, c.splits)).encode()).hexdigest())"
    )
    got = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    mine = hashlib.sha256(repr((collection.documents, collection.queries, collection.splits)).encode()).hexdigest()
    assert got.stdout.strip() == mine


def test_lexical_search_finds_a_good_part(collection):
    index = BM25Index.build(collection.documents, ids=collection.doc_ids)
    test = collection.splits["test"]
    hits = index.search(collection.queries_of(test), k=10)
    ranks = [
        row.tolist().index(query[:-1]) if query[:-1] in row else None for query, row in zip(test, hits.ids, strict=True)
    ]
    ndcg = np.mean([0 if rank is None else 1 / np.log2(rank + 2) for rank in ranks])
    assert 0.38 <= ndcg <= 0.47


def test_without_sources(tmp_path):
    with pytest.raises(
        DataError, match=r"no sources of the standard library in .*; use a Python that was installed"
    ) as caught:
        _pydocs._load.__wrapped__(str(tmp_path))
    assert caught.value.reason is DataError.Reason.NOT_FOUND


def test_missing_and_broken_modules_are_counted(tmp_path):
    (tmp_path / "abc.py").write_text(
        '"""What abstract base classes are for.\n\n' + "They say what others must do. " * 3 + '"""'
    )
    (tmp_path / "ast.py").write_text("def broken(:")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "__init__.py").write_bytes(b"\xff\xfe broken")
    collection = _pydocs._load.__wrapped__(str(tmp_path))
    assert collection.queries == ["What abstract base classes are for."]
    assert collection.documents == ["abc: " + " ".join(["They say what others must do."] * 3)]
    assert collection.notes["modules read"] == 1
