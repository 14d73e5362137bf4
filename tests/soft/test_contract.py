"""What every operator promises for every method: masks, odd values, types, transformations, errors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jrank import soft
from jrank.errors import SoftError
from jrank.soft import _network, _rank, _sort

CASES = [("rank", m) for m in _rank.METHODS] + [("sort", m) for m in _sort.METHODS]
OPERATORS = {"rank": soft.rank, "sort": soft.sort}
# Compilation takes most of the time: the fast run holds every property for these, and every mask for every rank.
CORE = [("rank", "l2"), ("rank", "kl"), ("rank", "laplace"), ("sort", "l2")]


def cases(chosen, core=CORE):
    return [pytest.param(*c, marks=() if c in core else pytest.mark.slow) for c in chosen]


each = pytest.mark.parametrize(("operator", "method"), cases(CASES))
NETWORKS = tuple(_network.METHODS)
# Networks that differ from those two in the form of their comparators alone.
KIN = set(NETWORKS) - {"network", "odd_even"}


def each_of(table):
    return pytest.mark.parametrize(
        "method", [pytest.param(m, marks=pytest.mark.slow if m in KIN else ()) for m in table]
    )


each_rank, each_sort = each_of(_rank.METHODS), each_of(_sort.METHODS)
RNG = np.random.default_rng(0)
ROWS = jnp.asarray(RNG.normal(size=(3, 8)), jnp.float32)
JUNK = [np.nan, np.inf, -np.inf, 3e38, 0.0]


def apply(operator, method, x, **options):
    return OPERATORS[operator](x, method=method, **{"temperature": 0.3, **options})


@pytest.mark.parametrize(
    ("operator", "method", "descending"),
    cases(
        [(*c, d) for c in CASES for d in (False, True)],
        [("rank", m, False) for m in _rank.METHODS if m not in KIN] + [("sort", "l2", True), ("sort", "kl", False)],
    ),
)
def test_masked_equals_removed(operator, method, descending):
    where = np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)
    z = RNG.normal(size=8).astype(np.float32)
    weights = jnp.asarray(RNG.normal(size=6), jnp.float32)
    want, want_gradient = jax.value_and_grad(
        lambda v: jnp.vdot(weights, apply(operator, method, v, descending=descending) ** 2)
    )(jnp.asarray(z[where]))
    results = []
    keep = np.flatnonzero(where) if operator == "rank" else np.arange(6)

    @jax.jit
    def padded(v, t):
        out = apply(operator, method, v, descending=descending, where=where, temperature=t)
        return jnp.vdot(weights, out[keep] ** 2), out

    for junk in JUNK:
        x = jnp.asarray(np.where(where, z, np.float32(junk)))
        (value, out), (gradient, slope) = jax.value_and_grad(padded, (0, 1), has_aux=True)(x, 0.3)
        np.testing.assert_allclose(value, want, rtol=2e-5)
        np.testing.assert_allclose(gradient[where], want_gradient, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(gradient[~where], 0)
        np.testing.assert_array_equal(np.delete(out, keep), 9 if operator == "rank" else 0)
        assert np.isfinite(slope)
        results.append((value, np.asarray(out), np.asarray(gradient), slope))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@each
def test_nothing_valid(operator, method):
    x = jnp.array([jnp.nan, jnp.inf, 1.0])
    value, gradient = jax.value_and_grad(lambda v: jnp.sum(apply(operator, method, v, where=jnp.zeros(3, bool))))(x)
    assert value == (12 if operator == "rank" else 0)
    np.testing.assert_array_equal(gradient, 0)


@each_rank
def test_ranks_of_infinite_and_missing_scores(method):
    x = jnp.array([1.0, jnp.inf, -jnp.inf, jnp.nan, 2.0, jnp.inf])
    fn = lambda v: soft.rank(v, method=method, temperature=1e-3)  # noqa: E731  a name for both calls
    np.testing.assert_allclose(fn(x), [2, 4.5, 1, np.nan, 3, 4.5], rtol=1e-6)
    down = soft.rank(x, method=method, temperature=1e-3, descending=True)
    np.testing.assert_allclose(down, [4, 1.5, 5, np.nan, 3, 1.5], rtol=1e-6)
    gradient = jax.grad(lambda v: jnp.nansum(soft.rank(v, method=method, temperature=0.7) ** 2))(x)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[jnp.array([1, 2, 3, 5])], 0)


@each_sort
def test_sorted_infinite_and_missing_scores(method):
    x = jnp.array([1.0, jnp.inf, -jnp.inf, jnp.nan, 2.0, jnp.inf])
    inf, t = np.inf, 1e-3
    np.testing.assert_allclose(soft.sort(x, method=method, temperature=t), [-inf, 1, 2, inf, inf, np.nan], rtol=1e-5)
    down = soft.sort(x, method=method, temperature=t, descending=True)
    np.testing.assert_allclose(down, [inf, inf, 2, 1, -inf, np.nan], rtol=1e-5)
    gradient = jax.grad(lambda v: jnp.sum(soft.sort(v, method=method, temperature=0.7)[1:3] ** 2))(x)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[jnp.array([1, 2, 3, 5])], 0)


@each_rank
def test_ranks_of_ties_constants_and_huge_scores(method):
    if method not in NETWORKS:  # the wiring shares the ranks of ties unevenly
        np.testing.assert_allclose(soft.rank(jnp.ones(5), method=method), 3, rtol=1e-5)
        tied = soft.rank(jnp.array([1.0, 1, 1, 2]), method=method, temperature=1e-3)
        np.testing.assert_allclose(tied, [2, 2, 2, 4], rtol=1e-5)
    huge = soft.rank(jnp.array([1e38, -1e38, 0, 1]), method=method, temperature=1e-3)
    # NeuralSort adds up all distances: next to 1e38 it cannot see 1.
    np.testing.assert_allclose(huge, [4, 1, 2.5, 2.5] if method == "neuralsort" else [4, 1, 2, 3], rtol=1e-5)
    gradient = jax.grad(lambda v: jnp.sum(soft.rank(v, method=method) * jnp.arange(5.0)))(jnp.ones(5))
    assert np.isfinite(gradient).all()


@each
def test_every_temperature_gives_finite_values_and_gradients(operator, method):
    x = ROWS[0] + 1000

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def fn(v, t):
        return jnp.sum(apply(operator, method, v, temperature=t) * jnp.arange(8.0))

    for t in (0.0, 1e-8, 1e-4, 1.0, 1e4, 1e8):
        for result in jax.tree.leaves(fn(x, t)):
            assert np.isfinite(result).all(), t


@each_rank
def test_ranks_at_both_ends_of_the_temperature(method):
    hard = np.argsort(np.argsort(ROWS[0])) + 1
    np.testing.assert_allclose(soft.rank(ROWS[0], method=method, temperature=1e-6), hard, rtol=1e-5)
    if method != "odd_even":  # comparators of equal shares leave an uneven mixture
        np.testing.assert_allclose(soft.rank(ROWS[0], method=method, temperature=1e8), 4.5, rtol=1e-5)


@each
@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_lists(operator, method, n):
    x = jnp.arange(n, dtype=jnp.float32)
    got = apply(operator, method, x, temperature=1e-3)
    np.testing.assert_allclose(got, x + 1 if operator == "rank" else x, rtol=1e-6)
    assert jax.grad(lambda v: jnp.sum(apply(operator, method, v)))(x).shape == (n,)
    assert apply(operator, method, jnp.zeros((0, 2))).shape == (0, 2)


@each
def test_axes_batches_and_temperatures_per_row(operator, method):
    t = jnp.array([0.2, 0.5, 2.0])
    want = np.stack([apply(operator, method, row, temperature=s) for row, s in zip(ROWS, t, strict=True)])
    rtol = 2e-5
    np.testing.assert_allclose(apply(operator, method, ROWS, temperature=t), want, rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(apply(operator, method, ROWS.T, temperature=t, axis=0).T, want, rtol=rtol, atol=1e-6)
    cube = jnp.stack([ROWS, ROWS[::-1]])
    got = apply(operator, method, cube, temperature=jnp.stack([t, t[::-1]]))
    np.testing.assert_allclose(got, np.stack([want, want[::-1]]), rtol=rtol, atol=1e-6)
    mapped = jax.vmap(lambda x, s: apply(operator, method, x, temperature=s))(ROWS, t)
    np.testing.assert_allclose(mapped, want, rtol=rtol, atol=1e-6)
    slopes = jax.grad(lambda s: jnp.sum(apply(operator, method, ROWS, temperature=s) ** 2))(t)
    single = jax.grad(lambda s: jnp.sum(apply(operator, method, ROWS[1], temperature=s) ** 2))(t[1])
    np.testing.assert_allclose(slopes[1], single, rtol=1e-4)


@each
def test_mask_along_another_axis(operator, method):
    where = jnp.array([[True, True, False], [True, False, True]] * 4)
    got = apply(operator, method, ROWS.T, axis=0, where=where)
    np.testing.assert_allclose(got.T, apply(operator, method, ROWS, where=where.T), rtol=2e-5, atol=1e-6)


@each
def test_straight_through(operator, method):
    x = ROWS[0]
    got = apply(operator, method, x, straight_through=True)
    np.testing.assert_array_equal(got, np.argsort(np.argsort(x)) + 1 if operator == "rank" else np.sort(x))

    def f(v, straight):
        return jnp.vdot(jnp.arange(8.0), apply(operator, method, v, straight_through=straight))

    np.testing.assert_allclose(jax.grad(f)(x, True), jax.grad(f)(x, False), rtol=1e-5)


@pytest.mark.parametrize(
    ("operator", "method", "dtype"),
    [(o, m, jnp.bfloat16) for o, m in CORE] + [(o, "l2", d) for o in OPERATORS for d in (jnp.float16, jnp.int32, bool)],
)
def test_types(operator, method, dtype):
    x = (ROWS[0] * 4).astype(dtype)
    got = apply(operator, method, x, temperature=1.0)
    want = apply(operator, method, x.astype(jnp.float32), temperature=1.0)
    assert got.dtype == (dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32)
    np.testing.assert_array_equal(got.astype(jnp.float32), want.astype(got.dtype).astype(jnp.float32))


@each
def test_float64(operator, method, x64):
    x = jnp.asarray(np.array([0.0, 1e-12, 2e-12]) + 1)
    assert apply(operator, method, x).dtype == jnp.float64
    if operator == "rank" and method == "l2":
        np.testing.assert_array_equal(soft.rank(x, temperature=1e-13), [1, 2, 3])


@each
def test_transformations(operator, method, mesh8):
    x = jnp.asarray(RNG.normal(size=(8, 6)), jnp.float32)

    def f(v, t):
        return apply(operator, method, v, temperature=t)

    want = f(x, 0.3)
    np.testing.assert_allclose(jax.jit(f)(x, 0.3), want, rtol=2e-5, atol=1e-6)
    scanned = jax.lax.scan(lambda c, row: (c, f(row, 0.3)), 0, x)[1]
    np.testing.assert_allclose(scanned, want, rtol=2e-5, atol=1e-6)
    exported = jax.export.export(jax.jit(jax.grad(lambda v: jnp.sum(f(v, 0.3) ** 2))), platforms=["cpu", "cuda", "tpu"])
    gradient = jax.grad(lambda v: jnp.sum(f(v, 0.3) ** 2))(x)
    called = jax.export.deserialize(exported(x).serialize()).call(x)
    np.testing.assert_allclose(called, gradient, rtol=1e-4, atol=1e-5)
    spec = PartitionSpec("data")

    def local(v, t):
        return jax.lax.psum(jnp.sum(f(v, t) ** 2), "data")

    sharded = jax.shard_map(local, mesh=mesh8, in_specs=(spec, PartitionSpec()), out_specs=PartitionSpec())
    got = jax.jit(jax.grad(sharded))(x, jnp.float32(0.3))
    np.testing.assert_allclose(got, gradient, rtol=1e-4, atol=1e-5)


@each
def test_new_temperatures_do_not_recompile(operator, method):
    traces = []

    @jax.jit
    def f(v, t):
        traces.append(1)
        return apply(operator, method, v, temperature=t)

    f(ROWS[0], 0.1)
    f(ROWS[0], 0.2)
    assert len(traces) == 1


@pytest.mark.parametrize("operator", OPERATORS)
def test_errors(operator, unchecked):
    fn = OPERATORS[operator]
    with pytest.raises(SoftError, match=r"no method 'L2'; did you mean l2\? methods: l2, kl") as caught:
        fn(ROWS, method="L2")
    assert caught.value.reason is SoftError.Reason.UNKNOWN_METHOD
    with pytest.raises(SoftError, match="axis 2 is out of range for 2 axes"):
        fn(ROWS, axis=2)
    with pytest.raises(SoftError, match="single number"):
        fn(jnp.float32(1))
    with pytest.raises(SoftError, match="temperature is -1"):
        fn(ROWS, temperature=-1)
    with pytest.raises(SoftError, match=r"temperature has shape \(8,\), expected \(\) or the batch shape \(3,\)"):
        fn(ROWS, temperature=jnp.ones(8))
    with pytest.raises(SoftError, match=r"where has shape \(7,\)") as caught:
        fn(ROWS, where=jnp.ones(7, bool))
    assert caught.value.reason is SoftError.Reason.SHAPE_MISMATCH
    with pytest.raises(TypeError, match=r"x must be an array, got a list; write jnp.asarray\(x\)"):
        fn([1.0, 2.0])
    with pytest.raises(TypeError, match="method must be a string"):
        fn(ROWS, method=2)
