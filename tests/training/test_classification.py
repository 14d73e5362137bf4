"""Models with several outputs: each pair has a class, or any of several labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank.errors import TrainError
from jrank.models import CrossEncoder
from jrank.training import accuracy, binary_cross_entropy_loss, cross_entropy_loss, fit_cross_encoder

RAW = {
    "model_type": "bert",
    "vocab_size": 14,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}
OPTIONS = {"max_length": 16, "learning_rate": 3e-3, "batch_size": 8, "seed": 1, "progress": False}
WORDS = "cde"


@pytest.fixture(scope="module")
def model(tokenizer):
    return CrossEncoder.from_config(RAW, tokenizer, num_labels=3, seed=0)


def toy_pairs(count, seed, label):
    """Lists of one document that starts with one of three words; what the words mean depends on the query."""
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(count):
        turn, word = int(rng.integers(2)), int(rng.integers(3))
        lists.append(("ab"[turn], [f"{WORDS[word]} {rng.choice(list('ghij'))}"], [label(turn, word)]))
    return lists


def a_class(turn, word):
    return (word + turn) % 3


def labels(turn, word):
    return [float(word == 0), float(turn == 1), float(word == 2 and turn == 0)]


@pytest.mark.parametrize("label", [a_class, labels])
def test_classes_and_labels_are_learned(model, label):
    train, held_out = toy_pairs(160, 0, label), toy_pairs(40, 1, label)
    result = fit_cross_encoder(model, train, validation=held_out, epochs=12, **OPTIONS)
    scores = result.model.score([(query, documents[0]) for query, documents, _ in held_out], max_length=16)
    wanted = np.array([grades[0] for _, _, grades in held_out])
    right = scores.argmax(-1) == wanted if label is a_class else (scores > 0) == wanted
    assert right.mean() > 0.9
    assert result.best.metric == pytest.approx(right.mean(), abs=1e-6)


def test_the_losses_are_those_of_numpy_and_masked_items_count_nothing():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 3)).astype(np.float32)
    where = np.array([[True, True, True, False], [True, False, False, True]])
    classes, several = rng.integers(0, 3, (2, 4)), rng.uniform(size=(2, 4, 3))
    chances = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen = np.take_along_axis(chances, classes[..., None], -1)[..., 0]
    each = 1 / (1 + np.exp(-logits))
    binary = -(several * np.log(each) + (1 - several) * np.log(1 - each)).mean(-1)
    np.testing.assert_allclose(cross_entropy_loss(logits, classes, where=where), -np.log(chosen)[where].mean(), 1e-5)
    np.testing.assert_allclose(binary_cross_entropy_loss(logits, several, where=where), binary[where].mean(), 1e-5)
    assert accuracy(logits, classes, where=where) == pytest.approx((logits.argmax(-1) == classes)[where].mean())
    assert accuracy(logits, several, where=where) == pytest.approx(((logits > 0) == (several >= 0.5))[where].mean())

    junk = np.where(where[..., None], logits, np.nan).astype(np.float32)
    for loss, truth in ((cross_entropy_loss, classes), (binary_cross_entropy_loss, several)):
        value, slope = jax.value_and_grad(lambda x, loss=loss, truth=truth: loss(x, truth, where=where))(junk)
        assert value == loss(logits, truth, where=where)
        assert np.isfinite(slope).all()
        assert not np.asarray(slope)[~where].any()
        assert loss(junk, truth, where=jnp.zeros_like(where)) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [[3], [-1], [0.5], [None], [[1, 0]], [[1, 0, 2]], [[0, 0, "x"]], ["a"], [[1, 0, np.nan]]],
)
def test_labels_that_do_not_fit_the_outputs_are_refused(model, wrong):
    with pytest.raises(TrainError, match=r"lists\[0\] must be classes from 0 to 2, or 3 numbers"):
        fit_cross_encoder(model, [("a", ["b"], wrong)], **OPTIONS)


def test_two_kinds_of_labels_are_refused(model):
    one, many = ("a", ["b"], [1]), ("a", ["b"], [[1, 0, 0]])
    with pytest.raises(TrainError, match="some labels of lists"):
        fit_cross_encoder(model, [one, many], **OPTIONS)
    with pytest.raises(TrainError, match="validation are of another kind"):
        fit_cross_encoder(model, [one], validation=[many], **OPTIONS)
