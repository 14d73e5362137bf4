"""Metrics of pairs and of graded or unjudged labels, against NumPy, SciPy and closed forms."""

import functools
import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from jrank import metrics as M
from jrank.errors import LearnError

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)


def bpref_of(ranked, labels, k):
    good, bad = sum(y >= 1 for y in labels), sum(0 <= y < 1 for y in labels)
    total = 0.0
    for r, y in enumerate(ranked):
        above = sum(0 <= z < 1 for z in ranked[:r])
        total += (y >= 1) * (1 - min(above, good) / min(bad, good) if above else 1.0)
    return total / good if good else 0.0


def err_of(ranked, labels, k):
    value, reached = 0.0, 1.0
    for r, y in enumerate(ranked[:k], 1):
        chance = max(2.0**y - 1, 0) / 2 ** max(labels, default=0)
        value, reached = value + reached * chance / r, reached * (1 - chance)
    return value


ORACLES = {
    M.bpref_metric: bpref_of,
    M.err_metric: err_of,
    M.success_metric: lambda ranked, labels, k: float(any(y >= 1 for y in ranked[:k])),
    M.hits_metric: lambda ranked, labels, k: float(sum(y >= 1 for y in ranked[:k])),
    M.judged_metric: lambda ranked, labels, k: sum(y >= 0 for y in ranked[:k]) / max(len(ranked[:k]), 1),
    M.rbp_metric: lambda ranked, labels, k: 0.2 * sum(0.8**r * (y >= 1) for r, y in enumerate(ranked[:k])),
    M.f_metric: lambda ranked, labels, k: (
        2 * sum(y >= 1 for y in ranked[:k]) / ((sum(y >= 1 for y in labels) + (k or len(ranked))) or 1)
    ),
    M.rprec_metric: lambda ranked, labels, k: (
        sum(y >= 1 for y in ranked[: sum(y >= 1 for y in labels)]) / max(sum(y >= 1 for y in labels), 1)
    ),
}
named = pytest.mark.parametrize("metric", list(ORACLES), ids=lambda m: m.__name__)
CUT = {M.bpref_metric: {}, M.rprec_metric: {}}


def oracle(metric, scores, labels, k):
    order = np.argsort(-scores[scores > -np.inf], kind="stable")
    return ORACLES[metric](labels[scores > -np.inf][order].tolist(), labels.tolist(), k)


@functools.cache
def jitted(metric, **options):
    def run(scores, labels, where=None, segments=None):
        return metric(scores, labels, where=where, segments=segments, reduce_fn=None, **options)

    return jax.jit(run)


def sample(seed, shape=(6, 9)):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, size=shape).astype(np.float32)
    scores[rng.random(shape) < 0.15] = -np.inf
    return scores, rng.integers(-1, 4, size=shape).astype(np.float32), rng.random(shape) < 0.8


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        (M.err_metric, 0.53125),
        (M.rbp_metric, 0.36),
        (M.arp_metric, 5 / 3),
        (M.opa_metric, 0.8),
        (M.rprec_metric, 1.0),
    ],
)
def test_known_values(metric, value):
    np.testing.assert_allclose(metric(S, Y), value, rtol=1e-6)


@named
def test_random_lists(metric):
    for k in (None, 3):
        options = CUT.get(metric, {"topn": k})
        scores, labels, where = sample(0)
        junk = np.where(where, scores, np.nan).astype(np.float32), np.where(where, labels, np.inf).astype(np.float32)
        got = jitted(metric, **options)(*junk, where)
        rows = zip(scores, labels, where, strict=True)
        np.testing.assert_allclose(got, [oracle(metric, s[m], y[m], k) for s, y, m in rows], rtol=1e-6, atol=1e-7)
        segments = np.random.default_rng(1).integers(0, 3, size=scores.shape)
        got = np.asarray(jitted(metric, **options)(*junk, where, segments))
        for b, one in itertools.product(range(3), range(3)):
            mine = where[b] & (segments[b] == one)
            if mine.any():
                want = oracle(metric, scores[b, mine], labels[b, mine], k)
                np.testing.assert_allclose(got[b, np.flatnonzero(mine)[0]], want, rtol=1e-6, atol=1e-7)
    assert metric(S, Y, where=np.zeros(4, bool)) == 0


