"""The late-interaction encoder against PyLate's own outputs, its files, its rules."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from jrank import models
from jrank.errors import ModelError
from jrank.text import MultiVectorRules, PairTokenizer
from tests.models.conftest import draw


def tokenizer_of(words):
    """As tests/golden/make_multi_vector.py makes it."""
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    inner.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    return inner.to_str()


@pytest.fixture(scope="module")
def expected(golden):
    return golden("multi_vector.json")


def write(place, expected, case="plain", *, colbert=False):
    """A directory in the layout of PyLate, or of ColBERT."""
    place.mkdir()
    tensors = {name: draw(name, shape) for name, shape in expected["shapes"].items()}
    linear, config, settings = (
        draw("linear.weight", (4, 8)),
        dict(expected["config"]),
        expected["cases"][case]["settings"],
    )
    (place / "tokenizer.json").write_text(tokenizer_of(expected["words"]))
    if colbert:
        config["architectures"] = ["HF_ColBERT"]
        tensors = {f"bert.{name}": array for name, array in tensors.items()} | {"linear.weight": linear}
        metadata = {
            "query_token_id": "[Q] ",
            "doc_token_id": "[D] ",
            "query_maxlen": settings["query_length"],
            "doc_maxlen": settings["document_length"],
            "attend_to_mask_tokens": settings["attend_to_expansion_tokens"],
            "dim": 4,
        }
        (place / "artifact.metadata").write_text(json.dumps(metadata))
    else:
        (place / "1_Dense").mkdir()
        (place / "1_Dense" / "config.json").write_text(json.dumps(expected["dense"]))
        safetensors.numpy.save_file({"linear.weight": linear}, place / "1_Dense" / "model.safetensors")
        (place / "modules.json").write_text(json.dumps(expected["modules"]))
        (place / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (place / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(tensors, place / "model.safetensors")
    return place


def check(model, expected, case):
    for found, want in (
        (model.encode_queries(expected["queries"]), expected["cases"][case]["queries"]),
        (model.encode_documents(expected["documents"]), expected["cases"][case]["documents"]),
    ):
        assert [len(matrix) for matrix in found] == [len(matrix) for matrix in want]
        for one, two in zip(found, want, strict=True):
            np.testing.assert_allclose(one, two, atol=2e-6)


@pytest.mark.parametrize("case", ["plain", "attend"])
def test_vectors_are_those_of_pylate(tmp_path, expected, case):
    model = models.MultiVectorEncoder.from_pretrained(write(tmp_path / "model", expected, case))
    assert model.dimension == 4
    assert model.source.new == ()
    check(model, expected, case)
    model.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config_sentence_transformers.json").read_text())["model_type"] == "ColBERT"
    again = models.MultiVectorEncoder.from_pretrained(tmp_path / "saved")
    assert again.rules == model.rules
    check(again, expected, case)
    if case == "plain":
        colbert = models.MultiVectorEncoder.from_pretrained(write(tmp_path / "colbert", expected, colbert=True))
        check(colbert, expected, case)
        colbert.save_pretrained(tmp_path / "turned")
        check(models.MultiVectorEncoder.from_pretrained(tmp_path / "turned"), expected, case)


def test_layers_are_joined(tmp_path, expected):
    """A residual and a second layer, as recent models have: all is linear, so one kernel holds it."""
    place = write(tmp_path / "model", expected)
    one = models.MultiVectorEncoder.from_pretrained(place)
    first, second, bias = draw("linear.weight", (8, 8)), draw("2.weight", (3, 8)), draw("2.bias", (3,))
    for name, tensors, fields in (
        ("1_Dense", {"linear.weight": first}, {"in_features": 8, "out_features": 8, "use_residual": True}),
        ("2_Dense", {"linear.weight": second, "linear.bias": bias}, {"in_features": 8, "out_features": 3}),
    ):
        (place / name).mkdir(exist_ok=True)
        (place / name / "config.json").write_text(json.dumps(expected["dense"] | fields))
        safetensors.numpy.save_file(tensors, place / name / "model.safetensors")
    more = {"idx": 2, "name": "2", "path": "2_Dense", "type": "pylate.models.Dense.Dense"}
    (place / "modules.json").write_text(json.dumps([*expected["modules"], more]))
    model = models.MultiVectorEncoder.from_pretrained(place)
    ids, mask = np.array([[1, 6, 9, 2]]), np.ones((1, 4), int)
    hidden = np.asarray(models.encode(one.params["encoder"], one.config, ids, mask), np.float64)
    want = (hidden @ first.T + hidden) @ second.T + bias
    want /= np.linalg.norm(want, axis=-1, keepdims=True)
    np.testing.assert_allclose(model.vectors(ids, mask), want, atol=2e-6)
    model.save_pretrained(tmp_path / "saved")
    again = models.MultiVectorEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(again.vectors(ids, mask), want, atol=2e-6)
    (place / "1_Dense" / "config.json").write_text(json.dumps(expected["dense"] | {"activation_function": "x.Tanh"}))
    with pytest.raises(ModelError, match="Tanh"):
        models.MultiVectorEncoder.from_pretrained(place)
    outside = {"idx": 1, "path": "../elsewhere", "type": "pylate.models.Dense.Dense"}
    (place / "modules.json").write_text(json.dumps([outside]))
    with pytest.raises(ModelError, match="elsewhere"):
        models.MultiVectorEncoder.from_pretrained(place)


def test_an_encoder_becomes_a_late_interaction_model(tmp_path, expected):
    place = write(tmp_path / "model", expected)
    for name in ("modules.json", "config_sentence_transformers.json"):
        (place / name).unlink()
    plain = models.MultiVectorEncoder.from_pretrained(place)
    assert (plain.dimension, plain.rules.query_prefix, plain.rules.special_tokens) == (8, "", False)
    assert [len(matrix) for matrix in plain.encode_documents(["jax is ?", "", "."])] == [2, 0, 0]
    assert [len(matrix) for matrix in plain.encode_queries(["jax is ?", ""])] == [3, 0]
    made = models.MultiVectorEncoder.from_pretrained(place, dimension=5)
    assert (made.dimension, made.rules.query_prefix, made.source.new) == (5, "[Q] ", ("projection.kernel",))
    norms = [np.linalg.norm(matrix, axis=1) for matrix in made.encode_queries(["jax", "what is"])]
    np.testing.assert_allclose(np.concatenate(norms), 1, atol=1e-6)
    made.save_pretrained(tmp_path / "saved")
    again = models.MultiVectorEncoder.from_pretrained(tmp_path / "saved", dimension=5)
    assert np.array_equal(again.params["projection"]["kernel"], made.params["projection"]["kernel"])
    with pytest.raises(ModelError, match="projects to 5 dimensions, 6"):
        models.MultiVectorEncoder.from_pretrained(tmp_path / "saved", dimension=6)


def test_expansion_is_not_seen_and_padding_does_not_matter(tmp_path, expected):
    model = models.MultiVectorEncoder.from_pretrained(write(tmp_path / "model", expected))
    together = model.encode_queries(["jax", "what is jax ?", "is"])
    for text, matrix in zip(["jax", "what is jax ?", "is"], together, strict=True):
        np.testing.assert_allclose(model.encode_queries([text])[0], matrix, atol=1e-6)
    assert [len(matrix) for matrix in together] == [9, 9, 9]
    assert model.encode_queries([]) == []


def test_gradients_are_finite(expected, tmp_path):
    model = models.MultiVectorEncoder.from_pretrained(write(tmp_path / "model", expected))
    zero = model.params | {"projection": {"kernel": jnp.zeros((8, 4))}}
    fn = lambda params: models.token_vectors(params, model.config, np.array([[1, 9, 2]]), np.ones((1, 3))).sum()  # noqa: E731
    for params in (model.params, zero):
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(jax.jit(jax.grad(fn))(params)))


def test_bad_rules(expected, unchecked):
    raw, tokenizer = expected["config"], PairTokenizer.from_bytes(tokenizer_of(expected["words"]))
    short = MultiVectorRules(query_length=8, document_length=8)
    for rules, message in (
        (MultiVectorRules(), "the model takes 24"),
        (MultiVectorRules(query_prefix="[query]", query_length=8, document_length=8), "not in the vocabulary"),
    ):
        with pytest.raises(ModelError, match=message):
            models.MultiVectorEncoder.from_config(raw, tokenizer, rules=rules)
    with pytest.raises(ModelError, match="dimension is 0"):
        models.MultiVectorEncoder.from_config(raw, tokenizer, dimension=0)
    for values in ({"query_length": "9"}, {"skiplist": [1]}, {"query_expansion": 1}, {"document_length": 2}):
        with pytest.raises(ModelError, match=next(iter(values))):
            MultiVectorRules.from_dict(values)
    words = [word for word in expected["words"] if word not in ("[MASK]", "[SEP]")]
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    with pytest.raises(ModelError, match="no mask token"):
        models.MultiVectorEncoder.from_config(raw, PairTokenizer.from_bytes(inner.to_str()), rules=short)
    with pytest.raises(ModelError, match="no tokenizer"):
        models.MultiVectorEncoder.from_config(raw).encode_queries(["a"])
