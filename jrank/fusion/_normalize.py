"""Bring the scores of different runs onto one scale.

Every function takes scores, where they are present, and ranks or None, ``[..., runs, docs]``; it works along the last
axis and returns the new scores and where they count.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Real

from jrank.errors import FusionError
from jrank.fusion._space import count_not_above, scores_of

__all__ = ["NORMALIZATIONS", "normalize", "resolve_norm"]

# Below this a range, or half of it, counts as none.
EPSILON = 1e-9


def _extent(xp: ModuleType, s: Any, present: Any) -> tuple[Any, Any]:
    some = xp.any(present, axis=-1, keepdims=True)
    low = xp.min(xp.where(present, s, xp.inf), axis=-1, keepdims=True)
    high = xp.max(xp.where(present, s, -xp.inf), axis=-1, keepdims=True)
    return xp.where(some, low, 0), xp.where(some, high, 0)


def _over(xp: ModuleType, a: Any, b: Any, otherwise: Any) -> Any:
    """Return a / b, and ``otherwise`` where b is no more than rounding; the gradient is finite everywhere."""
    fine = b > EPSILON
    return xp.where(fine, a / xp.where(fine, b, 1), otherwise)


def _half(a: Any, b: Any) -> Any:
    """Return half of a - b, which does not overflow."""
    return 0.5 * a - 0.5 * b


def min_max(xp: ModuleType, s: Any, present: Any, ranks: Any, *, constant: Any = 0.0) -> tuple[Any, Any]:
    """Map the lowest score to 0 and the highest to 1; ``constant`` where all are equal."""
    low, high = _extent(xp, s, present)
    return _over(xp, _half(s, low), _half(high, low), constant), present


def min_max_floor(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Map as ``min_max`` does, with 0.001 for the lowest, so that it counts as found, and 1 where all are equal."""
    values, _ = min_max(xp, s, present, ranks, constant=1.0)
    return xp.where(values > 0, values, 0.001), present


