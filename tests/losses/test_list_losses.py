"""Losses with one value per list: values by NumPy; test_properties.py holds their properties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)


# One list at a time, in float64, without masks.
def logsumexp(s):
    return np.log(np.sum(np.exp(s - s.max()))) + s.max()


def softmax_of(s, y):
    return -sum(y * (s - logsumexp(s)))


def poly1_of(s, y):
    p = np.exp(s - logsumexp(s))
    return softmax_of(s, y) + (1 - sum(y * p) / sum(y) if sum(y) else 0)


def unique_of(s, y):
    gains = 2.0**y - 1
    return sum(g * (logsumexp(np.append(s[y < v], t)) - t) for g, t, v in zip(gains, s, y, strict=True))


def listmle_of(s, y):
    s = s[np.argsort(-y, kind="stable")]
    return sum(logsumexp(s[k:]) - s[k] for k in range(len(s))) if y.max(initial=0) > 0 else 0.0


def listmle_group_of(s, y):
    return sum(logsumexp(s[y <= v]) - t for t, v in zip(s, y, strict=True)) if y.max(initial=0) > 0 else 0.0


def listmle_group(scores, labels, **options):
    return L.listmle_loss(scores, labels, ties="group", **options)


ORACLES = {
    L.softmax_loss: softmax_of,
    L.poly1_softmax_loss: poly1_of,
    L.unique_softmax_loss: unique_of,
    L.listmle_loss: listmle_of,
    listmle_group: listmle_group_of,
}
LOSSES = list(ORACLES)
named = pytest.mark.parametrize("loss", LOSSES, ids=lambda fn: fn.__name__)


@functools.cache
def jitted(loss, reduce_fn=None, **options):
    def run(scores, labels, where=None, segments=None):
        return loss(scores, labels, where=where, segments=segments, reduce_fn=reduce_fn, **options)

    return jax.jit(run)


@functools.cache
def gradient(loss, **options):
    def run(scores, labels, where=None, segments=None):
        return loss(scores, labels, where=where, segments=segments, **options)

    return jax.jit(jax.grad(run))


def sample(seed, shape=(4, 9)):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=shape) * 2, 1).astype(np.float32)
    labels = rng.integers(0, 4, size=shape).astype(np.float32) * (rng.random(shape) < 0.7).astype(np.float32)
    return scores, labels, rng.random(shape) < 0.8


KNOWN = {
    L.softmax_loss: (3.3823204, [-1.3038298, 0.2561067, 0.8923867, 0.1553366]),
    L.poly1_softmax_loss: (4.0173507, [-1.3738406, 0.2872637, 0.9123427, 0.1742343]),
    L.unique_softmax_loss: (4.5790544, [-2.30383, 0.3672723, 1.7137957, 0.2227619]),
    L.listmle_loss: (2.1315844, [-0.7679433, -0.1810062, 0.4522047, 0.4967449]),
}


@pytest.mark.parametrize("loss", list(KNOWN), ids=lambda fn: fn.__name__)
def test_known_values(loss):
    value, grad = KNOWN[loss]
    np.testing.assert_allclose(loss(S, Y), value, rtol=1e-6)
    np.testing.assert_allclose(gradient(loss)(S, Y), grad, atol=1e-6)


@named
def test_random_lists(loss):
    for seed in range(3):
        scores, labels, where = sample(seed)
        got = jitted(loss)(scores, labels, where)
        rows = zip(scores.astype(float), labels.astype(float), where, strict=True)
        want = [ORACLES[loss](s[w], y[w]) for s, y, w in rows]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@named
def test_scores_without_bounds(loss):
    # Not retrieved and not asked for: no cost, no NaN.
    scores = np.array([2.0, -np.inf, 3.0, 0.5], np.float32)
    keep = np.array([1, 0, 1, 1], bool)
    np.testing.assert_allclose(jitted(loss)(scores, Y), jitted(loss)(scores, Y, keep), rtol=1e-6)
    np.testing.assert_allclose(gradient(loss)(scores, Y), gradient(loss)(scores, Y, keep), atol=1e-6)
    huge = np.array([1e4, -1e4, 3e4, 0.0], np.float32)
    assert np.isfinite(jitted(loss)(huge, Y))
    assert np.isfinite(gradient(loss)(huge, Y)).all()
    assert not np.isnan(jitted(loss)(np.array([np.inf, 1.0, np.inf, -np.inf], np.float32), Y))
    # Not retrieved and asked for: without bound.
    assert jitted(loss)(np.array([-np.inf, 1.0, 0.0, 2.0], np.float32), Y) == np.inf
    # A score that is not a number stays with its own list.
    two = jitted(loss)(np.stack([S, S * np.nan]), np.stack([Y, Y]))
    np.testing.assert_allclose(two[0], jitted(loss)(S, Y), rtol=1e-6)
    assert np.isnan(two[1])


@named
def test_types(loss):
    want = jitted(loss)(S, Y)
    assert jitted(loss)(S.astype(int), Y.astype(int)).dtype == jnp.float32
    np.testing.assert_allclose(jitted(loss)(S, Y.astype(np.int8), np.array([1, 1, 1, 1])), want, rtol=1e-6)
    half, grad = jax.jit(jax.value_and_grad(loss))(jnp.asarray(S, jnp.bfloat16), Y)
    assert half.dtype == jnp.bfloat16
    assert grad.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), want, rtol=2**-8)


def test_softmax_targets():
    np.testing.assert_allclose(
        L.softmax_loss(S, Y, weights=np.array([0.5, 1, 2, 1], np.float32)), 2.38232047, rtol=1e-6
    )
    got = L.softmax_loss(S, Y, label_fn=lambda a, where: a / a.sum(-1, keepdims=True))
    np.testing.assert_allclose(got, 1.127440156, rtol=1e-6)
    listnet = L.softmax_loss(S, Y, label_fn=lambda a, where: jax.nn.softmax(a, where=where))
    np.testing.assert_allclose(listnet, 1.442744602, rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    with pytest.raises(LearnError, match=r"labels has shape \(3,\), the scores have shape \(4,\)") as caught:
        L.softmax_loss(S, Y[:3])
    assert caught.value.reason == "length_mismatch"
    with pytest.raises(LearnError, match="where has shape"):
        L.softmax_loss(S, Y, where=np.ones(3, bool))
    with pytest.raises(TypeError, match="list"):
        L.softmax_loss([1.0], Y)
