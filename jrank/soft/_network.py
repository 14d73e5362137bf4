r"""Relaxed sorting networks: comparators that exchange two values by a share.

A comparator of the places i < j mixes

.. math:: x_i' = \alpha x_i + (1 - \alpha) x_j, \quad x_j' = (1 - \alpha) x_i + \alpha x_j, \quad
    \alpha = f\left(\frac{x_j - x_i}{T}\right).

The permutation matrix is the product of the layers, each symmetric and doubly stochastic; ranks are its transpose
applied to 1..n, which takes the layers in reverse and no matrix. Any sigmoid function will do for f, and several are
published: ``METHODS`` names each network with each of them.

Real items are moved to the front first, and layers that a network of their number has not are left out: so a masked
list passes through the very network of the list without the masked items.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jrank.arrays import sort_keys, sort_with_order, take_last
from jrank.types import Array


class Wiring(NamedTuple):
    """The layers of a network.

    Attributes:
      size: the number of places.
      layers: int32 [layers, 2]: the number that says who meets whom, and the least number of items that need the layer.
      partner: (place, number) to the place that it meets, itself for none.
    """

    size: int
    layers: np.ndarray
    partner: Callable[[Array, Array], Array]


def _bitonic(n: int) -> Wiring:
    stages = max(n - 1, 0).bit_length()
    layers = []
    for stage in range(1, stages + 1):
        # Every merge meets its mirror image first, so that all comparators point the same way.
        flips = [2**stage - 1, *(2**step for step in reversed(range(stage - 1)))]
        layers += [(flip, 2 ** (stage - 1) + 1) for flip in flips]
    return Wiring(2**stages, np.array(layers, np.int32).reshape(-1, 2), lambda place, flip: place ^ flip)


def _odd_even(n: int) -> Wiring:
    layers = [(layer % 2, layer + 1) for layer in range(n if n > 1 else 0)]

    def partner(place: Array, parity: Array) -> Array:
        other = place + jnp.where((place + parity) % 2 == 0, 1, -1)
        return jnp.where((other < 0) | (other >= n), place, other)

    return Wiring(n, np.array(layers, np.int32).reshape(-1, 2), partner)


def logistic(d: Array) -> Array:
    """Share that stays, by the logistic function: hard to working precision from a difference of 17 temperatures.

    Args:
      d: difference over temperature.
    """
    return jax.nn.sigmoid(d)


def cauchy(d: Array) -> Array:
    """Share that stays, by the distribution function of the Cauchy distribution, which makes the relaxation monotonic.

    Args:
      d: difference over temperature.
    """
    return jnp.arctan(d) / jnp.pi + 0.5


def reciprocal(d: Array) -> Array:
    """Share that stays, by a rational function; monotonic.

    Args:
      d: difference over temperature.
    """
    return (d / (2 + jnp.abs(d)) + 1) / 2


def optimal(d: Array) -> Array:
    """Share that stays, linear in the middle; monotonic with the least error.

    Args:
      d: difference over temperature.
    """
    far = jnp.abs(d) > 0.25
    inverse = 1 / (16 * jnp.where(far, d, jnp.ones_like(d)))
    return jnp.where(far, jnp.where(d > 0, 1 - inverse, -inverse), d + 0.5)


def gaussian(d: Array) -> Array:
    """Share that stays, by the normal distribution function.

    Args:
      d: difference over temperature.
    """
    return jax.scipy.special.ndtr(d)


def logistic_phi(d: Array) -> Array:
    """Share that stays, by the logistic function of d / |d|^(1/4): mixes less where values are close.

    The published function has an infinite slope at 0; here it is straight below 1e-6 temperatures.

    Args:
      d: difference over temperature.
    """
    return jax.nn.sigmoid(d / jnp.maximum(jnp.abs(d), 1e-6) ** 0.25)


WIRINGS = {"bitonic": _bitonic, "odd_even": _odd_even}
SHARES = {
    "logistic": logistic,
    "logistic_phi": logistic_phi,
    "gaussian": gaussian,
    "cauchy": cauchy,
    "reciprocal": reciprocal,
    "optimal": optimal,
}
# What users call a network: its wiring and its comparators, logistic where the name does not say.
METHODS = {
    name if share == "logistic" else f"{name}_{share}": {"wires": wires, "share": share}
    for name, wires in (("network", "bitonic"), ("odd_even", "odd_even"))
    for share in SHARES
}


class Passed(NamedTuple):
    """A list that went through a network.

    Attributes:
      order: int32 [n], the items in the order in which they entered.
      values: [size], the values as they came out, less the median of the list, over 8.
      shares: [layers, size], the share that every place kept.
      wiring: the network.
    """

    order: Array
    values: Array
    shares: Array
    wiring: Wiring


def _mix(kept: Array, v: Array, met: Array) -> Array:
    """Return kept v + (1 - kept) met, exact where kept is 0 or 1, with the difference of the two as its slope."""
    gap = met - v
    return jnp.where(kept < 0.5, met - kept * gap, v + (1 - kept) * gap)


def _pass(x: Array, temperature: Array, where: Array | None, wires: str, share: str) -> Passed:
    n = x.shape[0]
    wiring = WIRINGS[wires](n)
    place = lax.iota(jnp.int32, wiring.size)
    counts = jnp.ones(n, bool) if where is None else where
    order = sort_keys((~counts).astype(jnp.int32))[1]
    items = jnp.sum(counts, dtype=jnp.int32)
    # Shares depend on differences alone: around the median an offset costs no digits of what has been mixed, and an
    # eighth of the largest floats has differences that are finite.
    part = x / 8
    median = take_last(sort_with_order(part, counts)[0], jnp.maximum(items - 1, 0)[None] // 2)
    centred = jnp.where(counts, part - median, jnp.zeros_like(x))
    temperature = temperature / 8
    values = jnp.zeros(wiring.size, x.dtype).at[:n].set(take_last(centred, order))

    def layer(v: Array, given: Array) -> tuple[Array, Array]:
        other = wiring.partner(place, given[0])
        sign = jnp.where(place < other, 1, -1).astype(v.dtype)
        met = take_last(v, other)
        difference = sign * (met - v)
        # Where every comparator is hard to working precision its share is a constant: slopes of values that far apart
        # may overflow, and are not multiplied by 0 but left out.
        far = jnp.abs(difference) > temperature / float(jnp.finfo(x.dtype).eps)
        near = jnp.where(far, jnp.zeros_like(difference), difference) / temperature
        kept = jnp.where(far, (difference > 0).astype(x.dtype), SHARES[share](near))
        meets = (other != place) & (jnp.maximum(place, other) < items) & (given[1] <= items)
        kept = jnp.where(meets, kept, jnp.ones_like(kept))
        return _mix(kept, v, met), kept

    values, shares = lax.scan(layer, values, jnp.asarray(wiring.layers))
    return Passed(order, values, shares, wiring)


def _through(passed: Passed, v: Array, reverse: bool) -> Array:
    """Apply the layers, or in reverse their transposes, to columns [size, ...]."""
    place = lax.iota(jnp.int32, passed.wiring.size)

    def layer(v: Array, given: tuple[Array, Array]) -> tuple[Array, None]:
        number, kept = given
        kept = kept.reshape(kept.shape + (1,) * (v.ndim - 1))
        met = v.at[passed.wiring.partner(place, number)].get(mode="promise_in_bounds")
        return _mix(kept, v, met), None

    numbers = jnp.asarray(passed.wiring.layers[:, 0])
    return lax.scan(layer, v + 0 * passed.values[0], (numbers, passed.shares), reverse=reverse)[0]


def sort_network(
    x: Array, temperature: Array, where: Array | None, *, wires: str = "bitonic", share: str = "logistic"
) -> Array:
    """Return ascending soft sorted values of one list.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      wires: a name of ``WIRINGS``.
      share: a name of ``SHARES``.
    """
    values = jnp.where(jnp.ones(x.shape, bool) if where is None else where, x, jnp.zeros_like(x))
    return 8 * carry_network(x, temperature, where, values[:, None] / 8, wires=wires, share=share)[:, 0]


def rank_network(
    x: Array, temperature: Array, where: Array | None, *, wires: str = "bitonic", share: str = "logistic"
) -> Array:
    """Return ascending soft ranks of one list.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      wires: a name of ``WIRINGS``.
      share: a name of ``SHARES``.
    """
    passed = _pass(x, temperature, where, wires, share)
    place = lax.iota(jnp.int32, passed.wiring.size) + 1
    ranks = _through(passed, place.astype(x.dtype), True)[: x.shape[0]]
    return jnp.zeros_like(ranks).at[passed.order].set(ranks, mode="promise_in_bounds", unique_indices=True)


def permutation_network(
    x: Array,
    temperature: Array,
    where: Array | None,
    rows: Array | None = None,
    *,
    wires: str = "bitonic",
    share: str = "logistic",
) -> Array:
    """Return rows of the soft permutation matrix of one list; it is doubly stochastic over the items that count.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None; rows behind them mean nothing.
      rows: which rows, int32 ``[m]``; None is all.
      wires: a name of ``WIRINGS``.
      share: a name of ``SHARES``.

    Returns:
      ``[m, n]``.
    """
    n = x.shape[0]
    passed = _pass(x, temperature, where, wires, share)
    place = lax.iota(jnp.int32, passed.wiring.size)
    rows = place[:n] if rows is None else rows
    # A row is what its place received: carried backwards, from the place to the items.
    chosen = (place[:, None] == rows[None, :]).astype(x.dtype)
    entered = _through(passed, chosen, True)[:n].T
    return jnp.zeros_like(entered).at[:, passed.order].set(entered, mode="promise_in_bounds", unique_indices=True)


def carry_network(
    x: Array, temperature: Array, where: Array | None, values: Array, *, wires: str = "bitonic", share: str = "logistic"
) -> Array:
    """Return P v: values carried through the network that sorts x, ``[n, d]``, in ascending order of x.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      values: finite, 0 where items do not count, ``[n, d]``.
      wires: a name of ``WIRINGS``.
      share: a name of ``SHARES``.
    """
    n = x.shape[0]
    passed = _pass(x, temperature, where, wires, share)
    entering = values.at[passed.order].get(mode="promise_in_bounds", unique_indices=True)
    padded = jnp.zeros((passed.wiring.size, values.shape[1]), x.dtype).at[:n].set(entering)
    return _through(passed, padded, False)[:n]


def _held(n: int, wires: str) -> int:
    wiring = WIRINGS[wires](n)
    return wiring.size * len(wiring.layers)


# How many numbers a list of n scores holds at a time.
HELD = {name: partial(_held, wires=options["wires"]) for name, options in METHODS.items()}


def _named(fn: Callable[..., Array]) -> dict[str, Callable[..., Array]]:
    return {name: partial(fn, **options) for name, options in METHODS.items()}


RANKS, SORTS, MATRICES, CARRIERS = (_named(f) for f in (rank_network, sort_network, permutation_network, carry_network))
