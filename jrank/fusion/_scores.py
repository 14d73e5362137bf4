"""Fusion by score."""

from types import ModuleType
from typing import Any

from jaxtyping import Bool, Float, Real

from jrank.errors import FusionError
from jrank.fusion._normalize import resolve_norm
from jrank.fusion._space import check_option, check_weights, finish, is_concrete, scores_of, spread

__all__ = [
    "comb_anz",
    "comb_gmnz",
    "comb_max",
    "comb_med",
    "comb_min",
    "comb_mnz",
    "comb_sum",
    "dbsf",
    "mixed",
    "standardized",
    "wmnz",
]


def _prepare(
    scores: Any, where: Any, weights: Any, norm: str | None, ranks: Any, missing: Any, *others: Any
) -> tuple[ModuleType, Any, Any, Any, Any]:
    """Return namespace, normalised scores, where they count, weights, and where they counted before."""
    xp, s, present = scores_of(scores, where, weights, ranks, missing, *others)
    fn = resolve_norm(norm)
    held, counted = present, present
    if fn is not None:
        s, counted = fn(xp, s, present, ranks)
    s = xp.where(counted, s, 0)
    if not (is_concrete(missing) and isinstance(missing, (int, float)) and missing == 0):
        s = xp.where(counted, s, _fill(xp, s, counted, missing))
    return xp, s, counted, check_weights(xp, weights, s.shape, s.dtype), held


def _fill(xp: ModuleType, s: Any, counted: Any, missing: Any) -> Any:
    if isinstance(missing, str):
        if missing != "min":
            raise FusionError(f"missing is {missing!r}", reason="invalid_config", hint='use a number or "min"')
        some = xp.any(counted, axis=-1, keepdims=True)
        return xp.where(some, xp.min(xp.where(counted, s, xp.inf), axis=-1, keepdims=True), 0)
    check_option("missing", missing)
    return xp.asarray(missing, dtype=s.dtype)


