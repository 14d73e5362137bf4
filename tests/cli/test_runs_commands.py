"""`jrank evaluate | compare | fuse`: what they read and print, and that wrong input is one line and an exit code."""

import io
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

from jrank.cli import main
from jrank.evaluation import evaluate
from jrank.runs import GroupedQrels, Qrels, Run

ROOT = pathlib.Path(__file__).resolve().parents[2]
QRELS = Qrels({f"q{i}": {"d1": 1, "d2": 0, "d3": i % 3} for i in range(12)})
GOOD = Run({f"q{i}": {"d1": 3.0, "d3": 2.0, "d2": 1.0} for i in range(12)}, name="tag")
POOR = Run({f"q{i}": {"d2": 3.0, "d9": 2.0, "d1": 1.0 + (i % 2) * 1.5} for i in range(11)})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    QRELS.write("qrels.txt")
    GOOD.write("good.trec")
    POOR.write("poor.json.gz")
    return tmp_path


def call(capsys, *words, code=0):
    assert main([str(word) for word in words]) == code
    got = capsys.readouterr()
    assert "Traceback" not in got.err
    return got.out, got.err


def test_evaluate(folder, capsys):
    out, err = call(capsys, "evaluate", "qrels.txt", "poor.json.gz", "-m", "ndcg@10", "-m", "mrr")
    report = evaluate(QRELS, POOR, ["ndcg@10", "mrr"])
    assert [line.split() for line in out.splitlines()[2:4]] == [[m, f"{report[m]:.4f}"] for m in ("ndcg@10", "mrr")]
    assert out.splitlines()[-1] == "12 queries; 1 not in the run (value 0)"
    assert err == ""


def test_evaluate_for_programs(folder, capsys):
    out, err = call(capsys, "evaluate", "qrels.txt", "poor.json.gz", "-m", "mrr", "--format", "tsv", "--digits", "2")
    assert out.splitlines()[1].split("\t") == ["mrr", f"{evaluate(QRELS, POOR, 'mrr')['mrr']:.2f}"]
    assert "12 queries" in err
    out, _ = call(capsys, "evaluate", "qrels.txt", "good.trec", "--format", "json", "--queries", "intersection")
    found = json.loads(out)
    assert (found["name"], found["counts"]["queries"]) == ("tag", 12)
    assert set(found["metrics"]) == {"ndcg@10", "map", "mrr", "precision@10", "recall@100"}
    out, _ = call(capsys, "evaluate", "qrels.txt", "good.trec", "-m", "map", "--per-query", "--format", "tsv")
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["query", "map"]
    assert [row[0] for row in rows[1:]] == [*QRELS, "all"]
    assert "map" in call(capsys, "evaluate", "--list")[0].split()


def test_judgments_in_groups(folder, capsys):
    GroupedQrels({q: {"one": {"d1": 1}, "two": {"d3": 1, "d2": 1}} for q in QRELS}).write("groups.txt")
    out, _ = call(capsys, "evaluate", "groups.txt", "good.trec", "-m", "alpha-nDCG@2", "-m", "map", "--format", "tsv")
    assert out.splitlines()[1] == "alpha-nDCG@2\t1.0000"
    out, _ = call(capsys, "compare", "groups.txt", "good.trec", "poor.json.gz", "-m", "strec@1", "--format", "json")
    assert json.loads(out)["runs"]["good"]["metrics"]["strec@1"] == 0.5
    (folder / "prefs.txt").write_text("q1 ann 0 d1 2\nq1 ann 0 d2 1\n")
    out, _ = call(capsys, "evaluate", "prefs.txt", "poor.json.gz", "-m", "prefs_simp", "--format", "tsv")
    assert out.splitlines()[1] == "prefs_simp\t0.0000"


def test_compare(folder, capsys):
    words = ["compare", "qrels.txt", "good.trec", "old=poor.json.gz", "-m", "mrr", "--baseline", "old"]
    out, err = call(capsys, *words)
    assert out.splitlines()[2].split() == ["good", "1.0000+"]
    assert "old lacks 1 of the judged queries" in err
    out, _ = call(capsys, *words, "--contrasts", "--format", "markdown")
    assert "12/0/0" in out
    out, _ = call(capsys, *words, "--test", "randomization", "--correction", "none", "--format", "json")
    (contrast,) = json.loads(out)["contrasts"]
    # All twelve differences have one sign: two of 4096 flips are as extreme.
    assert contrast["p_value"] == contrast["corrected"] == 2 / 4096


