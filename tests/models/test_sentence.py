"""How a directory says that its encoder wants to be used."""

import json

import numpy as np
import pytest

from jrank import models
from jrank.errors import ModelError
from jrank.models._sentence import SentenceSettings, read_sentence_settings

TEXTS = ["what is jax", "who ranks ?"]


def settings(**files):
    names = {"pooling": "1_Pooling/config.json", "bert": "sentence_bert_config.json", "modules": "modules.json"}
    return read_sentence_settings({names[key]: json.dumps(value).encode() for key, value in files.items()})


def test_defaults():
    assert settings() == SentenceSettings("mean", None, "")


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": ["cls"]}, "cls"),
    ],
)
def test_poolings(pooling, expected):
    assert settings(pooling=pooling).check() == expected


@pytest.mark.parametrize(
    ("pooling", "words"),
    [
        ({"pooling_mode": "lasttoken"}, "'lasttoken'"),
        ({"pooling_mode_weightedmean_tokens": True}, "'weightedmean'"),
        ({"pooling_mode": ["cls", "mean"]}, "'cls \\+ mean'"),
    ],
)
def test_other_poolings_are_refused_and_can_be_overruled(pooling, words):
    with pytest.raises(ModelError, match=words):
        settings(pooling=pooling).check()


def test_other_modules_are_refused():
    modules = [{"type": "sentence_transformers.models.Transformer"}, {"type": "sentence_transformers.models.Dense"}]
    with pytest.raises(ModelError, match="'Dense'"):
        settings(modules=modules).check()


@pytest.mark.parametrize(("value", "expected"), [(128, 128), (None, None), ("128", None), (0, None), (True, None)])
def test_lengths(value, expected):
    assert settings(bert={"max_seq_length": value}).max_length == expected


@pytest.mark.parametrize("content", [b"{", b"[]", b'"x"'])
def test_broken_files(content):
    with pytest.raises(ModelError, match="1_Pooling"):
        read_sentence_settings({"1_Pooling/config.json": content})


def test_an_encoder_follows_its_directory_and_takes_it_along(write_case, tmp_path):
    place = write_case("bert")
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (place / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 4}))
    encoder = models.TextEncoder.from_pretrained(place)
    cls = encoder.encode(TEXTS)
    np.testing.assert_array_equal(cls, encoder.encode(TEXTS, pooling="cls", max_length=4))
    assert np.abs(cls - encoder.encode(TEXTS, pooling="mean")).max() > 0.01
    encoder.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(models.TextEncoder.from_pretrained(tmp_path / "saved").encode(TEXTS), cls)
    # A cross-encoder made of it is none of these.
    models.CrossEncoder.from_pretrained(tmp_path / "saved").save_pretrained(tmp_path / "cross")
    assert not (tmp_path / "cross" / "1_Pooling").exists()


def as_sentence_transformers(
    place, modules=("transformer.Transformer",), activation="torch.nn.modules.linear.Identity"
):
    """What release 6 of sentence-transformers writes beside a cross-encoder."""
    settings = {"model_type": "CrossEncoder", "activation_fn": activation}
    (place / "config_sentence_transformers.json").write_text(json.dumps(settings))
    (place / "modules.json").write_text(json.dumps([{"type": f"sentence_transformers.modules.{m}"} for m in modules]))
    return place


def test_the_activation_of_a_cross_encoder_is_written_back(write_case, tmp_path):
    place = as_sentence_transformers(write_case("bert"))
    models.CrossEncoder.from_pretrained(place).save_pretrained(tmp_path / "copy")
    raw = json.loads((tmp_path / "copy" / "config.json").read_text())
    assert raw["sentence_transformers"] == {"activation_fn": "torch.nn.modules.linear.Identity"}
    assert not (tmp_path / "copy" / "modules.json").exists()


def test_what_config_json_says_about_the_activation_stays(write_case, tmp_path, cases):
    place = as_sentence_transformers(write_case("bert"))
    said = {"sentence_transformers": {"activation_fn": "torch.nn.Tanh", "version": "4.1.0"}}
    old = {"sbert_ce_default_activation_function": "torch.nn.Sigmoid"}
    (place / "config.json").write_text(json.dumps(cases["bert"]["config"] | said | old))
    models.CrossEncoder.from_pretrained(place).save_pretrained(tmp_path / "copy")
    raw = json.loads((tmp_path / "copy" / "config.json").read_text())
    assert {key: raw[key] for key in said | old} == said | old


def test_a_cross_encoder_with_further_modules_is_refused(write_case):
    place = as_sentence_transformers(write_case("bert"), ("transformer.Transformer", "logit_score.LogitScore"))
    with pytest.raises(ModelError, match="a transformer and LogitScore"):
        models.CrossEncoder.from_pretrained(place)
