"""The command line as people call it: exit codes, where words go, and what wrong calls say."""

import json
import subprocess
import sys

import pytest

from jrank.cli import main
from jrank.cli._main import COMMANDS


def test_no_command_prints_the_overview(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: jrank {command}")
    assert "--debug" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jrank 0.")


@pytest.mark.parametrize(
    "words", [["dmo"], ["doctor", "--colour"], ["demo", "--seed", "x"], ["demo", "--quick", "--full"]]
)
def test_wrong_usage_is_2_and_one_line_on_stderr(words, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: jrank")
    assert "Traceback" not in captured.err


def test_doctor_as_json(capsys):
    assert main(["doctor", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["jax"][0].isdigit()
    assert "cpu" in found["devices"]


def test_module_form_runs():
    done = subprocess.run([sys.executable, "-m", "jrank", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "jrank", "")


@pytest.mark.parametrize("words", ["doctor --format json", "evaluate --list"])
def test_a_closed_pipe_is_no_crash(words):
    program = f"{sys.executable} -m jrank {words} | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", program], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
