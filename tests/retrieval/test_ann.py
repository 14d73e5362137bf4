"""Approximate search: nearly what the exact index finds, the same shape, and a plain word where faiss is missing."""

import sys

import numpy as np
import pytest

from jrank.errors import MissingExtraError, RetrieveError
from jrank.retrieval import ANNIndex, load_index

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(2000, 16)).astype(np.float32)
QUERIES = RNG.normal(size=(20, 16)).astype(np.float32)


def test_the_install_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r'pip install "jrank\[ann\]"'):
        ANNIndex()


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss")


def exact(vectors, queries, k, *, cosine=True):
    if cosine:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    scores = queries @ vectors.T
    order = np.argsort(-scores, axis=1)[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_recall_and_scores(faiss, metric):
    index = ANNIndex.build(VECTORS, metric=metric)
    hits = index.search(QUERIES, k=10)
    want, scores = exact(VECTORS, QUERIES, 10, cosine=metric == "cosine")
    found = [len(set(a) & set(b)) for a, b in zip(hits.ids.tolist(), want.tolist(), strict=True)]
    assert np.mean(found) / 10 >= 0.9
    all_scores = index.scores(QUERIES)
    np.testing.assert_allclose(hits.scores, np.take_along_axis(all_scores, hits.ids.astype(int), axis=1), rtol=1e-4)
    np.testing.assert_allclose(hits.scores[:, 0].max(), scores[:, 0].max(), rtol=1e-5)


def test_adding_and_deleting(faiss):
    names = [f"d{i}" for i in range(2000)]
    index = ANNIndex.build(VECTORS[:1500], names[:1500])
    index.add(VECTORS[1500:], names[1500:])
    first = index.search(QUERIES, k=1).ids[:, 0].tolist()
    index.delete(set(first))
    hits = index.search(QUERIES, k=10)
    assert not set(first) & set(hits.ids.ravel().tolist())
    assert None not in hits.ids
    assert index.ids == [name for name in names if name not in first]
    # So many go that the graph is built anew.
    index.delete(index.ids[:1000])
    assert len(index._ids) == len(index) == 2000 - len(set(first)) - 1000
    rest = np.array([int(name[1:]) for name in index.ids])
    want, _ = exact(VECTORS[rest], QUERIES, 1)
    found = [int(name[1:]) for name in index.search(QUERIES, k=1).ids[:, 0]]
    assert np.mean(np.array(found) == rest[want[:, 0]]) >= 0.9
    with pytest.raises(RetrieveError, match="there is no document"):
        index.delete(["nope"])
    with pytest.raises(RetrieveError, match="comes twice"):
        index.add(VECTORS[:1], [index.ids[0]])


def test_filters_and_small_indexes_are_exact(faiss):
    index = ANNIndex.build(VECTORS)
    some = list(range(0, 2000, 7))
    want, _ = exact(VECTORS[some], QUERIES, 5)
    np.testing.assert_array_equal(index.search(QUERIES, k=5, filter=some).ids, np.array(some)[want])
    small = ANNIndex.build(VECTORS[:50])
    np.testing.assert_array_equal(small.search(QUERIES, k=5).ids, exact(VECTORS[:50], QUERIES, 5)[0])
    assert small.search(QUERIES[0], k=60).ids[0, 50:].tolist() == [None] * 10
    assert ANNIndex().search(QUERIES, k=2).ids.tolist() == [[None, None]] * 20


def test_a_loaded_index_is_the_saved_one(faiss, tmp_path):
    index = ANNIndex.build(VECTORS, search_depth=128, neighbors=16)
    index.delete([3])
    index.save(tmp_path / "index")
    loaded = load_index(tmp_path / "index")
    assert (loaded.search_depth, loaded.neighbors, loaded.ids) == (128, 16, index.ids)
    np.testing.assert_array_equal(loaded.scores(QUERIES), index.scores(QUERIES))
    loaded.add(VECTORS[:1])
    assert loaded.ids[-1] == 2000


def test_wrong_input(faiss):
    index = ANNIndex.build(VECTORS)
    with pytest.raises(RetrieveError, match="vectors of 3 dimensions"):
        index.search(np.ones((1, 3)))
    with pytest.raises(RetrieveError, match="not finite"):
        index.add(np.full((1, 16), np.nan))
    with pytest.raises(RetrieveError, match="neighbors must be"):
        ANNIndex(neighbors=0)
