"""Contrastive losses, negatives of other devices, and the gradient cache."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError
from tests.losses.oracles import ev


def cosine_surprise(q, d, t):
    q, d = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q.astype(float), d.astype(float)))
    z = q @ d.T / t
    return np.log(np.sum(np.exp(z), axis=1)) - np.diag(z[:, : len(q)])


def embeddings(seed=0, b=8, m=12, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)


def test_contrastive_loss():
    q, d = embeddings()
    want = cosine_surprise(q, d, 0.3)
    got = ev(L.contrastive_loss, q, d, temperature=0.3, reduce_fn=None)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(ev(L.contrastive_loss, q, d, temperature=0.3, block_size=3), want.mean(), rtol=1e-5)
    both = (want + cosine_surprise(d[:8], q, 0.3)) / 2
    np.testing.assert_allclose(ev(L.contrastive_loss, q, d, temperature=0.3, symmetric=True), both.mean(), rtol=1e-5)
    where = np.ones((8, 12), bool)
    where[0, 3] = where[2, 2] = False
    got = ev(L.contrastive_loss, q, d, temperature=0.3, where=where, reduce_fn=None)
    np.testing.assert_allclose(got[0], cosine_surprise(q[:1], np.delete(d, 3, 0), 0.3)[0], rtol=1e-5)
    assert got[2] == 0
    z = q @ d.T
    plain = ev(L.contrastive_loss, q, d, temperature=1.0, normalize=False, positives=np.arange(8)[::-1], reduce_fn=None)
    np.testing.assert_allclose(plain, np.log(np.exp(z).sum(1)) - z[np.arange(8), np.arange(8)[::-1]], rtol=1e-4)
    zero = jax.grad(lambda q: ev(L.contrastive_loss, q, d))(jnp.zeros_like(q))
    assert np.isfinite(zero).all()


@pytest.mark.parametrize("symmetric", [False, True])
def test_negatives_of_all_devices(mesh8, symmetric):
    q, d = embeddings(1, 16, 16)
    spec = jax.sharding.PartitionSpec("data")

    def local(q, d):
        loss = ev(L.contrastive_loss, q, d, axis_name="data", symmetric=symmetric, temperature=0.3)
        return jax.lax.pmean(loss, "data")

    sharded = jax.shard_map(local, mesh=mesh8, in_specs=(spec, spec), out_specs=jax.sharding.PartitionSpec())
    got = jax.jit(jax.value_and_grad(sharded, (0, 1)))(q, d)
    want = jax.value_and_grad(lambda q, d: ev(L.contrastive_loss, q, d, symmetric=symmetric, temperature=0.3), (0, 1))(
        jnp.asarray(q), jnp.asarray(d)
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_gradient_cache():
    rng = np.random.default_rng(2)
    params = {"a": rng.normal(size=(16, 512)).astype(np.float32) / 4, "b": rng.normal(size=(512, 8)).astype(np.float32)}
    x = {
        "query": rng.normal(size=(70, 16)).astype(np.float32),
        "document": rng.normal(size=(70, 16)).astype(np.float32),
    }

    def encode(params, x):
        return jnp.tanh(jnp.sin(x @ params["a"]) @ params["b"])

    def total(encode, params, x):
        return L.contrastive_loss(encode(params, x["query"]), encode(params, x["document"]))

    cached = L.gradient_cache(encode, chunk_size=16)
    plain, quiet = (jax.jit(jax.value_and_grad(functools.partial(total, fn))) for fn in (encode, cached))
    for a, b in zip(jax.tree.leaves(plain(params, x)), jax.tree.leaves(quiet(params, x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    memory = [f.lower(params, x).compile().memory_analysis().temp_size_in_bytes for f in (plain, quiet)]
    assert memory[1] < memory[0] / 2
    # Trees of inputs, with a key for each item.
    keys = jax.random.split(jax.random.key(0), 70)
    drop = L.gradient_cache(
        lambda p, x: jax.vmap(lambda key, row: row * jax.random.bernoulli(key, 0.5, row.shape).astype(row.dtype))(
            x["key"], x["row"]
        ),
        chunk_size=32,
    )
    out = drop(params, {"key": keys, "row": x["query"]})
    assert out.shape == (70, 16)
    with pytest.raises(LearnError, match="one batch"):
        cached(params, (np.zeros(3), np.zeros(4)))


def test_gradients_by_finite_differences(x64):
    rng = np.random.default_rng(3)
    q, d = (rng.normal(size=(4, 6)) for _ in range(2))
    where = rng.random((4, 4)) < 0.7
    where |= np.eye(4, dtype=bool)
    losses = {
        "in batch": lambda q: L.contrastive_loss(q, d, temperature=0.3, where=where),
        "symmetric": lambda q: L.contrastive_loss(q, d, temperature=0.3, symmetric=True),
        "scores": lambda q: L.info_nce_loss(q, where=np.ones((4, 6), bool), temperature=0.7),
    }
    v, h = rng.normal(size=(4, 6)), 1e-5
    for loss in losses.values():
        run = jax.jit(jax.value_and_grad(loss))
        with jax.debug_nans(True):
            grad = run(q)[1]
        assert grad.dtype == jnp.float64
        slope = (run(q + h * v)[0] - run(q - h * v)[0]) / (2 * h)
        np.testing.assert_allclose(np.sum(np.asarray(grad) * v), slope, rtol=1e-7, atol=1e-9)
