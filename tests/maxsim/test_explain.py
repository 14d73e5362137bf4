"""Figures, snippets, boxes, and weights from the statistics of a collection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import maxsim
from jrank.errors import RerankError

FOUND = maxsim.Alignment(jnp.array([[4, -1, 2, 0], [-1, -1, -1, -1]]), jnp.array([[0.2, 0, 0.9, 0.9], [0, 0, 0, 0.0]]))


def test_stats():
    stats = maxsim.alignment_stats(FOUND)
    np.testing.assert_allclose(stats.min, [0.2, 0])
    np.testing.assert_allclose(stats.max, [0.9, 0])
    np.testing.assert_allclose(stats.mean, [2 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(stats.sum, [2, 0])
    assert stats.count.tolist() == [3, 0]


def test_negative_scores_are_not_hidden_by_zero():
    stats = maxsim.alignment_stats(maxsim.Alignment(jnp.array([1, -1]), jnp.array([-0.5, 0.0])))
    assert (float(stats.min), float(stats.max)) == (-0.5, -0.5)


def test_top():
    queries, best = maxsim.top_alignments(FOUND, 3)
    assert queries.tolist() == [[2, 3, 0], [-1, -1, -1]]
    assert best.tokens.tolist() == [[2, 0, 4], [-1, -1, -1]]
    np.testing.assert_allclose(best.scores[0], [0.9, 0.9, 0.2])
    assert maxsim.top_alignments(FOUND, 99)[0].shape == (2, 4)


def test_filter():
    kept = maxsim.filter_alignment(FOUND, 0.5)
    assert kept.tokens.tolist() == [[-1, -1, 2, 0], [-1] * 4]
    assert float(kept.scores[0, 0]) == 0


@pytest.mark.parametrize("context", [0, 1, 4])
@pytest.mark.parametrize("most", [None, 1, 5])
def test_snippet(context, most):
    marked = np.random.default_rng(0).random((3, 12)) < 0.15
    want = np.zeros_like(marked)
    for row, places in zip(want, marked, strict=True):
        for place in np.flatnonzero(places):
            row[max(0, place - context) : place + context + 1] = True
        row[np.flatnonzero(row)[most:] if most else []] = False
    found = jax.jit(lambda x: maxsim.snippet(x, context, most))(marked)
    assert np.array_equal(found, want)


def test_a_snippet_as_wide_as_the_text():
    marked = np.array([False, False, True, False])
    for context in (4, 2**31 - 3, 2**31 - 1, 10**12):
        assert maxsim.snippet(marked, context).tolist() == [True] * 4
        assert maxsim.snippet(np.zeros(4, bool), context).tolist() == [False] * 4
    assert maxsim.snippet(marked, 1, 10**12).tolist() == [False, True, True, True]
    assert maxsim.snippet(np.zeros((2, 0), bool), 3).shape == (2, 0)


def test_an_alignment_of_numpy_arrays():
    tokens, scores = np.array([4, -1, 2]), np.array([1, 0, 3])  # wider than the arrays of jax
    found = maxsim.Alignment(tokens, scores)
    assert float(maxsim.alignment_stats(found).mean) == 2
    assert maxsim.top_alignments(found, 1)[1].tokens.tolist() == [2]
    assert maxsim.filter_alignment(found, 2).tokens.tolist() == [-1, -1, 2]


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int32", "uint32"])
def test_patches_of_any_integer_type(kind):
    patches, largest = np.array([3, 100, 127], kind), np.iinfo(kind).max
    want = [[(p % 200) * 2, p // 200 * 3, (p % 200 + 1) * 2, (p // 200 + 1) * 3] for p in (3, 100, 127)]
    assert maxsim.patch_boxes(patches, (200, 200), (600, 400)).tolist() == want
    inside = int(largest) < 40000
    assert maxsim.patch_boxes(np.array([largest], kind), (200, 200), (600, 400)).any() == inside


def test_patch_boxes():
    boxes = maxsim.patch_boxes(jnp.array([0, 3, -1, 6]), (2, 3), (20, 60))
    assert boxes.tolist() == [[0, 0, 20, 10], [0, 10, 20, 20], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_idf():
    frequencies = np.array([0, 9, 200, 99])
    raw = np.maximum(np.log(101 / (frequencies + 1)), 0)
    np.testing.assert_allclose(maxsim.idf_weights(frequencies, 100, scale=False), raw, rtol=1e-6)
    np.testing.assert_allclose(maxsim.idf_weights(frequencies, 100), raw / raw.max(), rtol=1e-5)  # float32 logarithms
    assert maxsim.idf_weights(np.array([3, 3]), 100).tolist() == [1, 1]
    assert maxsim.idf_weights(np.zeros((2, 0)), 100).shape == (2, 0)
    assert np.isnan(maxsim.idf_weights(np.array([3.0, np.nan]), 100)).all()


def test_bm25():
    frequencies, counts = np.array([0, 9, 50]), np.array([1, 3, 0])
    raw = np.log(101 / (frequencies + 1)) * counts * 2.5 / (counts + 1.5)
    np.testing.assert_allclose(maxsim.bm25_weights(frequencies, counts, 100, k1=1.5, scale=False), raw, rtol=1e-6)
    np.testing.assert_allclose(maxsim.bm25_weights(frequencies, counts, 100, k1=1.5), raw / raw.max(), rtol=1e-6)
    assert maxsim.bm25_weights(frequencies, np.zeros(3), 100, k1=0, scale=False).tolist() == [0, 0, 0]


def test_bad_input(unchecked):
    for call in (
        lambda: maxsim.top_alignments(FOUND, 0),
        lambda: maxsim.snippet(jnp.ones(3), -1),
        lambda: maxsim.snippet(jnp.ones(3), 1, 0),
        lambda: maxsim.patch_boxes(jnp.ones(3, int), (0, 3), (2, 2)),
        lambda: maxsim.patch_boxes(jnp.ones(3, int), (3, 3), (-2, 2)),
        lambda: maxsim.idf_weights(jnp.ones(3), jnp.ones(3)),
        lambda: maxsim.bm25_weights(jnp.ones(3), jnp.ones(2), 10),
        lambda: maxsim.highlight(jnp.ones((2, 3)), jnp.ones((4, 3)), jnp.ones(4)),
        lambda: maxsim.filter_alignment(FOUND, jnp.ones(4)),
        lambda: maxsim.alignment_stats(maxsim.Alignment(jnp.ones(2, int), jnp.ones(3))),
        lambda: maxsim.snippet(jnp.bool_(True)),
        lambda: maxsim.patch_boxes(jnp.ones(3, int), (3, 3), (2, np.inf)),
        lambda: maxsim.patch_boxes(jnp.ones(3, int), (3, 3, 3), (2, 2)),
        lambda: maxsim.patch_boxes(jnp.ones(3, int), (3, 3), (2,)),
        lambda: maxsim.patch_boxes(jnp.ones(3, int), (10**6, 10**6), (2, 2)),
        lambda: maxsim.pool(jnp.ones((3, 2)), float("inf")),
        lambda: maxsim.pool(jnp.ones((3, 2)), float("nan")),
        lambda: maxsim.pool(jnp.ones((3, 2)), "2"),
    ):
        with pytest.raises(RerankError):
            call()
    for call in (
        lambda: maxsim.alignment_stats((FOUND.tokens, FOUND.scores)),
        lambda: maxsim.filter_alignment(None, 0.5),
        lambda: maxsim.filter_alignment(FOUND, "0.5"),
        lambda: maxsim.top_alignments(maxsim.Alignment([1], [0.5]), 1),
        lambda: maxsim.top_alignments(FOUND, 2.5),
        lambda: maxsim.snippet(jnp.ones(3), 1.5),
        lambda: maxsim.snippet(jnp.ones(3), 1, "2"),
        lambda: maxsim.patch_boxes(jnp.array([1.5]), (3, 3), (9, 9)),
        lambda: maxsim.patch_boxes(jnp.array([1]), (3, 2.5), (9, 9)),
        lambda: maxsim.pool(jnp.ones((3, 2)), 2, protected=1.5),
        lambda: maxsim.truncate(jnp.ones((3, 2)), 1.5),
    ):
        with pytest.raises(TypeError, match=r"must be|expected"):
            call()
    assert maxsim.pool(jnp.ones((5, 2)), 2.0).shape == (3, 2)
