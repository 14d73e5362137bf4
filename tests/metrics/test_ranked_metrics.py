"""Metrics of ranks against a list-by-list NumPy re-computation, closed forms and published values."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import metrics as M
from jrank.errors import LearnError

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)


# A list at a time, in float64, without masks: the labels of the retrieved items in rank order, and of all items.
def dcg_of(ranked, labels, k):
    return sum((2.0**y - 1) / math.log2(r + 1) for r, y in enumerate(ranked[:k], 1))


def ndcg_of(ranked, labels, k):
    best = dcg_of(sorted(labels, reverse=True), labels, k)
    return dcg_of(ranked, labels, k) / best if best else 0.0


def mrr_of(ranked, labels, k):
    return next((1 / r for r, y in enumerate(ranked[:k], 1) if y >= 1), 0.0)


def precision_of(ranked, labels, k):
    size = k or len(ranked)
    return sum(y >= 1 for y in ranked[:k]) / size if size else 0.0


def recall_of(ranked, labels, k):
    return sum(y >= 1 for y in ranked[:k]) / max(sum(y >= 1 for y in labels), 1)


def ap_of(ranked, labels, k):
    hits = [sum(y >= 1 for y in ranked[:r]) / r for r, y in enumerate(ranked[:k], 1) if y >= 1]
    return sum(hits) / max(sum(y >= 1 for y in labels), 1)


ORACLES = {
    M.dcg_metric: dcg_of,
    M.ndcg_metric: ndcg_of,
    M.mrr_metric: mrr_of,
    M.precision_metric: precision_of,
    M.recall_metric: recall_of,
    M.ap_metric: ap_of,
}
METRICS = list(ORACLES)
named = pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.__name__)


def oracle(metric, scores, labels, where=None, k=None):
    """The metric of one list; ties in the order of the input, -inf and NaN not retrieved."""
    keep = np.ones(len(scores), bool) if where is None else where
    scores, labels = scores[keep], labels[keep]
    retrieved = scores > -np.inf
    order = np.argsort(-scores[retrieved], kind="stable")
    return ORACLES[metric](labels[retrieved][order].tolist(), labels.tolist(), k)


@functools.cache
def jitted(metric, **options):
    def run(scores, labels, where=None, segments=None):
        return metric(scores, labels, where=where, segments=segments, reduce_fn=None, **options)

    return jax.jit(run)


def sample(seed, shape=(4, 9)):
    rng = np.random.default_rng(seed)
    scores = rng.integers(-2, 3, size=shape).astype(np.float32)  # many ties
    scores[rng.random(shape) < 0.15] = -np.inf
    labels = rng.integers(0, 4, size=shape).astype(np.float32) * (rng.random(shape) < 0.7).astype(np.float32)
    where = rng.random(shape) < 0.8
    return scores, labels, where


@pytest.mark.parametrize(
    ("metric", "k", "value"),
    [
        (M.ndcg_metric, None, 0.7967076),
        (M.ndcg_metric, 1, 0.3333333),
        (M.ndcg_metric, 2, 0.7967076),
        (M.dcg_metric, None, 2.8927894),
        (M.dcg_metric, 1, 1.0),
        (M.mrr_metric, None, 1.0),
        (M.ap_metric, None, 1.0),
        (M.ap_metric, 1, 0.5),
        (M.precision_metric, None, 0.5),
        (M.precision_metric, 1, 1.0),
        (M.recall_metric, 1, 0.5),
        (M.precision_metric, 10, 0.2),  # trec_eval's P_10 of a list of 4
    ],
)
def test_known_values(metric, k, value):
    np.testing.assert_allclose(metric(S, Y, topn=k), value, rtol=1e-6)


def test_gain_and_discount_conventions():
    np.testing.assert_allclose(M.ndcg_metric(S, Y, gain_fn=M.linear_gain_fn), 0.8597187, rtol=1e-6)
    # LETOR: ranks 1 and 2 undiscounted, so 1 + 3 over 3 + 1.
    np.testing.assert_allclose(M.ndcg_metric(S, Y, discount_fn=M.letor_discount_fn), 1.0, rtol=1e-6)


@named
@pytest.mark.parametrize("k", [None, 1, 3, 20])
def test_random_lists(metric, k):
    for seed in range(3):
        scores, labels, where = sample(seed)
        got = jitted(metric, topn=k)(scores, labels, where)
        want = [oracle(metric, *row, k) for row in zip(scores, labels, where, strict=True)]
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-7)


@named
@pytest.mark.parametrize("k", [None, 2])
def test_ties_by_enumeration(metric, k):
    scores = np.array([1.0, 0.0, 1.0, 0.0, 1.0, -np.inf], np.float32)
    labels = np.array([0.0, 2.0, 1.0, 0.0, 3.0, 1.0], np.float32)
    values = [oracle(metric, scores[list(p)], labels[list(p)], None, k) for p in itertools.permutations(range(6))]
    for ties, want in {"average": np.mean(values), "worst": min(values), "best": max(values)}.items():
        got = jitted(metric, topn=k, ties=ties)(scores, labels)
        np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=ties)
        # A tie rule that is a mean, a minimum or a maximum cannot depend on the order of the input.
        turned = jitted(metric, topn=k, ties=ties)(scores[::-1].copy(), labels[::-1].copy())
        np.testing.assert_allclose(turned, want, rtol=1e-6)


@named
@pytest.mark.parametrize("ties", ["stable", "average"])
def test_segments_equal_a_loop(metric, ties):
    scores, labels, where = sample(5, (2, 12))
    segments = np.random.default_rng(6).integers(3, 7, size=(2, 12))
    got = np.asarray(jitted(metric, topn=2, ties=ties)(scores, labels, where, segments))
    for b in range(2):
        want = np.zeros(12, np.float32)
        for one in np.unique(segments[b]):
            mine = (segments[b] == one) & where[b]
            if mine.any():
                value = jitted(metric, topn=2, ties=ties)(scores[b], labels[b], mine)
                want[np.flatnonzero(mine)[0]] = value
        np.testing.assert_allclose(got[b], want, rtol=1e-6)
    mean = jax.jit(functools.partial(metric, topn=2, ties=ties))(scores, labels, where=where, segments=segments)
    lists = sum(len(np.unique(s[w])) for s, w in zip(segments, where, strict=True))
    np.testing.assert_allclose(mean, got.sum() / lists, rtol=1e-6)


@named
@given(hnp.arrays(np.float32, (2, 4), elements=st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e30, -5.0])))
def test_what_is_masked_never_matters(metric, junk):
    scores, labels, _ = sample(1, (2, 6))
    where = np.broadcast_to(np.arange(10) < 6, (2, 10))
    quiet = np.zeros((2, 4), np.float32)
    want = jitted(metric, topn=3)(np.hstack([scores, quiet]), np.hstack([labels, quiet]), where)
    got = jitted(metric, topn=3)(np.hstack([scores, junk]), np.hstack([labels, junk[:, ::-1]]), where)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(got, jitted(metric, topn=3)(scores, labels), rtol=1e-6)


@named
def test_lists_without_items_are_left_out_of_means(metric):
    none = np.zeros(4, bool)
    assert metric(S, Y, where=none) == 0
    both = metric(np.stack([S, S]), np.stack([Y, Y]), where=np.stack([~none, none]), topn=2)
    np.testing.assert_allclose(both, metric(S, Y, topn=2), rtol=1e-6)
    assert metric(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)) == 0
    assert metric(S, Y * 0) == 0


def test_which_values_stand_for_a_list():
    where = np.array([[1, 1, 0, 1], [0, 0, 0, 0]], bool)
    scores = np.stack([S, S])
    np.testing.assert_array_equal(M.valid_lists(scores, where=where), [True, False])
    assert M.valid_lists(scores).all()
    segments = np.array([[7, 5, 5, 5], [0, 0, 0, 0]])
    np.testing.assert_array_equal(
        M.valid_lists(scores, where=where, segments=segments), [[True, True, False, False], [False] * 4]
    )


@named
def test_batch_equals_vmap_and_jit_equals_eager(metric):
    scores, labels, where = sample(7)
    eager = metric(scores, labels, where=where, topn=3, reduce_fn=None)
    batched = jax.vmap(lambda s, y, w: metric(s, y, where=w, topn=3))(scores, labels, where)
    np.testing.assert_allclose(batched, eager, rtol=1e-6)
    np.testing.assert_allclose(jitted(metric, topn=3)(scores, labels, where), eager, rtol=1e-6)
    deep = metric(scores[:, None], labels[:, None], where=where[:, None], topn=3, reduce_fn=None)
    np.testing.assert_allclose(deep[:, 0], eager, rtol=1e-6)


@named
def test_types(metric):
    want = metric(S, Y)
    assert metric(S.astype(int), Y.astype(int)).dtype == jnp.float32
    np.testing.assert_allclose(metric(S * 2, Y.astype(np.int32), where=np.array([1, 1, 1, 1])), want, rtol=1e-6)
    half = metric(jnp.asarray(S, jnp.bfloat16), Y)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, want, rtol=1e-6)


@named
def test_float64_stays(metric, x64):
    value = metric(S.astype(np.float64), Y, topn=3)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(value, oracle(metric, S, Y, None, 3), rtol=1e-14)


@named
def test_gradients_of_labels_are_finite(metric):
    grad = jax.grad(lambda y: metric(S, y, where=np.array([1, 1, 0, 1])))(jnp.array([2.0, 0.0, jnp.nan, 1.0]))
    assert np.isfinite(grad).all()
    assert grad[2] == 0


def test_weights():
    scores = np.array([0.0, 3.0, 1.0, 2.0], np.float32)
    labels = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    weights = np.array([1.0, 2.0, 1.0, 2.0], np.float32)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    value = 2 / math.log2(3) + 1 / math.log2(4)
    np.testing.assert_allclose(M.dcg_metric(scores, labels, weights=weights), value, rtol=1e-6)
    np.testing.assert_allclose(M.ndcg_metric(scores, labels, weights=weights), value / ideal, rtol=1e-6)
    np.testing.assert_allclose(M.recall_metric(scores, labels, weights=weights, topn=2), 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(M.precision_metric(scores, labels, weights=weights, topn=2), 1.0, rtol=1e-6)
    np.testing.assert_allclose(M.mrr_metric(scores, labels, weights=weights), 1.0, rtol=1e-6)
    np.testing.assert_allclose(M.ap_metric(scores, labels, weights=weights), (2 * 1 / 2 + 1 * 2 / 3) / 3, rtol=1e-6)


def test_a_key_breaks_ties_at_random():
    equal, labels = jnp.zeros(4), jnp.array([1.0, 0.0, 0.0, 0.0])
    keys = jax.random.split(jax.random.key(0), 400)
    values = jax.vmap(lambda key: M.mrr_metric(equal, labels, key=key))(keys)
    np.testing.assert_allclose(values.mean(), (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, atol=0.05)
    assert len(np.unique(values)) == 4


def test_labels_beyond_the_range_of_gains():
    big = M.ndcg_metric(jnp.arange(4.0), jnp.array([130.0, 0.0, 1.0, 0.0]))
    np.testing.assert_allclose(big, 1 / math.log2(5), rtol=1e-5)
    # Below 0 is no gain, as for trec_eval.
    assert M.ndcg_metric(S, np.array([2.0, -1.0, 1.0, -1.0], np.float32)) == M.ndcg_metric(S, Y)
    np.testing.assert_allclose(M.default_gain_fn(jnp.arange(11)), 2.0 ** np.arange(11) - 1, rtol=1e-6)
    assert np.isfinite(jax.grad(lambda y: M.default_gain_fn(y).sum())(jnp.array([1e9, -1e9, 0.0]))).all()


def test_not_retrieved_is_not_a_number_and_minus_infinity():
    np.testing.assert_allclose(M.ndcg_metric(jnp.array([jnp.nan, 1.0]), jnp.array([1.0, 0.0])), 0.0)
    np.testing.assert_allclose(M.recall_metric(jnp.array([-jnp.inf, 1.0]), jnp.array([1.0, 1.0])), 0.5)
    assert M.ranks(jnp.array([jnp.nan, 1.0, -jnp.inf, -0.0, 0.0])).tolist() == [4, 1, 5, 2, 3]


def test_ranks():
    scores, _, where = sample(8, (3, 10))
    segments = np.random.default_rng(1).integers(0, 3, size=(3, 10))
    got = np.asarray(M.ranks(scores, where=where, segments=segments))
    for b in range(3):
        for one in range(3):
            mine = np.flatnonzero((segments[b] == one) & where[b])
            order = mine[np.argsort(-scores[b, mine], kind="stable")]
            np.testing.assert_array_equal(got[b, order], np.arange(1, len(order) + 1))
    np.testing.assert_array_equal(M.ranks(scores.T, axis=0), np.asarray(M.ranks(scores)).T)
    np.testing.assert_array_equal(M.cutoff(jnp.array([1.0, 3.0, 2.0]), n=2, where=jnp.array([1, 0, 1])), [1, 0, 1])
    np.testing.assert_array_equal(M.cutoff(jnp.array([1.0, 3.0])), [1, 1])


def test_functions_of_the_user():
    def by_ranks(scores, *, where, segments, key):
        return M.ranks(scores, where=where, segments=segments, key=key)

    def first(a, n=None, segments=None):  # as Rax's: without a mask
        return M.cutoff(a, n, segments=segments)

    scores, labels, where = sample(9)
    segments = np.random.default_rng(2).integers(0, 3, size=scores.shape)
    for metric in METRICS:
        for options in ({}, {"segments": segments}):
            want = metric(scores, labels, where=where, topn=3, reduce_fn=None, **options)
            got = metric(scores, labels, where=where, topn=3, reduce_fn=None, rank_fn=by_ranks, **options)
            np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=metric.__name__)
        finite = np.where(np.isfinite(scores), scores, -9).astype(np.float32)
        got = metric(finite, labels, topn=3, cutoff_fn=first)
        np.testing.assert_allclose(got, metric(finite, labels, topn=3), rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    for options, reason in [
        ({"topn": 0}, "invalid_parameter"),
        ({"ties": "random"}, "invalid_parameter"),
        ({"where": np.ones(3, bool)}, "length_mismatch"),
        ({"segments": np.zeros(3, int)}, "length_mismatch"),
        ({"weights": np.ones(5)}, "length_mismatch"),
    ]:
        with pytest.raises(LearnError) as caught:
            M.ndcg_metric(S, Y, **options)
        assert caught.value.reason == reason
    with pytest.raises(LearnError, match=r"labels has shape \(3,\), the scores have shape \(4,\)"):
        M.mrr_metric(S, Y[:3])
    with pytest.raises(LearnError, match="one number"):
        M.mrr_metric(jnp.asarray(1.0), jnp.asarray(1.0))
    with pytest.raises(LearnError, match="weights have no meaning"):
        M.mrr_metric(S, Y, weights=Y, ties="average")
    with pytest.raises(TypeError, match="topn"):
        M.mrr_metric(S, Y, topn=1.5)
    with pytest.raises(TypeError, match="list"):
        M.mrr_metric([1.0], Y)


def letor(path):
    """Labels, query ids and feature 39 of a LETOR file."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    features = [dict(pair.split(":") for pair in row[2:] if ":" in pair and pair[0].isdigit()) for row in rows]
    return (
        np.array([float(r[0]) for r in rows], np.float32),
        np.array([int(r[1].split(":")[1]) for r in rows]),
        np.array([float(f.get("39", 0)) for f in features], np.float32),
    )


