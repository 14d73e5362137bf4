"""How large the demo is: three plans, the part of a collection that a plan takes, and an estimate of the time."""

import dataclasses
import time

import numpy as np

from jrank.data import Collection
from jrank.runs import Qrels


@dataclasses.dataclass(frozen=True)
class Plan:
    """The size of every part.

    Attributes:
      documents: most documents; None takes all.
      queries: most queries of each split; None takes all.
      max_tokens: tokens of a text for retrieval.
      pair_tokens: tokens of a query and a document together, in training.
      served_tokens: the same in serving; what the model learned on short pairs holds on longer ones.
      depth: how many of the fused candidates the cross-encoder reranks.
      candidates: how many of them MaxSim and the learned ranker see.
      epochs: passes over the training queries for the cross-encoder.
      steps: most steps of the cross-encoder's training; None for whole epochs.
      queries_per_step: training queries of one step.
      negatives: mined negatives for each positive.
      resumable: whether the training keeps its state on disk; a few steps are quicker made again than stored.
    """

    documents: int | None = None
    queries: dict[str, int | None] = dataclasses.field(default_factory=dict)
    max_tokens: int = 256
    pair_tokens: int = 64
    served_tokens: int = 160
    depth: int = 20
    candidates: int = 50
    epochs: int = 1
    steps: int | None = None
    queries_per_step: int = 8
    negatives: int = 4
    resumable: bool = True


QUICK = Plan(
    documents=300,
    queries={"train": 80, "validation": 12, "test": 30},
    max_tokens=64,
    pair_tokens=48,
    served_tokens=96,
    depth=8,
    candidates=20,
    steps=6,
    queries_per_step=4,
    negatives=3,
    resumable=False,
)
DEFAULT = Plan(queries={"validation": 40, "test": 220}, max_tokens=128, served_tokens=128, steps=120)
FULL = Plan(queries={"validation": 100}, epochs=2)


def take(collection: Collection, plan: Plan, seed: int) -> Collection:
    """Return the part of a collection that a plan asks for; every relevant document of a kept query stays.

    Args:
      collection: the whole.
      plan: how much of it.
      seed: chooses which queries and which other documents.

    Returns:
      The part, in the order of the whole.
    """
    rng = np.random.default_rng(seed)

    def choose(ids: list[str], most: int | None) -> list[str]:
        if most is None or len(ids) <= most:
            return list(ids)
        return [ids[i] for i in np.sort(rng.permutation(len(ids))[:most])]

    splits = {split: choose(list(ids), plan.queries.get(split)) for split, ids in collection.splits.items()}
    kept = {query for ids in splits.values() for query in ids}
    judged = {query: grades for query, grades in collection.qrels.to_dict().items() if query in kept}
    needed = {doc for grades in judged.values() for doc in grades}
    others = [doc for doc in collection.doc_ids if doc not in needed]
    more = None if plan.documents is None else max(plan.documents - len(needed), 0)
    docs = needed | set(choose(others, more))
    where = [i for i, doc in enumerate(collection.doc_ids) if doc in docs]
    asked = [i for i, query in enumerate(collection.query_ids) if query in kept]
    return dataclasses.replace(
        collection,
        doc_ids=[collection.doc_ids[i] for i in where],
        documents=[collection.documents[i] for i in where],
        query_ids=[collection.query_ids[i] for i in asked],
        queries=[collection.queries[i] for i in asked],
        qrels=Qrels({query: {d: g for d, g in grades.items() if d in docs} for query, grades in judged.items()}),
        splits=splits,
    )


def estimate(plan: Plan, collection: Collection, *, hidden: int = 384, layers: int = 6) -> float:
    """Estimate the seconds of the whole from the arithmetic it takes and the speed of a matrix product here.

    Args:
      plan: the sizes.
      collection: the collection, already cut to the plan.
      hidden: width of the encoder.
      layers: its layers.

    Returns:
      Seconds.
    """
    per_token = 2 * 12 * hidden**2 * layers
    documents = np.array([len(text) / 4 for text in collection.documents] or [0])
    queries = np.array([len(text) / 4 for text in collection.queries] or [0])
    encoded = np.minimum(documents, plan.max_tokens).sum() + np.minimum(queries, plan.max_tokens).sum()
    pair = float(np.minimum(documents + queries.mean(), plan.served_tokens).mean())
    steps = training_steps(plan, len(collection.splits["train"]))
    # Forward and backward are three times the forward; int8 scores at about half the price again.
    trained = steps * plan.queries_per_step * (1 + plan.negatives) * plan.pair_tokens * 3
    reranked = (2 * len(collection.splits["test"]) + len(collection.splits["validation"])) * plan.depth * pair
    return FIXED_SECONDS + per_token * (encoded + trained + reranked) / (EFFICIENCY * matrix_speed())


# Imports, compilation, conversion to ONNX and the plots take about this long whatever the size, and the encoder reaches
# about this share of the speed of a matrix product: both were measured on 2 cores with AVX-512.
FIXED_SECONDS = 45.0
EFFICIENCY = 0.5


def training_steps(plan: Plan, queries: int) -> int:
    """Return how many steps the cross-encoder trains.

    Args:
      plan: the sizes.
      queries: how many training queries there are.
    """
    whole = plan.epochs * -(-queries // plan.queries_per_step)
    return whole if plan.steps is None else min(plan.steps, whole)


def matrix_speed(size: int = 1024) -> float:
    """Measure the floating-point operations per second of a matrix product here, in about half a second.

    Args:
      size: rows and columns.
    """
    import jax
    import jax.numpy as jnp

    product = jax.jit(lambda a: a @ a)
    matrix = jnp.ones((size, size), jnp.float32) / size
    product(matrix).block_until_ready()
    best = np.inf
    for _ in range(6):
        start = time.perf_counter()
        product(matrix).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
