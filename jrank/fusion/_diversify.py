"""Lists that do not say the same thing k times: maximal marginal relevance and determinantal point processes."""

import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from jrank.errors import FusionError
from jrank.fusion._normalize import resolve_norm
from jrank.fusion._space import check_option, floating, namespace

__all__ = ["dpp", "mmr", "tune_lambda"]

# A residual below this share of a document's length is rounding: it lies in the span of those chosen.
EXHAUSTED = 1e-9


def _repeat(xp: ModuleType, steps: int, body: Callable[[Any, Any], Any], state: Any) -> Any:
    if xp is np:
        for step in range(steps):
            state = body(step, state)
        return state
    return sys.modules["jax"].lax.fori_loop(0, steps, body, state)


def _arguments(relevance: Any, other: Any, where: Any, k: int, name: str) -> tuple[ModuleType, Any, Any, Any]:
    xp = namespace(relevance, other, where)
    relevance, other = floating(xp, relevance, "relevance"), floating(xp, other, name)
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise FusionError(f"k is {k!r}, expected an integer of at least 1", reason="invalid_config")
    if relevance.ndim < 1 or other.ndim < 2 or other.shape[:-1] != relevance.shape:
        raise FusionError(
            f"relevance of shape {tuple(relevance.shape)} and {name} of shape {tuple(other.shape)}, expected "
            f"[..., n] and [..., n, {'n' if name == 'similarity' else 'd'}]",
            reason="invalid_run",
        )
    valid = xp.isfinite(relevance)
    if where is not None:
        where = xp.asarray(where)
        if where.shape != relevance.shape:
            raise FusionError(
                f"where has shape {tuple(where.shape)}, expected {tuple(relevance.shape)}", reason="invalid_run"
            )
        valid = valid & (where != 0)
    return xp, xp.where(valid, relevance, 0), other, valid


def _choose(xp: ModuleType, score: Any, open_: Any) -> tuple[Any, Any]:
    """Return the best open place and whether there is one."""
    masked = xp.where(open_, score, -xp.inf)
    return xp.argmax(masked, axis=-1, keepdims=True), xp.any(open_, axis=-1, keepdims=True)


def mmr(
    relevance: Real[Any, "*batch n"],
    similarity: Real[Any, "*batch n n"],
    *,
    k: int,
    lam: Any = 0.5,
    where: Real[Any, "*batch n"] | Bool[Any, "*batch n"] | None = None,
    norm: str | None = "min_max",
) -> Int[Any, "*batch k"]:
    r"""Maximal marginal relevance: choose documents one after the other, relevant and unlike those already chosen.

    .. math:: \arg\max_d \; \lambda \, rel(d) - (1 - \lambda) \max_{s \in S} sim(d, s)

    Args:
      relevance: larger is better; -inf and NaN take no part.
      similarity: of every pair of documents; only the pairs of documents that take part are looked at.
      k: how many to choose.
      lam: 1 is the order by relevance, 0 looks at similarity alone. May be traced.
      where: True where there is a document.
      norm: how relevance is brought onto the scale of similarities, see ``normalize``; equal relevance counts as 1.
        None takes it as it is.

    Returns:
      int32 places in the order of choice; -1 where no document is left.

    Raises:
      FusionError: shapes do not fit, k < 1, or lam is not between 0 and 1.

    Numerics: ties go to the first place.
    Cost: O(k n) time.
    References: carbonell1998.

    >>> similarity = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> mmr(np.array([3.0, 2.9, 1.0]), similarity, k=2, lam=0.4).tolist()
    [0, 2]
    """
    xp, rel, similarity, valid = _arguments(relevance, similarity, where, k, "similarity")
    if similarity.shape[-1] != rel.shape[-1]:
        raise FusionError(f"similarity has shape {tuple(similarity.shape)}, expected [..., n, n]", reason="invalid_run")
    check_option("lam", lam, least=0, most=1)
    if not rel.shape[-1]:
        return xp.full((*rel.shape[:-1], k), -1, dtype=np.int32)
    fn = resolve_norm(norm)
    if fn is not None:
        options = {"constant": 1.0} if norm in ("min_max", "min-max") else {}
        rel = xp.where(valid, fn(xp, rel[..., None, :], valid[..., None, :], None, **options)[0][..., 0, :], 0)
    n = rel.shape[-1]
    place, turn = xp.arange(n, dtype=np.int32), xp.arange(k, dtype=np.int32)
    lead = (1,) * (rel.ndim - 1)
    place, turn = place.reshape((*lead, n)), turn.reshape((*lead, k))

    def step(i: Any, state: Any) -> Any:
        open_, nearest, chosen = state
        # The first choice has nothing to be unlike.
        penalty = xp.where(nearest == -xp.inf, 0, nearest)
        best, some = _choose(xp, lam * rel - (1 - lam) * penalty, open_)
        chosen = xp.where((turn == i) & some, best.astype(np.int32), chosen)
        to_best = xp.take_along_axis(similarity, best[..., None], axis=-1)[..., 0]
        nearest = xp.where(some, xp.maximum(nearest, xp.where(valid, to_best, -xp.inf)), nearest)
        return open_ & (place != best), nearest, chosen

    start = (valid, xp.full_like(rel, -xp.inf), xp.full((*rel.shape[:-1], k), -1, dtype=np.int32))
    return _repeat(xp, k, step, start)[2]


