"""Fused runs of ranx and of other systems."""

import json

import pytest

from jrank import fusion
from jrank.runs import Run

# Trained methods take their parameters from data; they have tests of their own.
TRAINED = {"mapfuse", "posfuse", "bayesfuse", "segfuse", "slidefuse", "probfuse"}


@pytest.mark.data
def test_ranx(data_dir):
    data = json.loads((data_dir / "fusion_golden_ranx.json").read_text())
    runs = list(data["inputs"]["runs"].values())
    checked = 0
    for name, case in data["fuse"].items():
        if case["method"] in TRAINED | {"condorcet", "w_condorcet"}:
            continue
        params = dict(case["params"])
        if case["method"] in {"sum", "mnz", "max", "min", "med", "anz", "gmnz", "wsum", "wmnz", "mixed"}:
            params["norm"] = case["norm"]
        got = fusion.fuse(runs, method=case["method"], **params).to_dict()
        for query, want in case["result"].items():
            assert got[query] == pytest.approx(want, abs=1e-12), name
            checked += len(want)
    assert checked > 500


@pytest.mark.data
@pytest.mark.parametrize("name", ["condorcet", "w_condorcet"])
def test_ranx_orders_by_condorcet_where_votes_decide(data_dir, name):
    # Sorting by votes gives places; ours counts victories, so draws get equal scores. The orders must not contradict.
    data = json.loads((data_dir / "fusion_golden_ranx.json").read_text())
    case = data["fuse"][name]
    got = fusion.fuse(list(data["inputs"]["runs"].values()), method=name, **case["params"]).to_dict()
    if name == "w_condorcet":
        # With weights the two documents that only one run holds draw by their weight: only the winner is beyond doubt.
        for query, want in case["result"].items():
            assert max(want, key=want.get) == max(got[query], key=got[query].get)
        return
    for query, want in case["result"].items():
        for a in want:
            for b in want:
                if got[query][a] > got[query][b]:
                    assert want[a] > want[b], (query, a, b)


def test_qdrant_rrf():
    lists = [["2", "1"], ["1", "2", "3"], ["5", "3", "1"]]
    runs = [{"q": {d: -float(i) for i, d in enumerate(ids)}} for ids in lists]
    fused = fusion.fuse(runs, method="rrf", preset="qdrant")["q"]
    assert fused == pytest.approx({"1": 1.0833334, "2": 0.8333334, "3": 0.5833334, "5": 0.5}, abs=1e-6)
    weighted = fusion.fuse(runs, method="rrf", preset="qdrant", weights=[1, 2, 1])["q"]
    assert weighted["3"] == pytest.approx(1 / (3 / 2 + 1) + 1 / 3)


def test_presets_differ_as_the_systems_do():
    runs = [{"q": {"a": 2.0, "b": 1.0}}, {"q": {"b": 1.0}}]
    assert fusion.fuse(runs, preset="ranx")["q"]["b"] == pytest.approx(1 / 62 + 1 / 61)
    assert fusion.fuse(runs, preset="weaviate")["q"]["b"] == pytest.approx(1 / 61 + 1 / 60)
    assert fusion.fuse(runs, preset="weaviate", k=10)["q"]["b"] == pytest.approx(1 / 11 + 1 / 10)
    assert fusion.fuse(runs, method="isr", preset="rankops")["q"]["b"] == pytest.approx(2**-0.5 + 1)
    assert fusion.fuse(runs, method="borda", preset="rankops")["q"] == {"a": 2.0, "b": 2.0}
    assert fusion.fuse(runs, method="borda", preset="ranx")["q"] == {"a": 3.0, "b": 3.0}


def test_names_are_those_of_the_methods():
    run = fusion.fuse([Run({"q": {"a": 1.0}})], method="rrf")
    assert run.name == "rrf"
    assert fusion.fuse([run], method="rrf", name="x").name == "x"
