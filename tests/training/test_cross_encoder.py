import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank.errors import TrainError
from jrank.losses import softmax_loss
from jrank.models import CrossEncoder, logits
from jrank.training import _lists, _loop, fit_cross_encoder
from jrank.training._cross_encoder import _cpu_parts, _loss_fn
from jrank.training._step import adam_direction, compiled_step
from jrank.training._validation import ndcg_at_10

RAW = {
    "model_type": "bert",
    "vocab_size": 14,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,  # so narrow a model says nothing with the usual 0.02
}
# One batch shape throughout, so that the step is compiled once per kind of step.
OPTIONS = {"max_length": 16, "learning_rate": 3e-3, "batch_size": 8, "progress": False}


@pytest.fixture(scope="module")
def model(tokenizer):
    return CrossEncoder.from_config(RAW, tokenizer, seed=0)


def toy_lists(count, seed):
    """For the query "a" the document with "c" is relevant, for "b" the one with "d"; both are in every list."""
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(count):
        query = "ab"[rng.integers(2)]
        heads = rng.permutation(list("cdef"))
        documents = [f"{head} {rng.choice(list('ghij'))}" for head in heads]
        lists.append((query, documents, [float(head == {"a": "c", "b": "d"}[query]) for head in heads]))
    return lists


@pytest.fixture(scope="module")
def trained(model):
    return fit_cross_encoder(model, toy_lists(160, 0), validation=toy_lists(40, 1), epochs=10, seed=1, **OPTIONS)


def test_a_toy_ranking_is_learned(model, trained):
    before = np.mean([_first(model, item) for item in toy_lists(20, 2)])
    after = np.mean([_first(trained.model, item) for item in toy_lists(20, 2)])
    assert before < 0.6
    assert after > 0.9
    assert trained.best.metric > 0.9
    assert trained.history.loss[-1] < 0.3 * trained.history.loss[0]
    assert len(trained.history) == 200
    assert [step for step, _ in trained.history.validations()] == list(range(20, 201, 20))


def _first(model, item):
    query, documents, labels = item
    scores = model.score([(query, document) for document in documents], max_length=16)
    return labels[int(np.argmax(scores))]


def test_the_validation_is_the_metric_of_the_returned_model(trained):
    lists = toy_lists(40, 1)
    pairs = [(query, document) for query, documents, _ in lists for document in documents]
    scores = trained.model.score(pairs, max_length=16).reshape(40, 4)
    labels = np.array([labels for _, _, labels in lists], np.float32)
    assert trained.best.metric == pytest.approx(float(ndcg_at_10(jnp.asarray(scores), jnp.asarray(labels))), abs=1e-6)


