"""Reading and writing, and every way in which a file can be wrong."""

import gzip
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import DataError, JrankError
from jrank.runs import Qrels, Run, _formats, _lines

LINES = "q1 Q0 d1 1 2.5 bm25\nq1 Q0 d2 2 1.5 bm25\nq2 Q0 d1 1 -3e-2 bm25\n"
RUN = Run({"q1": {"d1": 2.5, "d2": 1.5}, "q2": {"d1": -0.03}})


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        LINES.rstrip("\n"),
        LINES.replace("\n", "\r\n"),
        "\ufeff" + LINES,
        "# made by hand\n\n" + LINES.replace("\n", "\n\n") + "  \n# end",
        LINES.replace(" ", "\t"),
        LINES.replace(" ", " \t  "),
        LINES.replace(" bm25\n", " bm25 with blanks\n"),
        "q1 Q0 d1 1 2.5 bm25\nq2 Q0 d1 1 -3e-2 bm25\nq1 Q0 d2 2 1.5 bm25\n",
    ],
)
def test_run_files_that_are_fine(tmp_path, text):
    run = Run.read(put(tmp_path, "run.txt", text))
    assert run == RUN
    assert run.name.startswith("bm25")


def test_a_brace_at_the_start_is_not_always_json(tmp_path):
    assert Run.read(put(tmp_path, "r", "{ Q0 d 1 1 x\n")) == Run({"{": {"d": 1.0}})
    assert Run.read(put(tmp_path, "r", ' {\n "q": {"d": 1}}')) == Run({"q": {"d": 1.0}})


def test_a_hash_inside_an_id_is_no_comment(tmp_path):
    run = Run.read(put(tmp_path, "r", "q#1 Q0 d#1 1 1 x\nq1 Q0 #2 1 1 #x\n"))
    assert run == Run({"q#1": {"d#1": 1.0}, "q1": {"#2": 1.0}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1 Q0 d1 1 2.5 x\nq1 Q0 d2 2 1.5\n", "line 2: 5 columns, expected 6; a TREC run line is"),
        # Five and seven columns together look like twice six.
        ("q1 Q0 d1 1 2.5\nq1 Q0 d2 2 1.5 x y\n", "line 1: 5 columns"),
        ("q1 Q0 d1 1 nan x\n", "line 1: the score is 'nan', expected a finite number"),
        ("# c\nq1 Q0 d1 1 inf x\n", "line 2: the score is 'inf'"),
        ("q1 Q0 d1 1 1e400 x\n", "line 1: the score is '1e400'"),
        ("q1 Q0 d1 1 abc x\n", "line 1: the score is 'abc', expected a number"),
        ("q1 Q0 d1 1 1_0 x\n", "line 1: the score is '1_0'"),
        ("q1 Q0 d1 1 2 x\n\nq2 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x\n", "line 4: document 'd1' .* 'q1', first on line 1"),
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("# nothing\n", "holds no TREC run line"),
        (b"q1 Q0 d\xe9 1 2 x\n", "line 1: byte 7 is not UTF-8"),
        (b"q1 Q0 d1 1 2 x\nq1 Q0 d\x00 1 abc x\n", "line 2: the score is 'abc'"),
        (b"a" * (9 << 20), "line 1: longer than"),
        (b"q Q0 d 1 1 x\n" + b"q Q0 d" + b"d" * (9 << 20) + b" 1 1 x\n", "line 2: longer than"),
    ],
)
def test_run_files_that_are_wrong(tmp_path, text, message):
    path = put(tmp_path, "run.txt", text)
    with pytest.raises(DataError, match=message) as error:
        Run.read(path)
    assert str(path) in str(error.value)


def test_lines_are_counted_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(_lines, "CHUNK", 64)
    lines = [f"q{i // 7} Q0 d{i} 1 {i} x\n" for i in range(40)]
    lines[20] = "# a comment\n"
    run = Run.read(put(tmp_path, "r", "".join(lines)))
    assert (
        run.to_dict()
        == Run(
            {f"q{q}": {f"d{i}": float(i) for i in range(7 * q, min(7 * q + 7, 40)) if i != 20} for q in range(6)}
        ).to_dict()
    )
    lines[33] = "q Q0 d 1 nan x\n"
    with pytest.raises(DataError, match="line 34: the score"):
        Run.read(put(tmp_path, "r", "".join(lines)))
    lines[33] = lines[3]
    with pytest.raises(DataError, match=r"line 34: document 'd3' .* first on line 4"):
        Run.read(put(tmp_path, "r", "".join(lines)))


