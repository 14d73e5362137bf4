"""Clicks, propensities and off-policy estimates: simulated with known truth, and against formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError
from jrank.losses import unbiased as U

THETA = np.array([1.0, 0.7, 0.45, 0.3, 0.2], np.float32)
S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)


@pytest.fixture(scope="module")
def logs():
    """A log of 6000 sessions: 40 queries of 5 documents, shown in different orders, and the truth."""
    rng = np.random.default_rng(0)
    gamma = rng.uniform(0.2, 0.95, size=(40, 5)).astype(np.float32)
    query = rng.integers(0, 40, size=6000)
    # Three rankers that agree in part: most items are seen at a few positions.
    base = rng.normal(size=(3, 40, 5))
    scores = (base[0][query] + base[rng.integers(0, 3, size=6000), query]).astype(np.float32)
    ranks = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
    chance = THETA[ranks - 1] * gamma[query]
    clicks = (rng.random(chance.shape) < chance).astype(np.float32)
    items = query[:, None] * 5 + np.arange(5)[None, :]
    return {"clicks": clicks, "ranks": ranks, "items": items, "gamma": gamma, "scores": scores, "query": query}


def test_power_propensities_and_click_probabilities():
    np.testing.assert_allclose(U.power_propensities(3, eta=2.0), [1, 1 / 4, 1 / 9], rtol=1e-6)
    np.testing.assert_allclose(U.click_probabilities(np.array([0.0, 1, 4])), [0.1, 0.1 + 0.9 / 15, 1.0], rtol=1e-6)
    at = U.propensities_at(THETA[:2], S, where=np.array([1, 1, 0, 1]))
    np.testing.assert_allclose(at, [1.0, 0.7, 0, 0], rtol=1e-6)


def many(model, n=20_000, **options):
    """Mean clicks of many users on one ranking."""
    scores, labels = jnp.array([4.0, 3.0, 2.0, 1.0]), jnp.array([0.0, 4.0, 2.0, 4.0])
    keys = jax.random.split(jax.random.key(1), n)
    draw = jax.jit(jax.vmap(lambda key: model(key, scores, labels, **options)))
    return np.asarray(draw(keys)).mean(0), np.asarray(U.click_probabilities(labels))


def test_clicks_have_the_probabilities_of_their_models():
    mean, gamma = many(U.position_clicks, propensities=THETA)
    np.testing.assert_allclose(mean, THETA[:4] * gamma, atol=0.015)
    mean, gamma = many(U.cascade_clicks)
    np.testing.assert_allclose(mean, gamma * np.append(1, np.cumprod(1 - gamma)[:-1]), atol=0.015)
    mean, gamma = many(U.cascade_clicks, after_click=0.6, after_skip=0.9)
    stay = gamma * 0.6 + (1 - gamma) * 0.9
    np.testing.assert_allclose(mean, gamma * np.append(1, np.cumprod(stay)[:-1]), atol=0.015)
    plus, minus = np.array([1, 0.9, 0.8, 0.7, 0.6], np.float32), np.array([0.6, 0.4, 0.2, 0.1, 0], np.float32)
    mean, gamma = many(U.trust_clicks, propensities=THETA, true_clicks=plus, false_clicks=minus)
    want = THETA[:4] * (plus[:4] * gamma + minus[:4] * (1 - gamma))
    np.testing.assert_allclose(mean, want, atol=0.015)


def test_masked_items_are_not_shown():
    where = np.array([True, False, True, True])
    junk = np.array([1.0, np.nan, 3.0, 2.0], np.float32)
    for seed in range(3):
        clicks = U.position_clicks(jax.random.key(seed), junk, junk + 1, where=where, propensities=np.ones(3))
        assert clicks[1] == 0
        assert np.isfinite(clicks).all()
        assert U.cascade_clicks(jax.random.key(seed), junk, junk + 1, where=where)[1] == 0


def test_position_em_finds_the_truth(logs):
    model = U.position_em(logs["clicks"], logs["ranks"], logs["items"], num_items=200, num_positions=5, num_steps=300)
    np.testing.assert_allclose(model.propensities, THETA, atol=0.06)
    assert np.corrcoef(model.relevance, logs["gamma"].reshape(-1))[0, 1] > 0.9
    # One step of the algorithm, written out.
    start = np.full(5, 0.5), np.full(200, 0.5)
    c, r, d = logs["clicks"].reshape(-1), logs["ranks"].reshape(-1) - 1, logs["items"].reshape(-1)
    t, g = start[0][r], start[1][d]
    looked = c + (1 - c) * t * (1 - g) / (1 - t * g)
    theta = np.array([looked[r == k].mean() for k in range(5)])
    one = U.position_em(logs["clicks"], logs["ranks"], logs["items"], num_items=200, num_positions=5, num_steps=1)
    np.testing.assert_allclose(one.propensities, theta / theta[0], rtol=1e-4)


@pytest.mark.parametrize("method", ["all_pairs", "adjacent_chain", "pivot"])
def test_harvesting_finds_the_truth(logs, method):
    got = U.harvest_propensities(
        logs["clicks"], logs["ranks"], logs["items"], num_items=200, num_positions=5, method=method
    )
    np.testing.assert_allclose(got, THETA, atol=0.08)
    # Sessions that are masked, and positions beyond the last, are not in the log.
    wild = np.where(np.arange(6000)[:, None] < 3000, logs["clicks"], 1.0).astype(np.float32)
    where = np.broadcast_to(np.arange(6000)[:, None] < 3000, wild.shape)
    half = U.harvest_propensities(
        wild, logs["ranks"], logs["items"], num_items=200, num_positions=5, method=method, where=where
    )
    first = U.harvest_propensities(
        wild[:3000], logs["ranks"][:3000], logs["items"][:3000], num_items=200, num_positions=5, method=method
    )
    np.testing.assert_allclose(half, first, rtol=1e-5)


def test_random_rankings_give_propensities():
    rng = np.random.default_rng(1)
    ranks = np.stack([rng.permutation(5) + 1 for _ in range(20_000)])
    clicks = (rng.random(ranks.shape) < THETA[ranks - 1] * rng.uniform(0.2, 0.9, ranks.shape)).astype(np.float32)
    np.testing.assert_allclose(U.randomized_propensities(clicks, ranks, num_positions=5), THETA, atol=0.03)
    got = U.randomized_propensities(clicks, ranks, num_positions=3)
    np.testing.assert_allclose(got, THETA[:3], atol=0.03)


def test_regression_em_finds_the_truth():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 5, 2)).astype(np.float32)
    # The ranker that made the log knows the relevance in part: position and relevance are confounded.
    scores = x[..., 0] + rng.normal(size=(4000, 5))
    ranks = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1
    gamma = 1 / (1 + np.exp(-(1.5 * x[..., 0] - x[..., 1])))
    clicks = (rng.random(ranks.shape) < THETA[ranks - 1] * gamma).astype(np.float32)
    naive = np.array([clicks[ranks == k].mean() for k in range(1, 6)])
    model = U.regression_em(
        clicks, ranks, x, relevance_fn=lambda w, x: x @ w, params=jnp.zeros(2), num_positions=5, num_steps=60
    )
    assert np.abs(model.propensities - THETA).max() < 0.06 < np.abs(naive / naive[0] - THETA).max()
    np.testing.assert_allclose(model.relevance, [1.5, -1.0], atol=0.2)


def test_weights_and_labels():
    p = np.array([1.0, 0.5, 0.1, 0.0], np.float32)
    np.testing.assert_allclose(U.ips_weights(p), [1, 2, 10, 0], rtol=1e-6)
    np.testing.assert_allclose(U.ips_weights(p, clip=0.2), [1, 2, 5, 5], rtol=1e-6)
    junk = np.where(np.arange(4) == 1, np.nan, p)
    assert np.asarray(U.ips_weights(junk, where=np.arange(4) != 1)).tolist()[1] == 0
    c, r = np.array([1.0, 0, 1, 0], np.float32), np.array([0.3, 0.6, 0.9, 0.2], np.float32)
    np.testing.assert_allclose(U.ips_labels(c, p, offsets=0.1 * p), [0.9, -0.1, 9.9, 0], rtol=1e-5)
    np.testing.assert_allclose(U.dr_labels(c, p, r), [1, 0.6 - 0.6, 0.9 + (1 - 0.09) / 0.1, 0.2], atol=1e-5)


def test_known_values_of_weighted_losses():
    clicks, p = np.array([1.0, 0, 1, 0], np.float32), np.array([0.5, 0.3, 1, 1], np.float32)
    ips = U.ips_t12n(L.softmax_loss)
    np.testing.assert_allclose(ips(S, clicks, propensities=p), 3.382320467, rtol=1e-6)
    labels = U.ips_labels(clicks, p)
    np.testing.assert_allclose(L.arp1_loss(S, labels, all_pairs=True), 4.174952739, rtol=1e-6)
    weighted = U.ips_t12n(L.arp1_loss)
    assert weighted.__name__ == "ips_arp1_loss"
    np.testing.assert_allclose(weighted(S, clicks, propensities=p, all_pairs=True), 4.174952739, rtol=1e-6)
    # Weights 2 and 1 with mean 1.5.
    snips = U.snips_t12n(L.softmax_loss)
    np.testing.assert_allclose(snips(S, clicks, propensities=p), 3.382320467 / 1.5, rtol=1e-6)
    assert snips(S, 0 * clicks, propensities=p) == 0


@pytest.mark.parametrize("kind", ["ips", "dr"])
def test_the_expectation_over_users_is_the_loss_of_the_relevance(kind):
    scores, gamma = jnp.asarray(S), jnp.array([0.3, 0.9, 0.5, 0.2])
    p = jnp.array([0.9, 0.5, 0.4, 0.3])
    keys = jax.random.split(jax.random.key(3), 40_000)
    clicks = (jax.random.uniform(jax.random.key(4), (len(keys), 4)) < (p * gamma)[None]).astype(jnp.float32)
    predictions = jnp.broadcast_to(jnp.array([0.4, 0.7, 0.5, 0.3]), clicks.shape)
    loss = {"ips": U.ips_t12n, "dr": U.dr_t12n}[kind](L.softmax_loss)
    extra = {"predictions": predictions} if kind == "dr" else {}
    everyone = jnp.broadcast_to(scores, clicks.shape), jnp.broadcast_to(p, clicks.shape)
    values = np.asarray(loss(everyone[0], clicks, propensities=everyone[1], reduce_fn=None, **extra))
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - L.softmax_loss(scores, gamma)) < 4 * error


def test_doubly_robust_labels_of_randomised_rankings():
    rng = np.random.default_rng(5)
    gamma = rng.uniform(0.2, 0.8, (1, 5))
    shown = THETA[np.stack([rng.permutation(5) for _ in range(20_000)])]
    clicks = (rng.random(shown.shape) < shown * gamma).astype(np.float32)
    p = np.full_like(shown, THETA.mean())
    near = np.broadcast_to(gamma + 0.05, clicks.shape).astype(np.float32)
    ips, dr = U.ips_labels(clicks, p), U.dr_labels(clicks, p, near, shown=shown)
    for labels in (ips, dr):
        np.testing.assert_allclose(np.mean(labels, 0), gamma[0], atol=0.03)
    assert np.var(dr, axis=0).sum() < 0.9 * np.var(ips, axis=0).sum()
    # One fixed ranking: the same as without predictions, until propensities are clipped.
    np.testing.assert_allclose(U.dr_labels(clicks, shown, near), U.ips_labels(clicks, shown), atol=1e-5)
    bias = [
        np.abs(np.mean(labels, 0) - gamma[0]).max()
        for labels in (U.ips_labels(clicks, shown, clip=0.6), U.dr_labels(clicks, shown, near, clip=0.6))
    ]
    assert bias[1] < bias[0] / 3


def test_off_policy_values():
    rng = np.random.default_rng(6)
    r, w = rng.random(50).astype(np.float32), rng.gamma(1.0, size=50).astype(np.float32)
    ips = U.off_policy_value(r, w, method="ips")
    terms = (w * r).astype(float)
    np.testing.assert_allclose(ips.value, terms.mean(), rtol=1e-5)
    np.testing.assert_allclose(ips.standard_error, terms.std(ddof=1) / np.sqrt(50), rtol=1e-4)
    np.testing.assert_allclose(ips.high - ips.value, 1.959964 * ips.standard_error, rtol=1e-4)
    np.testing.assert_allclose(ips.effective_size, w.sum() ** 2 / (w**2).sum(), rtol=1e-4)
    snips = U.off_policy_value(r, w)
    ratio = terms.sum() / w.sum()
    np.testing.assert_allclose(snips.value, ratio, rtol=1e-5)
    delta = (terms - ratio * w) / w.mean()
    np.testing.assert_allclose(snips.standard_error, delta.std(ddof=1) / np.sqrt(50), rtol=1e-4)
    # A shift of the rewards shifts the self-normalised estimate alone.
    np.testing.assert_allclose(U.off_policy_value(r + 1, w).value, ratio + 1, rtol=1e-5)
    guess, target = np.full(50, 0.5, np.float32), np.full(50, 0.4, np.float32)
    dr = U.off_policy_value(r, w, method="dr", predictions=guess, target_predictions=target)
    np.testing.assert_allclose(dr.value, np.mean(0.4 + w * (r - 0.5)), rtol=1e-4)
    bern = U.off_policy_value(r, w, method="ips", clip=2.0, interval="bernstein", bound=2.0)
    clipped = np.minimum(w, 2) * r
    log = np.log(4 / 0.05)
    half = np.sqrt(2 * clipped.var(ddof=1) * log / 50) + 7 * 2 * log / (3 * 49)
    np.testing.assert_allclose(bern.high - bern.value, half, rtol=1e-4)
    where = np.arange(50) < 30
    wild = np.where(where, r, np.nan).astype(np.float32)
    np.testing.assert_allclose(
        U.off_policy_value(wild, w, where=where, method="ips").value, terms[:30].mean(), rtol=1e-5
    )
    none = U.off_policy_value(r, w, where=np.zeros(50, bool))
    assert none.value == 0
    assert none.high == np.inf


def test_intervals_hold_the_mean_as_often_as_they_say():
    keys = jax.random.split(jax.random.key(8), 2000)

    @jax.jit
    @jax.vmap
    def inside(key):
        a, b = jax.random.split(key)
        w = jax.random.gamma(a, 2.0, (300,)) / 2
        r = w + jax.random.normal(b, (300,))
        estimate = U.off_policy_value(r, w, method="ips", confidence=0.9)
        truth = 1.5  # E[w r] = E[w^2]
        return (estimate.low < truth) & (truth < estimate.high)

    assert 0.86 < np.mean(inside(keys)) < 0.93


def test_off_policy_rankings(logs):
    # The value of a new ranker, known from the truth, from clicks on the old ones.
    new = np.random.default_rng(9).normal(size=(40, 5)).astype(np.float32)[logs["query"]]
    place = np.argsort(np.argsort(-new, axis=1), axis=1) + 1
    truth = np.mean(np.sum(logs["gamma"][logs["query"]] / np.log2(place + 1) * (place <= 3), axis=1))
    p = THETA[logs["ranks"] - 1]
    options = {"propensities": p, "topn": 3}
    ips = U.off_policy_ranking(new, logs["clicks"], **options)
    terms = np.sum(logs["clicks"] / p / np.log2(place + 1) * (place <= 3), axis=1)
    np.testing.assert_allclose(ips.value, terms.mean(), rtol=1e-4)
    assert ips.low < truth < ips.high
    guess = np.clip(logs["gamma"][logs["query"]] + 0.1, 0, 1)
    mean = np.bincount(logs["items"].reshape(-1), weights=p.reshape(-1)) / np.bincount(logs["items"].reshape(-1))
    options["propensities"] = mean[logs["items"]].astype(np.float32)
    dr = U.off_policy_ranking(new, logs["clicks"], method="dr", predictions=guess, shown=p, **options)
    assert dr.low < truth < dr.high
    assert dr.standard_error < ips.standard_error
    naive = np.mean(np.sum(logs["clicks"] / np.log2(place + 1) * (place <= 3), axis=1))
    assert abs(naive - truth) > 5 * abs(ips.value - truth)


def test_training_on_clicks_finds_what_training_on_labels_finds():
    rng = np.random.default_rng(10)
    x = rng.normal(size=(3000, 5, 2)).astype(np.float32)
    gamma = (1 / (1 + np.exp(-2 * x[..., 0]))).astype(np.float32)
    # What was shown went by the second feature, which says nothing.
    ranks = np.argsort(np.argsort(-x[..., 1], axis=1), axis=1) + 1
    p = np.array([1.0, 0.5, 0.25, 0.15, 0.1], np.float32)[ranks - 1]
    clicks = (rng.random(p.shape) < p * gamma).astype(np.float32)

    def fit(loss):
        step = jax.jit(lambda w: w - 1.0 * jax.grad(lambda w: loss(jnp.matmul(x, w)))(w))
        w = jnp.zeros(2)
        for _ in range(60):
            w = step(w)
        return np.asarray(w)

    biased = fit(lambda s: L.softmax_loss(s, clicks))
    ips = fit(lambda s: U.ips_t12n(L.softmax_loss)(s, clicks, propensities=p))
    assert abs(biased[1]) > 0.3
    assert abs(ips[1]) < 0.1


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    with pytest.raises(LearnError, match="one number for each position"):
        U.propensities_at(np.zeros((2, 2)), S)
    with pytest.raises(LearnError, match="'pivot'"):
        U.harvest_propensities(S, np.ones(4, int), np.ones(4, int), num_items=1, num_positions=1, method="x")
    with pytest.raises(LearnError, match="ranks"):
        U.position_em(S, np.ones(3, int), np.ones(4, int), num_items=1, num_positions=1)
    for options in ({"method": "x"}, {"interval": "bernstein"}, {"confidence": 1.0}, {"method": "dr"}):
        with pytest.raises(LearnError):
            U.off_policy_value(S, S, **options)
    with pytest.raises(LearnError, match="predictions"):
        U.off_policy_ranking(S[None], S[None], propensities=S[None], method="dr")
