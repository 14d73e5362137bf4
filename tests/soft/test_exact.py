"""The exact projections against published values, NumPy, and what their mathematics promises."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import soft

X = jnp.array([2.9, 0.1, 1.2, 0.4, 0.35])
G = jnp.array([1, -2, 0.5, 3, 0.0])
OPERATORS = {"rank": soft.rank, "sort": soft.sort}

# From fast-soft-sort at commit 6a52ce7, in float64.
VALUES = [
    ("rank", "l2", 0.05, [5, 1, 4, 3, 2]),
    ("rank", "l2", 0.2, [5, 1.08333333, 4, 2.58333333, 2.33333333]),
    ("rank", "l2", 1, [4.91, 2.11, 3.21, 2.41, 2.36]),
    ("rank", "l2", 5, [3.382, 2.822, 3.042, 2.882, 2.872]),
    ("rank", "kl", 0.2, [5, 1, 4, 2.8108825, 2.1891175]),
    ("rank", "kl", 1, [5, 1.6511258, 4, 2.2287867, 2.12008749]),
    ("rank", "kl", 5, [4.29798734, 2.45504933, 3.05917984, 2.6068611, 2.5809224]),
    ("sort", "kl", 1, [0.1, 0.35, 0.4, 1.34547566, 2.34547566]),
    ("sort", "kl", 5, [0.27981014, 0.47981014, 0.67981014, 0.87981014, 1.07981014]),
    ("sort", "l2", 0.2, [0.1, 0.35, 0.4, 1.2, 2.9]),
    ("sort", "l2", 1, [0.1, 0.35, 0.5, 1.5, 2.5]),
    ("sort", "l2", 5, [0.59, 0.79, 0.99, 1.19, 1.39]),
]
DESCENDING = [
    ("rank", "l2", 1, [1.09, 3.89, 2.79, 3.59, 3.64]),
    ("sort", "l2", 1, [2.5, 1.5, 0.5, 0.35, 0.1]),
    ("sort", "kl", 1, [2.72728315, 1.72728315, 0.72728315, 0.35, 0.1]),
]
GRADIENTS = [
    ("rank", "l2", 0.2, [0, -11.66666667, 0, 13.33333333, -1.66666667]),
    ("rank", "l2", 1, [0.5, -2.5, 0, 2.5, -0.5]),
    ("sort", "l2", 1, [1.16666667, 1, 1.16666667, 1.16666667, -2]),
    ("rank", "kl", 0.2, [0, 0, 0, 18.46005621, -18.46005621]),
    ("rank", "kl", 1, [0, -4.23351641, 0, 5.4292841, -1.19576769]),
    # Not fast-soft-sort's own gradient of the KL sort, which differs from finite differences of its values.
    ("sort", "kl", 1, [0.4633958, 1, 2.5366042, 0.5, -2]),
    ("sort", "kl", 5, [0.05218314, 0.85813334, 0.28564778, 0.63572082, 0.66831492]),
]
METHODS = ["l2", "kl"]


@pytest.mark.parametrize(("operator", "method", "temperature", "want"), VALUES)
def test_published_values(operator, method, temperature, want):
    got = OPERATORS[operator](X, method=method, temperature=temperature)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(("operator", "method", "temperature", "want"), DESCENDING)
def test_published_values_descending(operator, method, temperature, want):
    got = OPERATORS[operator](X, method=method, temperature=temperature, descending=True)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(("operator", "method", "temperature", "want"), GRADIENTS)
def test_published_gradients(operator, method, temperature, want):
    got = jax.grad(lambda x: jnp.vdot(G, OPERATORS[operator](x, method=method, temperature=temperature)))(X)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_other_published_values():
    x = jnp.array([5.0, 1.0, 2.0])
    np.testing.assert_allclose(soft.sort(x, temperature=1), [5 / 3, 8 / 3, 11 / 3], rtol=1e-6)
    np.testing.assert_allclose(soft.sort(x, temperature=0.1), [1, 2, 5], rtol=1e-6)
    np.testing.assert_allclose(soft.rank(x, temperature=2), [3, 1.25, 1.75], rtol=1e-6)
    np.testing.assert_allclose(soft.rank(x, temperature=1), [3, 1, 2], rtol=1e-6)
    # torchsort's own test cases.
    x = jnp.array([8.0, 0, 5, 3, 2, 1, 6, 7, 9])
    np.testing.assert_allclose(soft.sort(x), 0.5556 + np.arange(9), atol=1e-4)
    np.testing.assert_allclose(jax.grad(lambda v: soft.sort(v)[0])(x), 1 / 9, rtol=1e-6)
    x = jnp.array([1.0, -2, 2, 3, 0.5, -1])
    np.testing.assert_allclose(soft.rank(x, temperature=1), [3.875, 1, 4.875, 5.875, 3.375, 2], rtol=1e-6)
    np.testing.assert_allclose(soft.rank(x, temperature=0.1), [4, 1, 5, 6, 3, 2], rtol=1e-6)
    want = [3.541667, 3.241667, 3.641667, 3.741667, 3.491667, 3.341667]
    np.testing.assert_allclose(soft.rank(x, temperature=10), want, rtol=1e-6)


Y, U, Q = jnp.array([0.3, 0.1, 0.25, 0.8]), jnp.array([1, -2, 0.5, 3.0]), jnp.array([0.7, 0.2, -1, 0.4])
SECOND = [
    ("l2", [0.84375, -0.90625, -1.48125, 1.54375], 1e-5),
    ("kl", [-9.312, -11.2866, 0.5445, 20.0541], 1e-4),
]


@pytest.mark.parametrize(("method", "want", "rtol"), SECOND)
def test_second_derivatives(method, want, rtol):
    def f(x):
        return jnp.sum(U * soft.rank(x, method=method) ** 2)

    gradient = jax.grad(f)

    @jax.jit
    def each_way():
        return (
            jax.jvp(gradient, (Y,), (Q,))[1],
            jax.grad(lambda x: jnp.vdot(gradient(x), Q))(Y),
            jax.hessian(f)(Y) @ Q,
            jax.jacfwd(jax.jacfwd(f))(Y) @ Q,
        )

    for got in each_way():
        np.testing.assert_allclose(got, want, rtol=rtol)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_against_numpy(operator, method, oracle):
    rng = np.random.default_rng(0)
    fn = jax.jit(lambda x, t: OPERATORS[operator](x, method=method, temperature=t))
    for temperature in (0.03, 0.5, 4.0):
        for kind in ("normal", "tied", "heavy", "outlier"):
            x = {
                "normal": rng.normal(size=13),
                "tied": np.maximum(rng.normal(size=13), 0),
                "heavy": rng.standard_cauchy(13),
                "outlier": np.r_[rng.normal(size=12), 50.0],
            }[kind].astype(np.float32)
            want = getattr(oracle, operator)[method](x, temperature)
            scale = max(1.0, np.abs(want).max())
            np.testing.assert_allclose(fn(x, temperature), want, rtol=2e-5, atol=2e-6 * scale, err_msg=kind)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_jacobians_in_x_and_temperature(operator, method, oracle, x64):
    x = jnp.asarray(np.random.default_rng(1).normal(size=9), jnp.float64)
    fn = jax.jit(lambda v, t: OPERATORS[operator](v, method=method, temperature=t))
    forward, reverse = jax.jit(jax.jacfwd(fn, (0, 1))), jax.jit(jax.jacrev(fn, (0, 1)))
    for t in (0.1, 0.7, 3.0):
        want = (
            oracle.differences(partial(fn, t=t), x),
            (fn(x, t + 1e-6) - fn(x, t - 1e-6)) / 2e-6,
        )
        for got in (forward(x, t), reverse(x, t)):
            np.testing.assert_allclose(got[0], want[0], atol=1e-7)
            np.testing.assert_allclose(got[1], want[1], atol=1e-6)


def test_brute_force_over_all_permutations(x64):
    # The minimum over the hull of all permutations, by Frank-Wolfe with away steps being too slow: the optimality
    # condition <z - r, p - r> <= 0 at every vertex p characterises the projection r of z.
    rng = np.random.default_rng(2)
    for t in (0.2, 1.0, 5.0):
        x = rng.normal(size=5)
        r = np.asarray(soft.rank(jnp.asarray(x), temperature=t))
        for p in itertools.permutations(np.arange(1, 6.0)):
            assert np.dot(x / t - r, np.array(p) - r) <= 1e-9
        s = np.asarray(soft.sort(jnp.asarray(x), temperature=t))
        for p in itertools.permutations(x):
            assert np.dot(np.arange(1, 6.0) / t - s, np.array(p) - s) <= 1e-9


SCORES = hnp.arrays(np.float32, 12, elements=st.floats(-8, 8, width=16))
TEMPERATURES = st.sampled_from([0.01, 0.1, 0.5, 1.0, 3.0, 20.0])
RHO = np.arange(1, 13)


@given(SCORES, TEMPERATURES)
def test_properties_of_the_l2_rank(x, t):
    r = np.asarray(soft.rank(x, temperature=t), np.float64)
    np.testing.assert_allclose(r.sum(), RHO.sum(), rtol=1e-5)
    # Majorised by the hard ranks: the k smallest sum to at least 1 + ... + k.
    assert (np.cumsum(np.sort(r)) >= np.cumsum(RHO) - 1e-3).all()
    order = np.argsort(x, kind="stable")
    assert (np.diff(r[order]) >= -1e-5).all()
    np.testing.assert_allclose(r + np.asarray(soft.rank(x, temperature=t, descending=True)), 13, rtol=1e-5)
    np.testing.assert_allclose(soft.rank(x[::-1].copy(), temperature=t), r[::-1], rtol=1e-5)
    gap = np.diff(np.sort(x)).min()
    if gap >= t:
        np.testing.assert_array_equal(r[order], RHO)


@given(SCORES, TEMPERATURES)
def test_properties_of_the_l2_sort(x, t):
    s = np.asarray(soft.sort(x, temperature=t), np.float64)
    scale = 1 + np.abs(x).max() + 12 / t
    np.testing.assert_allclose(s.sum(), x.sum(dtype=np.float64), atol=1e-5 * scale)
    assert (np.diff(s) >= -1e-5 * scale).all()
    assert (np.cumsum(s) >= np.cumsum(np.sort(x)) - 1e-5 * scale).all()
    if np.diff(np.sort(x)).max() <= (1 - 1e-6) / t:
        np.testing.assert_array_equal(s, np.sort(x))


@given(SCORES, TEMPERATURES)
def test_one_block_iff_the_temperature_is_large_enough(x, t):
    s = np.sort(x.astype(np.float64))
    limit = max(2 / 12 * (s[k:].mean() - s[:k].mean()) for k in range(1, 12))
    if t >= limit * (1 + 1e-6):
        np.testing.assert_allclose(soft.rank(x, temperature=t), 6.5 + (x - s.mean()) / t, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_jacobian_of_the_rank_is_symmetric_and_centred(method, x64):
    x = jnp.asarray(np.random.default_rng(3).normal(size=8))
    jacobian = np.asarray(jax.jacrev(lambda v: soft.rank(v, method=method, temperature=0.7))(x))
    np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-12)
    np.testing.assert_allclose(jacobian.sum(0), 0, atol=1e-12)
    assert np.linalg.eigvalsh(jacobian).min() >= -1e-12


def test_jacobian_of_the_l2_sort_is_doubly_stochastic(x64):
    x = jnp.asarray(np.random.default_rng(4).normal(size=8))
    jacobian = np.asarray(jax.jacrev(lambda v: soft.sort(v, temperature=1.5))(x))
    np.testing.assert_allclose(jacobian.sum(0), 1, atol=1e-12)
    np.testing.assert_allclose(jacobian.sum(1), 1, atol=1e-12)
    assert (jacobian >= 0).all()


@pytest.mark.parametrize("offset", [0, 1000])
def test_the_limit_is_hard_in_float32(offset):
    x = np.random.default_rng(5).permutation(100).astype(np.float32) * 2.0**-10 + offset
    hard = np.argsort(np.argsort(x)) + 1
    for t in (1e-8, 1e-6, 1e-4):
        np.testing.assert_array_equal(soft.rank(x, temperature=t), hard)
    for t in (1e-8, 1e-3, 1.0):
        np.testing.assert_array_equal(soft.sort(x, temperature=t), np.sort(x))


@pytest.mark.parametrize("t", [1e-3, 0.1, 10.0])
def test_an_offset_costs_no_digits(t, oracle):
    x = np.random.default_rng(6).normal(size=60).astype(np.float32) + np.float32(1000)
    want = oracle.rank["l2"](x, t)
    # What is left is the spacing of the float32 ranks, and a block mean in units of the temperature.
    np.testing.assert_allclose(soft.rank(x, temperature=t), want, atol=1e-5 + 4e-7 / t)


@pytest.mark.parametrize("share", [40, 1e7])
def test_long_lists_keep_their_digits(share):
    n = 1_000_000
    x = np.random.default_rng(7).normal(size=n).astype(np.float32)
    t = np.float32(share / n)
    got = np.asarray(soft.rank(x, temperature=t), np.float64)
    want = _fast_rank(x, float(t))
    # 2 units in the last place of a rank, and one in the last place of a score of 4 over the temperature.
    np.testing.assert_allclose(got, want, atol=2 * 2.0**-5 + 2.4e-7 / t)
    gradient = jax.grad(lambda v: jnp.sum(soft.rank(v, temperature=t)))(x)
    np.testing.assert_allclose(gradient * t, 0, atol=1e-4)


def _fast_rank(x, t):
    """Float64 soft rank with a pool-adjacent-violators loop over plain lists."""
    order = np.argsort(x, kind="stable")
    s = x[order].astype(np.float64)
    means, sizes = [], []
    for value in s.tolist():
        mean, size = value, 1
        while means and mean - means[-1] <= t * (size + sizes[-1]) / 2:
            other, more = means.pop(), sizes.pop()
            mean, size = (mean * size + other * more) / (size + more), size + more
        means.append(mean)
        sizes.append(size)
    sizes = np.array(sizes)
    end = np.cumsum(sizes)
    centre = np.repeat((2 * end - sizes + 1) / 2, sizes)
    out = np.empty(len(x))
    out[order] = centre + (s - np.repeat(means, sizes)) / t
    return out
