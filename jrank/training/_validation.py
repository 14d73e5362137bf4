"""The metric that validations measure, compiled once per shape."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jrank.metrics import ndcg_metric
from jrank.types import Array

__all__ = ["compiled_metric", "ndcg_at_10"]

ndcg_at_10 = functools.partial(ndcg_metric, topn=10)


@functools.lru_cache(maxsize=8)
def compiled_metric(metric: Callable[..., Array]) -> Callable[[Any, Any, Any], Array]:
    """Return ``(scores, labels, where)`` to the metric, compiled; the same metric gives the same function.

    Args:
      metric: ``(scores, labels, *, where)``.
    """
    return jax.jit(lambda scores, labels, where: metric(scores, labels, where=where))
