"""Methods that hold much for each list take a large batch a few lists at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft


def carried(x, **options):
    return soft.sort_with(x, x * x, **options)


@pytest.mark.parametrize(
    ("operator", "method"),
    [
        (soft.rank, "softsort"),
        pytest.param(soft.rank, "network", marks=pytest.mark.slow),
        pytest.param(soft.sort, "neuralsort", marks=pytest.mark.slow),
        (soft.sort, "network"),
        (carried, "softsort"),
    ],
)
def test_a_large_batch_equals_its_lists(operator, method, monkeypatch):
    monkeypatch.setattr("jrank.soft._arguments.AT_A_TIME", 150)
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(2, 2, 5, 7)).astype(np.float32)
    where = rng.random(x.shape) < 0.8
    temperature = rng.uniform(0.3, 1, x.shape[:-1]).astype(np.float32)

    def total(x, weight, where, temperature):
        return jnp.sum(weight * operator(x, method=method, temperature=temperature, where=where))

    whole = jax.jit(jax.value_and_grad(total))
    assert "scan" in str(jax.make_jaxpr(total)(x, weight, where, temperature))
    value, grad = whole(x, weight, where, temperature)
    one = jax.jit(jax.value_and_grad(total))
    alone = [one(*(a[i] for a in (x, weight, where, temperature))) for i in np.ndindex(x.shape[:-1])]
    np.testing.assert_allclose(value, sum(v for v, _ in alone), rtol=1e-5)
    np.testing.assert_allclose(grad.reshape(-1, 7), np.stack([g for _, g in alone]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["softsort", "neuralsort", "network"])
@pytest.mark.slow
def test_memory_of_a_large_batch(method):
    x = jax.ShapeDtypeStruct((1024, 1000), jnp.float32)
    for operator in (soft.rank, soft.sort, carried):
        slope = jax.jit(jax.grad(lambda x, operator=operator: jnp.sum(operator(x, method=method) ** 2)))
        assert slope.lower(x).compile().memory_analysis().temp_size_in_bytes < 1e9
