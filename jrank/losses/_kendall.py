"""Kendall's rank correlation as a loss: 1 minus the soft correlation of scores and labels, from sums over pairs.

The signs of the labels are hard, so that the products of the formula are the soft signs of the pairs in the order of
their labels, and only the squares need all pairs.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating
from jrank.errors import LearnError
from jrank.losses._pairs import PairLoss, PairWeights, count_pairs, pair_sums
from jrank.metrics._lists import Fn, finish, prepare
from jrank.metrics._rank_sums import smallest_temperature
from jrank.types import Array, ArrayLike

__all__ = ["kendall_loss"]

# A soft sign of a difference over the temperature, and its slope.
Parts = Callable[[Array, Array], tuple[Array, Array]]


def _tanh(x: Array, dy: Array) -> tuple[Array, Array]:
    value = jnp.tanh(x / 2)
    return value, (1 - value * value) / 2


def _laplace(x: Array, dy: Array) -> tuple[Array, Array]:
    far = jnp.abs(x)
    return -jnp.sign(x) * jnp.expm1(-far), jnp.exp(-far)


def _one(x: Array, dy: Array) -> tuple[Array, Array]:
    return jnp.ones_like(x), jnp.zeros_like(x)


def _squared(sign: Parts) -> Parts:
    def parts(x: Array, dy: Array) -> tuple[Array, Array]:
        value, slope = sign(x, dy)
        return value * value, 2 * value * slope

    return parts


# Module-level, so that they are compiled once.
SIGNS: dict[str, PairLoss] = {"sigmoid": PairLoss(_tanh), "laplace": PairLoss(_laplace)}
SQUARES: dict[str, PairLoss] = {
    "sigmoid": PairLoss(_squared(_tanh), "symmetric"),
    "laplace": PairLoss(_squared(_laplace), "symmetric"),
}
ORDERED = PairLoss(_one)
PRODUCT = PairWeights(lambda first, second: first[0] * second[0])


def kendall_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    method: str = "sigmoid",
    variant: str = "b",
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Kendall loss: 1 minus the correlation of the soft signs of all pairs of scores and the signs of the labels.

    .. math:: \ell(s, y) = 1 - \frac{\sum_{i \ne j} a_{ij} b_{ij}}{\sqrt{\sum a_{ij}^2 \sum b_{ij}^2}}, \quad
        a_{ij} = \tanh\left(\frac{s_i - s_j}{2T}\right), \quad b_{ij} = \operatorname{sign}(y_i - y_j)

    Args:
      scores: larger is better; only their differences matter.
      labels: grades or other numbers, of which the order matters. No gradient flows to them.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor >= 0 for each item; a pair counts by the product of two.
      temperature: T, in the units of the scores; towards 0 the loss is 1 minus the exact tau-b and its gradient 0. One
        number or one for each row; may be traced.
      method: the soft sign, see ``jrank.soft.kendall``.
      variant: "b", above, or "a", the sum over the number of pairs, which grows with the differences of the scores.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, from 0 to 2; 1 where the scores do not vary, 0 where the labels do not. A list without a valid
      item is left out of means.

    Raises:
      LearnError: shapes differ, or the variant or the method is unknown.

    Numerics: infinite scores are before and after all others, with gradient 0. Half types are accumulated in float32.
    Cost: O(n²) time, every pair visited twice, O(n) memory beside a tile of pairs.
    References: Kendall, "The Treatment of Ties in Ranking Problems", 1945.

    >>> print(f"{kendall_loss(jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0]), temperature=0.01):.4f}")
    0.4523
    """
    if variant not in ("a", "b"):
        raise LearnError(f"variant is {variant!r}, 'a' or 'b' was expected", reason="invalid_parameter")
    if method not in SIGNS:
        raise LearnError(f"method is {method!r}, one of {tuple(SIGNS)} was expected", reason="invalid_parameter")
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    t = _temperatures(temperature, s)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    y = lax.stop_gradient(y)
    z = _over(s, t)
    features, product = ((), None) if w is None else ((w,), PRODUCT)
    total = 2 * pair_sums(SIGNS[method], z, y, lists, None, product, features)
    one = lists.sum(jnp.ones_like(s) if w is None else w)
    if variant == "a":
        pairs = one * one - lists.sum(jnp.ones_like(s) if w is None else w * w)
        some = pairs > 0
        value = jnp.where(some, total / jnp.where(some, pairs, jnp.ones_like(pairs)), jnp.zeros_like(total))
    else:
        squares = pair_sums(SQUARES[method], z, y, lists, None, product, features)
        if w is None:
            ordered = count_pairs(ORDERED, y, lists)
        else:
            ordered = pair_sums(ORDERED, jnp.zeros_like(z), y, lists, None, product, features)
        value = _cosine(total, squares, 2 * ordered)
    # Labels that are all the same, or those of a single item, ask for no order.
    varied = lists.max(y) > -lists.max(-y)
    loss = jnp.where(varied, 1 - value, jnp.zeros_like(value))
    # A label that is not a number has no order.
    lost = lists.sum(jnp.isnan(y).astype(s.dtype)) > 0
    return finish(jnp.where(lost, jnp.asarray(jnp.nan, s.dtype), loss), lists, reduce_fn, dtype)


def _temperatures(temperature: ArrayLike, s: Array) -> Array:
    """One positive temperature for each row."""
    t = as_floating(temperature, "temperature").astype(s.dtype)
    if t.shape != s.shape[:-1]:
        if t.size != 1:
            raise LearnError(
                f"temperature has shape {t.shape}, one number or one for each list was expected: {s.shape[:-1]}",
                reason="length_mismatch",
            )
        t = jnp.broadcast_to(t.reshape(()), s.shape[:-1])
    return jnp.maximum(t, smallest_temperature(s.dtype))


def _cosine(product: Array, first: Array, second: Array) -> Array:
    """Product over the root of both, 0 with gradient 0 where one of them is 0."""
    flat = (first <= 0) | (second <= 0)
    one = jnp.ones_like(first)
    root = jnp.sqrt(jnp.where(flat, one, first)) * jnp.sqrt(jnp.where(flat, one, second))
    return jnp.where(flat, jnp.zeros_like(product), jnp.clip(product / root, -1, 1))


def _over(s: Array, t: Array) -> Array:
    """Scores over the temperature; infinite ones stay so."""
    finite = jnp.isfinite(s)
    safe = jnp.where(finite, s, jnp.zeros_like(s))
    # A quotient must not overflow: from this range on any two numbers of it are apart by all there is.
    most = lax.stop_gradient(jnp.max(jnp.abs(safe), axis=-1, initial=0)) * (64 / float(jnp.finfo(s.dtype).max))
    return jnp.where(finite, safe / jnp.maximum(t, most)[..., None], s)
