"""Reading and writing model directories: what is accepted, and what is said about the rest."""

import json
import struct

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from jrank import models
from jrank.errors import ModelError


def message(place, **options):
    with pytest.raises(ModelError) as caught:
        models.CrossEncoder.from_pretrained(place, **options)
    return caught.value


def test_missing_unexpected_and_misshaped_tensors_are_named(write_case):
    def change(tensors):
        del tensors["bert.encoder.layer.1.output.dense.bias"]
        tensors["bert.embeddings.word_embeddings.weight"] = np.zeros((41, 16), np.float32)
        return tensors | {"bert.something.weight": np.zeros(2, np.float32)}

    error = message(write_case("bert", change))
    assert error.reason is ModelError.Reason.INVALID_WEIGHTS
    assert "missing: encoder.layer.1.output.dense.bias" in str(error)
    assert "embeddings.word_embeddings.weight [41, 16] instead of [40, 16]" in str(error)
    assert "unexpected: something.weight" in str(error)


def test_half_of_a_head_is_not_made_up(write_case):
    def change(tensors):
        return {key: value for key, value in tensors.items() if key != "classifier.bias"}

    assert "missing: classifier.bias" in str(message(write_case("bert", change)))


def test_legacy_names_buffers_and_other_heads(write_case, bert):
    def change(tensors):
        tensors = {
            key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
            for key, value in tensors.items()
        }
        return tensors | {
            "bert.embeddings.position_ids": np.arange(32)[None],
            "cls.predictions.bias": np.zeros(40, np.float32),
        }

    model = models.CrossEncoder.from_pretrained(write_case("bert", change))
    jax.tree.map(np.testing.assert_array_equal, model.params, bert.params)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(dtype, write_case, bert):
    place = write_case("bert", lambda tensors: {key: value.astype(dtype) for key, value in tensors.items()})
    params = models.CrossEncoder.from_pretrained(place).params
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, np.asarray(b).astype(dtype).astype(np.float32)),
        params,
        bert.params,
    )
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))


def test_types_that_are_no_numbers_are_refused(write_case):
    place = write_case("bert", lambda tensors: tensors | {"x": np.zeros(3, bool)})
    assert "the tensor x has the type BOOL" in str(message(place))


def test_shards(write_case, bert):
    place = write_case("bert")
    tensors = safetensors.numpy.load_file(place / "model.safetensors")
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        safetensors.numpy.save_file({name: tensors[name] for name in part}, place / file)
    index = place / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in halves.items() for name in part}}))
    (place / "model.safetensors").unlink()
    model = models.CrossEncoder.from_pretrained(place)
    jax.tree.map(np.testing.assert_array_equal, model.params, bert.params)

    (place / "b.safetensors").unlink()
    assert "lacks the shard b.safetensors" in str(message(place))
    index.write_text(json.dumps({"weight_map": {"x": "../b.safetensors"}}))
    assert "a file beside it was expected" in str(message(place))
    index.write_text("[]")
    assert "has no weight_map" in str(message(place))
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, place / "b.safetensors")
    safetensors.numpy.save_file({"x": np.zeros(1, np.float32)}, place / "a.safetensors")
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    assert "the tensor x is in two files" in str(message(place))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 200) + b"{}",
        struct.pack("<Q", 2) + b"{]",
        struct.pack("<Q", 8) + b'{"a":1} ',
        b"PK\x03\x04" + bytes(100),
    ],
)
def test_broken_files(content, write_case):
    place = write_case("bert")
    (place / "model.safetensors").write_bytes(content)
    error = message(place)
    assert error.reason is ModelError.Reason.INVALID_WEIGHTS
    assert "no safetensors file" in str(error)


def test_a_file_that_is_cut_off(write_case):
    place = write_case("bert")
    whole = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[:-100])
    assert "it may be cut off" in str(message(place))


def test_limits(write_case):
    place = write_case("bert")
    with pytest.raises(ModelError, match="at most 100 were expected"):
        models._checkpoint.read_tensors(place, max_bytes=100)


