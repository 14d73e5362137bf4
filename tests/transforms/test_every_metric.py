"""Every metric through approx_t12n by every soft rank, and through bound_t12n."""

import functools
import inspect

import jax
import numpy as np
import pytest

from jrank import metrics as M
from jrank import transforms as T
from jrank.errors import SoftError
from jrank.soft._rank import METHODS, SEGMENTED

METRICS = [getattr(M, name) for name in M.__all__ if name.endswith("_metric")]
# ARP grows with the ranks; the others say how items stand among others that may not fall with them.
NOT_BOUNDED = {"arp_metric", "infap_metric", "tau_ap_metric", "judged_metric@3"}
# They rank within groups of labels.
NEED_SEGMENTS = {"kendall_metric", "opa_metric", "tau_ap_metric"}
QUICK = ("l2", "softsort")


def cuts(metric):
    return (None, 3) if "topn" in inspect.signature(metric).parameters else (None,)


# A metric, and at a cut-off where it has one.
FORMS = {
    metric.__name__ + ("@3" if topn else ""): functools.partial(metric, topn=topn) if topn else metric
    for metric in METRICS
    for topn in cuts(metric)
}


def sample(seed, shape):
    """Scores a unit apart, grades from unjudged to 2, and a mask."""
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.broadcast_to(np.arange(shape[1], dtype=np.float32), shape), axis=1)
    where = rng.random(shape) < 0.8
    where[:, 0] = True
    return scores, rng.integers(-1, 3, shape).astype(np.float32), where


@functools.cache
def exact():
    return jax.jit(lambda s, y, m: {name: form(s, y, where=m, reduce_fn=None) for name, form in FORMS.items()})


def approximate(method, names):
    def run(s, y, m):
        return {name: T.approx_t12n(FORMS[name], 1e-6, method=method)(s, y, where=m, reduce_fn=None) for name in names}

    return run


@pytest.mark.parametrize("method", [pytest.param(m, marks=() if m in QUICK else pytest.mark.slow) for m in METHODS])
def test_every_metric_at_small_temperature_is_exact(method):
    lists = sample(0, (5, 7))
    names = set(FORMS) - (set() if method in SEGMENTED else NEED_SEGMENTS)
    want, got = exact()(*lists), jax.jit(approximate(method, sorted(names)))(*lists)
    assert len(got) > 25
    for name, values in got.items():
        np.testing.assert_allclose(values, -np.asarray(want[name]), rtol=1e-4, atol=2e-5, err_msg=name)
    for name in set(FORMS) - names:
        with pytest.raises(SoftError, match="does not take segments"):
            jax.eval_shape(approximate(method, [name]), *lists)


def test_bounds_are_bounds():
    scores, labels, where = sample(1, (200, 7))
    scores = scores * np.random.default_rng(2).uniform(0.1, 2, scores.shape).astype(np.float32)
    chosen = {name: form for name, form in FORMS.items() if name not in NOT_BOUNDED}

    @jax.jit
    def run(s, y, m):
        options = {"where": m, "reduce_fn": None}
        bounds = {name: T.bound_t12n(form)(s, y, **options) for name, form in chosen.items()}
        return bounds, {name: form(s, y, **options) for name, form in chosen.items()}

    losses, values = run(scores, labels, where)
    for name, loss in losses.items():
        assert np.all(np.asarray(loss) >= -np.asarray(values[name]) - 1e-5), name
        assert np.std(np.asarray(loss)) > 0, name
    assert len(chosen) > 25