@pytest.mark.parametrize("metric", [M.success_metric, M.hits_metric, M.f_metric, M.rprec_metric, M.rbp_metric])
def test_ties_by_enumeration(metric):
    scores = np.array([1.0, 0.0, 1.0, 0.0, 1.0, -np.inf], np.float32)
    labels = np.array([0.0, 2.0, 1.0, 0.0, 3.0, 1.0], np.float32)
    options = CUT.get(metric, {"topn": 2})
    orders = itertools.permutations(range(6))
    values = [oracle(metric, scores[list(p)], labels[list(p)], 2) for p in orders]
    for ties, want in {"average": np.mean(values), "worst": min(values), "best": max(values)}.items():
        np.testing.assert_allclose(metric(scores, labels, ties=ties, **options), want, rtol=1e-6)


def test_graded_options():
    # trec_eval: gains over the largest of the list.
    np.testing.assert_allclose(M.rbp_metric(S, Y, graded=True), 0.2 * (0.5 + 0.8), rtol=1e-6)
    want = 1 / 16 + (1 - 1 / 16) * (3 / 16) / 2
    np.testing.assert_allclose(M.err_metric(S, Y, max_label=4), want, rtol=1e-6)
    np.testing.assert_allclose(M.f_metric(S, Y, topn=1, beta=2.0), 5 * 1 * 0.5 / (4 * 1 + 0.5), rtol=1e-6)


def test_pairs():
    scores, labels, where = sample(4, (3, 40))
    weights = np.random.default_rng(5).random((3, 40)).astype(np.float32)
    for ties, half in {"worst": 0.0, "average": 0.5, "best": 1.0}.items():
        got = M.opa_metric(scores, labels, where=where, weights=weights, ties=ties, reduce_fn=None)
        for b in range(3):
            s, y, w = scores[b, where[b]], labels[b, where[b]], weights[b, where[b], None]
            counts = (y[:, None] > y[None, :]) * w
            right = (s[:, None] > s[None, :]) + half * (s[:, None] == s[None, :])
            np.testing.assert_allclose(got[b], np.sum(right * counts) / counts.sum(), rtol=1e-5)
    finite = np.where(np.isfinite(scores), scores, -9)
    segments = np.random.default_rng(6).integers(0, 2, size=scores.shape)
    tau = M.kendall_metric(scores, labels, where=where, reduce_fn=None)
    gamma = M.kendall_metric(scores, labels, where=where, segments=segments, variant="gamma", reduce_fn=None)
    for b in range(3):
        s, y = finite[b, where[b]], labels[b, where[b]]
        np.testing.assert_allclose(tau[b], stats.kendalltau(s, y).statistic, rtol=1e-5)
        first = segments[b, where[b]] == segments[b, where[b]][0]
        np.testing.assert_allclose(
            gamma[b, np.flatnonzero(where[b])[0]],
            gamma_of(s[first], y[first]),
            rtol=1e-5,
        )
    assert M.kendall_metric(S, Y * 0) == 0
    np.testing.assert_allclose(M.kendall_metric(S, Y, variant="a"), (4 - 1) / 6, rtol=1e-6)
    assert M.opa_metric(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)) == 0


@pytest.mark.usefixtures("unchecked")
def test_bad_options():
    with pytest.raises(LearnError, match="variant"):
        M.kendall_metric(S, Y, variant="c")
    with pytest.raises(LearnError, match="ties"):
        M.opa_metric(S, Y, ties="stable")


def gamma_of(s, y):
    signs = np.sign(s[:, None] - s[None, :]) * np.sign(y[:, None] - y[None, :])
    return signs.sum() / np.abs(signs).sum()
