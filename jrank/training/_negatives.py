"""Training lists from what an index found: the relevant documents, and negatives that it took for relevant."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jrank.errors import TrainError

__all__ = ["mine_negatives"]


def mine_negatives(
    hits: Mapping[str, Any],
    qrels: Mapping[str, Mapping[str, Any]],
    *,
    num_negatives: int,
    max_positives: int | None = None,
    skip_top: int = 0,
    depth: int | None = None,
    min_grade: float | int = 1,
    seed: int = 0,
) -> dict[str, tuple[list[str], list[float]]]:
    """Make a training list of each query: its relevant documents, then documents that were found but are not relevant.

    Negatives that a first stage ranks high teach a reranker what it will have to tell apart. The very first of them are
    often relevant documents that nobody judged, which ``skip_top`` leaves out.

    Args:
      hits: for each query the ids of the found documents, best first (None is padding), or their scores by id; a
        ``Run`` is such a mapping, and ``dict(zip(query_ids, hits.ids))`` makes one of ``Hits``.
      qrels: grades by query and document; a ``Qrels`` will do.
      num_negatives: most negatives of a list.
      max_positives: most relevant documents of a list, those with the largest grades; None takes all.
      skip_top: ranks at the top that are not taken as negatives.
      depth: the last rank that may be a negative; None for all ranks.
      min_grade: the smallest grade that counts as relevant.
      seed: draws the negatives among the candidates; what a query gets does not depend on the other queries.

    Returns:
      For each query of ``hits`` with a relevant document, in that order: document ids, relevant ones first (by grade,
      then as in ``qrels``), then negatives in the order of their ranks; and labels, the grades and 0 for negatives. A
      query with too few candidates has fewer negatives.

    Raises:
      TrainError: a number is out of range.

    >>> found = {"q1": ["d4", "d1", "d2", "d3"], "q2": ["d1"]}
    >>> mine_negatives(found, {"q1": {"d1": 2, "d9": 1}}, num_negatives=2, skip_top=1)
    {'q1': (['d1', 'd9', 'd2', 'd3'], [2.0, 1.0, 0.0, 0.0])}
    """
    least = {"num_negatives": (num_negatives, 0), "skip_top": (skip_top, 0)}
    least |= {"max_positives": (max_positives, 1), "depth": (depth, 1)}
    for name, (value, low) in least.items():
        if value is not None and value < low:
            raise TrainError(f"{name} must be at least {low}, got {value}", reason="invalid_parameter")
    lists = {}
    for query, found in hits.items():
        if isinstance(found, str):
            raise TypeError(f"the hits of query {query!r} must be ids or scores by id, got a str")
        grades = qrels.get(query, {})
        relevant = sorted((doc for doc in grades if grades[doc] >= min_grade), key=lambda doc: -grades[doc])
        if not relevant:
            continue
        # A document below the grade is a negative like any other; only relevant ones are spared.
        spared = set(relevant)
        pool = [doc for doc in _ranking(found)[skip_top:depth] if doc is not None and doc not in spared]
        if len(pool) > num_negatives:
            rng = np.random.default_rng((seed, zlib.crc32(str(query).encode())))
            pool = [pool[i] for i in sorted(rng.permutation(len(pool))[:num_negatives])]
        positives = relevant[:max_positives]
        lists[query] = (
            positives + pool,
            [float(grades[doc]) for doc in positives] + [0.0] * len(pool),
        )
    return lists


def _ranking(found: Any) -> Sequence[str | None]:
    if isinstance(found, Mapping):
        return sorted(found, key=lambda doc: -found[doc])
    return list(found)
