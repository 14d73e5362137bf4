"""Names of metrics, reports and tables, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jrank.errors import EvalError
from jrank.evaluation import compare, evaluate, list_metrics, parse_metric
from jrank.evaluation._metrics import METRICS
from jrank.runs import GroupedQrels, Preferences, Qrels, Run

QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}, "q3": {"d1": 0}}
RUN = Run({"q1": {"d2": 2.0, "d1": 1.0}, "q2": {"d3": 1.0}, "q9": {"d1": 1.0}}, name="bm25")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("nDCG@10", "ndcg_cut_10"),
        ("AP", "map"),
        ("AP@5", "map_cut_5"),
        ("RR@10", "mrr@10"),
        ("recip_rank", "mrr"),
        ("P@5", "p_5"),
        ("R@5", "recall_5"),
        ("Rprec", "r-precision"),
        ("map-l2", "map(rel=2)"),
        ("map@10-l2", "map(rel=2)@10"),
        ("α_nDCG@20", "alpha-ndcg@20"),
        ("P-IA@5", "precision_ia@5"),
        ("Rprec_mult_avgjg_0.20", "rprec_avgjg(x=.2)"),
        ("AP(rel=2)@100", "map@100(rel=2)"),
        ("set_P", "precision"),
        ("hit_rate@3", "success_3"),
        ("f1@3", "f@3"),
        ("rbp.95", "RBP(p=0.95)"),
        ("iprec_at_recall_0.30", "iprec(recall=0.3)"),
        ("Rprec_mult_0.20", "rprec(x=.2)"),
        ("ndcg_burges@5", "ndcg(gain=exp)@5"),
        (" ndcg ", "ndcg"),
    ],
)
def test_names_of_other_programs(one, other):
    a, b = parse_metric(one), parse_metric(other)
    assert (a.metric.fn, a.k, a.params) == (b.metric.fn, b.k, b.params)


KINDS = {
    "": Qrels(QRELS),
    "subtopics": GroupedQrels({query: {"one": grades, "two": {"d2": 1}} for query, grades in QRELS.items()}),
    "preferences": Preferences.from_qrels(QRELS),
}
KINDS["judges"] = KINDS["subtopics"]


@pytest.mark.parametrize("name", list_metrics())
def test_every_metric_runs(name):
    metric = METRICS[name]
    for text in {"no": [name], "required": [f"{name}@2"]}.get(metric.cutoff, [name, f"{name}@2"]):
        report = evaluate(KINDS[metric.groups], RUN, text)
        assert np.isfinite(report[text])
        assert all(np.isfinite(v) for v in report.per_query[text].values())
    if metric.cutoff == "no":
        with pytest.raises(EvalError, match="takes no cut-off"):
            evaluate(KINDS[metric.groups], RUN, f"{name}@2")
    elif metric.cutoff == "required":
        with pytest.raises(EvalError, match="needs a cut-off"):
            evaluate(KINDS[metric.groups], RUN, name)
    if metric.groups:
        with pytest.raises(EvalError, match=f"metric '{name}.*' needs .*, got plain judgments; use .*read"):
            evaluate(QRELS, RUN, text)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("ndgc@10", r"unknown metric 'ndgc@10'; did you mean ndcg.*known metrics: accuracy, alpha_dcg"),
        ("", "unknown metric"),
        ("ndcg@", "cut-off is '', expected an integer"),
        ("ndcg@0", "cut-off is '0'"),
        ("ndcg@-1", "cut-off is '-1'"),
        ("ndcg@1.5", "cut-off is '1.5'"),
        ("ndcg@ten", "cut-off is 'ten'"),
        ("bpref@10", "takes no cut-off; write bpref"),
        ("ndcg(rel=2)", "no parameter 'rel'; ndcg takes: gain"),
        ("ndcg-l2", "no parameter 'rel'"),
        ("map(rel=high)", "rel is 'high', expected a number"),
        ("map(rel=0)", "rel is 0, expected more than 0"),
        ("map(rel)", "'rel' is no parameter; write name=value"),
        ("ndcg(gain=cubic)", "unknown gain 'cubic'; known gains: exp, linear, or pairs"),
        ("ndcg(gain=1:2:3)", "unknown gain"),
        ("ndcg(gain=1:x)", "unknown gain"),
        ("rbp(p=1)", "p is 1.0, expected a number between 0 and 1"),
        ("rbp(p=0)", "between 0 and 1"),
        ("rbp(p=nan)", "p is nan, expected a number"),
        ("rbp_resid(p=2)", "between 0 and 1"),
        ("rbp(scale=most)", "unknown scale"),
        ("iprec(recall=2)", "recall is 2, expected 0 to 1"),
        ("err(max_grade=1)", "largest grade is 2 and max_grade 1"),
        ("map.5", "unknown metric"),
        ("map@10@20", "unknown metric"),
    ],
)
def test_names_that_are_wrong(metric, message):
    with pytest.raises(EvalError, match=message):
        evaluate(QRELS, RUN, metric)


def test_metrics_that_are_no_names(unchecked):
    with pytest.raises(TypeError, match="named by a str"):
        evaluate(QRELS, RUN, [10])
    with pytest.raises(EvalError, match="no metric was named"):
        evaluate(QRELS, RUN, [])


def test_grades_too_large_for_exponential_gains():
    with pytest.raises(EvalError, match="overflows") as error:
        evaluate({"q1": {"d1": 1e6}}, RUN, "ndcg(gain=exp)")
    assert error.value.reason == "invalid_relevance"


@pytest.mark.parametrize(
    ("qrels", "run", "message"),
    [
        ({}, RUN, "the qrels hold no query"),
        (QRELS, {}, "the run holds no query"),
        (QRELS, {"x": {"d": 1.0}}, "no query in common, for example 'x' in the run and 'q1' in the qrels"),
    ],
)
def test_nothing_to_evaluate(qrels, run, message):
    with pytest.raises(EvalError, match=message) as error:
        evaluate(qrels, run, "map")
    assert error.value.reason == "empty_input"


@pytest.mark.parametrize("options", [{"queries": "all"}, {"depth": 0}, {"depth": True}])
def test_options_that_are_wrong(options):
    with pytest.raises(EvalError):
        evaluate(QRELS, RUN, "map", **options)


def test_which_queries_count():
    every = evaluate(QRELS, RUN, "mrr")
    assert every["mrr"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert every.counts == {"queries": 3, "missing": 1, "no_relevant": 1, "ignored": 1}
    both = evaluate(QRELS, RUN, "mrr", queries="intersection")
    assert both["mrr"] == pytest.approx((0.5 + 1) / 2)
    assert both.counts == {"queries": 2, "missing": 0, "no_relevant": 0, "ignored": 1}
    assert both.per_query == {"mrr": {"q1": 0.5, "q2": 1.0}}
    assert list(every.per_query["mrr"]) == list(QRELS)


def test_reports_are_mappings():
    report = evaluate(QRELS, RUN, ["nDCG@3", "map", "map"])
    assert list(report) == ["nDCG@3", "map"]
    assert dict(report) == {m: report[m] for m in ("nDCG@3", "map")}
    assert "mrr" not in report
    with pytest.raises(EvalError, match="it holds: nDCG@3, map"):
        report["mrr"]
    assert repr(report) == (
        "Report(nDCG@3=0.5436, map=0.5000; 3 queries; 1 not in the run (value 0); 1 without a relevant document; "
        "1 of the run without judgments, left out)"
    )


def test_report_tables():
    report = evaluate(QRELS, RUN, ["map", "num_ret"])
    assert report.to_table(digits=2).splitlines() == [
        "metric   bm25",
        "-------------",
        "map      0.50",
        "num_ret  3.00",
        "3 queries; 1 not in the run (value 0); 1 without a relevant document; "
        "1 of the run without judgments, left out",
    ]
    assert report.to_table("markdown").splitlines()[:3] == [
        "| metric  |    bm25 |",
        "|:--------|--------:|",
        "| map     |  0.5000 |",
    ]
    assert r"num\_ret & 3.0000 \\" in report.to_table("latex")
    assert "<td>map</td><td>0.5000</td>" in report.to_table("html")
    assert json.loads(report.to_json()) == report.to_dict()
    assert str(report) == report.to_table()
    with pytest.raises(EvalError, match="known: text, markdown, latex, html"):
        report.to_table("pdf")


def test_table_cells_are_escaped():
    report = evaluate(QRELS, Run(RUN.to_dict(), name="a|b_&<c>"), "map")
    assert r"a\|b_&<c>" in report.to_table("markdown")
    assert r"a|b\_\&<c>" in report.to_table("latex")
    assert "a|b_&amp;&lt;c&gt;" in report.to_table("html")


def systems(n=40):
    rng = np.random.default_rng(0)
    qrels = {f"q{i}": {f"d{j}": int(rng.random() < 0.3) for j in range(20)} for i in range(n)}

    def run(noise):
        return {q: {d: g + noise * rng.normal() for d, g in docs.items()} for q, docs in qrels.items()}

    return qrels, {"good": run(0.5), "same": run(1.5), "poor": run(1.5)}


def test_compare_all_pairs():
    qrels, runs = systems()
    result = compare(qrels, runs, ["map", "ndcg@10"], samples=500)
    assert len(result.contrasts) == 6
    values = {m: {r: evaluate(qrels, runs[r], m) for r in runs} for m in ("map", "ndcg@10")}
    for c in result.contrasts:
        a, b = (np.array(list(values[c.metric][r].per_query[c.metric].values())) for r in (c.run, c.other))
        assert c.difference == pytest.approx(np.mean(a - b))
        assert (c.wins, c.ties, c.losses) == (np.sum(a > b), np.sum(a == b), np.sum(a < b))
        assert c.low <= c.difference <= c.high
        assert c.corrected >= c.p_value
    assert result.contrast("map", "good", "poor").corrected < 0.01
    assert result.contrast("map", "same", "poor").corrected > 0.05
    turned = result.contrast("map", "poor", "good")
    straight = result.contrast("map", "good", "poor")
    assert (turned.difference, turned.low, turned.wins) == (-straight.difference, -straight.high, straight.losses)
    first = result.to_table().splitlines()[2]
    assert first.startswith("a good")
    assert first.count("bc") == 2
    assert result["good"]["map"] == values["map"]["good"]["map"]


@pytest.mark.parametrize("test", ["t", "randomization", "wilcoxon", "sign"])
@pytest.mark.parametrize("correction", ["holm", "bh", "bonferroni", None])
def test_compare_with_a_baseline(test, correction):
    qrels, runs = systems(30)
    result = compare(qrels, runs, "map", baseline="poor", test=test, correction=correction, samples=300)
    assert [(c.run, c.other) for c in result.contrasts] == [("good", "poor"), ("same", "poor")]
    assert "+" in result.to_table().splitlines()[2]
    assert test in str(result)
    table = result.to_contrasts_table("markdown")
    assert table.count("\n| ") == 2
    assert "good - poor" in table
    for format in ("text", "latex", "html"):
        assert "good" in result.to_table(format)
    data = json.loads(result.to_json())
    assert data["baseline"] == "poor"
    assert data["runs"]["good"]["metrics"]["map"] == result["good"]["map"]


def test_compare_lists_and_names():
    qrels, runs = systems(5)
    result = compare(qrels, list(runs.values()), "map", baseline=-1, samples=10)
    assert list(result.reports) == ["run 1", "run 2", "run 3"]
    assert result.baseline == "run 3"
    same = [Run(run, name="x") for run in runs.values()]
    assert list(compare(qrels, same, "map", samples=10).reports) == ["x 1", "x 2", "x 3"]


def test_compare_equal_runs_and_constant_differences():
    qrels, runs = systems(5)
    result = compare(qrels, [runs["good"], runs["good"]], "map", samples=10)
    contrast = result.contrasts[0]
    assert (contrast.p_value, contrast.effect_size, contrast.ties) == (1.0, 0.0, 5)
    qrels = {f"q{i}": {"a": 1} for i in range(5)}
    best, half = {q: {"a": 1.0} for q in qrels}, {q: {"a": 1.0, "b": 2.0} for q in qrels}
    result = compare(qrels, {"best": best, "half": half}, "mrr", samples=10)
    assert result.contrasts[0].p_value == 0
    assert json.loads(result.to_json())["contrasts"][0]["effect_size"] is None


def test_compare_on_common_queries():
    qrels, runs = systems(6)
    del runs["good"]["q0"]
    del runs["poor"]["q1"]
    assert compare(qrels, runs, "map", samples=10)["same"].counts["queries"] == 6
    result = compare(qrels, runs, "map", samples=10, queries="intersection")
    assert result["good"].queries == result["poor"].queries == ("q2", "q3", "q4", "q5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": {"a": RUN}}, "1 run, expected at least two"),
        ({"baseline": "c"}, "there is no run 'c'; runs: a, b"),
        ({"baseline": 2}, "there is no run 2"),
        ({"test": "z"}, "unknown test 'z'; known: t, randomization"),
        ({"correction": "none"}, "unknown correction"),
        ({"level": 5}, "level is 5"),
        ({"samples": 0}, "samples is 0"),
        (
            {"runs": {"a": {"q1": {}}, "b": {"q2": {}}}, "queries": "intersection"},
            "no query is in the qrels and in all",
        ),
    ],
)
def test_comparisons_that_are_wrong(change, message):
    arguments = {"runs": {"a": RUN, "b": RUN}, **change}
    with pytest.raises(EvalError, match=message):
        compare(QRELS, arguments.pop("runs"), "map", **arguments)
    result = compare(QRELS, {"a": RUN, "b": RUN}, "map", samples=10)
    with pytest.raises(EvalError, match="not compared"):
        result.contrast("map", "a", "a")
    with pytest.raises(EvalError, match="there is no run 'c'"):
        result["c"]


def test_one_run_is_not_several(unchecked):
    with pytest.raises(TypeError, match="runs must be a mapping"):
        compare(QRELS, RUN, "map")


def test_queries_of_the_qrels_object_stay_in_order():
    qrels = Qrels({"b": {"d": 1}, "a": {"d": 1}})
    assert evaluate(qrels, {"a": {"d": 1.0}}, "map").queries == ("b", "a")


def test_evaluation_never_imports_jax():
    code = (
        "import sys; from jrank.evaluation import compare; a = {'q': {'d': 1.0}, 'p': {'d': 1.0, 'e': 2.0}}; "
        "compare({'q': {'d': 1}, 'p': {'d': 1}}, [a, a], 'map'); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
