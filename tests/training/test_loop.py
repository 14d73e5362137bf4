import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jrank.errors import TrainError
from jrank.training import fit
from jrank.training._step import adam_direction, compiled_step


def quadratic(params, batch, key):
    return 0.5 * jnp.mean(jnp.sum((params["w"][None] - batch) ** 2, axis=-1))


def regression(params, batch, key):
    return jnp.mean((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2)


def rows(seed, n=8):
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(n, 3)).astype(np.float32), "y": rng.normal(size=n).astype(np.float32)}


START = {"w": jnp.zeros(3), "b": jnp.zeros(())}
TARGET = np.array([[1.0, -2.0, 3.0]], np.float32)


def test_gradient_descent_follows_its_closed_form():
    # w_s = t (1 - (1 - rate)^s) for the gradient w - t.
    result = fit(
        {"w": jnp.zeros(3)}, quadratic, [TARGET], steps=7, optimizer=optax.identity(), learning_rate=0.3, progress=False
    )
    np.testing.assert_allclose(result.model["w"], TARGET[0] * (1 - 0.7**7), rtol=1e-6)
    assert result.history.step == list(range(1, 8))
    np.testing.assert_allclose(result.history.loss, [7 * 0.7 ** (2 * s) for s in range(7)], rtol=1e-5)
    np.testing.assert_allclose(result.history.grad_norm, [math.sqrt(14) * 0.7**s for s in range(7)], rtol=1e-5)
    assert result.history.learning_rate == [0.3] * 7
    assert result.history.metric == [None] * 7
    assert result.best is None
    assert all(a <= b for a, b in zip(result.history.seconds, result.history.seconds[1:], strict=False))


def test_default_is_adamw_as_optax_has_it():
    batches = [rows(seed) for seed in range(3)]
    ours = fit(
        START,
        regression,
        lambda step: batches[step % 3],
        steps=9,
        learning_rate=0.05,
        weight_decay={"w": 0.1, "b": 0.0},
        progress=False,
    )
    optimizer = optax.adamw(0.05, weight_decay=0.1, mask={"w": True, "b": False})
    theirs = fit(START, regression, lambda step: batches[step % 3], steps=9, optimizer=optimizer, progress=False)
    for name in START:
        np.testing.assert_allclose(ours.model[name], theirs.model[name], rtol=1e-5, atol=1e-7)
    assert theirs.history.learning_rate == [None] * 9


def test_schedules_and_rate_scales_are_used():
    result = fit(
        {"w": jnp.zeros(3)},
        quadratic,
        [TARGET],
        steps=2,
        optimizer=optax.identity(),
        learning_rate=optax.linear_schedule(0.5, 0.0, 2),
        rate_scale={"w": 0.5},
        progress=False,
    )
    np.testing.assert_allclose(result.model["w"], TARGET[0] * (1 - 0.75 * 0.875), rtol=1e-6)
    assert result.history.learning_rate == [0.5, 0.25]


def test_new_rates_decays_and_clips_compile_nothing():
    for rate, decay, clip in ((0.1, 0.0, None), (0.2, 0.3, 1.0), (0.4, 0.1, 5)):
        fit(
            START,
            regression,
            [rows(0)],
            steps=3,
            learning_rate=rate,
            weight_decay=decay,
            clip_norm=clip,
            progress=False,
        )
    assert compiled_step(regression, adam_direction(), 1, True)._cache_size() == 1


def test_long_gradients_are_clipped_to_the_norm():
    result = fit(
        {"w": jnp.zeros(3)},
        quadratic,
        [TARGET],
        steps=1,
        optimizer=optax.identity(),
        learning_rate=1.0,
        clip_norm=0.5,
        progress=False,
    )
    np.testing.assert_allclose(result.model["w"], 0.5 * TARGET[0] / math.sqrt(14), rtol=1e-6)
    assert result.history.grad_norm[0] == pytest.approx(math.sqrt(14))