def test_pickles_are_never_read(write_case):
    place = write_case("bert")
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    error = message(place)
    assert error.reason is ModelError.Reason.NOT_FOUND
    assert "pytorch_model.bin is a pickle" in error.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[]", "an object was expected"),
        ("{}", "model_type is None"),
        ('{"model_type": "t5"}', "known are bert, "),
        ('{"model_type": "bert"}', "no field 'vocab_size'"),
    ],
)
def test_wrong_configurations(text, words, write_case):
    place = write_case("bert")
    (place / "config.json").write_text(text)
    assert words in str(message(place))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_size": "16"}, "hidden_size is '16', int was expected"),
        ({"hidden_size": True}, "hidden_size is True, int was expected"),
        ({"hidden_size": 0}, "hidden_size is 0, at least 1"),
        ({"num_attention_heads": 3}, "no multiple of num_heads 3"),
        ({"hidden_act": "mish"}, "hidden_act is 'mish'"),
        ({"position_embedding_type": "relative_key"}, "'absolute' was expected"),
        ({"is_decoder": True}, "is_decoder is set"),
        ({"id2label": {"1": "x"}}, "id2label has the keys ['1']"),
        ({"num_hidden_layers": 3}, "missing: encoder.layer.2."),
        ({"num_hidden_layers": 1 << 31}, "num_layers is 2147483648, at most 1024 was expected"),
        ({"vocab_size": 10**20}, "at most 16777216 was expected"),
        ({"id2label": None, "num_labels": 1 << 40}, "num_labels is 1099511627776, at most 1048576 were expected"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan, a number of at least 0 was expected"),
        ({"initializer_range": -1}, "initializer_range is -1.0, a number of at least 0 was expected"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout is 1.0, a probability below 1 was expected"),
        ({"vocab_size": 41}, "[40, 16] instead of [41, 16]"),
        ({"vocab_size": 10}, "[40, 16] instead of [10, 16]"),
    ],
)
def test_configurations_that_do_not_fit(change, words, cases, write_case):
    place = write_case("bert")
    (place / "config.json").write_text(json.dumps({**cases["bert"]["config"], **change}))
    assert words in str(message(place))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": None, "global_attn_every_n_layers": 0}, "at least 1 was expected"),
        ({"classifier_pooling": "max"}, "classifier_pooling is 'max'"),
        ({"hidden_size": 12}, "heads are 3 wide"),
        ({"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "scaled rotary positions"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters has the keys"),
        ({"sliding_window": 128}, "sliding_window is 128, 4 was expected"),
        ({"head_dim": 8}, "head_dim is 8, 4 was expected"),
        ({"local_attention": -1}, "at least 0 was expected"),
    ],
)
def test_modernbert_configurations_that_do_not_fit(change, words, cases):
    with pytest.raises(ModelError, match=words):
        models.config_from({**cases["modernbert-cls"]["config"], **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"conv_kernel_size": 4}, "conv_kernel_size is 4, an odd number"),
        ({"conv_kernel_size": 3, "conv_groups": 2}, "conv_groups is 2, 1 was expected"),
        ({"pos_att_type": ["c2p", "p2p"]}, "pos_att_type is"),
        ({"pooler_hidden_size": 8}, "pooler_hidden_size is 8, 16 was expected"),
    ],
)
def test_deberta_configurations_that_do_not_fit(change, words, cases):
    with pytest.raises(ModelError, match=words):
        models.config_from({**cases["deberta-v3"]["config"], **change})


def test_deberta_leaves_absolute_positions_out_where_they_are_not_used(write_case):
    # As published: the table is in the file, and the configuration says that it is not added.
    extra = {"deberta.embeddings.position_embeddings.weight": np.ones((32, 16), np.float32)}
    plain = models.CrossEncoder.from_pretrained(write_case("deberta-v3"))
    full = models.CrossEncoder.from_pretrained(write_case("deberta-v3", lambda tensors: tensors | extra))
    assert jax.tree.structure(full.params) == jax.tree.structure(plain.params)


def test_modernbert_reads_the_older_configuration(cases):
    new = cases["modernbert-cls"]["config"]
    old = {key: value for key, value in new.items() if key not in ("layer_types", "rope_parameters")}
    old |= {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    assert models.config_from(old) == models.config_from(new)


def test_the_stored_head_decides_on_the_number_of_outputs(write_case):
    place = write_case("bert-3-labels-tanh-gelu")
    assert models.CrossEncoder.from_pretrained(place).config.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert models.CrossEncoder.from_pretrained(place, 3).config.num_labels == 3
    assert "has 3 outputs, 1 were asked for" in str(message(place, num_labels=1))
    raw = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**raw, "id2label": {"0": "x"}}))
    assert models.CrossEncoder.from_pretrained(place).config.num_labels == 3


def test_a_tokenizer_of_another_model_is_refused(cases, write_model):
    config = {**cases["bert"]["config"], "vocab_size": 5}
    shapes = {**cases["bert"]["shapes"], "bert.embeddings.word_embeddings.weight": [5, 16]}
    place = write_model(config, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert "the tokenizer has 13 ids, the model knows 5" in str(message(place))


def test_a_tokenizer_of_other_types_than_the_model_knows(write_case):
    place = write_case("bert")
    spec = json.loads((place / "tokenizer.json").read_text())
    for pair, said in (
        ("[CLS] $A [SEP] $B:2 [SEP]:2", "the tokenizer has 3 token types, the model knows 2"),
        ("[CLS] $A [SEP] $B:1 [SEP]:1", None),
    ):
        processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair=pair, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
        inner = tokenizers.Tokenizer.from_str(json.dumps(spec))
        inner.post_processor = processor
        (place / "tokenizer.json").write_text(inner.to_str())
        if said is None:
            assert models.CrossEncoder.from_pretrained(place).tokenizer.type_vocab_size == 2
        else:
            assert said in str(message(place))
    (place / "tokenizer.json").write_text(inner.to_str().replace('"ids":[1]', '"ids":[77]'))
    assert "a special token with the id 77, which is not in its vocabulary" in str(message(place))


def test_equal_models_give_equal_bytes(bert, tmp_path):
    bert.save_pretrained(tmp_path / "a")
    models.CrossEncoder.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["config.json", "model.safetensors", "tokenizer.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with safetensors.safe_open(tmp_path / "a" / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}  # transformers asks for it


def test_saving_into_a_directory_leaves_other_files_alone(bert, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "config.json").write_text("old")
    bert.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert models.CrossEncoder.from_pretrained(tmp_path).config == bert.config


def test_a_failed_save_leaves_nothing(bert, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError) as caught:
        bert.save_pretrained(tmp_path / "file")
    assert caught.value.reason is ModelError.Reason.UNWRITABLE

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ModelError, match="No space left"):
        bert.save_pretrained(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
