"""jrank train and jrank export on small files: what is written, what is said, and what wrong calls say."""

import argparse
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy
import tokenizers

from jrank.cli import main
from jrank.cli._train_texts import read_task, rerank_test
from jrank.models import CrossEncoder, MLPRanker
from jrank.retrieval import BM25Index
from jrank.runs import Run
from jrank.text import PairTokenizer

TOPICS = ["river", "engine", "poem", "violin", "glacier", "pepper", "comet", "harbour"]
OTHERS = ["old", "new", "long", "short", "red", "blue", "cold", "warm"]
RAW = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "initializer_range": 0.3,
}
FAST = ["--max-length", "16", "--batch-size", "4", "--learning-rate", "3e-3", "--negatives", "3"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Queries whose answer says "good", among documents that share all other words with the query."""
    place = tmp_path_factory.mktemp("beir")
    corpus, queries, judged = [], [], []
    for i, topic in enumerate(TOPICS):
        for j, other in enumerate(OTHERS):
            query = f"q{i}{j}"
            queries.append({"_id": query, "text": f"{other} {topic}"})
            for k, quality in enumerate(["good", "bad", "poor", "weak"]):
                corpus.append({"_id": f"{query}d{k}", "title": other, "text": f"{topic} {quality}"})
            judged.append((query, f"{query}d0", 1))
    np.random.default_rng(0).shuffle(corpus)
    (place / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (place / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (place / "qrels").mkdir()
    for split, rows in (("train", judged[:40]), ("dev", judged[40:52]), ("test", judged[52:])):
        lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in rows)]
        (place / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A tiny model that has seen nothing."""
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *TOPICS, *OTHERS, "good", "bad", "poor", "weak"]
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    place = tmp_path_factory.mktemp("model") / "start"
    tokenizer = PairTokenizer.from_bytes(inner.to_str())
    CrossEncoder.from_config({**RAW, "vocab_size": len(words)}, tokenizer, seed=0).save_pretrained(place)
    return place


def train(collection, start, out, *more):
    return main(["train", "cross-encoder", "--data", str(collection), "--model", str(start), "--out", str(out),
                 *FAST, *more])  # fmt: skip


