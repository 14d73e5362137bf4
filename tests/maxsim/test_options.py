"""Cosines, weights of query tokens, smooth maxima and means, in every form of the score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrank import maxsim
from jrank.errors import RerankError
from jrank.maxsim import _core


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


QUERIES, DOCS = random(0, 3, 4, 8), random(1, 5, 6, 8)
QUERY_WHERE, DOC_WHERE = np.random.default_rng(2).random((3, 4)) < 0.7, np.random.default_rng(3).random((5, 6)) < 0.7
DOC_WHERE[2] = False
WEIGHTS = np.random.default_rng(4).random((3, 4)).astype("f")


def definition(normalize=False, weights=None, temperature=None, reduction="sum"):
    """In float64, from the formulas."""
    queries, docs = QUERIES.astype(float), DOCS.astype(float)
    if normalize:
        queries, docs = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (queries, docs))
    weights = np.ones((3, 4)) if weights is None else weights.astype(float)
    result = np.zeros((3, 5))
    for b in range(3):
        for n in range(5):
            tokens = docs[n][DOC_WHERE[n]]
            rows, mass = queries[b][QUERY_WHERE[b]], weights[b][QUERY_WHERE[b]]
            if len(tokens) and len(rows):
                products = rows @ tokens.T
                if temperature is None:
                    matches = products.max(1)
                else:
                    matches = temperature * np.log(np.exp(products / temperature).sum(1))
                result[b, n] = (mass * matches).sum() / (mass.sum() if reduction == "mean" else 1)
    return result


OPTIONS = {
    "cosine": {"normalize": True},
    "weights": {"weights": WEIGHTS},
    "soft": {"temperature": 0.5},
    "mean": {"reduction": "mean"},
    "weighted mean of soft cosines": {
        "normalize": True, "weights": WEIGHTS, "temperature": 0.1, "reduction": "mean",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_every_form(name):
    options = OPTIONS[name]
    want = definition(**options)
    junk = np.where(QUERY_WHERE[..., None], QUERIES, np.nan), np.where(DOC_WHERE[..., None], DOCS, np.inf)
    one = dict(options, weights=WEIGHTS[1]) if "weights" in options else options

    @jax.jit
    def forms(queries, docs):
        many, wheres = jnp.broadcast_to(docs, (3, *docs.shape)), jnp.broadcast_to(DOC_WHERE, (3, 5, 6))
        return (
            maxsim.score_matrix(queries, docs, query_where=QUERY_WHERE, doc_where=DOC_WHERE, **options),
            maxsim.score_pairs(queries, many, query_where=QUERY_WHERE, doc_where=wheres, **options),
            maxsim.score(queries[1], docs, query_where=QUERY_WHERE[1], doc_where=DOC_WHERE, **one),
        )

    matrix, pairs, single = forms(*junk)
    np.testing.assert_allclose(matrix, want, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(pairs, want, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(single, want[1], rtol=2e-5, atol=1e-5)

    if "temperature" not in options:
        normalize = options.get("normalize", False)
        packed = maxsim.pack([doc[where] for doc, where in zip(DOCS, DOC_WHERE, strict=True)], normalize=normalize)
        found = jax.jit(lambda q: maxsim.score_packed(q, packed, query_where=QUERY_WHERE, **options))(junk[0])
        np.testing.assert_allclose(found, want, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [*(pytest.param(n, marks=pytest.mark.slow) for n in ("cosine", "weights")), "weighted mean of soft cosines"],
)
def test_gradients(x64, name):
    options = dict(OPTIONS[name])
    heat = options.pop("temperature", None)
    weights = jnp.asarray(WEIGHTS, float)
    options.pop("weights", None)

    @jax.jit
    def smooth(queries, docs, weights, *heat):
        more = {"temperature": heat[0]} if heat else {}
        masks = {"query_where": QUERY_WHERE, "doc_where": DOC_WHERE}
        return jnp.sum(jnp.sin(maxsim.score_matrix(queries, docs, weights=weights, **masks, **options, **more)))

    args = (jnp.asarray(QUERIES, float), jnp.asarray(DOCS, float), weights)
    args += () if heat is None else (jnp.asarray(heat, float),)
    check_grads(smooth, args, order=2, modes=("fwd", "rev"), rtol=1e-4)  # second differences lose half the digits


def test_masked_weights_do_not_matter():
    junk = np.where(QUERY_WHERE, WEIGHTS, np.nan)
    for reduction in ("sum", "mean"):
        found = maxsim.score_matrix(QUERIES, DOCS, query_where=QUERY_WHERE, weights=junk, reduction=reduction)
        clean = maxsim.score_matrix(QUERIES, DOCS, query_where=QUERY_WHERE, weights=WEIGHTS, reduction=reduction)
        assert np.array_equal(found, clean)


def test_vectors_without_direction():
    queries = jnp.array([[[0.0, 0.0], [3.0, 4.0]]])
    docs = jnp.array([[[0.0, 0.0], [-6.0, -8.0]]])
    scores, grad = jax.value_and_grad(lambda q: maxsim.score_matrix(q, docs, normalize=True).sum())(queries)
    assert scores == 0  # the zero vector beats the opposite one
    assert grad.tolist() == [[[0, 0], [0, 0]]]
    assert maxsim.pack([docs[0]], normalize=True).tokens[0, 0].tolist() == [0, 0]


def test_cold_is_hard_and_above_it():
    hard = maxsim.score_matrix(QUERIES, DOCS, doc_where=DOC_WHERE)
    for heat in (1.0, 0.1, 0.001):
        soft = maxsim.score_matrix(QUERIES, DOCS, doc_where=DOC_WHERE, temperature=heat)
        assert np.all(soft >= hard - 1e-5)
        np.testing.assert_allclose(soft, hard, atol=4 * heat * np.log(6) + 1e-5)
    assert np.all(np.isfinite(soft))


def test_temperature_does_not_recompile():
    fn = jax.jit(lambda heat: maxsim.score_matrix(QUERIES, DOCS, temperature=heat))
    fn(0.5), fn(0.7)
    assert fn._cache_size() == 1


def test_soft_in_blocks(core_patch):
    whole = jax.jit(lambda q, d: maxsim.score_matrix(q, d, doc_where=DOC_WHERE, temperature=0.5))(QUERIES, DOCS)
    core_patch(_core, "block_size", lambda *_: 2)
    blocks = jax.jit(lambda q, d: maxsim.score_matrix(q, d, doc_where=DOC_WHERE, temperature=0.5))(QUERIES, DOCS)
    np.testing.assert_allclose(blocks, whole, rtol=1e-6)


def test_empty_means():
    nothing = np.zeros((3, 4), bool)
    for options in ({}, {"weights": WEIGHTS}, {"temperature": 1.0}):
        found = maxsim.score_matrix(QUERIES, DOCS, query_where=nothing, reduction="mean", **options)
        assert np.array_equal(found, np.zeros((3, 5)))
    assert maxsim.score(jnp.ones((0, 8)), DOCS, reduction="mean").tolist() == [0] * 5
    assert maxsim.score(QUERIES[0], jnp.ones((2, 0, 8)), temperature=1.0).tolist() == [0, 0]


def test_alignment_of_cosines():
    found = maxsim.align(QUERIES[0], DOCS[0], normalize=True)
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (QUERIES[0], DOCS[0])]
    products = unit[0] @ unit[1].T
    np.testing.assert_allclose(found.scores, products.max(1), rtol=1e-5)
    assert found.tokens.tolist() == products.argmax(1).tolist()
    marked = maxsim.highlight(QUERIES[0], DOCS[0], 0.4, normalize=True)
    assert marked.tolist() == (products >= 0.4).any(0).tolist()


def test_bad_options(unchecked):
    with pytest.raises(RerankError, match="reduction is 'max'"):
        maxsim.score(QUERIES[0], DOCS, reduction="max")
    with pytest.raises(RerankError, match=r"weights have shape \(3,\), expected \(4,\)"):
        maxsim.score(QUERIES[0], DOCS, weights=jnp.ones(3))
    with pytest.raises(RerankError, match="temperature is 0"):
        maxsim.score(QUERIES[0], DOCS, temperature=0)
    with pytest.raises(RerankError, match="scalar"):
        maxsim.score(QUERIES[0], DOCS, temperature=jnp.ones(2))


def test_calls_outside_of_jit_compile_once(core_patch, caplog):
    """Loops over blocks and groups would be compiled anew at each call, a hundred times the time of the scores."""
    core_patch(_core, "block_size", lambda *_: 2)
    query, docs = random(0, 4, 8), random(1, 7, 6, 8)
    packed = maxsim.pack(list(docs), group_tokens=8)
    calls = {
        "score": lambda: maxsim.score(query, docs),
        "smooth": lambda: maxsim.score(query, docs, temperature=0.5, reduction="mean"),
        "score_matrix": lambda: maxsim.score_matrix(query[None], docs, deterministic=True),
        "score_pairs": lambda: maxsim.score_pairs(query[None], docs[None]),
        "score_packed": lambda: maxsim.score_packed(query, packed),
    }
    for bits, scale in ((8, "document"), (8, "token"), (1, "document")):
        quantized = maxsim.quantize(packed, bits, scale=scale)
        calls |= {
            f"quantize {bits} {scale}": lambda b=bits, s=scale: maxsim.quantize(packed, b, scale=s),
            f"unpack {bits} {scale}": lambda q=quantized: q.unpack(),
            f"score_packed {bits} {scale}": lambda q=quantized: maxsim.score_packed(query, q),
        }
    for name, call in calls.items():
        call()
        caplog.clear()
        with jax.log_compiles():
            call()
        assert not [message for message in caplog.messages if message.startswith("Compiling")], name
