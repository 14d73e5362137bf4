"""Metrics of readers, diversity, judges and preferences: against peers, against plain loops, and their files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import DataError, EvalError
from jrank.evaluation import compare, evaluate, read_reference, standardize
from jrank.runs import GroupedQrels, Preferences, Qrels

IDS = [f"d{i}" for i in range(6)]
LEVELS = st.dictionaries(st.sampled_from(IDS), st.sampled_from([0, 0.5, 1, 2]), min_size=1)
RUN = st.dictionaries(st.sampled_from(IDS), st.sampled_from([0.0, 1.0, 2.0]), min_size=1)


def test_cwl_eval_ir_measures_and_ndeval(golden):
    for collection in golden("diversity.json")["collections"]:
        grouped = GroupedQrels(collection["groups"])
        for qrels, table in ((collection["qrels"], "readers"), (grouped, "novelty")):
            report = evaluate(qrels, collection["run"], list(collection[table]))
            for metric, values in collection[table].items():
                assert len(values) == 6
                for query, value in values.items():
                    assert report.per_query[metric][query] == pytest.approx(value, abs=1e-9), (metric, query)


@given(st.lists(LEVELS, min_size=1, max_size=3), RUN)
def test_averages_over_groups_are_averages(groups, run):
    qrels = GroupedQrels({"q": {str(i): grades for i, grades in enumerate(groups)}, "other": {"0": {"d0": 1}}})
    run = {"q": run, "other": {"d1": 1.0}}
    report = evaluate(qrels, run, ["map_avgjg", "p_avgjg@2", "map_ia", "p-ia@2", "ndcg_ia@3", "map"])
    single = [evaluate({"q": grades}, {"q": run["q"]}, ["map", "p@2", "ndcg@3"]) for grades in groups]
    relevant = [one for one, grades in zip(single, groups, strict=True) if max(grades.values()) >= 1]

    def mean(reports, metric):
        return np.mean([one[metric] for one in reports]) if reports else 0.0

    got = {metric: report.per_query[metric]["q"] for metric in report}
    assert got["map_avgjg"] == pytest.approx(mean(single, "map"))
    assert got["p_avgjg@2"] == pytest.approx(mean(single, "p@2"))
    assert got["map_ia"] == pytest.approx(mean(relevant, "map"))
    assert got["p-ia@2"] == pytest.approx(mean(relevant, "p@2"))
    assert got["ndcg_ia@3"] == pytest.approx(mean(relevant, "ndcg@3"))
    merged = {d: max(g.get(d, -1) for g in groups) for g in groups for d in g}
    assert got["map"] == pytest.approx(evaluate({"q": merged}, {"q": run["q"]}, "map")["map"])


@given(st.lists(LEVELS, min_size=1, max_size=3), RUN)
def test_preferences_by_pairs(judges, run):
    report = evaluate(
        Preferences({"q": {str(i): [levels] for i, levels in enumerate(judges)}}),
        {"q": run},
        ["prefs_simp", "prefs_avgjg_ret", "prefs_pair_imp", "prefs_num_prefs_poss"],
    )
    place = {d: i for i, d in enumerate(sorted(sorted(run), key=lambda d: -run[d]))}

    def outcome(a, b):
        """Whether a stands before b, and how many of the two were found."""
        return place.get(a, 99) < place.get(b, 99), (a in place) + (b in place)

    wins = [[outcome(a, b) for a in levels for b in levels if levels[a] > levels[b]] for levels in judges]
    every = [w for one in wins for w in one]
    assert report["prefs_num_prefs_poss"] == len(every)
    assert report["prefs_simp"] == pytest.approx(sum(w for w, _ in every) / max(len(every), 1))
    both = [[w for w, n in one if n == 2] for one in wins]
    assert report["prefs_avgjg_ret"] == pytest.approx(np.mean([sum(one) / max(len(one), 1) for one in both]))
    shares = {}
    for levels in judges:
        for a in levels:
            for b in levels:
                if levels[a] > levels[b] and outcome(a, b)[1]:
                    shares.setdefault(frozenset((a, b)), []).append(outcome(a, b)[0])
    assert report["prefs_pair_imp"] == pytest.approx(np.mean([np.mean(s) for s in shares.values()] or [0.0]))


def test_partial_orders_are_closed_and_must_agree():
    chain = Preferences({"q": {"ann": [{"a": 2, "b": 1}, {"b": 2, "c": 1}]}})
    assert evaluate(chain, {"q": {"a": 1.0}}, "prefs_num_prefs_poss")["prefs_num_prefs_poss"] == 3
    circle = Preferences({"q": {"ann": [{"a": 2, "b": 1}, {"b": 2, "a": 1}]}})
    with pytest.raises(EvalError, match="query 'q', judge 'ann': the orders contradict each other"):
        evaluate(circle, {"q": {"a": 1.0}}, "prefs_simp")
    mixed = Preferences({"q": {"ann": [{"a": 2, "b": 0}, {"b": 2, "c": 1}]}})
    with pytest.raises(EvalError, match="'b' has level 0 in one order"):
        evaluate(mixed, {"q": {"a": 1.0}}, "prefs_simp")


def test_novelty_by_hand():
    qrels = GroupedQrels({"q": {"1": {"a": 1, "b": 1}, "2": {"c": 1}, "never": {"a": 0}}})
    run = {"q": {"a": 4.0, "b": 3.0, "c": 2.0, "x": 1.0}}
    report = evaluate(qrels, run, ["alpha-ndcg@3", "err-ia@2", "nrbp", "strec@1", "strec@3", "alpha-ndcg(alpha=0)@3"])
    log = [1 / np.log2(r + 1) for r in (1, 2, 3)]
    assert report["alpha-ndcg@3"] == pytest.approx((log[0] + log[1] / 2 + log[2]) / (log[0] + log[1] + log[2] / 2))
    assert report["err-ia@2"] == pytest.approx((1 + 0.5 / 2) / (2 * (1 + 0.5 / 2)))
    assert report["nrbp"] == pytest.approx((1 + 0.25 + 0.25) * 0.75 / 2)
    assert (report["strec@1"], report["strec@3"]) == (0.5, 1.0)
    assert report["alpha-ndcg(alpha=0)@3"] == pytest.approx(1.0)


def test_depth_and_judged_only_hold_for_groups():
    qrels = GroupedQrels({"q": {"1": {"a": 1}, "2": {"b": 1}}, "r": {"1": {"a": 1}}})
    run = {"r": {"a": 1.0}, "q": {"x": 3.0, "a": 2.0, "b": 1.0}}
    metrics = ["strec", "map_ia"]
    assert evaluate(qrels, run, metrics, depth=2).per_query["strec"] == {"q": 0.5, "r": 1.0}
    assert evaluate(qrels, run, metrics, judged_only=True).per_query["map_ia"] == {"q": 0.75, "r": 1.0}
    del run["q"]
    assert evaluate(qrels, run, metrics).per_query["map_ia"] == {"q": 0.0, "r": 1.0}
    assert evaluate(qrels, run, metrics, queries="intersection").per_query["map_ia"] == {"r": 1.0}


def test_runs_are_compared_by_diversity():
    qrels = GroupedQrels({f"q{i}": {"1": {"a": 1}, "2": {"b": 1}} for i in range(6)})
    one = {q: {"a": 2.0, "b": 1.0} for q in qrels}
    two = {q: {"a": 2.0, "c": 1.0} for q in qrels}
    del two["q0"]
    result = compare(qrels, {"one": one, "two": two}, "strec@2", queries="intersection", samples=10)
    assert result["one"].counts["queries"] == 5
    assert result.contrast("strec@2", "one", "two").difference == 0.5


def test_files(tmp_path):
    qrels = GroupedQrels({"q1": {"s1": {"d1": 1, "d2": 0.5}, "s2": {"d2": 2}}, "q2": {"s1": {"d1": 1}}})
    qrels.write(tmp_path / "groups")
    assert GroupedQrels.read(tmp_path / "groups").to_dict() == qrels.to_dict()
    assert repr(qrels) == "GroupedQrels(2 queries, 3 groups, 4 judgments)"
    assert GroupedQrels.parse("\ufeff# a comment\n\nq s d 1\r\n").to_dict() == {"q": {"s": {"d": 1.0}}}
    preferences = Preferences.parse(b"q ann 0 d1 2\nq ann 0 d2 1\nq ann 1 d1 3\n")
    assert preferences["q"] == {"ann": [{"d1": 2.0, "d2": 1.0}, {"d1": 3.0}]}
    assert repr(preferences) == "Preferences(1 query, 1 judge)"
    assert Preferences.from_qrels(Qrels({"q": {"a": 1, "b": -1}}))["q"] == {"all": [{"a": 1.0}]}
    (tmp_path / "reference").write_text("q1 map 0.5 0.25\nq2 map 1 0\n")
    assert read_reference(tmp_path / "reference") == {"q1": {"map": (0.5, 0.25)}, "q2": {"map": (1.0, 0.0)}}


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("q s d", "malformed", "data, line 1: 3 columns, expected 4"),
        ("q s d 1\n\nq s d 1", "duplicate", "data, line 3: document 'd' comes a second time for query 'q', group 's'"),
        ("q s d x", "invalid_value", "data, line 1: the grade is 'x', expected a number"),
        ("q s d nan", "invalid_value", "expected a finite number"),
        (b"q s d 1\nq s \xff 1", "encoding", "data, line 2: byte 4 is not UTF-8"),
        ("# nothing\n", "empty", "data holds no line"),
    ],
)
def test_files_that_are_wrong(text, reason, message):
    with pytest.raises(DataError, match=message) as error:
        GroupedQrels.parse(text)
    assert error.value.reason == reason


def test_mappings_that_are_wrong(unchecked):
    for data in ([], {"q": 1}, {"q": {1: {"d": 1}}}, {"q": {"s": {1: 1}}}, {"q": {"s": {"d": "high"}}}):
        with pytest.raises(TypeError):
            GroupedQrels(data)
    with pytest.raises(TypeError, match=r"read with Preferences.read"):
        Preferences([])
    with pytest.raises(DataError, match="query 'q', judge 'ann': level -1, expected at least 0"):
        Preferences({"q": {"ann": [{"d": -1}]}})
    for name in (
        "alpha-ndcg(alpha=2)",
        "nrbp(beta=1)",
        "inst(t=0)",
        "nerr10(p=1)",
        "compat(p=0)",
        "bpm(max_grade=1)@3",
    ):
        with pytest.raises(EvalError, match="expected"):
            evaluate(GroupedQrels({"q": {"s": {"d": 2}}}), {"q": {"d": 1.0}}, name)


def test_standardized_values():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    runs = [{"q1": {"a": 1.0, "b": float(b)}, "q2": {"a": 2.0, "b": 1.0}} for b in (0, 2, 2)]
    reports = [evaluate(qrels, run, ["mrr", "num_ret"]) for run in runs]
    z = standardize(reports[0], reports)
    values = np.array([1, 0.5, 0.5])
    assert z.per_query["mrr"] == {"q1": pytest.approx((1 - values.mean()) / values.std(ddof=1)), "q2": 0.0}
    assert standardize(reports[0], {"q1": {"mrr": (0.5, 0.5)}}).per_query["mrr"]["q1"] == 1.0
    assert np.isnan(standardize(reports[0], {"q1": {"mrr": (0.5, 0.0)}}).per_query["mrr"]["q1"])
    with pytest.raises(EvalError, match="1 report, expected at least two"):
        standardize(reports[0], reports[:1])
    with pytest.raises(EvalError, match="lacks a query or a metric"):
        standardize(reports[0], [reports[0], evaluate(qrels, runs[0], "mrr")])