def min_max_raw(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Map as ``min_max`` does, and leave scores as they are where all are equal."""
    return min_max(xp, s, present, ranks, constant=s)


def min_max_inverted(xp: ModuleType, s: Any, present: Any, ranks: Any, *, constant: Any = 0.0) -> tuple[Any, Any]:
    """Map the lowest score to 1 and the highest to 0, for distances; ``constant`` where all are equal."""
    low, high = _extent(xp, s, present)
    return _over(xp, _half(high, s), _half(high, low), constant), present


def maximum(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Divide by the highest score; where none is positive, by the largest magnitude, so the order stays."""
    low, high = _extent(xp, s, present)
    return _over(xp, s, xp.where(high > EPSILON, high, -low), 0), present


def total(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Subtract the lowest score and divide by the sum; 0 where all are equal."""
    low, _ = _extent(xp, s, present)
    moved = xp.where(present, s - low, 0)
    return _over(xp, moved, xp.sum(moved, axis=-1, keepdims=True), 0), present


def _moments(xp: ModuleType, s: Any, present: Any, ddof: int) -> tuple[Any, Any]:
    n = xp.sum(present, axis=-1, keepdims=True).astype(s.dtype)
    mean = xp.sum(xp.where(present, s, 0), axis=-1, keepdims=True) / xp.maximum(n, 1)
    # Centred sum of squares: no cancellation, and exactly 0 for equal scores.
    centred = xp.where(present, s - mean, 0)
    variance = xp.sum(centred * centred, axis=-1, keepdims=True) / xp.maximum(n - ddof, 1)
    spread = variance > (EPSILON * xp.maximum(xp.abs(mean), 1)) ** 2
    return mean, xp.where(spread, xp.sqrt(xp.where(spread, variance, 1)), 0)


def zmuv(xp: ModuleType, s: Any, present: Any, ranks: Any, *, clip: Any = None) -> tuple[Any, Any]:
    """Subtract the mean and divide by the standard deviation (over n); 0 where all are equal. ``clip=3`` bounds it."""
    mean, deviation = _moments(xp, s, present, 0)
    z = _over(xp, s - mean, deviation, 0)
    return (z if clip is None else xp.clip(z, -clip, clip)), present


def dbsf(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Map mean - 3 deviations to 0 and mean + 3 deviations to 1 (deviation over n - 1); 0.5 where all are equal."""
    mean, deviation = _moments(xp, s, present, 1)
    return _over(xp, s - mean + 3 * deviation, 6 * deviation, 0.5), present


def by_rank(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Map the first of L documents to 1, the last to 1 / L."""
    length = xp.maximum(xp.sum(present, axis=-1, keepdims=True), 1).astype(s.dtype)
    r = _ranks(xp, s, present) if ranks is None else xp.where(present, ranks, 1)
    return 1 - (r - 1) / length, present


def by_borda(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Map ranks to Borda points divided by the number of candidates; documents that a run lacks share its rest."""
    length = xp.sum(present, axis=-1, keepdims=True).astype(s.dtype)
    candidates = xp.any(present, axis=-2, keepdims=True)
    n = xp.maximum(xp.sum(candidates, axis=-1, keepdims=True), 1).astype(s.dtype)
    r = _ranks(xp, s, present) if ranks is None else xp.where(present, ranks, 1)
    values = xp.where(present, 1 - (r - 1) / n, 0.5 - (length - 1) / (2 * n))
    return values, xp.broadcast_to(candidates, present.shape)


def _ranks(xp: ModuleType, s: Any, present: Any) -> Any:
    """Return 1-based ranks, equal scores in the order of the input."""
    order = xp.argsort(xp.where(present, -s, xp.inf), axis=-1, stable=True)
    return (xp.argsort(order, axis=-1, stable=True) + 1).astype(s.dtype)


def l2(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Divide by the Euclidean length; 0 where all scores are 0."""
    square = xp.sum(xp.where(present, s * s, 0), axis=-1, keepdims=True)
    some = square > EPSILON**2
    return xp.where(some, s / xp.sqrt(xp.where(some, square, 1)), 0), present


def sigmoid(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Map scores to 1 / (1 + exp(-score))."""
    return 0.5 * (1 + xp.tanh(0.5 * s)), present


def quantile(xp: ModuleType, s: Any, present: Any, ranks: Any) -> tuple[Any, Any]:
    """Map a score to the share of the run's scores that are not above it; equal scores get equal values."""
    length = xp.maximum(xp.sum(present, axis=-1, keepdims=True), 1).astype(s.dtype)
    filled = xp.where(present, s, xp.inf).reshape(-1, s.shape[-1])
    below = count_not_above(xp, filled).reshape(s.shape)
    return below.astype(s.dtype) / length, present


Norm = Callable[..., tuple[Any, Any]]

# Name -> normalisation. A new one is one function and one line.
NORMALIZATIONS: dict[str, Norm] = {
    "min_max": min_max,
    "min_max_half": partial(min_max, constant=0.5),
    "min_max_one": partial(min_max, constant=1.0),
    "min_max_floor": min_max_floor,
    "min_max_raw": min_max_raw,
    "min_max_inverted": min_max_inverted,
    "max": maximum,
    "sum": total,
    "zmuv": zmuv,
    "zmuv_clipped": partial(zmuv, clip=3.0),
    "dbsf": dbsf,
    "rank": by_rank,
    "borda": by_borda,
    "l2": l2,
    "sigmoid": sigmoid,
    "quantile": quantile,
}

_ALIASES = {"z_score": "zmuv", "standardize": "zmuv", "standardized": "zmuv_clipped", "minmax": "min_max"}


def resolve_norm(norm: str | None) -> Norm | None:
    """Return the normalisation of a name; None for none.

    Args:
      norm: a key of ``NORMALIZATIONS``, with "-" or "_", or None.

    Raises:
      FusionError: the name is unknown.
    """
    if norm is None:
        return None
    if not isinstance(norm, str):
        raise TypeError(f"norm must be a name or None, got {type(norm).__name__}")
    name = norm.lower().replace("-", "_")
    name = _ALIASES.get(name, name)
    if name == "none":
        return None
    if name not in NORMALIZATIONS:
        raise FusionError(
            f"unknown normalisation {norm!r}",
            reason="invalid_config",
            hint=f"known: {', '.join(sorted(NORMALIZATIONS))} or None",
        )
    return NORMALIZATIONS[name]


def normalize(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    norm: str | None = "min_max",
) -> Float[Any, "*batch runs docs"]:
    r"""Bring the scores of each run onto a common scale.

    Args:
      scores: any real scores; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      norm: "min_max" (0 to 1), "min_max_half" and "min_max_one" (the same, and 0.5 or 1 where all scores are equal, the
        latter as Weaviate has it), "min_max_floor" and "min_max_raw" (as OpenSearch and Elasticsearch have it: 0.001
        for the lowest and 1 for equal scores; equal scores as they are), "min_max_inverted" (for distances), "max",
        "sum", "zmuv" (mean 0, variance 1), "zmuv_clipped" (the same within -3 to 3), "dbsf" (mean ± 3 deviations to 0
        to 1), "rank", "borda", "l2", "sigmoid", "quantile", or None.

    Returns:
      New scores; -inf where the run lacks the document ("borda" gives those a value as well).

    Raises:
      FusionError: shapes do not fit, or the name is unknown.

    Numerics: lists of equal scores and single documents give a defined value: 0 for most, 0.5 for "dbsf".
    Cost: O(runs docs), times log docs for "rank", "borda" and "quantile".

    >>> import numpy as np
    >>> normalize(np.array([[3.0, 1.0, 2.0, -np.inf]])).tolist()
    [[1.0, 0.0, 0.5, -inf]]
    """
    xp, s, present = scores_of(scores, where)
    fn = resolve_norm(norm)
    if fn is not None:
        s, present = fn(xp, s, present, None)
    s = xp.where(present, s, -np.inf)
    return s.astype(scores.dtype) if scores.dtype.itemsize < 4 and scores.dtype.kind not in "iub" else s
