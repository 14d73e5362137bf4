"""Packed documents: places, scores, gradients."""

import dataclasses
import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jrank import maxsim
from jrank.errors import RerankError
from jrank.maxsim import _pack

score_packed = jax.jit(maxsim.score_packed)


def ragged(seed, lengths, dimensions=8):
    rng = np.random.default_rng(seed)
    return [rng.integers(-4, 5, size=(length, dimensions)).astype("f") for length in lengths]


def test_by_hand():
    tokens = [[[2, -2, 3]], [[1, -3, -3], [0, -3, -3], [0, 3, 0]], np.zeros((0, 3)), [[2, 3, 2], [1, 0, 0]]]
    packed = maxsim.pack([np.array(doc, "f") for doc in tokens])
    queries = jnp.array([[[1.0, 0, 0], [3, 2, 2]], [[1, 1, -1], [3, 0, -2]]])
    assert score_packed(queries, packed).tolist() == [[10, 7, 0, 18], [-3, 12, 0, 6]]


@hypothesis.given(st.lists(st.integers(0, 90), min_size=1, max_size=30), st.integers(0, 99))
def test_places(lengths, seed):
    docs = ragged(seed, lengths, 2)
    packed = maxsim.pack(docs, group_tokens=64)
    groups, size, _ = packed.tokens.shape
    flat = np.asarray(packed.tokens).reshape(groups * size, 2)
    segments = np.asarray(packed.segments)
    assert np.all(np.diff(segments, axis=1) >= 0)
    assert packed.max_docs & (packed.max_docs - 1) == 0
    assert len(packed) == len(docs)
    assert packed.dimensions == 2
    tiles = 0
    places = zip(docs, *(x.tolist() for x in (packed.starts, packed.lengths, packed.slots)), strict=True)
    for doc, start, length, slot in places:
        assert length == len(doc)
        assert np.array_equal(flat[start : start + length], doc)
        if not length:
            assert slot == -1
            continue
        covered = -(-length // _pack.TILE)
        tiles += covered
        assert start // size == slot // packed.max_docs
        inside = segments.reshape(-1)[start // _pack.TILE :][:covered]
        assert np.all(inside == slot % packed.max_docs)
        straddles = start // size != (start + length - 1) // size
        assert straddles == (length > size)
        assert packed.span >= -(-length // size)
    assert tiles == np.sum(segments < packed.max_docs)


@hypothesis.given(st.integers(0, 99))
def test_packed_is_the_padded_score(oracle, seed):
    # Fixed lengths, so that nothing recompiles; 64 tokens a group makes long documents span several.
    docs = ragged(seed, [1, 300, 20, 0, 64, 5, 3, 129, 0, 2])
    query = ragged(seed + 100, [5])[0]
    packed = maxsim.pack(docs, group_tokens=64)
    assert packed.span == 5
    want = [oracle(query, doc) for doc in docs]
    assert score_packed(query, packed).tolist() == want
    assert score_packed(query, maxsim.pack(docs)).tolist() == want
    where = np.array([True, False, True, True, False])
    junk = np.where(where[:, None], query, np.nan)
    assert score_packed(junk, packed, query_where=where).tolist() == [oracle(query, doc, where) for doc in docs]


@pytest.mark.parametrize("lengths", [[1, 150, 20, 0, 64, 5], [7, 20, 0, 30]])
def test_gradients(lengths):
    docs = ragged(0, lengths, 3)
    query = jnp.asarray(ragged(1, [4], 3)[0])
    packed = maxsim.pack(docs, group_tokens=64)
    weights = jnp.arange(1.0, len(docs) + 1)
    padded = np.zeros((len(docs), max(lengths), 3), "f")
    where = np.zeros(padded.shape[:2], bool)
    for place, doc in enumerate(docs):
        padded[place, : len(doc)], where[place, : len(doc)] = doc, True

    def by_pack(query, tokens):
        return jnp.sum(weights * maxsim.score_packed(query, dataclasses.replace(packed, tokens=tokens)) ** 2)

    def by_pad(query, docs):
        return jnp.sum(weights * maxsim.score(query, docs, doc_where=where) ** 2)

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(fn, query, docs):
        _, forward = jax.jvp(lambda q: fn(q, docs), (query,), (jnp.ones_like(query),))
        return *jax.grad(fn, (0, 1))(query, docs), forward, jax.jacfwd(jax.grad(fn))(query, docs)

    got, want = derivatives(by_pack, query, packed.tokens), derivatives(by_pad, query, padded)
    for number in (0, 2, 3):
        assert np.array_equal(got[number], want[number])
    flat = np.asarray(got[1]).reshape(-1, 3)
    for place, (start, length) in enumerate(zip(packed.starts.tolist(), lengths, strict=True)):
        assert np.array_equal(flat[start : start + length], want[1][place, :length])
    assert np.abs(flat).sum() == np.abs(np.asarray(want[1])).sum()  # the copies that fill tiles get none


def test_types():
    docs = ragged(0, [7, 20, 0, 30])
    query = ragged(1, [5])[0]
    half = maxsim.pack(docs, dtype=jnp.bfloat16)
    assert half.tokens.dtype == jnp.bfloat16
    found = score_packed(query, half)
    assert found.dtype == jnp.float32
    assert np.array_equal(found, score_packed(query, maxsim.pack(docs)))
    assert score_packed(jnp.asarray(query, jnp.bfloat16), half).dtype == jnp.float32
    assert maxsim.pack([doc.astype(int) for doc in docs]).tokens.dtype == jnp.float32
    assert maxsim.pack([jnp.asarray(doc, jnp.bfloat16) for doc in docs]).tokens.dtype == jnp.bfloat16


def test_small_collections_make_small_groups():
    assert maxsim.pack(ragged(0, [5, 7])).tokens.shape == (1, 64, 8)
    assert maxsim.pack(ragged(0, [90] * 10)).tokens.shape == (1, 1024, 8)
    assert maxsim.pack(ragged(0, [0, 0])).tokens.shape == (1, 64, 8)
    assert score_packed(ragged(1, [5])[0], maxsim.pack(ragged(0, [0, 0]))).tolist() == [0, 0]
    assert maxsim.score_packed(jnp.ones((0, 8)), maxsim.pack(ragged(0, [3]))).tolist() == [0]


def test_padding_of_a_large_collection_is_little():
    lengths = np.random.default_rng(0).integers(20, 300, size=400)
    packed = maxsim.pack(ragged(0, lengths, 1))
    assert packed.tokens.size <= 1.1 * lengths.sum()


def test_equal_shapes_share_a_compilation():
    query = ragged(1, [5])[0]
    fn = jax.jit(lambda query, packed: maxsim.score_packed(query, packed))
    fn(query, maxsim.pack(ragged(0, [7, 20, 0, 30])))
    fn(query, maxsim.pack(ragged(1, [9, 1, 17, 28])))
    assert fn._cache_size() == 1


def test_sharded_over_groups(mesh8):
    docs = ragged(0, [30] * 16)
    query = ragged(1, [5])[0]
    packed = maxsim.pack(docs, group_tokens=64)
    assert packed.tokens.shape[0] == 8

    def local(query, tokens, segments):
        # Each device sees its own two documents.
        two = {name: getattr(packed, name)[:2] for name in ("slots", "starts", "lengths")}
        mine = dataclasses.replace(packed, tokens=tokens, segments=segments, **two)
        return maxsim.score_packed(query, mine)

    run = jax.shard_map(local, mesh=mesh8, in_specs=(P(), P("data"), P("data")), out_specs=P("data"))
    found = jax.jit(run)(query, packed.tokens, packed.segments)
    assert np.array_equal(found, score_packed(query, packed))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_lowers_everywhere(platform):
    packed = maxsim.pack(ragged(0, [1, 300, 20, 0]), group_tokens=64)
    grad = jax.jit(jax.grad(lambda q, p: maxsim.score_packed(q, p).sum()))
    text = str(jax.export.export(grad, platforms=[platform])(jnp.ones((5, 8)), packed).mlir_module())
    for forbidden in ("custom_call", "f64", "callback"):
        assert forbidden not in text


def test_bad_input(unchecked):
    with pytest.raises(RerankError, match="no documents") as caught:
        maxsim.pack([])
    assert caught.value.reason == "empty_input"
    with pytest.raises(RerankError, match=r"document 1 has shape \(3, 4\), expected \[tokens, 8\]"):
        maxsim.pack([np.ones((2, 8)), np.ones((3, 4))])
    with pytest.raises(RerankError, match="document 0"):
        maxsim.pack([np.ones(8)])
    with pytest.raises(RerankError, match="multiple of 4"):
        maxsim.pack([np.ones((2, 8))], group_tokens=10)
    packed = maxsim.pack([np.ones((2, 8))])
    with pytest.raises(RerankError, match=r"query has shape \(5, 7\)"):
        maxsim.score_packed(jnp.ones((5, 7)), packed)
    with pytest.raises(RerankError, match="query_where"):
        maxsim.score_packed(jnp.ones((5, 8)), packed, query_where=jnp.ones(4))