@pytest.fixture(scope="module")
def trained(collection, start, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "model"
    assert train(collection, start, out, "--loss", "lambdarank", "--epochs", "12", "--evaluate", "4") == 0
    return out


def test_a_cross_encoder_learns_what_the_first_stage_cannot_see(trained):
    report = json.loads((trained / "training.json").read_text())
    assert report["evaluation"]["reranked"]["ndcg@10"] > 0.95
    assert report["evaluation"]["bm25"]["ndcg@10"] < 0.8
    # The first stage knows nothing here, and validation shows it.
    assert report["first stage in mix"] == 0.0
    assert report["evaluation"]["mixed"] == report["evaluation"]["reranked"]
    assert report["lists"] == 40
    assert report["steps"] == len(report["history"]["loss"]) == 120
    model = CrossEncoder.from_pretrained(trained)
    good, bad = model.score([("old river", "old river good"), ("old river", "old river bad")])
    assert good > bad


def test_the_report_as_json_and_a_directory_that_is_there(collection, start, tmp_path, capsys):
    out = tmp_path / "out"
    assert train(collection, start, out, "--max-steps", "2", "--format", "json", "--validation-queries", "0") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["steps"], report["best step"], report["options"]["loss"]) == (2, None, "softmax")
    assert "jrank export" in captured.err
    assert train(collection, start, out, "--max-steps", "2") == 1
    assert "is not empty; name a new directory, or pass --replace" in capsys.readouterr().err
    assert train(collection, start, out, "--max-steps", "2", "--replace", "--validation-queries", "0") == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [([], "interrupted\n"), (["--resume", "state"], "interrupted; the same command goes on from what state holds\n")],
)
def test_an_interruption_says_how_to_go_on(more, said, monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("jrank.cli._train.run", interrupt)
    assert main(["train", "cross-encoder", "--data", "data", "--out", "out", *more]) == 130
    assert capsys.readouterr().err == f"\njrank train: {said}"


def test_grades_are_classes(collection, start, tmp_path, capsys):
    graded = tmp_path / "graded"
    shutil.copytree(collection, graded)
    for path in (graded / "qrels").iterdir():
        head, *lines = path.read_text().splitlines()
        lines = [line[:-1] + "2" for line in lines] + [line[:-3] + "1\t1" for line in lines]  # "good" 2, "bad" 1
        path.write_text("\n".join([head, *lines]) + "\n")
    tokenizer, out = CrossEncoder.from_pretrained(start).tokenizer, tmp_path / "model"
    raw = {**RAW, "vocab_size": len(TOPICS) + len(OTHERS) + 8}
    start = tmp_path / "start"
    CrossEncoder.from_config(raw, tokenizer, num_labels=3, seed=0).save_pretrained(start)
    assert train(graded, start, out, "--num-labels", "3", "--epochs", "12", "--evaluate", "4") == 0
    report = json.loads((out / "training.json").read_text())
    assert report["evaluation"]["reranked"]["ndcg@10"] > 0.9 > report["evaluation"]["bm25"]["ndcg@10"]
    outputs = CrossEncoder.from_pretrained(out).score(
        [("old river", f"old river {w}") for w in ("poor", "bad", "good")]
    )
    assert outputs.shape == (3, 3)
    np.testing.assert_array_equal(outputs.argmax(axis=1), [0, 1, 2])
    capsys.readouterr()
    for more, said in (
        (["--num-labels", "2"], "has the grade 2, expected a whole number from 0 to 1"),
        (["--num-labels", "3", "--loss", "lambdarank"], "--loss does not go with --num-labels 3"),
        (["--num-labels", "3", "--loss", "softmax"], "--loss does not go with --num-labels 3"),
        (["--num-labels", "3", "--teacher", "run.trec"], "--teacher does not go with --num-labels 3"),
        (["--num-labels", "3", "--min-grade", "2"], "--min-grade does not go with --num-labels 3"),
    ):
        assert train(graded, start, tmp_path / "no", *more) == 1
        assert said in capsys.readouterr().err


def options(data, **more):
    """The options of the data, with their defaults."""
    defaults = {"data": str(data), "candidates": "bm25", "negatives": 3, "positives": 1, "depth": 50, "skip_top": 0}
    defaults |= {"min_grade": 1.0, "teacher": None, "validation_queries": 100, "validation_depth": 20}
    return argparse.Namespace(**{**defaults, "evaluate": None, "seed": 0, **more})


def test_candidates_come_from_an_index_or_a_run(collection, tmp_path):
    task = read_task(options(collection))
    texts, ids = task.collection.documents, task.collection.doc_ids
    BM25Index.build(texts, ids=ids).save(tmp_path / "index")
    assert read_task(options(collection, candidates=str(tmp_path / "index"))).train == task.train
    task.candidates.write(tmp_path / "found.trec")
    assert read_task(options(collection, candidates=str(tmp_path / "found.trec"))).train == task.train
    _, documents, labels = task.train[0]
    assert labels == [1.0, 0.0, 0.0, 0.0]
    assert documents[0].endswith("good")
    assert len(task.validation) == 12
    assert all(max(labels) == 1 for _, _, labels in task.validation)


def test_without_a_validation_file_some_training_queries_are_held_out(collection, tmp_path):
    other = tmp_path / "beir"
    (other / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        (other / name).write_bytes((collection / name).read_bytes())
    task = read_task(options(other))
    assert len(task.train) + len(task.validation) == 40
    assert 1 <= len(task.validation) <= 10
    assert not {query for query, _, _ in task.train} & {query for query, _, _ in task.validation}
    assert len(read_task(options(other, validation_queries=0)).train) == 40


def test_the_mix_is_the_best_on_the_validation_queries(collection):
    task = read_task(options(collection, evaluate=4))
    first = {query: {doc: float(doc == f"{query}d0") for doc in row} for query, row in task.candidates.items()}
    # The first stage is always right, the second by chance: the mix is the first stage.
    task = dataclasses.replace(task, candidates=Run(first, name="knows"))
    rows, share = rerank_test(task, lambda pairs: np.random.default_rng(0).normal(size=len(pairs)), 4)
    assert share > 0.5
    assert rows["mixed"]["ndcg@10"] == rows["knows"]["ndcg@10"] == 1.0 > rows["reranked"]["ndcg@10"]
    rows, share = rerank_test(dataclasses.replace(task, held_out=[]), lambda pairs: np.zeros(len(pairs)), 4)
    assert share is None
    assert list(rows) == ["knows", "reranked"]


def test_a_teacher_gives_the_labels(collection, tmp_path):
    scores = {f"q0{j}": {f"q0{j}d0": 2.5, f"q0{j}d1": -1.0} for j in range(8)}
    Run(scores).write(tmp_path / "teacher.trec")
    lists = read_task(options(collection, teacher=str(tmp_path / "teacher.trec"))).train
    assert lists
    assert all(labels == [2.5, -1.0] for _, _, labels in lists)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--loss", "softmx"], "there is no loss 'softmx'; did you mean softmax"),
        (["--candidates", "nope.trec"], "nope.trec"),
        (["--max-length", "1000"], "the model takes 32 tokens"),
        (["--data", "no/such"], "there is no directory no/such"),
        (["--model", "no/such/model"], "was not found"),
        (["--list-size", "0"], "must be at least 1"),
        (["--min-grade", "9"], "no training query"),
    ],
)
def test_wrong_options(collection, start, tmp_path, capsys, words, message):
    assert train(collection, start, tmp_path / "out", *words) in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_a_cross_encoder_is_exported_with_its_quality(trained, collection, tmp_path, capsys):
    pytest.importorskip("jax2onnx")
    words = ["export", str(trained), str(tmp_path / "b"), "--quantize", "int8-weights", "--max-length", "16"]
    assert main([*words, "--data", str(collection), "--queries", "5", "--depth", "4", "--format", "json"]) == 0
    quality = json.loads(capsys.readouterr().out)["quality"]
    assert quality["pairs"] == 20
    assert quality["ndcg"] > 0.9
    assert abs(quality["ndcg_change"]) < 0.1
    assert "NDCG@10" in (tmp_path / "b" / "README.md").read_text()
    (tmp_path / "documents.txt").write_text("old river bad\nold river good\n")
    words = ["rerank", "--model", str(tmp_path / "b"), "--format", "json", "old river"]
    assert main([*words, str(tmp_path / "documents.txt")]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ["2", "1"]


@pytest.fixture(scope="module")
def letor(tmp_path_factory):
    """Lists in which the items with the two largest first features are relevant; one file names fewer features."""
    place = tmp_path_factory.mktemp("letor")
    rng = np.random.default_rng(1)
    for name, queries, width in (("train.txt", 40, 4), ("vali.txt", 12, 3), ("test.txt", 12, 4)):
        rows = []
        for query in range(queries):
            items = rng.normal(size=(6, width))
            for x in items:
                features = " ".join(f"{i}:{value:.4f}" for i, value in enumerate(x, 1))
                rows.append(f"{int(x[0] >= np.sort(items[:, 0])[-2])} qid:{query} {features}\n")
        (place / name).write_text("".join(rows))
    return place


def test_a_ranker_is_trained_and_exported(letor, tmp_path, capsys):
    files = [word for name in ("data", "validation", "test") for word in (f"--{name}", str(letor / FILES[name]))]
    out = tmp_path / "ranker"
    assert main(["train", "ranker", *files, "--out", str(out), "--learning-rate", "0.05", "--epochs", "30"]) == 0
    assert "ndcg@10" in capsys.readouterr().out
    report = json.loads((out / "training.json").read_text())
    # A random order has 0.68. The first perfect validation is kept, so a little is left to learn.
    assert report["evaluation"]["test"]["ndcg@10"] > 0.9
    model = MLPRanker.load(out)
    assert model.config.features == 4
    pytest.importorskip("jax2onnx")
    assert main(["export", str(out), str(tmp_path / "b")]) == 0
    import onnxruntime

    x = np.random.default_rng(2).normal(size=(2, 5, 4)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "b" / "model.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"features": x})[0], model(x), atol=1e-5)


FILES = {"data": "train.txt", "validation": "vali.txt", "test": "test.txt"}


def test_what_is_no_model_is_not_exported(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    assert main(["export", str(tmp_path), str(tmp_path / "b")]) == 1
    assert "the model family 't5' is unknown" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "nope"), str(tmp_path / "b")]) == 1
    assert "was not found" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_training_continues_bit_for_bit(collection, start, tmp_path):
    words = [sys.executable, "-m", "jrank", "train", "cross-encoder", "--data", str(collection), "--model", str(start)]
    words += [*FAST, "--epochs", "40", "--validate-every", "20"]
    subprocess.run([*words, "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    cut = [*words, "--out", str(tmp_path / "cut"), "--resume", str(tmp_path / "state")]
    process = subprocess.Popen(cut, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "state" / "last").glob("[0-9]*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "cut").exists()
    subprocess.run(cut, check=True, capture_output=True)
    whole, cut = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    assert safetensors.numpy.load(whole)