def test_qrels_files(tmp_path):
    want = Qrels({"q1": {"d1": 2, "d2": -1}, "q2": {"d9": 0}})
    trec = "q1 0 d1 2\nq1 0 d2 -1\nq2 0 d9 0\n"
    assert Qrels.read(put(tmp_path, "qrels", trec)) == want
    rows = "q1\td1\t2\nq1\td2\t-1\nq2\td9\t0"
    assert Qrels.read(put(tmp_path, "test.tsv", "query-id\tcorpus-id\tscore\n" + rows)) == want
    assert (
        Qrels.read(put(tmp_path, "test.qrels", "\ufeffquery-id\tcorpus-id\tscore\r\n" + rows.replace("\n", "\r\n")))
        == want
    )
    assert Qrels.read(put(tmp_path, "x", rows)) == want
    assert Qrels.read(put(tmp_path, "x", json.dumps(want.to_dict()))) == want
    assert Qrels.read(put(tmp_path, "x", "q 0 d 1.9"))["q"]["d"] == 1.9
    assert Qrels.read(put(tmp_path, "x", trec.replace(" ", "\t"))) == want


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x", "q1 0 d1 1 extra\n", "line 1: 5 columns, expected 4"),
        ("x", "q1 0 d1\n", "line 1: 3 columns"),
        ("x", "q1 0 d1 1\nq1 0 d1 2\n", "line 2: document 'd1' comes a second time"),
        ("x", "q1 0 d1 high\n", "line 1: the grade is 'high'"),
        ("x.tsv", "query-id\tcorpus-id\tscore\nq\td\n", "line 2: 2 tab-separated columns"),
        ("x.tsv", "query-id\tcorpus-id\tscore\nq\td\tx\n", "line 2: the score is 'x'"),
        ("x.tsv", "query-id\tcorpus-id\tscore\n", r"holds no \.tsv line"),
        ("x.tsv", b"q\t\xff\t1\n", "line 1: byte 2 is not UTF-8"),
        ("x.tsv", "q\td\t1\nq\td\t1\n", "line 2: document 'd' comes a second time"),
        ("x.json", "{", "not JSON: line 1"),
        ("x.json", "[1]", "expected an object"),
        ("x.json", '{"q": [1]}', "expected an object"),
        ("x.json", '{"q": {"d": "1"}}', "query 'q', document 'd': '1' is no number"),
        ("x.json", '{"q": {"d": NaN}}', "NaN is no finite number"),
        ("x.json", '{"q": {"d": 1e999}}', "grade is inf"),
        ("x.json", '{"q": {"d": 1, "d": 2}}', "the id 'd' comes twice"),
        ("x.json", "{}", "holds no query"),
        ("x.json", "[" * 100_000, "nested too deeply"),
        ("x.json", b'{"\xff": 1}', "is not UTF-8"),
    ],
)
def test_qrels_files_that_are_wrong(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message):
        Qrels.read(put(tmp_path, name, text))


@pytest.mark.parametrize("ending", ["", ".trec", ".tsv", ".json", ".gz", ".tsv.gz", ".json.gz"])
def test_written_files_are_read_back(tmp_path, ending):
    run = Run({"q": {"d1": 0.1, "d2": 1 / 3, "é": 1e-300}, "p": {"d1": -5.0}}, name="two words")
    qrels = Qrels({"q": {"d1": 1, "d2": 0}, "p": {"d3": 2.5}})
    for table in (run, qrels):
        path = tmp_path / f"table{ending}"
        table.write(path)
        assert type(table).read(path) == table
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_format_can_be_named(tmp_path):
    RUN.write(tmp_path / "x", format="json")
    assert Run.read(tmp_path / "x", format="json") == RUN
    with pytest.raises(DataError, match=r"known formats: .*trec"):
        RUN.write(tmp_path / "x", format="xml")


@pytest.mark.parametrize("bad", ["a b", "", "a\tb", "a\n", "a\u00a0b"])
def test_ids_that_a_column_cannot_hold(tmp_path, bad):
    for table in (Run({"q": {bad: 1.0}}), Run({bad: {"d": 1.0}}), Qrels({"q": {bad: 1}})):
        with pytest.raises(DataError, match="cannot stand in"):
            table.write(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_more_ids_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="cannot stand in"):
        Run({"#q": {"d": 1.0}}).write(tmp_path / "x")
    with pytest.raises(DataError, match=r"\.tsv"):
        Run({"q": {"a\tb": 1.0}}).write(tmp_path / "x.tsv")
    with pytest.raises(DataError, match="UTF-8 cannot hold"):
        Run({"q": {"\ud800": 1.0}}).write(tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        Run.read(tmp_path / "missing")
    with pytest.raises(DataError, match="not a regular file"):
        Run.read(tmp_path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(JrankError):
        Run.read(loop)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        Run.read(tmp_path / "pipe")


def test_compressed_files_that_are_wrong(tmp_path, monkeypatch):
    whole = gzip.compress(LINES.encode() * 1000)
    with pytest.raises(DataError, match="cut off"):
        Run.read(put(tmp_path, "r.gz", whole[: len(whole) // 2]))
    with pytest.raises(DataError):
        Run.read(put(tmp_path, "r.gz", LINES))
    monkeypatch.setattr(_formats, "MIN_LIMIT", 1 << 20)
    with pytest.raises(DataError, match="holds more than") as error:
        Run.read(put(tmp_path, "r.gz", gzip.compress(bytes(16 << 20))))
    assert error.value.reason == "too_large"


def test_pickles_are_not_read(tmp_path):
    with pytest.raises(DataError):
        Run.read(put(tmp_path, "r.pkl", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94."))


@given(st.binary(max_size=200))
def test_any_bytes_give_a_table_or_an_error_of_the_library(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(data)
    for kind in (Run, Qrels):
        for name in (None, "trec", "tsv", "json"):
            try:
                table = kind.read(path, format=name)
            except DataError:
                continue
            assert len(table) > 0


TOKEN = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=4).filter(
    lambda text: not text.startswith("#") and len(text.split()) == 1
)


@given(
    st.dictionaries(
        TOKEN, st.dictionaries(TOKEN, st.floats(allow_nan=False, allow_infinity=False), min_size=1), min_size=1
    )
)
def test_round_trip(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("trip") / "x"
    for table in (Run(data), Qrels(data)):
        table.write(path)
        assert type(table).read(path).to_dict() == data
