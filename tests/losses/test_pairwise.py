"""Pairwise losses against all pairs written out in NumPy, by every method and normalisation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from jrank.errors import LearnError

S = np.array([2.0, 1.0, 3.0, 0.5], np.float32)
Y = np.array([2.0, 0.0, 1.0, 0.0], np.float32)

PAIR_LOSSES = {
    L.pairwise_hinge_loss: lambda x, dy: (np.maximum(0, 1 - x), dy > 0),
    L.pairwise_logistic_loss: lambda x, dy: (np.logaddexp(0, -x), dy > 0),
    L.pairwise_soft_zero_one_loss: lambda x, dy: (1 / (1 + np.exp(x)), dy > 0),
    L.pairwise_mse_loss: lambda x, dy: ((x - dy) ** 2, dy == dy),
    L.pairwise_qr_loss: lambda x, dy: (0.5 * np.maximum(0, dy - x) + 0.5 * np.maximum(0, x - dy), dy > 0),
}
LOSSES = list(PAIR_LOSSES)
named = pytest.mark.parametrize("loss", LOSSES, ids=lambda fn: fn.__name__)
# Where compiling takes long: one ordered and one unordered loss, the others in the full run.
QUICK = (L.pairwise_logistic_loss, L.pairwise_mse_loss)
few = pytest.mark.parametrize(
    "loss",
    [pytest.param(loss, id=loss.__name__, marks=() if loss in QUICK else pytest.mark.slow) for loss in LOSSES],
)


def all_pairs(loss, s, y, w=None, lam=1.0):
    """Losses of all pairs of one list in float64, and which count."""
    s, y = s.astype(float), y.astype(float)
    values, counts = PAIR_LOSSES[loss](s[:, None] - s[None, :], y[:, None] - y[None, :])
    return values * counts * lam * (1.0 if w is None else w.astype(float)[:, None]), counts


@functools.cache
def jitted(loss, grad=False, **options):
    fn = functools.partial(loss, **options)
    return jax.jit(jax.value_and_grad(fn)) if grad else jax.jit(fn)


def sample(seed, shape=(3, 37)):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=shape).astype(np.float32)
    labels = rng.integers(0, 4, size=shape).astype(np.float32)
    return scores, labels, rng.random(shape) < 0.8, rng.random(shape).astype(np.float32)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Tiles of 16 x 16, so that lists of 37 items need several."""
    monkeypatch.setattr("jrank.losses._pairs.TILE_ITEMS", 3 * 16 * 16)


@pytest.mark.parametrize(
    ("loss", "value", "grad"),
    [
        (L.pairwise_hinge_loss, 0.4, [-0.2, 0, 0.2, 0]),
        (L.pairwise_logistic_loss, 0.4067509, [-0.2364851, 0.0776289, 0.1071995, 0.0516567]),
        (L.pairwise_soft_zero_one_loss, 0.2754973, [-0.1084741, 0.0603211, 0.0043029, 0.04385]),
        (L.pairwise_mse_loss, 1.09375, [-0.875, 0.125, 1.125, -0.375]),
        (L.pairwise_qr_loss, 0.6, [-0.3, 0, 0.3, 0]),
    ],
)
def test_known_values(loss, value, grad):
    for method in ("auto", "blocked", "dense"):
        got = jitted(loss, grad=True, method=method)(S, Y)
        np.testing.assert_allclose(got[0], value, rtol=1e-6)
        np.testing.assert_allclose(got[1], grad, atol=1e-6)


@named
@pytest.mark.parametrize("method", ["auto", "dense"])
def test_random_lists(loss, method):
    scores, labels, where, weights = sample(0)
    pairs = [all_pairs(loss, s[m], y[m], w[m]) for s, y, m, w in zip(scores, labels, where, weights, strict=True)]
    total, number = (np.array([x[i].sum() for x in pairs]) for i in (0, 1))
    options = {"where": where, "weights": weights}
    np.testing.assert_allclose(
        jitted(loss, method=method)(scores, labels, **options), total.sum() / number.sum(), rtol=1e-5
    )
    for reduce_fn, normalize, want in [
        (None, "pairs", total),
        (None, "list", total / number),
        (jnp.sum, "pairs", total.sum()),
        (jnp.mean, "list", np.mean(total / number)),
    ]:
        got = jitted(loss, method=method, reduce_fn=reduce_fn, normalize=normalize)(scores, labels, **options)
        np.testing.assert_allclose(got, want, rtol=1e-5)


