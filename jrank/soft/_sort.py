"""The soft sort, by every method."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Shaped

from jrank.arrays import sort_with_order
from jrank.soft import _matrix, _network
from jrank.soft._arguments import (
    check_backend,
    check_mask,
    check_scores,
    check_temperature,
    choose,
    over_rows,
    work_dtype,
)
from jrank.soft._kl import sort_kl
from jrank.soft._l2 import sort_l2
from jrank.soft._parts import count, positive, straight, take_apart
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "sort"]

# Ascending values of one list of finite scores, the real ones first: (x[n], temperature, where[n]) -> [n].
METHODS: dict[str, Callable[..., Array]] = {"l2": sort_l2, "kl": sort_kl, **_matrix.SORTS, **_network.SORTS}
# How many numbers a list of n scores holds at a time, by the methods for which these are many.
HELD: dict[str, Callable[[int], int]] = {**_matrix.HELD, **_network.HELD}


def _row(
    x: Array,
    temperature: Array,
    where: Array | None,
    *,
    method: str,
    descending: bool,
    straight_through: bool,
    **backend: str,
) -> Array:
    """Sorted values of one list, in the working type."""
    x = -x if descending else x
    parts = take_apart(x, where)
    below, finite, valid = (count(a) for a in (parts.low, parts.counts, parts.valid))
    values = METHODS[method](parts.safe, positive(temperature), parts.counts, **backend)
    place = lax.iota(jnp.int32, x.shape[0])
    # The method put the finite values first; -inf goes before them, +inf behind them.
    values = values.at[jnp.maximum(place - below, 0)].get(mode="promise_in_bounds")
    infinity = jnp.where(place < below, jnp.asarray(-jnp.inf, x.dtype), jnp.asarray(jnp.inf, x.dtype))
    values = jnp.where((place >= below) & (place < below + finite), values, infinity)
    if straight_through:
        values = straight(sort_with_order(x, parts.valid)[0], values)
    values = jnp.where(place < valid, -values if descending else values, jnp.asarray(jnp.nan, x.dtype))
    return values if where is None else jnp.where(place < count(where), values, jnp.zeros_like(values))


@partial(jax.jit, static_argnames=("method", "descending", "straight_through", "backend"))
def _sort(x, temperature, where, **options):
    x = x.astype(work_dtype(x))
    held = HELD[options["method"]](x.shape[-1]) if options["method"] in HELD else 0
    return over_rows(partial(_row, **options), x.ndim - 1, held)(x, temperature, where)


def sort(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "l2",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    descending: bool = False,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
    backend: str = "xla",
) -> Float[Array, "..."]:
    r"""Return differentiable sorted values, the smallest first, or the largest with ``descending``.

    Method ``"l2"`` is the Euclidean projection of the positions over the temperature onto the permutations of x,

    .. math:: s(x) = \operatorname*{argmin}_{s \in P(x)} \lVert s - (1, \dots, n) / T \rVert^2
        = \bar{x}_B + \tfrac{1}{T} \left(i - \tfrac{a + b}{2}\right),

    where the i-th place is in the block B that takes the places a to b. Blocks are found exactly; a value alone in its
    block is exactly the hard one. s is piecewise linear in x.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: one of

        - ``"l2"``, above: exact;
        - ``"kl"``: the entropic projection, minus the descending sort of -x;
        - ``"softsort"``, ``"neuralsort"`` and the networks that ``rank`` names: P x with the matrix P of ``argsort``.
      temperature: strength of the relaxation, >= 0: one number or one for each list. For ``"l2"`` and ``"kl"`` this is
        the published epsilon, in 1 / score: ``"l2"`` is hard where neighbours differ by no more than 1 / T, and values
        further apart than that are drawn together, all to the mean as T grows. For the other methods it is in units
        of the scores, as for ``rank``. May be traced and differentiated.
      axis: the axis of the list.
      descending: whether the largest value comes first.
      where: True at real items, in a shape that broadcasts to ``x``.
      straight_through: return the hard values with the derivatives of the soft ones.
      backend: see ``rank``. On TPU the kernel has no ``"kl"``.

    Returns:
      The values, in the shape and floating type of ``x``. With a mask, those of the real items come first and 0, with
      gradient 0, fills the rest.

    Raises:
      SoftError: unknown method, axis out of range, shapes that do not fit, a negative number as temperature.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: by ``"l2"`` and the networks the values sum to the sum of x. Infinite scores stand at their end with
    gradient 0 and soften nothing; NaN comes last and leaves the others as if it were not there. Of tied scores each
    gets the gradient of its place in the order of the input, or of their common block. Half types are computed in
    float32. Derivatives of any order are right; where the exact methods have a kink, those of one side.
    Cost: ``"l2"``, ``"kl"``: O(n log n) time for one sort, O(n) for blocks and gradient; O(n) memory. The others: as
    for ``rank``.
    References: as for ``rank``.

    >>> sort(jnp.array([3.0, 0.0, 1.0, 0.5, 0.25]), temperature=1.0)
    Array([0.  , 0.25, 0.5 , 1.5 , 2.5 ], dtype=float32)
    """
    scores, axis = check_scores(x, axis)
    choose(METHODS, method, "sort")
    more = check_backend(backend, method)
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    if scores.size:
        options = {"method": method, "descending": descending, "straight_through": straight_through} | more
        scores = _sort(scores, t, mask, **options).astype(scores.dtype)
    return jnp.moveaxis(scores, -1, axis)
