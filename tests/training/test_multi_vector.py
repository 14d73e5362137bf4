"""Training of the late-interaction encoder: its loss against NumPy, what it learns, how it resumes."""

import jax
import numpy as np
import pytest
import tokenizers

from jrank import models, training
from jrank.errors import TrainError
from jrank.sharding import make_mesh
from jrank.text import MultiVectorRules, PairTokenizer
from jrank.training import _multi_vector as module

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[Q] ", "[D] ", ".", *(f"w{i}" for i in range(16))]
RAW = {
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}
RULES = MultiVectorRules(query_length=6, document_length=12)
# A query of one word is answered by the document that holds the next word.
LISTS = [(f"w{i}", [f"w{(i + 1) % 16} .", f"w{(i + 5) % 16} . w{(i + 5) % 16}"], [1, 0]) for i in range(16)]
# One set of static options, so that tests share a compiled step.
T = 0.2
OPTIONS = {"batch_size": 8, "learning_rate": 0.02, "temperature": T, "progress": False}


@pytest.fixture(scope="module")
def model():
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return models.MultiVectorEncoder.from_config(RAW, PairTokenizer.from_bytes(inner.to_str()), 8, rules=RULES)


def scores(model, lists):
    """Scores of every query with every document, from the vectors that the model gives texts."""
    queries = model.encode_queries([query for query, _, _ in lists])
    documents = model.encode_documents([text for _, texts, _ in lists for text in texts])
    return np.array([[(q.astype(float) @ d.astype(float).T).max(1).sum() for d in documents] for q in queries])


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def first_loss(model, lists, **options):
    options = OPTIONS | {"max_steps": 1, **options}
    return training.fit_multi_vector(model, lists, **options).history.loss[0]


def test_contrastive_loss(model):
    lists = LISTS[:8]
    want = -np.mean(log_softmax(scores(model, lists) / T)[np.arange(8), 2 * np.arange(8)])
    assert first_loss(model, lists) == pytest.approx(want, rel=1e-4)
    # The positive text of one list among the documents of another is no negative; missing lists are masked.
    twice = [*lists[:3], ("w9", [lists[0][1][0], "w9 w9"], [0.0, 2.0])]
    table, columns = scores(model, twice), [0, 2, 4, 7]
    table[0, 6] = -np.inf
    want = -np.mean(log_softmax(table / T)[np.arange(4), columns])
    assert first_loss(model, twice) == pytest.approx(want, rel=1e-4)


def test_distillation_losses(model):
    lists = [
        (query, [*texts, "w1 w2"][: 2 + i % 2], [0.5, 3.0, -1.0][: 2 + i % 2])
        for i, (query, texts, _) in enumerate(LISTS[:4])
    ]
    margins, divergences, column = [], [], 0
    for row, (_, texts, labels) in zip(scores(model, lists), lists, strict=True):
        own, teacher = row[column : column + len(texts)], np.array(labels)
        column += len(texts)
        others = np.arange(len(texts)) != 1
        margins.append(np.mean(((own[1] - own) - (teacher[1] - teacher))[others] ** 2) / T**2)
        p = log_softmax(teacher / T)
        divergences.append(np.sum(np.exp(p) * (p - log_softmax(own / T))))
    assert first_loss(model, lists, loss="margin_mse", batch_size=4) == pytest.approx(np.mean(margins), rel=1e-5)
    assert first_loss(model, lists, loss="kl", batch_size=4) == pytest.approx(np.mean(divergences), rel=1e-4)


def test_it_learns_and_resumes(model, tmp_path):
    options = OPTIONS | {"max_steps": 150, "validation": LISTS, "validate_every": 150}
    whole = training.fit_multi_vector(model, LISTS, **options)
    assert whole.history.loss[-1] < 0.3 < whole.history.loss[0]
    assert whole.best.metric > 0.95
    table = scores(whole.model, LISTS)
    assert np.mean(table[:, ::2].argmax(axis=1) == np.arange(16)) > 0.9
    # A run that is over returns what it made.
    options |= {"resume": tmp_path / "run", "save_every": 10, "max_steps": 10, "validation": None}
    whole = training.fit_multi_vector(model, LISTS, **options)
    again = training.fit_multi_vector(model, LISTS, **options)
    for one, two in zip(jax.tree.leaves(whole.model.params), jax.tree.leaves(again.model.params), strict=True):
        assert np.array_equal(one, two)
    with pytest.raises(TrainError, match="weight_decay"):
        training.fit_multi_vector(model, LISTS, **(options | {"resume": tmp_path / "run", "weight_decay": 0.5}))


def test_an_interrupted_run_goes_on_bit_for_bit(model, tmp_path, monkeypatch):
    options = OPTIONS | {"max_steps": 12, "save_every": 4, "resume": tmp_path / "run"}
    whole = training.fit_multi_vector(model, LISTS, **(options | {"resume": None}))
    batch, seen = module._Texts.batch, []

    def stopping(self, *args):
        seen.append(1)
        if len(seen) == 8:
            raise KeyboardInterrupt
        return batch(self, *args)

    monkeypatch.setattr(module._Texts, "batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        training.fit_multi_vector(model, LISTS, **options)
    monkeypatch.undo()
    found = training.fit_multi_vector(model, LISTS, **options)
    for one, two in zip(jax.tree.leaves(whole.model.params), jax.tree.leaves(found.model.params), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.slow
def test_chunks_and_devices_change_rounding_only(model):
    lists = LISTS[:8]
    base = training.fit_multi_vector(model, lists, **OPTIONS, max_steps=2)
    for more in ({"chunk_size": 4}, {"mesh": make_mesh({"data": 2}, devices=jax.devices("cpu")[:2])}):
        found = training.fit_multi_vector(model, lists, **OPTIONS, max_steps=2, **more)
        np.testing.assert_allclose(found.history.loss, base.history.loss, rtol=1e-5)


def test_bad_input(model):
    for options, message in (
        ({"loss": "hinge"}, "hinge"),
        ({"batch_size": 0}, "batch_size"),
        ({"temperature": 0.0}, "temperature"),
        ({"dropout": True, "chunk_size": 2}, "chunk_size"),
    ):
        with pytest.raises(TrainError, match=message):
            training.fit_multi_vector(model, LISTS, **(OPTIONS | options))
    with pytest.raises(TrainError, match="no list"):
        training.fit_multi_vector(model, [], **OPTIONS)
    with pytest.raises(TrainError, match="no tokenizer"):
        training.fit_multi_vector(models.MultiVectorEncoder.from_config(RAW), LISTS, **OPTIONS)
