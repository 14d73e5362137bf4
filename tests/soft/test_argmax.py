"""Soft argmax and maximum: formulas, masks, odd values, gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jrank import soft
from jrank.errors import SoftError
from jrank.soft import _argmax

RNG = np.random.default_rng(0)
X = RNG.normal(size=7)
FAST = ("softmax", "l2", "laplace", "neuralsort", "network")
each = pytest.mark.parametrize(
    "method", [pytest.param(m, marks=() if m in FAST else pytest.mark.slow) for m in _argmax.METHODS]
)


def sparsemax(z):
    """Projection onto the simplex: of all supports the one whose solution is feasible and nearest."""
    best = None
    for size in range(1, len(z) + 1):
        for support in itertools.combinations(range(len(z)), size):
            p = np.zeros(len(z))
            p[list(support)] = z[list(support)] - (z[list(support)].sum() - 1) / size
            if (p >= -1e-12).all() and (best is None or ((p - z) ** 2).sum() < ((best - z) ** 2).sum()):
                best = p
    return best


def test_softmax_and_sparsemax(x64):
    for t in (0.1, 0.7, 5.0):
        np.testing.assert_allclose(soft.argmax(X, temperature=t), scipy.special.softmax(X / t), atol=1e-12)
        np.testing.assert_allclose(soft.argmax(X, temperature=t, method="l2"), sparsemax(X / t), atol=1e-12)
        np.testing.assert_allclose(soft.argmin(X, temperature=t, method="l2"), sparsemax(-X / t), atol=1e-12)
        want = t * scipy.special.logsumexp(X / t)
        np.testing.assert_allclose(soft.max(X, temperature=t, method="logsumexp"), want, rtol=1e-12)
        slope = jax.grad(lambda v, t=t: soft.max(v, temperature=t, method="logsumexp"))(jnp.asarray(X))
        np.testing.assert_allclose(slope, scipy.special.softmax(X / t), atol=1e-12)
    np.testing.assert_allclose(soft.max(X), scipy.special.softmax(X) @ X, rtol=1e-12)
    np.testing.assert_allclose(soft.min(X), scipy.special.softmax(-X) @ X, rtol=1e-12)


@each
def test_it_is_the_first_row_of_the_matrix_or_the_mask_of_one(method, x64):
    got = soft.argmax(X, method=method, temperature=0.7)
    if method in ("l2", "sigmoid", "laplace"):
        want = soft.top_k_mask(X, 1, method=method, temperature=0.7)
    else:
        matrix = "softsort" if method == "softmax" else method
        want = soft.argsort(X, method=matrix, temperature=0.7, descending=True)[0]
    np.testing.assert_allclose(got, want, atol=1e-12)
    np.testing.assert_allclose(got.sum(), 1, atol=1e-12)


@each
def test_masks_and_odd_values(method, oracle, x64):
    where = np.array([1, 1, 0, 1, 1, 0, 1], bool)

    @jax.jit
    @jax.vmap
    def run(v, w):
        def both(v):
            weights = soft.argmax(v, method=method, temperature=0.7, where=w)
            return soft.max(v, method=method, temperature=0.7, where=w), weights

        value, back, weights = jax.vjp(both, v, has_aux=True)
        return value, weights, back(jnp.ones_like(value))[0]

    inf, nan = np.inf, np.nan
    rows = np.stack([
        np.where(where, X, nan),
        np.where(where, X, inf),
        X,
        [1, inf, 0, inf, 2, 0, -inf],
        [-inf] * 7,
        [nan, 1, 0, 2, nan, 0, -inf],
    ])  # fmt: skip
    masks = np.stack([where, where, np.zeros(7, bool), np.ones(7, bool), where, where])
    value, weights, slope = run(rows, masks)
    kept = soft.argmax(X[where], method=method, temperature=0.7)
    for row in (0, 1):
        np.testing.assert_allclose(weights[row][where], kept, atol=1e-12)
        np.testing.assert_allclose(value[row], soft.max(X[where], method=method, temperature=0.7), atol=1e-12)
        np.testing.assert_array_equal(weights[row][~where], 0)
        np.testing.assert_array_equal(slope[row][~where], 0)
    want = oracle.differences(lambda v: soft.max(v, method=method, temperature=0.7), X[where])
    np.testing.assert_allclose(slope[0][where], want, atol=1e-7)
    np.testing.assert_array_equal([value[2], *weights[2], *slope[2]], 0)
    np.testing.assert_array_equal(weights[3], [0, 0.5, 0, 0.5, 0, 0, 0])
    assert value[3] == inf
    np.testing.assert_allclose(weights[4], where / where.sum())
    assert value[4] == -inf
    np.testing.assert_allclose(weights[5].sum(), 1)
    np.testing.assert_array_equal(weights[5][jnp.array([0, 2, 4, 5, 6])], 0)
    assert np.isfinite(slope).all()


def test_straight_through():
    x = jnp.asarray(X, jnp.float32)
    cost = jnp.arange(7.0)
    got, slope = jax.value_and_grad(lambda v: soft.argmax(v, straight_through=True) @ cost)(x)
    assert got == float(X.argmax())
    np.testing.assert_allclose(slope, jax.grad(lambda v: soft.argmax(v) @ cost)(x), rtol=1e-6)
    assert soft.max(x, straight_through=True) == x.max()
    assert soft.min(x, straight_through=True, method="logsumexp") == x.min()


def test_axes_types_and_errors(unchecked):
    cube = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    t = jnp.full((2, 3), 0.3).at[0, 0].set(2)
    got = soft.argmax(cube, axis=1, temperature=t)
    np.testing.assert_allclose(got[0, :, 0], scipy.special.softmax(cube[0, :, 0] / 2), rtol=1e-5)
    np.testing.assert_allclose(got[1, :, 2], scipy.special.softmax(cube[1, :, 2] / 0.3), rtol=1e-5)
    assert soft.max(cube, axis=1).shape == (2, 3)
    assert soft.max(cube.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert soft.argmin(np.array([3, 1])).dtype == jnp.float32
    with pytest.raises(SoftError, match=r"max has no method 'logsumxp'; did you mean logsumexp\?"):
        soft.max(cube, method="logsumxp")
    with pytest.raises(SoftError, match="argmax has no method 'kl'"):
        soft.argmax(cube, method="kl")
    with pytest.raises(SoftError, match="no items along the axis"):
        soft.max(jnp.zeros((2, 0)))
    assert soft.argmax(jnp.zeros((2, 0))).shape == (2, 0)