def comb_sum(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    norm: str | None = "min_max",
    missing: Any = 0.0,
    bias: Any = None,
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""CombSUM, with weights also known as weighted or relative-score fusion: the sum of normalised scores.

    .. math:: \sum_{i \ni d} (w_i s_i + b_i)

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default. May be traced and differentiated.
      norm: see ``normalize``; None takes scores as they are.
      missing: the normalised score of a document in a run that lacks it: a number, or "min" for the run's lowest.
      bias: what it is worth that a run holds the document, one number per run; 0 by default. See ``fit``.
      ranks: 1-based ranks, for the normalisations that use them; computed from scores by default.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes, weights or options do not fit.

    Numerics: differentiable in scores and weights.
    Cost: O(runs docs).
    References: fox1994.

    >>> import numpy as np
    >>> comb_sum(np.array([[3.0, 1.0, 2.0], [10.0, 20.0, -np.inf]])).tolist()
    [1.0, 1.0, 0.5]
    """
    xp, s, counted, w, held = _prepare(scores, where, weights, norm, ranks, missing, bias)
    total = spread(xp, s, w)
    if bias is not None:
        total = total + spread(xp, counted.astype(s.dtype), check_weights(xp, bias, s.shape, s.dtype, name="bias"))
    return finish(xp, total, held, scores)


def comb_mnz(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    norm: str | None = "min_max",
    missing: Any = 0.0,
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""CombMNZ: the sum of normalised scores, times the number of runs that hold the document.

    .. math:: n \sum_i w_i s_i

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.
      norm: see ``normalize``.
      missing: see ``comb_sum``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes, weights or options do not fit.

    Cost: O(runs docs).
    References: fox1994.

    >>> import numpy as np
    >>> comb_mnz(np.array([[3.0, 1.0, 2.0], [10.0, 20.0, -np.inf]])).tolist()
    [2.0, 2.0, 0.5]
    """
    return comb_gmnz(scores, where=where, weights=weights, gamma=1.0, norm=norm, missing=missing, ranks=ranks)


def comb_gmnz(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    gamma: Any = 1.0,
    norm: str | None = "min_max",
    missing: Any = 0.0,
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""CombGMNZ: between CombSUM (gamma = 0) and CombMNZ (gamma = 1), or beyond.

    .. math:: n^\gamma \sum_i w_i s_i

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.
      gamma: how much agreement counts. May be traced and differentiated.
      norm: see ``normalize``.
      missing: see ``comb_sum``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes, weights or options do not fit.

    Cost: O(runs docs).
    References: lee1997.

    >>> import numpy as np
    >>> comb_gmnz(np.array([[1.0, 1.0], [1.0, -np.inf]]), gamma=2.0, norm=None).tolist()
    [8.0, 1.0]
    """
    check_option("gamma", gamma)
    xp, s, counted, w, held = _prepare(scores, where, weights, norm, ranks, missing, gamma)
    n = xp.maximum(xp.sum(counted, axis=-2), 1).astype(s.dtype)
    return finish(xp, spread(xp, s, w) * n**gamma, held, scores)


def comb_anz(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    norm: str | None = "min_max",
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""CombANZ: the mean of normalised scores over the runs that hold the document.

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      norm: see ``normalize``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or options do not fit.

    Cost: O(runs docs).
    References: fox1994.

    >>> import numpy as np
    >>> comb_anz(np.array([[3.0, 1.0, 2.0], [10.0, 20.0, -np.inf]])).tolist()
    [0.5, 0.5, 0.5]
    """
    return comb_gmnz(scores, where=where, gamma=-1.0, norm=norm, ranks=ranks)


def comb_max(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    norm: str | None = "min_max",
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""CombMAX: the highest normalised score of the document.

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      norm: see ``normalize``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or options do not fit.

    Cost: O(runs docs).
    References: fox1994.

    >>> import numpy as np
    >>> comb_max(np.array([[3.0, 1.0, 2.0], [10.0, 20.0, -np.inf]])).tolist()
    [1.0, 1.0, 0.5]
    """
    xp, s, counted, _, held = _prepare(scores, where, None, norm, ranks, 0)
    return finish(xp, xp.max(xp.where(counted, s, -xp.inf), axis=-2), held, scores)


def comb_min(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    norm: str | None = "min_max",
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""CombMIN: the lowest normalised score of the document among the runs that hold it.

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      norm: see ``normalize``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or options do not fit.

    Cost: O(runs docs).
    References: fox1994.

    >>> import numpy as np
    >>> comb_min(np.array([[3.0, 1.0, 2.0], [10.0, 20.0, -np.inf]])).tolist()
    [0.0, 0.0, 0.5]
    """
    xp, s, counted, _, held = _prepare(scores, where, None, norm, ranks, 0)
    return finish(xp, xp.min(xp.where(counted, s, xp.inf), axis=-2), held, scores)


def comb_med(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    norm: str | None = "min_max",
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""CombMED: the median of normalised scores over the runs that hold the document.

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      norm: see ``normalize``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or options do not fit.

    Cost: O(docs runs log runs).
    References: fox1994.

    >>> import numpy as np
    >>> comb_med(np.array([[1.0], [5.0], [2.0]]), norm=None).tolist()
    [2.0]
    """
    xp, s, counted, _, held = _prepare(scores, where, None, norm, ranks, 0)
    n = xp.sum(counted, axis=-2, keepdims=True)
    ordered = xp.sort(xp.where(counted, s, xp.inf), axis=-2)
    low = xp.take_along_axis(ordered, xp.maximum((n - 1) // 2, 0), axis=-2)
    high = xp.take_along_axis(ordered, xp.minimum(n // 2, s.shape[-2] - 1), axis=-2)
    middle = xp.where(n > 0, 0.5 * (xp.where(n > 0, low, 0) + xp.where(n > 0, high, 0)), 0)
    return finish(xp, middle[..., 0, :], held, scores)


def wmnz(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    norm: str | None = "min_max",
    missing: Any = 0.0,
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""Weighted MNZ: the sum of normalised scores, times the weights of the runs that hold the document.

    .. math:: \Big(\sum_i s_i\Big) \Big(\sum_{i \ni d} w_i\Big)

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default. May be traced and differentiated.
      norm: see ``normalize``.
      missing: see ``comb_sum``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes, weights or options do not fit.

    Cost: O(runs docs).
    References: wu2002.

    >>> import numpy as np
    >>> wmnz(np.array([[1.0, 1.0], [1.0, -np.inf]]), weights=np.array([0.75, 0.25]), norm=None).tolist()
    [2.0, 0.75]
    """
    xp, s, counted, w, held = _prepare(scores, where, weights, norm, ranks, missing)
    share = spread(xp, counted.astype(s.dtype), w)
    return finish(xp, spread(xp, s, None) * share, held, scores)


def mixed(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    norm: str | None = "min_max",
    missing: Any = 0.0,
    ranks: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""Mixed fusion: the weighted sum of normalised scores, times the root of the number of runs with the document.

    .. math:: \sqrt{n} \sum_i w_i s_i

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default. May be traced and differentiated.
      norm: see ``normalize``.
      missing: see ``comb_sum``.
      ranks: see ``comb_sum``.

    Returns:
      Fused scores; -inf for a document that no run holds.

    Raises:
      FusionError: shapes, weights or options do not fit.

    Cost: O(runs docs).

    >>> import numpy as np
    >>> mixed(np.array([[1.0, 1.0], [1.0, -np.inf]]), weights=np.array([0.75, 0.25]), norm=None).round(4).tolist()
    [1.4142, 0.75]
    """
    return comb_gmnz(scores, where=where, weights=weights, gamma=0.5, norm=norm, missing=missing, ranks=ranks)


def dbsf(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
) -> Float[Any, "*batch docs"]:
    r"""Distribution-based score fusion as Qdrant defines it: scores within three deviations of the mean, summed.

    .. math:: \sum_i w_i \frac{s_i - (\mu_i - 3 \sigma_i)}{6 \sigma_i}

    with the sample deviation (over n - 1), without clipping. ``standardized`` is the function that other systems call
    by this name.

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.

    Returns:
      Fused scores; a run with one document, or with equal scores, gives 0.5; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit.

    Cost: O(runs docs).

    >>> import numpy as np
    >>> dbsf(np.array([[1.0, 2.0, 3.0], [7.0, -np.inf, -np.inf]])).round(4).tolist()
    [0.8333, 0.5, 0.6667]
    """
    return comb_sum(scores, where=where, weights=weights, norm="dbsf")


def standardized(
    scores: Real[Any, "*batch runs docs"],
    *,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
    weights: Any = None,
    clip: Any = (-3.0, 3.0),
) -> Float[Any, "*batch docs"]:
    r"""The sum of clipped z-scores.

    .. math:: \sum_i w_i \, \mathrm{clip}((s_i - \mu_i) / \sigma_i)

    Args:
      scores: larger is better; -inf and NaN mean that the run lacks the document.
      where: True where the run holds the document.
      weights: one per run; 1 by default.
      clip: lowest and highest z-score.

    Returns:
      Fused scores; a run with one document, or with equal scores, gives 0; -inf for a document that no run holds.

    Raises:
      FusionError: shapes or weights do not fit, or the ends of ``clip`` are in the wrong order.

    Cost: O(runs docs).

    >>> import numpy as np
    >>> standardized(np.array([[1.0, 2.0, 3.0]]), clip=(-1.0, 1.0)).tolist()
    [-1.0, 0.0, 1.0]
    """
    if not isinstance(clip, (tuple, list)) or len(clip) != 2:
        raise FusionError(f"clip is {clip!r}, expected a lower and a higher number", reason="invalid_config")
    low, high = clip
    check_option("clip", low)
    check_option("clip", high)
    if is_concrete(low) and is_concrete(high) and not low < high:
        raise FusionError(f"clip is ({low}, {high}), expected a lower and a higher number", reason="invalid_config")
    xp, s, present, w, held = _prepare(scores, where, weights, "zmuv", None, 0)
    return finish(xp, spread(xp, xp.where(present, xp.clip(s, low, high), 0), w), held, scores)