@few
def test_gradients_of_scores_labels_and_weights(loss, x64):
    scores, labels, where, weights = sample(1, (1, 37))
    args = tuple(a.astype(np.float64) for a in (scores, labels + 0.01 * np.arange(37), weights))

    def fn(method, s, y, w):
        return loss(s, y, weights=w, where=where, method=method, reduce_fn=jnp.sum)

    dense, blocked = (jax.jit(jax.grad(functools.partial(fn, m), argnums=(0, 1, 2))) for m in ("dense", "blocked"))
    want, got = dense(*args), blocked(*args)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    v = np.random.default_rng(2).normal(size=(1, 37))
    value = jax.jit(lambda s: fn("blocked", s, *args[1:]))
    h = 1e-6
    numeric = (value(args[0] + h * v) - value(args[0] - h * v)) / (2 * h)
    np.testing.assert_allclose(np.sum(got[0] * v), numeric, rtol=1e-6)


@pytest.mark.parametrize("loss", [L.pairwise_logistic_loss, L.pairwise_soft_zero_one_loss, L.pairwise_mse_loss])
def test_second_derivatives(loss, x64):
    scores, labels, where, _ = sample(2, (1, 21))
    scores[0, 3] = scores[0, 4]  # where |x| has a kink that the loss has not
    s, v = scores.astype(np.float64), np.random.default_rng(3).normal(size=(1, 21))

    def hvp(method):
        fn = jax.grad(lambda s: loss(s, labels, where=where, method=method))
        return jax.jit(lambda s: jax.jvp(fn, (s,), (v,))[1])(s)

    def reverse_hvp(method):
        fn = jax.grad(lambda s: loss(s, labels, where=where, method=method))
        return jax.jit(jax.grad(lambda s: jnp.sum(fn(s) * v)))(s)

    np.testing.assert_allclose(hvp("blocked"), hvp("dense"), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(reverse_hvp("blocked"), hvp("dense"), rtol=1e-9, atol=1e-12)


@few
def test_segments_equal_lists(loss):
    scores, labels, where, weights = sample(3)
    segments = np.random.default_rng(4).integers(2, 6, size=scores.shape)
    options = {"where": where, "weights": weights, "segments": segments}
    want = jitted(loss, grad=True, method="dense", reduce_fn=jnp.sum)(scores, labels, **options)[1]
    for method in ("blocked", "dense"):
        got, grad = jitted(loss, grad=True, method=method, reduce_fn=jnp.sum)(scores, labels, **options)
        rows = np.asarray(jitted(loss, method=method, reduce_fn=None)(scores, labels, **options))
        total = 0.0
        for b in range(3):
            for one in np.unique(segments[b]):
                mine = where[b] & (segments[b] == one)
                if mine.any():
                    part = all_pairs(loss, scores[b, mine], labels[b, mine], weights[b, mine])[0].sum()
                    np.testing.assert_allclose(rows[b, np.flatnonzero(mine)[0]], part, rtol=1e-5, atol=1e-6)
                    total += part
        np.testing.assert_allclose(got, total, rtol=1e-5)
        np.testing.assert_allclose(got, rows.sum(), rtol=1e-5)
        np.testing.assert_allclose(grad, want, rtol=1e-4, atol=1e-5)


@named
def test_what_is_masked_never_matters(loss):
    scores, labels, _, _ = sample(5, (2, 20))
    junk = np.array([[np.nan, np.inf, -np.inf, 1e30], [0, np.nan, 2, 9]], np.float32)
    where = np.broadcast_to(np.arange(24) < 20, (2, 24))
    run = jitted(loss, grad=True)
    loud = run(np.hstack([scores, junk]), np.hstack([labels, junk[::-1]]), where=where)
    quiet = run(np.hstack([scores, 0 * labels[:, :4]]), np.hstack([labels, 0 * labels[:, :4]]), where=where)
    for a, b in zip(loud, quiet, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.all(np.asarray(loud[1])[:, 20:] == 0)
    np.testing.assert_allclose(loud[0], jitted(loss)(scores, labels), rtol=1e-5)
    value, grad = run(scores, labels, where=np.zeros((2, 20), bool))
    assert value == 0
    assert np.all(np.asarray(grad) == 0)


def test_infinite_scores():
    scores = np.array([2.0, -np.inf, 3.0, 0.5], np.float32)
    where = np.array([1, 0, 1, 1])
    value, grad = jitted(L.pairwise_logistic_loss, grad=True)(scores, Y, where=where)
    np.testing.assert_allclose(value, 0.5311882, rtol=1e-6)
    np.testing.assert_allclose(grad, [-0.3044947, 0, 0.2184001, 0.0860946], atol=1e-6)
    np.testing.assert_allclose(L.pairwise_hinge_loss(scores, Y, where=where), 2 / 3, rtol=1e-6)
    # Not retrieved and not relevant: pairs that are right beyond doubt.
    for loss, want in {L.pairwise_hinge_loss: 0.4, L.pairwise_logistic_loss: 0.3187129}.items():
        value, grad = jitted(loss, grad=True)(scores, Y)
        np.testing.assert_allclose(value, want, rtol=1e-6)
        assert grad[1] == 0
        assert np.isfinite(grad).all()
        # Not retrieved and relevant.
        bad = np.array([-np.inf, 1.0, 3.0, -np.inf], np.float32)
        value, grad = jitted(loss, grad=True)(bad, Y)
        assert value == np.inf
        assert not np.isnan(grad).any()
    huge = np.array([1e4, -1e4, 3e4, 0.0], np.float32)
    np.testing.assert_allclose(L.pairwise_logistic_loss(huge, Y), 4000)


LAMBDA_WEIGHTS = {
    "labeldiff": (L.labeldiff_lambdaweight, [[0, 2, 1, 2], [2, 0, 1, 0], [1, 1, 0, 1], [2, 0, 1, 0]]),
    "dcg": (
        L.dcg_lambdaweight,
        [
            [0, 1.5711572, 2.9525619, 2.4030383],
            [1.5711572, 0, 2, 0],
            [2.9525619, 2, 0, 2.2772937],
            [2.4030383, 0, 2.2772937, 0],
        ],
    ),
    "dcg normalised": (
        functools.partial(L.dcg_lambdaweight, normalize=True),
        [
            [0, 0.4327148, 0.8131696, 0.6618245],
            [0.4327148, 0, 0.5508231, 0],
            [0.8131696, 0.5508231, 0, 0.627193],
            [0.6618245, 0, 0.627193, 0],
        ],
    ),
    "dcg at 2": (
        functools.partial(L.dcg_lambdaweight, topn=2),
        [
            [0, 7.5711575, 2.9525619, 7.5711575],
            [7.5711575, 0, 4, 0],
            [2.9525619, 4, 0, 4],
            [7.5711575, 0, 4, 0],
        ],
    ),
    "dcg2": (
        L.dcg2_lambdaweight,
        [
            [0, 4.4288425, 2.9525619, 1.5711572],
            [4.4288425, 0, 0.5237191, 0],
            [2.9525619, 0.5237191, 0, 0.2772937],
            [1.5711572, 0, 0.2772937, 0],
        ],
    ),
    "dcg2 at 2": (
        functools.partial(L.dcg2_lambdaweight, topn=2),
        [
            [0, 8.857685, 2.9525619, 2.759692],
            [8.857685, 0, 1.0474381, 0],
            [2.9525619, 1.0474381, 0, 0.4870583],
            [2.759692, 0, 0.4870583, 0],
        ],
    ),
}


@pytest.mark.parametrize("name", LAMBDA_WEIGHTS)
def test_lambda_weights(name):
    fn, matrix = LAMBDA_WEIGHTS[name]
    matrix = np.array(matrix)
    np.testing.assert_allclose(fn(S, Y), matrix.reshape(-1), rtol=1e-5, atol=1e-6)
    want = all_pairs(L.pairwise_logistic_loss, S, Y, lam=matrix)[0].sum() / 5

    def whole(*args, **options):  # a callable that jrank knows nothing of
        return fn(*args, **options)

    results = [
        jitted(L.pairwise_logistic_loss, grad=True, lambdaweight_fn=weight, method=method)(S, Y)
        for weight, method in ((fn, "blocked"), (fn, "dense"), (whole, "auto"))
    ]
    for value, grad in results:
        np.testing.assert_allclose(value, want, rtol=1e-5)
        np.testing.assert_allclose(grad, results[1][1], rtol=1e-5, atol=1e-6)
    # Padding changes nothing.
    where = np.arange(8) < 4
    wide = np.hstack([S, np.full(4, np.nan, np.float32)]), np.hstack([Y, np.full(4, 9, np.float32)])
    padded = np.asarray(fn(*wide, where=where)).reshape(8, 8)
    np.testing.assert_allclose(padded[:4, :4], matrix, rtol=1e-5, atol=1e-6)
    assert np.all(padded[4:] == 0)
    value, grad = jitted(L.pairwise_logistic_loss, grad=True, lambdaweight_fn=fn)(*wide, where=where)
    np.testing.assert_allclose(value, want, rtol=1e-5)


def test_lambda_weights_with_weights_and_segments():
    scores, labels, where, weights = sample(6)
    segments = np.random.default_rng(5).integers(0, 3, size=scores.shape)
    options = {"where": where, "weights": weights, "segments": segments}
    for fn in (functools.partial(L.dcg2_lambdaweight, topn=5, normalize=True),):
        blocked, dense = (
            jitted(L.pairwise_hinge_loss, grad=True, lambdaweight_fn=fn, method=m)(scores, labels, **options)
            for m in ("blocked", "dense")
        )
        np.testing.assert_allclose(blocked[0], dense[0], rtol=1e-5)
        np.testing.assert_allclose(blocked[1], dense[1], rtol=1e-4, atol=1e-6)
        one = where[0] & (segments[0] == 1)
        lists = fn(scores[0], labels[0], where=one, weights=weights[0])
        matrix = fn(scores[0], labels[0], where=where[0], weights=weights[0], segments=segments[0]).reshape(37, 37)
        np.testing.assert_allclose(matrix[np.ix_(one, one)], lists.reshape(37, 37)[np.ix_(one, one)], rtol=1e-5)


def test_the_matrix_and_reductions_of_the_user():
    values = L.pairwise_logistic_loss(S, Y, pairs=True)
    want, counts = all_pairs(L.pairwise_logistic_loss, S, Y)
    np.testing.assert_allclose(values, want.reshape(-1), rtol=1e-6)
    got = L.pairwise_logistic_loss(S, Y, reduce_fn=lambda a, where: jnp.max(a, where=where, initial=0))
    np.testing.assert_allclose(got, want.max(), rtol=1e-6)
    both = L.pairwise_logistic_loss(
        np.stack([S, S]), np.stack([Y, Y]), normalize="list", reduce_fn=lambda a: jnp.prod(a)
    )
    np.testing.assert_allclose(both, 0.4067509**2, rtol=1e-5)

    def mine(x, dy):
        return jnp.square(x), dy > 0

    x = S[:, None] - S[None, :]
    got = L.pairwise_loss(S, Y, pair_loss_fn=mine, lambdaweight_fn=L.labeldiff_lambdaweight)
    lam = np.abs(Y[:, None] - Y[None, :])
    np.testing.assert_allclose(got, np.sum(x**2 * lam * counts) / counts.sum(), rtol=1e-6)


def test_quantile():
    u = (S[:, None] - S[None, :]) - (Y[:, None] - Y[None, :])
    counts = Y[:, None] > Y[None, :]
    for method in ("blocked", "dense"):
        got = L.pairwise_qr_loss(S, Y, tau=0.8, squared=True, method=method)
        want = np.where(u < 0, 0.8 * u**2, 0.2 * u**2)[counts].mean()
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_batch_equals_vmap_and_half_types():
    scores, labels, where, _ = sample(7)
    run = jitted(L.pairwise_logistic_loss, reduce_fn=None)
    want = run(scores, labels, where=where)
    got = jax.jit(jax.vmap(lambda s, y, m: L.pairwise_logistic_loss(s, y, where=m, reduce_fn=None)))(
        scores, labels, where
    )
    np.testing.assert_allclose(got, want, rtol=1e-5)
    half, grad = jitted(L.pairwise_logistic_loss, grad=True)(jnp.asarray(S, jnp.bfloat16), Y)
    assert half.dtype == grad.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), 0.4067509, rtol=2**-8)
    for loss in LOSSES:
        assert loss(np.zeros((2, 0), np.float32), np.zeros((2, 0), np.float32)) == 0
        assert loss(S, Y.astype(int), where=np.array([0, 0, 0, 1]), method="blocked") == 0


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    for options in ({"normalize": "batch"}, {"method": "quick"}, {"method": "blocked", "pairs": True}):
        with pytest.raises(LearnError) as caught:
            L.pairwise_hinge_loss(S, Y, **options)
        assert caught.value.reason == "invalid_parameter"
    with pytest.raises(LearnError, match="tau"):
        L.pairwise_qr_loss(S, Y, tau=0.0)
    with pytest.raises(LearnError, match="topn"):
        L.dcg_lambdaweight(S, Y, topn=0)