def dpp(
    relevance: Real[Any, "*batch n"],
    embeddings: Float[Any, "*batch n d"],
    *,
    k: int,
    alpha: Any = 1.0,
    where: Real[Any, "*batch n"] | Bool[Any, "*batch n"] | None = None,
) -> Int[Any, "*batch k"]:
    r"""Greedy choice from a determinantal point process: relevant documents that span a large volume.

    The kernel is :math:`L_{ij} = q_i q_j \cos(v_i, v_j)` with :math:`q = e^{\alpha \, rel}`; every step adds the
    document that makes the determinant of the chosen part largest. A copy of a chosen document is never chosen.

    Args:
      relevance: larger is better; -inf and NaN take no part.
      embeddings: one vector per document; only the direction matters.
      k: how many to choose.
      alpha: weight of relevance against diversity. May be traced.
      where: True where there is a document.

    Returns:
      int32 places in the order of choice; -1 where every document left lies in the span of those chosen.

    Raises:
      FusionError: shapes do not fit, or k < 1.

    Numerics: exact greedy choice by an incremental Cholesky factorisation; in logarithms, so exp never overflows. A
    zero vector is never chosen. Ties go to the first place.
    Cost: O(k n (d + k)) time, O(k n) memory.
    References: chen2018.

    >>> embeddings = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]])
    >>> dpp(np.array([1.0, 0.9, 0.5]), embeddings, k=3).tolist()
    [0, 2, -1]
    """
    xp, rel, v, valid = _arguments(relevance, embeddings, where, k, "embeddings")
    if not rel.shape[-1]:
        return xp.full((*rel.shape[:-1], k), -1, dtype=np.int32)
    v = xp.where(valid[..., None], v, 0)
    square = xp.sum(v * v, axis=-1, keepdims=True)
    some_length = square > 0
    v = xp.where(some_length, v / xp.sqrt(xp.where(some_length, square, 1)), 0)
    n = rel.shape[-1]
    lead = (1,) * (rel.ndim - 1)
    place, turn = xp.arange(n, dtype=np.int32).reshape((*lead, n)), xp.arange(k, dtype=np.int32).reshape((*lead, k))
    # Scores compare 2 alpha rel + log residual: the qualities cancel in the factorisation.
    bound = max(EXHAUSTED, 64 * float(np.finfo(v.dtype).eps))

    def step(i: Any, state: Any) -> Any:
        open_, residual, rows, chosen = state
        free = open_ & (residual > bound)
        best, some = _choose(xp, 2 * alpha * rel + xp.log(xp.where(free, residual, 1)), free)
        chosen = xp.where((turn == i) & some, best.astype(np.int32), chosen)
        at = best[..., None]
        direction = xp.take_along_axis(v, at, axis=-2)
        column = xp.take_along_axis(rows, best[..., None, :], axis=-1)
        pivot = xp.take_along_axis(residual, best, axis=-1)
        pivot = xp.where(some, pivot, 1)
        new = (xp.sum(v * direction, axis=-1) - xp.sum(rows * column, axis=-2)) / xp.sqrt(pivot)
        new = xp.where(some, new, 0)
        rows = xp.where((turn == i)[..., :, None], new[..., None, :], rows)
        return open_ & (place != best), residual - new * new, rows, chosen

    start = (
        valid,
        xp.where(some_length[..., 0], xp.ones_like(rel), 0),
        xp.zeros((*rel.shape[:-1], k, n), dtype=rel.dtype),
        xp.full((*rel.shape[:-1], k), -1, dtype=np.int32),
    )
    return _repeat(xp, k, step, start)[3]


def tune_lambda(
    relevance: Real[Any, "*batch n"],
    similarity: Real[Any, "*batch n n"],
    objective: Callable[[Any], Any],
    *,
    k: int,
    candidates: Sequence[float] = tuple(i / 20 for i in range(21)),
    **options: Any,
) -> tuple[float, dict[float, float]]:
    """Choose the lambda of ``mmr`` that makes an objective large, such as a measure of diversity on training queries.

    Args:
      relevance: see ``mmr``.
      similarity: see ``mmr``.
      objective: chosen places ``[..., k]`` -> a number, or one per query; larger is better.
      k: how many to choose.
      candidates: values of lambda to try.
      **options: further options of ``mmr``.

    Returns:
      The best lambda, the larger one of equals, and the objective of each candidate.

    Raises:
      FusionError: there is no candidate, or what ``mmr`` raises.

    >>> similarity = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> topics = np.array([0, 0, 1])
    >>> tune_lambda(np.array([3.0, 2.9, 1.0]), similarity, lambda chosen: len(set(topics[chosen])), k=2)[0]
    0.5
    """
    if not len(candidates):
        raise FusionError("there is no candidate for lambda", reason="empty_input")
    values = {
        float(lam): float(np.mean(np.asarray(objective(mmr(relevance, similarity, k=k, lam=float(lam), **options)))))
        for lam in candidates
    }
    return max(values, key=lambda lam: (values[lam], lam)), values
