"""The real weights: golden values, parity with an independent forward pass, texts in batches."""

import json
import math

import jax
import numpy as np
import pytest
import safetensors.numpy
from scipy.special import erf

from jrank import models

pytestmark = pytest.mark.weights

PAIRS = [("What is the capital of France?", "Paris is the capital of France."), ("a", "b")]
SENTENCES = [
    ("How do I sort a list of dictionaries by a value?", "Pass a key function to sorted(); it is stable."),
    ("Wie spät ist es in Tōkyō?", "In Tokio ist es neun Stunden später als in London: 18:00 Uhr statt 9:00 Uhr."),
    ("x", "Return True if the string is empty, False otherwise. " * 20),
    ("", "A document without a query — with “quotes”, 12,345.67 € and 漢字."),
]


@pytest.fixture(scope="module")
def model(minilm):
    return models.CrossEncoder.from_pretrained(minilm)


def test_tokens_of_the_golden_pairs(model):
    encoded = model.tokenizer.encode_pairs(PAIRS, max_length=512)
    france = [101, 2054, 2003, 1996, 3007, 1997, 2605, 1029, 102, 3000, 2003, 1996, 3007, 1997, 2605, 1012, 102]
    assert [ids.tolist() for ids in encoded.ids] == [france, [101, 1037, 102, 1038, 102]]
    assert [types.tolist() for types in encoded.type_ids] == [[0] * 9 + [1] * 8, [0, 0, 0, 1, 1]]


@pytest.fixture(scope="module")
def encoded(model):
    return model.tokenizer.encode_pairs(PAIRS + SENTENCES, max_length=128)


@pytest.fixture(scope="module")
def hidden(model, encoded):
    arrays = model.tokenizer.pad(encoded)
    return np.asarray(jax.jit(models.encode, static_argnames="config")(model.params, model.config, *arrays))


def test_golden_hidden_states_and_pooler(model, hidden):
    # Values of a float64 BertModel of another library on the same weights.
    hidden = hidden.astype(np.float64)
    pooler = jax.tree.map(lambda a: np.asarray(a, np.float64), model.params["pooler"])
    pooled = np.tanh(hidden[:2, 0] @ pooler["kernel"] + pooler["bias"])
    np.testing.assert_allclose(hidden[0, 0, :4], [0.366306, 0.138262, 0.375465, -0.258963], atol=1e-5)
    np.testing.assert_allclose(hidden[1, 0, :4], [-0.212237, -0.202938, 0.071526, -0.059539], atol=1e-5)
    np.testing.assert_allclose(np.abs(hidden[0, :17]).sum(), 1704.8386, atol=1e-3)
    np.testing.assert_allclose(np.abs(hidden[1, :5]).sum(), 689.3245, atol=1e-3)
    np.testing.assert_allclose(pooled[0, :4], [0.07048, -0.070186, 0.048576, 0.103789], atol=1e-6)
    np.testing.assert_allclose(pooled[1, :4], [0.018485, 0.05654, 0.003464, 0.042578], atol=1e-6)
    np.testing.assert_allclose(pooled.sum(axis=1), [1.47893, 0.24358], atol=1e-5)


def oracle(w, config, ids, types):
    """BERT's forward pass for one row without padding, in float64, from the names of the file."""
    heads = config["num_attention_heads"]

    def affine(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    e = "embeddings."
    x = w[e + "word_embeddings.weight"][ids] + w[e + "token_type_embeddings.weight"][types]
    x = norm(x + w[e + "position_embeddings.weight"][: len(ids)], e + "LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        parts = [affine(x, f"{layer}attention.self.{name}") for name in ("query", "key", "value")]
        q, k, v = (part.reshape(len(ids), heads, -1).transpose(1, 0, 2) for part in parts)
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        p = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (p / p.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + affine(mixed, f"{layer}attention.output.dense"), f"{layer}attention.output.LayerNorm")
        inner = affine(x, f"{layer}intermediate.dense")
        inner = 0.5 * inner * (1 + erf(inner / math.sqrt(2)))
        x = norm(x + affine(inner, f"{layer}output.dense"), f"{layer}output.LayerNorm")
    return x


def test_hidden_states_of_real_sentences(minilm, encoded, hidden):
    raw = safetensors.numpy.load_file(minilm / "model.safetensors")
    weights = {name: value.astype(np.float64) for name, value in raw.items()}
    config = json.loads((minilm / "config.json").read_text())
    for row, length in enumerate(encoded.lengths):
        expected = oracle(weights, config, encoded.ids[row], encoded.type_ids[row])
        assert np.abs(hidden[row, :length] - expected).max() < 1e-5


def test_texts_do_not_depend_on_their_company(minilm):
    encoder = models.TextEncoder.from_pretrained(minilm)
    texts = ["a", "", "What is the capital of France?", "Paris is the capital of France. " * 40, "a"]
    together, tokens = encoder.encode(texts, tokens=True, max_batch_tokens=512)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_array_equal(together[0], together[4])
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert [len(matrix) for matrix in tokens] == [3, 2, 9, 256, 3]
    # Related texts are closer than unrelated ones: the weights mean something.
    assert together[2] @ together[3] > 0.5 > together[2] @ together[0]


def test_the_saved_cross_encoder_scores_equally(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    again = models.CrossEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(model.score(PAIRS), again.score(PAIRS))
    assert again.source.new == ()
    assert again.tokenizer.sha256 == model.tokenizer.sha256
