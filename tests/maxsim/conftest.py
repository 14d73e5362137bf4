"""The definition of the score, in float64 NumPy and plain loops."""

import jax
import numpy as np
import pytest


def max_similarity(query, doc, query_where=None, doc_where=None):
    query = np.asarray(query, np.float64)
    doc = np.asarray(doc, np.float64)
    if query_where is not None:
        query = query[np.asarray(query_where, bool)]
    if doc_where is not None:
        doc = doc[np.asarray(doc_where, bool)]
    if not len(query) or not len(doc):
        return 0.0
    return float(sum(max(float(np.dot(q, d)) for d in doc) for q in query))


@pytest.fixture(scope="session")
def oracle():
    return max_similarity


@pytest.fixture
def core_patch(monkeypatch):
    """Set constants of the core. What was traced with others is forgotten, before the test goes on and after it."""

    def patch(*args):
        monkeypatch.setattr(*args)
        jax.clear_caches()

    yield patch
    jax.clear_caches()
