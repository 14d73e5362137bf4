"""Tiny models: checkpoints with weights drawn by name, and a tokenizer of few words."""

import json
import zlib

import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from jrank import models
from jrank.errors import ModelError

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "what", "is", "jax", "a", "ranking", "library", "who", "ranks", "?"]


def draw(name, shape):
    """The values that tests/golden/make_models.py gives a tensor."""
    values = 0.2 * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    return (values + 1.0 if "norm" in name.lower() and name.endswith("weight") else values).astype(np.float32)


@pytest.fixture(scope="session")
def cases(golden):
    """The golden cases by name."""
    return golden("models.json")["cases"]


@pytest.fixture(scope="session")
def write_model(tmp_path_factory):
    """Write a directory from the fields of config.json and tensors by name; ``tokenizer`` adds one of few words."""

    def write(config, tensors, *, tokenizer=True, metadata=None):
        place = tmp_path_factory.mktemp("model")
        (place / "config.json").write_text(json.dumps(config))
        safetensors.numpy.save_file(tensors, place / "model.safetensors", metadata=metadata)
        if tokenizer:
            (place / "tokenizer.json").write_text(tiny_tokenizer().to_str())
        return place

    return write


@pytest.fixture(scope="session")
def write_case(cases, write_model):
    """Write the directory of a golden case; ``change`` maps names and arrays to what is written instead."""

    def write(name, change=lambda tensors: tensors):
        case = cases[name]
        tensors = {key: draw(key, shape) for key, shape in case["shapes"].items()}
        return write_model(case["config"], change(tensors))

    return write


def tiny_tokenizer():
    """A tokenizer of whole words with BERT's special tokens."""
    words = {word: i for i, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer


@pytest.fixture(scope="session")
def bert(write_case):
    """A tiny cross-encoder with one output, from a directory."""
    return models.CrossEncoder.from_pretrained(write_case("bert"))


@pytest.fixture(scope="session")
def minilm():
    """The directory of all-MiniLM-L6-v2, where it is installed."""
    try:
        return models.find_weights(download=False)
    except ModelError as error:
        pytest.skip(str(error))
