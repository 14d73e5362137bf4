import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from jrank import fusion
from jrank.errors import FusionError


def objective(logs, ranks, weights, prior):
    """The logarithm of the probability of the runs and of the prior, draw by draw."""
    worth = np.exp(logs)
    value = prior * np.sum(logs - len(logs) * worth)
    for weight, run in zip(weights, ranks, strict=True):
        left = np.ones(len(logs), bool)
        for rank in sorted(set(run[run > 0])):
            drawn = run == rank
            value += weight * np.sum(logs[drawn] - np.log(worth[left].sum()))
            left &= ~drawn
    return value


def random_ranks(rng, runs, docs, ties):
    ranks = np.zeros((runs, docs), int)
    for run in ranks:
        order = rng.permutation(docs)[: rng.integers(2, docs + 1)]
        run[order] = np.arange(len(order)) + 1
    return np.minimum(ranks, 3) if ties else ranks


@pytest.mark.parametrize("ties", [False, True])
@given(st.integers(0, 10**6))
def test_the_maximum(ties, seed):
    rng = np.random.default_rng(seed)
    ranks, weights, prior = random_ranks(rng, 3, 6, ties), rng.random(3) + 0.2, rng.random() + 0.3
    held = (ranks > 0).any(axis=0)
    found = scipy.optimize.minimize(
        lambda x: -objective(x, ranks[:, held], weights, prior), np.full(held.sum(), -2.0), tol=1e-12
    )
    want = found.x - np.log(np.exp(found.x).sum())
    got = fusion.plackett_luce(ranks, weights=weights, prior=prior, steps=500)
    # The optimiser stops where differences of the objective drown in rounding.
    np.testing.assert_allclose(got[held], want, atol=2e-5)
    assert np.all(got[~held] == -np.inf)


def test_two_documents_in_closed_form():
    # The last draw is certain, so the objective is 2 ln γ + ln δ - 3 ln(γ + δ) + ln γ + ln δ - 2 (γ + δ).
    ranks = np.array([[1, 2], [1, 2], [2, 1]])
    got = np.exp(fusion.plackett_luce(ranks, prior=1.0, steps=200))
    np.testing.assert_allclose(got, [3 / 5, 2 / 5], rtol=1e-9)


def test_more_weight_more_say():
    ranks = np.array([[1, 2, 3], [3, 2, 1]])
    order = [np.argsort(-fusion.plackett_luce(ranks, weights=w)).tolist() for w in ([3.0, 1.0], [1.0, 3.0])]
    assert order == [[0, 1, 2], [2, 1, 0]]
    np.testing.assert_allclose(
        fusion.plackett_luce(ranks, weights=[2.0, 0.0]), fusion.plackett_luce(ranks[:1], weights=[2.0]), rtol=1e-12
    )


def test_gradients_are_those_of_finite_differences(x64):
    ranks = jnp.array([[1, 2, 3, 0], [2, 1, 0, 3], [1, 0, 2, 0]])

    def head(weights, prior):
        return fusion.plackett_luce(ranks, weights=weights, prior=prior)[0]

    weights = jnp.array([1.0, 0.5, 2.0])
    by_weight, by_prior = jax.jit(jax.grad(head, (0, 1)))(weights, 0.8)
    for i in range(3):
        step = 1e-5 * jnp.eye(3)[i]
        want = (head(weights + step, 0.8) - head(weights - step, 0.8)) / 2e-5
        assert float(by_weight[i]) == pytest.approx(float(want), rel=1e-6)
    want = (head(weights, 0.8 + 1e-5) - head(weights, 0.8 - 1e-5)) / 2e-5
    assert float(by_prior) == pytest.approx(float(want), rel=1e-6)


def test_runs_are_fused():
    runs = [{"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"b": 2.0, "a": 1.0}}, {"q": {"a": 1.0}}]
    fused = fusion.fuse(runs, method="plackett_luce")
    assert list(fused["q"]) == ["a", "b", "c"]
    assert sum(np.exp(list(fused["q"].values()))) == pytest.approx(1)
    assert fusion.explain(runs, "q", method="plackett_luce")[0].sources[0].contribution is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": 0.0}, "prior is 0.0"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": True}, "steps is True"),
        ({"weights": [1.0, -1.0]}, "not all 0 or more"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(FusionError, match=message) as error:
        fusion.plackett_luce(np.array([[1, 2], [2, 1]]), **options)
    assert error.value.reason == "invalid_config"
