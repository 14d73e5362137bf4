"""Effect sizes: how large is a difference, in units that do not depend on the metric?"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from jrank.errors import EvalError
from jrank.stats._values import deviation, differences, on_device, values

__all__ = ["EFFECTS", "effect_size"]


def _cohen(a: np.ndarray, b: np.ndarray) -> float:
    d = a - b
    if len(d) < 2 or not d.any():
        return 0.0
    spread = deviation(d)
    return float(d.mean() / spread) if spread else math.copysign(math.inf, d[0])


def _hedges(a: np.ndarray, b: np.ndarray) -> float:
    free = len(a) - 1
    if free < 2:
        return 0.0 if free < 1 else _cohen(a, b)
    # The mean of d over samples exceeds what it estimates by this factor.
    log = math.lgamma(free / 2) - math.lgamma((free - 1) / 2)
    return _cohen(a, b) * math.exp(log) / math.sqrt(free / 2)


def _rank_biserial(a: np.ndarray, b: np.ndarray) -> float:
    d = a - b
    d = d[d != 0]
    if not len(d):
        return 0.0
    _, place, counts = np.unique(np.abs(d), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float(np.sum(ranks * np.sign(d)) / np.sum(ranks))


def _superiority(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a > b) + (a == b) / 2))


def _cliff(a: np.ndarray, b: np.ndarray) -> float:
    ordered = np.sort(b)
    below, above = np.searchsorted(ordered, a, side="left"), len(b) - np.searchsorted(ordered, a, side="right")
    return float(np.mean((below - above) / len(b)))


EFFECTS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "cohen": _cohen,
    "hedges": _hedges,
    "rank_biserial": _rank_biserial,
    "superiority": _superiority,
    "cliff": _cliff,
}


def effect_size(a: Any, b: Any, *, kind: str = "cohen", where: Any = None) -> Any:
    r"""Size of a paired difference.

    .. math:: d_z = \bar d / s_d

    for the default: the mean difference in standard deviations of the differences.

    Args:
      a: one value per query of the one system, ``[q]``; for "cohen" arrays of JAX also ``[..., q]``.
      b: the values of the other, in the same order.
      kind: one of

        - "cohen", above;
        - "hedges": the same without its bias in small samples;
        - "rank_biserial": the sum of signed ranks of the differences over that of all ranks, in [-1, 1], Wilcoxon's
          companion;
        - "superiority": the share of queries on which ``a`` is better, ties counting half, in [0, 1];
        - "cliff": how much more often a value of ``a`` exceeds one of ``b`` than the reverse, over all pairs of
          queries, in [-1, 1].
      where: True at the queries that count. None: all do.

    Returns:
      The effect size. By the standard deviation: 0 for a single query or where all differences are 0, infinite where
      they are equal and not 0.

    Raises:
      EvalError: the lengths differ, there is no value, a value is not finite, or the kind is unknown.

    References: Cohen 1988; Hedges 1981; Kerby 2014 (rank-biserial); Cliff 1993.

    >>> a, b = np.array([1.0, 3.0]), np.array([0.0, 0.0])
    >>> [round(effect_size(a, b, kind=kind), 4) for kind in ("cohen", "superiority", "cliff")]
    [1.4142, 1.0, 1.0]
    """
    if kind not in EFFECTS:
        raise EvalError(
            f"unknown effect size {kind!r}", reason="invalid_parameter", hint=f"known: {', '.join(EFFECTS)}"
        )
    if on_device(a, b) and kind == "cohen":
        from jrank.stats import _device

        return _device.effect_size(a, b, where)
    differences(a, b, where)  # checks that they are pairs
    return EFFECTS[kind](values(a, "a", where), values(b, "b", where))
