"""The face of jrank: lazy names, the stub that type checkers read, and documentation of every public name."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import jrank

ROOT = pathlib.Path(__file__).resolve().parents[1]
STUB = ROOT / "jrank" / "__init__.pyi"
PACKAGES = [name for name in jrank._PACKAGES if name != "cli"]


def public_objects():
    """Every public function and class, once, by the place where users find it."""
    seen = {}
    for package in [*PACKAGES, "losses.unbiased", "errors", "types", "files", "arrays", "sharding"]:
        module = importlib.import_module(f"jrank.{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and (getattr(value, "__module__", "") or "").startswith("jrank"):
                seen.setdefault(id(value), (f"jrank.{package}.{name}", value))
    return list(seen.values())


OBJECTS = public_objects()


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_import_is_lazy():
    heavy = ["jax", "flax", "onnxruntime", "matplotlib", "numpy", "scipy", "tokenizers", "optax", "tqdm"]
    done = run(f"import sys, jrank; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_array_functions_do_not_load_models_or_plots():
    heavy = ["flax", "optax", "onnxruntime", "matplotlib", "tokenizers", "scipy.stats", "orbax"]
    done = run(
        "import sys, jrank\n"
        "jrank.soft, jrank.losses, jrank.metrics, jrank.transforms, jrank.maxsim, jrank.softmax_loss\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("name", jrank.__all__)
def test_every_name_is_the_same_at_the_second_reading(name):
    first = getattr(jrank, name)
    assert getattr(jrank, name) is first
    if name in jrank._NAMES:
        assert first is getattr(importlib.import_module(jrank._NAMES[name]), name)
        assert name in importlib.import_module(jrank._NAMES[name]).__all__


def test_no_lazy_name_equals_the_name_of_a_file():
    files = {module.name for module in pkgutil.iter_modules(jrank.__path__)}
    assert not files & set(jrank._NAMES)


def test_unknown_names_raise():
    with pytest.raises(AttributeError, match="has no attribute 'softmax_los'; did you mean softmax_loss"):
        _ = jrank.softmax_los


def test_the_stub_lists_what_there_is():
    tree = ast.parse(STUB.read_text())
    listed = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, f"the stub re-exports {alias.name} as itself"
                listed[alias.name] = node.module
    assert {name for name, module in listed.items() if module == "jrank"} == set(jrank._PACKAGES)
    assert {name: module for name, module in listed.items() if module != "jrank"} == jrank._NAMES
    assert any(isinstance(node, ast.AnnAssign) and node.target.id == "__version__" for node in tree.body)


def test_nothing_is_defined_in_two_places():
    """Two functions of one name in two rooms would be two homes for one idea."""
    # One word for the class that trains and the class that serves, and two verbs whose objects the room tells.
    known = {"CrossEncoder", "MultiVectorEncoder", "fit", "refine"}
    places = {}
    for path, value in OBJECTS:
        if inspect.isfunction(value) or inspect.isclass(value):
            places.setdefault(path.rsplit(".", 1)[-1], []).append(path)
    twice = {name: found for name, found in places.items() if len(found) > 1 and name not in known}
    assert not twice


@pytest.mark.parametrize(("path", "value"), OBJECTS, ids=[path for path, _ in OBJECTS])
def test_every_public_name_is_documented(path, value):
    text = inspect.getdoc(value)
    assert text, f"{path} has no docstring"
    assert len(text.splitlines()[0]) > 15, f"{path}: the first line says too little: {text.splitlines()[0]!r}"
    if inspect.isclass(value):
        for name, member in vars(value).items():
            if name.startswith("_") or not (inspect.isfunction(member) or isinstance(member, (classmethod, property))):
                continue
            assert inspect.getdoc(getattr(value, name)), f"{path}.{name} has no docstring"
        return
    signature = inspect.signature(value)
    for parameter in signature.parameters.values():
        name = parameter.name
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        assert re.search(rf"^\s*\**{name}\b.*:", text, re.M) or re.search(rf"\b{name}\b", text), (
            f"{path}: the argument {name} is not described"
        )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_it_holds(package):
    module = importlib.import_module(f"jrank.{package}")
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
