"""`jrank index` and `jrank search`: from files to a run."""

import io
import json
import types

import pytest

from jrank.cli import main
from jrank.retrieval import BM25Index, DenseIndex, load_index
from jrank.runs import Run

DOCUMENTS = {"a": "the red fox", "b": "a brown dog", "c": "red foxes and dogs"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"_id": key, "title": "", "text": text} for key, text in DOCUMENTS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "queries.tsv").write_text("q1\tfoxes\nq2\tbrown\nq3\tzebra\n")
    return tmp_path


def call(capsys, *words, code=0):
    assert main(list(words)) == code
    got = capsys.readouterr()
    assert "Traceback" not in got.err
    return got.out, got.err


def test_from_files_to_a_run(folder, capsys):
    out, err = call(capsys, "index", "corpus.jsonl", "index", "--variant", "bm25+", "--k1", "1.1", "--b", "0.5")
    assert (out, err) == ("", "index: BM25Index(3 documents, 4 terms)\n")
    index = load_index("index")
    assert (index.variant, index.k1, index.b) == ("bm25+", 1.1, 0.5)
    call(capsys, "search", "index", "--queries", "queries.tsv", "-o", "run.trec")
    want = BM25Index.build(DOCUMENTS.values(), ids=list(DOCUMENTS), variant="bm25+", k1=1.1, b=0.5)
    run = want.search(["foxes", "brown", "zebra"], 10).to_run(["q1", "q2", "q3"])
    assert Run.read("run.trec") == Run({q: run[q] for q in ("q1", "q2")})
    assert call(capsys, "search", "index", "--queries", "queries.tsv")[0] == (folder / "run.trec").read_text()


def test_questions_give_a_table(folder, capsys):
    call(capsys, "index", "corpus.jsonl", "index")
    out, _ = call(capsys, "search", "index", "fox", "--corpus", "corpus.jsonl", "-k", "2")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["rank", "score", "id", "text"]
    assert [line[2:] for line in lines[1:]] == [["a", "the", "red", "fox"], ["c", "red", "foxes", "and", "dogs"]]
    out, _ = call(capsys, "search", "index", "zebra", "dog")
    assert out.splitlines()[:2] == ["zebra", "nothing found"]
    out, _ = call(capsys, "search", "index", "brown dogs", "--format", "json", "--corpus", "corpus.jsonl")
    (found,) = json.loads(out)
    assert [hit["id"] for hit in found["hits"]] == ["b", "c"]
    assert found["hits"][0]["text"] == "a brown dog"
    out, _ = call(capsys, "search", "index", "brown", "--format", "tsv")
    assert out.split("\t")[:3] == ["1", "b", "1"]


def test_a_corpus_changes(folder, capsys):
    (folder / "new.tsv").write_text("a\tthe white horse\nd\ta red horse\n")
    call(capsys, "index", "corpus.jsonl", "index")
    err = call(capsys, "index", "new.tsv", "index", code=1)[1]
    assert "an index stands at index already; --add adds to it" in err
    assert "the id 'a' comes twice" in call(capsys, "index", "new.tsv", "index", "--add", code=1)[1]
    assert load_index("index").ids == ["a", "b", "c"]
    call(capsys, "index", "new.tsv", "index", "--update")
    assert load_index("index").ids == ["b", "c", "a", "d"]
    assert load_index("index").search("fox", 5).ids.tolist()[0][:2] == ["c", None]
    call(capsys, "index", "corpus.jsonl", "index", "--replace", "--kind", "tfidf", "--language", "none")
    assert type(load_index("index")).__name__ == "TfidfIndex"
    assert load_index("index").analyzer.language is None


def test_words(folder, capsys):
    (folder / "stop.txt").write_text("# colours\nred\nbrown\n")
    call(capsys, "index", "corpus.jsonl", "index", "--stop-words", "stop.txt", "--ngrams", "2", "--kind", "likelihood")
    assert "red" not in load_index("index").vocabulary
    assert "fox and" in load_index("index").vocabulary
    call(capsys, "index", "corpus.jsonl", "plain", "--stop-words", "none")
    assert "the" in load_index("plain").vocabulary


