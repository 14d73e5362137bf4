"""Padded scoring: values, masks, gradients of every order, transformations, lowering."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jrank import maxsim
from jrank.errors import RerankError
from jrank.maxsim import _core

score = jax.jit(maxsim.score)
score_matrix = jax.jit(maxsim.score_matrix)
score_pairs = jax.jit(maxsim.score_pairs)


def integers(seed, *shape, low=-4, high=5):
    """Embeddings whose products are exact in any order of summation."""
    return np.random.default_rng(seed).integers(low, high, size=shape).astype(np.float32)


# Values of small cases, worked by hand --------------------------------------------------------------------------------

HAND = {
    "identity": ([[1, 0], [0, 1]], [[1, 0], [0, 1]], None, None, 2, [0, 1]),
    "one document token": ([[1, 0], [0, 1], [1, 1]], [[2, 3]], None, None, 10, [0, 0, 0]),
    "all negative": ([[1, 0]], [[-1, 0], [-2, 0]], None, None, -1, [0]),
    "all negative with padding": ([[1, 0]], [[-1, 0], [-2, 0], [0, 0]], None, [1, 1, 0], -1, [0]),
    "mask hides the best": ([[1, 0], [0, 1]], [[5, 0], [1, 1]], None, [0, 1], 2, [1, 1]),
    "query mask": ([[1, 0], [0, 1], [9, 9]], [[1, 2], [3, 0]], [1, 1, 0], None, 5, [1, 0, -1]),
    "empty document": ([[1, 0], [0, 1]], [[1, 1]], None, [0], 0, [-1, -1]),
    "tie": ([[1, 1]], [[1, 0], [0, 1]], None, None, 1, [0]),
    "copies": ([[1, 0]], [[3, 0], [3, 0], [3, 0]], None, None, 3, [0]),
    "one dimension": ([[1], [0], [0], [0]], [[10], [0], [1]], None, None, 10, [0, 0, 0, 0]),
}


@pytest.mark.parametrize("case", HAND)
def test_hand(case):
    query, doc, query_where, doc_where, value, tokens = HAND[case]
    query, doc = jnp.array(query, jnp.float32), jnp.array(doc, jnp.float32)
    masks = {
        "query_where": None if query_where is None else jnp.array(query_where),
        "doc_where": None if doc_where is None else jnp.array(doc_where),
    }
    found = maxsim.align(query, doc, **masks)
    assert found.tokens.tolist() == tokens
    assert float(found.scores.sum()) == value
    if doc_where is not None:
        masks["doc_where"] = masks["doc_where"][None]
    assert maxsim.score(query, doc[None], **masks).tolist() == [value]


def test_gradient_by_hand():
    query = jnp.array([[4.0, 1, 2], [4, 1, 2], [3, -2, -4], [-2, -2, 3]])
    doc = jnp.array([[4.0, -4, 0], [3, -3, 3], [-3, 0, 3], [-2, -1, -2], [2, -2, 4], [0, 0, 0]])
    value, (by_query, by_doc) = jax.value_and_grad(lambda q, d: maxsim.score(q, d[None])[0], (0, 1))(query, doc)
    assert float(value) == 65
    assert by_query.tolist() == [[3, -3, 3], [3, -3, 3], [4, -4, 0], [-3, 0, 3]]
    assert by_doc.tolist() == [[3, -2, -4], [8, 2, 4], [-2, -2, 3], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_the_first_of_ties_gets_the_gradient():
    grad = jax.grad(lambda d: maxsim.score(jnp.array([[1.0, 1.0]]), d[None])[0])(jnp.eye(2))
    assert grad.tolist() == [[1, 1], [0, 0]]


# Random values --------------------------------------------------------------------------------------------------------


@hypothesis.given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_oracle(oracle, seed, share):
    rng = np.random.default_rng(seed)
    queries, docs = rng.normal(size=(3, 4, 8)).astype("f"), rng.normal(size=(5, 6, 8)).astype("f") - 1
    query_where, doc_where = rng.random((3, 4)) < share, rng.random((5, 6)) < share
    junk = [np.nan, np.inf, -np.inf, 3e38][seed % 4]
    dirty = np.where(query_where[..., None], queries, junk), np.where(doc_where[..., None], docs, junk)
    masks = {"query_where": query_where, "doc_where": doc_where}
    want = [
        [oracle(q, d, w, v) for d, v in zip(docs, doc_where, strict=True)]
        for q, w in zip(queries, query_where, strict=True)
    ]
    found = score_matrix(*dirty, **masks)
    np.testing.assert_allclose(found, want, atol=1e-4)
    assert np.array_equal(found, score_matrix(queries, docs, **masks))
    by_one = score(dirty[0][1], dirty[1], query_where=query_where[1], doc_where=doc_where)
    np.testing.assert_allclose(by_one, want[1], atol=1e-4)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 8])
def test_blocks_do_not_change_a_bit(core_patch, block):
    queries, docs = integers(0, 3, 4, 8), integers(1, 7, 6, 8)
    where = np.random.default_rng(2).random((7, 6)) < 0.6

    def both(queries, docs):
        scores, pullback = jax.vjp(lambda q, d: maxsim.score_matrix(q, d, doc_where=where), queries, docs)
        return scores, *pullback(scores)

    want = jax.jit(both)(queries, docs)
    core_patch(_core, "block_size", lambda *_: block)
    core_patch(_core, "MAX_ROWS", 5)
    core_patch(_core, "PICKED_BYTES", block * 12 * 8 * 4)
    for got, expected in zip(jax.jit(lambda *args: both(*args))(queries, docs), want, strict=True):
        assert np.array_equal(got, expected)


def test_little_is_computed_twice(core_patch):
    core_patch(_core, "block_size", lambda *_: 6)
    program = str(jax.make_jaxpr(lambda docs: maxsim.score(integers(0, 4, 8), docs))(integers(1, 7, 6, 8)))
    assert "slice_sizes=(4, 6, 8)" in program  # two blocks of 4 documents, not two of 6


@pytest.mark.parametrize("kind", ["one core", "cores", "accelerator"])
def test_every_machine_gets_the_same(core_patch, kind):
    query, docs = integers(0, 4, 8), integers(1, 9, 6, 8)
    want = maxsim.score(query, docs)
    core_patch(_core, "machine", lambda: kind)
    core_patch(_core, "BLOCK_BYTES", dict.fromkeys(_core.BLOCK_BYTES, 300))
    core_patch(_core, "BLOCK_TOKENS", dict.fromkeys(_core.BLOCK_TOKENS, 12))
    assert np.array_equal(maxsim.score(query, docs), want)


def test_order_of_tokens_does_not_matter():
    query, docs = integers(0, 4, 8), integers(1, 5, 6, 8)
    order = np.random.default_rng(3).permutation(6)
    assert np.array_equal(score(query, docs), score(query, docs[:, order]))


def test_padding_does_not_matter():
    query, docs = integers(0, 4, 8), integers(1, 5, 6, 8)
    padded = np.concatenate([docs, np.full((5, 3, 8), np.nan, "f")], axis=1)
    where = np.broadcast_to(np.arange(9) < 6, (5, 9))
    assert np.array_equal(score(query, docs), score(query, padded, doc_where=where))


def test_pairs_are_rows_of_score():
    queries, docs = integers(0, 6, 4, 8), integers(1, 6, 3, 5, 8)
    query_where = np.random.default_rng(2).random((6, 4)) < 0.7
    doc_where = np.random.default_rng(3).random((6, 3, 5)) < 0.7
    for masks in ({}, {"query_where": query_where}, {"doc_where": doc_where}):
        want = [
            maxsim.score(q, d, **{key: value[i] for key, value in masks.items()})
            for i, (q, d) in enumerate(zip(queries, docs, strict=True))
        ]
        assert np.array_equal(score_pairs(queries, docs, **masks), np.stack(want))


def test_pairs_in_blocks(core_patch):
    queries, docs = integers(0, 6, 4, 8), integers(1, 6, 3, 5, 8)
    want = maxsim.score_pairs(queries, docs)
    core_patch("jrank.maxsim._score.fitting", lambda *_: 4)
    assert np.array_equal(maxsim.score_pairs(queries, docs), want)
    assert "scan" in str(jax.make_jaxpr(lambda *args: maxsim.score_pairs(*args))(queries, docs))


@pytest.mark.parametrize("empty", "qntd")
def test_nothing_to_score(empty):
    b, q, n, t, d = (0 if letter == empty else size for letter, size in zip("bqntd", (2, 3, 4, 5, 6), strict=True))
    queries, docs = jnp.ones((b, q, d)), jnp.ones((n, t, d))
    assert np.array_equal(maxsim.score_matrix(queries, docs), np.zeros((b, n)))
    assert np.array_equal(maxsim.score_pairs(queries, jnp.ones((b, n, t, d))), np.zeros((b, n)))
    assert np.array_equal(maxsim.score(jnp.ones((q, d)), docs), np.zeros(n))
    assert maxsim.align(jnp.ones((q, d)), jnp.ones((t, d))).tokens.tolist() == [0 if t else -1] * q


def test_no_query():
    assert maxsim.score_matrix(jnp.ones((0, 3, 2)), jnp.ones((4, 5, 2))).shape == (0, 4)
    assert maxsim.score_pairs(jnp.ones((0, 3, 2)), jnp.ones((0, 4, 5, 2))).shape == (0, 4)


# Dtypes ---------------------------------------------------------------------------------------------------------------


def test_half_types_are_summed_in_float32():
    # 257 ones and one 1 more: beyond the 8 bits of bfloat16, exact in float32.
    query = jnp.ones((257, 1), jnp.bfloat16)
    found = maxsim.score(query, jnp.ones((1, 2, 1), jnp.bfloat16))
    assert found.dtype == jnp.float32
    assert found.tolist() == [257]
    grad = jax.grad(lambda q: maxsim.score(q, jnp.ones((1, 2, 1), jnp.bfloat16)).sum())(query)
    assert grad.dtype == jnp.bfloat16


def test_cotangents_of_half_types_are_summed_in_float32():
    docs = jnp.ones((300, 1, 1), jnp.bfloat16)
    grad = jax.grad(lambda q: maxsim.score(q, docs).sum())(jnp.ones((1, 1), jnp.bfloat16))
    assert grad.tolist() == [[300]]  # bfloat16 would stop at 256


def test_mixed_types_are_promoted():
    query, docs = integers(0, 4, 8), integers(1, 5, 6, 8)
    found = maxsim.score(query, jnp.asarray(docs, jnp.bfloat16))
    assert found.dtype == jnp.float32
    assert np.array_equal(found, score(query, docs))
    assert np.array_equal(maxsim.score(query.astype(np.int32), docs.astype(np.int8)), score(query, docs))


def test_float64_stays(x64, oracle):
    rng = np.random.default_rng(0)
    query, docs = rng.normal(size=(4, 8)), rng.normal(size=(5, 6, 8))
    found = maxsim.score(query, docs)
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, [oracle(query, doc) for doc in docs], rtol=1e-14)


# Gradients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "shapes"),
    [
        (maxsim.score, ((3, 4), (5, 6, 4))),
        (maxsim.score_matrix, ((2, 3, 4), (5, 6, 4))),
        (maxsim.score_pairs, ((2, 3, 4), (2, 3, 6, 4))),
    ],
)
def test_derivatives_of_two_orders_in_both_modes(x64, fn, shapes):
    rng = np.random.default_rng(0)
    shapes = {
        "score": ((3, 4), (5, 6, 4)),
        "score_matrix": ((2, 3, 4), (5, 6, 4)),
        "score_pairs": ((2, 3, 4), (2, 3, 6, 4)),
    }
    query, docs = (jnp.asarray(rng.normal(size=shape)) for shape in shapes[fn.__name__])
    where = jnp.asarray(rng.random(docs.shape[:-1]) < 0.7)
    smooth = jax.jit(lambda q, d: jnp.sum(jnp.sin(fn(q, d, doc_where=where))))
    check_grads(smooth, (query, docs), order=2, modes=("fwd", "rev"))


def test_gradient_is_that_of_plain_differentiation(x64):
    rng = np.random.default_rng(0)
    queries, docs, weights = rng.normal(size=(3, 4, 8)), rng.normal(size=(5, 6, 8)), rng.normal(size=(3, 5))

    def plain(queries, docs):
        return jnp.sum(jnp.einsum("bqd,ntd->bnqt", queries, docs).max(-1).sum(-1) * weights)

    def ours(queries, docs):
        return jnp.sum(maxsim.score_matrix(queries, docs) * weights)

    for number in (0, 1):
        np.testing.assert_allclose(
            jax.jit(jax.grad(ours, number))(queries, docs), jax.jit(jax.grad(plain, number))(queries, docs), atol=1e-12
        )


@jax.jit
def masked_gradient(queries, docs, query_where, doc_where):
    masks = {"query_where": query_where, "doc_where": doc_where}
    return jax.grad(lambda q, d: jnp.sum(maxsim.score_matrix(q, d, **masks) ** 2), (0, 1))(queries, docs)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf])
def test_gradient_at_masked_places_is_zero(junk):
    queries, docs = integers(0, 2, 4, 8), integers(1, 5, 6, 8)
    rng = np.random.default_rng(2)
    query_where, doc_where = rng.random((2, 4)) < 0.6, rng.random((5, 6)) < 0.6
    doc_where[3] = False
    clean = masked_gradient(queries, docs, query_where, doc_where)
    queries, docs = np.where(query_where[..., None], queries, junk), np.where(doc_where[..., None], docs, junk)
    dirty = masked_gradient(queries, docs, query_where, doc_where)
    for one, two, where in zip(clean, dirty, (query_where, doc_where), strict=True):
        assert np.array_equal(one, two)
        assert not np.any(np.asarray(one)[~where])


def test_the_backward_pass_keeps_the_indices_alone(core_patch):
    core_patch(_core, "machine", lambda: "one core")
    queries, docs = jnp.ones((8, 16, 32)), jnp.ones((128, 64, 32))
    pullback = jax.jit(lambda q, d: jax.vjp(maxsim.score_matrix, q, d)[1])
    kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(pullback, queries, docs)))
    assert kept <= queries.nbytes + docs.nbytes + 2 * 8 * 16 * 128 + 16
    both = jax.jit(lambda q, d: jax.value_and_grad(lambda *x: maxsim.score_matrix(*x).sum(), (0, 1))(q, d))
    used = both.lower(queries, docs).compile().memory_analysis().temp_size_in_bytes
    assert used < 8 * 16 * 128 * 64 * 4 / 2  # half of the scores of all tokens


# Transformations ------------------------------------------------------------------------------------------------------


def test_leading_axes_are_mapped():
    queries, docs = integers(0, 2, 3, 4, 8), integers(1, 2, 3, 5, 6, 8)
    found = score(queries, docs)
    assert found.shape == (2, 3, 5)
    assert np.array_equal(found[1, 2], score(queries[1, 2], docs[1, 2]))
    found = maxsim.score_matrix(queries, docs[:, 0])
    assert np.array_equal(found[1], score_matrix(queries[1], docs[1, 0]))
    assert np.array_equal(maxsim.score_pairs(queries, docs)[1], score_pairs(queries[1], docs[1]))


def test_vmap_over_queries_is_the_matrix():
    queries, docs = integers(0, 3, 4, 8), integers(1, 5, 6, 8)
    assert np.array_equal(jax.vmap(maxsim.score, (0, None))(queries, docs), score_matrix(queries, docs))


def test_scan_and_eager():
    queries, docs = integers(0, 3, 4, 8), integers(1, 5, 6, 8)
    _, found = jax.lax.scan(lambda c, q: (c, maxsim.score(q, docs)), 0, jnp.asarray(queries))
    assert np.array_equal(found, score_matrix(queries, docs))
    with jax.disable_jit():
        assert np.array_equal(maxsim.score(queries[0], docs), found[0])


@pytest.mark.parametrize("where", [False, True])
def test_shard_map_over_documents(mesh8, where):
    queries, docs = integers(0, 3, 4, 8), integers(1, 16, 6, 8)
    mask = np.random.default_rng(2).random((16, 6)) < 0.6
    given = {"doc_where": mask} if where else {}

    def loss(queries, docs, **given):
        scores = maxsim.score_matrix(queries, docs, **given)
        return scores, jax.grad(lambda q, d: jnp.sum(maxsim.score_matrix(q, d, **given) ** 2), (0, 1))(queries, docs)

    def local(queries, docs, *rest):
        given = {"doc_where": rest[0]} if rest else {}
        scores, (by_query, by_doc) = loss(queries, docs, **given)
        return scores, by_query, by_doc

    specs = (P(), P("data"), *([P("data")] if where else []))
    # The queries are the same on every device, so their cotangents are summed over the devices.
    sharded = jax.jit(jax.shard_map(local, mesh=mesh8, in_specs=specs, out_specs=(P(None, "data"), P(), P("data"))))
    scores, by_query, by_doc = sharded(queries, docs, *given.values())
    want, (want_query, want_doc) = jax.jit(loss)(queries, docs, **given)
    assert np.array_equal(scores, want)
    assert np.array_equal(by_query, want_query)
    assert np.array_equal(by_doc, want_doc)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("blocks", [False, True])
def test_lowers_everywhere(core_patch, platform, blocks):
    core_patch(_core, "machine", lambda: "accelerator")
    if blocks:
        core_patch(_core, "BLOCK_BYTES", {"accelerator": 1000})
    where = jnp.ones((5, 6), bool)

    def train(queries, docs):
        return jax.value_and_grad(lambda q, d: maxsim.score_matrix(q, d, doc_where=where).sum(), (0, 1))(queries, docs)

    text = str(
        jax.export.export(jax.jit(train), platforms=[platform])(jnp.ones((3, 4, 8)), jnp.ones((5, 6, 8))).mlir_module()
    )
    for forbidden in ("custom_call", "f64", "callback"):
        assert forbidden not in text


def test_export_gives_the_same(tmp_path):
    query, docs = integers(0, 4, 8), integers(1, 5, 6, 8)
    blob = jax.export.export(score)(query, docs).serialize()
    assert np.array_equal(jax.export.deserialize(blob).call(query, docs), score(query, docs))


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "shapes", "text"),
    [
        (maxsim.score, ((4, 8), (5, 6, 7)), "query of 8 dimensions .* docs of 7"),
        (maxsim.score, ((8,), (5, 6, 8)), "query has shape \\(8,\\), expected"),
        (maxsim.score, ((4, 8), (6, 8)), "docs\\[None\\]"),
        (maxsim.score, ((3, 4, 8), (5, 6, 8)), "score_matrix"),
        (maxsim.score_matrix, ((4, 8), (5, 6, 8)), "expected"),
        (maxsim.score_pairs, ((3, 4, 8), (5, 2, 6, 8)), "leading axes"),
        (maxsim.align, ((4, 8), (6, 7)), "dimensions"),
        (maxsim.highlight, ((4, 8), (6, 7)), "dimensions"),
    ],
)
def test_shapes_that_do_not_fit(unchecked, fn, shapes, text):
    with pytest.raises(RerankError, match=text) as caught:
        fn(*(jnp.ones(shape) for shape in shapes))
    assert caught.value.reason == "dimension_mismatch"


def test_masks_that_do_not_fit(unchecked):
    query, docs = jnp.ones((4, 8)), jnp.ones((5, 6, 8))
    with pytest.raises(RerankError, match=r"doc_where has shape \(5, 7\), expected \(5, 6\)"):
        maxsim.score(query, docs, doc_where=jnp.ones((5, 7), bool))
    with pytest.raises(RerankError, match="query_where"):
        maxsim.score(query, docs, query_where=jnp.ones(5, bool))


def test_lists_are_refused(unchecked):
    with pytest.raises(TypeError, match="write jnp"):
        maxsim.score([[1.0, 2.0]], jnp.ones((5, 6, 2)))


# Alignment ------------------------------------------------------------------------------------------------------------


def test_alignment_sums_to_the_score():
    query, docs = integers(0, 4, 8), integers(1, 5, 6, 8)
    found = jax.vmap(functools.partial(maxsim.align, query))(docs)
    assert np.array_equal(found.scores.sum(-1), score(query, docs))
    picked = np.take_along_axis(docs, np.asarray(found.tokens)[..., None], axis=1)
    assert np.array_equal(np.einsum("qd,nqd->nq", query, picked), found.scores)


def test_highlight():
    query, doc = integers(0, 4, 8), integers(1, 6, 8)
    query_where, doc_where = np.array([1, 1, 0, 1], bool), np.array([1, 0, 1, 1, 1, 1], bool)
    want = ((query @ doc.T)[query_where] >= 10).any(0) & doc_where
    junk = np.where(doc_where[:, None], doc, np.nan)
    assert np.array_equal(maxsim.highlight(query, junk, 10, query_where=query_where, doc_where=doc_where), want)
    both = maxsim.highlight(np.stack([query, query]), np.stack([doc, doc + 1]), 10)
    assert np.array_equal(both[1], maxsim.highlight(query, doc + 1, 10))
