"""What serves a first stage: encodings of fixed dimension, truncated tokens, and the blend with what comes after."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrank import maxsim
from jrank.errors import RerankError


def unit(seed, *shape):
    x = np.random.default_rng(seed).normal(size=shape).astype("f")
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def encode_by_hand(encoder, tokens, document):
    """From the paper, with loops."""
    planes, projections = np.asarray(encoder.planes), encoder.projections
    repetitions, bits, _ = planes.shape
    parts = []
    for r in range(repetitions):
        signs = tokens @ planes[r].T > 0
        short = tokens if projections is None else tokens @ np.asarray(projections[r])
        for bucket in range(2**bits):
            wanted = np.array([bucket >> k & 1 for k in range(bits)], bool)
            shared = (signs == wanted).sum(1)
            inside = shared == bits
            if not document:
                parts.append(short[inside].sum(0))
            elif inside.any():
                parts.append(short[inside].mean(0))
            else:
                parts.append(short[shared.argmax()])
    return np.concatenate(parts)


@pytest.mark.parametrize(("bits", "projection"), [(2, 3), (3, None), (0, 4)])
def test_encodings(bits, projection):
    encoder = maxsim.fde(6, bits=bits, repetitions=3, projection=projection, seed=1)
    tokens = unit(0, 2, 5, 6)
    where = np.array([[1, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
    dirty = np.where(where[..., None], tokens, np.nan)
    for fn, document in ((encoder.queries, False), (encoder.documents, True)):
        found = jax.jit(fn)(dirty, where)
        assert found.shape == (2, encoder.dimensions)
        np.testing.assert_allclose(found[0], encode_by_hand(encoder, tokens[0][where[0]], document), atol=1e-5)
        assert not np.any(found[1])


def test_without_a_mask():
    encoder, tokens = maxsim.fde(6, bits=2, repetitions=2, projection=3), unit(0, 5, 6)
    found = jax.jit(encoder.documents)(tokens)
    np.testing.assert_allclose(found, encode_by_hand(encoder, tokens, document=True), atol=1e-5)


def test_packed_is_documents():
    docs = [unit(n, length, 6) for n, length in enumerate([3, 0, 9, 1, 30])]
    encoder = maxsim.fde(6, bits=2, repetitions=2, projection=3)
    found = encoder.packed(maxsim.pack(docs), block=2)
    nothing = np.zeros(encoder.dimensions)
    want = [encode_by_hand(encoder, doc, document=True) if len(doc) else nothing for doc in docs]
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_one_token_each_is_exact():
    """A query of one token and documents of one token: every bucket is filled with the document's token."""
    encoder = maxsim.fde(6, bits=3, repetitions=4, projection=None)
    query, docs = unit(0, 1, 6), unit(1, 5, 1, 6)
    found = encoder.documents(docs) @ encoder.queries(query) / 4
    np.testing.assert_allclose(found, maxsim.score(query, docs), atol=1e-6)


def test_candidates_hold_the_best():
    """On clustered tokens nearly all of the exact top 5 are among the first 20 of 200."""
    rng = np.random.default_rng(0)
    topics = unit(1, 40, 32)
    docs = [topics[rng.integers(0, 40, 12)] + 0.2 * unit(n + 2, 12, 32) for n in range(200)]
    packed = maxsim.pack(docs, normalize=True)
    encoder = maxsim.fde(32, bits=4, repetitions=20, projection=8)
    encoded = encoder.packed(packed)
    hits = []
    for n in range(10):
        query = topics[rng.integers(0, 40, 6)] + 0.2 * unit(n + 500, 6, 32)
        exact = np.argsort(-np.asarray(maxsim.score_packed(query, packed)))[:5]
        coarse = np.argsort(-np.asarray(encoded @ encoder.queries(query)))[:20]
        hits.append(len(set(exact) & set(coarse)) / 5)
    assert np.mean(hits) >= 0.9


def test_encoder_is_a_pytree_and_differentiable(x64):
    encoder = maxsim.fde(4, bits=2, repetitions=2, projection=3)
    tokens = jnp.asarray(unit(0, 5, 4), float)
    encode = jax.jit(lambda encoder, tokens: encoder.documents(tokens))
    assert encode(encoder, tokens).dtype == jnp.float64
    check_grads(lambda t: jnp.sum(jnp.sin(encode(encoder, t))), (tokens,), order=1, eps=1e-6)


def test_truncate():
    tokens = unit(0, 2, 3, 8)
    short = tokens[..., :5]
    np.testing.assert_allclose(maxsim.truncate(tokens, 5, normalize=False), short)
    np.testing.assert_allclose(
        maxsim.truncate(tokens, 5), short / np.linalg.norm(short, axis=-1, keepdims=True), rtol=1e-5
    )


def test_refine():
    query, docs = unit(0, 4, 8), unit(1, 5, 6, 8)
    where = np.random.default_rng(2).random((5, 6)) < 0.7
    first = np.array([0.1, -np.inf, 0.3, 0.2, 0.9], "f")
    found = maxsim.refine(first, query, docs, alpha=0.3, skip=2, doc_where=where)
    tail = [x[..., 2:] / np.linalg.norm(x[..., 2:], axis=-1, keepdims=True) for x in (query, docs)]
    products = np.where(where[:, None], np.einsum("qd,ntd->nqt", *tail), -np.inf)
    want = 0.3 * first + 0.7 * products.max(-1).mean(-1)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    grad = jax.grad(lambda q: jnp.sum(jnp.where(first > -1, maxsim.refine(first, q, docs), 0)))(query)
    assert np.all(np.isfinite(grad))
    assert np.array_equal(maxsim.refine(first, query, docs, alpha=1.0), first)


def test_bad_input(unchecked):
    with pytest.raises(RerankError, match="bits -1"):
        maxsim.fde(8, bits=-1)
    with pytest.raises(RerankError, match=r"expected \[..., tokens, 8\]"):
        maxsim.fde(8).queries(jnp.ones((3, 7)))
    with pytest.raises(RerankError, match="dimensions is 9") as caught:
        maxsim.truncate(jnp.ones((3, 8)), 9)
    assert caught.value.reason == "invalid_head_dims"
    with pytest.raises(RerankError, match="skip is 8"):
        maxsim.refine(jnp.ones(5), jnp.ones((3, 8)), jnp.ones((5, 6, 8)), skip=8)
    with pytest.raises(RerankError, match="one for each document"):
        maxsim.refine(jnp.ones(4), jnp.ones((3, 8)), jnp.ones((5, 6, 8)))
