"""Postings and the selection of the best, against dense NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank.retrieval._postings import keep_documents, merge_postings, postings_from_rows
from jrank.retrieval._top import top_dense, top_sparse

ROWS = st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=6)
# Few values, so that there are many ties.
SCORES = st.sampled_from([-2.5, -0.0, 0.0, 1.0, 1.0000001, 3e38, 1e-42])


def make(rows, num_terms=6):
    terms = np.array([term for row in rows for term in row], np.int32)
    return postings_from_rows(terms, np.array([len(row) for row in rows], np.int64), num_terms)


def dense(postings):
    matrix = np.zeros((postings.num_terms, postings.num_documents), int)
    for term in range(postings.num_terms):
        part = slice(postings.starts[term], postings.starts[term + 1])
        assert (np.diff(postings.documents[part]) > 0).all()
        matrix[term, postings.documents[part]] = postings.values[part]
    return matrix


def counted(rows, num_terms=6):
    return np.array([[row.count(term) for row in rows] for term in range(num_terms)]).reshape(num_terms, len(rows))


@given(ROWS)
def test_postings_count_terms(rows):
    postings = make(rows)
    np.testing.assert_array_equal(dense(postings), counted(rows))
    np.testing.assert_array_equal(postings.lengths, [len(row) for row in rows])
    np.testing.assert_array_equal(postings.document_frequency, (counted(rows) > 0).sum(axis=1))


@given(ROWS, ROWS, ROWS)
def test_merging_equals_building_at_once(a, b, c):
    merged = merge_postings([make(a, 6), make(b, 7), make(c, 8)], 9)
    np.testing.assert_array_equal(dense(merged), counted(a + b + c, 9))
    np.testing.assert_array_equal(merged.lengths, [len(row) for row in a + b + c])
    assert merged.documents.dtype == np.int32


def test_merging_nothing():
    assert merge_postings([], 3).num_documents == 0
    assert merge_postings([], 3).starts.tolist() == [0] * 4


@given(ROWS, st.lists(st.booleans(), min_size=6, max_size=6))
def test_keeping_equals_building_from_the_kept(rows, keep):
    keep = np.array(keep[: len(rows)], bool)
    kept = keep_documents(make(rows), keep)
    np.testing.assert_array_equal(dense(kept), counted([row for row, stay in zip(rows, keep, strict=True) if stay]))
    np.testing.assert_array_equal(kept.lengths, make(rows).lengths[keep])


def best(scores, columns, k):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], columns[i]))[:k]
    pad = k - len(order)
    return [columns[i] for i in order] + [-1] * pad, [scores[i] for i in order] + [-np.inf] * pad


@pytest.mark.parametrize("k", [1, 3, 20])
@given(hnp.arrays(np.float32, 12, elements=SCORES), st.permutations(list(range(12))), st.integers(0, 12))
def test_top_of_sparse_rows(k, scores, columns, split):
    columns = np.array(columns, np.int32)
    got, at = top_sparse(scores, columns, np.array([0, split, 12, 12]), k)
    for row, part in enumerate([slice(0, split), slice(split, 12), slice(12, 12)]):
        want_at, want = best(scores[part], columns[part], k)
        np.testing.assert_array_equal(at[row], want_at)
        np.testing.assert_array_equal(got[row], want)


@pytest.mark.parametrize("k", [1, 4, 9])
@given(hnp.arrays(np.float32, (3, 7), elements=SCORES | st.just(-np.inf)))
def test_top_of_dense_rows(k, scores):
    got, at = top_dense(scores, k)
    for row in range(3):
        found = np.flatnonzero(scores[row] > -np.inf)
        want_at, want = best(scores[row][found], found, k)
        np.testing.assert_array_equal(at[row], want_at)
        np.testing.assert_array_equal(got[row], want)
