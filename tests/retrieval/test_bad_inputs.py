"""What goes wrong when indexes are built and searched: a stated value, or an error that says what to do."""

import re

import numpy as np
import pytest

from jrank.errors import RetrieveError
from jrank.retrieval import (
    BM25Index,
    DenseIndex,
    HybridIndex,
    QueryLikelihoodIndex,
    SparseIndex,
    SparseVector,
    expand_queries,
    load_index,
)
from jrank.text import Analyzer

TEXTS = ["a red fox runs", "the dog sleeps", "foxes and dogs"]
NAN = float("nan")
WORDS = BM25Index.build(TEXTS, ids=["x", "y", "z"])
VECTORS = DenseIndex.build(np.eye(3, dtype=np.float32), ids=["x", "y", "z"])
WEIGHTS = SparseIndex.build([{0: 1.0, 2: 2.0}, {1: 1.0}], ids=["x", "y"])


def built(**params):
    return lambda: BM25Index.build(TEXTS, **params)


def vector(indices, values):
    return lambda: SparseIndex.build([SparseVector(np.array(indices), np.array(values))])


# What is wrong, the call, the reason, and what the message must say.
REFUSED = [
    ("an empty index", lambda: BM25Index.build([]).search("fox", on_empty="raise"), "empty_index", "add some first"),
    ("an empty query", lambda: WORDS.search(["fox", ""], on_empty="raise"), "empty_query", "query 1, '', has no term"),
    ("stop words alone", lambda: WORDS.search("the and", on_empty="raise"), "empty_query", "'the and', has no term"),
    ("a third way", lambda: WORDS.search("fox", on_empty="x"), "invalid_parameter", 'must be "row" or "raise", got'),
    ("k = 0", lambda: WORDS.search("fox", k=0), "invalid_parameter", "an integer of at least 1, got 0"),
    ("k = 1.5", lambda: VECTORS.search(np.eye(3), k=1.5), "invalid_parameter", "an integer of at least 1, got 1.5"),
    ("k is True", lambda: WEIGHTS.search([{0: 1.0}], k=True), "invalid_parameter", "at least 1, got True"),
    ("k is text", lambda: WORDS.search("fox", k="3"), "invalid_parameter", "at least 1, got '3'"),
    ("k beyond memory", lambda: WORDS.search("fox", k=10**9), "invalid_parameter", "expected at most 1048576"),
    ("k beyond memory, dense", lambda: VECTORS.search(np.eye(3), k=10**9), "invalid_parameter", "at most 1048576"),
    ("other dimensions", lambda: VECTORS.search(np.ones((1, 4))), "dimension_mismatch", "vectors of 4 dimensions, the"),
    ("added dimensions", lambda: VECTORS.add(np.ones((1, 4))), "dimension_mismatch", "the index holds vectors of 3"),
    ("three axes", lambda: DenseIndex.build(np.ones((2, 2, 2))), "invalid_parameter", "numbers of shape [n, d], got"),
    ("vectors of text", lambda: DenseIndex.build(np.array([["a"]])), "invalid_parameter", "got <U1 of shape (1, 1)"),
    ("a NaN", lambda: DenseIndex.build(np.array([[1.0, NAN]])), "invalid_parameter", "items[0] holds a number that is"),
    ("a NaN asked for", lambda: VECTORS.search(np.full((1, 3), NAN)), "invalid_parameter", "queries[0] holds a number"),
    (
        "beyond float16",
        lambda: DenseIndex.build(np.full((1, 2), 1e6), dtype="float16", metric="dot"),
        "invalid_parameter",
        "divide them by a constant",
    ),
    ("a type", lambda: DenseIndex.build(np.eye(3), dtype="int4"), "invalid_parameter", "choose one of float32"),
    ("a metric", lambda: DenseIndex.build(np.eye(3), metric="l2"), "invalid_parameter", "choose one of cosine, dot"),
    ("an id twice", built(ids=["a", "a", "b"]), "duplicate_id", "the id 'a' comes twice; give every document an id"),
    ("an id added twice", lambda: WORDS.add(["new"], ids=["x"]), "duplicate_id", "the id 'x' comes twice"),
    ("too few ids", built(ids=["a"]), "invalid_parameter", "1 ids for 3 documents; give every document one id"),
    ("ids of two types", built(ids=["a", 1, 2]), "invalid_parameter", "1 and '1' would be two documents"),
    ("ids of another type", lambda: WORDS.add(["new"], ids=[7]), "invalid_parameter", "got 7 for an index that holds"),
    ("ids that are numbers", built(ids=[1.0, 2.0, 3.0]), "invalid_parameter", "a string or an integer, got float"),
    ("no such id", lambda: WORDS.delete(["x", "nope"]), "unknown_id", "there is no document 'nope'; see .ids"),
    ("k1", built(k1=-1), "invalid_parameter", "k1 must be a number of at least 0, got -1"),
    ("k1 is NaN", built(k1=NAN), "invalid_parameter", "k1 must be a number of at least 0, got nan"),
    ("b", built(b=2), "invalid_parameter", "b must be a number from 0 to 1, got 2"),
    ("a variant", built(variant="x"), "invalid_parameter", "choose one of lucene, robertson, atire, bm25l, bm25+"),
    ("mu", lambda: QueryLikelihoodIndex.build(TEXTS, mu=-1), "invalid_parameter", "mu must be a number of at least"),
    ("a weight", lambda: WORDS.search({"fox": NAN}), "invalid_parameter", "query 0 has a weight that is not finite"),
    ("a filter", lambda: WORDS.search("fox", filter=[1]), "invalid_parameter", "pass ids of the same type"),
    ("an index twice", vector([0, 0], [1.0, 2.0]), "invalid_sparse_vector", "ascending, and none twice"),
    ("not sorted", vector([2, 0], [1.0, 2.0]), "invalid_sparse_vector", "SparseVector.from_dict sorts them"),
    ("below 0", lambda: SparseIndex.build([{-1: 1.0}]), "invalid_sparse_vector", "indices must be non-negative"),
    ("weight NaN", lambda: SparseIndex.build([{0: NAN}]), "invalid_sparse_vector", "a value is not finite"),
    ("no numbers", lambda: SparseIndex.build([{"a": 1.0}]), "invalid_sparse_vector", "expected integers and numbers"),
    ("an index of 2^40", lambda: SparseIndex.build([{2**40: 1.0}]), "invalid_sparse_vector", "number them densely"),
    ("no index", lambda: BM25Index.load("/nowhere/index"), "invalid_index_file", "there is no index at /nowhere/index"),
    ("no index of any kind", lambda: load_index("/nowhere"), "invalid_index_file", "check the path"),
    ("feedback", lambda: expand_queries(WORDS, ["fox"], method="x"), "invalid_parameter", "choose one of rm3, rocchio"),
    ("nothing to join", lambda: HybridIndex({}), "invalid_parameter", "name at least one"),
    ("n-grams", lambda: Analyzer(ngrams=0), "invalid_parameter", "ngrams must be at least 1, got 0"),
    ("a language", lambda: Analyzer(language="klingon"), "invalid_parameter", "choose one of arabic"),
    ("a pattern", lambda: Analyzer(pattern="("), "invalid_parameter", "'(' is not a regular expression"),
]


