"""Fusion by the Plackett-Luce model: the worth of documents that makes the runs most probable."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Real

from jrank.errors import FusionError
from jrank.fusion._space import check_option, check_weights, finish, is_concrete, ranks_of

__all__ = ["plackett_luce"]


def plackett_luce(
    ranks: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    prior: Any = 1.0,
    steps: int = 50,
) -> Float[Any, "*batch docs"]:
    r"""Plackett-Luce aggregation: read each run as draws without replacement, and find what the urn must hold.

    Document d has the worth :math:`\gamma_d`. A run draws its first document with probability proportional to worth,
    its second among the rest, and so on; what it lacks stays in the urn. The score is :math:`\ln \gamma_d` at the
    maximum of

    .. math:: \sum_i w_i \sum_{p} \Big( \ln \gamma_{\pi_i(p)} - \ln \sum_{q \ge p} \gamma_{\pi_i(q)} \Big)
        + a \sum_d (\ln \gamma_d - N \gamma_d)

    over the N documents that any run holds. The prior a keeps the worth of what is always first or never found finite.

    Args:
      ranks: 1-based ranks; 0 or less means that the run lacks the document. Documents at equal ranks are drawn
        from one urn, which still holds all of them.
      where: True where the run holds the document.
      weights: how many times each run counts, at least 0; 1 by default.
      prior: a, above 0; the larger, the closer to each other the scores. May be traced and differentiated.
      steps: how often the worths are improved.

    Returns:
      Fused scores, the logarithms of worths that sum to 1; -inf for a document that no run holds.

    Raises:
      FusionError: shapes, weights or options do not fit.

    Numerics: each step raises the objective; after 50, lists of ten documents are at the maximum to seven digits.
    Cost: O(steps runs docs), after sorting.
    References: hunter2004, guiver2009, caron2012.

    >>> import numpy as np
    >>> plackett_luce(np.array([[1, 2, 3], [1, 3, 2], [2, 1, 0]])).round(2).tolist()
    [-0.62, -1.24, -1.77]
    """
    check_option("prior", prior, least=0, within=True)
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        raise FusionError(f"steps is {steps!r}, expected an integer of at least 1", reason="invalid_config")
    xp, r, present = ranks_of(ranks, where, weights, prior)
    w = check_weights(xp, weights, r.shape, r.dtype)
    if w is not None and is_concrete(weights) and np.min(np.asarray(weights), initial=0) < 0:
        raise FusionError(
            f"weights {np.asarray(weights).tolist()} are not all 0 or more",
            reason="invalid_config",
            hint="a run cannot count less than not at all",
        )
    candidates = xp.any(present, axis=-2)
    number = xp.maximum(xp.sum(candidates, axis=-1, keepdims=True), 1)
    drawn = xp.where(present, 1 if w is None else w, 0).astype(r.dtype)
    wins = xp.sum(drawn, axis=-2) + prior

    order = xp.argsort(r, axis=-1)
    back = xp.argsort(order, axis=-1)
    first, last = _groups(xp, xp.take_along_axis(r, order, axis=-1))
    won = xp.take_along_axis(drawn, order, axis=-1)
    last = xp.take_along_axis(last, back, axis=-1)

    def improve(_: Any, worth: Any) -> Any:
        ordered = xp.take_along_axis(xp.broadcast_to(worth[..., None, :], r.shape), order, axis=-1)
        left = xp.flip(xp.cumsum(xp.flip(ordered, axis=-1), axis=-1), axis=-1)
        left = xp.take_along_axis(left, first, axis=-1)
        asked = xp.cumsum(xp.where(won > 0, won / xp.where(left > 0, left, 1), 0), axis=-1)
        share = xp.sum(xp.take_along_axis(asked, last, axis=-1), axis=-2)
        return xp.where(candidates, wins / (prior * number + share), 0)

    start = xp.where(candidates, 1 / number, 0).astype(r.dtype)
    worth = _repeat(xp, steps, improve, start)
    total = xp.sum(worth, axis=-1, keepdims=True)
    worth = xp.where(candidates, worth, 1) / xp.where(total > 0, total, 1)
    return finish(xp, xp.log(worth), present, ranks)


def _groups(xp: ModuleType, ordered: Any) -> tuple[Any, Any]:
    """Return the places of the first and the last of equal ranks."""
    docs = ordered.shape[-1]
    place = xp.broadcast_to(xp.arange(docs), ordered.shape)
    edge = xp.ones((*ordered.shape[:-1], 1), bool)
    new = xp.concatenate([edge, ordered[..., 1:] != ordered[..., :-1]], axis=-1)
    end = xp.concatenate([new[..., 1:], edge], axis=-1)
    first = _running_max(xp, xp.where(new, place, 0))
    last = docs - 1 - xp.flip(_running_max(xp, xp.flip(xp.where(end, docs - 1 - place, 0), axis=-1)), axis=-1)
    return first, last


def _running_max(xp: ModuleType, x: Any) -> Any:
    return np.maximum.accumulate(x, axis=-1) if xp is np else sys.modules["jax"].lax.cummax(x, axis=x.ndim - 1)


def _repeat(xp: ModuleType, steps: int, fn: Any, value: Any) -> Any:
    if xp is not np:
        return sys.modules["jax"].lax.fori_loop(0, int(steps), fn, value)
    for step in range(steps):
        value = fn(step, value)
    return value
