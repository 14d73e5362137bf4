"""Indexes on disk: the same after loading, whole or not at all, and every damage is found."""

import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import tokenizers

from jrank.errors import DataError, RetrieveError
from jrank.retrieval import BM25Index, DenseIndex
from jrank.retrieval._store import read_index, strings_from_arrays, strings_to_arrays, write_index
from jrank.text import Analyzer, TokenizerAnalyzer

TEXTS = ["The red fox runs", "Dogs sleep in Zürich", "", "foxes and dogs \ud800x"]
QUERIES = ["running foxes", "dog", "zürich", "nothing"]
VECTORS = np.array([[1.0, 0.0, 2.0], [0.5, -1.0, 0.0], [0.0, 0.0, 0.0], [3.0, 1.0, 1.0]], np.float32)


def lexical(**params):
    return BM25Index.build(TEXTS, ids=["a", "b", "c", "ü"], **params)


def same(index, other, queries):
    assert index.ids == other.ids
    np.testing.assert_array_equal(index.scores(queries), other.scores(queries))
    assert index.search(queries, k=5).ids.tolist() == other.search(queries, k=5).ids.tolist()


def test_a_loaded_index_is_the_saved_one(tmp_path):
    index = lexical(analyzer=Analyzer(stop_words={"in"}), variant="bm25+", k1=1.1, b=0.4)
    index.delete(["c"])
    index.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    same(loaded, index, QUERIES)
    assert (loaded.analyzer, loaded.variant, loaded.k1, loaded.b, loaded.delta) == (
        index.analyzer, "bm25+", 1.1, 0.4, 1.0,
    )  # fmt: skip
    # Postings are mapped into memory, not read.
    assert isinstance(loaded._ready().postings.documents.base, np.memmap)
    assert not loaded._ready().postings.documents.flags.writeable
    for each in (index, loaded):
        each.add(["a new fox"], ids=["n"])
        each.delete(["a"])
    same(loaded, index, QUERIES)


def test_saving_over_an_index_and_loading_from_it(tmp_path):
    index = lexical()
    index.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    loaded.add(["red red"], ids=["z"])
    loaded.save(tmp_path / "index")
    same(BM25Index.load(tmp_path / "index"), loaded, QUERIES)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_empty_indexes_can_be_saved(tmp_path):
    for index, queries in ((BM25Index.build([]), QUERIES), (DenseIndex.build(np.zeros((0, 3))), VECTORS)):
        index.save(tmp_path / "index")
        same(type(index).load(tmp_path / "index"), index, queries)


def test_counted_ids_go_on_after_loading(tmp_path):
    index = BM25Index.build(TEXTS)
    index.delete([3])
    index.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    loaded.add(["fox"])
    assert loaded.ids == [0, 1, 2, 4]


def test_functions_are_not_stored(tmp_path):
    index = BM25Index.build(TEXTS, analyzer=str.split)
    index.save(tmp_path / "index")
    with pytest.raises(RetrieveError, match="analyzer of one's own, which is not stored; pass it as analyzer="):
        BM25Index.load(tmp_path / "index")
    same(BM25Index.load(tmp_path / "index", analyzer=str.split), index, ["The red", "dogs"])


def test_a_tokenizer_is_stored(tmp_path):
    inner = tokenizers.Tokenizer(tokenizers.models.WordPiece({"[UNK]": 0, "fox": 1, "##es": 2, "dog": 3}))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    index = BM25Index.build(["foxes fox", "dog"], analyzer=TokenizerAnalyzer(inner))
    index.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    assert loaded.vocabulary == ["fox", "##es", "dog"]
    same(loaded, index, ["foxes", "dog", "cat"])
    loaded.add(["dog dog"])
    loaded.save(tmp_path / "index")
    same(BM25Index.load(tmp_path / "index"), loaded, ["foxes", "dog"])
    content = np.frombuffer(b"{}", np.uint8)
    np.save(tmp_path / "index" / "tokenizer.npy", content)
    manifest = json.loads((tmp_path / "index" / "manifest.json").read_text())
    manifest["arrays"]["tokenizer"]["shape"] = [2]
    (tmp_path / "index" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RetrieveError, match="is damaged: the text given is no tokenizer"):
        BM25Index.load(tmp_path / "index")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_a_loaded_dense_index_is_the_saved_one(tmp_path, metric, dtype):
    index = DenseIndex.build(VECTORS, ids=[5, 6, 7, 8], metric=metric, dtype=dtype)
    index.save(tmp_path / "index")
    loaded = DenseIndex.load(tmp_path / "index")
    assert (loaded.metric, loaded.dtype, loaded.dimension) == (metric, dtype, 3)
    same(loaded, index, VECTORS)
    for each in (index, loaded):
        each.add(VECTORS[:2])
        each.delete([6])
    same(loaded, index, VECTORS)


def invalid(call, message):
    with pytest.raises(RetrieveError, match=message) as caught:
        call()
    assert caught.value.reason is RetrieveError.Reason.INVALID_INDEX_FILE


def test_there_must_be_an_index_of_that_kind(tmp_path):
    invalid(lambda: BM25Index.load(tmp_path / "none"), "there is no index at .*none; check the path")
    lexical().save(tmp_path / "index")
    invalid(lambda: DenseIndex.load(tmp_path / "index"), "holds an index of kind 'bm25', expected 'dense'")


