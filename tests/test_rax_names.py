"""Every public name of Rax, with its arguments and defaults, against the table in tests/golden/rax.json."""

import importlib
import inspect
import json
import pathlib

import jax.numpy as jnp
import pytest

import jrank as rax

TABLE = json.loads((pathlib.Path(__file__).parent / "golden" / "rax.json").read_text())

# The only defaults that differ: functions that do the same under another name.
SAME = {"<lambda>": {"_identity", "identity", "identity_labels", "<lambda>", "None"}}


def find(path):
    value = rax
    for part in path.split("."):
        value = getattr(value, part)
    return value


def name_of(default):
    return (
        default if default is None or isinstance(default, (bool, int, float, str)) else {"function": default.__name__}
    )


@pytest.mark.parametrize("path", TABLE["functions"])
def test_arguments_and_defaults(path):
    ours = inspect.signature(find(path)).parameters
    theirs = TABLE["functions"][path]
    positional = [row["name"] for row in theirs if row["kind"] == "positional_or_keyword"]
    assert list(ours)[: len(positional)] == positional
    for row in theirs:
        if row["kind"] == "var_keyword":
            continue
        assert row["name"] in ours, f"{path} lacks the argument {row['name']}"
        parameter = ours[row["name"]]
        allowed = {row["kind"]} | ({"positional_or_keyword"} if row["kind"] == "keyword_only" else set())
        assert parameter.kind.name.lower() in allowed, f"{path}: {row['name']} is {parameter.kind.name.lower()}"
        if "default" not in row:
            assert parameter.default is parameter.empty
            continue
        got, want = name_of(parameter.default), row["default"]
        if isinstance(want, dict) and want["function"] in SAME:
            assert str(got["function"] if isinstance(got, dict) else got) in SAME[want["function"]]
        else:
            assert got == want, f"{path}: {row['name']} is {got} by default, in Rax {want}"


@pytest.mark.parametrize("path", TABLE["protocols"])
def test_protocols(path):
    ours = inspect.signature(find(path).__call__).parameters
    # A reduction of ours is called without an axis, and more keywords are allowed by any function.
    assert set(TABLE["protocols"][path]) - {"kwargs", "axis"} <= set(ours)


def test_checks():
    """What Rax refuses is refused, by children of the same error."""
    scores = jnp.array([1.0, 2.0])
    for tau in (0.0, 1.5):
        with pytest.raises(ValueError, match="tau"):
            rax.pairwise_qr_loss(scores, scores, tau=tau)


def test_modules():
    for name in ("utils", "types"):
        assert importlib.import_module(f"jrank.{name}") is getattr(rax, name)


def test_the_page_on_migration():
    page = (pathlib.Path(__file__).parents[1] / "docs" / "migrating-from-rax.md").read_text()
    space = {}
    for block in page.split("```python\n")[1:]:
        exec(block.split("```")[0], space)
    # What rax 0.4.0 computes.
    old = space["loss"](lambdaweight_fn=space["padded_dcg_lambdaweight"])
    assert float(old) == pytest.approx(6.643264, rel=1e-6)
    scores = space["scores"]
    assert float(rax.listmle_loss(scores, 0 * scores + 1)) == pytest.approx(5.161057, rel=1e-6)
    assert float(rax.poly1_softmax_loss(scores, 0 * scores + 1e-30)) == pytest.approx(0.75, rel=1e-6)
