"""NeuralNDCG, PiRank and SmoothAP against their formulas."""

import numpy as np
import pytest

from jrank import losses as L
from tests.losses.oracles import ap, discount, ev, ndcg, sample


def neural_sort(s, t):
    n, s = len(s), s.astype(float)
    logits = ((n + 1 - 2 * np.arange(1, n + 1))[:, None] * s - np.abs(s[:, None] - s).sum(1)) / t
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@pytest.mark.parametrize("topn", [None, 4])
def test_neural_ndcg_and_pirank(topn, monkeypatch):
    monkeypatch.setattr("jrank.losses._neural_sort.BLOCK_ITEMS", 33)  # three rows at a time
    for seed in range(2):
        s, y = sample(seed)
        s[4] = s[5]
        where = np.arange(11) != 2
        p, gains = neural_sort(s[where], 0.7), 2.0 ** y[where] - 1
        d = discount(np.arange(1, 11)) * (np.arange(10) < (topn or 99))
        best = np.sum(np.sort(gains)[::-1] * d)
        options = {"where": where, "topn": topn, "temperature": 0.7}
        np.testing.assert_allclose(ev(L.neural_ndcg_loss, s, y, **options), -np.sum(d * (p @ gains)) / best, rtol=1e-5)
        grades = p @ y[where]
        np.testing.assert_allclose(
            ev(L.pirank_loss, s, y, **options), 1 - np.sum(d * (2**grades - 1)) / best, rtol=1e-5
        )
        hard = ev(L.pirank_loss, s, y, straight_through=True, **options)
        order = p.argmax(1)
        np.testing.assert_allclose(hard, 1 - np.sum(d * (2 ** y[where][order] - 1)) / best, rtol=1e-5)
        for _ in range(50):
            p = p / p.sum(0)
            p = p / p.sum(1, keepdims=True)
        got = ev(L.neural_ndcg_loss, s, y, sinkhorn=50, **options)
        np.testing.assert_allclose(got, -np.sum(d * (p @ gains)) / best, rtol=1e-4)


@pytest.mark.slow
def test_soft_permutations_of_every_method_are_hard_at_low_temperature():
    s, y = sample(9)
    want = ndcg(y[np.argsort(-s)].astype(float), 5)
    for method in ("neuralsort", "softsort", "network"):
        got = ev(L.neural_ndcg_loss, s, y, method=method, temperature=1e-3, topn=5)
        np.testing.assert_allclose(-got, want, rtol=1e-4)
    for depth in (1, 2, 3):
        np.testing.assert_allclose(
            1 - ev(L.pirank_loss, s, y, temperature=1e-3, topn=2, depth=depth),
            ndcg(y[np.argsort(-s)].astype(float), 2),
            rtol=1e-4,
        )


def test_smooth_ap():
    s, y = sample(10)
    sig = 1 / (1 + np.exp(-(s[None, :] - s[:, None]).astype(float) / 0.3)) * ~np.eye(11, dtype=bool)
    rel = y >= 2
    want = 1 - np.mean(((1 + sig[:, rel].sum(1)) / (1 + sig.sum(1)))[rel])
    np.testing.assert_allclose(ev(L.smooth_ap_loss, s, y, temperature=0.3, threshold=2), want, rtol=1e-5)
    hard = ev(L.smooth_ap_loss, s, y, temperature=1e-5)
    np.testing.assert_allclose(1 - hard, ap(y[np.argsort(-s)].astype(float)), rtol=1e-5)