def test_other_directories_are_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="holds something other than an index"):
        lexical().save(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        lexical().save(tmp_path / "file")


def test_an_interrupted_save_leaves_the_old_index(tmp_path, monkeypatch):
    index = lexical()
    index.save(tmp_path / "index")
    index.add(["more"], ids=["m"])
    calls = []

    def failing(path, array, **options):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        with path.open("wb") as file:
            np.lib.format.write_array(file, array)

    monkeypatch.setattr(np, "save", failing)
    with pytest.raises(KeyboardInterrupt):
        index.save(tmp_path / "index")
    same(BM25Index.load(tmp_path / "index"), lexical(), QUERIES)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def damage(path, name, change):
    array = np.load(path / f"{name}.npy")
    np.save(path / f"{name}.npy", change(array.copy()))


def put(place, value):
    def change(array):
        array[place] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("documents", put(0, -1)),
        ("documents", put(0, 4)),
        ("documents", lambda a: a.astype(np.int64)),
        ("documents", lambda a: a[:-1]),
        ("starts", put(1, 99)),
        ("starts", put(0, 1)),
        ("starts", put(-1, 3)),
        ("weights", put(0, np.nan)),
        ("values", lambda a: a[None]),
        ("lengths", lambda a: a[:-1]),
        ("ids_ends", put(0, 99)),
        ("ids_text", put(0, 255)),
        ("ids_text", put(0, ord("b"))),
        ("vocabulary_ends", lambda a: a[:-1]),
        ("vocabulary_text", put(0, 255)),
    ],
)
def test_damaged_arrays_are_found(tmp_path, name, change):
    path = tmp_path / "index"
    lexical().save(path)
    damage(path, name, change)
    invalid(lambda: BM25Index.load(path), ".")
    # Also where the manifest was forged to fit.
    manifest = json.loads((path / "manifest.json").read_text())
    array = np.load(path / f"{name}.npy")
    manifest["arrays"][name] = {"dtype": array.dtype.str, "shape": list(array.shape)}
    (path / "manifest.json").write_text(json.dumps(manifest))
    invalid(lambda: BM25Index.load(path), "build and save it again")


def test_damaged_files_are_found(tmp_path):
    path = tmp_path / "index"
    lexical().save(path)
    good = (path / "manifest.json").read_text()
    for bad in ("", "{", "[]", '{"format": "other"}', good.replace('"version": 1', '"version": 2')):
        (path / "manifest.json").write_text(bad)
        invalid(lambda: BM25Index.load(path), ".")
    for old, new in (
        ('"k1": 1.5', '"k1": -1'),
        ('"ngrams": 1', '"ngram": 1'),
        ('"arrays"', '"array"'),
        ('"next_id": 4', '"next": 4'),
        ('"documents": {', '"../documents": {'),
        ('"documents": {', '"document": {'),
        ('"shape"', '"shapes"'),
    ):
        assert old in good
        (path / "manifest.json").write_text(good.replace(old, new))
        invalid(lambda: BM25Index.load(path), ".")
    (path / "manifest.json").write_text(good)
    whole = (path / "documents.npy").read_bytes()
    for bad in (b"", whole[:40], whole[:-4]):
        (path / "documents.npy").write_bytes(bad)
        invalid(lambda: BM25Index.load(path), "documents.npy cannot be read as an array")
    (path / "documents.npy").unlink()
    invalid(lambda: BM25Index.load(path), "there is no file .*documents.npy")


class Bomb:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path("exploded"),)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lexical().save("index")
    np.save("index/documents.npy", np.array([Bomb()], object), allow_pickle=True)
    invalid(lambda: BM25Index.load("index"), "documents.npy cannot be read")
    pathlib.Path("index/documents.npy").write_bytes(pickle.dumps(Bomb()))
    invalid(lambda: BM25Index.load("index"), "documents.npy cannot be read")
    assert not pathlib.Path("exploded").exists()


def test_strings_come_back(tmp_path):
    for strings in (["", "a", "é\ud800", "日本"], [3, -5, 2**62], []):
        write_index(tmp_path / "index", "test", {"x": 1}, strings_to_arrays("names", strings))
        parameters, arrays = read_index(tmp_path / "index", "test")
        assert strings_from_arrays("names", arrays, len(strings)) == strings
        assert parameters == {"x": 1}
    with pytest.raises(RetrieveError, match="64 bits"):
        strings_to_arrays("names", [2**70])


def test_a_killed_save_leaves_the_old_index(tmp_path):
    lexical().save(tmp_path / "index")
    code = (
        "import os, signal, sys, numpy as np\n"
        "from jrank.retrieval import BM25Index\n"
        "index = BM25Index.load(sys.argv[1])\n"
        "index.add(['one more'], ids=['m'])\n"
        "save, calls = np.save, []\n"
        "def killing(*a, **k):\n"
        "    calls.append(1)\n"
        "    if len(calls) == int(sys.argv[2]): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return save(*a, **k)\n"
        "np.save = killing\n"
        "index.save(sys.argv[1])\n"
    )
    for call in ("1", "4"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "index"), call],
            env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parents[2])},
        )
        assert done.returncode == -signal.SIGKILL
        same(BM25Index.load(tmp_path / "index"), lexical(), QUERIES)
