"""One list of properties, and every loss held against it.

A loss is one line of the table. Each runs as one jitted function at one shape, so that a property costs no compilation;
what needs another type or transformation runs in the full suite for all, and here for a few.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import losses as L
from tests.losses.table import TABLE

SHAPE = (3, 6)
# Other arguments: tests of their own, in test_contrastive.py and test_teachers.py.
APART = {"contrastive_loss", "info_nce_loss"}
# No losses. Lambda weights have a list of properties in test_lambda_weights.py.
OTHERS = {
    "compute_pairs",
    "gradient_cache",
    "normalize_probabilities",
    "plackett_luce_log_prob",
    "plackett_luce_sample",
    "safe_reduce",
    "unbiased",
}
QUICK = {"softmax_loss", "pairwise_logistic_loss", "neural_ndcg_loss", "p_listmle_loss-normalised"}


def cases(*needs, quick=False):
    """Parametrise over the lines of the table that have some properties; the rest of them for the full suite."""
    chosen = [case for case in TABLE if all(getattr(case, need) for need in needs)]
    slow = {case.id for case in chosen if quick and case.id not in QUICK}
    return pytest.mark.parametrize(
        "case",
        [pytest.param(c, id=c.id, marks=[pytest.mark.slow] if c.id in slow else []) for c in chosen],
    )


@functools.cache
def compiled(index, segments=False):
    """Values, one per list or item, and the gradient of their sum."""
    case = TABLE[index]

    def run(scores, labels, where, ids):
        options = {**case.options, "where": where} | ({"segments": ids} if segments else {})

        def total(s):
            values = case.loss(s, labels, reduce_fn=None, **options)
            return jnp.sum(values), values

        (_, values), grad = jax.value_and_grad(total, has_aux=True)(scores)
        return values, grad

    return jax.jit(run)


def run(case, scores, labels, where=None, segments=None, *, strict=True):
    """Call the one compiled form of a loss; if strict, no NaN may come out of it."""
    where = np.ones(np.shape(scores), bool) if where is None else where
    ids = np.zeros(np.shape(scores), np.int32) if segments is None else segments
    with jax.debug_nans(strict):
        values, grad = compiled(TABLE.index(case), segments is not None)(scores, labels, where, ids)
    return np.asarray(values), np.asarray(grad)


def sample(seed, shape=SHAPE):
    """Scores without ties, different labels from 0 on with some more than 0, and a mask."""
    rng = np.random.default_rng(seed)
    scores = np.stack([rng.permutation(shape[-1]) for _ in range(shape[0])]) / 2 + rng.uniform(0, 0.2, shape)
    labels = np.stack([rng.permutation(shape[-1]) for _ in range(shape[0])]) / 2
    where = rng.random(shape) < 0.75
    where[:, 0] = True
    return scores.astype(np.float32), labels.astype(np.float32), where


def test_the_table_holds_every_loss():
    there = {name for name in L.__all__ if not name.endswith("_lambdaweight")}
    assert {case.loss.__name__ for case in TABLE} == there - APART - OTHERS, "add a line to the table for a new loss"
    assert {*APART, *OTHERS} <= there
    assert len({case.id for case in TABLE}) == len(TABLE)


@cases()
def test_finite_values_and_gradients(case):
    for seed in range(2):
        values, grad = run(case, *sample(seed))
        assert np.isfinite(values).all()
        assert np.isfinite(grad).all()
        assert np.any(grad != 0)


@cases()
@given(hnp.arrays(np.float32, SHAPE, elements=st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e30, -5.0])))
def test_what_is_masked_never_matters(case, junk):
    scores, labels, where = sample(1)
    quiet = run(case, scores, labels, where)
    loud = run(case, np.where(where, scores, junk), np.where(where, labels, junk[:, ::-1]), where)
    for a, b in zip(loud, quiet, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.all(loud[1][~where] == 0)


@cases()
def test_a_list_without_items_costs_nothing(case):
    scores, labels, where = sample(2)
    where[1] = False
    values, grad = run(case, scores, labels, where)
    assert np.all(values[1] == 0)
    assert np.all(grad[1] == 0)
    values, grad = run(case, scores, labels, np.zeros(SHAPE, bool))
    assert np.all(values == 0)
    assert np.all(grad == 0)


@cases("quiet")
def test_a_list_without_a_relevant_item_costs_nothing(case):
    scores, labels, where = sample(3)
    labels[0] = 0
    values, grad = run(case, scores, labels, where)
    assert np.all(values[0] == 0)
    assert np.all(grad[0] == 0)
    assert np.any(grad != 0)


@cases("order")
def test_the_order_of_the_items_does_not_matter(case):
    scores, labels, where = sample(4)
    values, grad = run(case, scores, labels, where)
    order = np.random.default_rng(0).permutation(SHAPE[-1])
    moved, moved_grad = run(case, scores[:, order], labels[:, order], where[:, order])
    want = values[:, order] if case.per_item else values
    np.testing.assert_allclose(moved, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moved_grad, grad[:, order], rtol=1e-4, atol=1e-5)


@cases("shift")
def test_a_common_shift_does_not_matter(case):
    scores, labels, where = sample(5)
    values, grad = run(case, scores, labels, where)
    np.testing.assert_allclose(run(case, scores + 8, labels, where)[0], values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(grad.sum(-1), 0, atol=1e-4 * (1 + np.abs(grad).max()))


@cases()
def test_lists_do_not_meet(case):
    scores, labels, where = sample(6)
    values, grad = run(case, scores, labels, where)
    other = sample(9)
    mixed = [np.stack([a[0], b[1], b[2]]) for a, b in zip((scores, labels, where), other, strict=True)]
    again, again_grad = run(case, *mixed)
    np.testing.assert_array_equal(again[0], values[0])
    np.testing.assert_array_equal(again_grad[0], grad[0])


@cases()
def test_ties(case):
    _, labels, where = sample(7)
    for scores in (np.zeros(SHAPE, np.float32), np.floor(sample(7)[0]).astype(np.float32)):
        for grades in (labels, np.floor(labels)):
            values, grad = run(case, scores, grades, where)
            assert np.isfinite(values).all()
            assert np.isfinite(grad).all()


@cases()
def test_scores_without_bounds(case):
    scores, labels, where = sample(8)
    # Not retrieved, with the smallest label of its list.
    low = np.argmin(np.where(where, labels, np.inf), axis=-1)
    labels[np.arange(3), low] = 0
    scores[np.arange(3), low] = -np.inf
    values, grad = run(case, scores, labels, where, strict=case.retrieved)
    if case.retrieved:
        assert np.isfinite(values).all()
        assert np.isfinite(grad).all()
    # Not retrieved, and relevant; retrieved beyond doubt. The value may be without bound, but it is a number, and the
    # gradient is one wherever the value is finite.
    scores[0, np.argmax(np.where(where[0], labels[0], -np.inf))] = -np.inf
    scores[1, np.argmax(np.where(where[1], labels[1], -np.inf))] = np.inf
    for all_scores in (scores, np.full(SHAPE, -np.inf, np.float32), np.clip(scores, -3e4, 3e4)):
        values, grad = run(case, all_scores, labels, where, strict=False)
        assert not np.isnan(values).any()
        finite = np.isfinite(values)
        assert not np.isnan(grad[finite]).any()


@cases("segments")
def test_segments_equal_a_loop(case):
    scores, labels, where = sample(10)
    segments = np.random.default_rng(6).integers(3, 6, size=SHAPE).astype(np.int32)
    values, grad = run(case, scores, labels, where, segments)
    want, want_grad = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    for one in np.unique(segments):
        mine = (segments == one) & where
        alone, alone_grad = run(case, scores, labels, mine)
        for b in range(SHAPE[0]):
            if case.per_item:
                want[b] += alone[b]
            elif mine[b].any():
                want[b, np.flatnonzero(mine[b])[0]] = alone[b]
        want_grad += alone_grad
    np.testing.assert_allclose(values, want, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(grad, want_grad, rtol=1e-4, atol=1e-5)


@cases("padding", quick=True)
def test_padding_changes_no_more_than_rounding(case):
    scores, labels, where = sample(11)
    where[:, :4], where[:, 4:] = True, False
    values, grad = run(case, scores, labels, where)
    alone, alone_grad = compiled(TABLE.index(case))(scores[:, :4], labels[:, :4], where[:, :4], where[:, :4])
    np.testing.assert_allclose(values[:, :4] if case.per_item else values, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad[:, :4], alone_grad, rtol=1e-4, atol=1e-5)


@cases(quick=True)
def test_lists_of_no_items(case):
    nothing = np.zeros((2, 0), np.float32)
    value = jax.jit(lambda s: case.loss(s, s, **case.options))(nothing)
    assert np.all(np.asarray(value) == 0)


@cases(quick=True)
def test_means_leave_out_lists_without_items(case):
    scores, labels, where = sample(12)
    where[1] = False
    values, _ = run(case, scores, labels, where)
    mean = case.loss(scores, labels, where=where, **case.options)
    if case.per_item:
        np.testing.assert_allclose(mean, values.sum() / where.sum(), rtol=1e-5)
    elif "pairwise" not in case.loss.__name__ and "dpo" not in case.loss.__name__:
        np.testing.assert_allclose(mean, values.sum() / 2, rtol=1e-5)
    total = case.loss(scores, labels, where=where, reduce_fn=jnp.sum, **case.options)
    np.testing.assert_allclose(total, values.sum(), rtol=1e-5)


@cases("order", quick=True)
def test_a_batch_equals_vmap(case):
    scores, labels, where = sample(13)
    values, _ = run(case, scores, labels, where)
    one = jax.jit(jax.vmap(lambda s, y, m: case.loss(s, y, where=m, reduce_fn=None, **case.options)))
    np.testing.assert_allclose(one(scores, labels, where), values, rtol=1e-5, atol=1e-6)


@cases(quick=True)
def test_half_types(case):
    scores, labels, where = sample(14)
    scores = np.asarray(jnp.asarray(scores, jnp.bfloat16).astype(jnp.float32))
    want, _ = run(case, scores, labels, where)
    values, grad = compiled(TABLE.index(case))(jnp.asarray(scores, jnp.bfloat16), labels, where, where)
    assert values.dtype == grad.dtype == jnp.bfloat16
    np.testing.assert_allclose(values.astype(jnp.float32), want, rtol=2**-7, atol=2**-8)
    assert np.isfinite(np.asarray(grad.astype(jnp.float32))).all()


@cases("slope", quick=True)
def test_gradients_by_finite_differences(case, x64):
    scores, labels, where = sample(15)
    s, v = scores.astype(np.float64), np.random.default_rng(4).normal(size=SHAPE)
    total = jax.jit(lambda s: jnp.sum(case.loss(s, labels.astype(np.float64), where=where, **case.options)))
    grad = jax.jit(jax.grad(total))(s)
    h = 1e-5
    assert grad.dtype == jnp.float64
    np.testing.assert_allclose(np.sum(grad * v), (total(s + h * v) - total(s - h * v)) / (2 * h), rtol=1e-6, atol=1e-9)


@cases("slope", quick=True)
def test_second_derivatives_by_finite_differences(case, x64):
    scores, labels, where = sample(16)
    s, v = scores.astype(np.float64), np.random.default_rng(4).normal(size=SHAPE)
    slope = jax.grad(lambda s: jnp.sum(case.loss(s, labels.astype(np.float64), where=where, **case.options)))
    curve = jax.jit(lambda s: jax.jvp(slope, (s,), (jnp.asarray(v),))[1])(s)
    slope, h = jax.jit(slope), 1e-5
    np.testing.assert_allclose(curve, (slope(s + h * v) - slope(s - h * v)) / (2 * h), rtol=1e-5, atol=1e-7)
