"""The soft rank, by every method."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped

from jrank.arrays import inverse_permutation, take_last
from jrank.errors import SoftError
from jrank.soft import _matrix, _network
from jrank.soft._arguments import (
    check_backend,
    check_mask,
    check_scores,
    check_segments,
    check_temperature,
    choose,
    over_rows,
    work_dtype,
)
from jrank.soft._kl import rank_kl
from jrank.soft._l2 import rank_l2
from jrank.soft._laplace import rank_laplace
from jrank.soft._lists import count_in_list, slots, sort_lists
from jrank.soft._pairwise import rank_sigmoid
from jrank.soft._parts import positive, straight, take_apart
from jrank.types import Array, ArrayLike

__all__ = ["METHODS", "rank"]

# Ascending ranks of one list of finite scores: (x[n], temperature, where[n]) -> [n]; the segmented ones also take
# slot[n], which list each item belongs to.
METHODS: dict[str, Callable[..., Array]] = {
    "l2": rank_l2,
    "kl": rank_kl,
    "laplace": rank_laplace,
    "sigmoid": rank_sigmoid,
    **_matrix.RANKS,
    **_network.RANKS,
}
# How many numbers a list of n scores holds at a time, by the methods for which these are many.
HELD: dict[str, Callable[[int], int]] = {**_matrix.HELD, **_network.HELD}
SEGMENTED = ("l2", "kl", "laplace", "sigmoid")


def _row(
    x: Array,
    temperature: Array,
    where: Array | None,
    segments: Array | None,
    *,
    method: str,
    straight_through: bool,
    **backend: str,
) -> Array:
    """Ascending ranks of one list, or of several, in the working type."""
    parts = take_apart(x, where)
    slot = None if segments is None else slots(segments)
    below, above, total = (count_in_list(a, slot).astype(x.dtype) for a in (parts.low, parts.high, parts.valid))
    lists = {} if slot is None else {"slot": slot}
    ranks = METHODS[method](parts.safe, positive(temperature), parts.counts, **lists, **backend) + below
    # Infinite scores are ties at the ends: each end shares the mean of its ranks.
    ranks = jnp.where(parts.low, (below + 1) / 2, jnp.where(parts.high, total - (above - 1) / 2, ranks))
    if straight_through:
        _, order, lower = sort_lists(jnp.where(parts.valid, x, jnp.zeros_like(x)), parts.valid, slot)
        place = inverse_permutation(order)
        place = place if lower is None else place - take_last(lower, place)
        ranks = straight((place + 1).astype(x.dtype), ranks)
    ranks = jnp.where(parts.valid, ranks, jnp.asarray(jnp.nan, x.dtype))
    return ranks if where is None else jnp.where(where, ranks, jnp.asarray(x.shape[0] + 1, x.dtype))


@partial(jax.jit, static_argnames=("method", "descending", "straight_through", "backend"))
def _rank(x, temperature, where, segments, *, descending, **options):
    row = partial(_row, **options)
    x = x.astype(work_dtype(x))
    held = HELD[options["method"]](x.shape[-1]) if options["method"] in HELD else 0
    return over_rows(row, x.ndim - 1, held)(-x if descending else x, temperature, where, segments)


def rank(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "l2",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    descending: bool = False,
    where: Shaped[ArrayLike, "..."] | None = None,
    straight_through: bool = False,
    segments: Shaped[ArrayLike, "..."] | None = None,
    backend: str = "xla",
) -> Float[Array, "..."]:
    r"""Return differentiable 1-based ranks: the smallest score has rank 1, or the largest with ``descending``.

    Method ``"l2"`` is the Euclidean projection of the scores over the temperature onto the permutations of the ranks,

    .. math:: r(x) = \operatorname*{argmin}_{r \in P(1, \dots, n)} \lVert r - x / T \rVert^2
        = \tfrac{a + b}{2} + \tfrac{x_i - \bar{x}_B}{T},

    where i is in the block B that takes the sorted positions a to b. Blocks are found exactly; an item alone in its
    block has exactly its hard rank. r is piecewise linear in x.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: one of

        - ``"l2"``, above: exact, hard at temperatures below the gaps, gradient within blocks only;
        - ``"kl"``: the entropic projection, the rank sum of the block times softmax(x_B / T); not symmetric: descending
          is not n + 1 minus ascending;
        - ``"laplace"``: 1/2 + sum_j F((x_i - x_j) / T), F the Laplace distribution function; smooth, with a gradient
          between all pairs, in O(n log n);
        - ``"sigmoid"``: 1 + sum over j != i of sigmoid((x_i - x_j) / T), in O(n^2) time;
        - ``"softsort"``, ``"neuralsort"``: the mean row number of each column of the matrix that ``argsort`` names so;
        - ``"network"``, ``"odd_even"``: ranks carried back through a relaxed bitonic or odd-even sorting network with
          logistic comparators, or with those behind the name, as in ``"network_cauchy"``: ``_logistic_phi``,
          ``_gaussian``, ``_cauchy``, ``_reciprocal``, ``_optimal``. The last three are monotonic: no gradient has the
          wrong sign.
      temperature: how far apart two scores must be to be told apart, in the units of the scores, >= 0: one number or
        one for each list. Towards 0 every method is hard, ``"l2"`` exactly so where neighbours differ by T or more;
        towards infinity every rank is (n + 1) / 2, except by odd-even networks and by bitonic ones of n not a power of
        2, whose wiring mixes unevenly. May be traced and differentiated.
      axis: the axis of the list.
      descending: whether the largest score has rank 1.
      where: True at real items, in a shape that broadcasts to ``x``. Ranks are those among the real items.
      straight_through: return the hard ranks, ties in the order of the input, with the derivatives of the soft ones.
      segments: ids, in any order and in the shape of ``x``: items of a row that share one are a list of their own. For
        ``"l2"``, ``"kl"``, ``"laplace"`` and ``"sigmoid"``. One temperature serves all lists of a row.
      backend: for ``"l2"`` and ``"kl"``, who computes: "xla"; "numpy" for a sort by NumPy on the host of a CPU, worth
        a try where XLA sorts slowly, which cannot be exported; or "pallas" for a kernel that gives every list of at
        most 512 float32 scores a thread (GPU through Triton, TPU; elsewhere interpreted, which is slow). The kernel is
        held against "xla" by interpretation and lowered for these devices, not timed.

    Returns:
      The ranks, in the shape and floating type of ``x``; n + 1, with gradient 0, at masked places.

    Raises:
      SoftError: unknown method, axis out of range, shapes that do not fit, a negative number as temperature.
      TypeError: ``x`` is not an array of real numbers.

    Numerics: the ranks of a list sum to n (n + 1) / 2, except by the two matrices, where they do so towards temperature
    0. Ties get equal ranks and equal shares of the gradient, except by the networks, whose wiring shares unevenly.
    Infinite scores stand at the ends, share their ranks and have gradient 0. NaN gets NaN and leaves the ranks of the
    others as if it were not there. Nothing is divided before differences are taken, and block means are kept beyond the
    working precision: temperatures of 1e-8 and offsets of 1e3 lose no digits. ``"neuralsort"`` adds up distances: next
    to 1e38 it cannot tell 0 from 1. Half types are computed in float32. By ``"l2"`` and ``"kl"`` an item alone in its
    block has gradient 0: a temperature below the gaps teaches nothing. Temperatures below 1e-15 (float32) count as
    that. Derivatives of any order are right; where the exact methods have a kink, those of one side.
    Cost: ``"l2"``, ``"kl"``, ``"laplace"``: O(n log n) time for one sort, O(n) for the rest, forward and backward; O(n)
    memory. ``"sigmoid"``, ``"softsort"``, ``"neuralsort"``: O(n^2) time, blocks of 1M pairs at most in memory.
    Bitonic networks: O(n log(n)^2) time and memory; odd-even ones O(n^2).
    References: Blondel et al., "Fast Differentiable Sorting and Ranking", ICML 2020 (l2, kl); Struski et al., "LapSum",
    ICML 2025 (laplace); Qin et al., "A General Approximation Framework for Direct Optimization of Information Retrieval
    Measures", 2010 (sigmoid); Prillo and Eisenschlos, "SoftSort", ICML 2020; Grover et al., "Stochastic Optimization of
    Sorting Networks via Continuous Relaxations", ICLR 2019 (neuralsort); Petersen et al., "Differentiable Sorting
    Networks", ICML 2021, and "Monotonic Differentiable Sorting Networks", ICLR 2022.

    >>> rank(jnp.array([3.0, 0.0, 1.0, 0.5, 0.25]), temperature=0.5)
    Array([5.   , 1.625, 3.625, 2.625, 2.125], dtype=float32)
    """
    scores, axis = check_scores(x, axis)
    choose(METHODS, method, "rank")
    more = check_backend(backend, method)
    mask = check_mask(where, scores.shape, axis)
    t = check_temperature(temperature, scores.shape[:-1], work_dtype(scores))
    ids = check_segments(segments, scores.shape, axis)
    if ids is not None and method not in SEGMENTED:
        raise SoftError(
            f"soft.rank does not take segments by method {method!r}",
            reason="invalid_parameter",
            hint=f"methods that do: {', '.join(SEGMENTED)}",
        )
    if scores.size:
        options = {"method": method, "descending": descending, "straight_through": straight_through} | more
        scores = _rank(scores, t, mask, ids, **options).astype(scores.dtype)
    return jnp.moveaxis(scores, -1, axis)
