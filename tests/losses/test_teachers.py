"""Distillation and contrastive losses against NumPy and known values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError

STUDENT = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
TEACHER = np.array([3.0, 0.5, 2.0, 0.0], np.float32)


def test_known_values():
    np.testing.assert_allclose(L.margin_mse_loss(STUDENT, TEACHER), 2.833333333, rtol=1e-6)
    np.testing.assert_allclose(L.kl_distillation_loss(STUDENT, TEACHER), 0.432992946, rtol=1e-6)
    np.testing.assert_allclose(L.kl_distillation_loss(STUDENT, TEACHER, temperature=2.0), 0.395695747, rtol=1e-6)
    np.testing.assert_allclose(L.info_nce_loss(STUDENT, 0), 1.460773489, rtol=1e-6)
    np.testing.assert_allclose(L.info_nce_loss(STUDENT, 0, temperature=0.5), 2.148755181, rtol=1e-6)


@pytest.mark.parametrize("loss", [L.margin_mse_loss, L.kl_distillation_loss], ids=lambda fn: fn.__name__)
def test_masks(loss):
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=(2, 3, 6)).astype(np.float32)
    junk = np.array([[np.nan, np.inf, -np.inf]] * 3, np.float32)
    where = np.broadcast_to(np.arange(9) < 6, (3, 9))
    run = jax.jit(jax.value_and_grad(loss))
    loud = run(np.hstack([s, junk]), np.hstack([t, junk[:, ::-1]]), where=where)
    plain = run(s, t)
    np.testing.assert_allclose(loud[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(loud[1][:, :6], plain[1], rtol=1e-4, atol=1e-6)
    assert np.all(np.asarray(loud[1])[:, 6:] == 0)
    value, grad = run(s, t, where=np.zeros((3, 6), bool))
    assert value == 0
    assert np.all(np.asarray(grad) == 0)
    # A list without items is left out of the mean.
    where = np.array([[True] * 6, [False] * 6, [True] * 6])
    np.testing.assert_allclose(loss(s, t, where=where), loss(s[::2], t[::2]), rtol=1e-6)
    np.testing.assert_allclose(loss(s, t, reduce_fn=None)[1], loss(s[1], t[1]), rtol=1e-6)
    np.testing.assert_allclose(loss(t, t), 0, atol=1e-6)
    assert loss(jnp.asarray(s, jnp.bfloat16), t).dtype == jnp.bfloat16


def test_kl_with_segments_and_infinite_scores():
    segments = np.array([0, 1, 0, 1])
    got = L.kl_distillation_loss(STUDENT, TEACHER, segments=segments, reduce_fn=None)
    np.testing.assert_allclose(got[0], L.kl_distillation_loss(STUDENT[::2], TEACHER[::2]), rtol=1e-5)
    np.testing.assert_allclose(got[1], L.kl_distillation_loss(STUDENT[1::2], TEACHER[1::2]), rtol=1e-5)
    out = np.array([3.0, 0.5, -np.inf, 0.0], np.float32)
    value, grad = jax.value_and_grad(L.kl_distillation_loss)(jnp.asarray(STUDENT), out)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()
    both = L.kl_distillation_loss(out, out)
    np.testing.assert_allclose(both, 0, atol=1e-6)
    assert L.kl_distillation_loss(out, TEACHER) == np.inf


def test_margins():
    weights = np.array([9.0, 1.0, 0.0, 2.0], np.float32)
    margins = (STUDENT[2] - STUDENT) - (TEACHER[2] - TEACHER)
    want = np.sum((weights * margins**2)[[0, 1, 3]]) / 3
    np.testing.assert_allclose(L.margin_mse_loss(STUDENT, TEACHER, weights=weights, positive=2), want, rtol=1e-6)
    np.testing.assert_allclose(L.margin_mse_loss(STUDENT, TEACHER, positive=-2, weights=weights), want, rtol=1e-6)
    assert L.margin_mse_loss(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)) == 0


def test_margins_of_segments():
    rng = np.random.default_rng(4)
    s, t, w = (rng.normal(size=9).astype(np.float32) for _ in range(3))
    w = np.abs(w)
    segments = np.array([7, 2, 7, 7, 2, 2, 7, 5, 2])
    where = np.arange(9) != 4
    run = jax.jit(L.margin_mse_loss, static_argnames=("positive", "reduce_fn"))
    for positive in (0, 1, -1):
        options = {"positive": positive, "reduce_fn": None}
        got = np.asarray(run(s, t, where=where, segments=segments, weights=w, **options))
        want = np.zeros(9)
        for one in (7, 2):
            mine = np.flatnonzero(segments == one)
            alone = run(s[mine], t[mine], where=where[mine], weights=w[mine], **options)
            want[mine[0]] = alone
        np.testing.assert_allclose(got, want, rtol=1e-5)
    # The second item of segment 2 is masked, and segment 5 has one item: both are left out of the mean.
    options = {"where": where, "segments": segments, "weights": w, "positive": 1}
    np.testing.assert_allclose(run(s, t, **options), run(s, t, reduce_fn=None, **options)[0], rtol=1e-6)
    grad = jax.grad(lambda s: run(s, t, **options))(s)
    assert np.all(np.asarray(grad)[segments != 7] == 0)


def test_info_nce():
    rng = np.random.default_rng(1)
    s = rng.normal(size=(3, 5))
    full = np.log(np.exp(s).sum(1)) - s[np.arange(3), np.arange(3)]
    np.testing.assert_allclose(L.info_nce_loss(s.astype(np.float32), reduce_fn=None), full, rtol=1e-5)
    square = s[:, :3]
    over_rows = np.log(np.exp(square).sum(1)) - np.diag(square)
    over_columns = np.log(np.exp(square).sum(0)) - np.diag(square)
    got = L.info_nce_loss(square.astype(np.float32), symmetric=True)
    np.testing.assert_allclose(got, np.mean(over_rows + over_columns) / 2, rtol=1e-5)
    # Another positive of query 0 is not a negative; query 1 has no positive.
    where = np.ones((3, 5), bool)
    where[0, 2] = where[1, 1] = False
    junk = np.where(where, s, np.nan).astype(np.float32)
    value, grad = jax.value_and_grad(functools.partial(L.info_nce_loss, where=where))(jnp.asarray(junk))
    first = np.log(np.exp(s[0, [0, 1, 3, 4]]).sum()) - s[0, 0]
    np.testing.assert_allclose(value, (first + full[2]) / 2, rtol=1e-5)
    assert np.all(np.asarray(grad)[~where] == 0)
    assert np.all(np.asarray(grad)[1] == 0)
    assert np.isfinite(grad).all()
    chosen = L.info_nce_loss(s.astype(np.float32), np.array([4, 0, 2]), reduce_fn=None)
    np.testing.assert_allclose(chosen[0], np.log(np.exp(s[0]).sum()) - s[0, 4], rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    with pytest.raises(LearnError, match="a column for every row"):
        L.info_nce_loss(np.zeros((3, 2), np.float32))
    with pytest.raises(LearnError, match="square"):
        L.info_nce_loss(np.zeros((2, 3), np.float32), symmetric=True)
    with pytest.raises(LearnError, match="positive is 4, a place of a list of 4"):
        L.margin_mse_loss(STUDENT, TEACHER, positive=4)
    with pytest.raises(LearnError, match="no meaning"):
        L.info_nce_loss(np.zeros((2, 2), np.float32), 0, symmetric=True)
