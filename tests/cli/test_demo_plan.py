"""The part of a collection that the demo takes, and how it counts its steps."""

import pytest

from jrank.cli._demo_plan import DEFAULT, FULL, QUICK, Plan, estimate, take, training_steps
from jrank.data import Collection
from jrank.runs import Qrels

DOCS = [f"d{i}" for i in range(40)]
QUERIES = [f"q{i}" for i in range(12)]


@pytest.fixture
def collection():
    return Collection(
        name="small",
        doc_ids=DOCS,
        documents=[f"text of {doc}" for doc in DOCS],
        query_ids=QUERIES,
        queries=[f"question {query}" for query in QUERIES],
        qrels=Qrels({query: {DOCS[3 * i]: 1, DOCS[3 * i + 1]: 2} for i, query in enumerate(QUERIES)}),
        splits={"train": QUERIES[:6], "validation": QUERIES[6:8], "test": QUERIES[8:]},
    )


def test_everything_is_taken_where_nothing_is_limited(collection):
    part = take(collection, Plan(), seed=0)
    assert list(part.doc_ids) == DOCS
    assert list(part.query_ids) == QUERIES
    assert part.qrels == collection.qrels


def test_relevant_documents_of_kept_queries_stay(collection):
    plan = Plan(documents=20, queries={"train": 3, "validation": 1, "test": 2})
    part = take(collection, plan, seed=1)
    assert {split: len(ids) for split, ids in part.splits.items()} == {"train": 3, "validation": 1, "test": 2}
    assert len(part.doc_ids) == len(part.documents) == 20
    assert set(part.query_ids) == {query for ids in part.splits.values() for query in ids}
    for query in part.query_ids:
        assert part.qrels[query] == collection.qrels[query]
        assert set(part.qrels[query]) <= set(part.doc_ids)
    # The order is that of the whole, and texts stay with their ids.
    assert [DOCS.index(doc) for doc in part.doc_ids] == sorted(DOCS.index(doc) for doc in part.doc_ids)
    assert (
        dict(zip(part.doc_ids, part.documents, strict=True)).items()
        <= dict(zip(DOCS, collection.documents, strict=True)).items()
    )
    assert take(collection, plan, seed=1).doc_ids == part.doc_ids
    assert take(collection, plan, seed=2).query_ids != part.query_ids


def test_more_relevant_documents_than_asked_for_all_stay(collection):
    assert len(take(collection, Plan(documents=5), seed=0).doc_ids) == 24


@pytest.mark.parametrize(
    ("plan", "queries", "steps"), [(Plan(steps=5), 100, 5), (Plan(steps=50), 17, 3), (Plan(epochs=2), 17, 6)]
)
def test_steps(plan, queries, steps):
    assert training_steps(plan, queries) == steps


def test_larger_plans_take_longer(collection):
    times = [estimate(plan, collection) for plan in (QUICK, DEFAULT, FULL)]
    assert all(time > 0 for time in times)
