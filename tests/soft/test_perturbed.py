"""Perturbed functions against closed forms: values, first and second derivatives, within the error of their samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jrank import soft
from jrank.errors import SoftError

X = np.array([0.5, -0.3, 1.1], np.float32)
SAMPLES = 40_000
KEYS = jax.random.split(jax.random.key(0), 8)


def one_hot_of_largest(x):
    return jnp.arange(x.shape[0]) == jnp.argmax(x)


def estimates(f, *args):
    """Mean over several keys and the standard error of that mean."""
    runs = np.stack([np.asarray(f(*args, key)) for key in KEYS]).astype(float)
    return runs.mean(0), runs.std(0, ddof=1) / np.sqrt(len(KEYS))


def check(f, args, want, floor):
    """Five standard errors; the floor says how small those have to be for the check to mean something."""
    mean, error = estimates(f, *args)
    assert np.max(error) < floor
    np.testing.assert_array_less(np.abs(mean - want), 6 * error + 1e-6)


def test_the_gumbel_argmax_is_the_softmax():
    t = 0.7
    smooth = soft.perturbed(one_hot_of_largest, num_samples=SAMPLES, sigma=t, noise="gumbel")
    p = scipy.special.softmax(X / t)
    check(jax.jit(lambda x, key: smooth(x, key=key)), (X,), p, 2e-3)
    jacobian = (np.diag(p) - np.outer(p, p)) / t
    check(jax.jit(lambda x, key: jax.jacrev(smooth)(x, key=key)), (X,), jacobian, 5e-3)
    # Forward and reverse mode are one linear map.
    v = jnp.asarray([1.0, -2.0, 0.5])
    forward = jax.jvp(lambda x: smooth(x, key=KEYS[0]), (jnp.asarray(X),), (v,))[1]
    np.testing.assert_allclose(forward, jax.jacrev(smooth)(X, key=KEYS[0]) @ v, rtol=1e-4, atol=1e-5)


def test_the_normal_argmax_of_two():
    sigma = 0.7
    smooth = soft.perturbed(one_hot_of_largest, num_samples=SAMPLES, sigma=sigma, noise="normal")
    z = (X[0] - X[1]) / (sigma * np.sqrt(2))
    p, density = scipy.stats.norm.cdf(z), scipy.stats.norm.pdf(z) / (sigma * np.sqrt(2))
    check(jax.jit(lambda x, key: smooth(x, key=key)), (X[:2],), [p, 1 - p], 2e-3)
    want = density * np.array([[1, -1], [-1, 1]])
    check(jax.jit(lambda x, key: jax.jacfwd(smooth)(x, key=key)), (X[:2],), want, 5e-3)


def test_second_derivatives_and_that_of_sigma():
    """E (x + s Z)^2 = x^2 + s^2, from values of the function alone."""
    cost = jnp.asarray([1.0, -2.0, 0.5])

    def mean(x, s, key):
        return soft.perturbed(lambda u: cost @ u**2, num_samples=SAMPLES, sigma=s, noise="normal")(x, key=key)

    check(jax.jit(mean), (X, 0.8), float(cost @ X**2 + jnp.sum(cost) * 0.64), 2e-2)
    check(jax.jit(jax.grad(mean, 0)), (X, 0.8), 2 * cost * X, 5e-2)
    check(jax.jit(jax.grad(mean, 1)), (X, 0.8), float(jnp.sum(cost) * 1.6), 5e-2)
    check(jax.jit(jax.hessian(mean, 0)), (X, 0.8), np.diag(2 * cost), 1e-1)


def test_the_value_is_the_mean_of_the_samples():
    key = jax.random.key(5)
    smooth = soft.perturbed(lambda u: {"rank": jnp.argsort(jnp.argsort(u)) + 1, "top": jnp.max(u)}, num_samples=50)
    got = smooth(X, key=key)
    noise = np.stack([jax.random.gumbel(k, (3,), jnp.float32) for k in jax.random.split(key, 50)])
    points = X + np.float32(0.5) * noise
    np.testing.assert_allclose(got["rank"], (points.argsort(-1).argsort(-1) + 1).mean(0), rtol=1e-6)
    np.testing.assert_allclose(got["top"], points.max(-1).mean(), rtol=1e-6)
    blocked = soft.perturbed(lambda u: jnp.max(u), num_samples=50, block=7)
    np.testing.assert_allclose(blocked(X, key=key), got["top"], rtol=1e-6)


def test_batches_and_masks():
    def largest(u, *, where):
        return jnp.max(jnp.where(where, u, jnp.asarray(-jnp.inf, u.dtype)))

    smooth = soft.perturbed(largest, num_samples=4000, sigma=0.3, noise="normal")
    where = np.array([[1, 1, 0], [1, 0, 1]], bool)
    x = np.stack([X, X])

    @jax.jit
    def run(x):
        value, back = jax.vjp(lambda v: smooth(v, key=jax.random.key(0), where=where), x)
        return value, back(jnp.ones(2))[0]

    want = run(x)
    for junk in (np.nan, np.inf):
        got = run(np.where(where, x, np.float32(junk)))
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(want[1][~where], 0)
    # The gradient of a mean maximum sums to 1.
    np.testing.assert_allclose(want[1].sum(-1), 1, atol=0.15)
    assert smooth(jnp.asarray(x, jnp.bfloat16), key=jax.random.key(0), where=where).shape == (2,)


def test_a_noise_of_your_own():
    logistic = soft.Noise(jax.random.logistic, lambda z: -z - 2 * jnp.logaddexp(0.0, -z))
    smooth = soft.perturbed(lambda u: u[0] > 0, num_samples=SAMPLES, sigma=0.5, noise=logistic)
    p = scipy.special.expit(X[0] / 0.5)
    check(jax.jit(lambda x, key: smooth(x, key=key)), (X,), p, 2e-3)
    check(jax.jit(lambda x, key: jax.grad(smooth)(x, key=key)), (X,), [2 * p * (1 - p), 0, 0], 5e-3)


def test_errors(unchecked):
    with pytest.raises(SoftError, match="num_samples is 0"):
        soft.perturbed(jnp.max, num_samples=0)
    with pytest.raises(SoftError, match="sigma is 0, expected a number > 0"):
        soft.perturbed(jnp.max, sigma=0)
    with pytest.raises(SoftError, match="noise is 'gauss', expected 'gumbel', 'normal' or a soft"):
        soft.perturbed(jnp.max, noise="gauss")
    with pytest.raises(SoftError, match="single number"):
        soft.perturbed(jnp.max)(jnp.float32(1), key=jax.random.key(0))
    with pytest.raises(SoftError, match=r"sigma has shape \(3,\)"):
        soft.perturbed(jnp.max, sigma=jnp.ones(3))(X, key=jax.random.key(0))
