"""TF-IDF and query likelihood against their formulas; weighted queries."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import RetrieveError
from jrank.retrieval import BM25Index, QueryLikelihoodIndex, TfidfIndex
from tests.retrieval.oracles import ranking

TERMS = "abcdef"
DOCUMENTS = st.lists(st.lists(st.sampled_from(TERMS), max_size=6), min_size=1, max_size=6)
QUERIES = st.lists(st.lists(st.sampled_from(TERMS + "z"), max_size=4), min_size=1, max_size=3)
SIX = [list("aba"), list("bc"), list("a"), list("cccda"), list("edd"), list("be")]
ASKED = [list("ac"), list("dde"), list("b")]

TF = {"log": lambda tf: 1 + math.log(tf), "linear": float, "binary": lambda tf: 1.0}
IDF = {
    "standard": lambda n, df: math.log(n / df),
    "smoothed": lambda n, df: math.log(1 + (n - df + 0.5) / (df + 0.5)),
    "none": lambda n, df: 1.0,
}


def tfidf(documents, queries, tf, idf, norm):
    n = len(documents)
    weigh = [
        {t: TF[tf](d.count(t)) * IDF[idf](n, sum(t in other for other in documents)) for t in set(d)} for d in documents
    ]
    length = [math.sqrt(sum(w * w for w in d.values())) or 1.0 for d in weigh]
    return np.array(
        [
            [sum(d.get(t, 0) for t in q) / (z if norm == "cosine" else 1) for d, z in zip(weigh, length, strict=True)]
            for q in queries
        ]
    )


@pytest.mark.parametrize("norm", ["none", "cosine"])
@pytest.mark.parametrize("idf", sorted(IDF))
@pytest.mark.parametrize("tf", sorted(TF))
@given(DOCUMENTS, QUERIES)
def test_tfidf_equals_the_formula(tf, idf, norm, documents, queries):
    index = TfidfIndex.build(documents, tf=tf, idf=idf, norm=norm)
    np.testing.assert_allclose(index.scores(queries), tfidf(documents, queries, tf, idf, norm), rtol=1e-6, atol=1e-7)


def likelihood(documents, queries, smoothing, mu, lam):
    words = [t for d in documents for t in d]
    scores = np.zeros((len(queries), len(documents)))
    for row, query in enumerate(queries):
        for t in query:
            if t not in words:
                continue
            share = words.count(t) / len(words)
            for column, d in enumerate(documents):
                own = d.count(t) / len(d) if d else 0.0
                p = (
                    (d.count(t) + mu * share) / (len(d) + mu)
                    if smoothing == "dirichlet"
                    else lam * own + (1 - lam) * share
                )
                scores[row, column] += math.log(p)
    return scores


@pytest.mark.parametrize("smoothing", ["dirichlet", "jelinek-mercer"])
@given(DOCUMENTS, QUERIES, st.sampled_from([(1000, 0.5), (3, 0.1), (0.5, 0.9)]))
def test_query_likelihood_equals_the_formula(smoothing, documents, queries, parameters):
    mu, lam = parameters
    index = QueryLikelihoodIndex.build(documents, smoothing=smoothing, mu=mu, lam=lam)
    want = likelihood(documents, queries, smoothing, mu, lam)
    got = index.scores(queries)
    np.testing.assert_allclose(got, want, rtol=3e-6, atol=1e-5)
    hits = index.search(queries, k=4)
    for row, query in enumerate(queries):
        found = np.array([bool(set(query) & set(d)) for d in documents])
        columns, best = ranking(got[row].astype(np.float64), 4, found)
        np.testing.assert_allclose(hits.scores[row], best, rtol=1e-5, atol=1e-5)
        # Two scores may differ by the rounding of float32 alone.
        rounded = {None if c < 0 else round(float(got[row, c]), 4) for c in columns}
        assert {None if i is None else round(float(got[row, i]), 4) for i in hits.ids[row]} == rounded


@pytest.mark.parametrize("kind", [TfidfIndex, QueryLikelihoodIndex])
def test_they_add_delete_save_and_load_as_bm25_does(kind, tmp_path):
    index = kind.build(SIX[:3])
    index.search(ASKED)
    index.add(SIX[3:])
    index.delete([1, 4])
    rebuilt = kind.build([SIX[i] for i in (0, 2, 3, 5)], ids=[0, 2, 3, 5])
    index.save(tmp_path / "index")
    for other in (rebuilt, kind.load(tmp_path / "index")):
        np.testing.assert_array_equal(index.scores(ASKED), other.scores(ASKED))
        assert index.search(ASKED, k=3).ids.tolist() == other.search(ASKED, k=3).ids.tolist()
    empty = kind.build([])
    assert empty.search(ASKED, k=1).ids.tolist() == [[None]] * 3
    assert empty.scores(ASKED).shape == (3, 0)


def test_weighted_queries():
    index = BM25Index.build(SIX)
    one, two = index.scores([["a"], ["d"]])
    got = index.scores([{"a": 2.0, "d": -0.5, "unknown": 3}, {}])
    np.testing.assert_allclose(got[0], 2 * one - 0.5 * two, rtol=1e-6)
    assert not got[1].any()
    assert index.search({"a": 1}, k=3).ids.tolist() == index.search([["a"]], k=3).ids.tolist()
    likelihoods = QueryLikelihoodIndex.build(SIX)
    np.testing.assert_allclose(likelihoods.scores([{"a": 2, "b": 1}]), likelihoods.scores([["a", "b", "a"]]), rtol=1e-6)


def test_bad_input(unchecked):
    for call, message in (
        (lambda: TfidfIndex(tf="sqrt"), "tf 'sqrt' is unknown; choose one of log, linear, binary"),
        (lambda: TfidfIndex(idf="x"), "idf 'x' is unknown"),
        (lambda: TfidfIndex(norm="l1"), "norm 'l1' is unknown"),
        (lambda: QueryLikelihoodIndex(smoothing="none"), "smoothing 'none' is unknown"),
        (lambda: QueryLikelihoodIndex(mu=0), "mu must be a number of at least 1e-06, got 0"),
        (lambda: QueryLikelihoodIndex(lam=1), "lam must be a number from 1e-06 to"),
        (lambda: BM25Index.build(SIX).search([{"a": float("nan")}]), "query 0 has a weight that is not finite"),
    ):
        with pytest.raises(RetrieveError, match=message):
            call()
    with pytest.raises(TypeError, match="queries must all be mappings"):
        BM25Index.build(SIX).search([{"a": 1}, ["a"]])
