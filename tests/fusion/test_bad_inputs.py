"""What goes wrong when runs are fused, case by case: a stated value, or an error that says what came and what to do."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from jrank import fusion
from jrank.errors import DataError, FusionError

A = {"q": {"a": 2.0, "b": 1.0}}
B = {"q": {"b": 3.0, "c": 1.0}}
NAN, INF = float("nan"), float("inf")


def arrays(*rows):
    return np.array([rows], np.float64)


# What is wrong, the call, the reason, and what the message must say.
REFUSED = [
    ("no run", lambda: fusion.fuse([]), "empty_input", "there is no run to fuse; pass a list of runs"),
    ("no run in an array", lambda: fusion.rrf(np.zeros((2, 0, 3))), "empty_input", "ranks of shape (2, 0, 3)"),
    ("no run in scores", lambda: fusion.comb_max(np.zeros((0, 3))), "empty_input", "stack at least one run"),
    ("no run to vote", lambda: fusion.condorcet(jnp.zeros((0, 3))), "empty_input", "holds no run"),
    ("no query at all", lambda: fusion.fuse([{}]), "empty_input", "no query to fuse"),
    ("queries apart", lambda: fusion.fuse([A, {"p": {"x": 1.0}}], queries="intersection"), "empty_input", "ids"),
    ("a third way", lambda: fusion.fuse([A, B], queries="both"), "invalid_config", 'use "union" or "intersection"'),
    ("k = 0 with ranks from 0", lambda: fusion.fuse([A], k=0, rank_base=0), "invalid_config", "choose k above 0"),
    ("k + 1 = 0", lambda: fusion.fuse([A], k=-1), "invalid_config", "the first rank would divide by 0"),
    ("k + 1 = 0 on arrays", lambda: fusion.rrf(np.array([[1, 2]]), k=-1), "invalid_config", "choose k above -1"),
    ("isr divides by 0", lambda: fusion.fuse([A], method="isr", rank_base=0), "invalid_config", "choose k above 0"),
    ("k is NaN", lambda: fusion.fuse([A], k=NAN), "invalid_config", "k is nan, expected a finite number"),
    ("k is infinite", lambda: fusion.fuse([A], k=INF), "invalid_config", "k is inf, expected a finite number"),
    ("k is text", lambda: fusion.fuse([A], k="60"), "invalid_config", "k is '60', expected a finite number"),
    ("ranks from 2", lambda: fusion.fuse([A], rank_base=2), "invalid_config", "rank_base is 2, expected 0 or 1"),
    ("too few weights", lambda: fusion.fuse([A, B], weights=[1.0]), "invalid_config", "shape (1,) for 2 runs"),
    ("a table of weights", lambda: fusion.fuse([A, B], weights=[[1, 2], [3, 4]]), "invalid_config", "one for each run"),
    ("weight NaN", lambda: fusion.fuse([A, B], weights=[1.0, NAN]), "invalid_config", "not all finite"),
    ("weight infinite", lambda: fusion.comb_sum(arrays([1.0], [2.0]), weights=[INF, 1.0]), "invalid_config", "finite"),
    ("weights of text", lambda: fusion.fuse([A, B], weights=["a", "b"]), "invalid_config", "pass a list of numbers"),
    ("weights by name", lambda: fusion.rrf(np.ones((2, 3)), weights={"a": 1}), "invalid_config", "pass a list of"),
    ("all weights 0", lambda: fusion.fuse([A, B], weights=[0, 0]), "zero_weights", "give at least one run a weight"),
    ("phi = 1", lambda: fusion.fuse([A], method="rbc", phi=1), "invalid_config", "a finite number between 0 and 1"),
    ("phi is text", lambda: fusion.fuse([A], method="rbc", phi="x"), "invalid_config", "phi is 'x'"),
    ("sigma", lambda: fusion.fuse([A], method="logn_isr", sigma=-1), "invalid_config", "a finite number from 0 to 1"),
    ("gamma", lambda: fusion.fuse([A], method="gmnz", gamma=NAN), "invalid_config", "gamma is nan, expected"),
    ("gamma is text", lambda: fusion.comb_gmnz(np.ones((2, 3)), gamma="x"), "invalid_config", "gamma is 'x'"),
    ("power", lambda: fusion.fuse([A], method="isr", power=None), "invalid_config", "power is None, expected"),
    ("missing", lambda: fusion.fuse([A, B], method="sum", missing="max"), "invalid_config", 'use a number or "min"'),
    ("missing NaN", lambda: fusion.fuse([A, B], method="sum", missing=NAN), "invalid_config", "missing is nan"),
    (
        "clip",
        lambda: fusion.fuse([A], method="standardized", clip=3.0),
        "invalid_config",
        "a lower and a higher number",
    ),
    ("clip turned", lambda: fusion.standardized(np.ones((1, 2)), clip=(1, -1)), "invalid_config", "clip is (1, -1)"),
    ("points", lambda: fusion.fuse([A], method="borda", points="x"), "invalid_config", 'use "union" or "list"'),
    ("not trained", lambda: fusion.fuse([A], method="posfuse"), "invalid_config", "use fit(runs, qrels, method='posf"),
    ("a short table", lambda: fusion.fuse([A, B], method="posfuse", probs=[[0.5]]), "invalid_config", "2 runs"),
    ("a window of -1", lambda: fusion.slidefuse(np.ones((1, 2)), probs=[[1.0]], w=-1), "invalid_config", "w is -1"),
    ("no such method", lambda: fusion.fuse([A], method="rff"), "unknown_method", "did you mean rrf?"),
    ("no such option", lambda: fusion.fuse([A], phi=0.5), "invalid_config", "it takes: weights, k"),
    ("no such preset", lambda: fusion.fuse([A], preset="x"), "invalid_config", "known: ranx"),
    ("no such norm", lambda: fusion.fuse([A], method="sum", norm="x"), "invalid_config", "known: borda"),
    ("depth 0", lambda: fusion.fuse([A], depth=0), "invalid_config", "depth is 0, expected an integer of at least 1"),
    ("ranks without runs", lambda: fusion.rrf(np.array([1, 2])), "invalid_run", "expected [..., runs, docs]"),
    ("mask of another shape", lambda: fusion.rrf(np.ones((1, 2)), where=np.ones((3, 3))), "invalid_run", "(3, 3)"),
    ("pairs beyond memory", lambda: fusion.condorcet(np.ones((3, 10**6), np.int8)), "invalid_config", "cut the runs"),
    ("lambda", lambda: fusion.mmr(np.ones(3), np.ones((3, 3)), k=2, lam=NAN), "invalid_config", "from 0 to 1"),
    ("similarities", lambda: fusion.mmr(np.ones(3), np.ones((3, 2)), k=2), "invalid_run", "expected [..., n, n]"),
    (
        "share",
        lambda: fusion.blend(A, B, alpha=2),
        "invalid_config",
        "alpha is 2, expected a finite number from 0 to 1",
    ),
    ("share as text", lambda: fusion.refine(A, B, alpha="x"), "invalid_config", "alpha is 'x'"),
    ("no such query", lambda: fusion.explain([A, B], "z"), "invalid_run", "no run holds the query 'z'"),
    ("nothing judged", lambda: fusion.fit([A], {"z": {"a": 1}}), "empty_input", "check how the ids are written"),
    ("too many folds", lambda: fusion.fit([A], {"q": {"a": 1}}, folds=5), "invalid_config", "use fewer folds"),
    ("an empty grid", lambda: fusion.fit([A], {"q": {"a": 1}}, grid=[]), "empty_input", "pass candidates"),
    ("steps", lambda: fusion.fit([A], {"q": {"a": 1}}, steps=-1), "invalid_config", "steps is -1, expected an integer"),
    ("rate", lambda: fusion.fit([A], {"q": {"a": 1}}, learning_rate=NAN), "invalid_config", "learning_rate is nan"),
]


@pytest.mark.parametrize(("call", "reason", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(unchecked, call, reason, words):
    with pytest.raises(FusionError, match=re.escape(words)) as error:
        call()
    assert error.value.reason == reason


# What is wrong with a run is said when the run is made.
BROKEN = [
    (
        "a score that is NaN",
        {"q": {"a": NAN}},
        DataError,
        "query 'q', document 'a': the score is nan, expected a finite",
    ),
    ("an infinite score", {"q": {"a": INF}}, DataError, "the score is inf, expected a finite number"),
    ("ids of two types", {"q": {1: 1.0, "a": 2.0}}, TypeError, "document ids must be str, got int 1; write str(1)"),
    ("a score of text", {"q": {"a": "x"}}, TypeError, "the score must be a number, got str 'x'"),
    ("a path", "runs/bm25.trec", TypeError, "files are read with Run.read(path)"),
    ("a run among queries", A["q"], TypeError, "expected a mapping {document id: score}, got float"),
]


@pytest.mark.parametrize(("run", "error", "words"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_runs(unchecked, run, error, words):
    with pytest.raises(error, match=re.escape(words)):
        fusion.fuse([A, run])


# What looks wrong and has a value: the call and the result.
DEFINED = [
    ("one run", lambda: fusion.fuse([A], method="sum").to_dict(), {"q": {"a": 1.0, "b": 0.0}}),
    ("a query without documents", lambda: fusion.fuse([A, {"q": {}}]).to_dict(), {"q": {"a": 1 / 61, "b": 1 / 62}}),
    ("a run without queries", lambda: fusion.fuse([{}, A]).to_dict(), {"q": {"a": 1 / 61, "b": 1 / 62}}),
    ("other queries", lambda: sorted(fusion.fuse([A, {"p": {"x": 1.0}}])), ["p", "q"]),
    ("negative scores", lambda: fusion.normalize(arrays([-1.0, -2.0])[0], norm="max").tolist(), [[-0.5, -1.0]]),
    ("equal scores", lambda: fusion.normalize(np.ones((1, 2))).tolist(), [[0.0, 0.0]]),
    ("equal scores, half", lambda: fusion.normalize(np.ones((1, 2)), norm="min_max_half").tolist(), [[0.5, 0.5]]),
    ("one document", lambda: fusion.normalize(np.ones((1, 1)), norm="zmuv").tolist(), [[0.0]]),
    ("one document, dbsf", lambda: fusion.dbsf(np.full((1, 1), 7.0)).tolist(), [0.5]),
    ("a NaN is missing", lambda: fusion.comb_sum(arrays([NAN, 0, 1], [0, 1, 2])).tolist(), [[0.0, 0.5, 2.0]]),
    ("a weight of 0", lambda: list(fusion.fuse([A, {"q": {"b": 9.0}}], weights=[1, 0])["q"]), ["a", "b"]),
    ("no weight, no order", lambda: fusion.rrf(np.array([[1, 2], [2, 1]]), weights=[1, 0]).tolist(), [1 / 61, 1 / 62]),
    ("runs apart", lambda: fusion.fuse([A, {"q": {"z": 1.0}}], method="log_isr")["q"], {"z": 0.0, "b": 0.0, "a": 0.0}),
    ("scores of any size", lambda: fusion.comb_max(arrays([1e300, -1e300]), norm=None).tolist(), [[1e300, -1e300]]),
    ("the widest range", lambda: fusion.comb_sum(arrays([1.5e308, -1.5e308, 0])).tolist(), [[1.0, 0.0, 0.5]]),
    ("a cycle", lambda: fusion.condorcet(np.array([[1, 2, 3], [3, 1, 2], [2, 3, 1]])).tolist(), [2.0, 2.0, 2.0]),
    ("a rank of -1", lambda: fusion.rrf(np.array([[-1, 1]])).tolist(), [-INF, 1 / 61]),
    ("nothing retrieved", lambda: fusion.condorcet(np.zeros((2, 3), int)).tolist(), [-INF] * 3),
    ("lists without documents", lambda: fusion.borda(np.zeros((4, 2, 0), int)).shape, (4, 0)),
]


@pytest.mark.parametrize(("call", "want"), [row[1:] for row in DEFINED], ids=[row[0] for row in DEFINED])
def test_defined(call, want):
    assert call() == want


def test_deeper_than_trained():
    """Ranks beyond the last band count as its last; beyond a table of ranks they count nothing."""
    deep = np.arange(1, 1501)[None]
    odds = np.linspace(1, -1, 9)[None]
    assert np.isfinite(fusion.bayesfuse(deep, log_odds=odds)).all()
    assert fusion.posfuse(deep, probs=np.ones((1, 1000)))[999:1002].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("method", ["rrf", "sum", "mnz", "borda", "condorcet", "dbsf", "rbc", "mixed"])
def test_the_same_run_twice(method):
    run = {"q": {"a": 3.0, "b": -1.0, "c": 2.0}}
    assert list(fusion.fuse([run, run], method=method)["q"]) == ["a", "c", "b"]


def test_a_query_of_a_million_documents():
    ranks = np.stack([np.arange(1, 10**6 + 1), np.arange(10**6, 0, -1)]).astype(np.int32)
    assert fusion.order(fusion.rrf(ranks), k=2).tolist() == [0, 10**6 - 1]
    assert fusion.borda(ranks).min() == 10**6 + 1
