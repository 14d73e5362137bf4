r"""Smooth soft rank with the Laplace distribution, in O(n log n).

With F the distribution function of the Laplace distribution,

.. math:: r_i = \tfrac12 + \sum_j F\left(\frac{x_i - x_j}{T}\right), \qquad
    \frac{\partial r_i}{\partial x_j} = [i = j] \sum_l k_{il} - k_{ij}, \quad k_{ij} = \frac{e^{-|x_i - x_j| / T}}{2T}.

Along the sorted scores such sums are recurrences with factors e^(-gap / T) <= 1.
"""

import jax.numpy as jnp
from jax import lax

from jrank.arrays import neutralise
from jrank.sharding import common_variance
from jrank.soft._kl import decayed
from jrank.soft._lists import sort_lists
from jrank.types import Array


def _steps(gates: Array, values: Array, reverse: bool) -> Array:
    def step(carry: Array, given: tuple[Array, Array]) -> tuple[Array, Array]:
        carry = given[0] * carry + given[1]
        return carry, carry

    start = jnp.zeros_like(values[0])
    return lax.scan(step, start, (gates, values), reverse=reverse)[1]


def _tree(gates: Array, values: Array, reverse: bool) -> Array:
    def join(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
        return left[0] * right[0], right[0] * left[1] + right[1]

    return lax.associative_scan(join, (gates, values), reverse=reverse)[1]


def _recur(gates: Array, values: Array, reverse: bool) -> Array:
    return lax.platform_dependent(
        gates,
        values,
        cpu=lambda a, b: _steps(a, b, reverse),
        default=lambda a, b: _tree(a, b, reverse),
    )


def decayed_sums(gates: Array, values: Array) -> Array:
    """Return y with y_i = gate_i y_(i-1) + value_i, differentiable to any order in both.

    Args:
      gates: factors in [0, 1], ``[n]``; the first is not used.
      values: ``[n]``.

    Cost: O(n); on CPU one pass, elsewhere log n parallel ones. The transpose is the recurrence from the other side.
    """
    gates, values = common_variance(gates, values)

    def system(y: Array) -> Array:
        return y - gates * jnp.concatenate([jnp.zeros_like(y[:1]), y[:-1]])

    def forward(_, v: Array) -> Array:
        return _recur(gates, v, False)

    def backward(_, v: Array) -> Array:
        return _recur(jnp.concatenate([gates[1:], jnp.zeros_like(gates[:1])]), v, True)

    return lax.custom_linear_solve(system, values, forward, backward)


def rank_laplace(x: Array, temperature: Array, where: Array | None, slot: Array | None = None) -> Array:
    """Return ascending soft ranks of one list: half plus the sum of F((x_i - x_j) / T) over all j.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      slot: the list of each item, or None for one list.
    """
    s, order, lower = sort_lists(x, where, slot)
    values = neutralise(x, where).at[order].get(mode="promise_in_bounds", unique_indices=True)
    counted = ~jnp.isnan(s)
    place = lax.iota(jnp.int32, x.shape[0])
    # No decay reaches over the end of a list: its first gate is 0, and so are those of places without a score.
    joined = counted[1:] if lower is None else counted[1:] & (place[1:] > lower[1:])
    difference = jnp.where(joined, values[:-1] - values[1:], jnp.asarray(-jnp.inf, x.dtype))
    gates = jnp.concatenate([jnp.zeros_like(values[:1]), decayed(difference, temperature)])
    ones = counted.astype(x.dtype)
    before = decayed_sums(gates, ones) - ones
    mirrored = jnp.concatenate([jnp.zeros_like(gates[:1]), gates[:0:-1]])
    after = decayed_sums(mirrored, ones[::-1])[::-1] - ones
    first = place if lower is None else place - lower
    ranks = (first + 1).astype(x.dtype) + (after - before) / 2
    return jnp.zeros_like(ranks).at[order].set(ranks, mode="promise_in_bounds", unique_indices=True)
