r"""Soft permutation matrices by row-wise softmax: SoftSort and NeuralSort, in blocks of rows.

Row i belongs to the i-th smallest score.

.. math:: P^{\mathrm{softsort}}_i = \operatorname{softmax}_j\left(-\frac{|x_{(i)} - x_j|}{T}\right), \qquad
    P^{\mathrm{neuralsort}}_i = \operatorname{softmax}_j\left(\frac{(2i - n - 1) x_j - \sum_l |x_j - x_l|}{T}\right)
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import neutralise, sort_with_order, take_last
from jrank.soft._pairwise import PAIRS, over_pairs, row_block
from jrank.types import Array

# Takes some row numbers, int32 [m], to their differences from the largest logit, [m, n], all <= 0, before the division
# by the temperature, which comes with them.
Rows = Callable[[Array], Array]


def _softsort(x: Array, temperature: Array, where: Array | None) -> tuple[Rows, Array]:
    order = sort_with_order(x, where)[1]
    ordered = take_last(x, order)
    return lambda i: -jnp.abs(ordered[i][:, None] - x[None, :]), temperature


def _neuralsort(x: Array, temperature: Array, where: Array | None) -> tuple[Rows, Array]:
    counts = jnp.ones(x.shape, bool) if where is None else where
    n = jnp.sum(counts, dtype=jnp.int32)
    # Rows keep when x is shifted, and x and T are scaled together: no sum overflows, no offset costs digits.
    part = x / 8  # so that neither the largest float nor, in its turn, the inverse of the scale leaves the range
    lowest = jnp.min(jnp.where(counts, part, jnp.asarray(jnp.inf, x.dtype)))
    highest = jnp.max(jnp.where(counts, part, jnp.asarray(-jnp.inf, x.dtype)))
    centre = lax.stop_gradient(jnp.where(n > 0, lowest / 2 + highest / 2, jnp.zeros_like(lowest)))
    scale = lax.stop_gradient(jnp.max(jnp.where(counts, jnp.abs(part - centre), jnp.zeros_like(x))))
    scale = jnp.where(scale > 0, scale, jnp.ones_like(scale))
    x = (part - centre) / scale

    def distances(rows: Array) -> Array:
        # Of the scores themselves: a difference of quotients, one of which a compiler fuses into the subtraction, is
        # not 0 between equals, and its sign would be a slope.
        apart = jnp.abs(rows[:, None] - part[None, :]) / scale
        return jnp.sum(jnp.where(counts[None, :], apart, jnp.zeros_like(apart)), axis=-1)

    apart = over_pairs(distances, (part,), x.shape[0])

    def rows(i: Array) -> Array:
        factor = (2 * (i + 1) - n - 1).astype(x.dtype)
        logits = factor[:, None] * x[None, :] - apart[None, :]
        best = jnp.max(jnp.where(counts[None, :], logits, jnp.asarray(-jnp.inf, x.dtype)), axis=-1, keepdims=True)
        best = jnp.where(jnp.isfinite(best), best, jnp.zeros_like(best))
        return logits - lax.stop_gradient(best)

    return rows, jnp.maximum(temperature / 8 / scale, float(jnp.finfo(x.dtype).tiny) ** 0.4)


def _softmax_rows(rows: Rows, temperature: Array, where: Array | None, i: Array) -> Array:
    logits = jnp.maximum(rows(i), -200 * temperature) / temperature
    valid = logits >= -150 if where is None else (logits >= -150) & where[None, :]
    weights = jnp.where(valid, jnp.exp(jnp.where(valid, logits, jnp.zeros_like(logits))), jnp.zeros_like(logits))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, jnp.ones_like(total))


KINDS = {"softsort": _softsort, "neuralsort": _neuralsort}


def permutation(x: Array, temperature: Array, where: Array | None, wanted: Array | None = None, *, kind: str) -> Array:
    """Return rows of the soft permutation matrix of one list; each sums to 1 over the items that count.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None; rows behind them mean nothing.
      wanted: which rows, int32 ``[m]``; None is all.
      kind: "softsort" or "neuralsort".

    Returns:
      ``[m, n]``.
    """
    rows, temperature = KINDS[kind](neutralise(x, where), temperature, where)
    wanted = lax.iota(jnp.int32, x.shape[0]) if wanted is None else wanted
    block = partial(_softmax_rows, rows, temperature, where)
    if wanted.shape[0] <= row_block(x.shape[0]):
        return block(wanted)
    # The matrix itself is held, its logits and exponentials are not.
    return over_pairs(block, (wanted,), x.shape[0])


def carry_by_matrix(x: Array, temperature: Array, where: Array | None, values: Array, *, kind: str) -> Array:
    """Return P v for some columns v, in ascending order of x: ``[n, d]``.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      values: finite, 0 where items do not count, ``[n, d]``.
      kind: "softsort" or "neuralsort".
    """
    rows, temperature = KINDS[kind](neutralise(x, where), temperature, where)

    def block(i: Array) -> Array:
        # At the highest precision a hard row gives the value as it is, on accelerators too.
        return jnp.matmul(_softmax_rows(rows, temperature, where, i), values, precision=lax.Precision.HIGHEST)

    return over_pairs(block, (lax.iota(jnp.int32, x.shape[0]),), x.shape[0])


def sort_by_matrix(x: Array, temperature: Array, where: Array | None, *, kind: str) -> Array:
    """Return ascending soft sorted values of one list, P x.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      kind: "softsort" or "neuralsort".
    """
    x = neutralise(x, where)
    rows, temperature = KINDS[kind](x, temperature, where)

    def block(i: Array) -> Array:
        # Not a matrix product: that may round its factors, and a hard row shall give the value exactly.
        return jnp.sum(_softmax_rows(rows, temperature, where, i) * x[None, :], axis=-1)

    return over_pairs(block, (lax.iota(jnp.int32, x.shape[0]),), x.shape[0])


def rank_by_matrix(x: Array, temperature: Array, where: Array | None, *, kind: str) -> Array:
    """Return ascending soft ranks of one list: the mean row number of each column of P.

    Args:
      x: finite scores, ``[n]``.
      temperature: positive, a scalar.
      where: the items that count, or None.
      kind: "softsort" or "neuralsort".
    """
    n = x.shape[0]
    rows, temperature = KINDS[kind](neutralise(x, where), temperature, where)
    count = jnp.asarray(n) if where is None else jnp.sum(where, dtype=jnp.int32)

    @jax.checkpoint
    def block(i: Array) -> tuple[Array, Array]:
        weights = _softmax_rows(rows, temperature, where, i)
        weights = jnp.where((i < count)[:, None], weights, jnp.zeros_like(weights))
        place = (i + 1).astype(x.dtype)
        return jnp.sum(weights * place[:, None], axis=0), jnp.sum(weights, axis=0)

    size = min(row_block(n), n)
    blocks = -(-n // size)

    def add(total: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
        part = block(start + lax.iota(jnp.int32, size))
        return (total[0] + part[0], total[1] + part[1]), None

    first = block(lax.iota(jnp.int32, size))
    if blocks > 1:
        first, _ = lax.scan(add, first, jnp.arange(1, blocks, dtype=jnp.int32) * size)
    total, mass = first
    return total / jnp.where(mass > 0, mass, jnp.ones_like(mass))


def _held(n: int) -> int:
    return min(n * n, PAIRS)


# How many numbers a list of n scores holds at a time.
HELD = dict.fromkeys(KINDS, _held)
RANKS = {kind: partial(rank_by_matrix, kind=kind) for kind in KINDS}
SORTS = {kind: partial(sort_by_matrix, kind=kind) for kind in KINDS}
CARRIERS = {kind: partial(carry_by_matrix, kind=kind) for kind in KINDS}
