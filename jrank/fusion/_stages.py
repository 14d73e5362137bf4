"""Two stages: mix the scores of a first stage with those of a second, slower one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jrank.errors import FusionError
from jrank.fusion._align import align
from jrank.fusion._normalize import NORMALIZATIONS, normalize, resolve_norm
from jrank.fusion._space import check_option
from jrank.runs import Run

__all__ = ["blend", "refine"]


def blend(
    first: Run | Mapping[str, Mapping[str, Any]],
    second: Run | Mapping[str, Mapping[str, Any]],
    *,
    alpha: float | int = 0.5,
    norm: str | None = "min_max",
    name: str = "blend",
) -> Run:
    r"""Mix the scores of two runs, for every document that either holds.

    .. math:: \alpha \, s_1 + (1 - \alpha) \, s_2

    A document that one run lacks gets that run's lowest score there.

    Args:
      first: a run.
      second: another.
      alpha: the share of the first.
      norm: how scores are brought onto one scale, see ``normalize``; a list of equal scores counts as 0.5. None takes
        them as they are.
      name: what the result is called.

    Returns:
      The mixed run.

    Raises:
      FusionError: alpha is not between 0 and 1, or the norm is unknown.

    >>> blend({"q": {"a": 2.0, "b": 1.0}}, {"q": {"a": 0.1, "b": 0.9}}, alpha=0.25)["q"]
    {'b': 0.75, 'a': 0.25}
    """
    return _mix(first, second, alpha, norm, name, depth=None, only_second=False)


def refine(
    first: Run | Mapping[str, Mapping[str, Any]],
    second: Run | Mapping[str, Mapping[str, Any]],
    *,
    alpha: float | int = 0.5,
    depth: int | None = None,
    norm: str | None = "min_max",
    name: str = "refine",
) -> Run:
    """Reorder the head of a first stage with the scores of a second; the tail follows as it was.

    Args:
      first: the first stage. Documents of the second stage that it lacks take no part.
      second: scores of some of its documents, such as those of a reranker.
      alpha: the share of the first stage, as in ``blend``; 0 trusts the second stage alone.
      depth: how many documents of the first stage may be reordered, or None for all that have a second score.
      norm: see ``blend``; over the documents that both hold.
      name: what the result is called.

    Returns:
      A run with every document of the first stage. Those with a second score come first, with scores of 1 and more; the
      others keep their order behind them, with scores below 0.

    Raises:
      FusionError: alpha is not between 0 and 1, depth < 1, or the norm is unknown.

    >>> first = {"q": {"a": 9.0, "b": 8.0, "c": 7.0}}
    >>> list(refine(first, {"q": {"a": 0.1, "b": 0.9}}, alpha=0.0)["q"])
    ['b', 'a', 'c']
    """
    return _mix(first, second, alpha, norm, name, depth=depth, only_second=True)


def _mix(
    first: Any, second: Any, alpha: float | int, norm: str | None, name: str, *, depth: int | None, only_second: bool
) -> Run:
    check_option("alpha", alpha, least=0, most=1)
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < 1):
        raise FusionError(f"depth is {depth!r}, expected an integer of at least 1", reason="invalid_config")
    pair = [run if isinstance(run, Run) else Run(run) for run in (first, second)]
    aligned = align(pair)
    values = np.empty(len(aligned.codes))
    for side in aligned.sides():
        present = np.isfinite(side.scores)
        if only_second:
            head = present.all(axis=1, keepdims=True)
            if depth is not None:
                head &= side.ranks[:, :1] <= depth
            mixed = _weighted(side.scores, np.broadcast_to(head, present.shape), alpha, norm)
            # Both parts keep their order; 1 and -1 keep them apart.
            low = mixed.min(axis=1, keepdims=True, where=head[:, 0], initial=0)
            mixed = np.where(head[:, 0], 1 + mixed - low, -side.ranks[:, 0])
            mixed = np.where(present[:, 0], mixed, -np.inf)
        else:
            mixed = _weighted(side.scores, present, alpha, norm)
        values[side.block.index[side.block.where]] = mixed[side.block.where]
    if only_second:
        return _without_missing(aligned.to_run(values), pair[0], name)
    run = aligned.to_run(values)
    run.name = name
    return run


def _weighted(scores: np.ndarray, present: np.ndarray, alpha: float, norm: str | None) -> np.ndarray:
    if resolve_norm(norm) is NORMALIZATIONS["min_max"]:
        norm = "min_max_half"
    normal = normalize(scores, where=present, norm=norm)
    held = np.isfinite(normal)
    lowest = np.min(np.where(held, normal, np.inf), axis=-1, keepdims=True)
    filled = np.where(held, normal, np.where(np.isfinite(lowest), lowest, 0))
    return alpha * filled[:, 0] + (1 - alpha) * filled[:, 1]


def _without_missing(run: Run, first: Run, name: str) -> Run:
    """Drop what the first stage does not hold."""
    data = run.interned
    kept = np.isfinite(data.values)
    rows = np.repeat(np.arange(len(data.queries)), data.lengths)[kept]
    result = Run._from_codes(list(data.queries), rows, data.vocabulary, data.codes[kept], data.values[kept])
    if len(result) > len(first):
        result = Run({query: result[query] for query in first})
    result.name = name
    return result
