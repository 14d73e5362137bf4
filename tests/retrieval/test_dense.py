"""Dense search against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank.errors import RetrieveError
from jrank.retrieval import DenseIndex, _dense, _kernels
from jrank.retrieval._vectors import capacity_for, pack, unpack
from jrank.sharding import make_mesh
from tests.retrieval.oracles import ranking

RNG = np.random.default_rng(0)


def reference(queries, vectors, metric):
    queries, vectors = (np.asarray(a, np.float64) for a in (queries, vectors))
    if metric == "cosine":
        norms = [np.linalg.norm(a, axis=1, keepdims=True) for a in (queries, vectors)]
        queries, vectors = (a / np.where(n > 0, n, 1) for a, n in zip((queries, vectors), norms, strict=True))
    return queries @ vectors.T


def check(hits, scores, k, ids=None):
    for row, values in enumerate(scores):
        columns, best = ranking(values, k, np.ones(len(values), bool))
        want = [None if i < 0 else (i if ids is None else ids[i]) for i in columns]
        assert hits.ids[row].tolist() == want
        np.testing.assert_allclose(hits.scores[row], best, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("count", [5, 700])
def test_exact_search(metric, count):
    vectors, queries = RNG.normal(size=(count, 8)), RNG.normal(size=(9, 8))
    index = DenseIndex.build(vectors, metric=metric)
    want = reference(queries, vectors, metric)
    np.testing.assert_allclose(index.scores(queries), want, rtol=1e-5, atol=1e-6)
    for k in (1, 10):
        check(index.search(queries, k=k), want, k)


@given(
    hnp.arrays(np.int8, (70, 3), elements=st.integers(-2, 2)), hnp.arrays(np.int8, (4, 3), elements=st.integers(-2, 2))
)
def test_ties_go_to_the_earlier_document(vectors, queries):
    # Small integers: products are exact, and most scores tie. Groups are used: 80 rows are 5 groups, and k is 2.
    scores = reference(queries, vectors, "dot")
    index = DenseIndex.build(vectors, metric="dot")
    for k in (2, 7, 70):
        check(index.search(queries, k=k), scores, k)


# Blocks of 2048 documents, of 256, and none; whole numbers, so that every type is exact and many scores tie.
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize(("count", "asked"), [(4096, 6), (4864, 1), (4080, 6)])
def test_groups_and_blocks_are_exact(count, asked, dtype):
    rng = np.random.default_rng(count)
    scores, allowed = rng.integers(0, 9, size=(asked, count)), rng.random(count) < 0.5
    vectors, scales, queries = jnp.asarray(scores.T, dtype), None, np.eye(asked, dtype=np.float32)
    if dtype == "int8":
        scales, queries = np.ones(count, np.float32), queries * 127
    best, place = _kernels.best_documents(queries, vectors, scales, allowed, k=20)
    want = np.argsort(np.where(allowed, -scores, 1), axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(place, want)
    np.testing.assert_array_equal(best, np.take_along_axis(scores, want, 1) * (127 if dtype == "int8" else 1))


def test_blocks_of_queries_and_odd_numbers(monkeypatch):
    vectors, queries = RNG.normal(size=(50, 4)), RNG.normal(size=(23, 4))
    index = DenseIndex.build(vectors)
    whole = index.search(queries, k=3)
    monkeypatch.setitem(_dense.QUERIES, "cpu", 8)
    blocks = index.search(queries, k=3)
    assert blocks.ids.tolist() == whole.ids.tolist()
    np.testing.assert_allclose(blocks.scores, whole.scores, rtol=1e-5)


def test_values_of_every_kind():
    for vectors in (jnp.eye(3), np.eye(3, dtype=np.float16), np.eye(3, dtype=np.int64), jnp.eye(3, dtype=jnp.bfloat16)):
        index = DenseIndex.build(vectors, ids=["x", "y", "z"])
        assert index.search(np.array([0.0, 1.0, 0.5]), k=2).ids.tolist() == [["y", "z"]]


def test_cosine_of_extreme_and_zero_vectors():
    vectors = np.array([[1e30, 1e30], [1e-30, 0.0], [0.0, 0.0], [-1.0, 0.0]], np.float32)
    index = DenseIndex.build(vectors)
    got = index.scores(np.array([[2.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(got, [[np.sqrt(0.5), 1, 0, -1], [0, 0, 0, 0]], rtol=1e-6)
    assert index.search(np.array([[2.0, 0.0]]), k=4).ids.tolist() == [[1, 0, 2, 3]]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types_are_close(dtype):
    vectors, queries = RNG.normal(size=(40, 16)), RNG.normal(size=(5, 16))
    index = DenseIndex.build(vectors, dtype=dtype)
    hits = index.search(queries, k=40)
    assert hits.scores.dtype == np.float32
    want = -np.sort(-reference(queries, vectors, "cosine"), axis=1)
    np.testing.assert_allclose(hits.scores, want, atol=2**-7)
    np.testing.assert_allclose(hits.scores, -np.sort(-index.scores(queries), axis=1), atol=2**-7)


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_bytes_are_close_and_a_quarter_of_the_size(metric):
    vectors, queries = RNG.normal(size=(300, 64)), RNG.normal(size=(7, 64))
    index = DenseIndex.build(vectors, dtype="int8", metric=metric)
    want = reference(queries, vectors, metric)
    size = 1 if metric == "cosine" else 64
    hits = index.search(queries, k=300)
    got = np.zeros_like(want)
    np.put_along_axis(got, hits.ids.astype(int), hits.scores, axis=1)
    np.testing.assert_allclose(got, want, atol=0.012 * size)
    np.testing.assert_allclose(index.scores(queries), want, atol=0.008 * size)
    assert index._snapshot.vectors.dtype == jnp.int8
    best = DenseIndex.build(vectors, metric=metric).search(queries, k=10).ids
    found = [len(set(a) & set(b)) for a, b in zip(best, hits.ids[:, :10], strict=True)]
    assert np.mean(found) >= 9
    zero = DenseIndex.build(np.zeros((2, 3)), dtype="int8", metric=metric)
    assert not zero.scores(np.ones((1, 3))).any()
    np.testing.assert_array_equal(zero.search(np.zeros((1, 3)), k=2).scores, 0)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_documents_spread_over_devices(mesh8, dtype, tmp_path):
    # Small integers, so that all sums are exact and the many ties show the order.
    vectors, queries = RNG.integers(-2, 3, size=(1000, 4)), RNG.integers(-2, 3, size=(5, 4))
    alone = DenseIndex.build(vectors, metric="dot", dtype=dtype)
    spread = DenseIndex.build(vectors, metric="dot", dtype=dtype, mesh=mesh8)
    for k in (3, 200):
        a, b = alone.search(queries, k=k), spread.search(queries, k=k)
        assert a.ids.tolist() == b.ids.tolist()
        np.testing.assert_array_equal(a.scores, b.scores)
    assert len(spread._snapshot.vectors.sharding.device_set) == 8
    some = spread.search(queries, k=3, filter=range(500, 510))
    assert some.ids.tolist() == alone.search(queries, k=3, filter=range(500, 510)).ids.tolist()
    spread.add(vectors[:3])
    spread.delete([0])
    spread.save(tmp_path / "index")
    again = DenseIndex.load(tmp_path / "index", mesh=mesh8)
    assert again.search(queries, k=5).ids.tolist() == spread.search(queries, k=5).ids.tolist()


def test_packed_vectors():
    vectors = RNG.normal(size=(9, 5)).astype(np.float32)
    vectors[3] = 0
    for dtype, size, error in (
        ("float32", 20, 0),
        ("float16", 10, 2**-10),
        ("bfloat16", 10, 2**-7),
        ("int8", 9, 0.5 / 127),
    ):
        stored = pack(vectors, dtype)
        assert stored.nbytes == 9 * size
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        assert (np.abs(unpack(stored, dtype) - vectors) <= error * 1.01 * largest).all()


@given(st.sets(st.integers(0, 11)), st.integers(0, 12))
def test_adding_and_deleting_equals_a_rebuild(gone, split):
    vectors, queries = np.random.default_rng(1).normal(size=(12, 4)), RNG.normal(size=(3, 4))
    index = DenseIndex.build(vectors[:split])
    index.search(queries, k=2)
    index.add(vectors[split:])
    index.delete(gone)
    kept = [i for i in range(12) if i not in gone]
    again = DenseIndex.build(vectors[kept], ids=kept)
    assert (index.ids, len(index)) == (kept, len(kept))
    a, b = index.search(queries, k=4), again.search(queries, k=4)
    assert a.ids.tolist() == b.ids.tolist()
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(index.scores(queries), again.scores(queries))


def test_filters():
    index = DenseIndex.build(np.eye(4), ids=list("wxyz"), metric="dot")
    query = np.array([[4.0, 3.0, 2.0, 1.0]])
    assert index.search(query, k=3, filter=["x", "z"]).ids.tolist() == [["x", "z", None]]
    assert index.search(query, k=1, filter=[]).ids.tolist() == [[None]]


def test_nothing():
    empty = DenseIndex.build(np.zeros((0, 3)))
    assert empty.search(np.ones((2, 3)), k=2).ids.tolist() == [[None, None]] * 2
    assert empty.scores(np.ones((2, 3))).shape == (2, 0)
    assert DenseIndex().search(np.ones((1, 5)), k=1).ids.tolist() == [[None]]
    assert DenseIndex.build(np.eye(3)).search(np.zeros((0, 3)), k=2).ids.shape == (0, 2)
    assert DenseIndex.build(np.eye(2)).search(np.ones((1, 2)), k=50).ids.shape == (1, 50)
    index = DenseIndex.build(np.eye(2))
    index.delete([0, 1])
    assert index.search(np.ones((1, 2)), k=1).ids.tolist() == [[None]]


def test_few_shapes_are_compiled():
    sizes = {capacity_for(n) for n in range(1, 5000)}
    assert len(sizes) < 70
    for n in (0, 1, 15, 16, 17, 1000, 4097):
        assert capacity_for(n) >= n
        assert capacity_for(n) % _kernels.GROUP == 0
        assert capacity_for(n) <= max(1.126 * n, n + 16)
    assert 100_000 <= capacity_for(100_000) < 1.06 * 100_000
    index = DenseIndex.build(RNG.normal(size=(200, 4)))
    index.search(np.ones((3, 4)), k=5)
    before = _kernels.best_documents._cache_size()
    index.add(RNG.normal(size=(5, 4)))
    index.search(np.ones((4, 4)), k=5)
    assert _kernels.best_documents._cache_size() == before


def refused(reason, message, call):
    with pytest.raises(RetrieveError, match=message) as caught:
        call()
    assert caught.value.reason is RetrieveError.Reason(reason)


def test_bad_input(unchecked):
    index = DenseIndex.build(np.eye(3))
    refused(
        "dimension_mismatch",
        "vectors of 4 dimensions, the index holds vectors of 3",
        lambda: index.search(np.ones((1, 4))),
    )
    refused("dimension_mismatch", "of 2 dimensions", lambda: index.add(np.ones((1, 2))))
    refused(
        "invalid_parameter",
        r"items\[1\] holds a number that is not finite",
        lambda: index.add(np.array([[1.0] * 3, [np.nan] * 3])),
    )
    refused("invalid_parameter", r"queries\[0\] holds", lambda: index.search(np.array([[np.inf, 0, 0]])))
    refused("invalid_parameter", r"shape \[n, d\], got float64 of shape \(3,\)", lambda: index.add(np.ones(3)))
    refused("invalid_parameter", "got <U1", lambda: index.add(np.array([["a"]])))
    large = DenseIndex.build(np.eye(3), metric="dot", dtype="float16")
    refused("invalid_parameter", "hold 1e.05, more than 60000.* divide them", lambda: large.add(np.full((1, 3), 1e5)))
    refused("invalid_parameter", "not finite", lambda: index.add(np.full((1, 3), 1e300)))
    refused("invalid_parameter", "k must be", lambda: index.search(np.ones((1, 3)), k=0))
    refused("invalid_parameter", "metric 'l2' is unknown; choose one of cosine, dot", lambda: DenseIndex(metric="l2"))
    refused("invalid_parameter", "dtype 'int4' is unknown", lambda: DenseIndex(dtype="int4"))
    refused("duplicate_id", "comes twice", lambda: DenseIndex.build(np.eye(2), ids=["a", "a"]))
    refused("unknown_id", "there is no document 9", lambda: index.delete([9]))
    refused("empty_index", "no documents", lambda: DenseIndex().search(np.ones((1, 3)), on_empty="raise"))
    mesh = make_mesh({"a": 2, "b": 2}, devices=jax.devices()[:4])
    refused("invalid_parameter", "the mesh has the axes .*'b'", lambda: DenseIndex(mesh=mesh))
    with pytest.raises(TypeError, match=r"must be an array, got a list; write np.asarray\(queries\)"):
        index.search([[1.0, 0, 0]])
    assert index.ids == [0, 1, 2]
