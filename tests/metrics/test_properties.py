"""What every metric keeps, as one table, and the values of the metrics against definitions written out list by list."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import metrics as M
from jrank import transforms as T

# Each metric with the options of a cut-off, where it has one.
TABLE = {
    M.ap_metric: {"topn": 3},
    M.arp_metric: {},
    M.bpref_metric: {},
    M.dcg_metric: {"topn": 3},
    M.err_metric: {"topn": 3},
    M.f_metric: {"topn": 3},
    M.hits_metric: {"topn": 3},
    M.infap_metric: {},
    M.judged_metric: {"topn": 3},
    M.kendall_metric: {},
    M.mrr_metric: {"topn": 3},
    M.ndcg_metric: {"topn": 3},
    M.opa_metric: {},
    M.precision_metric: {"topn": 3},
    M.q_metric: {"topn": 3},
    M.rbo_metric: {},
    M.rbp_metric: {"topn": 3},
    M.recall_metric: {"topn": 3},
    M.rprec_metric: {},
    M.success_metric: {"topn": 3},
    M.tau_ap_metric: {},
}
every = pytest.mark.parametrize("metric", TABLE, ids=lambda m: m.__name__)
KEY = jax.random.key(0)
# Equal scores of these are in a random order, or are counted as such: nothing depends on the order of the input.
BY_SCORES_ALONE = {M.kendall_metric, M.opa_metric, M.tau_ap_metric}


@functools.cache
def run_of(metric):
    def run(scores, labels, where, segments=None):
        return metric(scores, labels, where=where, segments=segments, reduce_fn=None, **TABLE[metric])

    return jax.jit(run)


@functools.cache
def loss_of(metric):
    def run(scores, labels, where):
        return T.approx_t12n(metric)(scores, labels, where=where, **TABLE[metric])

    return jax.jit(jax.value_and_grad(run))


def sample(seed, *, ties=False):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.broadcast_to(np.arange(9, dtype=np.float32), (3, 9)), axis=1)
    scores = np.floor(scores / 3) if ties else scores
    scores[rng.random((3, 9)) < 0.15] = -np.inf
    labels = rng.integers(0, 4, (3, 9)).astype(np.float32) * (rng.random((3, 9)) < 0.7).astype(np.float32)
    return scores, labels, rng.random((3, 9)) < 0.8


def test_the_table_is_whole():
    assert {m for m in map(M.__dict__.get, M.__all__) if m.__name__.endswith("_metric")} == set(TABLE)


@every
def test_exact_values_keep_the_rules(metric):
    run = run_of(metric)
    scores, labels, where = sample(0)
    want = np.asarray(run(scores, labels, where))
    assert np.isfinite(want).all()
    # What is masked never matters, bit by bit.
    junk = np.where(where, scores, np.nan).astype(np.float32), np.where(where, labels, np.inf).astype(np.float32)
    np.testing.assert_array_equal(run(*junk, where), want)
    # The order of the input never matters where no two scores are equal.
    distinct = np.where(np.isfinite(scores), scores, np.arange(9, dtype=np.float32) - 99)
    turn = np.random.default_rng(1).permutation(9)
    turned = run(distinct[:, turn], labels[:, turn], where[:, turn])
    np.testing.assert_allclose(turned, run(distinct, labels, where), rtol=1e-6, atol=1e-7)
    # Nothing valid, no label, nothing retrieved.
    assert np.all(np.asarray(run(scores, labels, np.zeros_like(where))) == 0)
    nothing = np.asarray(run(scores, np.zeros_like(labels), where))
    assert np.isfinite(nothing).all()
    if metric not in (M.judged_metric, M.rbo_metric, M.tau_ap_metric):
        assert np.all(nothing == 0)
    assert np.isfinite(np.asarray(run(np.full_like(scores, -np.inf), labels, where))).all()
    # NaN ranks as -inf.
    np.testing.assert_allclose(run(np.where(scores == -np.inf, np.nan, scores), labels, where), want, rtol=1e-6)


@every
def test_segments_are_lists(metric):
    run = run_of(metric)
    scores, labels, where = sample(2, ties=metric in BY_SCORES_ALONE)
    segments = np.random.default_rng(3).integers(4, 7, scores.shape)
    got = np.asarray(run(scores, labels, where, segments))
    want = np.zeros_like(got)
    for one in np.unique(segments):
        mine = where & (segments == one)
        values = np.asarray(run(scores, labels, mine))
        for b in np.flatnonzero(mine.any(axis=1)):
            want[b, np.flatnonzero(mine[b])[0]] = values[b]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@every
def test_a_batch_is_its_lists(metric):
    scores, labels, where = sample(4)
    batch = np.asarray(run_of(metric)(scores, labels, where))
    single = jax.jit(jax.vmap(lambda s, y, w: metric(s, y, where=w, **TABLE[metric])))(scores, labels, where)
    np.testing.assert_allclose(single, batch, rtol=1e-6, atol=1e-7)
    # Lists without a valid item are left out of the mean.
    where[1] = False
    reduced = jax.jit(lambda s, y, w: metric(s, y, where=w, **TABLE[metric]))
    mean = reduced(scores, labels, where)
    np.testing.assert_allclose(mean, batch[[0, 2]].mean(), rtol=1e-6, atol=1e-7)
    # Half types are computed in float32: integers and halves are exact in them.
    half = reduced(scores.astype(jnp.bfloat16), labels.astype(jnp.bfloat16), where)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, mean, rtol=1e-6, atol=1e-7)


@every
def test_as_a_loss(metric):
    """Every metric goes through approx_t12n: a useful gradient, 0 at masked places and blind to what stands there."""
    loss = loss_of(metric)
    scores, labels, where = sample(5)
    near = np.where(np.isfinite(scores), scores * 0.3, scores).astype(np.float32)
    value, grad = loss(near, labels, where)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()
    assert np.all(np.asarray(grad)[~where] == 0)
    if metric is not M.judged_metric:  # every item here was judged: nothing can be won
        assert np.abs(grad).max() > 1e-4
    junk = np.where(where, near, np.nan).astype(np.float32), np.where(where, labels, np.inf).astype(np.float32)
    again, same = loss(*junk, where)
    np.testing.assert_array_equal(again, value)
    np.testing.assert_array_equal(same, grad)
    value, grad = loss(near, labels, np.zeros_like(where))
    assert value == 0
    assert np.all(np.asarray(grad) == 0)
    with jax.debug_nans(True):
        _, grad = loss(np.full_like(near, -np.inf), labels, where)
        assert np.all(np.asarray(grad) == 0)


@every
def test_small_temperatures_are_exact(metric):
    scores, labels, where = sample(6)
    scores = np.where(np.isfinite(scores), scores, -np.arange(1, 10, dtype=np.float32))
    options = {"reduce_fn": None, **TABLE[metric]}
    got = jax.jit(lambda s, y, w: T.approx_t12n(metric, 1e-3)(s, y, where=w, **options))(scores, labels, where)
    np.testing.assert_allclose(got, -np.asarray(run_of(metric)(scores, labels, where)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["l2", "kl", "laplace", "softsort", "neuralsort", "network", "odd_even"])
def test_every_method_is_exact_at_small_temperatures(method):
    scores, labels, where = sample(7)
    scores = np.where(np.isfinite(scores), scores, -np.arange(1, 10, dtype=np.float32))
    for metric in (M.ndcg_metric, M.bpref_metric):
        loss = T.approx_t12n(metric, 1e-3, method=method)
        got = jax.jit(functools.partial(loss, reduce_fn=None, **TABLE[metric]))(scores, labels, where=where)
        np.testing.assert_allclose(got, -np.asarray(run_of(metric)(scores, labels, where)), rtol=1e-5, atol=1e-6)


@every
def test_as_a_bound_and_with_noise(metric):
    # Different scores and labels: noise comes with a key, which orders ties at random.
    scores, _, where = sample(8)
    scores = np.where(np.isfinite(scores), scores, -np.arange(1, 10, dtype=np.float32))
    labels = np.random.default_rng(8).permuted(np.broadcast_to(np.arange(-3, 6, dtype=np.float32) / 2, (3, 9)), axis=1)
    options = {"reduce_fn": None, **TABLE[metric]}
    noisy = T.gumbel_t12n(metric, samples=2, beta=1e-6)

    @jax.jit
    def run(s, y, w):
        bound, quiet = T.bound_t12n(metric)(s, y, where=w, **options), noisy(s, y, where=w, key=KEY, **options)
        return bound, quiet, metric(s, y, where=w, **options)

    bound, quiet, exact = map(np.asarray, run(scores, labels, where))
    assert np.isfinite(bound).all()
    # Metrics that fall with every rank are bounded from below; the others are sums or products of such.
    if metric in (M.ndcg_metric, M.dcg_metric, M.mrr_metric, M.precision_metric, M.recall_metric, M.opa_metric):
        assert np.all(-bound <= exact + 1e-6)
    np.testing.assert_allclose(quiet, np.stack([exact, exact]), rtol=1e-5, atol=1e-6)
    assert T.segment_t12n(metric) is metric


# Values -------------------------------------------------------------------------------------------------------------


def q_of(ranked, labels, beta=1.0):
    ideal, count, gain, total = sorted(labels, reverse=True), 0, 0.0, 0.0
    for r, y in enumerate(ranked, 1):
        if y >= 1:
            count, gain = count + 1, gain + y
            total += (count + beta * gain) / (r + beta * sum(y for y in ideal[:r] if y >= 1))
    return total / max(sum(y >= 1 for y in labels), 1)


def infap_of(ranked, labels):
    """The estimator of trec_eval 10.0."""
    good = bad = pooled = 0
    total, eps = 0.0, 1e-5
    for k, y in enumerate(ranked):
        if y >= 1:
            total += (
                1.0
                if k == 0
                else 1 / (k + 1) + k / (k + 1) * (pooled + good + bad) / k * (good + eps) / (good + bad + 2 * eps)
            )
            good += 1
        else:
            bad, pooled = bad + (y >= 0), pooled + (y == -1)
    return total / max(sum(y >= 1 for y in labels), 1)


def tau_ap_of(ranked, labels=None):
    """Of labels that are all different."""
    n = len(ranked)
    agree = [sum(z > y for z in ranked[:r]) / r for r, y in enumerate(ranked) if r]
    return 2 * sum(agree) / (n - 1) - 1


def ranked_by(scores, labels):
    found = scores > -np.inf
    return labels[found][np.argsort(-scores[found], kind="stable")].tolist()


@pytest.mark.parametrize(("metric", "of"), [(M.q_metric, q_of), (M.infap_metric, infap_of)])
def test_random_lists(metric, of):
    rng = np.random.default_rng(9)
    scores, _, where = sample(9)
    labels = rng.integers(-2, 4, scores.shape).astype(np.float32)
    got = metric(scores, labels, where=where, reduce_fn=None)
    want = [of(ranked_by(s[w], y[w]), y[w].tolist()) for s, y, w in zip(scores, labels, where, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(M.q_metric(scores, labels, beta=0.0), M.ap_metric(scores, labels), rtol=1e-6)


def bpref_of(ranked, labels):
    good, bad = sum(y >= 1 for y in labels), sum(0 <= y < 1 for y in labels)
    above = [sum(0 <= z < 1 for z in ranked[:r]) for r, y in enumerate(ranked) if y >= 1]
    return sum(1 - min(a, good) / min(good, bad) if a else 1 for a in above) / good


def err_of(ranked, labels, k=3):
    value, reached = 0.0, 1.0
    for r, y in enumerate(ranked[:k], 1):
        chance = (2.0**y - 1) / 2 ** max(labels) if y > 0 else 0
        value, reached = value + reached * chance / r, reached * (1 - chance)
    return value


@pytest.mark.parametrize(("metric", "of"), [(M.q_metric, q_of), (M.bpref_metric, bpref_of), (M.err_metric, err_of)])
def test_ties_by_enumeration(metric, of):
    scores = np.array([1.0, 0.0, 1.0, 0.0, 1.0, -np.inf], np.float32)
    for labels in ([0.0, 2.0, 1.0, 0.0, 3.0, 1.0], [0.0, 1.0, 1.0, 0.0, 0.0, 2.0]):
        labels = np.array(labels, np.float32)
        orders = [list(p) for p in itertools.permutations(range(6))]
        values = [of(ranked_by(scores[p], labels[p]), labels.tolist()) for p in orders]
        options = {"topn": 3} if metric is M.err_metric else {}
        for ties, want in {"average": np.mean(values), "worst": min(values), "best": max(values)}.items():
            got = jax.jit(functools.partial(metric, ties=ties, **options))(scores, labels)
            np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=ties)
    # Two lists in a row, one after the other within it.
    twice = np.concatenate([scores, scores]), np.concatenate([labels, labels])
    both = metric(*twice, segments=np.repeat([3, 1], 6), ties="average", **options)
    np.testing.assert_allclose(both, np.mean(values), rtol=1e-6)


def test_ap_correlation():
    rng = np.random.default_rng(10)
    scores, labels = rng.permutation(8).astype(np.float32), rng.permutation(8).astype(np.float32)
    np.testing.assert_allclose(M.tau_ap_metric(scores, labels), tau_ap_of(ranked_by(scores, labels)), rtol=1e-6)
    assert M.tau_ap_metric(labels, labels) == 1
    assert M.tau_ap_metric(-labels, labels) == -1
    # Ties, in either order: the mean over all ways to break them.
    scores, labels = np.array([2, 1, 1, 1, 0, 0], np.float32), np.array([1, 3, 3, 0, 0, 2], np.float32)
    values = []
    for p, q in itertools.product(itertools.permutations(range(6)), repeat=2):
        if list(scores[list(p)]) == sorted(scores, reverse=True) and list(labels[list(q)]) == sorted(labels):
            place = np.empty(6)
            place[list(q)] = np.arange(6)
            values.append(tau_ap_of(place[list(p)].tolist()))
    np.testing.assert_allclose(M.tau_ap_metric(scores, labels), np.mean(values), rtol=1e-6, atol=1e-6)


def rbo_of(one, two, p, variant):
    """The sums of Webber, Moffat and Zobel, by sets."""
    one, two = sorted([one, two], key=len)
    s, n = len(one), len(two)
    if not s:
        return 0.0
    common = [len(set(one[:d]) & set(two[:d])) for d in range(n + 1)]
    total = sum(common[d] / d * p**d for d in range(1, n + 1))
    if variant == "min":
        return (1 - p) / p * total
    total += sum(common[s] * (d - s) / (s * d) * p**d for d in range(s + 1, n + 1))
    return (1 - p) / p * total + ((common[n] - common[s]) / n + common[s] / s) * p**n


@pytest.mark.parametrize("variant", ["ext", "min"])
def test_rank_biased_overlap(variant):
    rng = np.random.default_rng(11)
    scores, where = rng.normal(size=(6, 9)).astype(np.float32), rng.random((6, 9)) < 0.8
    labels = rng.normal(size=(6, 9)).astype(np.float32)
    scores[rng.random((6, 9)) < 0.3] = -np.inf
    labels[rng.random((6, 9)) < 0.3] = -np.inf
    run = jax.jit(functools.partial(M.rbo_metric, p=0.8, variant=variant, reduce_fn=None))
    got = run(scores, labels, where=where)

    def order(x, w):
        return [i for i in np.argsort(-x, kind="stable") if w[i] and x[i] > -np.inf]

    want = [rbo_of(order(s, w), order(y, w), 0.8, variant) for s, y, w in zip(scores, labels, where, strict=True)]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    if variant == "ext":
        np.testing.assert_allclose(run(scores, scores, where=where), 1, rtol=1e-6)
