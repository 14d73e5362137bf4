"""Metrics made differentiable by soft ranks."""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank import soft
from jrank.metrics import default_discount_fn, default_gain_fn, ndcg_metric
from jrank.metrics._lists import Fn
from jrank.transforms._steps import approx_cutoff, sigmoid_ranks
from jrank.types import Array, ArrayLike

__all__ = ["approx_ndcg_loss", "approx_t12n", "with_ranks"]


def with_ranks(
    metric_fn: Fn,
    rank_fn: Fn,
    cutoff_fn: Fn,
    prefix: str,
) -> Fn:
    """Negate a metric and put other rank and cut-off functions into it.

    Args:
      metric_fn: a metric, or a ``functools.partial`` of one.
      rank_fn: scores to ranks.
      cutoff_fn: negated ranks to cut-offs.
      prefix: what the name and the docstring of the loss begin with.

    Returns:
      The loss. Its keyword arguments are those of the metric.
    """
    parameters = inspect.signature(metric_fn).parameters
    chosen = {"rank_fn": rank_fn, "cutoff_fn": cutoff_fn}
    options = {name: fn for name, fn in chosen.items() if name in parameters}

    @functools.wraps(metric_fn)
    def loss_fn(scores, labels, **kwargs):
        return -metric_fn(scores, labels, **{**options, **kwargs})

    inner = metric_fn.func if isinstance(metric_fn, functools.partial) else metric_fn
    name = getattr(inner, "__name__", type(inner).__name__)
    loss_fn.__name__ = loss_fn.__qualname__ = f"{prefix}_{name}"
    loss_fn.__doc__ = f"{prefix.capitalize()} {getattr(inner, '__doc__', None) or name}"
    return loss_fn


def _sigmoid(temperature: Real[ArrayLike, ""]) -> Callable[[Array], Array]:
    def step(x: Array) -> Array:
        return jax.nn.sigmoid(x / jnp.asarray(temperature, x.dtype))

    return step


def _soft_rank_fn(method: str, temperature: Real[ArrayLike, ""]) -> Fn:
    if method == "sigmoid":

        def logistic_ranks(scores, *, where=None, segments=None, key=None, wanted=None):
            return sigmoid_ranks(scores, temperature, where=where, segments=segments, wanted=wanted)

        return logistic_ranks

    def rank_fn(scores, *, where=None, segments=None, key=None):
        return soft.rank(
            scores, method=method, temperature=temperature, descending=True, where=where, segments=segments
        )

    return rank_fn


def approx_t12n(
    metric_fn: Fn,
    temperature: Real[ArrayLike, ""] = 1.0,
    *,
    method: str = "sigmoid",
    rank_fn: Fn | None = None,
) -> Fn:
    r"""Turn a metric into a differentiable loss: soft ranks and cut-offs take the place of the exact ones.

    .. math:: \ell(s, y) = -\operatorname{metric}(\tilde{r}(s), y), \quad
        \tilde{r}_i = 1 + \sum_{j \ne i} \sigma\left(\frac{s_j - s_i}{T}\right)

    Args:
      metric_fn: a metric with ``rank_fn`` and ``cutoff_fn``, as all of ``jrank.metrics`` that depend on ranks have;
        also a ``functools.partial`` of one.
      temperature: T, in the units of the scores; towards 0 the loss tends to the negated metric and its gradient to 0.
        May be traced.
      method: how the ranks are made soft: any method of ``jrank.soft.rank``. The formula above is that of "sigmoid".
        Ordered pair accuracy, Kendall's tau and the AP correlation rank within groups of labels, which takes one with
        segments: "sigmoid", "l2", "kl" or "laplace".
      rank_fn: a rank function of your own in place of ``method``; the largest score has rank 1.

    Returns:
      A loss with the arguments of the metric. Its values are negated metric values, so about -1 is best for NDCG.
      Masked items, and items with score -inf, take no part in ranks and cut-offs.

    Numerics: the cut-off of ``topn`` lies half-way between the k-th and the next rank and is a constant for gradients.
    Cost: that of the soft ranks: O(n w) time for "sigmoid" with w items that the metric counts (for NDCG those with a
    gain) in a list of n, O(n log n) for "l2", "kl" and "laplace"; O(n) memory beside one block of pairs.
    References: Qin, Liu and Li 2010, "A general approximation framework for direct optimization of information
    retrieval measures"; Bruch et al. 2019, "Revisiting approximate metric optimization in the age of deep neural
    networks".

    >>> from jrank.metrics import mrr_metric
    >>> approx_mrr = approx_t12n(mrr_metric)
    >>> print(f"{approx_mrr(jnp.array([0.0, 1.0, 3.0, 2.0]), jnp.array([0.0, 0.0, 1.0, 2.0])):.4f}")
    -0.6966
    """
    step = _sigmoid(temperature)
    if rank_fn is None:
        rank_fn = _soft_rank_fn(method, temperature)
    return with_ranks(metric_fn, rank_fn, functools.partial(approx_cutoff, step_fn=step), "approx")


def approx_ndcg_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    method: str = "sigmoid",
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""ApproxNDCG: the negated NDCG at soft ranks, ``approx_t12n(ndcg_metric)`` as one function.

    .. math:: \ell(s, y) = -\frac{1}{\operatorname{idcg}(y)} \sum_i \operatorname{gain}(y_i)
        \operatorname{discount}(\tilde{r}_i)

    Args:
      scores: larger is better; only their differences matter.
      labels: grades.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the gain of each item.
      topn: the cut-off, soft; None for none.
      temperature: in the units of the scores; see ``approx_t12n``.
      method: any method of ``jrank.soft.rank``.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, in [-1, 0]; 0 for a list without a gain. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.
      SoftError: the method is unknown.

    Cost: see ``approx_t12n``.
    References: Qin, Liu and Li 2010; see ``approx_t12n``.

    >>> print(f"{approx_ndcg_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])):.4f}")
    -0.7064
    """
    loss = approx_t12n(ndcg_metric, temperature, method=method)
    return loss(
        scores,
        labels,
        where=where,
        segments=segments,
        weights=weights,
        topn=topn,
        gain_fn=gain_fn,
        discount_fn=discount_fn,
        reduce_fn=reduce_fn,
    )
