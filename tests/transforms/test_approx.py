"""Metrics as losses: known values, masks, and the limit of small temperature."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jrank import metrics as M
from jrank import transforms as T

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)
METRICS = [M.ndcg_metric, M.dcg_metric, M.mrr_metric, M.ap_metric, M.precision_metric, M.recall_metric]
named = pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.__name__)


def sample(seed, shape=(3, 8)):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.broadcast_to(np.arange(shape[1], dtype=np.float32), shape), axis=1)
    return scores, rng.integers(0, 3, size=shape).astype(np.float32), rng.random(shape) < 0.8


@pytest.mark.parametrize(
    ("metric", "options", "value", "grad"),
    [
        (M.ndcg_metric, {}, 0.7064053, [-0.0540998, 0.0364044, -0.0090113, 0.0267066]),
        (M.mrr_metric, {}, 0.683059, [0.0917331, 0.0489868, -0.1734282, 0.0327083]),
        (M.ap_metric, {}, 0.7997353, [-0.0680055, 0.0657726, -0.0454349, 0.0476678]),
        (M.recall_metric, {"topn": 2}, 0.6769336, [-0.0468931, 0.0333309, -0.0108379, 0.0244001]),
    ],
)
def test_known_values(metric, options, value, grad):
    loss = T.approx_t12n(functools.partial(metric, **options))
    np.testing.assert_allclose(loss(S, Y), -value, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(S), Y), grad, atol=1e-6)


def test_temperature():
    np.testing.assert_allclose(T.approx_t12n(M.ndcg_metric, 0.1)(S, Y), -0.7966985, rtol=1e-6)
    # Traced: one compilation for all temperatures, and a derivative.
    run = jax.jit(lambda t: T.approx_t12n(M.ndcg_metric, t)(S, Y))
    np.testing.assert_allclose([run(1.0), run(0.1)], [-0.7064053, -0.7966985], rtol=1e-6)
    assert run._cache_size() == 1
    numeric = (run(1.001) - run(0.999)) / 0.002
    np.testing.assert_allclose(jax.grad(run)(1.0), numeric, rtol=1e-2)


@named
@pytest.mark.parametrize("topn", [None, 3])
def test_small_temperature_is_the_metric(metric, topn):
    scores, labels, where = sample(0)
    options = {"where": where, "topn": topn, "reduce_fn": None}
    got = T.approx_t12n(metric, 1e-3)(scores, labels, **options)
    np.testing.assert_allclose(got, -metric(scores, labels, **options), rtol=1e-5, atol=1e-6)
    segments = np.random.default_rng(0).integers(0, 3, size=scores.shape)
    got = T.approx_t12n(metric, 1e-3)(scores, labels, segments=segments, **options)
    np.testing.assert_allclose(got, -metric(scores, labels, segments=segments, **options), rtol=1e-5, atol=1e-6)


@named
@pytest.mark.parametrize("topn", [None, 2])
def test_what_is_masked_never_matters(metric, topn):
    scores, labels, _ = sample(1, (2, 6))
    junk = np.array([[np.nan, np.inf, -np.inf, 1e30], [0, 1, 2, 9]], np.float32)
    where = np.broadcast_to(np.arange(10) < 6, (2, 10))
    loss = jax.jit(jax.value_and_grad(functools.partial(T.approx_t12n(metric), topn=topn)))
    loud = loss(np.hstack([scores, junk]), np.hstack([labels, junk]), where=where)
    plain = loss(scores, labels)
    np.testing.assert_allclose(loud[0], plain[0], rtol=1e-6)
    np.testing.assert_allclose(loud[1][:, :6], plain[1], rtol=1e-4, atol=1e-7)
    assert np.all(np.asarray(loud[1])[:, 6:] == 0)
    value, grad = loss(scores, labels, where=np.zeros((2, 6), bool))
    assert value == 0
    assert np.all(np.asarray(grad) == 0)


@named
def test_what_was_not_retrieved_takes_no_part(metric):
    scores = np.array([2.0, -np.inf, 3.0, -np.inf], np.float32)
    labels = np.array([2.0, 0.0, 1.0, 0.0], np.float32)
    value, grad = jax.value_and_grad(T.approx_t12n(metric))(jnp.asarray(scores), labels)
    keep = np.isfinite(scores)
    want, slope = jax.value_and_grad(T.approx_t12n(metric))(jnp.asarray(scores), labels, where=keep)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(grad, slope, atol=1e-7)


@named
def test_gradients_by_finite_differences(metric, x64):
    scores, labels, where = sample(2, (2, 5))
    # Close together, where the gradient is not tiny, and without the jumps of AP's counts and of the cut-off.
    loss = jax.jit(functools.partial(T.approx_t12n(metric), where=where))
    check_grads(lambda s: loss(s, labels), (scores * 0.3,), order=2, modes=("fwd", "rev"), rtol=1e-4)


def test_ranks_by_blocks(monkeypatch):
    scores, _, where = sample(3, (2, 13))
    segments = np.random.default_rng(1).integers(0, 2, size=scores.shape)

    def run(s):
        # A function of its own: the sigmoid itself is at home in jrank.soft.
        return T.approx_ranks(s, where=where, segments=segments, step_fn=lambda x: jax.nn.sigmoid(x))

    weight = np.random.default_rng(2).normal(size=scores.shape).astype(np.float32)
    want = jax.value_and_grad(lambda s: (run(s) * weight).sum())(scores)
    monkeypatch.setattr("jrank.metrics._rank_sums.BLOCK_PAIRS", 2 * 13 * 4)
    got = jax.value_and_grad(lambda s: (run(s) * weight).sum())(scores)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=1e-6)
    keep = where[0] & (segments[0] == segments[0][0])
    first = T.approx_ranks(scores[0], where=keep)
    np.testing.assert_allclose(run(scores)[0][keep], first[keep], rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_ranks_of_the_wanted_items(scale, monkeypatch):
    """Blocks, leaving out rows, and the two ways to a sigmoid (near and far scores), against the formula."""
    monkeypatch.setattr("jrank.metrics._rank_sums.BLOCK_PAIRS", 2 * 33 * 2)
    rng = np.random.default_rng(4)
    scores, where = (rng.normal(size=(2, 33)) * scale).astype(np.float32), rng.random((2, 33)) < 0.8
    weight = rng.normal(size=(2, 33)).astype(np.float32)

    @jax.jit
    def run(s, wanted):
        return jnp.sum(T.approx_ranks(s, where=where, wanted=wanted) * weight)

    others = (where[:, None, :] & ~np.eye(33, dtype=bool)).astype(np.float32)

    def formula(s, wanted):
        pairs = jax.nn.sigmoid(s[:, None, :] - s[:, :, None]) * others
        return jnp.sum(jnp.where(wanted & where, 1 + pairs.sum(-1), 1.0) * weight)

    for share in (0.0, 0.1, 0.6, 1.0):
        wanted = rng.random((2, 33)) < share
        got, want = jax.value_and_grad(run)(scores, wanted), jax.value_and_grad(formula)(scores, wanted)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("topn", [None, 3])
def test_what_has_no_gain_needs_no_rank(topn):
    """Leaving out ranks changes neither value nor gradient."""
    scores, labels, where = sample(5, (3, 12))
    labels = np.where(labels == 2, labels, 0).astype(np.float32)

    def every(scores, *, where, segments, key):
        return T.approx_ranks(scores, where=where, segments=segments)

    for metric in (M.ndcg_metric, M.ap_metric, M.precision_metric):
        got, want = (
            jax.value_and_grad(T.approx_t12n(metric, rank_fn=rank_fn))(scores * 0.3, labels, where=where, topn=topn)
            for rank_fn in (None, every)
        )
        np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
        np.testing.assert_allclose(got[1], want[1], atol=1e-6)


def test_ranks_by_formula():
    pairs = 1 / (1 + np.exp(-(S[None, :] - S[:, None]).astype(float)))
    np.testing.assert_allclose(T.approx_ranks(S), 1 + pairs.sum(1) - np.diag(pairs), rtol=1e-6)
    infinite = T.approx_ranks(np.array([np.inf, np.inf, -np.inf, 0.0], np.float32))
    np.testing.assert_allclose(infinite, [1.5, 1.5, 4.0, 3.0])


def test_ties_have_a_gradient():
    s = jnp.array([1.0, 1.0, 0.0])
    grad = jax.grad(lambda s: T.approx_ranks(s)[0])(s)
    np.testing.assert_allclose(grad[:2], [-0.25 - 0.1966119, 0.25], rtol=1e-5)


def test_cutoffs():
    got = T.approx_cutoff(np.array([-1.0, -2.0, -3.0], np.float32), n=1)
    np.testing.assert_allclose(got, 1 / (1 + np.exp([-0.5, 0.5, 1.5])), rtol=1e-6)
    np.testing.assert_array_equal(T.approx_cutoff(S, n=4), 1)
    np.testing.assert_array_equal(T.approx_cutoff(S, n=0), 0)
    np.testing.assert_array_equal(T.approx_cutoff(S), 1)


def test_a_rank_function_of_the_user_and_options_of_the_call():
    def exact(scores, *, where, segments, key):
        return M.ranks(scores, where=where, segments=segments, key=key)

    np.testing.assert_allclose(T.approx_t12n(M.ndcg_metric, rank_fn=exact)(S, Y), -0.7967076, rtol=1e-6)
    got = T.approx_t12n(M.ndcg_metric)(S, Y, rank_fn=exact)
    np.testing.assert_allclose(got, -0.7967076, rtol=1e-6)
    loss = T.approx_t12n(M.ndcg_metric)
    assert loss.__name__ == "approx_ndcg_metric"
    assert loss.__doc__.startswith("Approx Normalised")
    assert T.approx_t12n(lambda scores, labels: jnp.sum(scores * labels))(S, Y) == -7


def test_approx_ndcg_loss():
    scores, labels, where = sample(4)
    got = T.approx_ndcg_loss(scores, labels, where=where, topn=3, temperature=0.5)
    want = T.approx_t12n(M.ndcg_metric, 0.5)(scores, labels, where=where, topn=3)
    np.testing.assert_allclose(got, want, rtol=1e-6)
