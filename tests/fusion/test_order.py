"""Fused arrays in order; whole ranks by a table and runs entry by entry are equal to the general way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import fusion
from jrank.errors import FusionError
from jrank.fusion._align import align
from jrank.fusion._fuse import _block_by_block
from jrank.fusion._methods import resolve_method
from jrank.runs import Run

RNG = np.random.default_rng(0)
RANKS = np.where(RNG.random((40, 3, 30)) < 0.4, 0, RNG.integers(-1, 60, (40, 3, 30))).astype(np.int32)


def test_order_is_best_first_and_ties_by_place():
    scores = RNG.integers(-3, 4, (50, 37)).astype(np.float64)
    scores[RNG.random(scores.shape) < 0.2] = -np.inf
    want = np.argsort(-scores, axis=-1, kind="stable")
    np.testing.assert_array_equal(fusion.order(scores), want)
    np.testing.assert_array_equal(fusion.order(scores, k=5), want[:, :5])
    np.testing.assert_array_equal(fusion.order(jnp.asarray(scores)), want)
    np.testing.assert_array_equal(jax.jit(lambda x: fusion.order(x, k=5))(scores), want[:, :5])
    np.testing.assert_array_equal(fusion.order(scores.reshape(5, 10, 37), k=99), want.reshape(5, 10, 37))


@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_best_of_long_lists_are_those_of_the_whole_order(k):
    """The places of the best are looked for among few candidates; ties at their edge, infinities, rounding."""
    for scores in (
        RNG.normal(size=(20, 400)),
        RNG.integers(0, 6, (20, 400)).astype(float),
        np.where(RNG.random((20, 400)) < 0.97, -np.inf, RNG.normal(size=(20, 400))),
        1 + RNG.integers(0, 50, (20, 400)) * 2e-16,
        np.where(np.arange(400) % 37 == 0, np.inf, -RNG.random((20, 400))),
        np.full((3, 400), -np.inf),
        np.zeros((0, 400)),
    ):
        np.testing.assert_array_equal(fusion.order(scores, k=k), fusion.order(scores)[:, :k])
    want = np.argsort(-RNG.permutation(4000).reshape(10, 400), kind="stable")
    np.testing.assert_array_equal(fusion.order(np.argsort(want) * -1e-300, k=k), want[:, :k])


def test_order_puts_nan_last_and_takes_rounding_for_a_tie(unchecked):
    assert fusion.order(np.array([np.nan, 1.0, -np.inf, 2.0])).tolist() == [3, 1, 0, 2]
    assert fusion.order(jnp.array([np.nan, 1.0, -np.inf, 2.0])).tolist() == [3, 1, 0, 2]
    assert fusion.order(np.array([1.0, 1.0 + 2e-16, 1.0 + 1e-9])).tolist() == [2, 0, 1]
    assert fusion.order(np.zeros((2, 0))).shape == (2, 0)
    for k in (0, -1, 1.5, True):
        with pytest.raises(FusionError, match="k is"):
            fusion.order(np.zeros(3), k=k)


@pytest.mark.parametrize("weights", [None, np.array([0.5, 2.0, 0.0]), np.array([1.0, -1.0, 3.0])])
@pytest.mark.parametrize(("method", "options"), [("rrf", {"k": 7}), ("rrf", {"rank_base": 0}), ("rbc", {"phi": 0.3})])
def test_whole_ranks_give_what_others_give(method, options, weights):
    fn = getattr(fusion, method)
    want = fn(RANKS.astype(np.float64), weights=weights, **options)
    for kind in (np.int32, np.int64, np.int8):
        np.testing.assert_array_equal(fn(RANKS.astype(kind), weights=weights, **options), want)
    np.testing.assert_array_equal(fn(RANKS[0], weights=weights, **options), want[0])


def test_deep_ranks_whose_weight_vanishes_are_still_held():
    deep = np.array([[1, 60000, 0]])
    np.testing.assert_array_equal(fusion.rbc(deep, phi=0.5), [0.5, 0.0, -np.inf])
    assert fusion.rrf(np.array([[1, 10**9]])).tolist() == pytest.approx([1 / 61, 1 / (60 + 10**9)])


def ragged(seed):
    rng = np.random.default_rng(seed)
    queries = rng.permutation(12)[: 9 + seed % 3]
    return Run(
        {
            f"q{q}": {f"d{d}": float(s) for d, s in zip(rng.permutation(20)[:size], rng.normal(size=size), strict=True)}
            for q in queries
            for size in [int(rng.integers(1, 15))]
        }
    )


@pytest.mark.parametrize("norm", ["min_max", None, "zmuv", "sum", "max", "rank", "l2", "quantile", "dbsf", "sigmoid"])
@pytest.mark.parametrize("method", ["comb_sum", "comb_mnz", "comb_anz", "mixed", "comb_gmnz"])
def test_entry_by_entry_is_block_by_block(method, norm):
    runs = [ragged(seed) for seed in range(4)]
    params = {"norm": norm}
    if method != "comb_anz":
        params["weights"] = np.array([0.1, 0.2, 0.3, 0.4])
    if method == "comb_gmnz":
        params["gamma"] = 1.7
    for options in ({}, {"depth": 3}, {"queries": "intersection"}):
        aligned = align(runs, **options)
        found, _ = resolve_method(method, dict(params))
        want = aligned.to_run(_block_by_block(aligned, found, dict(params)))
        got = fusion.fuse(runs, method=method, **params, **options)
        assert {q: list(got[q]) for q in got} == {q: list(want[q]) for q in want}
        np.testing.assert_allclose(got.interned.values, want.interned.values, rtol=1e-14, atol=1e-15)


def test_votes_counted_in_bytes_are_those_counted_in_floats():
    for ranks in (RANKS, RANKS + 0.5 * (RANKS > 0), np.where(RANKS == 7, 40000, RANKS), np.zeros((2, 3, 4), np.int32)):
        want = fusion.condorcet(ranks, weights=np.ones(ranks.shape[-2]))
        np.testing.assert_array_equal(fusion.condorcet(ranks), want)
        np.testing.assert_array_equal(fusion.condorcet(ranks[0]), want[0])


def test_two_runs_are_counted_by_sorting():
    rng = np.random.default_rng(5)
    ranks = np.zeros((60, 2, 25), np.int32)
    for row in ranks.reshape(-1, 25):
        some = rng.permutation(25)[: rng.integers(0, 26)]
        row[some] = rng.permutation(len(some)) + 1
    want = fusion.condorcet(ranks, weights=np.ones(2))
    np.testing.assert_array_equal(fusion.condorcet(ranks), want)
    np.testing.assert_array_equal(fusion.condorcet(ranks[3]), want[3])
    ranks[ranks == 2] = 1
    np.testing.assert_array_equal(fusion.condorcet(ranks), fusion.condorcet(ranks, weights=np.ones(2)))
