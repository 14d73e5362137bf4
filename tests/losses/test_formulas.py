"""Losses beyond Rax against their formulas written out in NumPy, enumeration, and values of peers."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)
STUDENT, TEACHER = S, np.array([3.0, 0.5, 2.0, 0.0], np.float32)


def sample(seed, n=11):
    rng = np.random.default_rng(seed)
    return rng.normal(size=n).astype(np.float32), rng.integers(0, 4, size=n).astype(np.float32)


def ev(loss, scores, labels, **options):
    """A loss, compiled as a whole: operation by operation takes longer."""
    return jax.jit(lambda s, y: loss(s, y, **options))(scores, labels)


def discount(place):
    return 1 / np.log2(np.asarray(place, float) + 1)


def softplus(x):
    return np.logaddexp(0, x)


# Values of the reference, in float64 ----------------------------------------------------------------------------------


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


# Lambda weights -------------------------------------------------------------------------------------------------------


def mrr(y, k=99):
    return max([1 / (r + 1) for r, v in enumerate(y) if v >= 1 and r < k], default=0.0)


def ap(y):
    rel = (y >= 1).astype(float)
    return np.sum(rel * np.cumsum(rel) / np.arange(1, len(y) + 1)) / max(rel.sum(), 1)


def err(y):
    p = (2.0**y - 1) / 2 ** y.max(initial=0)
    return np.sum(p * np.append(1, np.cumprod(1 - p)[:-1]) / np.arange(1, len(y) + 1))


def ndcg(y, k=99):
    g = 2.0**y - 1
    d = discount(np.arange(1, len(y) + 1)) * (np.arange(len(y)) < k)
    best = np.sum(np.sort(g)[::-1] * d)
    return np.sum(g * d) / (best if best else 1)


METRICS = {
    "mrr": (L.mrr_lambdaweight, mrr, 1),
    "mrr@3": (functools.partial(L.mrr_lambdaweight, topn=3), functools.partial(mrr, k=3), 1),
    "ap": (L.ap_lambdaweight, ap, 1),
    "err": (L.err_lambdaweight, err, 1),
    "precision@4": (functools.partial(L.precision_lambdaweight, topn=4), lambda y: np.sum(y[:4] >= 1) / 4, 1),
    # Those of DCG have the number of items as a factor, as in Rax.
    "ndcg": (functools.partial(L.dcg_lambdaweight, normalize=True), ndcg, 9),
    "ndcg@3": (functools.partial(L.dcg_lambdaweight, normalize=True, topn=3), functools.partial(ndcg, k=3), 9),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_lambda_weight_is_the_change_of_its_metric(name):
    fn, metric, factor = METRICS[name]
    weigh = jax.jit(fn)
    for seed in range(4):
        s, y = sample(seed)
        where = np.arange(11) != 3
        where[7] = False
        y = y if seed else (y * 0 + (np.arange(11) == 5)).astype(np.float32)
        matrix = np.asarray(weigh(s, y, where=where)).reshape(11, 11)
        valid = np.flatnonzero(where)
        order = valid[np.argsort(-s[valid])]
        place = {item: r for r, item in enumerate(order)}
        for i, j in itertools.combinations(valid, 2):
            swapped = order.copy()
            swapped[[place[i], place[j]]] = j, i
            want = factor * abs(metric(y[swapped].astype(float)) - metric(y[order].astype(float)))
            if y[i] != y[j]:
                np.testing.assert_allclose([matrix[i, j], matrix[j, i]], want, rtol=1e-4, atol=1e-5)
        assert np.all(matrix[~where] == 0)
        assert np.all(matrix[:, ~where] == 0)


@pytest.mark.parametrize(
    "fn", [L.dcg_lambdaweight, L.dcg1_lambdaweight, L.dcg2pp_lambdaweight, L.ap_lambdaweight, L.labels_lambdaweight]
)
def test_rows_are_those_of_the_matrix(fn):
    s, y = np.stack([sample(0)[0], sample(1)[0]]), np.stack([sample(0)[1], sample(1)[1]])
    where, segments = np.arange(11)[None] != np.array([[3], [5]]), np.broadcast_to(np.arange(11) % 2, (2, 11))
    matrix = np.asarray(fn(s, y, where=where, segments=segments)).reshape(2, 11, 11)
    rows = fn.rows(np.array([0, 3, 7]), s, y, where=where, segments=segments)
    np.testing.assert_allclose(rows, matrix[:, [0, 3, 7]], rtol=1e-6)
    np.testing.assert_allclose(fn.rows(2, s, y, where=where, segments=segments)[:, 0], matrix[:, 2], rtol=1e-6)


def test_pairs_in_both_directions():
    s, y = sample(2)
    loss = softplus(-(s[:, None] - s[None, :])) * ~np.eye(11, dtype=bool)
    for method in ("auto", "dense"):
        np.testing.assert_allclose(
            ev(L.arp1_loss, s, y, all_pairs=True, method=method), np.sum(y[:, None] * loss), rtol=1e-5
        )


def test_sigma_scales_scores():
    s, y = sample(3)
    np.testing.assert_allclose(ev(L.ndcg2_loss, s, y, sigma=2.0), L.ndcg2_loss(2 * s, y), rtol=1e-6)


# Peers ----------------------------------------------------------------------------------------------------------------


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


# Plackett-Luce --------------------------------------------------------------------------------------------------------


def log_prob(s, order):
    left, total = list(range(len(s))), 0.0
    for i in order:
        total += s[i] - np.log(np.sum(np.exp(s[left])))
        left.remove(i)
    return total


@pytest.mark.parametrize("n", [1, 5])
def test_enumerated_orders(n):
    s, y = sample(n, n)
    s64, gains = s.astype(float), 2.0**y - 1
    orders = list(itertools.permutations(range(n)))
    p = np.array([np.exp(log_prob(s64, o)) for o in orders])
    np.testing.assert_allclose(p.sum(), 1)
    dcg = np.array([np.sum(gains[list(o)] * discount(np.arange(1, n + 1)) * (np.arange(n) < 3)) for o in orders])
    np.testing.assert_allclose(ev(L.pl_rank_loss, s, y, method="exact", topn=3), -np.sum(p * dcg), rtol=1e-5)
    got = L.plackett_luce_log_prob(np.stack([s] * len(orders)), np.array(orders))
    np.testing.assert_allclose(np.exp(got), p, rtol=1e-4)
    if n > 1:
        tops = {o[:2] for o in orders}
        np.testing.assert_allclose(
            [L.plackett_luce_log_prob(s, np.array(t)) for t in tops], [log_prob(s64, t) for t in tops], rtol=1e-4
        )


def test_samples_have_the_probabilities_of_the_model():
    s = np.array([1.0, 0.0, -0.5, 9.0], np.float32)
    where = np.array([1, 1, 1, 0])
    keys = jax.random.split(jax.random.key(0), 20_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: L.plackett_luce_sample(key, s, where=where)))(keys))
    assert np.all(orders[:, 3] == 3)
    for order in itertools.permutations(range(3)):
        share = np.mean(np.all(orders[:, :3] == order, axis=1))
        np.testing.assert_allclose(share, np.exp(log_prob(s[:3].astype(float), order)), atol=0.015)
    assert L.plackett_luce_sample(jax.random.key(0), s, topn=2).shape == (2,)


ESTIMATORS = {
    "pl_rank_1": functools.partial(L.pl_rank_loss, method="pl_rank_1", normalize=True, num_samples=8, topn=3),
    "pl_rank_2": functools.partial(L.pl_rank_loss, method="pl_rank_2", normalize=True, num_samples=8, topn=3),
    "pl_rank_3": functools.partial(L.pl_rank_loss, normalize=True, num_samples=8, topn=3),
    "policy": functools.partial(L.policy_gradient_loss, num_samples=8, topn=3),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_have_no_bias(name):
    s, y = sample(6, 5)
    where = np.array([1, 1, 1, 1, 0])
    exact = functools.partial(L.policy_gradient_loss, method="exact")
    # The metric at 3 needs the first places alone.
    want, slope = jax.value_and_grad(lambda s: exact(s, y, where=where, topn=3))(s)
    loss = ESTIMATORS[name]
    run = jax.jit(jax.vmap(jax.value_and_grad(lambda s, key: loss(s, y, where=where, key=key)), (None, 0)))
    values, grads = run(s, jax.random.split(jax.random.key(2), 4000))
    for got, mean in ((np.asarray(values), want), (np.asarray(grads), slope)):
        error = got.std(0) / np.sqrt(len(got))
        assert np.all(np.abs(got.mean(0) - mean) < 4.5 * error + 1e-6)


@pytest.mark.slow
def test_pl_rank_3_varies_less_than_pl_rank_1():
    s, y = sample(7, 8)
    keys = jax.random.split(jax.random.key(1), 300)

    def spread(name):
        return np.var(jax.vmap(jax.grad(lambda s, k: ESTIMATORS[name](s, y, key=k)), (None, 0))(s, keys), axis=0).sum()

    assert spread("pl_rank_3") < spread("pl_rank_1")


def test_second_derivatives_of_samples_raise():
    with pytest.raises(LearnError, match="has no derivative"):
        jax.hessian(lambda s: ev(L.pl_rank_loss, s, Y, key=jax.random.key(0), num_samples=2))(jnp.asarray(S))


def test_listnet_by_enumeration():
    s, y = sample(8, 5)
    s64, y64 = s.astype(float), y.astype(float)

    def entropy(k, t=1.0):
        tops = itertools.permutations(range(5), k)
        return -sum(np.exp(log_prob(y64 / t, o)) * log_prob(s64, o) for o in tops)

    np.testing.assert_allclose(ev(L.listnet_loss, s, y), entropy(1), rtol=1e-5)
    np.testing.assert_allclose(ev(L.listnet_loss, s, y, topn=2, temperature=2.0), entropy(2, 2.0), rtol=1e-5)
    many = jax.jit(lambda key: ev(L.listnet_loss, s, y, topn=3, key=key, num_samples=4000))
    np.testing.assert_allclose(many(jax.random.key(0)), entropy(3), rtol=0.02)
    # One label far above the others: nothing cancels.
    sharp = np.array([30.0, 0, 0, 0, 0], np.float32)
    y64 = sharp.astype(float)
    np.testing.assert_allclose(ev(L.listnet_loss, s, sharp, topn=2), entropy(2), rtol=1e-5)


# Soft permutations ----------------------------------------------------------------------------------------------------


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


# Others ---------------------------------------------------------------------------------------------------------------


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


# Contrastive ----------------------------------------------------------------------------------------------------------


def cosine_surprise(q, d, t):
    q, d = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q.astype(float), d.astype(float)))
    z = q @ d.T / t
    return np.log(np.sum(np.exp(z), axis=1)) - np.diag(z[:, : len(q)])


def embeddings(seed=0, b=8, m=12, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)


def test_contrastive_loss():
    q, d = embeddings()
    want = cosine_surprise(q, d, 0.3)
    got = ev(L.contrastive_loss, q, d, temperature=0.3, reduce_fn=None)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(ev(L.contrastive_loss, q, d, temperature=0.3, block_size=3), want.mean(), rtol=1e-5)
    both = (want + cosine_surprise(d[:8], q, 0.3)) / 2
    np.testing.assert_allclose(ev(L.contrastive_loss, q, d, temperature=0.3, symmetric=True), both.mean(), rtol=1e-5)
    where = np.ones((8, 12), bool)
    where[0, 3] = where[2, 2] = False
    got = ev(L.contrastive_loss, q, d, temperature=0.3, where=where, reduce_fn=None)
    np.testing.assert_allclose(got[0], cosine_surprise(q[:1], np.delete(d, 3, 0), 0.3)[0], rtol=1e-5)
    assert got[2] == 0
    z = q @ d.T
    plain = ev(L.contrastive_loss, q, d, temperature=1.0, normalize=False, positives=np.arange(8)[::-1], reduce_fn=None)
    np.testing.assert_allclose(plain, np.log(np.exp(z).sum(1)) - z[np.arange(8), np.arange(8)[::-1]], rtol=1e-4)
    zero = jax.grad(lambda q: ev(L.contrastive_loss, q, d))(jnp.zeros_like(q))
    assert np.isfinite(zero).all()


@pytest.mark.parametrize("symmetric", [False, True])
def test_negatives_of_all_devices(mesh8, symmetric):
    q, d = embeddings(1, 16, 16)
    spec = jax.sharding.PartitionSpec("data")

    def local(q, d):
        loss = ev(L.contrastive_loss, q, d, axis_name="data", symmetric=symmetric, temperature=0.3)
        return jax.lax.pmean(loss, "data")

    sharded = jax.shard_map(local, mesh=mesh8, in_specs=(spec, spec), out_specs=jax.sharding.PartitionSpec())
    got = jax.jit(jax.value_and_grad(sharded, (0, 1)))(q, d)
    want = jax.value_and_grad(lambda q, d: ev(L.contrastive_loss, q, d, symmetric=symmetric, temperature=0.3), (0, 1))(
        jnp.asarray(q), jnp.asarray(d)
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_gradient_cache():
    rng = np.random.default_rng(2)
    params = {"a": rng.normal(size=(16, 512)).astype(np.float32) / 4, "b": rng.normal(size=(512, 8)).astype(np.float32)}
    x = {
        "query": rng.normal(size=(70, 16)).astype(np.float32),
        "document": rng.normal(size=(70, 16)).astype(np.float32),
    }

    def encode(params, x):
        return jnp.tanh(jnp.sin(x @ params["a"]) @ params["b"])

    def total(encode, params, x):
        return L.contrastive_loss(encode(params, x["query"]), encode(params, x["document"]))

    cached = L.gradient_cache(encode, chunk_size=16)
    plain, quiet = (jax.jit(jax.value_and_grad(functools.partial(total, fn))) for fn in (encode, cached))
    for a, b in zip(jax.tree.leaves(plain(params, x)), jax.tree.leaves(quiet(params, x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    memory = [f.lower(params, x).compile().memory_analysis().temp_size_in_bytes for f in (plain, quiet)]
    assert memory[1] < memory[0] / 2
    # Trees of inputs, with a key for each item.
    keys = jax.random.split(jax.random.key(0), 70)
    drop = L.gradient_cache(
        lambda p, x: jax.vmap(lambda key, row: row * jax.random.bernoulli(key, 0.5, row.shape).astype(row.dtype))(
            x["key"], x["row"]
        ),
        chunk_size=32,
    )
    out = drop(params, {"key": keys, "row": x["query"]})
    assert out.shape == (70, 16)
    with pytest.raises(LearnError, match="one batch"):
        cached(params, (np.zeros(3), np.zeros(4)))


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
