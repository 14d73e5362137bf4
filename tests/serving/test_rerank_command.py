"""`jrank rerank`: what it reads, what it prints, and that it needs no jax."""

import argparse
import io
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

from jrank.cli import _rerank
from jrank.errors import DataError, ServeError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, model_bytes, tokenizer_bytes):
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "model.onnx").write_bytes(model_bytes)
    (folder / "tokenizer.json").write_bytes(tokenizer_bytes)
    return folder


def call(*words):
    parser = argparse.ArgumentParser()
    _rerank.add_arguments(parser)
    return _rerank.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "docs.txt"
    path.write_text("bad\n\ngood jax\njax\n")
    return path


def test_a_table(bundle, lines, capsys):
    assert call("--model", bundle, "what is", lines) == 0
    out = capsys.readouterr().out.splitlines()
    assert [row.split() for row in out] == [
        ["rank", "score", "id", "text"],
        ["1", "73", "3", "good", "jax"],
        ["2", "33", "4", "jax"],
        ["3", "-37", "1", "bad"],
    ]


def test_long_texts_are_shortened_in_the_table_only(bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    (tmp_path / "d").write_text("jax " * 100 + "\n")
    call("--model", bundle, "what", tmp_path / "d")
    assert all(len(row) <= 60 for row in capsys.readouterr().out.splitlines())
    call("--model", bundle, "what", tmp_path / "d", "--format", "tsv")
    assert capsys.readouterr().out == "1\t1\t841\t" + " ".join(["jax"] * 100) + "\n"


def test_json_lines(bundle, tmp_path, capsys):
    rows = [
        {"_id": "d1", "title": "good", "text": "jax"},
        {"id": 7, "title": "", "text": "tab\there jax\nb"},
        {"text": "bad", "metadata": {}},
    ]
    (tmp_path / "docs.jsonl").write_text("\ufeff" + "\n".join(json.dumps(row) for row in rows))
    assert call("--model", bundle, "what", tmp_path / "docs.jsonl", "--format", "json", "--top-k", "2") == 0
    got = json.loads(capsys.readouterr().out)
    assert got == [
        {"rank": 1, "id": "7", "index": 1, "score": 91.0, "text": "tab\there jax\nb"},
        {"rank": 2, "id": "d1", "index": 0, "score": 71.0, "text": "good jax"},
    ]
    call("--model", bundle, "what", tmp_path / "docs.jsonl", "--format", "tsv")
    assert capsys.readouterr().out.splitlines()[0] == "1\t7\t91\ttab here jax b"


def test_options(bundle, lines, capsys):
    call("--model", bundle, "what is", lines, "--activation", "sigmoid", "--format", "tsv", "--threads", "1")
    assert capsys.readouterr().out.splitlines()[0].split("\t")[:3] == ["1", "3", "1"]
    call("--model", bundle, "what is", lines, lines, "--format", "tsv", "--truncation", "windows")
    assert len(capsys.readouterr().out.splitlines()) == 6
    with pytest.raises(ServeError, match="tokens, more than"):
        call("--model", bundle, "what is", lines, "--truncation", "error", "--max-length", "6")


def test_standard_input(bundle, capsys, monkeypatch):
    for data in ("jax\nbad\n", '{"text": "jax"}\n{"text": "bad"}'):
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(data.encode())))
        call("--model", bundle, "what", "--format", "tsv")
        assert capsys.readouterr().out == "1\t1\t31\tjax\n2\t2\t-39\tbad\n"
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(b"\xff")))
    with pytest.raises(DataError, match="stdin, line 1: byte 0 is not UTF-8"):
        call("--model", bundle, "what", "-")


def test_nothing_to_rank(bundle, tmp_path, capsys):
    (tmp_path / "empty").write_text("\n\n")
    assert call("--model", bundle, "what", tmp_path / "empty", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert call("--model", bundle, "what", tmp_path / "empty", "--format", "tsv") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('{"text": "a"}\n{', "auto", "line 2: not JSON: .*; --input lines reads plain text"),
        ('{"text": 3}', "auto", 'line 1: there is no text in "text"'),
        ("[1]", "jsonl", "there is no text"),
        ("plain", "jsonl", "not JSON"),
    ],
)
def test_bad_lines_are_named(bundle, tmp_path, text, kind, message):
    (tmp_path / "d").write_text(text)
    with pytest.raises(DataError, match=message):
        call("--model", bundle, "what", tmp_path / "d", "--input", kind)


def test_what_is_missing(bundle, lines, tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        call("--model", bundle, "what", tmp_path / "nope")
    with pytest.raises(ServeError, match="there is no model at"):
        call("--model", tmp_path / "nope", "what", lines)


@pytest.mark.parametrize("words", [["--top-k", "0"], ["--top-k", "x"], ["--format", "xml"], ["--threads", "-1"]])
def test_wrong_usage(bundle, lines, words):
    with pytest.raises(SystemExit) as caught:
        call("--model", bundle, "what", lines, *words)
    assert caught.value.code == 2


def test_it_needs_no_jax(bundle, lines):
    code = (
        "import sys, argparse\n"
        "for name in ('jax', 'jaxlib', 'flax', 'onnx', 'jax2onnx', 'scipy', 'jaxtyping', 'tqdm'):\n"
        "    sys.modules[name] = None\n"
        "from jrank.cli import _rerank\n"
        "parser = argparse.ArgumentParser()\n"
        "_rerank.add_arguments(parser)\n"
        "sys.exit(_rerank.run(parser.parse_args(sys.argv[1:])))\n"
    )
    words = ["--model", str(bundle), "what is", str(lines), "--format", "tsv"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "1\t3\t73\tgood jax"
