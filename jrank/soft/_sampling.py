"""Reparameterised samples: one item, or a subset of k items, drawn with Gumbel noise and kept soft."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.arrays import sort_with_order
from jrank.errors import SoftError
from jrank.soft import _argmax, _top_k_mask
from jrank.soft._arguments import check_mask, check_scores, check_temperature, choose, over_rows, work_dtype
from jrank.soft._parts import count, positive, straight, take_apart
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "gumbel_softmax", "gumbel_top_k"]


def _softmax(x: Array, temperature: Array, where: Array) -> Array:
    return _argmax.METHODS["softmax"](x, temperature, where)


def _subset(noisy: Array, temperature: Array, where: Array, chosen: Array) -> Array:
    """Softmaxes one after the other, each without what those before it took."""
    x, draws = noisy[0], noisy.shape[0]
    least = float(jnp.finfo(x.dtype).tiny) ** 0.5

    def take(logits: Array, draw: Array) -> tuple[Array, Array]:
        weights = _softmax(logits, temperature, where)
        # What was taken whole is as good as gone, without the slope of the logarithm at 0.
        rest = jnp.log(jnp.maximum(1 - weights, least))
        return logits + rest, jnp.where(draw < chosen, weights, jnp.zeros_like(weights))

    return jnp.sum(lax.scan(take, x, lax.iota(jnp.int32, draws))[1], axis=0)


def _union(noisy: Array, temperature: Array, where: Array, chosen: Array) -> Array:
    """The largest of some independent draws."""
    weights = jax.vmap(lambda row: _softmax(row, temperature, where))(noisy)
    drawn = lax.iota(jnp.int32, noisy.shape[0])[:, None] < chosen
    return jnp.max(jnp.where(drawn, weights, jnp.zeros_like(weights)), axis=0)


def _mask(noisy: Array, temperature: Array, where: Array, chosen: Array, *, method: str) -> Array:
    x = noisy[0]
    inner = jnp.clip(chosen, 1, jnp.maximum(count(where) - 1, 1)).astype(x.dtype)
    return _top_k_mask.METHODS[method](x, temperature, where, inner)


# Weights of one list of finite logits with noise: (noisy[k, n], temperature, where[n], how many) -> [n]. The rows
# differ in their noise; those with one noise for all draws look at the first.
METHODS: dict[str, Callable[..., Array]] = {
    "subset": _subset,
    "union": _union,
    **{method: partial(_mask, method=method) for method in _top_k_mask.METHODS},
}


def _row(
    x: Array, noise: Array, temperature: Array, where: Array | None, *, k: int, method: str, straight_through: bool
) -> Array:
    """Weights of one list, in the working type."""
    parts = take_apart(x, where)
    low, finite, high = (count(a) for a in (parts.low, parts.counts, parts.high))
    chosen = jnp.clip(k - high, 0, finite)
    noisy = parts.safe[None, :] + noise
    noisy = noisy if method == "union" else jnp.broadcast_to(noisy[:1], (k, x.shape[0]))
    weights = METHODS[method](noisy, positive(temperature), parts.counts, chosen)
    if straight_through:
        draws = noisy if method == "union" else noisy[:1]
        order = sort_with_order(-draws, jnp.broadcast_to(parts.counts, draws.shape))[1]
        place = jnp.zeros_like(order)
        place = jax.vmap(lambda p, o: p.at[o].set(lax.iota(jnp.int32, x.shape[0]), mode="promise_in_bounds"))(
            place, order
        )
        if method == "union":
            hard = jnp.any((place == 0) & (lax.iota(jnp.int32, k)[:, None] < chosen), axis=0)
        else:
            hard = place[0] < chosen
        weights = straight((hard & parts.counts).astype(x.dtype), weights)
    if method != "union":
        weights = jnp.where(chosen == finite, jnp.ones_like(x), weights)
    weights = jnp.where(chosen == 0, jnp.zeros_like(x), weights)
    # +inf is drawn before all others and -inf after them; those of one end share what there is evenly.
    top = jnp.minimum(1, k / jnp.maximum(high, 1)).astype(x.dtype)
    bottom = jnp.clip((k - high - finite) / jnp.maximum(low, 1), 0, 1).astype(x.dtype)
    ends = jnp.where(parts.high, top, jnp.where(parts.low, bottom, jnp.zeros_like(x)))
    return jnp.where(parts.counts, weights, ends)


@partial(jax.jit, static_argnames=("k", "method", "straight_through"))
def _draw(x, noise, temperature, where, **options):
    x = x.astype(work_dtype(x))
    return over_rows(partial(_row, **options), x.ndim - 1)(x, noise, temperature, where)


def gumbel_softmax(
    logits: Shaped[ArrayLike, "..."],
    *,
    key: Array,
    method: str = "softmax",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
) -> Float[Array, "..."]:
    r"""Return a soft sample of one item, drawn with the probabilities softmax(logits).

    .. math:: w = \operatorname{softmax}\left(\frac{z + G}{T}\right), \quad G_i \sim \operatorname{Gumbel}(0, 1)

    Args:
      logits: unnormalised log-probabilities; the list is along ``axis``, all other axes are batch.
      key: a key of ``jax.random``.
      method: a method of ``argmax``.
      temperature: of the weights, >= 0, one number or one for each list: towards 0 they are one-hot. It does not
        change which item is largest: for flatter probabilities scale the logits.
      axis: the axis of the list.
      where: True at real items.
      straight_through: return the one-hot sample with the derivatives of the soft one.

    Returns:
      The weights, in the shape and floating type of ``logits``, with sum 1 along the axis; 0 at masked places.

    Raises:
      SoftError: as for ``argmax``.
      TypeError: ``logits`` is not an array of real numbers.

    Numerics: those of ``argmax``; -inf is never drawn beside other logits. The noise of an item does not depend on the
    mask. The gradient is that of the drawn sample.
    Cost: that of ``argmax``.
    References: Jang et al., "Categorical Reparameterization with Gumbel-Softmax", and Maddison et al., "The Concrete
    Distribution", both ICLR 2017.

    >>> sample = gumbel_softmax(jnp.array([0.0, 9.0, 0.0]), key=jax.random.key(0), temperature=0.1)
    >>> sample.round(3)
    Array([0., 1., 0.], dtype=float32)
    """
    scores, position = check_scores(logits, axis, "logits")
    mask = check_mask(where, scores.shape, position)
    work = work_dtype(scores)
    noise = jax.random.gumbel(key, scores.shape, work)
    options = {"method": method, "temperature": temperature, "straight_through": straight_through}
    weights = _argmax.argmax(scores.astype(work) + noise, where=mask, **options)
    return jnp.moveaxis(weights.astype(scores.dtype), -1, position)


def gumbel_top_k(
    logits: Shaped[ArrayLike, "..."],
    k: int,
    *,
    key: Array,
    method: str = "subset",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
) -> Float[Array, "..."]:
    r"""Return a soft sample of k items, drawn one after the other without replacement.

    .. math:: w = \sum_{j=1}^k p^j, \quad p^j = \operatorname{softmax}\left(\frac{a^j}{T}\right), \quad
        a^1 = z + G, \quad a^{j+1} = a^j + \log(1 - p^j)

    Towards temperature 0 the sample is the k largest of z + G: the first k places of a ranking drawn from the
    Plackett-Luce model of the logits.

    Args:
      logits: unnormalised log-probabilities; the list is along ``axis``, all other axes are batch.
      k: how many, at least 1; more than there are items gives all of them.
      key: a key of ``jax.random``.
      method: ``"subset"``, above; a method of ``top_k_mask``, applied to z + G, whose weights are at most 1; or
        ``"union"``, the largest weight of each item over k independent draws by ``gumbel_softmax``: with replacement,
        so that fewer than k items may be chosen.
      temperature: of the weights, >= 0, one number or one for each list; towards 0 they are 0 and 1.
      axis: the axis of the list.
      where: True at real items.
      straight_through: return the hard sample with the derivatives of the soft one.

    Returns:
      The weights, in the shape and floating type of ``logits``; 0, with gradient 0, at masked places and for NaN. They
      sum to k (``"union"``: at most, ``"threshold"``: nearly).

    Raises:
      SoftError: k below 1, unknown method, axis out of range, shapes that do not fit, a negative number as temperature.
      TypeError: ``logits`` is not an array of real numbers.

    Numerics: a weight of ``"subset"`` may exceed 1 at high temperature. +inf is drawn before all other logits, -inf
    after them. The noise of an item does not depend on the mask. The gradient is that of the drawn sample.
    Cost: O(k n) time and memory; methods of ``top_k_mask`` as there.
    References: Xie and Ermon, "Reparameterizable Subset Sampling via Continuous Relaxations", IJCAI 2019 (subset); Chen
    et al., "Learning to Explain", ICML 2018 (union); Kool et al., "Stochastic Beams and Where to Find Them", ICML 2019.

    >>> sample = gumbel_top_k(jnp.array([0.0, 9.0, 0.0, 9.0]), 2, key=jax.random.key(0), temperature=0.1)
    >>> sample.round(3)
    Array([0., 1., 0., 1.], dtype=float32)
    """
    if k < 1:
        raise SoftError(f"k is {k}, expected at least 1", reason="invalid_parameter")
    scores, axis = check_scores(logits, axis, "logits")
    choose(METHODS, method, "gumbel_top_k")
    mask = check_mask(where, scores.shape, axis)
    work: Any = work_dtype(scores)
    t = check_temperature(temperature, scores.shape[:-1], work)
    if scores.size:
        draws = k if method == "union" else 1
        noise = jax.random.gumbel(key, (*scores.shape[:-1], draws, scores.shape[-1]), work)
        options = {"k": min(k, scores.shape[-1]), "method": method, "straight_through": straight_through}
        if method == "union":
            options["k"] = k
        scores = _draw(scores, noise, t, mask, **options).astype(scores.dtype)
    return jnp.moveaxis(scores, -1, axis)
