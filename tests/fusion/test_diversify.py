"""MMR and DPP against plain loops and determinants."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import fusion
from jrank.errors import FusionError

N, D, K = 6, 4, 4
VALUES = st.floats(-2, 2, width=32)


def loop_mmr(relevance, similarity, k, lam):
    chosen, left = [], list(range(len(relevance)))
    while left and len(chosen) < k:

        def value(d):
            return lam * relevance[d] - (1 - lam) * max((similarity[s, d] for s in chosen), default=0.0)

        best = max(left, key=lambda d: (value(d), -d))
        chosen.append(best)
        left.remove(best)
    return chosen + [-1] * (k - len(chosen))


def similarities(rng, n=N):
    v = rng.normal(size=(n, D))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return v, v @ v.T


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.7, 1.0])
@given(hnp.arrays(np.float64, N, elements=VALUES, unique=True), st.integers(0, 10**6))
def test_mmr_is_the_loop(lam, relevance, seed):
    _, similarity = similarities(np.random.default_rng(seed))
    got = fusion.mmr(relevance, similarity, k=K, lam=lam, norm=None)
    assert got.dtype == np.int32
    assert got.tolist() == loop_mmr(relevance, similarity, K, lam)
    scaled = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    assert fusion.mmr(relevance, similarity, k=K, lam=lam).tolist() == loop_mmr(scaled, similarity, K, lam)


def greedy_determinant(relevance, v, k, alpha):
    """Try every document at every step."""
    unit = v / np.linalg.norm(v, axis=1, keepdims=True)
    quality = np.exp(alpha * relevance)
    kernel = quality[:, None] * (unit @ unit.T) * quality
    chosen = []
    for _ in range(k):
        dets = {d: np.linalg.det(kernel[np.ix_([*chosen, d], [*chosen, d])]) for d in range(len(v)) if d not in chosen}
        chosen.append(max(dets, key=dets.get))
    return chosen


@pytest.mark.parametrize("alpha", [0.1, 1.0, 3.0])
def test_dpp_is_the_greedy_determinant(alpha):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        relevance, v = rng.random(N), rng.normal(size=(N, D))
        assert fusion.dpp(relevance, v, k=K, alpha=alpha).tolist() == greedy_determinant(relevance, v, K, alpha)


def test_dpp_without_relevance_is_near_the_best_volume():
    rng = np.random.default_rng(0)
    v, similarity = similarities(rng)
    chosen = fusion.dpp(np.zeros(N), v, k=3)
    best = max(np.linalg.det(similarity[np.ix_(c, c)]) for c in itertools.combinations(range(N), 3))
    assert np.linalg.det(similarity[np.ix_(chosen, chosen)]) > best / 6  # the bound of greedy choice, 1 / 3!


def test_copies_and_zero_vectors():
    v = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 0], [0, 1.0, 0], [2.0, 0, 0]])
    assert fusion.dpp(np.array([3.0, 2.9, 9.0, 1.0, 2.5]), v, k=5).tolist() == [0, 3, -1, -1, -1]
    same = np.ones((3, 3))
    assert fusion.mmr(np.array([2.0, 2.0, 2.0]), same, k=5).tolist() == [0, 1, 2, -1, -1]


def test_large_relevance_does_not_overflow():
    rng = np.random.default_rng(1)
    relevance, v = np.array([1e4, -1e4, 0.0, 5e3, 1.0, 2.0]), rng.normal(size=(N, D))
    assert fusion.dpp(relevance, v, k=3).tolist() == [0, 3, 5]


@pytest.mark.parametrize("name", ["mmr", "dpp"])
def test_batches_masks_and_jax(name):
    rng = np.random.default_rng(2)
    relevance, v = rng.random((3, N)), rng.normal(size=(3, N, D))
    unit = v / np.linalg.norm(v, axis=-1, keepdims=True)
    other = unit @ np.swapaxes(unit, -1, -2) if name == "mmr" else v
    where = np.ones((3, N), bool)
    where[1, 2:] = where[2] = False
    fn = getattr(fusion, name)
    got = fn(relevance, other, k=K, where=where)
    assert got.shape == (3, K)
    assert (got[1, 2:] == -1).all()
    assert (got[2] == -1).all()
    few = other[1, :2, :2] if name == "mmr" else other[1, :2]
    assert got[1].tolist() == fn(relevance[1, :2], few, k=K).tolist()
    junk_rel = np.where(where, relevance, np.nan)
    junk = np.where(where[..., None], other, np.nan)
    if name == "mmr":
        junk = np.where(where[:, None, :], junk, np.nan)
    np.testing.assert_array_equal(fn(junk_rel, junk, k=K, where=where), got)
    np.testing.assert_array_equal(fn(np.where(where, relevance, -np.inf), junk, k=K), got)
    traced = jax.jit(lambda r, o, w: fn(r, o, k=K, where=w))
    on_jax = traced(jnp.asarray(junk_rel, jnp.float32), jnp.asarray(junk, jnp.float32), jnp.asarray(where))
    assert isinstance(on_jax, jax.Array)
    np.testing.assert_array_equal(np.asarray(on_jax), got)
    mapped = jax.jit(jax.vmap(lambda r, o, w: fn(r, o, k=K, where=w)))
    np.testing.assert_array_equal(
        np.asarray(mapped(jnp.asarray(relevance, jnp.float32), jnp.asarray(other, jnp.float32), jnp.asarray(where))),
        got,
    )


def test_lambda_goes_from_similarity_to_relevance():
    rng = np.random.default_rng(3)
    relevance = rng.random(N)
    _, similarity = similarities(rng)
    assert fusion.mmr(relevance, similarity, k=N, lam=1.0).tolist() == np.argsort(-relevance).tolist()
    best, values = fusion.tune_lambda(relevance, similarity, lambda c: relevance[c[:3]].sum(), k=3)
    assert best == 1.0
    assert values[1.0] == max(values.values())
    assert len(values) == 21


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r, s: fusion.mmr(r, s, k=0), "k is 0"),
        (lambda r, s: fusion.mmr(r, s, k=2, lam=1.5), "lam is 1.5"),
        (lambda r, s: fusion.mmr(r, s[:, :2], k=2), r"expected \[..., n, n\]"),
        (lambda r, s: fusion.mmr(r, s[:2], k=2), r"expected \[..., n\] and \[..., n, n\]"),
        (lambda r, s: fusion.dpp(r, s[:2], k=2), r"\[..., n, d\]"),
        (lambda r, s: fusion.dpp(r, s, k=True), "k is True"),
        (lambda r, s: fusion.mmr(r, s, k=2, where=np.ones(2)), "where has shape"),
        (lambda r, s: fusion.mmr(r, s, k=2, norm="x"), "unknown normalisation"),
        (lambda r, s: fusion.tune_lambda(r, s, len, k=1, candidates=[]), "no candidate"),
    ],
)
def test_what_is_refused(unchecked, call, message):
    with pytest.raises(FusionError, match=message):
        call(np.ones(3), np.eye(3))


def test_nothing_to_choose_from():
    assert fusion.mmr(np.zeros((2, 0)), np.zeros((2, 0, 0)), k=2).tolist() == [[-1, -1], [-1, -1]]
    assert fusion.dpp(np.zeros(0), np.zeros((0, 3)), k=2).tolist() == [-1, -1]
