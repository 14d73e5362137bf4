"""Metrics bounded from below by hinges."""

import functools

import jax.numpy as jnp

from jrank.metrics._lists import Fn
from jrank.transforms._approx import with_ranks
from jrank.transforms._steps import approx_cutoff, approx_ranks
from jrank.types import Array

__all__ = ["bound_t12n"]


def _upper(x: Array) -> Array:
    return jnp.maximum(x + 1, jnp.zeros_like(x))


def _lower(x: Array) -> Array:
    return 1 - jnp.maximum(1 - x, jnp.zeros_like(x))


def bound_t12n(metric_fn: Fn) -> Fn:
    r"""Turn a metric into a differentiable loss: hinges bound the ranks from above and the cut-offs from below.

    .. math:: \ell(s, y) = -\operatorname{metric}(\hat{r}(s), y), \quad \hat{r}_i = 1 + \sum_{j \ne i} \max(0, 1 + s_j -
    s_i)

    Args:
      metric_fn: a metric with ``rank_fn`` and ``cutoff_fn``; also a ``functools.partial`` of one.

    Returns:
      A loss with the arguments of the metric: at least the negated metric, for metrics that fall with every rank. Those
      are all of ``jrank.metrics`` but ARP, infAP, the AP correlation, and the judged share at a cut-off. Masked items,
      and items with score -inf, take no part in ranks and cut-offs.

    Cost: O(n²) time, O(n) memory.
    References: Wang et al. 2018, "The LambdaLoss framework for ranking metric optimization".

    >>> from jrank.metrics import mrr_metric
    >>> bound_mrr = bound_t12n(mrr_metric)
    >>> print(f"{bound_mrr(jnp.array([0.0, 1.0, 3.0, 2.0]), jnp.array([0.0, 1.0, 0.0, 1.0])):.4f}")
    -0.3333
    """
    rank_fn = functools.partial(approx_ranks, step_fn=_upper)
    return with_ranks(metric_fn, rank_fn, functools.partial(approx_cutoff, step_fn=_lower), "bounded")
