"""Losses against LightGBM and sentence-transformers on random data (golden/make_losses.py)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jrank import losses as L
from tests.losses.oracles import discount, ev


def test_gradients_of_lightgbm(golden):
    data = golden("losses.json")["lightgbm"]
    s, y = np.array(data["scores"], np.float32), np.array(data["labels"], np.float32)
    segments = np.repeat(np.arange(len(data["sizes"])), data["sizes"])
    for case in data["cases"]:
        norm = case["norm"]
        loss = functools.partial(
            L.lambdarank_loss, truncation=case["truncation"], score_norm=norm, gradient_norm=norm, reduce_fn=jnp.sum
        )
        want = np.array([np.nan if g is None else g for g in case["gradient"]])
        known = np.isfinite(want)
        assert known.all()
        grad = np.asarray(jax.jit(jax.grad(lambda s, loss=loss: loss(s, y, segments=segments)))(s))
        # Its sigmoid is a table of 2^20 entries.
        np.testing.assert_allclose(grad[known], want[known], rtol=2e-4, atol=2e-5)
        # Without segments the truncated pairs are visited in another way.
        if norm and case["truncation"] == 5:
            mine = segments == 1
            alone = jax.jit(jax.grad(loss))(s[mine], y[mine])
            np.testing.assert_allclose(alone, grad[mine], rtol=1e-4, atol=1e-6)


def test_values_of_sentence_transformers(golden):
    data = golden("losses.json")["cross_encoders"]
    s, labels, y = (np.array(data[name], np.float32) for name in ("scores", "labels", "grades"))
    want = data["values"]
    pairs = np.sum(y[:, :, None] > y[:, None, :])
    total = {"reduce_fn": jnp.sum}
    np.testing.assert_allclose(ev(L.listnet_loss, s, y), want["listnet"], rtol=1e-5)
    np.testing.assert_allclose(ev(L.listmle_loss, s, labels), want["listmle"], rtol=1e-5)
    np.testing.assert_allclose(ev(L.p_listmle_loss, s, labels, normalize=True), want["p_listmle"], rtol=1e-5)
    np.testing.assert_allclose(ev(L.adr_mse_loss, s, y), want["adr_mse"], rtol=1e-5)
    # These divide by the number of pairs of the batch, and count in bits.
    np.testing.assert_allclose(ev(L.pairwise_logistic_loss, s, y) / np.log(2), want["ranknet"], rtol=1e-5)
    bits = pairs * np.log(2)
    np.testing.assert_allclose(ev(L.ndcg2_loss, s, y, **total) / bits, want["ndcg2"], rtol=1e-5)
    np.testing.assert_allclose(ev(L.ndcg2pp_loss, s, y, **total) / bits, want["ndcg2pp"], rtol=1e-5)
    np.testing.assert_allclose(ev(L.lambdarank_loss, s, y, **total) / bits, want["lambdarank"], rtol=1e-5)
    place = np.argsort(np.argsort(-s, axis=1), axis=1)
    kept = np.minimum(place[:, :, None], place[:, None, :]) < 3
    bits = np.sum((y[:, :, None] > y[:, None, :]) & kept) * np.log(2)
    np.testing.assert_allclose(
        ev(L.lambdarank_loss, s, y, truncation=3, **total) / bits, want["lambdarank@3"], rtol=1e-5
    )
    # NDCG-Loss1 there counts all pairs, and each item with itself.
    gains = (2**y - 1) / np.sum(-np.sort(-(2**y - 1), axis=1) * discount(np.arange(1, 8)), axis=1, keepdims=True)
    own = np.sum(gains * discount(place + 1)) * np.log(2)
    got = (ev(L.ndcg1_loss, s, y, all_pairs=True, **total) + own) / (4 * 49 * np.log(2))
    np.testing.assert_allclose(got, want["ndcg1"], rtol=1e-5)


def test_values_of_bi_encoders(golden):
    data = golden("losses.json")["bi_encoders"]
    q, d, hard, margins = (
        np.array(data[name], np.float32) for name in ("queries", "positives", "negatives", "margins")
    )
    got = ev(L.contrastive_loss, q, np.concatenate([d, hard]), temperature=1 / 20)
    np.testing.assert_allclose(got, data["multiple_negatives"], rtol=1e-5)
    scores = np.stack([np.sum(q * d, axis=1), np.sum(q * hard, axis=1)], axis=1)
    labels = np.stack([margins, 0 * margins], axis=1)
    np.testing.assert_allclose(ev(L.margin_mse_loss, scores, labels), data["margin_mse"], rtol=1e-5)
