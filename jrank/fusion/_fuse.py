"""Fuse runs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jrank.errors import FusionError
from jrank.fusion._align import Aligned, align
from jrank.fusion._entries import fuse_ranks, fuse_scores, sums_alone
from jrank.fusion._methods import Method, resolve_method
from jrank.runs import Run

__all__ = ["as_runs", "as_weights", "fuse"]


def as_runs(runs: Any) -> list[Run]:
    """Return a list of runs.

    Args:
      runs: runs, or mappings ``{query id: {document id: score}}``.

    Raises:
      FusionError: there is none.
    """
    if isinstance(runs, (Run, str)) or not isinstance(runs, (Sequence, Mapping)):
        raise TypeError(f"runs must be a list of runs, got {type(runs).__name__}")
    values = list(runs.values()) if isinstance(runs, Mapping) else list(runs)
    if not values:
        raise FusionError("there is no run to fuse", reason="empty_input", hint="pass a list of runs")
    return [run if isinstance(run, Run) else Run(run) for run in values]


def as_weights(weights: Any) -> np.ndarray:
    """Return weights as an array.

    Args:
      weights: one number per run.

    Raises:
      FusionError: they are no numbers.
    """
    try:
        array = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        array = None
    if array is None or array.ndim != 1:
        raise FusionError(
            f"weights is {weights!r}", reason="invalid_config", hint="pass a list of numbers, one for each run"
        )
    return array


def fuse(
    runs: Sequence[Any] | Mapping[str, Any],
    *,
    method: str = "rrf",
    preset: str | None = None,
    queries: str = "union",
    depth: int | None = None,
    name: str = "",
    **params: Any,
) -> Run:
    """Fuse several runs into one; on the host, without a compiler.

    Args:
      runs: runs, or mappings ``{query id: {document id: score}}``; a mapping of names to runs will do.
      method: "rrf", "comb_sum", "comb_mnz", "borda", "condorcet", "rbc", "dbsf" or another of ``list_methods()``.
      preset: a system whose options are taken, such as "qdrant" or "weaviate" for "rrf"; see ``PRESETS``.
      queries: "union" fuses every query with the runs that hold it; "intersection" only queries that all runs hold.
      depth: how many documents of each run count, or None for all.
      name: what the fused run is called; the method by default.
      **params: options of the method, such as ``k`` or ``weights``; see the function of that name.

    Returns:
      The fused run, with every document that any of the runs holds.

    Raises:
      FusionError: there is no run, the method or an option is unknown, or an option does not fit.

    Numerics: float64. Documents of equal score are ranked by id, as everywhere (see ``Run``).
    Cost: O(n log n) in the number of entries; arrays of a few megabytes at a time.

    >>> bm25 = {"q1": {"d1": 12.0, "d2": 7.0, "d3": 1.0}}
    >>> dense = {"q1": {"d2": 0.9, "d4": 0.8}}
    >>> list(fuse([bm25, dense])["q1"])
    ['d2', 'd1', 'd4', 'd3']
    """
    found, params = resolve_method(method, params, preset)
    listed = as_runs(runs)
    if params.get("weights") is not None:
        params["weights"] = as_weights(params["weights"])
    aligned = align(listed, queries=queries, depth=depth)
    if found.term is not None and not params.get("weights_in_rank"):
        values = fuse_ranks(aligned, found.term, params)
    elif found.power is not None and sums_alone(params):
        values = fuse_scores(aligned, found, params)
    else:
        values = _block_by_block(aligned, found, params)
    run = aligned.to_run(values)
    run.name = name or method
    return run


def _block_by_block(aligned: Aligned, found: Method, params: dict[str, Any]) -> np.ndarray:
    values = np.empty(len(aligned.codes))
    wanted = {"ranks": found.uses_ranks(params), "scores": found.takes == "scores"}
    for side in aligned.sides(square=found.square, **wanted):
        fused = np.asarray(found(side.ranks, side.scores, **params), np.float64)
        if side.block.full:
            values[side.block.index] = fused
        else:
            values[side.block.index[side.block.where]] = fused[side.block.where]
    return values
