import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jrank.errors import DataError, TrainError
from jrank.training import fit
from jrank.training._state import describe_callable, describe_data, describe_tree


def noisy(params, batch, key):
    noise = jax.random.normal(key, batch["x"].shape) * 0.1
    return jnp.mean(((batch["x"] + noise) @ params["w"] - batch["y"]) ** 2) + jnp.sum(params["list"][0] ** 2)


def batches():
    rng = np.random.default_rng(0)
    return [
        {"x": rng.normal(size=(8, 3)).astype(np.float32), "y": rng.normal(size=8).astype(np.float32)} for _ in range(3)
    ]


PARAMS = {"w": jnp.ones(3), "list": [jnp.ones((2, 2)), jnp.ones((), jnp.bfloat16)]}


class Killed(Exception):
    pass


def train(resume=None, steps=12, stop=None, validate=None, **options):
    def check(params):
        calls.append(1)
        if stop is not None and len(calls) > stop:
            raise Killed
        return -float(jnp.sum(params["w"] ** 2)) if validate is None else validate(params)

    calls = []
    defaults = {"learning_rate": lambda step: 0.1 / (1 + step), "validate_every": 2, "progress": False}
    return fit(PARAMS, noisy, batches(), steps=steps, validate=check, resume=resume, **{**defaults, **options})


def reading(values):
    values = iter(values)
    return lambda params: next(values)


def assert_equal_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def assert_same_run(a, b):
    assert_equal_bits(a.model, b.model)
    assert a.best == b.best
    for name, column in a.history.to_dict().items():
        if name != "seconds":
            assert column == b.history.to_dict()[name], name


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_an_interrupted_run_continues_bit_for_bit(tmp_path, stop):
    whole = train()
    with pytest.raises(Killed):
        train(tmp_path, stop=stop)
    assert_same_run(train(tmp_path), whole)


def test_states_between_validations_are_used(tmp_path):
    whole = train(validate_every=6)
    with pytest.raises(Killed):
        train(tmp_path, validate_every=6, save_every=1, stop=1)
    # Killed in the validation of step 12; the state of step 11 was on disk.
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["11"]
    assert_same_run(train(tmp_path, validate_every=6, save_every=1), whole)


def test_more_steps_continue_a_finished_run(tmp_path):
    train(tmp_path, steps=6)
    assert_same_run(train(tmp_path, steps=12), train(steps=12))


def test_a_finished_run_returns_at_once(tmp_path):
    first = train(tmp_path)
    again = train(tmp_path, stop=0)
    assert_same_run(first, again)


def test_the_best_parameters_survive(tmp_path):
    values = [1.0, 5.0, 2.0, 3.0, 4.0, 0.0]
    whole = train(validate=reading(values))
    with pytest.raises(Killed):
        train(tmp_path, stop=4, validate=reading(values))
    # The last state is of step 8, the best of step 4.
    assert [path.name for path in (tmp_path / "last").iterdir()] == ["8"]
    assert [path.name for path in (tmp_path / "best").iterdir()] == ["4"]
    resumed = train(tmp_path, validate=reading(values[4:]))
    assert resumed.best == (4, 5.0)
    assert_same_run(resumed, whole)


def test_death_between_last_and_best_loses_nothing(tmp_path, monkeypatch):
    from jrank.training import _state

    def die(self, step, params):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(_state.Store, "save_best", die)
        with pytest.raises(Killed):
            train(tmp_path)
    assert not list((tmp_path / "best").iterdir())
    assert_same_run(train(tmp_path), train())


def test_a_best_from_beyond_the_last_state_is_replaced(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, stop=3)
    whole = train()
    best = whole.best.step
    # As if the process had died while an older last state was put back: the directory "best" is ahead of it.
    from jrank.training._state import Store

    kept = {p.name for p in (tmp_path / "best").iterdir()}
    assert kept
    store = Store(tmp_path, {})
    store.save_best(best, jax.tree.map(jnp.zeros_like, PARAMS))
    store.close()
    assert_same_run(train(tmp_path), whole)


