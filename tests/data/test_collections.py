"""Collections and the BEIR layout."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank import data
from jrank.data._splits import content_fraction, content_split, join_groups, near_duplicates
from jrank.errors import DataError
from jrank.runs import Qrels

DOCUMENTS = [{"_id": "d1", "title": "Red", "text": "a fox"}, {"_id": "d2", "text": "a dog"}, {"_id": 3, "text": ""}]
QUERIES = [{"_id": f"q{i}", "text": f"question {i}", "metadata": {}} for i in range(40)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder, corpus=None, queries=None, qrels=None, split=None):
    (folder / "corpus.jsonl").write_text(lines(DOCUMENTS) if corpus is None else corpus)
    (folder / "queries.jsonl").write_text(lines(QUERIES) if queries is None else queries)
    if qrels is None:
        qrels = "".join(f"q{i}\td{i % 2 + 1}\t{i % 3}\n" for i in range(30))
    path = folder / "qrels.tsv" if split is None else folder / "qrels" / f"{split}.tsv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def test_a_collection_is_read(tmp_path):
    collection = data.read_beir(write(tmp_path))
    assert collection.doc_ids == ["d1", "d2", "3"]
    assert collection.documents == ["Red a fox", "a dog", ""]
    assert collection.queries[:2] == ["question 0", "question 1"]
    assert collection.qrels["q2"] == {"d1": 2}
    assert collection.notes == {"judgments left out": 0, "queries without judgments": 10}
    assert collection.name == tmp_path.name
    assert sorted(q for ids in collection.splits.values() for q in ids) == sorted(f"q{i}" for i in range(30))
    assert list(collection.splits) == ["train", "validation", "test"]
    assert collection.queries_of(["q3", "q1"]) == ["question 3", "question 1"]
    assert collection.qrels_of(["q2"]).to_dict() == {"q2": {"d1": 2}}
    assert collection.qrels_of(["q39"]).to_dict() == {}


def test_splits_depend_on_the_text_alone(tmp_path):
    first = data.read_beir(write(tmp_path)).splits
    again = data.read_beir(write(tmp_path, queries=lines(QUERIES[::-1]))).splits
    assert {split: set(ids) for split, ids in first.items()} == {split: set(ids) for split, ids in again.items()}
    assert list(data.read_beir(tmp_path, shares={"test": 1.0}).splits) == ["test"]


def test_files_of_judgments_are_splits(tmp_path):
    write(tmp_path, split="train")
    write(tmp_path, qrels="q35\td1\t1\n", split="dev")
    write(tmp_path, qrels="q36\td2\t1\n", split="test")
    splits = data.read_beir(tmp_path).splits
    assert (len(splits["train"]), splits["validation"], splits["test"]) == (30, ["q35"], ["q36"])
    write(tmp_path, qrels="q36\td2\t1\nq1\td1\t1\n", split="test")
    with pytest.raises(DataError, match="the query 'q1' is judged in two files"):
        data.read_beir(tmp_path)


def test_compressed_files(tmp_path):
    write(tmp_path)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        path = tmp_path / name
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert len(data.read_beir(tmp_path).documents) == 3


def test_judgments_of_unknown_things_are_left_out_and_counted(tmp_path):
    collection = data.read_beir(write(tmp_path, qrels="q1\td1\t1\nq1\td9\t1\nq99\td1\t1\n"))
    assert collection.notes["judgments left out"] == 2
    assert collection.qrels.to_dict() == {"q1": {"d1": 1}}
    with pytest.raises(DataError, match="no judgment names a document of the corpus and a query"):
        data.read_beir(write(tmp_path, qrels="1\td1\t1\n"))


@pytest.mark.parametrize(
    ("files", "message", "reason"),
    [
        ({"corpus": "{}\n"}, r"corpus.jsonl, line 1: _id must be a string, got None", "invalid_value"),
        ({"corpus": lines(DOCUMENTS) + "{\n"}, "corpus.jsonl, line 4: not JSON", "malformed"),
        ({"corpus": "[1]\n"}, "corpus.jsonl, line 1: expected an object", "malformed"),
        ({"corpus": lines(DOCUMENTS * 2)}, "corpus.jsonl, line 4: the id 'd1' comes twice", "duplicate"),
        ({"corpus": ""}, "corpus.jsonl is empty", "empty"),
        ({"corpus": '{"_id": "d1", "text": null}\n'}, "line 1: text must be a string, got NoneType", "invalid_value"),
        ({"corpus": '{"_id": "d1", "text": "", "title": 3}\n'}, "line 1: title must be a string", "invalid_value"),
        ({"corpus": "[" * 100000}, "corpus.jsonl, line 1: not JSON", "malformed"),
        ({"queries": '{"_id": true, "text": "x"}\n'}, "queries.jsonl, line 1: _id", "invalid_value"),
        ({"qrels": "q1\td1\n"}, "qrels.tsv, line 2: 2 tab-separated columns, expected 3", "malformed"),
        ({"qrels": "q1\td1\t1\nq1\td1\t2\n"}, "qrels.tsv, line 3", "duplicate"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, files, message, reason):
    with pytest.raises(DataError, match=message) as caught:
        data.read_beir(write(tmp_path, **files))
    assert caught.value.reason == reason


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match="there is no directory"):
        data.read_beir(tmp_path / "none")
    for name in ("qrels.tsv", "queries.jsonl", "corpus.jsonl"):
        write(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(DataError, match=f"there is no file .*{name}"):
            data.read_beir(tmp_path)
    write(tmp_path)
    (tmp_path / "qrels").mkdir()
    with pytest.raises(DataError, match=r"no \.tsv file in"):
        data.read_beir(tmp_path)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "documents", "queries", "judged", "judgments"),
    [
        ("scifact", 5183, 300, 300, 339),
        ("cisi", 1460, 112, 76, 3114),
        ("cranfield", 1400, 225, 225, 1837),
        ("med", 1033, 30, 30, 696),
        ("adi", 82, 35, 35, 170),
    ],
)
def test_real_collections(data_dir, name, documents, queries, judged, judgments):
    collection = data.read_beir(data_dir / "ir" / name)
    assert (len(collection.documents), len(collection.queries), len(collection.qrels)) == (documents, queries, judged)
    assert sum(map(len, collection.qrels.to_dict().values())) == judgments
    assert sum(map(len, collection.splits.values())) == judged


def test_collections_are_checked():
    tiny = ("tiny", ["d1"], ["text"], ["q1"], ["question"], Qrels({"q1": {"d1": 1}}))
    assert data.Collection(*tiny).splits == {"test": ["q1"]}
    assert repr(data.Collection(*tiny)) == "Collection('tiny', 1 document, 1 query, splits: test 1)"
    for changes, message in (
        ({1: ["d1", "d2"]}, "2 document ids for 1 texts"),
        ({3: ["q1", "q1"], 4: ["a", "b"]}, "a query id comes twice"),
        ({6: {"test": ["q2"]}}, "the split 'test' names the unknown query 'q2'"),
        ({6: {"test": ["q1"], "train": ["q1"]}}, "'q1' is in two splits"),
    ):
        values = [changes.get(i, value) for i, value in enumerate([*tiny, {}])]
        with pytest.raises(DataError, match=message):
            data.Collection(*values)
    with pytest.raises(DataError, match="there is no query 'q9'"):
        data.Collection(*tiny).queries_of(["q9"])
    with pytest.raises(DataError, match="there is no query 'q9'"):
        data.Collection(*tiny).qrels_of(["q9"])


WORDS = st.lists(st.sets(st.sampled_from("abcdefghij"), max_size=7), max_size=12)


@given(WORDS, st.sampled_from([0.3, 0.5, 0.7, 0.75, 1.0]))
def test_near_duplicates_are_all_found(sets, threshold):
    want = [
        (i, j)
        for j in range(len(sets))
        for i in range(j)
        if sets[i] and sets[j] and len(sets[i] & sets[j]) >= threshold * len(sets[i] | sets[j])
    ]
    assert sorted(near_duplicates(sets, threshold), key=lambda pair: pair[::-1]) == want


def test_groups():
    assert join_groups(6, [(4, 5), (1, 4), (0, 2)]) == [0, 1, 0, 3, 1, 1]
    assert join_groups(3, []) == [0, 1, 2]


def test_fractions_are_spread_evenly():
    values = [content_fraction(f"text {i}") for i in range(2000)]
    assert all(0 <= value < 1 for value in values)
    assert abs(sum(values) / 2000 - 0.5) < 0.03
    assert sum(content_split(f"text {i}") == "test" for i in range(2000)) == sum(value < 0.135 for value in values)
    # Fixed for ever: a change would move queries between training and test.
    assert content_fraction("a question") == pytest.approx(0.19604, abs=1e-5)
