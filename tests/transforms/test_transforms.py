"""Bound, Gumbel and segment transformations, and Rax's helpers."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank import metrics as M
from jrank import transforms as T
from jrank import utils
from jrank.errors import LearnError

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)


@pytest.mark.parametrize(
    ("metric", "options", "value"),
    [
        (M.ndcg_metric, {}, 0.6885289),
        (M.mrr_metric, {}, 1.0),
        (M.ap_metric, {}, 0.8333334),
        (M.recall_metric, {"topn": 2}, 1.0),
    ],
)
def test_bounds(metric, options, value):
    loss = T.bound_t12n(functools.partial(metric, **options))
    np.testing.assert_allclose(loss(S, Y), -value, rtol=1e-6)


@pytest.mark.parametrize("metric", [M.ndcg_metric, M.precision_metric])
def test_bounds_are_bounds_and_know_masks(metric):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(20, 7)).astype(np.float32), rng.integers(0, 3, size=(20, 7)).astype(np.float32)
    where = rng.random((20, 7)) < 0.8
    loss = jax.jit(jax.value_and_grad(functools.partial(T.bound_t12n(metric), topn=3)))
    exact = jax.jit(functools.partial(metric, topn=3, reduce_fn=None))
    each = T.bound_t12n(metric)(scores, labels, where=where, topn=3, reduce_fn=None)
    assert np.all(-np.asarray(each) <= np.asarray(exact(scores, labels, where=where)) + 1e-6)
    junk = np.where(where, scores, np.nan).astype(np.float32)
    got, want = loss(junk, labels, where=where), loss(scores, labels, where=where)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])
    assert np.all(np.asarray(got[1])[~where] == 0)


def test_gumbel():
    loss = T.gumbel_t12n(T.approx_t12n(M.ndcg_metric))
    np.testing.assert_allclose(loss(S, Y, key=jax.random.PRNGKey(0)), -0.7432789, rtol=1e-5)
    assert "key" in inspect.signature(T.gumbel_t12n(L.softmax_loss)).parameters
    shapes = T.gumbel_t12n(lambda scores, labels, *, where: (scores, labels, where), samples=3)
    got = shapes(S, Y, where=np.ones(4, bool), key=jax.random.key(1))
    assert [x.shape for x in got] == [(3, 4)] * 3
    # The order of scores with Gumbel noise is Plackett-Luce's: the share of each item at rank 1 is its softmax.
    first = T.gumbel_t12n(lambda scores, labels: jnp.mean(M.ranks(scores) == 1, axis=0), samples=20_000)
    share = first(S, Y, key=jax.random.key(2))
    np.testing.assert_allclose(share, jax.nn.softmax(S), atol=0.02)
    # Exact expectation over all orders, by enumeration in float64.
    expected = T.gumbel_t12n(M.dcg_metric, samples=20_000)(S, Y, key=jax.random.key(3))
    np.testing.assert_allclose(expected, 2.853128410, atol=0.03)


def test_values_of_the_latest_documentation_of_rax():
    """Those of its repository after 0.4.0, recorded with today's random generator."""
    s, y, binary = np.array([0, 1, 3, 2], np.float32), np.array([0, 0, 1, 2], np.float32), np.array([0, 1, 0, 1.0])
    first, second = jax.random.PRNGKey(42), jax.random.PRNGKey(79)
    approx, bound = T.approx_t12n(M.mrr_metric), T.bound_t12n(M.mrr_metric)
    noisy = jax.jit(T.gumbel_t12n(L.softmax_loss))
    got = [
        T.approx_t12n(M.ndcg_metric)(s, y),
        approx(s, y),
        jax.jit(T.gumbel_t12n(approx))(s, y, key=first),
        bound(s, binary),
        jax.jit(T.gumbel_t12n(bound))(s, binary, key=first),
        noisy(s, y, key=first),
        noisy(s, y, key=second),
    ]
    np.testing.assert_allclose(got, [-0.71789, -0.69659, -0.75971, -0.33333, -0.40368, 3.45703, 4.12491], atol=6e-6)


def test_gumbel_masks_and_smoothing():
    where = np.array([True, True, True, False])
    loss = jax.value_and_grad(T.gumbel_t12n(L.softmax_loss, smoothing_factor=1e-20))
    key = jax.random.key(0)
    loud = loss(np.array([2.0, 1.0, 3.0, np.nan], np.float32), Y, where=where, key=key)
    quiet = loss(S, Y, where=where, key=key)
    np.testing.assert_array_equal(loud[0], quiet[0])
    np.testing.assert_array_equal(loud[1], quiet[1])
    assert loud[1][3] == 0
    far = loss(np.array([-1e34, 1e34, 0, 0], np.float32), Y, where=np.array([1, 0, 0, 0], bool), key=key)
    assert np.isfinite(far[1]).all()
    with pytest.raises(LearnError, match="samples is 0"):
        T.gumbel_t12n(L.softmax_loss, samples=0)


def test_segments_for_functions_that_know_only_rows():
    def total(scores, labels, *, where=None, scale=1.0, reduce_fn=jnp.mean):
        sums = jnp.sum(scores * labels * scale, axis=-1, where=where)
        some = None if where is None else jnp.any(where, axis=-1)
        return jnp.where(some, sums, 0) if reduce_fn is None else reduce_fn(sums, where=some)

    segmented = T.segment_t12n(total)
    segments = np.array([4, 1, 4, 1])
    got = segmented(S, Y, segments=segments, where=np.array([1, 1, 1, 0], bool), reduce_fn=None, scale=2.0)
    np.testing.assert_allclose(got, [14, 0, 0, 0])
    np.testing.assert_allclose(segmented(S, Y, segments=segments), 3.5)
    np.testing.assert_allclose(segmented(S, Y), 7)
    assert "segments" in inspect.signature(segmented).parameters
    assert T.segment_t12n(M.ndcg_metric) is M.ndcg_metric


def test_helpers():
    p = utils.normalize_probabilities(np.array([[1.0, 3.0, 9.0], [0, 0, 9.0]], np.float32), where=np.array([1, 1, 0]))
    np.testing.assert_allclose(p, [[0.25, 0.75, 0], [0.5, 0.5, 0]])
    p = utils.normalize_probabilities(Y, segments=np.array([0, 1, 0, 1]))
    np.testing.assert_allclose(p, [2 / 3, 0.5, 1 / 3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(utils.normalize_probabilities(np.stack([Y, Y]), axis=0), np.full((2, 4), 0.5))
    np.testing.assert_array_equal(utils.compute_pairs(S[:2], jnp.maximum), [2, 2, 2, 1])
    np.testing.assert_array_equal(utils.safe_reduce(S, S > 1), [2, 0, 3, 0])
    assert utils.safe_reduce(S, S > 9, jnp.mean) == 0
    # Targets of segments sum to 1 in each segment.
    segments = np.array([0, 0, 1, 1])
    got = L.softmax_loss(S, Y, segments=segments, label_fn=utils.normalize_probabilities, reduce_fn=None)
    np.testing.assert_allclose(got, [0.6265233 / 2, 0, 0.0788897, 0], rtol=1e-5)