def test_patience_counts_on(tmp_path):
    values = [1.0, 5.0, 2.0, 3.0, 4.0, 0.0]
    with pytest.raises(Killed):
        train(tmp_path, stop=3, validate=reading(values), patience=3)
    resumed = train(tmp_path, validate=reading(values[3:]), patience=3)
    assert len(resumed.history) == 10
    assert resumed.best == (4, 5.0)
    assert len(train(tmp_path, steps=40, stop=0, patience=3).history) == 10


def test_half_written_states_are_ignored(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, stop=2)
    # What a process leaves behind that dies while it writes: Orbax's temporary name, unfinished content.
    half = tmp_path / "last" / "6.orbax-checkpoint-tmp-1"
    half.mkdir()
    (half / "rubbish").write_text("half")
    assert_same_run(train(tmp_path), train())
    assert not half.exists()


def test_a_damaged_state_is_refused(tmp_path):
    with pytest.raises(Killed):
        train(tmp_path, stop=2)
    for path in (tmp_path / "last").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TrainError, match="cannot be read") as caught:
        train(tmp_path)
    assert caught.value.reason == "invalid_state"
    assert "remove" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"config": {"loss": "other"}},
        {"optimizer": optax.trace(0.9)},
        {"mode": "min"},
    ],
)
def test_a_state_of_another_configuration_is_refused(tmp_path, options):
    train(tmp_path, steps=2, config={"loss": "this"})
    with pytest.raises(TrainError, match="another run") as caught:
        train(tmp_path, **{"config": {"loss": "this"}, **options})
    assert caught.value.reason == "invalid_state"


def test_other_parameters_are_refused(tmp_path):
    train(tmp_path, steps=2)
    with pytest.raises(TrainError, match="parameters"):
        fit(
            {"w": jnp.ones(4)},
            lambda params, batch, key: jnp.sum(params["w"]),
            batches(),
            steps=2,
            resume=tmp_path,
            progress=False,
        )


def test_divergence_leaves_the_last_good_state(tmp_path):
    data = batches()
    bad = {"x": data[0]["x"] * np.nan, "y": data[0]["y"]}
    options = {"steps": 9, "learning_rate": 0.1, "resume": tmp_path, "save_every": 2, "progress": False}
    with pytest.raises(TrainError, match="step 6"):
        fit(PARAMS, noisy, lambda step: bad if step == 5 else data[0], **options)
    healed = fit(PARAMS, noisy, lambda step: data[0], **options)
    assert len(healed.history) == 9
    assert np.isfinite(healed.history.loss).all()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        train(tmp_path / "file" / "state")


def test_a_relative_directory_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("state", steps=2)
    assert sorted(path.name for path in pathlib.Path("state").iterdir()) == ["best", "last"]


def test_digests_tell_apart_what_differs():
    assert describe_tree(PARAMS) == describe_tree(jax.tree.map(jnp.zeros_like, PARAMS))
    assert describe_tree(PARAMS) != describe_tree({"w": jnp.ones(3)})
    x = np.arange(6.0)
    assert describe_data(x, None, "a") == describe_data(x.copy(), None, "a")
    assert len({describe_data(x), describe_data(x + 1), describe_data(x.reshape(2, 3)), describe_data("x")}) == 4
    assert describe_callable(noisy).endswith("noisy")
    assert describe_callable(functools.partial(noisy, key=3)).endswith("noisy(key=3)")
    assert describe_callable(np.float32(2.0)) == repr(np.float32(2.0))


def test_states_of_eight_devices_are_read_by_eight(tmp_path, mesh8):
    whole = train(mesh=mesh8)
    with pytest.raises(Killed):
        train(tmp_path, stop=3, mesh=mesh8)
    assert_same_run(train(tmp_path, mesh=mesh8), whole)
