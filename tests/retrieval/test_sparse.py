"""Sparse vectors and their index against dense NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from jrank.errors import RetrieveError
from jrank.retrieval import SparseIndex, SparseVector
from tests.retrieval.oracles import ranking

# Small halves: sums are exact in float32, so ties are exact too.
VALUES = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
VECTORS = st.lists(st.dictionaries(st.integers(0, 7), VALUES, max_size=5), max_size=7)


def dense(vectors):
    matrix = np.zeros((len(vectors), 8))
    for row, vector in zip(matrix, vectors, strict=True):
        for index, value in vector.items():
            row[index] = value
    return matrix


def unit(matrix):
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(norms > 0, norms, 1)


@given(VECTORS, VECTORS)
def test_search_by_dot_product(documents, queries):
    index = SparseIndex.build(documents)
    want = dense(queries) @ dense(documents).T
    np.testing.assert_array_equal(index.scores(queries), want)
    hits = index.search(queries, k=4)
    for row, scores in enumerate(want):
        columns, best = ranking(scores, 4, scores > 0)
        assert hits.ids[row].tolist() == [None if i < 0 else i for i in columns]
        np.testing.assert_array_equal(hits.scores[row], best)


@given(VECTORS, VECTORS)
def test_cosine(documents, queries):
    got = SparseIndex.build(documents, metric="cosine").scores(queries)
    np.testing.assert_allclose(got, unit(dense(queries)) @ unit(dense(documents)).T, atol=1e-6)


@given(VECTORS, VECTORS, st.sets(st.integers(0, 13)))
def test_adding_and_deleting_equals_a_rebuild(first, more, gone):
    index = SparseIndex.build(first)
    index.search([{0: 1.0}])
    index.add(more)
    gone = {i for i in gone if i < len(first + more)}
    index.delete(gone)
    kept = [i for i in range(len(first + more)) if i not in gone]
    again = SparseIndex.build([(first + more)[i] for i in kept], ids=kept)
    queries = [{i: 1.0} for i in range(8)]
    np.testing.assert_array_equal(index.scores(queries), again.scores(queries))
    assert index.search(queries, k=3).ids.tolist() == again.search(queries, k=3).ids.tolist()


def test_all_forms_of_vectors(tmp_path):
    rows = [{2: 1.5, 0: -1.0}, {}, {7: 2.0}]
    forms = [
        rows,
        [SparseVector.from_dict(row) for row in rows],
        sparse.csr_array(dense(rows)),
        sparse.coo_matrix(dense(rows)),
    ]
    want = dense(rows) @ dense(rows).T
    for form in forms:
        index = SparseIndex.build(form, ids=["a", "b", "c"])
        for queries in forms:
            np.testing.assert_array_equal(index.scores(queries), want)
    index.save(tmp_path / "index")
    np.testing.assert_array_equal(SparseIndex.load(tmp_path / "index").scores(rows), want)
    assert index.search([{99: 1.0}], k=1).ids.tolist() == [[None]]
    assert index.search({7: 1.0}, k=1).ids.tolist() == index.search(rows[2:], k=1).ids.tolist() == [["c"]]
    assert SparseIndex().search([{1: 1.0}], k=1).ids.tolist() == [[None]]


def test_vectors():
    vector = SparseVector(np.array([0, 3, 9]), np.array([3.0, -4.0, 0.5]))
    assert len(vector) == 3
    assert vector.prune(1).indices.tolist() == [0, 3]
    assert vector.top_k(1).indices.tolist() == [3]
    assert SparseVector(np.arange(3), np.ones(3)).top_k(2).indices.tolist() == [0, 1]
    assert vector.normalize().norm == pytest.approx(1)
    assert len(SparseVector.from_dict({}).normalize()) == 0
    assert vector.dot(vector.normalize()) == pytest.approx(vector.norm)
    assert vector.dot(SparseVector.from_dict({4: 1.0})) == 0


@pytest.mark.parametrize(
    ("indices", "values", "message"),
    [
        ([1, 1], [1.0, 2.0], "ascending, and none twice; SparseVector.from_dict sorts them"),
        ([2, 1], [1.0, 2.0], "ascending"),
        ([-1, 1], [1.0, 2.0], "non-negative"),
        ([1, 2], [1.0], r"indices of shape \(2,\) and values of shape \(1,\)"),
        ([1.5], [1.0], "indices are float64"),
        ([1], [np.nan], "a value is not finite"),
        ([1], [np.inf], "a value is not finite"),
        ([1 << 40], [1.0], "at most 67108863 is allowed"),
    ],
)
def test_invalid_vectors(indices, values, message):
    with pytest.raises(RetrieveError, match=message) as caught:
        SparseVector(np.array(indices), np.array(values))
    assert caught.value.reason is RetrieveError.Reason.INVALID_SPARSE_VECTOR


def test_bad_input(unchecked):
    with pytest.raises(RetrieveError, match="vector 1: a value is not finite"):
        SparseIndex.build([{1: 1.0}, {1: np.inf}])
    with pytest.raises(RetrieveError, match="indices are <U3"):
        SparseIndex.build([{"fox": 1.0}])
    with pytest.raises(TypeError, match="expected sparse vectors or mappings, got list"):
        SparseIndex.build([[1.0, 2.0]])
    with pytest.raises(TypeError, match="put it into a list"):
        SparseIndex.build({1: 1.0})
    with pytest.raises(RetrieveError, match="metric 'l2' is unknown"):
        SparseIndex(metric="l2")
