"""A pair loss of the user's own, a few rows at a time, against all pairs at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L

SHAPE = (2, 13)


def margin(x, dy):
    return jnp.square(jnp.maximum(1 + dy - x, jnp.zeros_like(x))), dy > 0


def sample(seed):
    rng = np.random.default_rng(seed)
    scores, weights = rng.normal(size=SHAPE).astype(np.float32), rng.uniform(0.5, 2, SHAPE).astype(np.float32)
    return scores, rng.integers(0, 4, SHAPE).astype(np.float32), rng.random(SHAPE) < 0.8, weights


@pytest.mark.parametrize("lambdaweight_fn", [None, L.dcg_lambdaweight], ids=["plain", "weighted"])
@pytest.mark.parametrize("segmented", [False, True])
def test_blocks_of_rows_equal_all_pairs(segmented, lambdaweight_fn, monkeypatch):
    monkeypatch.setattr("jrank.losses._pair_rows.BLOCK_PAIRS", 2 * 13 * 4)  # four rows at a time, and one left
    scores, labels, where, weights = sample(0)
    segments = np.random.default_rng(1).integers(0, 3, SHAPE) if segmented else None
    options = {"pair_loss_fn": margin, "lambdaweight_fn": lambdaweight_fn, "weights": weights, "segments": segments}
    loss = functools.partial(L.pairwise_loss, **options)

    def both(scores, labels, where):
        values, grad = jax.value_and_grad(lambda s: loss(s, labels, where=where))(scores)
        return values, grad, loss(scores, labels, where=where, reduce_fn=None)

    def dense(scores, labels, where):
        values = loss(scores, labels, where=where, pairs=True)
        dy = labels[:, :, None] - labels[:, None, :]
        counts = (dy > 0) & where[:, :, None] & where[:, None, :]
        if segmented:
            counts &= segments[:, :, None] == segments[:, None, :]
        return jnp.sum(values) / jnp.sum(counts, dtype=values.dtype), jnp.sum(values)

    run, want = jax.jit(both), jax.jit(jax.value_and_grad(dense, has_aux=True))
    for s in (scores, np.where(where, scores, np.nan)):
        value, grad, per_list = run(s, labels, where)
        (mean, total), slope = want(scores, labels, where)
        np.testing.assert_allclose(value, mean, rtol=1e-5)
        np.testing.assert_allclose(np.sum(per_list), total, rtol=1e-5)
        np.testing.assert_allclose(grad, slope, rtol=1e-4, atol=1e-6)
        assert np.all(np.asarray(grad)[~where] == 0)
    # Not retrieved and preferred: without bound.
    scores[0, 2] = -np.inf
    labels[0, 2] = 4
    assert np.isinf(run(scores, labels, np.ones(SHAPE, bool))[2][0]).any()


def test_second_derivatives(x64):
    scores, labels, _, _ = sample(2)
    s, v, h = scores.astype(np.float64), np.random.default_rng(0).normal(size=SHAPE), 1e-5
    slope = jax.grad(lambda s: L.pairwise_loss(s, labels.astype(np.float64), pair_loss_fn=margin))
    curve = jax.jit(lambda s: jax.jvp(slope, (s,), (jnp.asarray(v),))[1])(s)
    slope = jax.jit(slope)
    np.testing.assert_allclose(curve, (slope(s + h * v) - slope(s - h * v)) / (2 * h), rtol=1e-6, atol=1e-8)
