"""Temporary memory of value and gradient of every loss on large batches: compiled, not run."""

import functools

import jax
import jax.numpy as jnp
import pytest

import jrank
from jrank import losses as L
from tests.losses.table import TABLE

NDCG = jrank.approx_t12n(jrank.ndcg_metric)
FORMS = {case.id: functools.partial(case.loss, **case.options) for case in TABLE if case.name != "exact"}
FORMS |= {
    f"approx_t12n, {method}": jrank.approx_t12n(jrank.ndcg_metric, method=method)
    for method in ("sigmoid", "l2", "kl", "laplace", "softsort", "neuralsort", "network")
}
FORMS |= {
    "bound_t12n": jrank.bound_t12n(jrank.ndcg_metric),
    "gumbel_t12n": functools.partial(jrank.gumbel_t12n(NDCG, samples=1), key=jax.random.key(0)),
    "neural_ndcg_loss-softsort": functools.partial(L.neural_ndcg_loss, method="softsort"),
}
SHAPES = {"1024x1000": (1024, 1000), "32x10000": (32, 10_000)}
# Holds the matrix of a list: 400 MB at 10,000 items, and as much for its gradient.
LARGER = {("neural_ndcg_loss-sinkhorn", "32x10000")}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_less_than_a_gigabyte(name, shape):
    if (name, shape) in LARGER:
        pytest.skip("needs the matrix, as its docstring says")
    loss = FORMS[name]
    x, where = (jax.ShapeDtypeStruct(SHAPES[shape], dtype) for dtype in (jnp.float32, jnp.bool_))
    run = jax.jit(jax.value_and_grad(lambda s, y, m: loss(s, y, where=m)))
    assert run.lower(x, x, where).compile().memory_analysis().temp_size_in_bytes < 1e9