@pytest.mark.parametrize(("call", "reason", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused(unchecked, call, reason, words):
    with pytest.raises(RetrieveError, match=re.escape(words)) as error:
        call()
    assert error.value.reason == reason
    assert WORDS.ids == ["x", "y", "z"]


# What has the wrong type.
MISTAKEN = [
    ("one text", lambda: BM25Index.build("a text"), "items must be a collection of documents, got one str"),
    ("None", lambda: BM25Index.build(None), "items must be a collection of documents, got one NoneType"),
    ("a number among texts", lambda: BM25Index.build(["a", 5]), "got int among strings"),
    ("None among texts", lambda: BM25Index.build([None]), "got NoneType"),
    ("bytes", lambda: BM25Index.build([b"x"]), "got bytes"),
    ("no query", lambda: WORDS.search(None), "queries must be a list of queries or a single one, got NoneType"),
    ("two kinds of queries", lambda: WORDS.search(["fox", {"fox": 1.0}]), "got dict among strings"),
    ("a weight of text", lambda: WORDS.search({"fox": "x"}), "query 0: the weight of 'fox' must be a number, got 'x'"),
    ("one id", lambda: WORDS.delete("x"), "ids must be a collection of ids, got one str"),
    ("a filter of one id", lambda: WORDS.search("fox", filter="x"), "filter must be a collection of ids, got one str"),
    ("a filter of 5", lambda: WORDS.search("fox", filter=5), "ids or a function from an id to a bool, got int"),
    ("vectors as a list", lambda: VECTORS.search([[1, 0, 0]]), "write np.asarray(queries)"),
    ("an analyzer by name", built(analyzer="english"), "must be a function from a string to its terms, got str"),
    ("an analyzer of numbers", built(analyzer=lambda text: 5), "an analyzer must return a list of terms, got int"),
    ("terms of numbers", built(analyzer=lambda text: [5]), "a term must be a string"),
    ("dense feedback", lambda: expand_queries(VECTORS, ["fox"]), "must be a lexical index, such as BM25Index"),
    ("no index to join", lambda: HybridIndex({"a": 5}), "indexes['a'] must be an index with a search method, got int"),
]


@pytest.mark.parametrize(("call", "words"), [row[1:] for row in MISTAKEN], ids=[row[0] for row in MISTAKEN])
def test_mistaken(unchecked, call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


def rows(hits):
    return hits.ids.tolist(), np.where(np.isfinite(hits.scores), hits.scores.astype(float), -1).round(4).tolist()


# What looks wrong and has a value: the call, the ids, and the scores, -1 for none.
NOTHING = ([[None, None]], [[-1.0, -1.0]])
DEFINED = [
    ("no documents", lambda: BM25Index.build([]).search("fox", k=2), NOTHING),
    ("no vectors", lambda: DenseIndex.build(np.zeros((0, 3))).search(np.ones((1, 3)), k=2), NOTHING),
    ("no weights", lambda: SparseIndex.build([]).search([{0: 1.0}], k=2), NOTHING),
    ("no queries", lambda: WORDS.search([], k=2), ([], [])),
    ("an empty query", lambda: WORDS.search("", k=2), NOTHING),
    ("an empty vector", lambda: WEIGHTS.search([{}], k=2), NOTHING),
    ("stop words alone", lambda: WORDS.search("the and", k=2), NOTHING),
    ("unknown words", lambda: WORDS.search("zebra", k=2), NOTHING),
    ("nothing allowed", lambda: WORDS.search("fox", k=2, filter=[]), NOTHING),
    ("a zero vector", lambda: VECTORS.search(np.zeros((1, 3)), k=2), ([["x", "y"]], [[0.0, 0.0]])),
    ("k beyond N", lambda: WEIGHTS.search([{2: 1.0}], k=3), ([["x", None, None]], [[2.0, -1.0, -1.0]])),
    ("lone surrogates", lambda: BM25Index.build(["\ud800 fox"]).search("fox", k=1), ([[0]], [[0.1151]])),
    ("NUL", lambda: BM25Index.build(["fo\0x bar"]).search("bar", k=1), ([[0]], [[0.1151]])),
    ("a word of a million letters", lambda: BM25Index.build(["x" * 10**6]).search("x", k=1), ([[None]], [[-1.0]])),
]


@pytest.mark.parametrize(("call", "want"), [row[1:] for row in DEFINED], ids=[row[0] for row in DEFINED])
def test_defined(call, want):
    assert rows(call()) == want


def test_documents_that_are_zero_vectors():
    index = DenseIndex.build(np.array([[0.0, 0.0], [1.0, 0.0]]), metric="cosine")
    assert rows(index.search(np.array([[2.0, 0.0]]), k=2)) == ([[1, 0]], [[1.0, 0.0]])


def test_ids_that_differ_little_are_different():
    ids = ["a", "A", "ａ", "ä", "a\u0308"]
    index = BM25Index.build(["red fox"] * 5, ids=ids)
    assert index.search("fox", k=5).ids.tolist() == [ids]
