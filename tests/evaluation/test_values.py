"""Metrics against other programs and against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.evaluation import evaluate
from jrank.runs import Qrels, Run

IDS = [f"d{i}" for i in range(8)]
QRELS = st.dictionaries(
    st.sampled_from(["q1", "q2"]),
    st.dictionaries(st.sampled_from(IDS), st.sampled_from([-1, 0, 0.5, 1, 1.5, 2, 3])),
    min_size=1,
)
RUN = st.fixed_dictionaries(
    {q: st.dictionaries(st.sampled_from(IDS), st.sampled_from([-1.0, 0.0, 1.0, 2.0])) for q in ("q1", "q2")}
)


def test_trec_eval_9_on_random_runs(golden):
    for collection in golden("evaluation.json")["collections"]:
        report = evaluate(collection["qrels"], collection["run"], list(collection["values"]))
        for metric, values in collection["values"].items():
            for query, value in values.items():
                assert report.per_query[metric][query] == pytest.approx(value, abs=1e-9), (metric, query)


@pytest.mark.data
def test_ranx_on_its_golden_set(data_dir):
    import json

    data = json.loads((data_dir / "fusion_golden_ranx.json").read_text())
    for name, want in data["metrics"].items():
        report = evaluate(data["inputs"]["qrels"], data["inputs"]["runs"][name], _ours(want))
        for metric, values in want.items():
            got = [report.per_query[_ours([metric])[0]][q] for q in ("q1", "q2")]
            assert got == pytest.approx(values, abs=1e-12), (name, metric)


def _ours(metrics):
    return [metric.replace("rbp.95", "rbp.95(scale=none)") for metric in metrics]


def loop_metrics(qrels, run):
    """One query, by the definitions."""
    ranking = sorted(sorted(run, reverse=True), key=lambda d: -run[d])
    grades = [qrels.get(d, 0) for d in ranking]
    relevant = sum(g >= 1 for g in qrels.values())
    ideal = sorted((g for g in qrels.values() if g > 0), reverse=True)

    def dcg(gains, k):
        return sum(g / math.log2(i + 2) for i, g in enumerate(gains[:k]) if g > 0)

    def share(a, b):
        return a / b if b else 0.0

    hits = [g >= 1 for g in grades]
    ranks = [i + 1 for i, hit in enumerate(hits) if hit]
    stop, going, err = 0.0, 1.0, 0.0
    for i, g in enumerate(grades[:4]):
        stop = (2 ** max(g, 0) - 1) / 2**3
        err += going * stop / (i + 1)
        going *= 1 - stop
    return {
        "ndcg@3": share(dcg(grades, 3), dcg(ideal, 3)),
        "ndcg": share(dcg(grades, 99), dcg(ideal, 99)),
        "map": share(sum((i + 1) / r for i, r in enumerate(ranks)), relevant),
        "map@3": share(sum((i + 1) / r for i, r in enumerate(ranks) if r <= 3), relevant),
        "mrr@2": 1 / ranks[0] if ranks and ranks[0] <= 2 else 0.0,
        "precision@5": sum(hits[:5]) / 5,
        "precision": share(sum(hits), len(hits)),
        "recall@2": share(sum(hits[:2]), relevant),
        "success@1": float(any(hits[:1])),
        "hits@4": sum(hits[:4]),
        "rprec": share(sum(hits[:relevant]), relevant),
        "f@3": share(2 * sum(hits[:3]), 3 + relevant),
        "rbp(p=0.5, scale=none)": sum(max(g, 0) * 0.5 ** (i + 1) for i, g in enumerate(grades)),
        "rbp(p=0.5, rel=2)": sum((g >= 2) * 0.5 ** (i + 1) for i, g in enumerate(grades)),
        "rbp_resid(p=0.5)": (
            sum(0.5 ** (i + 1) for i, d in enumerate(ranking) if qrels.get(d, -1) < 0) + 0.5 ** len(ranking)
            if any(qrels.get(d, -1) < 0 for d in ranking)
            else 0.0
        ),
        "err@4(max_grade=3)": err,
        "judged@2": share(sum(qrels.get(d, -1) >= 0 for d in ranking[:2]), len(ranking[:2])),
        "unjudged@2": sum(qrels.get(d, -1) < 0 for d in ranking[:2]) / 2,
        "iprec(recall=0.5)": max(
            ((i + 1) / r for i, r in enumerate(ranks) if i + 1 >= math.floor(0.5 * relevant + 0.5)), default=0.0
        ),
        "num_ret": len(run),
        "num_rel": relevant,
        "num_nonrel_judged_ret": sum(0 <= qrels.get(d, -1) < 1 for d in ranking),
    }


@given(QRELS, RUN)
def test_definitions(qrels, run):
    names = list(loop_metrics({}, {}))
    report = evaluate(qrels, run, names)
    for query, grades in qrels.items():
        want = loop_metrics(grades, run[query])
        for name in names:
            assert report.per_query[name][query] == pytest.approx(want[name], abs=1e-12), name
    for name in ("ndcg", "map", "rprec"):
        assert report[name] == pytest.approx(np.mean([loop_metrics(g, run[q])[name] for q, g in qrels.items()]))


@given(QRELS, RUN, st.permutations(IDS))
def test_order_of_input_and_shift_of_scores_do_not_matter(qrels, run, order):
    names = ["ndcg@3", "map", "bpref", "infap", "err@3", "rndcg", "ndcg_rel", "g", "bing", "mrr"]
    turned = {q: {d: d_[d] * 4 + 2 for d in order if d in d_} for q, d_ in run.items()}
    a, b = evaluate(qrels, run, names), evaluate(qrels, turned, names)
    assert a.per_query == b.per_query


@given(QRELS, RUN)
def test_removing_documents_beforehand_is_judged_only(qrels, run):
    names = ["ndcg@3", "map", "precision@2", "mrr", "rbp", "num_ret", "unjudged@3"]
    kept = {q: {d: s for d, s in run[q].items() if qrels.get(q, {}).get(d, -1) >= 0} for q in run}
    assert evaluate(qrels, run, names, judged_only=True).per_query == evaluate(qrels, kept, names).per_query


@given(QRELS, RUN)
def test_depth_is_removing_the_tail(qrels, run):
    names = ["ndcg", "map", "precision", "bpref", "rbp_resid", "rprec"]
    cut = {q: dict(list(Run(run)[q].items())[:3]) for q in run}
    assert evaluate(qrels, run, names, depth=3).per_query == evaluate(qrels, cut, names).per_query


def test_bounds_of_perfect_and_hopeless_rankings():
    qrels = {"q": {f"d{i}": i % 4 for i in range(12)}}
    perfect = {"q": {d: float(g) for d, g in qrels["q"].items()}}
    hopeless = {"q": {f"x{i}": 1.0 for i in range(5)}}
    names = [
        "ndcg",
        "ndcg@3",
        "map",
        "mrr",
        "rprec",
        "bpref",
        "recall",
        "rndcg",
        "ndcg_rel",
        "g",
        "bing",
        "iprec",
        "infap",
    ]
    best, worst = evaluate(qrels, perfect, names), evaluate(qrels, hopeless, names)
    for name in names:
        assert best[name] == pytest.approx(1.0, abs=1e-5), name
        assert worst[name] == 0, name


def test_ties_are_broken_by_document_id():
    tied = {"q": {"d1": 1.0, "d2": 1.0, "d3": 1.0}}
    assert evaluate({"q": {"d1": 1}}, tied, "mrr")["mrr"] == pytest.approx(1 / 3)
    assert evaluate({"q": {"d3": 1}}, tied, "mrr")["mrr"] == 1
    # Double precision: these two do not tie.
    assert evaluate({"q": {"d1": 1}}, {"q": {"d1": 1.00000001, "d2": 1.0}}, "mrr")["mrr"] == 1


def test_queries_without_relevant_documents_count_as_zero():
    report = evaluate({"q1": {"d": 1}, "q2": {"d": 0}, "q3": {}}, {"q1": {"d": 1.0}, "q2": {"d": 1.0}}, ["map", "ndcg"])
    assert report["map"] == report["ndcg"] == pytest.approx(1 / 3)
    assert report.counts == {"queries": 3, "missing": 1, "no_relevant": 2, "ignored": 0}


def test_bpref_without_judged_nonrelevant_documents():
    assert evaluate({"q": {"d1": 1}}, {"q": {"d1": 1.0, "d2": 2.0}}, "bpref")["bpref"] == 1


def test_no_underflow_far_down():
    qrels = {"q": {"last": 1}}
    run = {"q": {f"d{i}": float(-i) for i in range(20_000)} | {"last": -1e9}}
    report = evaluate(qrels, run, ["rbp", "err", "mrr"])
    assert report["mrr"] == pytest.approx(1 / 20_001)
    assert 0 <= report["rbp"] < 1e-300
    assert report["err"] == pytest.approx(0.5 / 20_001)


def test_tables_and_dictionaries_give_the_same():
    qrels, run = {"q": {"d1": 1}}, {"q": {"d2": 2.0, "d1": 1.0}}
    assert evaluate(Qrels(qrels), Run(run), "mrr").per_query == evaluate(qrels, run, "mrr").per_query


def test_custom_gains():
    qrels, run = {"q": {"a": 0, "b": 1, "c": 2, "d": -1}}, {"q": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 5.0}}
    report = evaluate(qrels, run, "ndcg(gain=0:1 1:8)")
    got = 1 / math.log2(3) + 8 / math.log2(4) + 2 / math.log2(5)
    assert report["ndcg(gain=0:1 1:8)"] == pytest.approx(got / (8 + 2 / math.log2(3) + 1 / math.log2(4)))
