"""Ranks and cut-offs from a step function of score differences: smooth ones for approximations, hinges for bounds."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank import soft
from jrank.arrays import accumulator_dtype, as_array, as_floating, as_mask, neutralise
from jrank.losses._pairs import finite_scores
from jrank.metrics._lists import Lists
from jrank.metrics._ranking import ranks
from jrank.types import Array, ArrayLike

__all__ = ["approx_cutoff", "approx_ranks"]

BLOCK_ITEMS = 1 << 19


def approx_ranks(
    scores: Real[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    key: Array | None = None,
    step_fn: Callable[[Array], Array] = jax.nn.sigmoid,
) -> Float[Array, "*batch n"]:
    r"""Ranks from a step function of the score differences; the largest score has the smallest rank.

    .. math:: r_i = 1 + \sum_{j \ne i} \operatorname{step}(s_j - s_i)

    Args:
      scores: one score per item.
      where: True at real items; masked items are outranked by nobody and outrank nobody.
      segments: ids of lists within a row, in any order; items of different lists do not meet.
      key: not used; it is there because rank functions take one.
      step_fn: an elementwise function that is near 0 below 0 and near 1 above.

    Returns:
      The ranks, 1 at masked places.

    Numerics: equal infinite scores differ by 0. Half types are accumulated in float32. Every derivative is that of the
      formula.
    Cost: O(n²) time, computed again for the gradient; O(n) memory beside one block of pairs.
    References: Qin, Liu and Li 2010, "A general approximation framework for direct optimization of information
    retrieval
      measures".

    >>> ranks = approx_ranks(jnp.array([2.0, 1.0, 3.0, 0.5]))
    >>> print(jnp.array_str(ranks, precision=3))
    [2.182 2.989 1.464 3.364]
    """
    s = as_floating(scores, "scores")
    mask = as_mask(where, s.shape)
    if step_fn is jax.nn.sigmoid:
        place = soft.rank(s, method="sigmoid", descending=True, where=mask, segments=segments)
        return place if mask is None else jnp.where(mask, place, jnp.ones_like(place))
    ids = None if segments is None else as_array(segments, "segments")
    # All rows of the batch have a block in memory at once.
    block = max(1, BLOCK_ITEMS // max(s.size, 1))

    def one(s: Array, mask: Array | None, ids: Array | None) -> Array:
        return _row_ranks(s, mask, ids, step_fn, block)

    run = one
    for _ in range(s.ndim - 1):
        run = jax.vmap(run, in_axes=(0, None if mask is None else 0, None if ids is None else 0))
    dtype = accumulator_dtype(s.dtype)
    return run(finite_scores(neutralise(s.astype(dtype), mask)), mask, ids).astype(s.dtype)


def _row_ranks(s: Array, mask: Array | None, ids: Array | None, step_fn: Callable[[Array], Array], block: int) -> Array:
    n = s.shape[0]
    rows = min(block, max(n, 1))

    # Recomputed for the gradient: what is kept of a block is its sum.
    @jax.checkpoint
    def outranked(rows_of: tuple[Array, ...]) -> Array:
        place, own, *rest = rows_of
        rest = list(rest)
        difference = s[None, :] - own[:, None]
        counts = place[:, None] != jnp.arange(n)[None, :]
        if mask is not None:
            counts &= mask[None, :] & rest.pop(0)[:, None]
        if ids is not None:
            counts &= ids[None, :] == rest.pop(0)[:, None]
        steps = step_fn(jnp.where(counts, difference, jnp.zeros_like(difference)))
        return 1 + jnp.sum(jnp.where(counts, steps, jnp.zeros_like(steps)), axis=-1)

    per_item = [jnp.arange(n), s, *([] if mask is None else [mask]), *([] if ids is None else [ids])]
    if rows >= n:
        return outranked(tuple(per_item))
    extra = -n % rows
    blocks = [jnp.pad(a, (0, extra), mode="edge").reshape(-1, rows) for a in per_item]
    return lax.map(outranked, tuple(blocks)).reshape(-1)[:n]


def approx_cutoff(
    a: Real[ArrayLike, "*batch n"],
    n: int | None = None,
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    step_fn: Callable[[Array], Array] = jax.nn.sigmoid,
) -> Float[Array, "*batch n"]:
    r"""How far each value is among the ``n`` largest of its list, by a step function.

    .. math:: c_i = \operatorname{step}(a_i - t), \quad t = \tfrac{1}{2} (a_{(n)} + a_{(n+1)})

    where :math:`a_{(n)}` is the n-th largest value.

    Args:
      a: any values; metrics hand in the negated ranks.
      n: how many to select; None selects all, 0 none.
      where: True at real items; masked items are not selected and do not move the threshold.
      segments: ids of lists within a row, in any order.
      step_fn: an elementwise function that is near 0 below 0 and near 1 above.

    Returns:
      The selection: 1 for every item of a list of at most ``n`` items, 0 at masked places.

    Numerics: the threshold is a constant for gradients.
    Cost: O(n log n).

    >>> print(jnp.array_str(approx_cutoff(jnp.array([-1.0, -2.0, -3.0]), n=1), precision=3))
    [0.622 0.378 0.182]
    """
    values = as_floating(a, "a")
    if n is None:
        return jnp.ones_like(values)
    if n == 0:
        return jnp.zeros_like(values)
    mask = as_mask(where, values.shape)
    lists = Lists.of(mask, None if segments is None else as_array(segments, "segments"), values.shape)
    safe = neutralise(values, mask)
    place = ranks(safe, where=mask, segments=segments)
    around = lists.sum(jnp.where((place == n) | (place == n + 1), safe, jnp.zeros_like(safe))) / 2
    chosen = step_fn(safe - lax.stop_gradient(lists.spread(around)))
    longer = lists.spread(jnp.broadcast_to(lists.count(jnp.int32), around.shape)) > n
    chosen = jnp.where(longer, chosen, jnp.ones_like(chosen))
    return neutralise(chosen, mask)
