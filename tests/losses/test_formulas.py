"""Losses beyond Rax against known values and their formulas written out in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError
from tests.losses.oracles import S, Y, discount, ev, sample, softplus


@pytest.mark.parametrize(
    ("loss", "want"),
    [
        (L.arp2_loss, 2.548429364),
        (L.ndcg1_loss, 1.009580703),
        (L.ndcg2_loss, 0.390373531),
        (functools.partial(L.ndcg2pp_loss, mu=1.0), 0.754411472),
        (L.ndcg2pp_loss, 4.267773249),
        (L.lambdarank_loss, 0.364037942),
        (L.listnet_loss, 1.442744602),
        (L.p_listmle_loss, 11.289693699),
        (functools.partial(L.listmle_loss, ties="group"), 3.105661554),
        (functools.partial(L.smooth_ap_loss, temperature=0.1), 1 - 0.999988573),
        (L.neural_ndcg_loss, -0.823543678),
        (functools.partial(L.neural_ndcg_loss, temperature=0.1), -0.796711775),
        (functools.partial(L.pl_rank_loss, method="exact"), -2.853128410),
        (functools.partial(L.pl_rank_loss, method="exact", topn=2), -2.321534408),
        (functools.partial(L.policy_gradient_loss, method="exact"), -0.785784524),
    ],
)
def test_known_values(loss, want):
    np.testing.assert_allclose(ev(loss, S, Y), want, rtol=2e-6, atol=1e-7)


def test_known_gradients():
    grad = jax.grad(functools.partial(L.pl_rank_loss, method="exact"))(jnp.asarray(S), Y)
    np.testing.assert_allclose(grad, [-0.259202, 0.1084133, 0.078018, 0.0727707], atol=1e-6)
    grad = jax.grad(functools.partial(L.pl_rank_loss, method="exact", topn=2))(jnp.asarray(S), Y)
    np.testing.assert_allclose(grad, [-0.5904393, 0.3110487, 0.0871236, 0.192267], atol=1e-6)


def test_p_listmle_and_listwise_distillation():
    s, _ = sample(11)
    t = np.random.default_rng(0).normal(size=11).astype(np.float32)
    order = np.argsort(-t)
    r = s[order].astype(float)
    terms = np.array([np.log(np.sum(np.exp(r[k:]))) - r[k] for k in range(11)])
    place = np.arange(1, 12)
    np.testing.assert_allclose(ev(L.p_listmle_loss, s, t), np.sum((2.0 ** (11 - place) - 1) * terms), rtol=1e-5)
    w = 2.0 ** (11 - place) - 1
    np.testing.assert_allclose(ev(L.p_listmle_loss, s, t, normalize=True), np.sum(w / w.sum() * terms), rtol=1e-5)
    top = discount(place) * (place <= 4)
    got = ev(L.listwise_distillation_loss, s, t, topn=4)
    np.testing.assert_allclose(got, np.sum(top / top.sum() * terms), rtol=1e-5)
    got = ev(L.p_listmle_loss, s, t, position_weight_fn=lambda k, n: (k <= 4).astype(k.dtype))
    np.testing.assert_allclose(got, terms[:4].sum(), rtol=1e-5)
    # Weights that would overflow float32.
    long = np.random.default_rng(1).normal(size=300).astype(np.float32)
    assert np.isfinite(ev(L.p_listmle_loss, long, long, normalize=True))


def test_calibrated_softmax_has_one_more_item():
    s, y = sample(12)
    both = np.append(s, 0).astype(float)
    surprise = np.log(np.sum(np.exp(both))) - both
    want = np.sum(np.append(y, 0.5) * surprise)
    np.testing.assert_allclose(ev(L.calibrated_softmax_loss, s, y, virtual_label=0.5), want, rtol=1e-5)
    # At the minimum exp(score) is the label over that of the virtual item.
    best = np.log((y + 1) / 0.5).astype(np.float32)
    grad = jax.grad(functools.partial(L.calibrated_softmax_loss, virtual_label=0.5))(jnp.asarray(best), y + 1)
    np.testing.assert_allclose(grad, 0, atol=1e-4)


def test_ordinal_regression():
    s, y = sample(13)
    b = np.array([0.0, 1.0, 2.5], np.float32)
    z = s[:, None] - b
    reached = y[:, None] >= np.arange(1, 4)
    want = np.mean(np.sum(np.where(reached, softplus(-z), softplus(z)), axis=1))
    np.testing.assert_allclose(ev(L.ordinal_loss, s, y, thresholds=b), want, rtol=1e-5)
    np.testing.assert_allclose(ev(L.ordinal_loss, z, y), want, rtol=1e-5)
    assert ev(L.ordinal_loss, z, y, reduce_fn=None).shape == (11,)
    grad = jax.grad(lambda b: ev(L.ordinal_loss, s, y, thresholds=b))(jnp.asarray(b))
    np.testing.assert_allclose(grad, np.mean(reached - 1 / (1 + np.exp(-z)), axis=0), rtol=1e-4)


def test_preferences():
    policy, reference = np.array([-5.0, -9.0, -4.0], np.float32), np.array([-6.0, -7.0, -4.5], np.float32)
    labels = np.array([1.0, 0.0, 0.5], np.float32)
    x = 0.2 * ((policy - reference)[:, None] - (policy - reference)[None, :])
    counts = labels[:, None] > labels[None, :]
    options = {"reference": reference, "beta": 0.2}
    np.testing.assert_allclose(ev(L.dpo_loss, policy, labels, **options), softplus(-x)[counts].mean(), rtol=1e-5)
    want = (0.9 * softplus(-x) + 0.1 * softplus(x))[counts].mean()
    np.testing.assert_allclose(ev(L.dpo_loss, policy, labels, label_smoothing=0.1, **options), want, rtol=1e-5)
    got = ev(L.dpo_loss, policy, labels, variant="ipo", **options)
    np.testing.assert_allclose(got, np.mean((x / 0.2 - 1 / 0.4)[counts] ** 2), rtol=1e-5)
    got = ev(L.dpo_loss, policy, labels, variant="hinge", **options)
    np.testing.assert_allclose(got, np.maximum(0, 1 - x)[counts].mean(), rtol=1e-5)
    # LiPO-lambda: LambdaRank of the scaled differences.
    got = ev(L.dpo_loss, policy, labels, lambdaweight_fn=L.dcg_lambdaweight, **options)
    moved = 0.2 * (policy - reference)
    want = ev(L.pairwise_logistic_loss, moved, labels, lambdaweight_fn=L.dcg_lambdaweight)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    key = jax.random.key(0)
    wrong = [
        lambda: L.listnet_loss(S, Y, topn=3),
        lambda: L.pl_rank_loss(S, Y),
        lambda: L.pl_rank_loss(S, Y, method="x", key=key),
        lambda: L.pl_rank_loss(np.zeros(9), np.zeros(9), method="exact"),
        lambda: L.pl_rank_loss(S, Y, method="exact", segments=np.zeros(4, int)),
        lambda: L.policy_gradient_loss(S, Y, key=key, num_samples=1),
        lambda: L.pirank_loss(S, Y, depth=2),
        lambda: L.neural_ndcg_loss(S, Y, sinkhorn=2, segments=np.zeros(4, int)),
        lambda: L.dpo_loss(S, Y, variant="x"),
        lambda: L.dpo_loss(S, Y, label_smoothing=0.7),
        lambda: L.lambdarank_loss(S, Y, truncation=0),
        lambda: L.ordinal_loss(np.zeros((4, 3, 2)), Y),
        lambda: L.gradient_cache(lambda p, x: x, chunk_size=0),
        lambda: L.contrastive_loss(np.zeros((3, 2)), np.zeros((2, 2))),
        lambda: L.contrastive_loss(np.zeros((2, 2)), np.zeros((2, 3))),
        lambda: L.contrastive_loss(np.zeros((2, 2)), np.zeros((2, 2)), symmetric=True, where=np.ones((2, 2), bool)),
        lambda: L.plackett_luce_log_prob(S, np.arange(5)),
        lambda: L.arp1_loss(S, Y, method="x"),
        lambda: L.pairwise_logistic_loss(S, Y, method="sorted"),
        lambda: L.pairwise_logistic_loss(S, Y, method="sampled"),
    ]
    for call in wrong:
        with pytest.raises(LearnError) as caught:
            call()
        assert caught.value.hint or str(caught.value)
