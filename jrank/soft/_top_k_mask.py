"""Soft membership in the top k: weights between 0 and 1 that sum to k."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.arrays import ordered_key, values_of_key
from jrank.errors import SoftError
from jrank.soft._arguments import check_mask, check_scores, check_temperature, choose, over_rows, work_dtype
from jrank.soft._parts import count, positive, take_apart
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "top_k_mask"]


def _linear(d: Array) -> Array:
    return jnp.clip(d, 0, 1)


def _laplace(d: Array) -> Array:
    tail = jnp.exp(-jnp.abs(d)) / 2
    return jnp.where(d < 0, tail, 1 - tail)


def _scaled(x: Array, level: Array, temperature: Array) -> Array:
    # Clipped before the division: a quotient that overflows would make the gradient 0 * inf.
    return jnp.clip(x - level, -200 * temperature, 200 * temperature) / temperature


def _level(share: Callable[[Array], Array], x: Array, t: Array, where: Array, k: Array, reach: float) -> Array:
    """The middle of the levels at which the shares sum to k, by bisection of both ends."""
    x, t, k = (lax.stop_gradient(a) for a in (x, t, k))
    infinity = jnp.asarray(jnp.inf, x.dtype)
    lowest = jnp.min(jnp.where(where, x, infinity)) - reach * t
    highest = jnp.max(jnp.where(where, x, -infinity)) + reach * t
    some = jnp.any(where)
    lowest, highest = (jnp.where(some, a, jnp.zeros_like(a)) for a in (lowest, highest))

    def total(level: Array) -> Array:
        return jnp.sum(jnp.where(where, share(_scaled(x, level, t)), jnp.zeros_like(x)))

    def halve(_, ends: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        a, b, c, d = ends
        left, right = a / 2 + b / 2, c / 2 + d / 2
        more, enough = total(left) > k, total(right) >= k
        return (
            jnp.where(more, left, a),
            jnp.where(more, b, left),
            jnp.where(enough, right, c),
            jnp.where(enough, d, right),
        )

    steps = 64 if x.dtype == jnp.float64 else 40
    a, b, c, d = lax.fori_loop(jnp.int32(0), jnp.int32(steps), halve, (lowest, highest, lowest, highest))
    return (a / 2 + b / 2) / 2 + (c / 2 + d / 2) / 2


def capped_simplex(x: Array, temperature: Array, where: Array, k: Array) -> Array:
    """Return the projection of x / T onto the vectors in [0, 1] that sum to k.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count.
      k: the sum, between 0 and their number.
    """
    # From here on relative to a level that is nearly right, which costs no digits however small T is.
    x = x - _level(_linear, x, temperature, where, k, 1.0)
    # Ties may stand on that very level, all out or all in: relative to it, the search tells parts of T.
    x = x - _level(_linear, x, temperature, where, k, 1.0)
    fixed = lax.stop_gradient(x)
    inside = where & (fixed > 0) & (fixed < lax.stop_gradient(temperature))
    above = count(where & (fixed >= lax.stop_gradient(temperature))).astype(x.dtype)
    number = jnp.maximum(count(inside), 1).astype(x.dtype)
    rest = jnp.sum(jnp.where(inside, x, jnp.zeros_like(x))) - temperature * (k - above)
    level = jnp.where(jnp.any(inside), rest / number, jnp.zeros_like(rest))
    return _linear(_scaled(x, level, temperature))


def _mask_by_root(x: Array, temperature: Array, where: Array, k: Array, *, share: Callable[[Array], Array]) -> Array:
    """Shares of a distribution function at the level where they sum to k; differentiated through the equation."""
    # The second search, relative to the first, costs no digits however small T is.
    x = x - _level(share, x, temperature, where, k, 30.0)
    start = _level(share, x, temperature, where, k, 30.0)

    def excess(level: Array) -> Array:
        terms = share(_scaled(x, level, temperature))
        return jnp.sum(jnp.where(where, terms, jnp.zeros_like(terms))) - k

    def linear(g: Callable[[Array], Array], y: Array) -> Array:
        slope = g(jnp.ones_like(y))
        flat = slope == 0
        return jnp.where(flat, jnp.zeros_like(y), y / jnp.where(flat, jnp.ones_like(slope), slope))

    level = lax.custom_root(excess, start, lambda _, level: level, linear)
    return share(_scaled(x, level, temperature))


def _nth_largest(key: Array, k: Array) -> Array:
    """The k-th largest of some integers, bit by bit: as many passes of counting as they have bits."""
    limits = jnp.iinfo(key.dtype)

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low | high) - ((low ^ high) >> 1)
        enough = count(key >= middle) >= k
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle - 1)

    # The ends vary over the mesh axes that the keys and k vary over.
    start = key[0] * 0 + k.astype(key.dtype) * 0
    return lax.fori_loop(jnp.int32(0), jnp.int32(limits.bits), halve, (start + limits.min, start + limits.max))[0]


def _mask_threshold(x: Array, temperature: Array, where: Array, k: Array) -> Array:
    """Sigmoid around the middle between the k-th and the next largest score."""
    key = ordered_key(x)
    lowest = jnp.asarray(jnp.iinfo(key.dtype).min, key.dtype)
    key = jnp.where(where, key, lowest)
    whole = k.astype(jnp.int32)
    last = _nth_largest(key, whole)
    below = jnp.max(jnp.where(key < last, key, lowest))
    following = jnp.where(count(key >= last) > whole, last, below)

    def value(sought: Array) -> Array:
        # Ties share the gradient, and their sum could overflow.
        ties = where & (key == sought)
        moved = jnp.where(ties, x - lax.stop_gradient(x), jnp.zeros_like(x))
        mean = jnp.sum(moved) / jnp.maximum(count(ties), 1).astype(x.dtype)
        # Where no score counts the lowest key is not that of a number.
        return jnp.where(sought == lowest, jnp.zeros_like(mean), values_of_key(sought, x.dtype)) + mean

    level = value(last) / 2 + value(following) / 2
    return jax.nn.sigmoid(_scaled(x, level, temperature))


# Weights of one list of finite scores: (x[n], temperature, where[n], k) -> [n], with 1 <= k < number of items.
METHODS: dict[str, Callable[..., Array]] = {
    "l2": capped_simplex,
    "sigmoid": partial(_mask_by_root, share=jax.nn.sigmoid),
    "laplace": partial(_mask_by_root, share=_laplace),
    "threshold": _mask_threshold,
}


def _row(x: Array, temperature: Array, where: Array | None, *, k: int, method: str) -> Array:
    parts = take_apart(x, where)
    low, finite, high = (count(a) for a in (parts.low, parts.counts, parts.high))
    chosen = jnp.clip(k - high, 0, finite)
    inner = jnp.clip(chosen, 1, jnp.maximum(finite - 1, 1)).astype(x.dtype)
    weights = METHODS[method](parts.safe, positive(temperature), parts.counts, inner)
    weights = jnp.where(chosen == 0, jnp.zeros_like(x), jnp.where(chosen == finite, jnp.ones_like(x), weights))
    # Infinite scores are in or out before all others; those of one end share what there is evenly.
    top = jnp.minimum(1, k / jnp.maximum(high, 1)).astype(x.dtype)
    bottom = jnp.clip((k - high - finite) / jnp.maximum(low, 1), 0, 1).astype(x.dtype)
    weights = jnp.where(parts.high, top, jnp.where(parts.low, bottom, weights))
    weights = jnp.where(parts.valid, weights, jnp.asarray(jnp.nan, x.dtype))
    return weights if where is None else jnp.where(where, weights, jnp.zeros_like(weights))


@partial(jax.jit, static_argnames=("k", "method"))
def _top_k_mask(x, temperature, where, **options):
    x = x.astype(work_dtype(x))
    return over_rows(partial(_row, **options), x.ndim - 1)(x, temperature, where)


def top_k_mask(
    x: Shaped[ArrayLike, "..."],
    k: int,
    *,
    method: str = "l2",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return for every item how much it belongs to the k largest, between 0 and 1, with sum k.

    .. math:: m_i = F\left(\frac{x_i - \theta}{T}\right), \qquad \sum_i m_i = k

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      k: how many, at least 1; more than there are items gives 1 for all.
      method: ``"l2"``, F(d) = d between 0 and 1, the Euclidean projection of x / T, sparse and exact; ``"sigmoid"``;
        ``"laplace"``, F the Laplace distribution function; or ``"threshold"``, the sigmoid around the middle between
        the k-th and the next score, whose sum is only near k.
      temperature: in the units of the scores, >= 0, one number or one for each list; towards 0 the mask is hard.
      axis: the axis of the list.
      where: True at real items.

    Returns:
      The weights, in the shape and floating type of ``x``; 0, with gradient 0, at masked places.

    Raises:
      SoftError: k below 1, unknown method, axis out of range, shapes that do not fit, a negative number as temperature.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: ties get equal weights. +inf is in and -inf is out before all others; NaN gets NaN and leaves the others
    as if it were not there. Half types are computed in float32. Derivatives of any order are right.
    Cost: O(n), two bisections of 40 to 64 steps, one of 32 to 64 for ``"threshold"``, and no sort. O(n) memory.
    References: Struski et al., "LapSum", ICML 2025 (laplace); Petersen et al., "Differentiable Top-k Classification
    Learning", ICML 2022 (threshold forms).

    >>> top_k_mask(jnp.array([3.0, 1.0, 2.5, 0.0]), 2, temperature=1.0)
    Array([1., 0., 1., 0.], dtype=float32)
    """
    if k < 1:
        raise SoftError(f"k is {k}, expected at least 1", reason="invalid_parameter")
    scores, axis = check_scores(x, axis)
    choose(METHODS, method, "top_k_mask")
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    if scores.size:
        scores = _top_k_mask(scores, t, mask, k=k, method=method).astype(scores.dtype)
    return jnp.moveaxis(scores, -1, axis)
