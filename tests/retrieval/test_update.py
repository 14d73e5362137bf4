"""Documents put in the place of others, in every kind of index; and whether a document is there."""

import numpy as np
import pytest

from jrank.errors import RetrieveError
from jrank.retrieval import (
    ANNIndex,
    BM25Index,
    DenseIndex,
    MultiVectorIndex,
    QueryLikelihoodIndex,
    SparseIndex,
    TfidfIndex,
)

RNG = np.random.default_rng(0)
TEXTS = ["red fox", "brown dog", "a red red dog", "grey wolf and dog", "fox and wolf"]
VECTORS = RNG.normal(size=(5, 8)).astype(np.float32)
TOKENS = [RNG.normal(size=(n, 8)).astype(np.float32) for n in (3, 1, 4, 2, 5)]
SPARSE = [{1: 1.0}, {2: 0.5, 3: 1.0}, {1: 2.0, 3: 1.0}, {3: 1.0, 4: 1.0}, {1: 1.0, 4: 1.0}]
QUERY = {"words": ["red wolf dog"], "vectors": VECTORS[:1] + 0.1, "sparse": [{1: 1.0, 4: 2.0}], "tokens": TOKENS[:1]}

KINDS = {
    "bm25": (BM25Index.build, TEXTS, QUERY["words"]),
    "tfidf": (TfidfIndex.build, TEXTS, QUERY["words"]),
    "likelihood": (QueryLikelihoodIndex.build, TEXTS, QUERY["words"]),
    "sparse": (SparseIndex.build, SPARSE, QUERY["sparse"]),
    "dense": (DenseIndex.build, VECTORS, QUERY["vectors"]),
    "dense int8": (lambda *args: DenseIndex.build(*args, dtype="int8"), VECTORS, QUERY["vectors"]),
    "ann": (ANNIndex.build, VECTORS, QUERY["vectors"]),
    "multi-vector": (MultiVectorIndex.build, TOKENS, QUERY["tokens"]),
    "multi-vector, encodings": (lambda *args: MultiVectorIndex.build(*args, fde=True), TOKENS, QUERY["tokens"]),
}


def case(kind):
    if kind == "ann":
        pytest.importorskip("faiss")
    return KINDS[kind]


def picked(items, *places):
    return items[list(places)] if isinstance(items, np.ndarray) else [items[place] for place in places]


def found(index, query):
    hits = index.search(query, 4)
    return hits.ids.tolist(), hits.scores


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("searched_before", [False, True])
def test_an_update_gives_the_index_of_the_new_documents(kind, searched_before):
    build, items, query = case(kind)
    index = build(items[:3], ["a", "b", "c"])
    if searched_before:
        index.search(query, 1)
    index.add(items[3:5], ["b", "d"], update=True)
    assert index.ids == ["a", "c", "b", "d"]
    assert len(index) == 4
    rebuilt = build(picked(items, 0, 2, 3, 4), ["a", "c", "b", "d"])
    ids, scores = found(index, query)
    wanted, values = found(rebuilt, query)
    assert ids == wanted
    np.testing.assert_allclose(scores, values, rtol=1e-6)
    if "encodings" in kind:
        assert index.search(query, 4, candidates=4).ids.tolist() == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_that_fails_changes_nothing(kind, tmp_path):
    build, items, query = case(kind)
    index = build(items[:3], ["a", "b", "c"])
    before = found(index, query)
    with pytest.raises(RetrieveError, match="'x' comes twice; give every document an id of its own"):
        index.add(picked(items, 3, 4, 0), ["b", "x", "x"], update=True)
    with pytest.raises(RetrieveError, match="3 ids for 2 documents"):
        index.add(items[3:5], ["a", "b", "c"], update=True)
    with pytest.raises(RetrieveError, match=r"'b' comes twice, it is in the index already; add\(..., update=True\)"):
        index.add(items[3:5], ["d", "b"])
    assert index.ids == ["a", "b", "c"]
    ids, scores = found(index, query)
    assert ids == before[0]
    np.testing.assert_array_equal(scores, before[1])
    index.add(items[3:4], ["c"], update=True)
    index.save(tmp_path / "index")
    loaded = type(index).load(tmp_path / "index")
    assert loaded.ids == ["a", "b", "c"]
    assert found(loaded, query)[0] == found(index, query)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_whether_a_document_is_there(kind):
    build, items, query = case(kind)
    index = build(items[:3], ["a", "b", "c"])
    assert "a" in index
    assert "d" not in index
    assert 0 not in index
    index.search(query, 1)
    index.delete(["a"])
    assert "a" not in index
    assert "b" in index
    assert ["b"] not in index
    numbered = build(items[:3])
    assert 1 in numbered
    assert np.int64(2) in numbered
    assert 3 not in numbered
    assert True not in numbered
    assert "1" not in numbered
