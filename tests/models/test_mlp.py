"""Feature rankers: values, masks, scaling, files."""

import json

import hypothesis
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import strategies as st

from jrank import models
from jrank.errors import ModelError

RNG = np.random.default_rng(0)
X = RNG.gamma(1.0, 50.0, (4, 6, 5)).astype(np.float32)
WHERE = np.arange(6) < np.array([6, 3, 1, 4])[:, None]


@pytest.fixture(scope="module")
def ranker():
    return models.MLPRanker(5, hidden=(8, 4), log1p=True, seed=1).fit_inputs(X, where=WHERE)


def oracle(model, x):
    """The ranker in float64."""
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), model.params)
    x = np.asarray(x, np.float64)
    if model.config.log1p:
        x = np.sign(x) * np.log1p(np.abs(x))
    x = (x - np.asarray(model.mean[...])) / np.asarray(model.scale[...])
    for layer in params["layers"]:
        x = x @ layer["dense"]["kernel"] + layer["dense"]["bias"]
        if "norm" in layer:
            x = x - x.mean(-1, keepdims=True)
            x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)
            x = x * layer["norm"]["scale"] + layer["norm"]["bias"]
        x = np.maximum(x, 0)
    return (x @ params["out"]["kernel"] + params["out"]["bias"])[..., 0]


@pytest.mark.parametrize("hidden", [(), (8,), (8, 4)])
@pytest.mark.parametrize("log1p", [False, True])
def test_scores(hidden, log1p):
    model = models.MLPRanker(5, hidden, log1p=log1p, normalize=len(hidden) != 1).fit_inputs(X)
    run = jax.jit(model.apply)
    scores = run(model.params, X)
    np.testing.assert_allclose(scores, oracle(model, X), atol=2e-5)
    np.testing.assert_allclose(run(model.params, X[0]), scores[0], atol=1e-6)
    np.testing.assert_allclose(run(model.params, X[0, 0]), scores[0, 0], atol=1e-6)


def test_inputs_are_scaled_over_real_items(ranker):
    z = np.log1p(X[WHERE].astype(np.float64))
    np.testing.assert_allclose(ranker.mean[...], z.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(ranker.scale[...], z.std(axis=0), rtol=1e-6)
    spoiled = np.where(WHERE[..., None], X, np.nan)
    again = models.MLPRanker(5, hidden=(8, 4), log1p=True, seed=1).fit_inputs(spoiled, where=WHERE)
    np.testing.assert_array_equal(again.mean[...], ranker.mean[...])


def test_a_constant_feature_is_only_shifted():
    x = X.copy()
    x[..., 2] = 0.1
    model = models.MLPRanker(5, ()).fit_inputs(x)
    assert model.scale[...][2] == 1
    assert np.isfinite(model(x)).all()


@pytest.fixture(scope="module")
def run(ranker):
    def total(params, x):
        return jnp.sum(ranker.apply(params, x, where=WHERE) ** 2)

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1)))


JUNK = st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 0.0])


@hypothesis.given(junk=hnp.arrays(np.float32, (4, 6, 5), elements=JUNK))
def test_what_stands_at_padding_never_matters(junk, ranker, run):
    spoiled = np.where(WHERE[..., None], X, junk)
    value, (slope, at_x) = run(ranker.params, X)
    other, (other_slope, at_other) = run(ranker.params, spoiled)
    assert value == other
    jax.tree.map(np.testing.assert_array_equal, slope, other_slope)
    np.testing.assert_array_equal(at_x, at_other)
    assert not np.asarray(at_other)[~WHERE].any()


def test_masked_items_score_zero(ranker):
    assert not np.asarray(ranker(X, WHERE))[~WHERE].any()
    np.testing.assert_array_equal(ranker(X, WHERE.astype(int)), ranker(X, WHERE))


def test_dropout():
    model = models.MLPRanker(5, (16,), dropout=0.5)
    one, same = (model.apply(model.params, X, key=jax.random.key(1)) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - model(X)).max() > 1e-3


def test_the_seed_decides():
    one, same, other = (models.MLPRanker(5, (8,), seed=seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one.params, same.params)
    assert np.abs(one(X) - other(X)).max() > 1e-3


def test_it_learns_what_a_listwise_loss_teaches():
    truth = X[..., 0] - X[..., 1]
    model = models.MLPRanker(5, (16,), seed=2).fit_inputs(X)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        def loss(params):
            target = jax.nn.softmax(truth / 20, axis=-1)
            return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(model.apply(params, X), axis=-1), axis=-1))

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    params, state = model.params, optimizer.init(model.params)
    for _ in range(150):
        params, state = step(params, state)
    trained = model.with_params(params)
    assert (np.asarray(trained(X)).argmax(axis=1) == truth.argmax(axis=1)).all()
    np.testing.assert_array_equal(trained.mean[...], model.mean[...])


def test_statistics_are_not_trained():
    slope = nnx.grad(lambda model, x: jnp.sum(model(x)))(models.MLPRanker(5, ()).fit_inputs(X), X)
    assert set(slope) == {"weights"}


def test_saved_and_loaded(ranker, tmp_path):
    ranker.save(tmp_path / "a")
    again = models.MLPRanker.load(tmp_path / "a")
    np.testing.assert_array_equal(again(X), ranker(X))
    assert again.config == ranker.config
    again.save(tmp_path / "b")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    linear = models.MLPRanker(5, ()).fit_inputs(X)
    linear.save(tmp_path / "linear")
    np.testing.assert_array_equal(models.MLPRanker.load(tmp_path / "linear")(X), linear(X))


def test_files_that_do_not_fit(ranker, tmp_path):
    place = tmp_path / "a"
    ranker.save(place)
    raw = json.loads((place / "config.json").read_text())
    for change, words in (
        ({"features": 6}, "do not fit"),
        ({"hidden": [8]}, "do not fit"),
        ({"hidden": 8}, "no list of widths"),
        ({"features": "5"}, "features is '5'"),
        ({"activation": "mish"}, "'mish' is unknown"),
        ({"model_type": "bert"}, "does not hold a feature ranker"),
    ):
        (place / "config.json").write_text(json.dumps({**raw, **change}))
        with pytest.raises(ModelError, match=words):
            models.MLPRanker.load(place)
    with pytest.raises(ModelError):
        models.MLPRanker.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": 0}, "at least 1"),
        ({"features": 5, "hidden": (0,)}, "at least 1"),
        ({"features": 5, "activation": "mish"}, "'mish' is unknown"),
        ({"features": 5, "dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ModelError, match=words):
        models.MLPRanker(**options)


def test_wrong_features(ranker):
    with pytest.raises(ModelError, match="5 in the last axis were expected"):
        ranker(X[..., :4])
    with pytest.raises(ModelError, match="no item"):
        ranker.fit_inputs(X, where=np.zeros_like(WHERE))
    spoiled = X.copy()
    spoiled[1, 1, 3] = np.nan
    with pytest.raises(ModelError, match="feature 3 has values that are not finite"):
        ranker.fit_inputs(spoiled, where=WHERE)
