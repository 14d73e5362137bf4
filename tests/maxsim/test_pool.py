"""Token pooling: how many tokens, which clusters, what stays."""

import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import maxsim
from jrank.errors import RerankError
from jrank.maxsim._pool import POOLINGS


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("f")


@pytest.mark.parametrize("method", POOLINGS)
@hypothesis.given(
    tokens=st.integers(0, 30), factor=st.integers(1, 8), protected=st.integers(0, 4), seed=st.integers(0, 99)
)
def test_counts_and_mass(method, tokens, factor, protected, seed):
    doc = random(seed, tokens, 5)
    pooled = np.asarray(maxsim.pool(doc, factor, method=method, protected=protected))
    rest = max(0, tokens - protected)
    assert pooled.shape == (min(tokens, protected) + (max(1, rest // factor) if rest else 0), 5)
    assert np.array_equal(pooled[:protected], doc[:protected])
    if factor == 1:
        assert np.array_equal(pooled, doc)
    # Every mean lies within the box of the tokens.
    if rest:
        assert np.all(pooled[protected:] <= doc[protected:].max(0) + 1e-6)
        assert np.all(pooled[protected:] >= doc[protected:].min(0) - 1e-6)


@pytest.mark.parametrize("method", ["greedy", "hierarchical", "adaptive"])
def test_finds_clusters(method):
    rng = np.random.default_rng(0)
    members = np.array([2, 0, 0, 3, 1, 2, 3, 1])
    doc = (np.eye(4)[members] * 5 + rng.normal(size=(8, 4)) * 0.01).astype("f")
    want = np.stack([doc[members == cluster].mean(0) for cluster in (2, 0, 3, 1)])
    np.testing.assert_allclose(maxsim.pool(doc, 2, method=method, protected=0), want, atol=1e-5)


def test_sequential_is_means_of_neighbours():
    doc = random(0, 7, 3)
    pooled = maxsim.pool(doc, 2, method="sequential", protected=1)
    np.testing.assert_allclose(pooled, [doc[0], doc[1:3].mean(0), doc[3:5].mean(0), doc[5:7].mean(0)], rtol=1e-6)
    coarse = maxsim.pool(doc, 5, method="adaptive", protected=1)
    np.testing.assert_allclose(coarse, [doc[0], doc[1:].mean(0)], rtol=1e-5, atol=1e-7)


def test_hierarchical_minimises_ward_step_by_step():
    """Against the definition: each merge adds the least within-cluster sum of squares."""
    doc = random(1, 9, 3)
    unit = (doc / np.linalg.norm(doc, axis=1, keepdims=True)).astype(float)
    clusters = [[i] for i in range(9)]

    def spread(members):
        return ((unit[members] - unit[members].mean(0)) ** 2).sum()

    while len(clusters) > 3:
        pairs = []
        for i, j in itertools.combinations(range(len(clusters)), 2):
            a, b = clusters[i], clusters[j]
            pairs.append((spread(a + b) - spread(a) - spread(b), i, j))
        _, i, j = min(pairs)
        clusters[i] = sorted(clusters[i] + clusters.pop(j))
    want = np.stack([doc[c].mean(0) for c in sorted(clusters)])
    np.testing.assert_allclose(maxsim.pool(doc, 3, protected=0), want, rtol=1e-5)


def test_types_and_normalisation():
    doc = random(0, 9, 3)
    assert maxsim.pool(jnp.asarray(doc, jnp.bfloat16), 2).dtype == jnp.bfloat16
    assert maxsim.pool(np.arange(12).reshape(4, 3), 2).dtype == jnp.float32
    pooled = maxsim.pool(doc, 2, protected=0, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-6)
    assert np.all(np.isfinite(maxsim.pool(np.zeros((6, 3), "f"), 2)))


def test_bad_input(unchecked):
    doc = random(0, 9, 3)
    with pytest.raises(RerankError, match="factor is 0") as caught:
        maxsim.pool(doc, 0)
    assert caught.value.reason == "invalid_pool_factor"
    with pytest.raises(RerankError, match="expected one of adaptive, greedy"):
        maxsim.pool(doc, 2, method="kmeans")
    with pytest.raises(RerankError, match="protected is -1"):
        maxsim.pool(doc, 2, protected=-1)
    with pytest.raises(RerankError, match=r"expected \[t, d\]"):
        maxsim.pool(doc[None], 2)
    with pytest.raises(RerankError, match="not finite"):
        maxsim.pool(np.where(doc > 0, np.nan, doc), 2)
    with pytest.raises(TypeError, match="outside of jit"):
        jax.jit(lambda x: maxsim.pool(x, 2))(doc)
