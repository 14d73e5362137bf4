"""Plackett-Luce: probabilities, samples, estimates and ListNet against the enumeration of all orders."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError
from tests.losses.oracles import S, Y, discount, ev, log_prob, sample


@pytest.mark.parametrize("n", [1, 5])
def test_enumerated_orders(n):
    s, y = sample(n, n)
    s64, gains = s.astype(float), 2.0**y - 1
    orders = list(itertools.permutations(range(n)))
    p = np.array([np.exp(log_prob(s64, o)) for o in orders])
    np.testing.assert_allclose(p.sum(), 1)
    dcg = np.array([np.sum(gains[list(o)] * discount(np.arange(1, n + 1)) * (np.arange(n) < 3)) for o in orders])
    np.testing.assert_allclose(ev(L.pl_rank_loss, s, y, method="exact", topn=3), -np.sum(p * dcg), rtol=1e-5)
    got = L.plackett_luce_log_prob(np.stack([s] * len(orders)), np.array(orders))
    np.testing.assert_allclose(np.exp(got), p, rtol=1e-4)
    if n > 1:
        tops = {o[:2] for o in orders}
        np.testing.assert_allclose(
            [L.plackett_luce_log_prob(s, np.array(t)) for t in tops], [log_prob(s64, t) for t in tops], rtol=1e-4
        )


def test_samples_have_the_probabilities_of_the_model():
    s = np.array([1.0, 0.0, -0.5, 9.0], np.float32)
    where = np.array([1, 1, 1, 0])
    keys = jax.random.split(jax.random.key(0), 20_000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: L.plackett_luce_sample(key, s, where=where)))(keys))
    assert np.all(orders[:, 3] == 3)
    for order in itertools.permutations(range(3)):
        share = np.mean(np.all(orders[:, :3] == order, axis=1))
        np.testing.assert_allclose(share, np.exp(log_prob(s[:3].astype(float), order)), atol=0.015)
    assert L.plackett_luce_sample(jax.random.key(0), s, topn=2).shape == (2,)


ESTIMATORS = {
    "pl_rank_1": functools.partial(L.pl_rank_loss, method="pl_rank_1", normalize=True, num_samples=8, topn=3),
    "pl_rank_2": functools.partial(L.pl_rank_loss, method="pl_rank_2", normalize=True, num_samples=8, topn=3),
    "pl_rank_3": functools.partial(L.pl_rank_loss, normalize=True, num_samples=8, topn=3),
    "policy": functools.partial(L.policy_gradient_loss, num_samples=8, topn=3),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_have_no_bias(name):
    s, y = sample(6, 5)
    where = np.array([1, 1, 1, 1, 0])
    exact = functools.partial(L.policy_gradient_loss, method="exact")
    # The metric at 3 needs the first places alone.
    want, slope = jax.value_and_grad(lambda s: exact(s, y, where=where, topn=3))(s)
    loss = ESTIMATORS[name]
    run = jax.jit(jax.vmap(jax.value_and_grad(lambda s, key: loss(s, y, where=where, key=key)), (None, 0)))
    values, grads = run(s, jax.random.split(jax.random.key(2), 4000))
    for got, mean in ((np.asarray(values), want), (np.asarray(grads), slope)):
        error = got.std(0) / np.sqrt(len(got))
        assert np.all(np.abs(got.mean(0) - mean) < 4.5 * error + 1e-6)


@pytest.mark.slow
def test_pl_rank_3_varies_less_than_pl_rank_1():
    s, y = sample(7, 8)
    keys = jax.random.split(jax.random.key(1), 300)

    def spread(name):
        return np.var(jax.vmap(jax.grad(lambda s, k: ESTIMATORS[name](s, y, key=k)), (None, 0))(s, keys), axis=0).sum()

    assert spread("pl_rank_3") < spread("pl_rank_1")


def test_second_derivatives_of_samples_raise():
    with pytest.raises(LearnError, match="has no derivative"):
        jax.hessian(lambda s: ev(L.pl_rank_loss, s, Y, key=jax.random.key(0), num_samples=2))(jnp.asarray(S))


def test_listnet_by_enumeration():
    s, y = sample(8, 5)
    s64, y64 = s.astype(float), y.astype(float)

    def entropy(k, t=1.0):
        tops = itertools.permutations(range(5), k)
        return -sum(np.exp(log_prob(y64 / t, o)) * log_prob(s64, o) for o in tops)

    np.testing.assert_allclose(ev(L.listnet_loss, s, y), entropy(1), rtol=1e-5)
    np.testing.assert_allclose(ev(L.listnet_loss, s, y, topn=2, temperature=2.0), entropy(2, 2.0), rtol=1e-5)
    many = jax.jit(lambda key: ev(L.listnet_loss, s, y, topn=3, key=key, num_samples=4000))
    np.testing.assert_allclose(many(jax.random.key(0)), entropy(3), rtol=0.02)
    # One label far above the others: nothing cancels.
    sharp = np.array([30.0, 0, 0, 0, 0], np.float32)
    y64 = sharp.astype(float)
    np.testing.assert_allclose(ev(L.listnet_loss, s, sharp, topn=2), entropy(2), rtol=1e-5)
