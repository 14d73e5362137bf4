"""Bad input for metrics, statistics, runs and judgments: what is refused says why; what is not has a stated value."""

import gzip
import os

import numpy as np
import pytest

from jrank import stats
from jrank.errors import DataError, EvalError
from jrank.evaluation import compare, evaluate
from jrank.runs import Qrels, Run

QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}}
RUN = {"q1": {"d2": 2.0, "d1": 1.0}, "q2": {"d3": 1.0}}
LONG = b"q1 Q0 " + b"d" * (9 << 20) + b" 1 1.0 x\n"


def evaluated(metric, qrels=QRELS, run=RUN):
    return lambda: evaluate(qrels, run, metric)


def run_of(data):
    return lambda: Run.parse(data)


REFUSED = {
    "a cut-off of 0": (evaluated("map@0"), EvalError, "invalid_parameter", "'0', expected an integer of at least 1"),
    "a negative cut-off": (evaluated("map@-3"), EvalError, "invalid_parameter", "'-3', expected an integer"),
    "a fractional cut-off": (evaluated("map@1.5"), EvalError, "invalid_parameter", "'1.5', expected an integer"),
    "a grade that overflows": (
        evaluated("ndcg(gain=exp)", {"q1": {"d1": 1e6}}),
        EvalError,
        "invalid_relevance",
        "overflows for the grade 1e.06; use linear gains",
    ),
    "patience outside (0, 1)": (evaluated("rbp(p=1.5)"), EvalError, "invalid_parameter", "p is 1.5, expected"),
    "no judgments": (evaluated("map", {}), EvalError, "empty_input", "the qrels hold no query; check the file"),
    "an empty run": (evaluated("map", QRELS, {}), EvalError, "empty_input", "the run holds no query; check the file"),
    "ids that never meet": (
        evaluated("map", QRELS, {"1": {"d1": 1.0}}),
        EvalError,
        "empty_input",
        "'1' in the run and 'q1' in the qrels; check how the ids are written",
    ),
    "a score that is NaN": (lambda: Run({"q": {"d": np.nan}}), DataError, "invalid_value", "query 'q', document 'd'"),
    "a grade that is inf": (lambda: Qrels({"q": {"d": np.inf}}), DataError, "invalid_value", "expected a finite"),
    "an integer id": (lambda: Run({1: {"d": 1.0}}), TypeError, None, "got int 1; write str"),
    "an integer document": (lambda: Qrels({"q": {7: 1}}), TypeError, None, "got int 7; write str"),
    "an id with a blank, written": (
        lambda: Run({"q": {"two words": 1.0}}).to_text(),
        DataError,
        "invalid_value",
        "'two words' cannot stand in a TREC run file; use a .*json",
    ),
    "another number of queries": (
        lambda: stats.paired_t([1.0, 2.0], [1.0]),
        EvalError,
        "length_mismatch",
        "a has 2 values and b has 1, expected one pair per query",
    ),
    "a value that is NaN": (lambda: stats.sign([np.nan], [1.0]), EvalError, "invalid_parameter", "a holds NaN"),
    "a single run": (lambda: compare(QRELS, {"a": RUN}, "map"), EvalError, "empty_input", "1 run, expected at least"),
    "five columns": (run_of("q1 Q0 d1 1 2.0\n"), DataError, "malformed", "line 1: 5 columns, expected 6; a TREC run"),
    "five columns below": (
        run_of("q1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 1.0\n"),
        DataError,
        "malformed",
        "line 2: 5 columns, expected 6",
    ),
    "a document twice": (
        run_of("q1 Q0 d1 1 2.0 x\n\nq1 Q0 d1 2 1.0 x\n"),
        DataError,
        "duplicate",
        "line 3: document 'd1' comes a second time for query 'q1', first on line 1; keep one",
    ),
    "a judgment twice": (
        lambda: Qrels.parse("q 0 d 1\nq 0 d 2\n"),
        DataError,
        "duplicate",
        "line 2: document 'd' comes a second time",
    ),
    "Latin-1": (
        run_of("q1 Q0 d\xe9 1 1.0 x\n".encode("latin-1")),
        DataError,
        "encoding",
        "line 1: byte 7 is not UTF-8",
    ),
    "a line of 9 MB": (run_of(LONG), DataError, "too_large", "line 1: longer than"),
    "nothing": (run_of(" \n"), DataError, "empty", "is empty; a Run file was expected"),
    "comments alone": (run_of("# one\n# two\n"), DataError, "empty", "holds no TREC run line; expected: query Q0"),
    **{
        f"the score {text}": (
            run_of(f"q1 Q0 d1 1 {text} x\n"),
            DataError,
            "invalid_value",
            f"line 1: the score is '{text}', expected a",
        )
        for text in ("nan", "inf", "-inf", "1e400", "abc", "1_0", "0x10")
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_why(name, unchecked):
    call, kind, reason, message = REFUSED[name]
    with pytest.raises(kind, match=message) as error:
        call()
    assert reason is None or error.value.reason == reason


def test_files_that_are_refused(tmp_path):
    line = b"q1 Q0 d1 1 2.0 x\n"
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(200 << 20), 1))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(line * 1000)[:-9])
    (tmp_path / "plain.gz").write_bytes(line)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, reason in {
        "bomb.gz": "too_large",
        "cut.gz": "malformed",
        "plain.gz": "malformed",
        "folder": "malformed",
        "pipe": "malformed",
        "loop": "not_found",
        "missing": "not_found",
    }.items():
        with pytest.raises(DataError, match=name) as error:
            Run.read(tmp_path / name)
        assert error.value.reason == reason, name