def test_pictures(folder, capsys):
    call(capsys, "evaluate", "qrels.txt", "good.trec", "--plot", "one.png")
    call(capsys, "compare", "qrels.txt", "good.trec", "poor.json.gz", "--plot", "two.svg")
    assert (folder / "one.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "two.svg").read_text()
    err = call(capsys, "evaluate", "qrels.txt", "good.trec", "--plot", "one.doc", code=1)[1]
    assert err == "jrank evaluate: one.doc: a picture cannot end in .doc; name it .png, .svg or .pdf\n"


def test_fuse(folder, capsys):
    from jrank import fusion

    call(capsys, "fuse", "good.trec", "poor.json.gz", "-o", "fused.tsv", "--weights", "1,0.5", "--option", "k=10")
    want = fusion.fuse([GOOD, POOR], weights=[1, 0.5], k=10)
    assert Run.read("fused.tsv") == want
    out, err = call(
        capsys, "fuse", "good.trec", "poor.json.gz", "--method", "comb_sum", "--option", "norm=none", "--top-k", "2"
    )
    assert Run.parse(out) == fusion.fuse([GOOD, POOR], method="comb_sum", norm=None).top_k(2)
    assert err == "poor: 1 query of the others missing: documents get nothing from this run there\n"
    out, _ = call(capsys, "fuse", "good.trec", "poor.json.gz", "--preset", "qdrant", "--format", "json")
    assert Run.parse(out) == fusion.fuse([GOOD, POOR], preset="qdrant")
    assert "rrf  (presets: ranx" in call(capsys, "fuse", "--list")[0]


def test_fuse_learns_and_explains(folder, capsys):
    out, err = call(
        capsys, "fuse", "good.trec", "poor.json.gz", "--fit", "qrels.txt", "--method", "comb_sum", "--metric", "mrr",
        "--folds", "3", "-o", "best.trec",
    )  # fmt: skip
    assert "mrr 1.0000 on the judged queries, 1.0000 on held-out queries" in err
    assert evaluate(QRELS, Run.read("best.trec"), "mrr")["mrr"] == 1.0
    out, _ = call(capsys, "fuse", "good.trec", "poor.json.gz", "--explain", "q1", "--top-k", "1")
    assert out == "1. d1 0.03252 (good: rank 1, score 3 -> 0.01639; poor: rank 2, score 2.5 -> 0.01613)\n"
    out, _ = call(capsys, "fuse", "good.trec", "poor.json.gz", "--explain", "q1", "--format", "json")
    assert json.loads(out)[0]["sources"][1]["rank"] == 2


def test_a_pipe_from_one_to_the_other(folder, capsys, monkeypatch):
    out, _ = call(capsys, "fuse", "good.trec", "good2=good.trec")
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(out.encode())))
    assert "1.0000" in call(capsys, "evaluate", "qrels.txt", "-", "-m", "mrr")[0]
    monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(b"q Q0 d 1 nan x\n")))
    err = call(capsys, "evaluate", "qrels.txt", "-", code=1)[1]
    assert "stdin, line 1: the score is 'nan'" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["evaluate", "qrels.txt", "none.trec"], 1, "there is no file none.trec"),
        (["evaluate", "qrels.txt", "good.trec", "-m", "ndgc@10"], 1, "did you mean ndcg"),
        (["evaluate", "qrels.txt", "good.trec", "-m", "ndcg@0"], 1, "the cut-off is '0'"),
        (["evaluate", "qrels.txt", "good.trec", "--depth", "0"], 2, "must be at least 1"),
        (["evaluate", "qrels.txt"], 2, "required: run"),
        (["evaluate", "good.trec", "good.trec"], 1, "line 1: 6 columns, expected 4"),
        (["evaluate", "qrels.txt", "other.trec"], 1, "no query in common"),
        (["compare", "qrels.txt", "good.trec"], 1, "expected at least two"),
        (["compare", "qrels.txt", "good.trec", "good.trec"], 1, "two runs are called 'good'"),
        (["compare", "qrels.txt", "good.trec", "poor.json.gz", "--baseline", "x"], 1, "there is no run 'x'"),
        (["compare", "qrels.txt", "good.trec", "poor.json.gz", "--level", "2"], 1, "level is 2"),
        (["fuse", "good.trec", "poor.json.gz", "--method", "rff"], 1, "did you mean rrf"),
        (["fuse", "good.trec", "poor.json.gz", "--weights", "1"], 1, "for 2 runs"),
        (["fuse", "good.trec", "poor.json.gz", "--weights", "a,b"], 2, "numbers with commas"),
        (["fuse", "good.trec", "poor.json.gz", "--option", "k"], 2, "NAME=VALUE"),
        (["fuse", "good.trec", "poor.json.gz", "--option", "q=1"], 1, "has no option 'q'"),
        (["fuse", "good.trec", "poor.json.gz", "--explain", "zz"], 1, "no run holds the query 'zz'"),
        (["fuse", "good.trec", "poor.json.gz", "-o", "."], 1, "is a directory"),
    ],
)
def test_wrong_input_is_one_line(folder, capsys, words, code, message):
    Run({"other": {"d": 1.0}}).write("other.trec")
    out, err = call(capsys, *words, code=code)
    assert message in err
    assert out == ""
    assert code == 2 or len(err.splitlines()) == 1


def test_none_of_them_needs_jax(folder):
    code = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'flax'):\n"
        "    sys.modules[name] = None\n"
        "from jrank.cli import main\n"
        "assert main(['evaluate', 'qrels.txt', 'good.trec']) == 0\n"
        "assert main(['compare', 'qrels.txt', 'good.trec', 'poor.json.gz']) == 0\n"
        "assert main(['fuse', 'good.trec', 'poor.json.gz', '--fit', 'qrels.txt', '--folds', '2', '-o', 'f']) == 0\n"
        "open('c.txt', 'w').write('red fox\\nbrown dog\\n')\n"
        "assert main(['index', 'c.txt', 'index']) == 0\n"
        "assert main(['search', 'index', 'foxes', '--expand', 'rm3']) == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
