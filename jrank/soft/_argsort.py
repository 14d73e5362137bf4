"""Soft permutation matrices, and the soft top k read from their rows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.errors import SoftError
from jrank.soft import _matrix, _network
from jrank.soft._arguments import check_mask, check_scores, check_temperature, choose, over_rows, work_dtype
from jrank.soft._parts import count, positive, take_apart
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "argsort", "top_k"]

# Rows of the ascending matrix of one list of finite scores: (x[n], temperature, where[n], rows[m]) -> [m, n].
METHODS: dict[str, Callable[..., Array]] = {
    **{kind: partial(_matrix.permutation, kind=kind) for kind in _matrix.KINDS},
    **_network.MATRICES,
}


def _row(x: Array, temperature: Array, where: Array | None, *, method: str, descending: bool, rows: int) -> Array:
    """The first rows of the matrix of one list, in the working type."""
    parts = take_apart(-x if descending else x, where)
    below, finite, valid = (count(a) for a in (parts.low, parts.counts, parts.valid))
    place = lax.iota(jnp.int32, rows)
    matrix = METHODS[method](parts.safe, positive(temperature), parts.counts, jnp.maximum(place - below, 0))
    # Infinite scores are ties at the ends: each end shares its rows evenly.
    low, high = (a.astype(x.dtype) / jnp.maximum(count(a), 1).astype(x.dtype) for a in (parts.low, parts.high))
    upper = jnp.broadcast_to(high[None, :], matrix.shape)
    middle = jnp.where((place < below + finite)[:, None], matrix, upper)
    matrix = jnp.where((place < below)[:, None], jnp.broadcast_to(low[None, :], matrix.shape), middle)
    return jnp.where((place < valid)[:, None], matrix, jnp.zeros_like(matrix))


@partial(jax.jit, static_argnames=("method", "descending", "rows"))
def _argsort(x, temperature, where, **options):
    x = x.astype(work_dtype(x))
    return over_rows(partial(_row, **options), x.ndim - 1)(x, temperature, where)


def first_rows(
    x: Any, rows: int | None, method: str, temperature: Any, axis: int, descending: bool, where: Any
) -> tuple[Array, Array]:
    """Return the scores, list axis last, and the first rows of their soft permutation matrix.

    Args:
      x: see ``argsort``.
      rows: how many, or None for all.
      method: see ``argsort``.
      temperature: see ``argsort``.
      axis: see ``argsort``.
      descending: see ``argsort``.
      where: see ``argsort``.
    """
    scores, axis = check_scores(x, axis)
    choose(METHODS, method, "argsort")
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    n = scores.shape[-1]
    rows = n if rows is None else min(rows, n)
    if not scores.size:
        return scores, jnp.zeros((*scores.shape[:-1], rows, n), scores.dtype)
    matrix = _argsort(scores, t, mask, method=method, descending=descending, rows=rows)
    return scores, matrix.astype(scores.dtype)


def argsort(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "softsort",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    descending: bool = False,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return a soft permutation matrix: row i says with which weight each item stands at place i.

    .. math:: P^{\mathrm{softsort}}_i = \operatorname{softmax}_j\left(-\frac{|x_{(i)} - x_j|}{T}\right), \qquad
        P^{\mathrm{neuralsort}}_i =
        \operatorname{softmax}_j\left(\frac{(2i - n - 1) x_j - \sum_l |x_j - x_l|}{T}\right)

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: ``"softsort"``, ``"neuralsort"``, or a network that ``rank`` names: the product of its comparators, which
        is doubly stochastic.
      temperature: in the units of the scores, >= 0, one number or one for each list; towards 0 the matrix is hard.
      axis: the axis of the list.
      descending: whether the largest score comes first.
      where: True at real items.

    Returns:
      The matrices, ``[..., n, n]`` with the batch axes in front. Rows sum to 1; those behind the real items, and the
      columns of masked and NaN items, are 0.

    Raises:
      SoftError: unknown method, axis out of range, shapes that do not fit, a negative number as temperature.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: tied scores share rows evenly by the two softmax forms. Infinite scores take the rows at their end, shared
    evenly, with gradient 0. Half types are computed in float32.
    Cost: O(n^2) time and memory, networks O(n^2 log(n)^2) time, odd-even ones O(n^3); ``sort``, ``rank``, ``sort_with``
    and ``top_k`` do without the matrix.
    References: Prillo and Eisenschlos, "SoftSort", ICML 2020; Grover et al., "Stochastic Optimization of Sorting
    Networks via Continuous Relaxations", ICLR 2019; Petersen et al., "Differentiable Sorting Networks", ICML 2021.

    >>> argsort(jnp.array([3.0, 1.0, 2.0]), temperature=0.01)
    Array([[0., 1., 0.],
           [0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    return first_rows(x, None, method, temperature, axis, descending, where)[1]


def top_k(
    x: Shaped[ArrayLike, "..."],
    k: int,
    *,
    method: str = "softsort",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Return the k largest values, softly, and the weights that made them: the first k rows of ``argsort``.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      k: how many, at least 1; more than there are items gives all of them.
      method: see ``argsort``.
      temperature: see ``argsort``.
      axis: the axis of the list.
      where: True at real items.

    Returns:
      The values ``[..., k]``, largest first, and the weights ``[..., k, n]``, with the batch axes in front. Where there
      are fewer than k real items the rest is 0.

    Raises:
      SoftError: as for ``argsort``, and k below 1.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: a value is the weighted mean of the finite scores, infinite where its weights are on infinite scores.
    Cost: O(k n) memory; O(k n) time and a sort by ``"softsort"``, O(n^2) time by ``"neuralsort"``, O(k n log(n)^2) by
    networks.

    >>> values, weights = top_k(jnp.array([3.0, 1.0, 2.0]), 2, temperature=0.01)
    >>> values, weights.argmax(-1)
    (Array([3., 2.], dtype=float32), Array([0, 2], dtype=int32))
    """
    if k < 1:
        raise SoftError(f"k is {k}, expected at least 1", reason="invalid_parameter")
    scores, weights = first_rows(x, k, method, temperature, axis, True, where)
    used = weights != 0
    values = jnp.where(used, scores[..., None, :], jnp.zeros_like(weights))
    return jnp.sum(weights * values, axis=-1), weights
