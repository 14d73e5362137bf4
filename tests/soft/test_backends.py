"""The host sort and the kernel give what XLA gives; the kernel lowers for GPU and TPU."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.arrays import sort_with_order
from jrank.errors import SoftError
from jrank.soft import _kl
from jrank.soft._pallas import pool_pallas
from jrank.soft._rules import MEAN
from jrank.soft._stack import pool_stack

# Compilation for other devices and interpreted kernels take long.
pytestmark = pytest.mark.slow
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(3, 11)), jnp.float32).at[0, 3].set(jnp.inf).at[1, 2].set(jnp.nan)
WHERE = jnp.arange(11) % 4 != 1
RULES = {"mean": MEAN, "kl rank": _kl.RANK, "kl sort": _kl.SORT}


@pytest.mark.parametrize("backend", ["numpy", "pallas"])
@pytest.mark.parametrize(
    ("operator", "method"),
    [
        ("rank", "l2"),
        *(pytest.param(*c, marks=pytest.mark.slow) for c in [("rank", "kl"), ("sort", "l2"), ("sort", "kl")]),
    ],
)
def test_backends_agree(operator, method, backend):
    def f(v, backend):
        out = getattr(soft, operator)(v, method=method, temperature=0.5, where=WHERE, backend=backend)
        return jnp.nansum(jnp.where(jnp.isfinite(out), out, jnp.zeros_like(out)) ** 2)

    want, got = (jax.jit(jax.value_and_grad(partial(f, backend=b)))(X) for b in ("xla", backend))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_host_sort_is_stable():
    x = jnp.asarray(RNG.integers(0, 3, size=(2, 50)), jnp.float32)
    want = soft.rank(x, straight_through=True)
    np.testing.assert_array_equal(soft.rank(x, straight_through=True, backend="numpy"), want)
    tied = jax.grad(lambda v: soft.rank(v, backend="numpy")[0, 0])(x)
    np.testing.assert_allclose(tied, jax.grad(lambda v: soft.rank(v)[0, 0])(x), atol=1e-6)


@pytest.mark.parametrize("rule", ["mean", *(pytest.param(r, marks=pytest.mark.slow) for r in ("kl rank", "kl sort"))])
def test_the_kernel_interpreted(rule):
    s, _ = sort_with_order(jnp.asarray(RNG.normal(size=(2, 20, 37)), jnp.float32).at[0, :, 30:].set(jnp.nan))
    slope = jnp.asarray(RNG.uniform(0.01, 2, size=(2, 20)), jnp.float32)
    one, other = (
        jax.jit(jax.vmap(jax.vmap(solver)))(s, slope)
        for solver in (
            lambda s, h: pool_stack(RULES[rule], (s,), h, None),
            lambda s, h: pool_pallas(RULES[rule], (s,), h, "cpu"),
        )
    )
    np.testing.assert_array_equal(one[0], other[0])
    used = np.arange(37) < np.asarray(one[0])[..., None]
    for a, b in zip((one[1], *one[2]), (other[1], *other[2]), strict=True):
        np.testing.assert_array_equal(np.where(used, a, 0), np.where(used, b, 0))


@pytest.mark.parametrize(
    ("platform", "rule"),
    [("cuda", "mean"), ("tpu", "mean"), *(pytest.param(p, "kl rank", marks=pytest.mark.slow) for p in ("cuda", "tpu"))],
)
def test_the_kernel_lowers(platform, rule):
    kernel = jax.jit(
        jax.vmap(lambda s: pool_pallas(RULES[rule], (s,), jnp.float32(0.3), platform.replace("cuda", "gpu")))
    )
    calls = {"cuda": "__gpu$xla.gpu.triton", "tpu": "tpu_custom_call"}
    checks = [jax.export.DisabledSafetyCheck.custom_call(calls[platform])]
    shape = jax.ShapeDtypeStruct((64, 200), jnp.float32)
    exported = jax.export.export(kernel, platforms=[platform], disabled_checks=checks)(shape)
    assert calls[platform] in exported.mlir_module()


def test_errors(unchecked):
    with pytest.raises(SoftError, match="there is no backend 'cuda'") as caught:
        soft.rank(X, backend="cuda")
    assert "xla, numpy, pallas" in caught.value.hint
    with pytest.raises(SoftError, match="method 'laplace' has only the backend 'xla'"):
        soft.rank(X, method="laplace", backend="numpy")
    with pytest.raises(SoftError, match="at most 512 items, got 600"):
        soft.rank(jnp.zeros(600), backend="pallas")
    with pytest.raises(SoftError, match="the kernels take no segments"):
        soft.rank(X, backend="pallas", segments=jnp.zeros(X.shape, jnp.int32))