@pytest.mark.parametrize(
    "text",
    [
        "q1 Q0 d1 1 2.0 x\r\nq1 Q0 d2 2 1.0 x\r\n",
        "\ufeffq1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 1.0 x",
        "# a comment\n\nq1 Q0 d1 1 2.0 x\n\n   \nq1\tQ0\td2\t2\t1.0\tx\n",
        # Ranks that contradict the scores play no part.
        "q1 Q0 d1 2 2.0 x\nq1 Q0 d2 1 1.0 x\n",
    ],
)
def test_files_that_are_read(text):
    assert Run.parse(text).to_dict() == {"q1": {"d1": 2.0, "d2": 1.0}}


# Metric, judgments of the query, its run, value.
VALUES = {
    "a cut-off behind the end": ("precision@10", {"d1": 1}, {"d1": 1.0}, 0.1),
    "nothing relevant": ("ndcg", {"d1": 0}, {"d1": 1.0}, 0.0),
    "nothing judged not relevant": ("bpref", {"d1": 1}, {"d1": 1.0, "d2": 2.0}, 1.0),
    "negative grades": ("ndcg", {"d1": -2, "d2": 1}, {"d1": 2.0, "d2": 1.0}, 1 / np.log2(3)),
    "a grade between": (
        "ndcg",
        {"d1": 1.9, "d2": 1},
        {"d2": 2.0, "d1": 1.0},
        (1 + 1.9 / np.log2(3)) / (1.9 + 1 / np.log2(3)),
    ),
    "unjudged documents": ("precision@2", {"d1": 1}, {"x": 2.0, "d1": 1.0}, 0.5),
    "all tied": ("mrr", {"d1": 1}, {"d3": 1.0, "d1": 1.0, "d2": 1.0}, 1 / 3),
    "scores equal in float32 alone": ("mrr", {"d1": 1}, {"d1": 1.00000001, "d2": 1.0}, 1.0),
    "ids in the order of bytes": ("mrr", {"\uffff": 1}, {"\uffff": 1.0, "\U00010000": 1.0}, 0.5),
    "ids that differ in case": ("recall", {"D1": 1}, {"d1": 1.0}, 0.0),
    "a recall level of half a document": ("iprec(recall=0.1)", {f"d{i}": 1 for i in range(5)}, {"d0": 1.0}, 1.0),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_has_a_value(name):
    metric, qrels, run, value = VALUES[name]
    assert evaluate({"q": qrels}, {"q": run}, metric)[metric] == pytest.approx(value, abs=1e-12)


def test_queries_on_one_side_are_counted():
    report = evaluate({"q1": {"d": 1}, "q2": {"d": 1}}, {"q1": {"d": 1.0}, "q3": {"d": 1.0}}, "mrr")
    assert (report["mrr"], report.counts["missing"], report.counts["ignored"]) == (0.5, 1, 1)


@pytest.mark.parametrize("test", sorted(stats.TESTS))
def test_a_single_query_and_equal_runs_are_no_evidence(test):
    for a, b in (([0.5], [0.2]), ([0.5, 0.2, 0.1], [0.5, 0.2, 0.1])):
        assert stats.TESTS[test](np.array(a), np.array(b)).p_value == 1.0
