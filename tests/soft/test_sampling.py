"""Samples with Gumbel noise: their distribution against closed forms, their formulas, masks, gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jrank import soft
from jrank.errors import SoftError
from jrank.soft import _sampling

LOGITS = np.array([0.5, -1.0, 1.5, 0.0, 0.8], np.float32)
DRAWS = 20_000


def test_one_item_is_drawn_with_the_probabilities_of_the_softmax():
    many = jnp.broadcast_to(jnp.asarray(LOGITS), (DRAWS, 5))
    hard = soft.gumbel_softmax(many, key=jax.random.key(0), straight_through=True)
    p = scipy.special.softmax(LOGITS)
    # Five standard deviations of the share of hits.
    np.testing.assert_allclose(hard.mean(0), p, atol=5 * np.sqrt(0.25 / DRAWS))
    np.testing.assert_array_equal(np.sort(hard, axis=-1)[:, :-1], 0)
    cold = soft.gumbel_softmax(many, key=jax.random.key(0), temperature=1e-6)
    np.testing.assert_allclose(cold, hard, atol=1e-3)


def plackett_luce(logits, k):
    """Probability of each subset to be the first k places."""
    w = np.exp(logits.astype(float))
    chances = {}
    for order in itertools.permutations(range(len(w)), k):
        left, p = w.sum(), 1.0
        for i in order:
            p, left = p * w[i] / left, left - w[i]
        chances[tuple(sorted(order))] = chances.get(tuple(sorted(order)), 0) + p
    return chances


def test_a_subset_is_drawn_without_replacement():
    many = jnp.broadcast_to(jnp.asarray(LOGITS), (DRAWS, 5))
    hard = np.asarray(soft.gumbel_top_k(many, 2, key=jax.random.key(1), straight_through=True))
    np.testing.assert_array_equal(hard.sum(-1), 2)
    for subset, p in plackett_luce(LOGITS, 2).items():
        share = hard[:, list(subset)].all(-1).mean()
        np.testing.assert_allclose(share, p, atol=5 * np.sqrt(p * (1 - p) / DRAWS))
    cold = soft.gumbel_top_k(many, 2, key=jax.random.key(1), temperature=1e-4)
    assert np.mean(np.abs(cold - hard) > 1e-3) < 1e-3


def test_with_replacement_the_union_of_the_draws_is_chosen():
    many = jnp.broadcast_to(jnp.asarray(LOGITS), (DRAWS, 5))
    hard = soft.gumbel_top_k(many, 3, key=jax.random.key(2), method="union", straight_through=True)
    p = scipy.special.softmax(LOGITS.astype(float))
    np.testing.assert_allclose(hard.mean(0), 1 - (1 - p) ** 3, atol=5 * np.sqrt(0.25 / DRAWS))
    warm = soft.gumbel_top_k(many, 3, key=jax.random.key(2), method="union", temperature=1e-4)
    assert np.mean(np.abs(warm - hard) > 1e-3) < 1e-3


def noise_of(key, shape):
    return np.asarray(jax.random.gumbel(key, shape, jnp.float64))


def test_the_formulas(oracle, x64):
    x, key = LOGITS.astype(np.float64), jax.random.key(3)
    z = x + noise_of(key, x.shape)
    np.testing.assert_allclose(soft.gumbel_softmax(x, key=key, temperature=0.7), scipy.special.softmax(z / 0.7))
    z = x + noise_of(key, (1, 5))[0]

    def subset(noise_and_x, k=3, t=0.7):
        a, total = noise_and_x, 0
        for _ in range(k):
            p = scipy.special.softmax(a / t)
            a, total = a + np.log(1 - p), total + p
        return total

    got = soft.gumbel_top_k(x, 3, key=key, temperature=0.7)
    np.testing.assert_allclose(got, subset(z), rtol=1e-9)
    cost = np.array([1.0, -2, 0.5, 3, 0])
    slope = jax.grad(lambda v: soft.gumbel_top_k(v, 3, key=key, temperature=0.7) @ cost)(jnp.asarray(x))
    np.testing.assert_allclose(slope, cost @ oracle.differences(subset, z), atol=1e-7)
    got = soft.gumbel_top_k(x, 3, key=key, temperature=0.7, method="l2")
    np.testing.assert_allclose(got, soft.top_k_mask(z, 3, temperature=0.7), atol=1e-9)
    draws = scipy.special.softmax((x + noise_of(key, (3, 5))) / 0.7, axis=-1)
    got = soft.gumbel_top_k(x, 3, key=key, temperature=0.7, method="union")
    np.testing.assert_allclose(got, draws.max(0), atol=1e-9)


@pytest.mark.parametrize(
    "method",
    ["subset", "union", "l2", *(pytest.param(m, marks=pytest.mark.slow) for m in ("sigmoid", "laplace", "threshold"))],
)
def test_masks_and_odd_values(method):
    inf, nan = np.inf, np.nan
    where = np.array([1, 0, 1, 1, 1], bool)

    @jax.jit
    @jax.vmap
    def run(v, w, t):
        f = lambda v: soft.gumbel_top_k(v, 2, key=jax.random.key(0), method=method, temperature=t, where=w)  # noqa: E731
        value, back = jax.vjp(f, v)
        return value, back(jnp.arange(5.0))[0]

    rows = np.stack([
        LOGITS,
        np.where(where, LOGITS, nan),
        np.where(where, LOGITS, inf),
        [inf, 1, inf, 0, 2],
        [-inf, -inf, -inf, 3, -inf],
        [nan, 1, 0, nan, 2],
        LOGITS,
        LOGITS * 1e37,
    ]).astype(np.float32)  # fmt: skip
    masks = np.ones((8, 5), bool)
    masks[:3] = where
    masks[6] = False
    value, slope = run(rows, masks, jnp.asarray([0.5] * 7 + [1e-8], jnp.float32))
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    for row in (1, 2):
        np.testing.assert_array_equal(value[row], value[0])
        np.testing.assert_array_equal(slope[row], slope[0])
    np.testing.assert_array_equal([value[0][1], slope[0][1]], 0)
    np.testing.assert_allclose(value[3], [1, 0, 1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(value[4], [0.25, 0.25, 0.25, 1, 0.25], atol=1e-6)
    np.testing.assert_array_equal(value[5][jnp.array([0, 3])], 0)
    np.testing.assert_array_equal(value[6], 0)
    if method == "subset":
        np.testing.assert_allclose(value.sum(-1), [2, 2, 2, 2, 2, 2, 0, 2], rtol=1e-5)
    everything = soft.gumbel_top_k(jnp.asarray(LOGITS), 9, key=jax.random.key(0), method=method)
    if method != "union":
        np.testing.assert_array_equal(everything, 1)


def test_layouts_and_errors(unchecked):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)), jnp.float32)
    key = jax.random.key(0)
    for fn in (soft.gumbel_softmax, lambda v, **o: soft.gumbel_top_k(v, 2, **o)):
        want = fn(x, key=key, temperature=jnp.array([0.1, 1.0, 2.0]))
        np.testing.assert_allclose(fn(x.T, key=key, temperature=jnp.array([0.1, 1.0, 2.0]), axis=0).T, want, rtol=1e-6)
        assert fn(x.astype(jnp.bfloat16), key=key).dtype == jnp.bfloat16
    straight, soft_slope = (
        jax.grad(lambda v, h=h: soft.gumbel_top_k(v, 2, key=key, straight_through=h)[0, 0])(x) for h in (True, False)
    )
    np.testing.assert_allclose(straight, soft_slope, rtol=1e-6)
    with pytest.raises(SoftError, match="k is 0, expected at least 1"):
        soft.gumbel_top_k(x, 0, key=key)
    with pytest.raises(SoftError, match="gumbel_top_k has no method 'softmax'"):
        soft.gumbel_top_k(x, 2, key=key, method="softmax")
    assert set(_sampling.METHODS) >= {"subset", "union", "l2", "sigmoid", "laplace", "threshold"}
