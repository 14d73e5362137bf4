"""Ragged lists in one array are ranked as if each were ranked alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.errors import SoftError
from jrank.soft._rank import SEGMENTED

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 17)).astype(np.float32)
X[0, 3], X[0, 8], X[1, 2], X[1, 4] = np.inf, -np.inf, np.nan, X[1, 5]
IDS = RNG.integers(-2, 3, size=(2, 17))
WHERE = RNG.random((2, 17)) < 0.8
G = RNG.normal(size=(2, 17)).astype(np.float32)


def one_by_one(fn, x, ids, where):
    out = np.full(x.shape, 18, np.float32)
    for row in range(2):
        for i in np.unique(ids[row]):
            mine = (ids[row] == i) & where[row]
            out[row, mine] = fn(x[row, mine])
    return out


@pytest.mark.parametrize("descending", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", SEGMENTED)
def test_segments_equal_lists(method, descending):
    ids, where = jnp.asarray(IDS), jnp.asarray(WHERE)

    def single(v):
        return soft.rank(v, method=method, temperature=0.4, descending=descending)

    def together(v):
        return soft.rank(v, method=method, temperature=0.4, descending=descending, segments=ids, where=where)

    want = one_by_one(lambda v: single(jnp.asarray(v)), X, IDS, WHERE)
    np.testing.assert_allclose(together(X), want, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda v: jnp.nansum(together(v) * G)))(jnp.asarray(X))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~WHERE], 0)
    i = IDS[0, 0]
    mine = (IDS[0] == i) & WHERE[0]
    alone = jax.grad(lambda v: jnp.nansum(single(v) * G[0, mine]))(jnp.asarray(X[0, mine]))
    np.testing.assert_allclose(gradient[0, mine], alone, rtol=1e-4, atol=1e-5)


def test_hard_ranks_within_segments():
    got = soft.rank(X[1], segments=jnp.asarray(IDS[1]), straight_through=True)
    want = one_by_one(lambda v: np.where(np.isnan(v), np.nan, np.argsort(np.argsort(v)) + 1), X, IDS, WHERE | True)
    np.testing.assert_array_equal(got, want[1])


def test_ids_of_other_types():
    x, ids = X[0, :6], jnp.array([1, 0, 1, 0, 1, 1])
    want = soft.rank(x, segments=ids)
    np.testing.assert_array_equal(soft.rank(x, segments=ids.astype(jnp.float32)), want)
    np.testing.assert_array_equal(soft.rank(x, segments=ids == 1), want)


def test_errors(unchecked):
    with pytest.raises(SoftError, match="'softsort'; methods that do: l2, kl, laplace, sigmoid"):
        soft.rank(X, method="softsort", segments=jnp.asarray(IDS))
    with pytest.raises(SoftError, match=r"segments has shape \(17,\), expected \(2, 17\)"):
        soft.rank(X, segments=jnp.asarray(IDS[0]))
