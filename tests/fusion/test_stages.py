"""Blending, refining, explaining."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank import fusion
from jrank.errors import FusionError
from jrank.fusion._methods import METHODS
from jrank.fusion._trained import TRAINERS
from jrank.runs import Run

BM25 = {"q1": {"a": 9.0, "b": 6.0, "c": 3.0, "d": 1.0}, "q2": {"x": 1.0}}
DENSE = {"q1": {"c": 0.9, "a": 0.5, "e": 0.1}, "q3": {"y": 1.0}}
LINEAR = sorted(n for n, m in METHODS.items() if "weights" in m.params and m.additive)
SCORES = st.dictionaries(st.sampled_from("abcdef"), st.integers(-5, 5).map(float), min_size=1)


def test_blend_by_hand():
    got = fusion.blend(BM25, DENSE, alpha=0.25)
    assert got["q1"] == pytest.approx(
        {"c": 0.25 * 0.25 + 0.75, "a": 0.25 + 0.375, "b": 0.25 * 0.625, "d": 0.0, "e": 0.0}
    )
    # Single documents count as 0.5, and as the lowest score where a run lacks them.
    assert got["q2"] == {"x": 0.125}
    assert got["q3"] == {"y": 0.375}
    raw = fusion.blend(BM25, DENSE, alpha=0.5, norm=None)
    assert raw["q1"]["c"] == pytest.approx(1.95)
    assert raw["q1"]["e"] == pytest.approx(0.55)


@given(SCORES, SCORES)
def test_ends_of_blend_are_the_runs(a, b):
    for alpha, run in ((1.0, a), (0.0, b)):
        mixed = fusion.blend({"q": a}, {"q": b}, alpha=alpha)["q"]
        for x in run:
            for y in run:
                assert mixed[x] > mixed[y] if run[x] > run[y] else True


@given(SCORES, SCORES, st.integers(1, 6))
def test_refine_moves_only_the_head(first, second, depth):
    order = list(Run({"q": first})["q"])
    for alpha in (0.0, 0.5, 1.0):
        got = fusion.refine({"q": first}, {"q": second}, alpha=alpha, depth=depth)["q"]
        head = [d for d in order[:depth] if d in second]
        assert set(list(got)[: len(head)]) == set(head)
        assert list(got)[len(head) :] == [d for d in order if d not in head]
        assert all(got[d] >= 1 for d in head)
    if alpha == 1.0:
        ranked = list(got)[: len(head)]
        assert [first[d] for d in ranked] == sorted((first[d] for d in head), reverse=True)


def test_refine_keeps_the_queries_of_the_first_stage():
    got = fusion.refine(BM25, DENSE, alpha=0.0)
    assert list(got) == ["q1", "q2"]
    assert list(got["q1"]) == ["c", "a", "b", "d"]
    assert got["q2"] == {"x": -1.0}


@pytest.mark.parametrize("fn", [fusion.blend, fusion.refine])
def test_stages_refuse(fn):
    with pytest.raises(FusionError, match="alpha is 2"):
        fn(BM25, DENSE, alpha=2)
    with pytest.raises(FusionError, match="unknown normalisation"):
        fn(BM25, DENSE, norm="x")
    with pytest.raises(FusionError, match="depth is 0"):
        fusion.refine(BM25, DENSE, depth=0)


# Explanations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", LINEAR)
def test_contributions_add_up(method):
    for options in ({}, {"weights": [0.3, 0.7]}):
        explained = fusion.explain([BM25, DENSE], "q1", method=method, options=options, k=None)
        fused = fusion.fuse([BM25, DENSE], method=method, **options)["q1"]
        assert {e.id: e.score for e in explained} == pytest.approx(fused)
        for e in explained:
            assert sum(s.contribution for s in e.sources) == pytest.approx(e.score, abs=1e-12)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {*TRAINERS, "mapfuse"}))
def test_sources_say_what_the_runs_say(method):
    explained = fusion.explain({"bm25": BM25, "dense": DENSE}, "q1", method=method, k=3)
    assert len(explained) == 3
    assert [e.rank for e in explained] == [1, 2, 3]
    assert [e.id for e in explained] == list(fusion.fuse([BM25, DENSE], method=method)["q1"])[:3]
    for e in explained:
        first, second = e.sources
        assert (first.run, second.run) == ("bm25", "dense")
        assert first.score == BM25["q1"].get(e.id)
        assert second.rank == ({"c": 1, "a": 2, "e": 3}.get(e.id))
        assert e.consensus == (first.rank is not None) / 2 + (second.rank is not None) / 2


def test_bias_belongs_to_the_run():
    for weights in ([1.0, 2.0], [0.0, 2.0]):
        for e in fusion.explain(
            [BM25, DENSE], "q1", method="comb_sum", options={"bias": [5.0, 7.0], "weights": weights}
        ):
            assert sum(s.contribution for s in e.sources) == pytest.approx(e.score)


def test_explanations_at_the_edges():
    assert fusion.explain([{"q": {}}], "q") == []
    assert fusion.explain([BM25, DENSE], "q2")[0].sources[1].rank is None
    assert fusion.explain([BM25, DENSE], "q1", method="condorcet")[0].sources[0].contribution is None
    assert fusion.explain([BM25], "q1", method="comb_max")[0].sources[0].normalized == 1.0
    assert str(fusion.explain([BM25, DENSE], "q2")[0]).endswith("run 2: -)")
    with pytest.raises(FusionError, match="no run holds the query 'zz'"):
        fusion.explain([BM25], "zz")
    with pytest.raises(FusionError, match="no run holds the query 'zz'"):
        fusion.consensus([BM25], "zz")


def test_consensus():
    a = {"q": {f"d{i}": -float(i) for i in range(20)}}
    b = {"q": {f"d{i}": float(i) for i in range(18)} | {"new": 99.0}}
    got = fusion.consensus({"a": a, "b": b}, "q")
    assert len(got.everywhere) == 18
    assert got.single == {"a": ["d18", "d19"], "b": ["new"]}
    assert got.overlap == pytest.approx(18 / 21)
    assert got.spread["d0"] == (1, 19)
    assert "d9" not in got.spread
    top = fusion.consensus({"a": a, "b": b}, "q", depth=3)
    assert top.everywhere == []
    assert top.single["a"] == ["d0", "d1", "d2"]


def test_attribution():
    fused = fusion.fuse([BM25, DENSE])
    got = fusion.attribute(fused, [Run(BM25, name="bm25"), Run(DENSE, name="dense")], k=2)
    # Four documents: a and c of q1, x of q2, y of q3.
    assert got["bm25"] == {"held": 3 / 4, "top": 2 / 4, "only": 1 / 4}
    assert got["dense"] == {"held": 3 / 4, "top": 3 / 4, "only": 1 / 4}
    assert np.isclose(sum(row["only"] for row in got.values()), 0.5)
    with pytest.raises(FusionError, match="k is 0"):
        fusion.attribute(fused, [BM25], k=0)