def test_accumulation_equals_the_whole_batch():
    options = {"steps": 4, "learning_rate": 0.05, "progress": False}
    whole = fit(START, regression, [rows(0)], **options)
    parts = fit(START, regression, [rows(0)], accumulate=4, **options)
    for name in START:
        np.testing.assert_allclose(whole.model[name], parts.model[name], rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(whole.history.loss, parts.history.loss, rtol=1e-5)


def test_accumulated_parts_count_by_their_weight():
    def masked(params, batch, key):
        count = batch["where"].sum()
        error = jnp.where(batch["where"], (params["w"] - batch["y"]) ** 2, 0)
        return error.sum() / jnp.maximum(count, 1), count

    batch = {"y": np.array([1.0, 2.0, 9.0, 4.0], np.float32), "where": np.array([True, True, False, True])}
    # The valid mean is 7/3; parts of (1, masked) and (2, 4) count 1 and 2.
    result = fit(
        {"w": jnp.zeros(())},
        masked,
        [batch],
        steps=1,
        optimizer=optax.identity(),
        learning_rate=0.5,
        accumulate=2,
        progress=False,
    )
    assert float(result.model["w"]) == pytest.approx(7 / 3)
    assert result.history.loss[0] == pytest.approx((1 + 4 + 16) / 3)


def test_the_given_parameters_stay_usable():
    params = {"w": jnp.zeros(3)}
    fit(params, quadratic, [TARGET], steps=2, learning_rate=0.1, progress=False)
    assert params["w"].tolist() == [0, 0, 0]


def test_numpy_parameters_are_taken():
    result = fit({"w": np.zeros(3, np.float32)}, quadratic, [TARGET], steps=2, learning_rate=0.1, progress=False)
    assert result.model["w"].shape == (3,)


def test_a_sequence_is_gone_through_once_per_epoch_in_a_new_order():
    seen = []

    def loss_fn(params, batch, key):
        jax.debug.callback(lambda x: seen.append(int(x)), batch[0, 0], ordered=True)
        return quadratic(params, batch, key)

    fit({"w": jnp.zeros(1)}, loss_fn, [np.full((1, 1), i, np.float32) for i in range(6)], steps=12, progress=False)
    jax.effects_barrier()
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert seen[:6] != seen[6:]


def test_keys_are_a_function_of_seed_and_step():
    def noisy(params, batch, key):
        return jnp.sum(params["w"] * jax.random.normal(key, (3,)))

    def run(seed, steps=3):
        return fit({"w": jnp.zeros(3)}, noisy, [TARGET], steps=steps, seed=seed, learning_rate=0.1, progress=False)

    first, again, other = run(0), run(0), run(1)
    np.testing.assert_array_equal(first.model["w"], again.model["w"])
    assert first.history.grad_norm == again.history.grad_norm
    assert len(set(first.history.grad_norm)) == 3
    assert set(first.history.grad_norm).isdisjoint(other.history.grad_norm)


def test_best_parameters_are_kept_and_training_stops_when_patience_ends():
    metrics = iter([0.1, 0.5, 0.5, 0.3, 0.9, 0.9])
    at = {}

    def validate(params):
        at[len(at) + 1] = np.array(params["w"])
        return next(metrics)

    result = fit(
        {"w": jnp.zeros(3)},
        quadratic,
        [TARGET],
        steps=12,
        learning_rate=0.1,
        validate=validate,
        validate_every=2,
        patience=2,
        progress=False,
    )
    # The equal third value is no improvement; the fourth ends the run before the fifth could be seen.
    assert result.best == (4, 0.5)
    assert result.history.validations() == [(2, 0.1), (4, 0.5), (6, 0.5), (8, 0.3)]
    assert len(result.history) == 8
    np.testing.assert_array_equal(result.model["w"], at[2])


def test_smaller_may_be_better_and_the_last_step_is_validated():
    values = iter([3.0, 1.0, 2.0])
    result = fit(
        {"w": jnp.zeros(3)},
        quadratic,
        [TARGET],
        steps=5,
        learning_rate=0.1,
        validate=lambda params: next(values),
        validate_every=2,
        mode="min",
        progress=False,
    )
    assert result.history.validations() == [(2, 3.0), (4, 1.0), (5, 2.0)]
    assert result.best == (4, 1.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_its_step(bad):
    batches = [TARGET] * 3 + [np.full((1, 3), bad, np.float32)] + [TARGET] * 6
    with pytest.raises(TrainError, match=r"at step 4 .*learning rate 0.1") as caught:
        fit({"w": jnp.zeros(3)}, quadratic, batches.__getitem__, steps=10, learning_rate=0.1, progress=False)
    assert caught.value.reason == "diverged"
    assert "learning rate" in caught.value.hint


def test_a_gradient_that_is_not_finite_is_seen_in_the_last_step():
    def root(params, batch, key):
        return jnp.sum(jnp.sqrt(params["w"]))  # the derivative at 0 is infinite, the value is not

    with pytest.raises(TrainError, match=r"gradient's norm is .* at step 1") as caught:
        fit({"w": jnp.zeros(3)}, root, [TARGET], steps=1, learning_rate=0.1, progress=False)
    assert caught.value.reason == "diverged"


def test_a_metric_that_is_not_finite_ends_the_run():
    with pytest.raises(TrainError, match="metric is nan at step 2") as caught:
        fit(
            {"w": jnp.zeros(3)},
            quadratic,
            [TARGET],
            steps=4,
            validate=lambda params: float("nan"),
            validate_every=2,
            progress=False,
        )
    assert caught.value.reason == "diverged"


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"accumulate": 0},
        {"validate_every": 0},
        {"save_every": -1},
        {"patience": 2},
        {"mode": "maximum"},
        {"clip_norm": 0.0},
        {"accumulate": 2},  # the batch has one row
        {"optimizer": optax.sgd(0.1), "weight_decay": 0.1},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(TrainError) as caught:
        fit({"w": jnp.zeros(3)}, quadratic, [TARGET], **{"steps": 2, "progress": False, **options})
    assert caught.value.reason == "invalid_parameter"


def test_nothing_to_train_is_refused():
    with pytest.raises(TrainError, match="no parameter"):
        fit({}, quadratic, [TARGET], steps=1, progress=False)
    with pytest.raises(TrainError, match="no batch"):
        fit({"w": jnp.zeros(3)}, quadratic, [], steps=1, progress=False)
    with pytest.raises(TypeError, match="floating"):
        fit({"w": jnp.zeros(3, int)}, quadratic, [TARGET], steps=1, progress=False)


def test_progress_goes_to_stderr_alone(capfd):
    fit({"w": jnp.zeros(3)}, quadratic, [TARGET], steps=2, progress=True, description="descending")
    out, err = capfd.readouterr()
    assert out == ""
    assert "descending" in err


def test_eight_devices_compute_what_one_does(mesh8):
    options = {"steps": 5, "learning_rate": 0.05, "progress": False}
    batches = [rows(seed, 16) for seed in range(2)]
    one = fit(START, regression, batches, **options)
    for accumulate in (1, 2):
        many = fit(START, regression, batches, mesh=mesh8, accumulate=accumulate, **options)
        np.testing.assert_allclose(many.history.loss, one.history.loss, rtol=1e-5)
        for name in START:
            np.testing.assert_allclose(many.model[name], one.model[name], rtol=2e-5, atol=1e-7)
            assert many.model[name].sharding.is_fully_replicated


def test_a_batch_that_does_not_spread_is_refused(mesh8):
    with pytest.raises(TrainError, match="8 devices"):
        fit(START, regression, [rows(0, 12)], steps=1, mesh=mesh8, progress=False)
