"""Fusing runs on the host."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank import fusion
from jrank.errors import DataError, FusionError
from jrank.fusion._align import align
from jrank.fusion._methods import METHODS as ALL
from jrank.fusion._trained import TRAINERS
from jrank.runs import Run

METHODS = {name: m for name, m in ALL.items() if name not in {*TRAINERS, "mapfuse"}}
IDS = st.sampled_from(["a", "b", "c", "é", "d1", "d10"])
RUN = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(IDS, st.integers(-4, 4).map(float)))
RUNS = st.lists(RUN, min_size=1, max_size=4).filter(lambda runs: any(runs))


def by_hand(runs, method, **params):
    """Dense arrays per query, built with dictionaries."""
    fused = {}
    for query in dict.fromkeys(q for run in runs for q in run):
        lists = [Run(run)[query] if query in run else {} for run in runs]
        docs = sorted({d for one in lists for d in one})
        if not docs:
            fused[query] = {}
            continue
        ranks, scores = np.zeros((1, len(runs), len(docs))), np.full((1, len(runs), len(docs)), -np.inf)
        for i, one in enumerate(lists):
            for rank, (document, score) in enumerate(one.items(), 1):
                ranks[0, i, docs.index(document)] = rank
                scores[0, i, docs.index(document)] = score
        fused[query] = dict(zip(docs, METHODS[method](ranks, scores, **params)[0].tolist(), strict=True))
    return fused


@pytest.mark.parametrize("method", sorted(METHODS))
@given(RUNS)
def test_runs_of_any_shape(method, runs):
    got = fusion.fuse(runs, method=method).to_dict()
    want = by_hand(runs, method)
    assert got.keys() == want.keys()
    for query in want:
        assert got[query] == pytest.approx(want[query], rel=1e-12)


@given(RUNS, st.integers(1, 3))
def test_depth_is_cutting_the_runs(runs, depth):
    cut = [{q: dict(list(Run(run)[q].items())[:depth]) for q in run} for run in runs]
    assert fusion.fuse(runs, depth=depth) == fusion.fuse(cut)


@given(RUNS)
def test_order_of_runs_does_not_matter_to_rrf(runs):
    a, b = fusion.fuse(runs).to_dict(), fusion.fuse(runs[::-1]).to_dict()
    assert a.keys() == b.keys()
    for query in a:
        assert a[query] == pytest.approx(b[query], rel=1e-15)


def test_many_queries_of_different_length():
    rng = np.random.default_rng(0)
    runs = [
        {
            f"q{i}": {
                f"d{j}": float(s) for j, s in zip(rng.permutation(40)[: i % 17], rng.normal(size=i % 17), strict=True)
            }
            for i in rng.permutation(40)
        }
        for _ in range(3)
    ]
    for method in ("rrf", "comb_mnz", "condorcet", "borda"):
        got, want = fusion.fuse(runs, method=method).to_dict(), by_hand(runs, method)
        assert got.keys() == want.keys()
        for query in want:
            assert got[query] == pytest.approx(want[query], rel=1e-12)


def test_small_blocks_give_the_same():
    rng = np.random.default_rng(1)
    runs = [
        Run({f"q{i}": {f"d{j}": rng.normal() for j in range(rng.integers(0, 9))} for i in range(30)}) for _ in (1, 2)
    ]
    aligned = align(runs)
    want = fusion.fuse(runs)
    values = np.empty(len(aligned.codes))
    number = 0
    for side in aligned.sides(8):
        values[side.block.index[side.block.where]] = fusion.rrf(side.ranks)[side.block.where]
        number += 1
    assert number > 5
    assert aligned.to_run(values) == want


def test_union_and_intersection_of_queries():
    a, b = {"q1": {"d": 1.0}, "q2": {"d": 1.0}}, {"q2": {"e": 1.0}, "q3": {"d": 1.0}}
    assert set(fusion.fuse([a, b])) == {"q1", "q2", "q3"}
    assert fusion.fuse([a, b], queries="intersection").to_dict() == {"q2": {"d": 1 / 61, "e": 1 / 61}}
    with pytest.raises(FusionError, match="no query to fuse"):
        fusion.fuse([a, {"q9": {}}], queries="intersection")


def test_one_run_and_an_empty_query():
    run = {"q": {"a": 4.0, "b": 2.0, "c": 3.0}, "p": {}}
    assert fusion.fuse([run], method="comb_sum").to_dict() == {"q": {"a": 1.0, "c": 0.5, "b": 0.0}, "p": {}}


def test_ties_are_exact_and_broken_by_id():
    a = {f"q{i}": {f"a{j:03}": -float(j) for j in range(300)} for i in range(2)}
    b = {f"q{i}": {f"b{j:03}": -float(j) for j in range(300)} for i in range(2)}
    fused = fusion.fuse([a, b])["q0"]
    assert list(fused)[:4] == ["b000", "a000", "b001", "a001"]
    assert fused["a299"] == fused["b299"]


def test_runs_share_what_they_can():
    run = Run({"q": {"a": 1.0}})
    fused = fusion.fuse([run, run])
    assert fused.interned.vocabulary is run.interned.vocabulary
    assert fusion.fuse({"x": run, "y": fused})["q"]["a"] == 2 / 61


@pytest.mark.parametrize(
    ("call", "message", "reason"),
    [
        (lambda: fusion.fuse([]), "no run to fuse", "empty_input"),
        (lambda: fusion.fuse([{}]), "no query to fuse", "empty_input"),
        (lambda: fusion.fuse([{"q": {}}], method="rff"), r"'rff'; did you mean rrf.*: bayesfuse", "unknown_method"),
        (lambda: fusion.fuse([{"q": {}}], phi=3), "has no option 'phi'; it takes: weights, k", "invalid_config"),
        (lambda: fusion.fuse([{"q": {}}], preset="vespa"), "no preset 'vespa'; known: ranx", "invalid_config"),
        (lambda: fusion.fuse([{"q": {"d": 1.0}}], weights=[1, 2]), "for 1 runs", "invalid_config"),
        (lambda: fusion.fuse([{"q": {"d": 1.0}}], weights=[0]), "all weights are 0", "zero_weights"),
        (lambda: fusion.fuse([{"q": {}}], depth=0), "depth is 0", "invalid_config"),
        (lambda: fusion.fuse([{"q": {}}], queries="all"), "queries is 'all'", "invalid_config"),
        (lambda: fusion.fuse([{"q": {"d": 1.0}}], k=-1), "k is -1", "invalid_config"),
    ],
)  # fmt: skip
def test_what_is_refused(call, message, reason):
    with pytest.raises(FusionError, match=message) as error:
        call()
    assert error.value.reason == reason


def test_wrong_types(unchecked):
    with pytest.raises(TypeError, match="runs must be a list"):
        fusion.fuse(Run({"q": {}}))
    with pytest.raises(TypeError, match="method must be a name"):
        fusion.fuse([{"q": {}}], method=3)
    with pytest.raises(DataError, match="the score is nan"):
        fusion.fuse([{"q": {"d": float("nan")}}])


def test_the_host_path_never_imports_jax():
    code = (
        "import sys; from jrank import fusion; a = {'q': {'d': 1.0, 'e': 2.0}}; "
        "[fusion.fuse([a, a], method=m) for m in ('rrf', 'comb_med', 'condorcet')]; "
        "fusion.fit([a, a], {'q': {'d': 1}}); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_that_are_no_numbers():
    for weights in ("ab", ["a", "b"], {"bm25": 1}):
        with pytest.raises(FusionError, match="pass a list of numbers"):
            fusion.fuse([{"q": {"a": 1.0}}, {"q": {"a": 1.0}}], weights=weights)
