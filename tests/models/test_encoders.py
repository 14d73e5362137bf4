"""The modules: texts and pairs in, arrays out; saved, split, merged, trained, converted."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jrank import models
from jrank.errors import ModelError
from jrank.models import _batches

TEXTS = ["what is jax", "a ranking library", "", "who ranks ? " * 20, "jax"]
PAIRS = [("what is jax", "a ranking library"), ("who ranks", ""), ("jax " * 30, "a library " * 30)]


@pytest.fixture(scope="module")
def encoder(write_case):
    return models.TextEncoder.from_pretrained(write_case("bert"))


def test_texts_in_their_order(encoder):
    vectors, tokens = encoder.encode(TEXTS, tokens=True, max_batch_tokens=64, max_length=20)
    assert vectors.shape == (5, 16)
    assert vectors.dtype == np.float32
    assert [matrix.shape for matrix in tokens] == [(5, 16), (5, 16), (2, 16), (20, 16), (3, 16)]
    encoded = encoder.tokenizer.encode_texts(TEXTS, max_length=20)
    rows = np.asarray(encoder.hidden_states(*encoder.tokenizer.pad(encoded)))
    for i, length in enumerate(encoded.lengths):
        hidden = rows[i, :length]
        mean = hidden.mean(axis=0)
        np.testing.assert_allclose(vectors[i], mean / np.linalg.norm(mean), atol=1e-6)
        np.testing.assert_allclose(tokens[i], hidden / np.linalg.norm(hidden, axis=1, keepdims=True), atol=1e-6)


def test_options_of_encode(encoder):
    cls = encoder.encode(TEXTS, pooling="cls", normalize=False, max_length=20)
    _, tokens = encoder.encode(TEXTS, tokens=True, normalize=False, max_length=20)
    np.testing.assert_allclose(cls, [matrix[0] for matrix in tokens], atol=1e-6)
    _, inner = encoder.encode(TEXTS, tokens=True, normalize=False, special_tokens=False, max_length=20)
    for matrix, part in zip(tokens, inner, strict=True):
        np.testing.assert_array_equal(matrix[1:-1], part)
    half = encoder.encode(TEXTS, compute_dtype=jnp.bfloat16, max_length=20)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, encoder.encode(TEXTS, max_length=20), atol=0.05)


def test_no_texts(encoder):
    assert encoder.encode([]).shape == (0, 16)
    vectors, tokens = encoder.encode([], tokens=True)
    assert vectors.shape == (0, 16)
    assert tokens == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "median"}, "'median' is unknown"),
        ({"max_length": 33}, "max_length is 33, 1 to 32"),
        ({"max_length": 2}, "leaves no room"),
        ({"max_batch_tokens": 0}, "max_batch_tokens is 0"),
    ],
)
def test_options_out_of_range(options, words, encoder):
    with pytest.raises(ModelError, match=words):
        encoder.encode(["jax"], **options)


def test_wrong_texts(encoder, bert, unchecked):
    with pytest.raises(TypeError):
        encoder.encode("jax")
    with pytest.raises(TypeError, match="1"):
        encoder.encode(["jax", None])
    with pytest.raises(TypeError):
        bert.score("jax")
    with pytest.raises(TypeError):
        bert.score([("jax", None)])


def test_pairs_in_their_order(bert):
    scores = bert.score(PAIRS, max_batch_tokens=40, max_length=24)
    assert scores.shape == (3,)
    assert scores.dtype == np.float32
    arrays = bert.tokenizer.pad(bert.tokenizer.encode_pairs(PAIRS, max_length=24))
    np.testing.assert_allclose(scores, bert.logits(*arrays)[:, 0], atol=1e-6)
    assert bert.score([]).shape == (0,)


def test_rows_are_shared_by_devices(encoder, bert, mesh8):
    vectors, tokens = encoder.encode(TEXTS, tokens=True, max_length=20)
    shared, shared_tokens = encoder.encode(TEXTS, tokens=True, max_length=20, mesh=mesh8)
    np.testing.assert_allclose(shared, vectors, atol=1e-6)
    for one, other in zip(tokens, shared_tokens, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(bert.score(PAIRS, mesh=mesh8), bert.score(PAIRS), atol=1e-6)


def test_several_outputs(write_case):
    model = models.CrossEncoder.from_pretrained(write_case("bert-3-labels-tanh-gelu"))
    assert model.score(PAIRS).shape == (3, 3)
    assert model.score([]).shape == (0, 3)


def test_what_the_configuration_of_the_tokenizer_says(write_case, tmp_path):
    place = write_case("bert")
    plain = models.CrossEncoder.from_pretrained(place)
    config = {"model_input_names": ["input_ids", "attention_mask"], "model_max_length": 9}
    (place / "tokenizer_config.json").write_text(json.dumps(config))
    model = models.CrossEncoder.from_pretrained(place)
    model.save_pretrained(tmp_path / "saved")
    pairs = [("what is jax", "jax is a ranking library"), ("who ranks", "jax")]
    assert (plain.max_length, model.max_length) == (32, 9)
    encoded = plain.tokenizer.encode_pairs(pairs, max_length=9)
    ids, mask, types = plain.tokenizer.pad(encoded)
    assert types.any()
    # As transformers: where the tokenizer gives no types, the model takes 0 throughout.
    want = np.asarray(plain.logits(ids, mask, None))[:, 0]
    for one in (model, models.CrossEncoder.from_pretrained(tmp_path / "saved")):
        np.testing.assert_allclose(one.score(pairs), want, rtol=1e-5)
        assert one.max_length == 9
    np.testing.assert_allclose(plain.score(pairs, max_length=9), np.asarray(plain.logits(ids, mask, types))[:, 0])
    assert not np.allclose(plain.score(pairs, max_length=9), want)
    (place / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}')
    assert models.CrossEncoder.from_pretrained(place).max_length == 32


def test_a_bar_on_stderr(bert, capfd):
    bert.score(PAIRS, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "score" in err


def test_a_model_without_a_tokenizer(cases):
    model = models.CrossEncoder.from_config(cases["bert"]["config"])
    with pytest.raises(ModelError, match="the model has no tokenizer"):
        model.score(PAIRS)


def test_from_config(cases, bert, tmp_path):
    model = models.CrossEncoder.from_config(cases["bert"]["config"], bert.tokenizer, num_labels=2, seed=3)
    assert model.score(PAIRS).shape == (3, 2)
    model.save_pretrained(tmp_path / "saved")
    again = models.CrossEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(model.score(PAIRS), again.score(PAIRS))


def test_text_encoders_are_saved_without_a_head(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "saved")
    again = models.TextEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    assert "head" not in again.params
    fresh = models.CrossEncoder.from_pretrained(tmp_path / "saved")
    assert fresh.source.new == ("classifier.weight", "classifier.bias")


def test_modules_split_and_merge(bert):
    graph, state = nnx.split(bert)
    merged = nnx.merge(graph, state)
    jax.tree.map(np.testing.assert_array_equal, merged.params, bert.params)
    assert merged.config == bert.config
    assert merged.tokenizer is bert.tokenizer
    assert all(isinstance(v, nnx.Param) for v in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, nnx.Variable)))


def test_other_parameters_make_another_model(bert):
    moved = jax.tree.map(lambda p: p + 0.1, bert.params)
    other = bert.with_params(moved)
    assert np.abs(other.score(PAIRS) - bert.score(PAIRS)).max() > 1e-3
    np.testing.assert_array_equal(other.with_params(bert.params).score(PAIRS), bert.score(PAIRS))
    with pytest.raises(ModelError, match="other shapes"):
        bert.with_params(jax.tree.map(lambda p: p[None], moved))
    with pytest.raises(ModelError, match="another structure"):
        bert.with_params({**moved, "more": moved["head"]})


def test_a_few_steps_of_training_lower_a_listwise_loss(bert):
    # Two queries with three documents each; the first one is relevant.
    rows = [(q, d) for q in ("what is jax", "who ranks") for d in ("a ranking library", "jax ?", "what is")]
    ids, mask, types = bert.tokenizer.pad(bert.tokenizer.encode_pairs(rows, max_length=16))

    def loss(params, key):
        scores = bert.apply(params, ids, mask, types, key=key).reshape(2, 3)
        return -jnp.mean(jax.nn.log_softmax(scores, axis=1)[:, 0])

    optimizer = optax.adamw(1e-2)

    @jax.jit
    def step(params, state, key):
        value, slope = jax.value_and_grad(loss)(params, key)
        updates, state = optimizer.update(slope, state, params)
        return optax.apply_updates(params, updates), state, value

    params, state, values = bert.params, optimizer.init(bert.params), []
    for i in range(30):
        params, state, value = step(params, state, jax.random.key(i))
        values.append(float(value))
    assert np.mean(values[-5:]) < 0.5 * values[0]


def test_batches_hold_every_row_once_in_few_shapes():
    lengths = np.random.default_rng(0).integers(2, 257, 1000)
    batches = _batches.plan_batches(lengths, 256, 2048)
    assert sorted(np.concatenate([batch.rows for batch in batches]).tolist()) == list(range(1000))
    for batch in batches:
        assert len(batch.rows) <= batch.height
        assert lengths[batch.rows].max() <= batch.width <= 256
        assert batch.height * batch.width <= 2048
    assert len({(batch.height, batch.width) for batch in batches}) <= 10
    assert sum(batch.height * batch.width for batch in batches) < 1.25 * lengths.sum()


def test_a_single_short_row_is_a_small_batch():
    (batch,) = _batches.plan_batches(np.array([7]), 512, 4096)
    assert (batch.height, batch.width) == (1, 16)


def test_batches_of_a_multiple_of_rows():
    lengths = np.random.default_rng(0).integers(2, 257, 100)
    batches = _batches.plan_batches(lengths, 256, 8 * 300, 8)
    assert sorted(np.concatenate([batch.rows for batch in batches]).tolist()) == list(range(100))
    assert all(batch.height % 8 == 0 and len(batch.rows) <= batch.height for batch in batches)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "roberta", "electra-projected", "distilbert", "modernbert-mean"])
def test_every_family_converts_to_onnx_with_a_dynamic_batch_and_length(name, cases, write_case, unchecked):
    to_onnx = pytest.importorskip("jax2onnx").to_onnx
    runtime = pytest.importorskip("onnxruntime")
    model = models.CrossEncoder.from_pretrained(write_case(name))
    names = ["input_ids", "attention_mask", "token_type_ids"][: 3 if model.config.type_vocab_size > 1 else 2]
    graph = to_onnx(
        lambda *arrays: model(*arrays),
        [jax.ShapeDtypeStruct(("B", "S"), jnp.int32)] * len(names),
        opset=21,
        input_names=names,
        output_names=["logits"],
    )
    # Weights have to be operands of MatMul for the quantizer to find them.
    assert "Einsum" not in {node.op_type for node in graph.graph.node}
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for rows, width in ((1, 1), (3, 29)):
        ids = rng.integers(3, 40, (rows, width)).astype(np.int32)
        mask = (np.arange(width) < rng.integers(1, width + 1, (rows, 1))).astype(np.int32)
        types = rng.integers(0, 2, (rows, width)).astype(np.int32)
        arrays = (ids, mask, types)[: len(names)]
        (out,) = session.run(None, dict(zip(names, arrays, strict=True)))
        np.testing.assert_allclose(out, model.logits(*arrays), atol=1e-5)
