"""Payloads in soft order: P v against the matrix, gradients to both, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.errors import SoftError
from jrank.soft import _sort_with

RNG = np.random.default_rng(0)
X, V = RNG.normal(size=(2, 9)), RNG.normal(size=(2, 9, 3))
FAST = ("softsort", "neuralsort", "network")
each = pytest.mark.parametrize(
    "method", [pytest.param(m, marks=() if m in FAST else pytest.mark.slow) for m in _sort_with.METHODS]
)


@each
def test_it_is_the_product_with_the_matrix(method, oracle, x64):
    options = {"method": method, "temperature": 0.7, "descending": True}
    got = soft.sort_with(X, V, **options)
    matrix = np.asarray(soft.argsort(X, **options))
    np.testing.assert_allclose(got, matrix @ V, atol=1e-12)
    cost = RNG.normal(size=(9, 3))
    slopes = jax.jit(jax.grad(lambda x, v: jnp.vdot(cost, soft.sort_with(x, v, **options)), argnums=(0, 1)))(
        jnp.asarray(X[0]), jnp.asarray(V[0])
    )
    np.testing.assert_allclose(slopes[1], matrix[0].T @ cost, atol=1e-12)
    want = oracle.differences(lambda x: np.vdot(cost, np.asarray(soft.argsort(x, **options)) @ V[0]), X[0])
    np.testing.assert_allclose(slopes[0], want, atol=1e-7)


@each
def test_masks_and_infinite_scores(method):
    where = np.arange(9) % 3 != 1
    x, v = X[0].astype(np.float32), V[0].astype(np.float32)
    want = soft.sort_with(x[where], v[where], method=method, temperature=0.7)

    @jax.jit
    def run(x, v):
        return soft.sort_with(x, v, method=method, temperature=0.7, where=where)

    for junk in (np.nan, np.inf, 3e38):
        a, b = np.where(where, x, np.float32(junk)), np.where(where[:, None], v, np.float32(junk))
        got, back = jax.vjp(run, a, b)
        np.testing.assert_allclose(got[:6], want, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(got[6:], 0)
        slopes = back(jnp.ones_like(got))
        assert np.isfinite(slopes[0]).all()
        np.testing.assert_array_equal(slopes[0][~where], 0)
        np.testing.assert_array_equal(slopes[1][~where], 0)
    x = jnp.array([np.inf, 1, -np.inf, 0, np.inf, np.nan, 2, 3, 4], jnp.float32)
    got = soft.sort_with(x, jnp.arange(9.0), method=method, temperature=1e-3)
    np.testing.assert_allclose(got, [2, 3, 1, 6, 7, 8, 2, 2, 0], rtol=1e-5)


def test_blocks_of_rows_change_nothing(monkeypatch, x64):
    from jrank.soft import _pairwise

    want = soft.sort_with(X, V)
    jax.clear_caches()
    monkeypatch.setattr(_pairwise, "PAIRS", 36)
    np.testing.assert_allclose(soft.sort_with(X, V), want, atol=1e-12)
    monkeypatch.undo()
    jax.clear_caches()


def test_layouts_types_and_straight_through(unchecked):
    x, v = jnp.asarray(X, jnp.float32), jnp.asarray(V, jnp.float32)
    want = soft.sort_with(x, v, temperature=0.5)
    got = soft.sort_with(x.T, jnp.swapaxes(v, 0, 1), temperature=0.5, axis=0)
    np.testing.assert_allclose(jnp.swapaxes(got, 0, 1), want, rtol=1e-6)
    assert soft.sort_with(x, v.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    labels = jnp.arange(9, dtype=jnp.int32)
    hard = soft.sort_with(x[0], labels, straight_through=True, temperature=5.0)
    np.testing.assert_array_equal(hard, np.argsort(X[0]))
    slopes = [jax.grad(lambda s, h=h: soft.sort_with(s, v[0], straight_through=h)[0, 0])(x[0]) for h in (True, False)]
    np.testing.assert_allclose(*slopes, rtol=1e-6)
    assert soft.sort_with(jnp.zeros((2, 0)), jnp.zeros((2, 0, 3))).shape == (2, 0, 3)
    with pytest.raises(SoftError, match=r"values has shape \(9, 2\), expected \(2, 9\)"):
        soft.sort_with(x, x.T)
    with pytest.raises(SoftError, match="sort_with has no method 'l2'"):
        soft.sort_with(x, v, method="l2")