def test_pointwise_losses():
    value, grad = jax.value_and_grad(L.pointwise_sigmoid_loss)(jnp.asarray(S), Y)
    np.testing.assert_allclose(value, 0.6157135, rtol=1e-6)
    np.testing.assert_allclose(grad, [-0.0298007, 0.1827646, -0.0118565, 0.1556148], atol=1e-6)
    value, grad = jax.value_and_grad(L.pointwise_mse_loss)(jnp.asarray(S), Y)
    np.testing.assert_allclose(value, 1.3125)
    np.testing.assert_allclose(grad, [0, 0.5, 1, 0.25], atol=1e-7)
    where = np.array([1, 1, 0, 1])
    np.testing.assert_allclose(L.pointwise_sigmoid_loss(S, Y, where=where), 0.8047555, rtol=1e-6)
    infinite = jnp.array([2.0, -jnp.inf, 3.0, 0.5])
    value, grad = jax.value_and_grad(L.pointwise_sigmoid_loss)(infinite, Y)
    np.testing.assert_allclose(value, 0.3831975 * 3 / 4, rtol=1e-6)
    assert np.isfinite(grad).all()
    for loss in (L.pointwise_sigmoid_loss, L.pointwise_mse_loss):
        junk = jnp.array([2.0, jnp.nan, 3.0, jnp.inf])
        keep = np.array([True, False, True, False])
        value, grad = jax.value_and_grad(loss)(junk, junk, where=keep)
        np.testing.assert_allclose(value, loss(S[keep], S[keep]), rtol=1e-6)
        assert np.all(np.asarray(grad)[~keep] == 0)
        assert loss(S, Y, where=np.zeros(4, bool)) == 0
        assert loss(S, Y, reduce_fn=None).shape == (4,)
        weighted = loss(S, Y, weights=np.array([2.0, 0, 0, 0], np.float32), reduce_fn=jnp.sum)
        np.testing.assert_allclose(weighted, 2 * loss(S, Y, reduce_fn=None)[0], rtol=1e-6)


