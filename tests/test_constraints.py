"""constraints.txt pins versions and names no address."""

import pathlib
import re
import subprocess
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LINE = re.compile(r'^[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.+!]*( ; python_full_version (<|>=) "3\.\d+")?$')
FILES = ["constraints.txt", "constraints-serving.txt"]


def names(lines):
    return {re.split(r"[=<>!~\[ ;]", line)[0].lower().replace("_", "-") for line in lines}


@pytest.mark.parametrize("name", FILES)
def test_every_line_is_a_name_and_a_version(name):
    lines = (ROOT / name).read_text().splitlines()
    assert lines
    assert lines == sorted(lines), "sorted, so that a change is easy to read"
    for line in lines:
        assert LINE.match(line), f"{name}: {line!r} is not of the form name==version"


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = names(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted |= names(extra)
    pinned = names((ROOT / "constraints.txt").read_text().splitlines())
    assert wanted - {"jrank"} <= pinned


def test_serving_versions_are_those_of_the_whole():
    whole = set((ROOT / "constraints.txt").read_text().splitlines())
    assert set((ROOT / "constraints-serving.txt").read_text().splitlines()) <= whole


def test_no_lock_file_is_tracked():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert not {"uv.lock", "pylock.toml", "poetry.lock"} & set(tracked.stdout.split())
