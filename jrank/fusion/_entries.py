"""Runs fused entry by entry, without rectangular blocks: for the methods that are sums over the runs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jrank.fusion._align import Aligned
from jrank.fusion._methods import Method
from jrank.fusion._normalize import resolve_norm
from jrank.fusion._space import check_option, check_weights
from jrank.runs._ragged import blocks

__all__ = ["fuse_ranks", "fuse_scores", "sums_alone"]

# Scores that are normalised at a time.
CELLS = 1 << 17


def fuse_ranks(aligned: Aligned, term: Callable[..., Any], params: dict[str, Any]) -> np.ndarray:
    """Return one fused score per document.

    Args:
      aligned: the runs.
      term: what a run adds at a rank.
      params: options of the method.
    """
    options = {key: params[key] for key in params if key != "weights"}
    parts = term(aligned.rank.astype(np.float64), **options)
    return _sum(aligned, parts, _weights(aligned, params))


def sums_alone(params: dict[str, Any]) -> bool:
    """Return whether a method of scores looks at each run alone, before it adds up.

    Args:
      params: its options.
    """
    missing = params.get("missing", 0.0)
    plain = isinstance(missing, (int, float)) and missing == 0
    return plain and params.get("bias") is None and str(params.get("norm")).lower() != "borda"


def fuse_scores(aligned: Aligned, method: Method, params: dict[str, Any]) -> np.ndarray:
    """Return one fused score per document.

    Args:
      aligned: the runs.
      method: a method with ``power``.
      params: its options; see ``sums_alone``.
    """
    norm = params.get("norm", "min_max") if "norm" in method.params else method.name
    total = _sum(aligned, _normalized(aligned, norm), _weights(aligned, params))
    power = params.get(method.power, 1.0) if isinstance(method.power, str) else method.power
    check_option(str(method.power), power)
    if not power:
        return total
    return total * np.bincount(aligned.document, minlength=len(aligned.codes)).astype(np.float64) ** power


def _weights(aligned: Aligned, params: dict[str, Any]) -> np.ndarray | None:
    weights = check_weights(np, params.get("weights"), (len(aligned.sizes), 1), np.float64)
    return None if weights is None else np.repeat(weights[:, 0], aligned.sizes)


def _sum(aligned: Aligned, parts: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    return np.bincount(aligned.document, parts if weights is None else parts * weights, len(aligned.codes))


def _normalized(aligned: Aligned, norm: str | None) -> np.ndarray:
    fn = resolve_norm(norm)
    if fn is None or not len(aligned.score):
        return aligned.score
    # The list of one query in one run ends where the query changes, or the run.
    new = np.ones(len(aligned.row), bool)
    np.not_equal(aligned.row[1:], aligned.row[:-1], out=new[1:])
    ends = np.cumsum(aligned.sizes)
    new[ends[ends < len(new)]] = True
    offsets = np.append(np.flatnonzero(new), len(new))
    values = np.empty(len(aligned.score))
    for block in blocks(offsets, CELLS):
        scores = block.take(aligned.score, 0.0)[:, None, :]
        ranks = block.take(aligned.rank.astype(np.float64), 1.0)[:, None, :]
        normal = fn(np, scores, block.where[:, None, :], ranks)[0][:, 0]
        if block.full:
            values[block.index] = normal
        else:
            values[block.index[block.where]] = normal[block.where]
    return values
