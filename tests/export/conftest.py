"""A small cross-encoder of each kind, made from a seed."""

import numpy as np
import pytest
import tokenizers

from jrank import models
from jrank.text import PairTokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(60))]


def make_tokenizer():
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PairTokenizer.from_bytes(inner.to_str())


def make_model(labels=1, *, layers=2, seed=3, **fields):
    raw = {
        "model_type": "bert",
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 48,
        "initializer_range": 0.3,
        **fields,
    }
    return models.CrossEncoder.from_config(raw, make_tokenizer(), num_labels=labels, seed=seed)


@pytest.fixture(scope="session")
def model():
    return make_model()


@pytest.fixture(scope="session")
def pairs():
    rng = np.random.default_rng(5)

    def text(n):
        return " ".join(f"w{i}" for i in rng.integers(0, 60, n))

    queries = [text(4) for _ in range(6)]
    return [(query, text(int(rng.integers(1, 60)))) for query in queries for _ in range(6)]


@pytest.fixture(scope="session")
def make():
    return make_model
