"""Every family against the outputs of another library: tiny-random models, float64, see golden/make_models.py."""

import functools
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from jrank import models
from jrank.models._deberta import log_buckets

CASES = [
    "bert",
    "bert-3-labels-tanh-gelu",
    "roberta",
    "xlm-roberta",
    "electra",
    "electra-projected",
    "deberta-v3",
    "deberta-v2-apart",
    "deberta-v2-c2p",
    "deberta-v2-convolution",
    "distilbert",
    "modernbert-cls",
    "modernbert-mean",
]


@pytest.fixture(scope="module")
def loaded(write_case):
    @functools.cache
    def load(name):
        place = write_case(name)
        return place, models.CrossEncoder.from_pretrained(place)

    return load


def arrays(case):
    types = case["token_type_ids"]
    return np.array(case["input_ids"]), np.array(case["attention_mask"]), None if types is None else np.array(types)


def test_all_cases_are_tested(cases):
    assert sorted(cases) == sorted(CASES)
    assert {cases[name]["config"]["model_type"] for name in CASES} | {"camembert"} == set(models.FAMILIES)


@pytest.mark.parametrize("name", CASES)
def test_hidden_states_and_logits(name, cases, loaded):
    case, (_, model) = cases[name], loaded(name)
    ids, mask, types = arrays(case)
    hidden = jax.jit(models.encode, static_argnums=1)(model.params, model.config, ids, mask, types)
    # float32 against float64: the outputs are of the order 1 and went through a few hundred rounded sums.
    np.testing.assert_allclose(np.asarray(hidden) * mask[:, :, None], case["hidden"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(model.logits(ids, mask, types), case["logits"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_what_is_saved_has_the_names_and_values_that_were_read(name, cases, loaded, tmp_path):
    place, model = loaded(name)
    model.save_pretrained(tmp_path / "copy")
    read, written = (safetensors.numpy.load_file(d / "model.safetensors") for d in (place, tmp_path / "copy"))
    assert {key: list(value.shape) for key, value in written.items()} == cases[name]["shapes"]
    for key, value in read.items():
        np.testing.assert_array_equal(written[key], value)
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    assert config["architectures"] == [models.FAMILIES[model.config.family].architecture]
    assert len(config["id2label"]) == len(config["label2id"]) == model.config.num_labels
    assert models.CrossEncoder.from_pretrained(tmp_path / "copy").config == model.config


@pytest.mark.parametrize("name", CASES)
def test_padding_never_matters(name, cases, loaded):
    case, (_, model) = cases[name], loaded(name)
    ids, mask, types = arrays(case)
    other = np.where(mask == 1, ids, 39)
    np.testing.assert_array_equal(model.logits(ids, mask, types), model.logits(other, mask, types))


@pytest.mark.parametrize("name", CASES)
def test_an_encoder_alone_gets_a_new_head(name, cases, loaded, write_model):
    _, model = loaded(name)
    family = models.FAMILIES[model.config.family]
    tensors = {
        key.removeprefix(family.prefix): value
        for key, value in safetensors.numpy.load_file(loaded(name)[0] / "model.safetensors").items()
        if key.startswith(family.prefix) and "pooler" not in key
    }
    config = {key: value for key, value in cases[name]["config"].items() if key not in ("id2label", "label2id")}
    place = write_model(config, tensors)
    made, again, other = (models.CrossEncoder.from_pretrained(place, 2, seed=seed) for seed in (4, 4, 5))
    assert set(made.source.new) == {key.removeprefix(family.prefix) for key in cases[name]["shapes"]} - set(tensors)
    ids, mask, types = arrays(cases[name])
    logits = made.logits(ids, mask, types)
    assert logits.shape == (3, 2)
    assert np.isfinite(logits).all()
    np.testing.assert_array_equal(logits, again.logits(ids, mask, types))
    assert np.abs(logits - other.logits(ids, mask, types)).max() > 1e-4


def test_buckets_of_distances(golden):
    # Exact, at the edges of the buckets too: they are computed in float32, as the models were trained.
    for name, expected in golden("models.json")["buckets"].items():
        count, furthest = map(int, name.split())
        expected = np.clip(np.array(expected) + count, 0, 2 * count - 1)
        np.testing.assert_array_equal(log_buckets(furthest, count, furthest), expected)
