"""The smooth relaxations against their formulas, written out in NumPy over all pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import soft
from jrank.soft import _matrix, _network, _pairwise

X = np.random.default_rng(0).normal(size=11)
G = np.random.default_rng(1).normal(size=11)


def laplace(x, t):
    d = (x[:, None] - x[None, :]) / t
    return 0.5 + np.where(d >= 0, 1 - np.exp(-np.abs(d)) / 2, np.exp(-np.abs(d)) / 2).sum(1)


def sigmoid(x, t):
    p = 1 / (1 + np.exp(-(x[:, None] - x[None, :]) / t))
    np.fill_diagonal(p, 0)
    return 1 + p.sum(1)


def softsort(x, t):
    logits = -np.abs(np.sort(x)[:, None] - x[None, :]) / t
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def neuralsort(x, t):
    n = len(x)
    i = np.arange(1, n + 1)[:, None]
    logits = ((2 * i - n - 1) * x[None, :] - np.abs(x[:, None] - x[None, :]).sum(1)) / t
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


SHARES = {
    "logistic": lambda d: 1 / (1 + np.exp(-d)),
    "cauchy": lambda d: np.arctan(d) / np.pi + 0.5,
    "reciprocal": lambda d: 0.5 * d / (2 + np.abs(d)) + 0.5,
    "gaussian": scipy.special.ndtr,
    "logistic_phi": lambda d: 1 / (1 + np.exp(-np.sign(d) * np.abs(d) ** 0.75)),
    "optimal": lambda d: np.where(d < -0.25, -1 / (16 * d), np.where(d > 0.25, 1 - 1 / (16 * d), d + 0.5)),
}


def comparators(n, wires):
    """Layers of (i, j), i < j: places that are compared."""
    if wires == "odd_even":
        return [[(i, i + 1) for i in range(layer % 2, n - 1, 2)] for layer in range(n)]
    layers, width = [], 1
    while width < n:
        width *= 2
        flip = width - 1
        while flip:
            pairs = [(i, i ^ flip) for i in range(n) if i < i ^ flip < n]
            layers.append(pairs)
            flip = width // 4 if flip == width - 1 else flip // 2
    return layers


def network(x, t, wires="bitonic", share="logistic"):
    n = len(x)
    p = np.eye(n)
    for layer in comparators(n, wires):
        v, mix = p @ x, np.eye(n)
        for i, j in layer:
            a = SHARES[share]((v[j] - v[i]) / t)
            mix[i, i] = mix[j, j] = a
            mix[i, j] = mix[j, i] = 1 - a
        p = mix @ p
    return p


def by_columns(p):
    return (np.arange(1, len(p) + 1) @ p) / p.sum(0)


RANKS = {
    "laplace": laplace,
    "sigmoid": sigmoid,
    "softsort": lambda x, t: by_columns(softsort(x, t)),
    "neuralsort": lambda x, t: by_columns(neuralsort(x, t)),
    "network": lambda x, t: by_columns(network(x, t)),
    "odd_even": lambda x, t: by_columns(network(x, t, "odd_even")),
}
MATRICES = {
    "softsort": softsort,
    "neuralsort": neuralsort,
    "network": network,
    "odd_even": lambda x, t: network(x, t, "odd_even"),
}


@pytest.mark.parametrize("method", RANKS)
def test_ranks(method, oracle, x64):
    x = np.r_[X[:9], X[0], X[1]] if method in ("laplace", "sigmoid", "softsort") else X
    fn = jax.jit(lambda v, t: soft.rank(v, method=method, temperature=t))
    slopes = jax.jit(jax.jacrev(fn, (0, 1)))
    for t in (0.1, 0.7, 3.0):
        np.testing.assert_allclose(fn(x, t), RANKS[method](x, t), atol=1e-9)
        got = slopes(X, t)
        np.testing.assert_allclose(got[0], oracle.differences(lambda v, t=t: RANKS[method](v, t), X), atol=1e-7)
        want = (RANKS[method](X, t + 1e-6) - RANKS[method](X, t - 1e-6)) / 2e-6
        np.testing.assert_allclose(got[1], want, atol=1e-6)


@pytest.mark.parametrize("method", MATRICES)
def test_sorted_values(method, oracle, x64):
    fn = jax.jit(lambda v, t: soft.sort(v, method=method, temperature=t))
    slopes = jax.jit(jax.jacrev(fn))
    for t in (0.1, 0.7, 3.0):
        np.testing.assert_allclose(fn(X, t), MATRICES[method](X, t) @ X, atol=1e-9)
        want = oracle.differences(lambda v, t=t: MATRICES[method](v, t) @ v, X)
        np.testing.assert_allclose(slopes(X, t), want, atol=1e-7)


@pytest.mark.parametrize("method", RANKS)
def test_second_derivatives(method, x64):
    x = jnp.asarray(X[:5])

    def f(v):
        return jnp.vdot(G[:5], soft.rank(v, method=method, temperature=0.7) ** 2)

    gradient = jax.jit(jax.grad(f))
    reverse, forward = jax.jit(lambda v: (jax.jacrev(jax.grad(f))(v), jax.jacfwd(jax.grad(f))(v)))(x)
    want = [(gradient(x + d) - gradient(x - d)) / 2e-5 for d in 1e-5 * np.eye(5)]
    np.testing.assert_allclose(reverse, want, atol=1e-7)
    np.testing.assert_allclose(forward, want, atol=1e-7)


@pytest.mark.parametrize("method", ["laplace", "sigmoid", "network"])
@given(hnp.arrays(np.float32, 12, elements=st.floats(-8, 8, width=16)), st.sampled_from([0.1, 0.7, 5.0]))
def test_ranks_sum_to_those_of_a_permutation(method, x, t):
    np.testing.assert_allclose(soft.rank(x, method=method, temperature=t).sum(), 78, rtol=1e-5)


@pytest.mark.parametrize("method", ["laplace", "sigmoid"])
def test_ascending_and_descending_ranks_complement(method):
    both = [soft.rank(X, method=method, temperature=0.7, descending=d) for d in (False, True)]
    np.testing.assert_allclose(both[0] + both[1], 12, rtol=1e-6)


def test_laplace_published_values():
    want = [2.1839397, 2.1839397, 2.1839397, 3.4481808]
    np.testing.assert_allclose(soft.rank(jnp.array([1.0, 1, 1, 2]), method="laplace"), want, rtol=1e-6)
    want = [2.9659, 1.1931, 1.8410]
    np.testing.assert_allclose(soft.rank(jnp.array([5.0, 1, 2]), method="laplace"), want, atol=1e-4)


@pytest.mark.parametrize("method", ["sigmoid", "softsort", "neuralsort"])
def test_blocks_of_rows_change_nothing(method, monkeypatch, x64):
    want = RANKS[method](X, 0.7)
    jax.clear_caches()
    monkeypatch.setattr(_pairwise, "PAIRS", 44)
    fn = lambda v: soft.rank(v, method=method, temperature=0.7)  # noqa: E731  a name for two calls
    np.testing.assert_allclose(fn(X), want, atol=1e-9)
    blocked = jax.grad(lambda v: fn(v) @ G)(jnp.asarray(X))
    monkeypatch.undo()
    jax.clear_caches()
    np.testing.assert_allclose(blocked, jax.grad(lambda v: fn(v) @ G)(jnp.asarray(X)), atol=1e-12)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("wires", ["bitonic", "odd_even"])
def test_network_matrices(wires, share, x64):
    for n in (1, 2, 5, 8, 11) if share == "logistic" else (11,):
        want = network(X[:n], 0.7, wires, share)
        fn = jax.jit(lambda v: _network.permutation_network(v, jnp.float64(0.7), None, wires=wires, share=share))
        np.testing.assert_allclose(fn(jnp.asarray(X[:n])), want, atol=1e-12)


def test_a_masked_network_is_the_network_of_the_real_items(x64):
    where = np.arange(11) % 3 != 1
    for wires in ("bitonic", "odd_even"):
        got = _network.permutation_network(jnp.asarray(X), jnp.float64(0.7), jnp.asarray(where), wires=wires)
        np.testing.assert_allclose(got[:7][:, where], network(X[where], 0.7, wires), atol=1e-12)


@pytest.mark.parametrize("kind", _matrix.KINDS)
def test_permutation_matrices(kind, x64):
    got = _matrix.permutation(jnp.asarray(X), jnp.float64(0.7), None, kind=kind)
    np.testing.assert_allclose(got, MATRICES[kind](X, 0.7), atol=1e-12)


def test_matrices_of_other_libraries(golden, x64):
    """The published definitions as difftopk and diffsort compute them (tests/golden/make_soft_matrices.py)."""
    told = golden("soft_matrices.json")
    x = jnp.asarray(told["scores"])
    for method, matrix in told["matrices"].items():
        want = np.array(matrix)
        got = soft.argsort(x[: len(want)], method=method, temperature=told["temperature"])
        # float32 there; and those networks add 1e-10 to what they divide by.
        tolerance = 1e-6 if method in ("softsort", "neuralsort") else 1e-9
        np.testing.assert_allclose(got, want, atol=tolerance, err_msg=method)
        assert method in soft._rank.METHODS
        assert method in soft._sort.METHODS


def test_compiled_gradients_of_neuralsort(oracle, x64):
    """Compiled over a batch, equal scores once had slopes of their rounding errors."""
    where = np.arange(11) % 3 != 1
    rows = np.stack([X, X[::-1]])

    @jax.jit
    @jax.vmap
    def slope(x):
        return jax.grad(lambda v: soft.sort(v, method="neuralsort", temperature=0.7, where=where)[:7] @ G[:7])(x)

    got = slope(rows)
    for x, gradient in zip(rows, got, strict=True):
        want = oracle.differences(lambda v: G[:7] @ neuralsort(v, 0.7) @ v, x[where])
        np.testing.assert_allclose(gradient[where], want, atol=1e-6)
