"""Query expansion against its formulas, written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank import data
from jrank.errors import RetrieveError
from jrank.retrieval import BM25Index, QueryLikelihoodIndex, TfidfIndex, expand_queries
from jrank.retrieval._expansion import METHODS
from tests.retrieval.oracles import ndcg

TERMS = "abcdef"
DOCUMENTS = st.lists(st.lists(st.sampled_from(TERMS), max_size=6), min_size=1, max_size=6)
QUERIES = st.lists(st.lists(st.sampled_from(TERMS + "z"), max_size=4), min_size=1, max_size=3)


def values(method, found, scores, documents):
    n = len(documents)
    df = {t: sum(t in d for d in documents) for d in documents for t in d}
    idf = {t: math.log(1 + (n - c + 0.5) / (c + 0.5)) for t, c in df.items()}
    terms = {t for d in found for t in d}
    tf = {t: sum(d.count(t) for d in found) for t in terms}
    if method == "tf":
        return tf
    if method == "idf":
        return {t: tf[t] * idf[t] for t in terms}
    if method == "robertson":
        r = {t: sum(t in d for d in found) for t in terms}
        size = len(found)

        def odds(t):
            above = (r[t] + 0.5) * (n - df[t] - size + r[t] + 0.5)
            return above / ((df[t] - r[t] + 0.5) * (size - r[t] + 0.5))

        return {t: r[t] * max(math.log(odds(t)), 0) for t in terms}
    if method == "rm3":
        total = float(sum(scores))
        return {
            t: sum(s / total * d.count(t) / len(d) for d, s in zip(found, scores.tolist(), strict=True)) for t in terms
        }
    vectors = [{t: (1 + math.log(d.count(t))) * idf[t] for t in set(d)} for d in found]
    lengths = [math.sqrt(sum(w * w for w in v.values())) for v in vectors]
    return {t: sum(v.get(t, 0) / z for v, z in zip(vectors, lengths, strict=True)) for t in terms}


@pytest.mark.parametrize("method", sorted(METHODS))
@given(DOCUMENTS, QUERIES, st.sampled_from([0.0, 0.3, 1.0]))
def test_expansion_equals_the_formula(method, documents, queries, weight):
    index = BM25Index.build(documents)
    # All terms are added: with a limit, ties at the limit would fall by rounding.
    got = expand_queries(index, queries, method=method, depth=3, terms=9, weight=weight)
    hits = index.search(queries, k=3)
    for row, (query, expanded) in enumerate(zip(queries, got, strict=True)):
        found = [i for i in hits.ids[row] if i is not None]
        known = [t for t in query if any(t in d for d in documents)]
        want = {t: known.count(t) / len(known) for t in known}
        value = (
            values(method, [documents[i] for i in found], hits.scores[row, : len(found)], documents) if found else {}
        )
        total = sum(value.values())
        if total:
            want = {t: (1 - weight) * v for t, v in want.items()}
            for t, v in value.items():
                want[t] = want.get(t, 0) + weight * v / total
        want = {t: v for t, v in want.items() if v > 1e-12}
        expanded = {t: v for t, v in expanded.items() if v > 1e-12}
        assert expanded == pytest.approx(want, rel=1e-5)


def test_the_best_terms_are_chosen():
    index = BM25Index.build([list("abbbcc"), list("abbc"), list("d")])
    (expanded,) = expand_queries(index, [["a"]], method="tf", terms=2, weight=0.5)
    assert expanded == pytest.approx({"a": 0.5, "b": 0.5 * 5 / 8, "c": 0.5 * 3 / 8})
    assert set(index.search([expanded], k=3).ids[0]) == {0, 1, None}


@pytest.mark.parametrize("kind", [TfidfIndex, QueryLikelihoodIndex])
def test_every_lexical_index_can_expand(kind):
    index = kind.build(["jax arrays compile", "jax compiles functions", "red fox"])
    (expanded,) = expand_queries(index, ["jax array"], terms=1)
    assert set(expanded) >= {"jax", "array"}
    assert sum(expanded.values()) == pytest.approx(1)
    index.add(["jax fox fox fox"])
    (again,) = expand_queries(index, ["fox"], terms=3)
    assert "red" in again


def test_queries_that_find_nothing_stay():
    index = BM25Index.build(["red fox"])
    assert expand_queries(index, ["dog", ""]) == [{}, {}]
    assert expand_queries(BM25Index.build([]), ["dog"]) == [{}]


@pytest.mark.data
def test_feedback_helps_on_a_real_collection(data_dir):
    collection = data.read_beir(data_dir / "ir" / "med", shares={"test": 1.0})
    index = BM25Index.build(collection.documents, ids=collection.doc_ids)
    test = collection.splits["test"]
    queries = collection.queries_of(test)
    judged = [collection.qrels.to_dict()[query] for query in test]
    before = ndcg(judged, index.search(queries, k=10).ids)
    after = {}
    for method in METHODS:
        after[method] = ndcg(judged, index.search(expand_queries(index, queries, method=method), k=10).ids)
    assert after["rm3"] > before
    assert after["rocchio"] > before
    assert np.mean(list(after.values())) > before


def test_bad_input(unchecked):
    index = BM25Index.build(["red fox"])
    for options, message in (
        ({"method": "bert"}, "method 'bert' is unknown; choose one of rm3, rocchio"),
        ({"depth": 0}, "depth must be an integer of at least 1, got 0"),
        ({"terms": 1.5}, "terms must be an integer"),
        ({"weight": 2}, "weight must be a number from 0 to 1"),
    ):
        with pytest.raises(RetrieveError, match=message):
            expand_queries(index, ["fox"], **options)
