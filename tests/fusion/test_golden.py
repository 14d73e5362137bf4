"""Fused runs of ranx and of other systems."""

import json

import pytest

from jrank import fusion
from jrank.runs import Run


@pytest.mark.data
def test_ranx(data_dir):
    data = json.loads((data_dir / "fusion_golden_ranx.json").read_text())
    runs = list(data["inputs"]["runs"].values())
    checked = 0
    for name, case in data["fuse"].items():
        if case["method"] in {"condorcet", "w_condorcet"}:
            continue
        params = dict(case["params"])
        if case["method"] in {"sum", "mnz", "max", "min", "med", "anz", "gmnz", "wsum", "wmnz", "mixed"}:
            params["norm"] = case["norm"]
        got = fusion.fuse(runs, method=case["method"], **params).to_dict()
        for query, want in case["result"].items():
            assert got[query] == pytest.approx(want, abs=1e-12), name
            checked += len(want)
    assert checked > 600


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


@pytest.mark.data
@pytest.mark.parametrize(
    ("method", "parameter", "options"),
    [
        ("mapfuse", "map_scores", {}),
        ("posfuse", "probs", {}),
        ("slidefuse", "probs", {}),
        ("probfuse", "probs", {"segments": 5}),
        ("segfuse", "probs", {}),
        ("bayesfuse", "log_odds", {}),
    ],
)
def test_trained_as_ranx_trains(data_dir, method, parameter, options):
    data = json.loads((data_dir / "fusion_golden_ranx.json").read_text())
    runs, want = list(data["inputs"]["runs"].values()), data["fuse"][method]["params"][parameter]
    got = fusion.fit(runs, data["inputs"]["qrels"], method=method, **options).params[parameter]
    for mine, theirs in zip(got, want, strict=True):
        # Ranks deeper than any list of the run hold nothing to count.
        length = min(len(mine), len(theirs)) if isinstance(theirs, list) else None
        assert (
            (mine[:length], theirs[:length])[0] == pytest.approx(theirs[:length], abs=1e-12)
            if length
            else (mine == pytest.approx(theirs))
        )
