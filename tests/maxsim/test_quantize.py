"""Documents in 8, 2 and 1 bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import maxsim
from jrank.errors import DataError, RerankError
from jrank.maxsim._residual import pack_bits, unpack_bits

LENGTHS = [7, 0, 70, 30, 1, 64, 150, 12, 0, 5]


def unit(seed, *shape):
    x = np.random.default_rng(seed).normal(size=shape).astype("f")
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


DOCS = [unit(n, length, 12) for n, length in enumerate(LENGTHS)]
QUERY = unit(99, 5, 12)
PACKED = maxsim.pack(DOCS, group_tokens=64)
CODE = maxsim.residual_code(np.concatenate(DOCS), 64)
QUANTIZED = {bits: maxsim.quantize(PACKED, bits, code=CODE if bits == 2 else None) for bits in (8, 2, 1)}
score_packed = jax.jit(maxsim.score_packed)


@pytest.mark.parametrize("bits", [8, 2, 1])
def test_scores_are_those_of_the_decoded_documents(oracle, bits):
    decoded = QUANTIZED[bits].unpack()
    want = [oracle(QUERY, np.asarray(decoded[place])) for place in range(len(DOCS))]
    # With 8 bits the query has 8 bits too: half a step of 1/127 of its largest dimension, over 12 dimensions, 5 tokens.
    np.testing.assert_allclose(score_packed(QUERY, QUANTIZED[bits]), want, atol=0.1 if bits == 8 else 1e-5)
    exact = [oracle(QUERY, doc) for doc in DOCS]
    error = np.abs(np.asarray(want) - exact).max()
    assert error < {8: 0.05, 2: 0.5, 1: 1.5}[bits]


# A program for other shapes may add 12 products of at most 1, and 5 best ones, in another order: 17 roundings of 6e-8
# of sums of at most 5.
ADDED = 5e-6

KINDS = {
    "8": QUANTIZED[8],
    "8, tokens": maxsim.quantize(PACKED, 8, scale="token"),
    "2": QUANTIZED[2],
    "1": QUANTIZED[1],
}


def quantize_as(kind, packed):
    scale = "token" if "tokens" in kind else "document"
    return maxsim.quantize(packed, int(kind[0]), scale=scale, code=CODE if kind == "2" else None)


def quantized_alone(docs, kind):
    """Each document quantised by itself, as float32: what it is worth must not depend on its neighbours."""
    return [np.asarray(quantize_as(kind, maxsim.pack([doc])).unpack()[0]) for doc in docs]


@pytest.mark.parametrize("kind", KINDS)
def test_one_document(kind):
    for place, doc in enumerate(quantized_alone(DOCS, kind)):
        np.testing.assert_array_equal(KINDS[kind][place], doc)
        np.testing.assert_array_equal(KINDS[kind][place - len(DOCS)], doc)
    with pytest.raises(IndexError):
        KINDS[kind][len(DOCS)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("start", "stop"), [(2, 5), (5, 8), (3, 3), (-3, None)])
def test_slices(kind, start, stop):
    part = KINDS[kind][start:stop]
    assert len(part) == len(DOCS[start:stop])
    whole = np.asarray(score_packed(QUERY, KINDS[kind]))
    np.testing.assert_allclose(score_packed(QUERY, part), whole[start:stop], rtol=0, atol=ADDED)
    with pytest.raises(RerankError, match="step 1, got 2"):
        part[::2]


@pytest.mark.parametrize("kind", KINDS)
def test_select(kind, tmp_path):
    places = [6, 0, 1, 0, 3, -1]
    some = KINDS[kind].select(places)
    whole = np.asarray(score_packed(QUERY, KINDS[kind]))
    np.testing.assert_allclose(score_packed(QUERY, some), whole[places], rtol=0, atol=ADDED)
    for doc, place in zip(quantized_alone([DOCS[p] for p in places], kind), range(len(places)), strict=True):
        np.testing.assert_array_equal(some[place], doc)
    some.save(tmp_path / "docs")
    np.testing.assert_array_equal(
        score_packed(QUERY, maxsim.QuantizedDocs.load(tmp_path / "docs")), score_packed(QUERY, some)
    )
    with pytest.raises(IndexError):
        KINDS[kind].select([10])
    with pytest.raises(RerankError, match="no documents"):
        KINDS[kind].select([])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [(64, 64, 64), (64, 4096, 16)])
def test_concat(kind, sizes):
    cuts = [slice(0, 3), slice(3, 4), slice(4, None)]
    parts = []
    for cut, size in zip(cuts, sizes, strict=True):
        parts.append(quantize_as(kind, maxsim.pack(DOCS[cut], group_tokens=size)))
    both = maxsim.concat(parts)
    for place, doc in enumerate(quantized_alone(DOCS, kind)):
        np.testing.assert_array_equal(both[place], doc)
    whole = np.asarray(score_packed(QUERY, KINDS[kind]))
    np.testing.assert_allclose(score_packed(QUERY, both), whole, rtol=0, atol=ADDED)
    again = maxsim.concat([KINDS[kind][:6], KINDS[kind][6:]])
    np.testing.assert_allclose(score_packed(QUERY, again), whole, rtol=0, atol=ADDED)


@pytest.mark.usefixtures("unchecked")
def test_only_documents_of_one_kind_are_put_together():
    with pytest.raises(RerankError, match=r"parts\[1\] is a QuantizedDocs, the first is a PackedDocs"):
        maxsim.concat([PACKED, QUANTIZED[8]])
    with pytest.raises(RerankError, match="1 bits with a scale of each token, 8 bits with a scale of each document"):
        maxsim.concat([QUANTIZED[8], QUANTIZED[1]])
    with pytest.raises(RerankError, match="8 bits with a scale of each document, 8 bits with a scale of each token"):
        maxsim.concat([QUANTIZED[8], KINDS["8, tokens"]])
    other = maxsim.quantize(maxsim.pack([unit(0, 40, 12)]), 2)
    with pytest.raises(RerankError, match="different codes"):
        maxsim.concat([QUANTIZED[2], other])
    with pytest.raises(TypeError, match=r"parts\[0\] must be packed documents, got a"):
        maxsim.concat([np.ones((2, 3))])


def test_int8_is_exact_on_integers(oracle):
    rng = np.random.default_rng(0)
    docs = [rng.integers(-127, 128, size=(n, 12)).astype("f") for n in LENGTHS]
    query = rng.integers(-127, 128, size=(5, 12)).astype("f")
    for doc in (*docs, query):
        doc[:, 0] = 127  # so that steps are 1
    found = maxsim.score_packed(query, maxsim.quantize(maxsim.pack(docs, group_tokens=64), 8))
    assert found.tolist() == [oracle(query, doc) for doc in docs]


def test_a_scale_for_each_token(oracle):
    """Half a step of the token, no more; and the query stays as it is."""
    docs = maxsim.quantize(PACKED, 8, scale="token")
    decoded = docs.unpack()
    for place, doc in enumerate(DOCS):
        found = np.asarray(decoded[place])
        assert (np.abs(found - doc) <= np.abs(doc).max(axis=1, keepdims=True, initial=0) / 253).all()
    want = [oracle(QUERY, np.asarray(decoded[place])) for place in range(len(DOCS))]
    np.testing.assert_allclose(score_packed(QUERY, docs), want, atol=1e-5)
    assert not docs.on_integers
    assert QUANTIZED[8].on_integers


def test_a_code_learnt_elsewhere():
    """Codes do not depend on what is coded with them, and levels lie near what they stand for."""
    tokens = np.concatenate(DOCS)
    code = maxsim.residual_code(tokens, 16)
    docs = maxsim.quantize(PACKED, 2, code=code)
    alone = maxsim.quantize(maxsim.pack(DOCS[6:7], group_tokens=64), 2, code=code)
    assert np.array_equal(alone.unpack()[0], docs.unpack()[6])
    # A level is the mean of what it stands for, so nothing is gained by moving it.
    rest = tokens - np.asarray(code.centroids)[np.asarray(code.encode(tokens)[1])]
    error = np.asarray(code.decode(*code.encode(tokens))) - tokens
    assert np.abs(error.mean(0)).max() < 0.05 * np.abs(rest).mean()
    assert (error**2).sum() < 0.15 * (rest**2).sum()
    for bad, message in (
        ({"code": maxsim.residual_code(np.ones((3, 5)), 1)}, "5 dimensions"),
        ({"scale": "row"}, "row"),
    ):
        with pytest.raises(RerankError, match=message):
            maxsim.quantize(PACKED, 2, **bad)
    with pytest.raises(RerankError, match=r"\[n, d\]"):
        maxsim.residual_code(np.ones(3))


def test_sign():
    doc = np.array([[1.0, -3.0, 2.0, 0.0]], "f")
    decoded = maxsim.quantize(maxsim.pack([doc]), 1).unpack()
    assert np.asarray(decoded[0]).tolist() == [[1.5, -1.5, 1.5, -1.5]]


def test_residual_finds_few_distinct_tokens():
    """Tokens from eight places: with eight centroids nothing is left over."""
    places = unit(0, 8, 12)
    docs = [places[np.random.default_rng(n).integers(0, 8, 40)] for n in range(8)]
    found = maxsim.quantize(maxsim.pack(docs, group_tokens=64), 2, centroids=64).unpack()
    errors = [np.abs(np.asarray(found[n]) - doc).max() for n, doc in enumerate(docs)]
    assert max(errors) < 1e-5


def test_residual_is_better_than_its_centroids():
    docs = QUANTIZED[2]
    alone = np.asarray(docs.centroids)[np.asarray(docs.nearest)]
    tokens, used = np.asarray(PACKED.tokens), np.asarray(PACKED.segments).repeat(4, 1) < PACKED.max_docs
    error = [((x - tokens)[used] ** 2).sum() for x in (alone, np.asarray(docs.unpack().tokens))]
    assert error[1] < error[0] / 2


@pytest.mark.parametrize("bits", [2, 1])
@pytest.mark.parametrize("dimensions", [1, 3, 8, 13])
def test_bits_come_back(bits, dimensions):
    codes = np.random.default_rng(0).integers(0, 1 << bits, size=(5, dimensions)).astype(np.uint8)
    packed = pack_bits(jnp.asarray(codes), bits)
    assert packed.shape == (5, -(-dimensions * bits // 8))
    assert np.array_equal(unpack_bits(packed, bits, dimensions), codes)


@pytest.mark.parametrize("bits", [8, 2, 1])
def test_size(bits):
    token = QUANTIZED[bits].nbytes - QUANTIZED[bits].codes.segments.nbytes - 3 * 4 * len(DOCS)
    per_token = (token - (0 if bits != 2 else QUANTIZED[2].centroids.nbytes + QUANTIZED[2].levels.nbytes)) / (
        PACKED.tokens.shape[0] * PACKED.tokens.shape[1]
    )
    assert per_token == pytest.approx({8: 12 + 4 * PACKED.max_docs / 64, 2: 3 + 2, 1: 2 + 4}[bits])


@pytest.mark.parametrize("bits", [8, 2, 1])
def test_files(tmp_path, bits):
    docs = QUANTIZED[bits]
    docs.save(tmp_path / "docs")
    loaded = maxsim.QuantizedDocs.load(tmp_path / "docs")
    for one, two in zip(jax.tree.leaves(docs), jax.tree.leaves(loaded), strict=True):
        assert np.array_equal(one, two)
    assert np.array_equal(score_packed(QUERY, loaded), score_packed(QUERY, docs))
    with pytest.raises(DataError):
        maxsim.PackedDocs.load(tmp_path / "docs")


@pytest.mark.parametrize("bits", [2, 1])
def test_gradient_of_the_query(bits):
    got = jax.jit(jax.grad(lambda q: maxsim.score_packed(q, QUANTIZED[bits]).sum()))(QUERY)
    want = jax.jit(jax.grad(lambda q: maxsim.score_packed(q, QUANTIZED[bits].unpack()).sum()))(QUERY)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_no_gradient_of_integers(unchecked):
    with pytest.raises(RerankError, match="unpack"):
        jax.grad(lambda q: maxsim.score_packed(q, QUANTIZED[8]).sum())(QUERY)


def test_options_and_batches():
    where = np.array([True, False, True, True, True])
    for docs in QUANTIZED.values():
        found = score_packed(np.stack([QUERY, 2 * QUERY]), docs, query_where=np.stack([where, where]))
        np.testing.assert_allclose(found[1], 2 * found[0], rtol=1e-5)
        one = maxsim.score_packed(QUERY[where], docs)
        np.testing.assert_allclose(found[0], one, rtol=1e-5, atol=1e-6)


def test_nothing_to_quantize():
    empty = maxsim.pack([np.zeros((0, 12), "f")])
    for bits in (8, 2, 1):
        assert maxsim.score_packed(QUERY, maxsim.quantize(empty, bits)).tolist() == [0]


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("bits", [8, 2, 1])
def test_lowers_everywhere(platform, bits):
    text = str(jax.export.export(score_packed, platforms=[platform])(QUERY, QUANTIZED[bits]).mlir_module())
    for forbidden in ("custom_call", "f64", "callback"):
        assert forbidden not in text


def test_bad_input(unchecked):
    with pytest.raises(TypeError, match="pack"):
        maxsim.quantize(np.ones((3, 2)), 8)
    with pytest.raises(RerankError, match="bits is 4"):
        maxsim.quantize(PACKED, 4)
    with pytest.raises(RerankError, match="centroids is 0"):
        maxsim.quantize(PACKED, 2, centroids=0)
