"""Lambda weights: what a swap changes in a metric, rows, and the losses made of them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import losses as L
from tests.losses.oracles import ap, err, ev, mrr, ndcg, sample, softplus

METRICS = {
    "mrr": (L.mrr_lambdaweight, mrr, 1),
    "mrr@3": (functools.partial(L.mrr_lambdaweight, topn=3), functools.partial(mrr, k=3), 1),
    "ap": (L.ap_lambdaweight, ap, 1),
    "err": (L.err_lambdaweight, err, 1),
    "precision@4": (functools.partial(L.precision_lambdaweight, topn=4), lambda y: np.sum(y[:4] >= 1) / 4, 1),
    # Those of DCG have the number of items as a factor, as in Rax.
    "ndcg": (functools.partial(L.dcg_lambdaweight, normalize=True), ndcg, 9),
    "ndcg@3": (functools.partial(L.dcg_lambdaweight, normalize=True, topn=3), functools.partial(ndcg, k=3), 9),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_lambda_weight_is_the_change_of_its_metric(name):
    fn, metric, factor = METRICS[name]
    weigh = jax.jit(fn)
    for seed in range(4):
        s, y = sample(seed)
        where = np.arange(11) != 3
        where[7] = False
        y = y if seed else (y * 0 + (np.arange(11) == 5)).astype(np.float32)
        matrix = np.asarray(weigh(s, y, where=where)).reshape(11, 11)
        valid = np.flatnonzero(where)
        order = valid[np.argsort(-s[valid])]
        place = {item: r for r, item in enumerate(order)}
        for i, j in itertools.combinations(valid, 2):
            swapped = order.copy()
            swapped[[place[i], place[j]]] = j, i
            want = factor * abs(metric(y[swapped].astype(float)) - metric(y[order].astype(float)))
            if y[i] != y[j]:
                np.testing.assert_allclose([matrix[i, j], matrix[j, i]], want, rtol=1e-4, atol=1e-5)
        assert np.all(matrix[~where] == 0)
        assert np.all(matrix[:, ~where] == 0)


WEIGHTS = [getattr(L, name) for name in L.__all__ if name.endswith("_lambdaweight")]


@pytest.mark.parametrize("fn", WEIGHTS, ids=lambda fn: fn.__name__)
def test_properties_of_every_lambda_weight(fn):
    s, y = (np.stack(two) for two in zip(sample(0), sample(1), strict=True))
    where, segments = np.arange(11)[None] != np.array([[3], [5]]), np.broadcast_to(np.arange(11) % 2, (2, 11))

    @jax.jit
    def weigh(s, y, where, segments):
        options = {"where": where, "segments": segments}
        matrix, pull = jax.vjp(lambda s: fn(s, y, **options).reshape(2, 11, 11), s)
        slope = pull(jnp.ones_like(matrix))[0]
        return matrix, fn.rows(np.array([0, 3, 7]), s, y, **options), fn.rows(2, s, y, **options), slope

    matrix, rows, row, slope = weigh(s, y, where, segments)
    assert np.isfinite(matrix).all()
    assert np.all(np.asarray(matrix) >= 0)
    assert np.all(np.asarray(slope) == 0)
    # Pairs of two lists, and with a masked item, have no weight.
    counts = where[:, :, None] & where[:, None, :] & (segments[:, :, None] == segments[:, None, :])
    assert np.all(np.asarray(matrix)[~counts] == 0)
    # Rows are those of the matrix.
    np.testing.assert_allclose(rows, matrix[:, [0, 3, 7]], rtol=1e-6)
    np.testing.assert_allclose(row[:, 0], matrix[:, 2], rtol=1e-6)
    # What stands at a masked place never matters.
    loud, *_ = weigh(np.where(where, s, np.nan), np.where(where, y, np.inf), where, segments)
    np.testing.assert_array_equal(loud, matrix)
    # Nor does the order of the items.
    order = np.random.default_rng(0).permutation(11)
    moved, *_ = weigh(s[:, order], y[:, order], where[:, order], segments[:, order])
    np.testing.assert_allclose(moved, matrix[:, order][:, :, order], rtol=1e-5, atol=1e-6)
    nothing, *_ = weigh(s, y, np.zeros_like(where), segments)
    assert np.all(np.asarray(nothing) == 0)


def test_pairs_in_both_directions():
    s, y = sample(2)
    loss = softplus(-(s[:, None] - s[None, :])) * ~np.eye(11, dtype=bool)
    for method in ("auto", "dense"):
        np.testing.assert_allclose(
            ev(L.arp1_loss, s, y, all_pairs=True, method=method), np.sum(y[:, None] * loss), rtol=1e-5
        )


def test_sigma_scales_scores():
    s, y = sample(3)
    np.testing.assert_allclose(ev(L.ndcg2_loss, s, y, sigma=2.0), L.ndcg2_loss(2 * s, y), rtol=1e-6)
