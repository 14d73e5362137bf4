"""Columns, CSV and Parquet."""

import csv
import io

import numpy as np
import pytest

from jrank.errors import DataError, MissingExtraError
from jrank.runs import Qrels, Run, _parquet

RUN = Run({"q1": {"d1": 2.5, "d,2": 1.0}, "q2": {'d"1': -0.125}})
QRELS = Qrels({"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}})


def test_columns_there_and_back():
    for table in (RUN, QRELS):
        assert type(table).from_columns(table.to_columns()) == table
    assert QRELS.to_columns() == {"query": ["q1", "q1", "q2"], "document": ["d1", "d2", "d3"], "grade": [2, 0, 1]}
    assert RUN.to_columns()["document"] == ["d1", "d,2", 'd"1']


def test_columns_of_arrays_with_other_names():
    data = {"qid": np.array(["b", "a", "b"], object), "docno": ["x", "x", "y"], "rel": np.array([1, 0, 2])}
    got = Qrels.from_columns(data, query="qid", document="docno", value="rel")
    assert got.to_dict() == {"b": {"x": 1, "y": 2}, "a": {"x": 0}}


def test_frames_of_pandas():
    pandas = pytest.importorskip("pandas")
    assert Run.from_columns(pandas.DataFrame(RUN.to_columns())) == RUN


def test_frames_of_polars():
    polars = pytest.importorskip("polars")
    assert Run.from_columns(polars.DataFrame(RUN.to_columns())) == RUN


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"query": ["q"], "document": ["d"]}, "no column 'score'; name the columns with .*there are: query, document"),
        ({"query": ["q"], "document": ["d", "e"], "score": [1]}, "1, 2 and 1 entries"),
        ({"query": ["q", "q"], "document": ["d", "d"], "score": [1, 2]}, "row 1: document 'd' comes a second time"),
        ({"query": ["q"], "document": ["d"], "score": [float("nan")]}, "score is nan"),
        (np.zeros(3), "no column 'query'; name the columns"),
    ],
)
def test_columns_that_are_wrong(data, message):
    with pytest.raises(DataError, match=message):
        Run.from_columns(data)


def test_ids_must_be_text(unchecked):
    with pytest.raises(TypeError, match="query ids must be str"):
        Run.from_columns({"query": [1], "document": ["d"], "score": [1.0]})


def test_csv_there_and_back(tmp_path):
    for table, ending in ((RUN, ".csv"), (QRELS, ".csv.gz")):
        path = tmp_path / f"x{ending}"
        table.write(path)
        assert type(table).read(path) == table
    rows = list(csv.reader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert rows[0] == ["query", "document", "score"]
    assert rows[1] == ["q1", "d1", "2.5"]


def test_csv_with_other_columns(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("\ufeffrank,Query-ID,doc_id,sim\r\n1,q,d1,0.5\r\n\r\n2,q,d2,0.25")
    assert Run.read(path) == Run({"q": {"d1": 0.5, "d2": 0.25}})
    path.write_text("query_id,corpus-id,score\nq,d,1\n")
    assert Qrels.read(path) == Qrels({"q": {"d": 1}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n", "line 1: no column for the query among a, b, c"),
        ("query,document\n", "line 1: no column for the score"),
        ("query,document,score\n", "no line below its header"),
        ("query,document,score\nq,d\n", "line 2: 2 columns, expected 3"),
        ("query,document,score\nq,d,x\n", "line 2: the score is 'x'"),
        ('query,document,score\nq,"d\n', "line 2: "),
        ("query,document,score\nq,d,1\nq,e,1\nq,d,2\n", "line 4: document 'd' comes a second time"),
        (b"query,document,score\nq,\xff,1\n", "byte 23 is not UTF-8"),
    ],
)
def test_csv_that_is_wrong(tmp_path, text, message):
    path = tmp_path / "x.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        Run.read(path)


def test_parquet_there_and_back(tmp_path):
    pytest.importorskip("pyarrow")
    for table in (RUN, QRELS):
        table.write(tmp_path / "x.parquet")
        assert type(table).read(tmp_path / "x.parquet") == table
    with pytest.raises(DataError, match=r"x.parquet: there is no column 'score'"):
        Run.read(tmp_path / "x.parquet")
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match="not Parquet"):
        Run.read(tmp_path / "x.parquet")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pip install pyarrow"):
        RUN.write(tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match="pip install pyarrow"):
        Run.read(tmp_path / "y.parquet")
    assert not (tmp_path / "x.parquet").exists()
    assert _parquet.__all__
