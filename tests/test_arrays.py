"""Array helpers against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import arrays

# XLA may flush subnormal numbers to 0, NumPy keeps them.
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=False, width=32)


@given(hnp.arrays(np.float32, 16, elements=ANY_FLOAT))
def test_ordered_key_keeps_the_order(x):
    # Adding 0 makes -0 into +0, as the key does; NumPy too puts NaN last.
    order = np.argsort(x + np.float32(0), kind="stable")
    got = np.argsort(np.asarray(arrays.ordered_key(jnp.asarray(x))), kind="stable")
    np.testing.assert_array_equal(got, order)


@given(hnp.arrays(np.float32, (2, 9), elements=ANY_FLOAT), hnp.arrays(bool, (2, 9)))
def test_sort_order_puts_masked_items_last(x, where):
    got = np.asarray(arrays.sort_order(jnp.asarray(x), where=jnp.asarray(where)))
    for row, mask, order in zip(x + np.float32(0), where, got, strict=True):
        valid = np.flatnonzero(mask)
        want = np.concatenate([valid[np.argsort(row[valid], kind="stable")], np.flatnonzero(~mask)])
        np.testing.assert_array_equal(order, want)


def test_sort_order_descending_is_stable_and_keeps_nan_last():
    x = jnp.array([1.0, jnp.nan, 3.0, 1.0, jnp.inf, -jnp.inf])
    assert arrays.sort_order(x, descending=True).tolist() == [4, 2, 0, 3, 5, 1]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_sort_order_takes_half_types(dtype):
    x = jnp.array([0.5, -2.0, 7.0], dtype)
    assert arrays.sort_order(x).tolist() == [1, 0, 2]


def test_sort_order_of_float64(x64):
    x = jnp.array([1.0 + 1e-12, 1.0], jnp.float64)
    assert arrays.sort_order(x).tolist() == [1, 0]


@given(st.permutations(list(range(11))))
def test_inverse_permutation(order):
    got = arrays.inverse_permutation(jnp.asarray(order, jnp.int32))
    np.testing.assert_array_equal(got, np.argsort(order))


JUNK = jnp.array([jnp.nan, jnp.inf, -jnp.inf])


@pytest.mark.parametrize("fn", [arrays.masked_sum, arrays.masked_mean, arrays.masked_max, arrays.masked_logsumexp])
def test_masked_reductions_ignore_junk(fn):
    x = jnp.array([0.3, -1.0, 2.0])
    padded, where = jnp.concatenate([x, JUNK]), jnp.array([True] * 3 + [False] * 3)
    value, gradient = jax.value_and_grad(lambda v: fn(v, where))(padded)
    want, want_gradient = jax.value_and_grad(lambda v: fn(v, None))(x)
    assert value == want
    np.testing.assert_array_equal(gradient[:3], want_gradient)
    np.testing.assert_array_equal(gradient[3:], 0)


@pytest.mark.parametrize("fn", [arrays.masked_sum, arrays.masked_mean, arrays.masked_max, arrays.masked_logsumexp])
def test_masked_reductions_of_nothing_are_zero(fn):
    value, gradient = jax.value_and_grad(lambda v: fn(v, jnp.zeros(3, bool)))(JUNK)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_logsumexp_takes_minus_infinity_as_probability_zero():
    x = jnp.array([1.0, -jnp.inf, 2.0])
    value, gradient = jax.value_and_grad(lambda v: arrays.masked_logsumexp(v, None))(x)
    np.testing.assert_allclose(value, np.log(np.exp(1) + np.exp(2)), rtol=1e-6)
    np.testing.assert_allclose(gradient, [1 / (1 + np.e), 0, np.e / (1 + np.e)], rtol=1e-5)
    assert arrays.masked_logsumexp(jnp.array([-jnp.inf, -jnp.inf]), None) == -jnp.inf


def test_reduce_values_leaves_out_lists_that_do_not_count():
    values, where = jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True])
    assert arrays.reduce_values(values, where, jnp.mean) == 2
    assert arrays.reduce_values(values, where, jnp.sum) == 4
    np.testing.assert_array_equal(arrays.reduce_values(values, where, None), [1, 0, 3])
    value, gradient = jax.value_and_grad(lambda v: arrays.reduce_values(v, jnp.zeros(3, bool), jnp.mean))(values)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("size", [1, 4, 8, 11])
def test_map_blocks_equals_the_whole(size):
    x = jnp.arange(size * 3.0).reshape(size, 3)
    got = arrays.map_blocks(lambda block: (block.sum(-1), block * 2), (x,), 4)
    np.testing.assert_array_equal(got[0], x.sum(-1))
    np.testing.assert_array_equal(got[1], x * 2)


def test_segments():
    x, ids = jnp.array([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]]), jnp.array([[0, 2, 0], [1, 1, 1]])
    np.testing.assert_array_equal(arrays.segment_sum(x, ids, 3), [[5, 0, 2], [0, 3, 0]])
    np.testing.assert_array_equal(
        arrays.segment_count(ids, 3, jnp.array([[True, True, False]] * 2)), [[1, 0, 1], [0, 2, 0]]
    )


def test_lists_are_refused_with_a_hint(unchecked):
    with pytest.raises(TypeError, match=r"scores must be an array, got a list; write jnp.asarray\(scores\)"):
        arrays.as_array([1, 2], "scores")
    with pytest.raises(TypeError, match="array of numbers"):
        arrays.as_array("text")
    with pytest.raises(TypeError, match="real"):
        arrays.as_array(jnp.ones(1, jnp.complex64))


def test_masks_are_broadcast_and_checked():
    np.testing.assert_array_equal(arrays.as_mask(jnp.array([1, 0]), (2, 2)), [[True, False]] * 2)
    with pytest.raises(ValueError, match=r"\(3,\), which does not fit the shape \(2, 2\)"):
        arrays.as_mask(jnp.ones(3), (2, 2))


@given(hnp.arrays(np.float32, 16, elements=ANY_FLOAT), hnp.arrays(bool, 16))
def test_sort_with_order_gives_the_values_back(x, where):
    values, order = arrays.sort_with_order(jnp.asarray(x), jnp.asarray(where))
    valid = np.flatnonzero(where & ~np.isnan(x))
    want = np.concatenate([np.sort(x[valid]), np.full(16 - len(valid), np.nan, np.float32)])
    np.testing.assert_array_equal(values, want)
    np.testing.assert_array_equal(np.sort(order), np.arange(16))
    np.testing.assert_array_equal(x[np.asarray(order)[: len(valid)]], want[: len(valid)])


def test_the_packed_sort_equals_the_sort_of_pairs():
    key = jnp.array([[3, -1, 3, 2**31 - 1, -(2**31), 0], [1, 1, 1, 0, 0, 0]], jnp.int32)
    for got, want in zip(arrays._sort_packed(key), arrays._sort_pairs(key), strict=True):
        assert got.dtype == jnp.int32
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap, jax.checkpoint, lambda f: lambda x: jax.lax.map(f, x)])
def test_the_packed_sort_under_transformations(wrap):
    x = jnp.array([[0.5, -2.0, 7.0, 0.5], [1.0, 1.0, 0.0, -1.0]])
    np.testing.assert_array_equal(wrap(arrays.sort_order)(x), np.argsort(x, axis=-1, kind="stable"))


def test_the_packed_sort_is_exported_and_sharded(mesh8):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 5)), jnp.float32)
    want = np.argsort(x, axis=-1, kind="stable")
    exported = jax.export.export(jax.jit(arrays.sort_order), platforms=["cpu", "cuda", "tpu"])(x)
    np.testing.assert_array_equal(jax.export.deserialize(exported.serialize()).call(x), want)
    spec = jax.sharding.PartitionSpec("data")
    sharded = jax.shard_map(arrays.sort_order, mesh=mesh8, in_specs=spec, out_specs=spec)
    np.testing.assert_array_equal(jax.jit(sharded)(x), want)
