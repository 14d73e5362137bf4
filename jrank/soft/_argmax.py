"""The soft position of the largest and of the smallest score, and their soft values."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.arrays import as_floating, sort_with_order
from jrank.errors import SoftError
from jrank.soft import _argsort, _top_k_mask
from jrank.soft._arguments import check_mask, check_scores, check_temperature, choose, over_rows, work_dtype
from jrank.soft._parts import count, positive, straight, take_apart
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "argmax", "argmin", "max", "min"]


def _largest(x: Array, where: Array) -> Array:
    """The largest score that counts, 0 if none does; no gradient."""
    top = lax.stop_gradient(jnp.max(jnp.where(where, x, jnp.asarray(-jnp.inf, x.dtype))))
    return jnp.where(jnp.any(where), top, jnp.zeros_like(top))


def _powers(x: Array, temperature: Array, where: Array) -> tuple[Array, Array]:
    """exp((x - largest) / T) where items count, 0 elsewhere, and the largest."""
    top = _largest(x, where)
    # Clipped before the division: a quotient that overflows would make the gradient 0 * inf.
    scaled = jnp.maximum(jnp.where(where, x - top, jnp.zeros_like(x)), -200 * temperature) / temperature
    near = where & (scaled > -150)
    return jnp.where(near, jnp.exp(jnp.where(near, scaled, jnp.zeros_like(x))), jnp.zeros_like(x)), top


def _softmax(x: Array, temperature: Array, where: Array) -> Array:
    powers, _ = _powers(x, temperature, where)
    total = jnp.sum(powers)
    return powers / jnp.where(total > 0, total, jnp.ones_like(total))


def _by_rows(x: Array, temperature: Array, where: Array, *, method: str) -> Array:
    return _argsort.METHODS[method](-x, temperature, where, jnp.zeros(1, jnp.int32))[0]


def _by_mask(x: Array, temperature: Array, where: Array, *, method: str) -> Array:
    weights = _top_k_mask.METHODS[method](x, temperature, where, jnp.ones((), x.dtype))
    # The masks expect more items than they choose.
    return jnp.where(where, jnp.where(count(where) > 1, weights, jnp.ones_like(x)), jnp.zeros_like(x))


# Weights of one list of finite scores, which sum to 1: (x[n], temperature, where[n]) -> [n].
METHODS: dict[str, Callable[..., Array]] = {
    "softmax": _softmax,
    "softsort": _softmax,
    **{method: partial(_by_mask, method=method) for method in ("l2", "sigmoid", "laplace")},
    **{method: partial(_by_rows, method=method) for method in _argsort.METHODS if method != "softsort"},
}


def _weights(x: Array, temperature: Array, where: Array | None, *, method: str, straight_through: bool) -> Array:
    """Weights of one list, in the working type."""
    parts = take_apart(x, where)
    weights = METHODS[method](parts.safe, positive(temperature), parts.counts)
    # Infinite scores are ties: +inf takes all, -inf only where there is nothing else.
    low, high = (a.astype(x.dtype) / jnp.maximum(count(a), 1).astype(x.dtype) for a in (parts.low, parts.high))
    rest = jnp.where(jnp.any(parts.counts), jnp.where(parts.counts, weights, jnp.zeros_like(x)), low)
    weights = jnp.where(jnp.any(parts.high), high, rest)
    if straight_through:
        first = sort_with_order(-x, parts.valid)[1][0]
        hard = (lax.iota(jnp.int32, x.shape[0]) == first) & parts.valid
        weights = straight(hard.astype(x.dtype), weights)
    return weights


def _value(x: Array, temperature: Array, where: Array | None, *, method: str, straight_through: bool) -> Array:
    """The soft maximum of one list, in the working type."""
    parts = take_apart(x, where)
    if method == "logsumexp":
        t = positive(temperature)
        powers, top = _powers(parts.safe, t, parts.counts)
        total = jnp.sum(powers)
        some = total > 0
        soft = top + t * jnp.log(jnp.where(some, total, jnp.ones_like(total)))
        infinite = jnp.where(jnp.any(parts.low), jnp.asarray(-jnp.inf, x.dtype), jnp.zeros_like(soft))
        soft = jnp.where(some, soft, infinite)
        soft = jnp.where(jnp.any(parts.high), jnp.asarray(jnp.inf, x.dtype), soft)
    else:
        weights = _weights(x, temperature, where, method=method, straight_through=False)
        used = (weights != 0) & parts.valid
        soft = jnp.sum(jnp.where(used, weights, jnp.zeros_like(x)) * jnp.where(used, x, jnp.zeros_like(x)))
    if straight_through:
        hard = jnp.max(jnp.where(parts.valid, x, jnp.asarray(-jnp.inf, x.dtype)))
        soft = straight(jnp.where(jnp.any(parts.valid), hard, jnp.zeros_like(hard)), soft)
    return soft


@partial(jax.jit, static_argnames=("value", "method", "straight_through"))
def _run(x, temperature, where, *, value, **options):
    x = x.astype(work_dtype(x))
    return over_rows(partial(_value if value else _weights, **options), x.ndim - 1)(x, temperature, where)


def argmax(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "softmax",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
) -> Float[Array, "..."]:
    r"""Return with which weight each item is the largest: a soft one-hot vector.

    .. math:: w_i = \frac{e^{x_i / T}}{\sum_j e^{x_j / T}}

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: ``"softmax"``, above, which is also the first row of ``"softsort"``; ``"l2"``, the Euclidean projection of
        x / T onto the simplex (sparsemax), which gives exact zeros; ``"sigmoid"`` and ``"laplace"``, the masks of
        ``top_k_mask`` for k = 1; ``"neuralsort"`` or a network, the first row of their matrix in ``argsort``.
      temperature: in the units of the scores, >= 0, one number or one for each list; towards 0 the weights are hard.
      axis: the axis of the list.
      where: True at real items.
      straight_through: return the hard one-hot vector, the first of ties, with the derivatives of the soft one.

    Returns:
      The weights, in the shape and floating type of ``x``, with sum 1 along the axis; 0, with gradient 0, at masked
      places and for NaN. A list without a real item has weights 0.

    Raises:
      SoftError: unknown method, axis out of range, shapes that do not fit, a negative number as temperature.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: ties share evenly, except by networks. Items of +inf share all the weight, and -inf has none beside other
    scores, both with gradient 0. Half types are computed in float32. Derivatives of any order are right.
    Cost: O(n) time and memory; ``"neuralsort"`` O(n^2) time, networks as in ``rank``.
    References: Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016 (l2).
    See also: ``max``, ``argmin``, ``top_k_mask``.

    >>> argmax(jnp.array([1.0, 3.0, 2.75]), method="l2", temperature=0.5)
    Array([0.  , 0.75, 0.25], dtype=float32)
    """
    scores, axis = check_scores(x, axis)
    choose(METHODS, method, "argmax")
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    if scores.size:
        options = {"value": False, "method": method, "straight_through": straight_through}
        scores = _run(scores, t, mask, **options).astype(scores.dtype)
    return jnp.moveaxis(scores, -1, axis)


def argmin(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "softmax",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
) -> Float[Array, "..."]:
    """Return with which weight each item is the smallest: ``argmax`` of the negated scores.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: see ``argmax``.
      temperature: see ``argmax``.
      axis: the axis of the list.
      where: True at real items.
      straight_through: return the hard one-hot vector, the first of ties, with the derivatives of the soft one.

    Returns:
      The weights, in the shape and floating type of ``x``; see ``argmax``.

    Raises:
      SoftError: as for ``argmax``.
      TypeError: ``x`` is not an array of real numbers.

    >>> argmin(jnp.array([1.0, 3.0, 1.25]), method="l2", temperature=0.5)
    Array([0.75, 0.  , 0.25], dtype=float32)
    """
    options = {"method": method, "temperature": temperature, "axis": axis, "where": where}
    return argmax(-as_floating(x), **options, straight_through=straight_through)


def max(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "softmax",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
) -> Float[Array, "..."]:
    r"""Return a differentiable maximum: the mean of the scores with the weights of ``argmax``.

    .. math:: m = \sum_i w_i x_i, \qquad m^{\mathrm{logsumexp}} = T \log \sum_i e^{x_i / T}

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: a method of ``argmax``, whose mean is at most the maximum; or ``"logsumexp"``, convex, between the maximum
        and T log(n) above it, with the weights of ``"softmax"`` as its gradient.
      temperature: in the units of the scores, >= 0, one number or one for each list; towards 0 the maximum is hard,
        towards infinity it is the mean of the list (``"logsumexp"``: without bound).
      axis: the axis of the list.
      where: True at real items.
      straight_through: return the hard maximum with the derivatives of the soft one.

    Returns:
      One number for each list, in the shape of ``x`` without the axis; 0, with gradient 0, for a list without a real
      item.

    Raises:
      SoftError: unknown method, axis out of range, shapes that do not fit, a negative number as temperature, no items
        along the axis.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: +inf where a score is +inf, -inf where all are -inf. NaN counts as if it were not there. Half types are
    computed in float32. Derivatives of any order are right.
    Cost: that of ``argmax``.
    See also: ``quantile``, ``top_k``.

    >>> max(jnp.array([1.0, 3.0, 2.75]), method="l2", temperature=0.5)
    Array(2.9375, dtype=float32)
    """
    scores, axis = check_scores(x, axis)
    if method != "logsumexp":
        choose({**METHODS, "logsumexp": _softmax}, method, "max")
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    if not scores.shape[-1]:
        raise SoftError("x has no items along the axis", reason="shape_mismatch", hint="mask lists that are empty")
    return _run(scores, t, mask, value=True, method=method, straight_through=straight_through).astype(scores.dtype)


def min(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "softmax",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
) -> Float[Array, "..."]:
    """Return a differentiable minimum: minus the ``max`` of the negated scores.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: see ``max``.
      temperature: see ``max``.
      axis: the axis of the list.
      where: True at real items.
      straight_through: return the hard minimum with the derivatives of the soft one.

    Returns:
      One number for each list; 0, with gradient 0, for a list without a real item.

    Raises:
      SoftError: as for ``max``.
      TypeError: ``x`` is not an array of real numbers.

    >>> min(jnp.array([1.0, 3.0, 1.25]), method="l2", temperature=0.5)
    Array(1.0625, dtype=float32)
    """
    options = {"method": method, "temperature": temperature, "axis": axis, "where": where}
    return 0 - max(-as_floating(x), **options, straight_through=straight_through)
