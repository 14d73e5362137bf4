"""Kernels against XLA, scatters against products, and kernels lowered for devices that are not here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType

from jrank import maxsim
from jrank.errors import RerankError
from jrank.maxsim import _core
from jrank.maxsim._pallas import best_pallas


def integers(seed, *shape):
    return np.random.default_rng(seed).integers(-4, 5, size=shape).astype("f")


QUERIES, DOCS, WEIGHTS = integers(0, 3, 5, 8), integers(1, 4, 40, 8), integers(2, 3, 4)
WHERE = np.random.default_rng(3).random((4, 40)) < 0.5
WHERE[2] = False


def both(queries, docs, where, **options):
    scores, pullback = jax.vjp(lambda q, d: maxsim.score_matrix(q, d, doc_where=where, **options), queries, docs)
    return scores, *pullback(jnp.asarray(WEIGHTS))


WANT = jax.jit(both)(QUERIES, DOCS, WHERE)


@pytest.mark.parametrize("options", [{"backend": "pallas"}, {"deterministic": True}], ids=["pallas", "deterministic"])
@pytest.mark.parametrize("junk", [0.0, np.nan])
def test_equal_to_xla(options, junk):
    docs = np.where(WHERE[..., None], DOCS, junk)
    for found, want in zip(jax.jit(lambda *args: both(*args, **options))(QUERIES, docs, WHERE), WANT, strict=True):
        assert np.array_equal(found, want)


def test_deterministic_in_blocks_has_no_scatter(core_patch):
    core_patch(_core, "block_size", lambda *_: 3)
    fn = jax.jit(lambda *args: both(*args, deterministic=True))
    for found, want in zip(fn(QUERIES, DOCS, WHERE), WANT, strict=True):
        assert np.array_equal(found, want)
    assert "scatter" not in str(jax.make_jaxpr(lambda *args: both(*args, deterministic=True))(QUERIES, DOCS, WHERE))
    assert "scatter" in str(jax.make_jaxpr(both)(QUERIES, DOCS, WHERE))


@pytest.mark.parametrize(("r", "t", "d"), [(1, 1, 1), (130, 33, 20)])
def test_kernel_pads(r, t, d):
    rows, docs = integers(0, r, d), integers(1, 2, t, d)
    found = best_pallas(jnp.asarray(rows), jnp.asarray(docs), None)
    assert np.array_equal(found, np.einsum("rd,ntd->nrt", rows, docs).max(-1).astype("f"))


def test_kernel_types():
    found = maxsim.score(jnp.ones((257, 1), jnp.bfloat16), jnp.ones((1, 2, 1), jnp.bfloat16), backend="pallas")
    assert found.dtype == jnp.float32
    assert found.tolist() == [257]
    assert maxsim.score(jnp.ones((2, 3)), jnp.ones((4, 0, 3)), backend="pallas").tolist() == [0] * 4
    infinite = maxsim.score(jnp.ones((1, 1)), jnp.array([[[-jnp.inf], [jnp.nan]]]), backend="pallas")
    assert np.isnan(infinite[0])  # as XLA's maximum


def test_kernel_of_pairs_and_leading_axes():
    docs = np.broadcast_to(DOCS, (3, 4, 40, 8))
    found = maxsim.score_pairs(QUERIES, docs, backend="pallas")
    assert np.array_equal(found, maxsim.score_matrix(QUERIES, DOCS))
    assert np.array_equal(maxsim.score(QUERIES, docs, backend="pallas"), found)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_kernel_takes_the_options(dtype):
    keep = np.random.default_rng(5).random((3, 5)) < 0.7
    weights = np.random.default_rng(6).random((3, 5)).astype("f")
    queries = jnp.asarray(np.where(keep[..., None], QUERIES, np.nan), dtype)
    docs = jnp.asarray(np.where(WHERE[..., None], DOCS, np.inf), dtype)

    def run(backend):
        options = {"query_where": keep, "weights": weights, "normalize": True, "reduction": "mean", "backend": backend}
        return jax.jit(lambda q, d: both(q, d, WHERE, **options))(queries, docs)

    for found, want in zip(run("pallas"), run("xla"), strict=True):
        assert found.dtype == want.dtype
        assert np.all(np.isfinite(found))
        # Cosines may tie but for rounding: the kernels and XLA add them up in the same type.
        np.testing.assert_allclose(
            *(np.asarray(x, "f") for x in (found, want)), atol=1e-6 if dtype == "float32" else 8e-3
        )


def test_kernel_has_no_forward_mode(unchecked):
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(lambda q: maxsim.score_matrix(q, DOCS, backend="pallas"), (QUERIES,), (QUERIES,))


@pytest.mark.parametrize(
    ("device", "platform", "call"),
    [
        ("TPU v5 lite", "tpu", "custom_call @tpu_custom_call"),
        ("TPU v5e", "tpu", "custom_call @tpu_custom_call"),
        ("NVIDIA H100", "gpu", "custom_call @__gpu$xla.gpu.triton"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
# jax 0.12 announces the end of this way to Triton; what replaces it on GPUs has no dot product for plain kernels yet.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
def test_kernels_lower(device, platform, call, dtype):
    shapes = ((40, 96), dtype), ((4, 70, 96), dtype), ((4, 70), "bool")
    arrays = [jax.ShapeDtypeStruct(shape, kind) for shape, kind in shapes]

    def train(rows, docs, where):
        return jax.value_and_grad(lambda r, d: best_pallas(r, d, where, platform).sum(), (0, 1))(rows, docs)

    kind = AbstractDevice(device, 132 if platform == "gpu" else 1, platform)
    with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), (AxisType.Auto,), abstract_device=kind)):
        platforms = ("cuda" if platform == "gpu" else "tpu",)
        text = jax.jit(train).trace(*arrays).lower(lowering_platforms=platforms).as_text()
    assert text.count(call) == 2  # forward and backward


def test_bad_input(unchecked, x64):
    with pytest.raises(RerankError, match="backend is 'cuda'"):
        maxsim.score(QUERIES[0], DOCS, backend="cuda")
    with pytest.raises(RerankError, match="temperature"):
        maxsim.score(QUERIES[0], DOCS, backend="pallas", temperature=1.0)
    with pytest.raises(RerankError, match="float64"):
        maxsim.score(QUERIES[0].astype(float), DOCS.astype(float), backend="pallas")