@pytest.mark.data
def test_published_letor_values(data_dir):
    labels, query, scores = letor(data_dir / "ltr" / "mq2008_fold1" / "test.txt")
    table = {
        M.default_discount_fn: {1: 0.2970, 2: 0.3413, 3: 0.3636, 5: 0.4001, 10: 0.4540},
        M.letor_discount_fn: {1: 0.2970, 2: 0.3654, 3: 0.3902, 5: 0.4269, 10: 0.4784},
    }
    for discount_fn, row in table.items():
        for k, want in row.items():
            got = M.ndcg_metric(scores, labels, segments=query, topn=k, discount_fn=discount_fn)
            assert round(float(got), 4) == want


@pytest.mark.parametrize("n", [96, 101])
def test_first_items_of_long_lists(n):
    from jrank.metrics._ranking import _retrieved_score
    from jrank.metrics._top import _grouped

    rng = np.random.default_rng(n)
    few = rng.integers(-1, 3, (6, n)).astype(np.float32)
    many = rng.normal(size=(6, n)).astype(np.float32)
    where = rng.random((6, n)) < 0.6
    where[5] = False
    run = jax.jit(lambda s, w: _grouped((s, w), _retrieved_score, 3))
    for scores in (few, many, np.where(rng.random((6, n)) < 0.9, np.nan, many), np.where(few == 0, -0.0, few)):
        value, place = map(np.asarray, run(scores, where))
        clean = np.where(where & ~np.isnan(scores), scores, -np.inf)
        order = np.argsort(-clean, axis=-1, kind="stable")[:, :3]
        np.testing.assert_array_equal(value, np.take_along_axis(clean, order, -1))
        real = np.isfinite(value)
        np.testing.assert_array_equal(place[real], order[real])
