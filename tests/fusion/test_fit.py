"""Learning how to fuse."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import fusion
from jrank.errors import FusionError
from jrank.evaluation import evaluate
from jrank.fusion._align import align
from jrank.fusion._search import Problem, simplex
from jrank.runs import Qrels, Run

RANKS = np.array([[1, 2, 3, 0], [2, 0, 1, 3]])


def systems(n=60, seed=0):
    """A good run, a poor run and a middling one that holds few documents, most of them relevant."""
    rng = np.random.default_rng(seed)
    qrels = {f"q{i}": {f"d{j}": int(rng.random() < 0.15) for j in range(40)} for i in range(n)}
    good, poor, few = {}, {}, {}
    for query, docs in qrels.items():
        good[query] = {d: g + 0.7 * rng.normal() for d, g in docs.items() if rng.random() < 0.8}
        poor[query] = {d: 100 * rng.normal() for d in docs if rng.random() < 0.8}
        few[query] = {d: rng.normal() for d, g in docs.items() if rng.random() < (0.7 if g else 0.05)}
    return qrels, [good, poor, few]


def test_simplex():
    for runs, steps, count in ((1, 10, 1), (2, 10, 11), (3, 10, 66), (4, 10, 286), (5, 10, 1001), (3, 4, 15)):
        weights = simplex(runs, steps)
        assert weights.shape == (count, runs)
        assert len(np.unique(weights, axis=0)) == count
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        np.testing.assert_array_equal(weights * steps, np.round(weights * steps))


@pytest.mark.parametrize("metric", ["ndcg@10", "map", "mrr@3", "bpref"])
def test_the_search_sees_what_evaluation_sees(metric):
    qrels, runs = systems(12)
    del runs[0]["q3"], runs[1]["q3"], runs[2]["q3"]
    runs[0]["extra"] = {"d1": 1.0}
    problem = Problem(align([Run(run) for run in runs], by_id=True), Qrels(qrels), metric)
    assert len(problem.parts) >= 1
    values = problem.values(lambda i: fusion.comb_sum(problem.parts[i].side.scores))
    want = evaluate(qrels, fusion.fuse(runs, method="comb_sum"), metric).values_by_metric[metric]
    np.testing.assert_allclose(values, want, atol=1e-12)


def test_grid_finds_what_trying_by_hand_finds():
    qrels, runs = systems(20)
    fitted = fusion.fit(runs, qrels, metric="ndcg@10")
    assert len(fitted.candidates) == 66
    by_hand = {}
    for weights in itertools.product(range(11), repeat=3):
        if sum(weights) == 10:
            w = [i / 10 for i in weights]
            by_hand[tuple(w)] = evaluate(qrels, fusion.fuse(runs, method="comb_sum", weights=w), "ndcg@10")["ndcg@10"]
    for params, score in fitted.candidates:
        assert score == pytest.approx(by_hand[tuple(params["weights"])], abs=1e-12)
    assert fitted.score == pytest.approx(by_hand[tuple(fitted.params["weights"])])
    assert fitted.score == pytest.approx(max(by_hand.values()))
    assert fitted.score > evaluate(qrels, runs[0], "ndcg@10")["ndcg@10"]
    assert evaluate(qrels, fitted.fuse(runs), "ndcg@10")["ndcg@10"] == pytest.approx(fitted.score)


@pytest.mark.parametrize("method", ["rrf", "isr", "rbc", "logn_isr", "comb_gmnz", "wmnz", "mixed", "dbsf", "borda"])
def test_grids_of_other_parameters(method):
    qrels, runs = systems(10)
    fitted = fusion.fit(runs, qrels, method=method, metric="map")
    best = max(score for _, score in fitted.candidates)
    assert best == pytest.approx(fitted.score)
    learned = next(params for params, score in fitted.candidates if score == best)
    assert fitted.params == learned
    assert len(fitted.candidates) > 4


def test_own_grid_and_fixed_options():
    qrels, runs = systems(10)
    fitted = fusion.fit(runs, qrels, method="rrf", grid=[3, 7], weights=[1, 0, 1])
    assert [params["k"] for params, _ in fitted.candidates] == [3, 7]
    assert fitted.params["weights"] == [1, 0, 1]
    raw = fusion.fit(runs, qrels, norm=None, metric="map")
    assert raw.params["norm"] is None
    assert raw.score == pytest.approx(evaluate(qrels, raw.fuse(runs), "map")["map"])


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("rbc", "logn_isr", "comb_gmnz")]


@pytest.mark.parametrize("method", ["comb_sum", "rrf", *SLOW])
def test_gradient_does_better_than_equal_weights(method):
    qrels, runs = systems(40)
    fitted = fusion.fit(runs, qrels, method=method, search="gradient", metric="ndcg@10", steps=150)
    equal = evaluate(qrels, fusion.fuse(runs, method=method), "ndcg@10")["ndcg@10"]
    assert fitted.score > equal + 0.02
    weights = fitted.params["weights"]
    assert abs(weights[1]) < abs(weights[0])
    again = fusion.Fitted.from_json(fitted.to_json())
    assert again.fuse(runs) == fitted.fuse(runs)


@pytest.mark.slow
def test_what_holding_a_document_is_worth_is_learned():
    qrels, runs = systems(60)
    fitted = fusion.fit(runs, qrels, search="gradient", folds=2, steps=150)
    grid = fusion.fit(runs, qrels, folds=2)
    # The third run holds few documents, and its scores say nothing: only its presence does.
    assert fitted.params["bias"][2] > 3 * abs(fitted.params["weights"][2])
    assert fitted.held_out > grid.held_out
    assert fitted.held_out == pytest.approx(fitted.score, abs=0.08)


def test_folds_are_honest():
    rng = np.random.default_rng(1)
    qrels = {f"q{i}": {f"d{j}": int(j == i % 7) for j in range(7)} for i in range(12)}
    runs = [{q: {d: rng.normal() for d in docs} for q, docs in qrels.items()} for _ in range(4)]
    fitted = fusion.fit(runs, qrels, metric="mrr", folds=4)
    assert fitted.held_out < fitted.score
    assert fitted.held_out == fusion.fit(runs, qrels, metric="mrr", folds=4).held_out
    assert fusion.fit(runs, qrels, metric="mrr").held_out is None


@pytest.mark.parametrize("method", ["mapfuse", "posfuse", "slidefuse", "probfuse", "segfuse", "bayesfuse"])
def test_counting_methods(method):
    qrels, runs = systems(30)
    # Scores of segfuse are used as they are: keep them positive and alike.
    runs = [{q: {d: float(1 / (1 + np.exp(-s))) for d, s in docs.items()} for q, docs in run.items()} for run in runs]
    fitted = fusion.fit(runs, qrels, method=method, metric="map", folds=3)
    assert fitted.held_out > evaluate(qrels, runs[1], "map")["map"] + 0.1
    assert fusion.Fitted.from_json(fitted.to_json()).fuse(runs) == fitted.fuse(runs)


def test_counting_ignores_runs_and_queries_without_documents():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    runs = [{"q1": {"a": 2.0, "b": 1.0}}, {"q1": {}}]
    fitted = fusion.fit(runs, qrels, method="posfuse")
    assert fitted.params["probs"] == [[1.0, 0.0], [0.0]]


def test_deeper_than_trained():
    deep = np.arange(1, 1501)[None]
    odds = [np.linspace(1, -1, 1000).tolist()]
    assert np.isfinite(fusion.bayesfuse(deep, log_odds=odds)).all()
    assert fusion.bayesfuse(deep, log_odds=odds)[-1] == -1
    assert fusion.posfuse(deep, probs=[[0.5]])[-1] == 0
    assert fusion.segfuse(np.ones((1, 6000)), ranks=np.arange(1, 6001)[None], probs=[[0.5] * 10])[-1] == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda r, p: fusion.mapfuse(r, map_scores=p[:, 0]),
        lambda r, p: fusion.posfuse(r, probs=p),
        lambda r, p: fusion.slidefuse(r, probs=p, w=1),
        lambda r, p: fusion.probfuse(r, probs=p),
        lambda r, p: fusion.segfuse(r * 0.5, ranks=r, probs=p),
        lambda r, p: fusion.bayesfuse(r, log_odds=p),
    ],
)
def test_tables_under_jit_and_gradient(call):
    probs = np.array([[0.5, 0.25, 0.125], [0.3, 0.2, 0.1]])
    want = call(RANKS, probs)
    got = jax.jit(call)(jnp.asarray(RANKS), jnp.asarray(probs, jnp.float32))
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(call(jnp.asarray(RANKS), p))))(jnp.asarray(probs, jnp.float32))
    assert np.isfinite(np.asarray(gradient)).all()
    assert np.any(np.asarray(gradient))


def test_slidefuse_by_hand():
    probs = [[1.0, 0.5, 0.25, 0.0], [0.8, 0.4, 0.2]]
    got = fusion.slidefuse(RANKS, probs=probs, w=1)
    a = [(1 + 0.5) / 2, (1 + 0.5 + 0.25) / 3, (0.5 + 0.25) / 2]
    b = [(0.8 + 0.4) / 2, (0.8 + 0.4 + 0.2) / 3, (0.4 + 0.2) / 2]
    np.testing.assert_allclose(got, [a[0] + b[1], a[1], a[2] + b[0], b[2]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "comb_max"}, "nothing to learn by grid; choose one of: bayesfuse"),
        ({"method": "borda", "search": "gradient"}, "nothing to learn by gradient"),
        ({"search": "random"}, "search is 'random'"),
        ({"method": "posfuse", "search": "grid"}, "does not apply"),
        ({"folds": 1}, "folds is 1"),
        ({"folds": 99}, "99 folds for 10 queries"),
        ({"qrels": {"x": {"d": 1}}}, "no query in common"),
        ({"weights": [1, 1, 1]}, "weights is what the grid looks for"),
        ({"grid": []}, "the grid is empty"),
        ({"method": "rff"}, "unknown method"),
        ({"runs": []}, "no run"),
        ({"search": "gradient", "qrels": {"q0": {"zzz": 1}}}, "nothing to learn from"),
    ],
)
def test_what_is_refused(change, message):
    qrels, runs = systems(10)
    arguments = {"runs": runs, "qrels": qrels, **change}
    with pytest.raises(FusionError, match=message):
        fusion.fit(arguments.pop("runs"), arguments.pop("qrels"), **arguments)


def test_tables_that_do_not_fit(unchecked):
    for probs in (np.ones((3, 2)), [], [[]], np.ones(2)):
        with pytest.raises(FusionError, match="probs has shape"):
            fusion.posfuse(RANKS, probs=probs)
    with pytest.raises(FusionError, match="w is -1"):
        fusion.slidefuse(RANKS, probs=np.ones((2, 2)), w=-1)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"method": "rrf"}'])
def test_json_that_is_something_else(text):
    with pytest.raises(FusionError, match="no JSON of a fitted fusion"):
        fusion.Fitted.from_json(text)
    assert json.loads(fusion.Fitted("rrf", {"k": 3}, "map", 0.5).to_json())["params"] == {"k": 3}