@pytest.mark.parametrize("loss", [L.pairwise_hinge_loss, L.pairwise_qr_loss])
@pytest.mark.parametrize("segmented", [False, True])
def test_sums_by_sorting_equal_all_pairs(loss, segmented):
    scores, labels, where, weights = sample(8)
    scores[:, :6] = np.round(scores[:, :6])  # ties, and pairs at the kink
    segments = np.random.default_rng(5).integers(0, 3, size=scores.shape) if segmented else None

    def run(method):
        def fn(s, y, w):
            return loss(s, y, weights=w, where=where, segments=segments, method=method, reduce_fn=jnp.sum)

        return jax.jit(jax.value_and_grad(fn, (0, 1, 2)))(scores, labels, weights)

    dense, quick = run("dense"), run("sorted")
    np.testing.assert_allclose(quick[0], dense[0], rtol=1e-5)
    for a, b in zip(quick[1], dense[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", [L.pairwise_hinge_loss, L.pairwise_logistic_loss, L.pairwise_mse_loss])
@pytest.mark.parametrize("segmented", [False, True])
def test_sampled_pairs_have_no_bias(loss, segmented):
    scores, labels, where, weights = sample(9)
    options = {"where": where, "weights": weights, "reduce_fn": None}
    if segmented:
        options["segments"] = np.random.default_rng(5).integers(0, 3, size=scores.shape)
    if loss is L.pairwise_logistic_loss:
        options["lambdaweight_fn"] = L.dcg_lambdaweight

    def fn(s, key):
        values = loss(s, labels, method="sampled", key=key, num_pairs=64, **options)
        return jnp.sum(values), values

    run = jax.jit(jax.vmap(jax.value_and_grad(fn, has_aux=True), (None, 0)))
    (_, values), grads = run(scores, jax.random.split(jax.random.key(0), 1000))
    want = loss(scores, labels, method="dense", **options)
    slope = jax.grad(lambda s: jnp.sum(loss(s, labels, method="dense", **options)))(jnp.asarray(scores))
    for got, mean in ((np.asarray(values), want), (np.asarray(grads), slope)):
        assert np.all(np.abs(got.mean(0) - mean) <= 5 * got.std(0) / np.sqrt(1000) + 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss", [L.softmax_loss, L.listmle_loss, L.unique_softmax_loss, L.pairwise_hinge_loss, L.pairwise_mse_loss]
)
def test_a_list_of_a_million_items(loss):
    scores = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    labels = (np.arange(1_000_000) % 5).astype(np.float32)
    run = jax.jit(jax.value_and_grad(loss)).lower(scores, labels).compile()
    assert run.memory_analysis().temp_size_in_bytes < 1e9
    value, grad = run(scores, labels)
    assert np.isfinite(value)
    assert np.isfinite(grad).all()