def test_the_given_model_is_not_changed(model, trained):
    fresh = CrossEncoder.from_config(RAW, model.tokenizer, seed=0)
    for a, b in zip(jax.tree.leaves(model.params), jax.tree.leaves(fresh.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert trained.model.tokenizer is model.tokenizer


def test_the_loss_is_the_mean_over_lists_of_any_length(model):
    # Three lists of 1, 2 and 4 documents in a batch of 8: the padding counts nothing.
    texts = [("a", ["b c"], [1]), ("b", ["b", "c d"], [0, 1]), ("c", ["c", "d", "a b", "e"], [1, 0, 1, 0])]
    losses = []
    for query, documents, labels in texts:
        scores = model.score([(query, document) for document in documents], max_length=16)
        shifted = scores - scores.max()
        losses.append(-np.sum(np.array(labels) * (shifted - np.log(np.exp(shifted).sum()))))
    result = fit_cross_encoder(model, texts, accumulate=1, max_steps=1, **OPTIONS)
    assert result.history.loss[0] == pytest.approx(np.mean(losses), rel=1e-5)
    halves = fit_cross_encoder(model, texts, accumulate=2, max_steps=1, **OPTIONS)
    assert halves.history.loss[0] == pytest.approx(np.mean(losses), rel=1e-5)
    assert halves.history.grad_norm[0] == pytest.approx(result.history.grad_norm[0], rel=1e-4)


def test_few_shapes_are_compiled(model, monkeypatch):
    monkeypatch.setattr(_lists, "WORTH_TOKENS", 0)
    long = [(q, [d + " a" * 20 for d in docs], y) for q, docs, y in toy_lists(12, 3)]
    options = {**OPTIONS, "max_length": 32, "accumulate": 1}
    step = compiled_step(
        _loss_fn(model.config, softmax_loss, False, jnp.dtype("float32"), False), adam_direction(), 1, True
    )
    before = step._cache_size()
    result = fit_cross_encoder(model, toy_lists(12, 4) + long, epochs=2, **options)
    assert len(result.history) == 6
    fit_cross_encoder(model, toy_lists(12, 4) + long, epochs=2, **{**options, "learning_rate": 1e-4, "clip_norm": None})
    # The first width may have been compiled by another test.
    assert step._cache_size() - before in (1, 2)


def test_parts_of_a_step_fit_the_caches():
    assert _cpu_parts(8, 5 * 96) == 8
    assert _cpu_parts(8, 5 * 32) == 2
    assert _cpu_parts(6, 5 * 64) == 3
    assert _cpu_parts(8, 10) == 1
    assert _cpu_parts(7, 1000) == 7


def test_training_stops_when_nothing_improves(model, trained):
    # Steps too small to change an order: the first validation stays the best.
    options = {**OPTIONS, "learning_rate": 1e-9, "validation": toy_lists(40, 1), "epochs": 10, "patience": 2}
    result = fit_cross_encoder(model, toy_lists(160, 0), seed=1, **options)
    assert [step for step, _ in result.history.validations()] == [20, 40, 60]
    assert len(result.history) == 60 < len(trained.history)
    assert result.best.step == 20


def test_only_the_head_has_its_own_rate(model):
    texts = toy_lists(8, 5)
    options = {**OPTIONS, "learning_rate": 1e-3, "max_steps": 1, "weight_decay": 0.0, "warmup": 0}
    same = fit_cross_encoder(model, texts, **options).model.params
    other = fit_cross_encoder(model, texts, head_learning_rate=1e-2, **options).model.params
    start = model.params
    np.testing.assert_array_equal(same["layers"][0]["up"]["kernel"], other["layers"][0]["up"]["kernel"])
    moved = np.asarray(same["head"]["kernel"] - start["head"]["kernel"])
    moved_more = np.asarray(other["head"]["kernel"] - start["head"]["kernel"])
    np.testing.assert_allclose(moved_more, 10 * moved, rtol=1e-3, atol=1e-6)


def test_a_new_head_learns_faster(model):
    texts, options = toy_lists(8, 5), {**OPTIONS, "learning_rate": 1e-3, "max_steps": 1}
    headless = model.with_params(model.params)
    headless.source = dataclasses.replace(model.source, new=("classifier.weight",))
    found = fit_cross_encoder(headless, texts, **options).model
    want = fit_cross_encoder(model, texts, head_learning_rate=20e-3, **options).model
    jax.tree.map(np.testing.assert_array_equal, found.params, want.params)
    assert found.source.new == ()  # a second training goes on at one rate
    again = fit_cross_encoder(found, texts, **options).model.params
    same = fit_cross_encoder(found, texts, head_learning_rate=1e-3, **options).model.params
    jax.tree.map(np.testing.assert_array_equal, again, same)


def test_an_interrupted_fit_continues_bit_for_bit(model, tmp_path, monkeypatch):
    texts = toy_lists(48, 6)
    options = {**OPTIONS, "epochs": 2, "save_every": 3, "validation": toy_lists(8, 7)}
    whole = fit_cross_encoder(model, texts, **options)
    real = _loop._Run.judge

    def judge(self, step, metric):
        if step == 12:
            raise KeyboardInterrupt
        return real(self, step, metric)

    with monkeypatch.context() as patch:
        patch.setattr(_loop._Run, "judge", judge)
        with pytest.raises(KeyboardInterrupt):
            fit_cross_encoder(model, texts, resume=tmp_path, **options)
    resumed = fit_cross_encoder(model, texts, resume=tmp_path, **options)
    assert resumed.history.loss == whole.history.loss
    assert resumed.best == whole.best
    for a, b in zip(jax.tree.leaves(resumed.model.params), jax.tree.leaves(whole.model.params), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    with pytest.raises(TrainError, match="learning_rate") as caught:
        fit_cross_encoder(model, texts, resume=tmp_path, **{**options, "learning_rate": 1e-4})
    assert caught.value.reason == "invalid_state"
    with pytest.raises(TrainError, match="lists"):
        fit_cross_encoder(model, toy_lists(48, 8), resume=tmp_path, **options)


@pytest.mark.slow
def test_dropout_depends_on_seed_and_step_alone(model):
    texts = toy_lists(48, 6)
    options = {**OPTIONS, "dropout": True}
    whole = fit_cross_encoder(model, texts, max_steps=6, warmup=0, decay="constant", **options)
    assert whole.history.loss != fit_cross_encoder(model, texts, max_steps=6, **OPTIONS).history.loss
    again = fit_cross_encoder(model, texts, max_steps=6, warmup=0, decay="constant", **options)
    assert again.history.loss == whole.history.loss


def test_remat_and_bfloat16_give_nearly_the_same(model):
    texts = toy_lists(8, 9)
    plain = fit_cross_encoder(model, texts, max_steps=2, **OPTIONS).history.loss
    half = fit_cross_encoder(model, texts, max_steps=2, remat=True, compute_dtype=jnp.bfloat16, **OPTIONS)
    np.testing.assert_allclose(half.history.loss, plain, rtol=2e-2)  # bfloat16 keeps 8 bits
    assert half.model.params["head"]["kernel"].dtype == jnp.float32


def test_eight_devices_train_as_one_does(model, mesh8):
    texts = toy_lists(16, 10)
    options = {**OPTIONS, "epochs": 2}
    one = fit_cross_encoder(model, texts, accumulate=1, **options)
    many = fit_cross_encoder(model, texts, mesh=mesh8, **options)
    np.testing.assert_allclose(many.history.loss, one.history.loss, rtol=1e-5)
    np.testing.assert_allclose(many.history.grad_norm, one.history.grad_norm, rtol=1e-4)
    # Adam makes full steps of the rounding that is the gradient of the biases of the keys and of the head, so scores
    # are only equal up to a common shift.
    pairs = [("a", "a b"), ("a", "b c")]
    scores = [fitted.model.score(pairs, max_length=16) for fitted in (one, many)]
    np.testing.assert_allclose(np.diff(scores[0]), np.diff(scores[1]), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"epochs": 0},
        {"max_steps": 0},
        {"max_length": 33},
        {"accumulate": 3},
        {"learning_rate": -1.0},
        {"head_learning_rate": 0.0},
        {"shapes": 0},
        {"decay": "steps"},
        {"patience": 1},
    ],
)
def test_options_out_of_range_are_refused(model, options):
    with pytest.raises(TrainError) as caught:
        fit_cross_encoder(model, toy_lists(2, 0), **{**OPTIONS, **options})
    assert caught.value.reason == "invalid_parameter"


def test_a_batch_that_does_not_spread_is_refused(model, mesh8):
    with pytest.raises(TrainError, match="8 devices"):
        fit_cross_encoder(model, toy_lists(2, 0), mesh=mesh8, **{**OPTIONS, "batch_size": 4})


def test_models_that_do_not_fit_are_refused(tokenizer):
    bare = CrossEncoder.from_config(RAW)
    with pytest.raises(TrainError, match="no tokenizer"):
        fit_cross_encoder(bare, toy_lists(2, 0), **OPTIONS)


def test_the_pure_logits_are_what_is_trained(model):
    ids = np.array([[1, 5, 2, 6, 2]])
    score = logits(model.params, model.config, ids, np.ones_like(ids), np.array([[0, 0, 0, 1, 1]]))
    np.testing.assert_allclose(score[:, 0], model.score([("b", "c")], max_length=16), rtol=1e-5)