def test_several_indexes_are_fused(folder, capsys):
    call(capsys, "index", "corpus.jsonl", "one")
    call(capsys, "index", "corpus.jsonl", "two", "--kind", "tfidf")
    out, _ = call(capsys, "search", "one", "brown dog", "--with", "two", "--format", "tsv")
    assert [line.split("\t")[1] for line in out.splitlines()] == ["b", "c"]
    assert float(out.split("\t")[3].split("\n")[0]) == pytest.approx(2 / 61, rel=1e-5)


def test_standard_input(folder, capsys, monkeypatch):
    def feed(text):
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=io.BytesIO(text.encode())))

    feed("red fox\n\nbrown dog\n")
    call(capsys, "index", "-", "index")
    assert load_index("index").ids == ["1", "3"]
    feed("dogs\n")
    assert call(capsys, "search", "index", "--queries", "-")[0].split()[:3] == ["1", "Q0", "3"]


def test_vectors(folder, capsys, monkeypatch):
    import numpy as np

    from jrank import models

    class Encoder:
        config = types.SimpleNamespace(hidden_size=26)

        @classmethod
        def from_pretrained(cls, name="default"):
            return cls()

        def encode(self, texts):
            return np.array([[text.count(chr(97 + i)) for i in range(26)] for text in texts], np.float32)

    monkeypatch.setattr(models, "TextEncoder", Encoder)
    call(capsys, "index", "corpus.jsonl", "vectors", "--kind", "dense")
    assert isinstance(load_index("vectors"), DenseIndex)
    out, _ = call(capsys, "search", "vectors", "brown dog", "--format", "tsv", "-k", "1")
    assert out.split("\t")[1] == "b"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["index", "none.jsonl", "out"], 1, "there is no file none.jsonl"),
        (["index", ".", "out"], 1, "corpus.jsonl.bad"),
        (["index", "empty.txt", "out"], 1, "empty.txt holds no document"),
        (["index", "twice.jsonl", "out"], 1, "twice.jsonl, line 3: the id 'a' comes a second time, first on line 1"),
        (["index", "bad.jsonl", "out"], 1, 'bad.jsonl, line 2: there is no text in "text"'),
        (["index", "queries.tsv", "out", "--language", "klingon"], 1, "no stemmer for the language 'klingon'"),
        (["index", "queries.tsv", "out", "--variant", "bm26"], 1, "variant 'bm26' is unknown; choose one of"),
        (["index", "queries.tsv", "out", "--b", "2"], 1, "b must be a number from 0 to 1"),
        (
            ["index", "queries.tsv", "out", "--kind", "tfidf", "--b", "0.5"],
            1,
            "--b belongs to a new index of kind bm25",
        ),
        (["index", "queries.tsv", "out", "--add"], 1, "there is no index at out"),
        (["index", "queries.tsv", ".", "--replace"], 1, "holds something other than an index"),
        (["index", "corpus.jsonl", "out", "--input", "tsv"], 1, "line 1: expected an id, a tab and a text"),
        (["search", "none", "x"], 1, "there is no index at none"),
        (["search", "none"], 2, "give questions, or --queries FILE"),
        (["search", "none", "x", "--queries", "queries.tsv"], 2, "not both"),
        (["search", "none", "x", "-k", "0"], 2, "must be at least 1"),
        (["search", "none", "x", "-o", "r", "--format", "json"], 2, "--out writes a run"),
    ],
)
def test_wrong_input_is_one_line(folder, capsys, words, code, message):
    (folder / "empty.txt").write_text("\n\n")
    (folder / "twice.jsonl").write_text('{"_id": "a", "text": "x"}\n\n{"_id": "a", "text": "y"}\n')
    (folder / "bad.jsonl").write_text('{"_id": "a", "text": "x"}\n{"_id": "b"}\n')
    if words[1] == ".":
        (folder / "corpus.jsonl").rename(folder / "corpus.jsonl.bad")
        message = "there is no file corpus.jsonl"
    out, err = call(capsys, *words, code=code)
    assert message in err
    assert out == ""
    assert not (folder / "out").exists()
