"""Hybrid search against fusing by hand, and routing."""

import numpy as np
import pytest

from jrank import fusion
from jrank.errors import FusionError, RetrieveError
from jrank.retrieval import (
    BM25Index,
    DenseIndex,
    HybridIndex,
    QueryRouter,
    TfidfIndex,
    hybrid,
    post_filter,
    query_features,
)

RNG = np.random.default_rng(5)
TEXTS = [" ".join(RNG.choice(["red", "fox", "dog", "cat", "runs", "sleeps"], 4)) for _ in range(30)]
IDS = [f"d{i:02d}" for i in range(30)]
VECTORS = RNG.normal(size=(30, 6))
QUERIES = ["red fox", "sleeping cats", "unknown", "dog"]
ENCODED = RNG.normal(size=(4, 6))
WORDS, DENSE = BM25Index.build(TEXTS, IDS), DenseIndex.build(VECTORS, IDS)
INDEXES = {"words": WORDS, "vectors": DENSE}
ENCODERS = {"vectors": lambda queries: ENCODED[[QUERIES.index(query) for query in queries]]}


@pytest.mark.parametrize(("method", "params"), [("rrf", {}), ("rrf", {"k": 5}), ("comb_sum", {"weights": [0.3, 0.7]})])
def test_hybrid_search_is_search_and_fusion(method, params):
    runs = [WORDS.search(QUERIES, k=12).to_run(QUERIES), DENSE.search(ENCODED, k=12).to_run(QUERIES)]
    want = fusion.fuse(runs, method=method, **params)
    hits = hybrid(INDEXES, QUERIES, 7, encoders=ENCODERS, method=method, depth=12, options=params)
    assert hits.ids.shape == (4, 7)
    for row, query in enumerate(QUERIES):
        best = list(want[query].items())[:7]
        assert hits.ids[row].tolist() == [i for i, _ in best]
        np.testing.assert_array_equal(hits.scores[row], [s for _, s in best])


def test_it_searches_like_an_index():
    both = HybridIndex(INDEXES, encoders=ENCODERS)
    assert repr(both) == "HybridIndex(words, vectors; rrf)"
    some = IDS[:9]
    filtered = both.search(QUERIES, k=5, filter=some)
    assert {i for row in filtered.ids for i in row} <= set(some)
    assert both.search("dog", k=1).ids.shape == (1, 1)
    assert both.search([], k=2).ids.shape == (0, 2)
    after = post_filter(lambda n: both.search(QUERIES, k=n), set(some), 3)
    assert after.ids.shape == (4, 3)
    each = both.search_each(QUERIES, 4)
    assert each["words"].ids.tolist() == WORDS.search(QUERIES, k=4).ids.tolist()


def test_integer_ids_and_empty_results():
    indexes = {"a": BM25Index.build(["red fox", "dog"]), "b": TfidfIndex.build(["red fox", "dog"])}
    assert hybrid(indexes, ["fox", "cat"], 2).ids.tolist() == [[0, None], [None, None]]
    assert hybrid(indexes, ["cat"], 1).ids.tolist() == [[None]]


def test_routed_search_asks_the_chosen_index():
    class Fixed(QueryRouter):
        def choose(self, queries):
            return ["words", "vectors", "all", "words"][: len(queries)]

    router = Fixed("words", "vectors")
    hits = HybridIndex(INDEXES, encoders=ENCODERS, router=router).search(QUERIES, k=3)
    fused = hybrid(INDEXES, QUERIES, 3, encoders=ENCODERS)
    words, dense = WORDS.search(QUERIES, k=3), DENSE.search(ENCODED, k=3)
    assert [row.tolist() for row in hits.ids] == [
        row.tolist() for row in (words.ids[0], dense.ids[1], fused.ids[2], words.ids[3])
    ]


def test_features():
    index = BM25Index.build(["red fox", "red dog"])
    red, fox = np.log1p(0.5 / 2.5), np.log1p(1.5 / 1.5)
    got = query_features(["red foxes unicorn red", "", "the"], index)
    np.testing.assert_allclose(got[0], [4, 0.75, (3 + 3 + 7 + 3) / 4, 0.75, (2 * red + fox) / 3, fox])
    assert not got[1:].any()


def test_a_trained_router_learns_which_index_is_better():
    rng = np.random.default_rng(0)
    short = [" ".join(rng.choice(["red", "fox", "dog"], 2)) for _ in range(40)]
    long = [" ".join(rng.choice(["explain", "differentiable", "sorting", "operators"], 8)) for _ in range(40)]
    good = np.r_[np.ones(40), np.zeros(40)] + rng.normal(size=80) * 0.1
    router = QueryRouter("words", "vectors").fit(short + long, {"words": good, "vectors": 1 - good})
    assert router.names == ("words", "vectors")
    assert router.choose(["a dog", "explain sorting operators explain differentiable sorting of operators"]) == [
        "words",
        "vectors",
    ]
    np.testing.assert_allclose(router.predict(short + long).mean(axis=0), [good.mean(), 1 - good.mean()], atol=1e-6)
    assert router.choose([]) == []


def test_ridge_regression_equals_the_normal_equations():
    queries = ["red fox", "dog", "a longer query about something", "red red red"]
    value = np.array([0.1, 0.9, 0.4, 0.6])
    router = QueryRouter("w", "v").fit(queries, {"w": value}, ridge=0.5)
    x = query_features(queries)
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    # The intercept is free, so centred data give the slopes by themselves.
    slopes = np.linalg.solve(z.T @ z + 0.5 * np.eye(6), z.T @ (value - value.mean()))
    np.testing.assert_allclose(router.predict(queries)[:, 0], z @ slopes + value.mean(), atol=1e-7)


def test_bad_input(unchecked):
    short = {"vectors": lambda queries: ENCODED[:2]}
    for call, error, message in (
        (lambda: HybridIndex({}), RetrieveError, "no index to search"),
        (
            lambda: HybridIndex(INDEXES, encoders={"x": len}),
            RetrieveError,
            "no index 'x'; there are words",
        ),
        (lambda: HybridIndex(INDEXES, router=QueryRouter("words", "y")), RetrieveError, "there is no index 'y'"),
        (lambda: HybridIndex(INDEXES, depth=0), RetrieveError, "depth must be"),
        (
            lambda: hybrid(INDEXES, QUERIES, encoders=short),
            RetrieveError,
            "got 2 queries, expected 4",
        ),
        (lambda: hybrid(INDEXES, QUERIES, encoders=ENCODERS, method="magic"), FusionError, "magic"),
        (lambda: QueryRouter("a", "b").predict(["x"]), RetrieveError, "not trained; call fit first"),
        (lambda: QueryRouter("a", "b").fit([], {}), RetrieveError, "one per query"),
        (
            lambda: QueryRouter("a", "b").fit(["x"], {"a": [1.0, 2.0]}),
            RetrieveError,
            "of 'a' are no 1 finite",
        ),
    ):
        with pytest.raises(error, match=message):
            call()
