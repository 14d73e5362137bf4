"""Small functions for label functions, lambda weights and reductions of one's own."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Float, Shaped

from jrank.arrays import as_array, as_floating, as_mask, neutralise, reduce_values
from jrank.metrics._lists import Fn, Lists
from jrank.types import Array, ArrayLike

__all__ = ["compute_pairs", "normalize_probabilities", "safe_reduce"]


def normalize_probabilities(
    unscaled_probabilities: Shaped[ArrayLike, "*shape"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*shape"] | None = None,
    axis: int = -1,
) -> Float[Array, "*shape"]:
    r"""Scale the numbers of each list to sum to 1: a ``label_fn`` that makes every list count the same.

    Args:
      unscaled_probabilities: non-negative numbers.
      where: True at real items.
      segments: ids of lists along the axis.
      axis: the axis of the items.

    Returns:
      The scaled numbers, 0 at masked places. A list of zeros gets equal numbers that sum to 1.

    >>> normalize_probabilities(jnp.array([1.0, 3.0, 0.0])).tolist()
    [0.25, 0.75, 0.0]
    """
    p = jnp.moveaxis(as_floating(unscaled_probabilities, "unscaled_probabilities"), axis, -1)
    mask = as_mask(where, jnp.shape(unscaled_probabilities))
    mask = None if mask is None else jnp.moveaxis(mask, axis, -1)
    ids = None if segments is None else jnp.moveaxis(as_array(segments, "segments"), axis, -1)
    lists = Lists.of(mask, ids, p.shape)
    p = neutralise(p, mask)
    total = lists.spread(lists.sum(p))
    count = lists.spread(lists.sum(jnp.ones_like(p)))
    some = total != 0
    even = 1 / jnp.maximum(count, jnp.ones_like(count))
    scaled = jnp.where(some, p / jnp.where(some, total, jnp.ones_like(total)), even)
    return jnp.moveaxis(neutralise(scaled, mask), -1, axis)


def compute_pairs(a: Shaped[ArrayLike, "*batch n"], op: Callable[[Array, Array], Array]) -> Shaped[Array, "*batch nn"]:
    """Apply a function to all pairs of items, row by row.

    Args:
      a: one number per item.
      op: a function of the first and the second number of a pair, elementwise.

    Returns:
      ``op(a_i, a_j)`` at place ``i * n + j``: ``[..., n * n]``.

    Cost: O(n²) time and memory.

    >>> compute_pairs(jnp.array([1.0, 3.0]), lambda x, y: x - y).tolist()
    [0.0, -2.0, 2.0, 0.0]
    """
    x = as_array(a, "a")
    pairs = jnp.broadcast_to(op(x[..., :, None], x[..., None, :]), (*x.shape, x.shape[-1]))
    return pairs.reshape((*x.shape[:-1], x.shape[-1] ** 2))


def safe_reduce(
    a: Shaped[ArrayLike, "..."], where: Shaped[ArrayLike, "..."] | None = None, reduce_fn: Fn | None = None
) -> Shaped[Array, "..."]:
    """Reduce the valid values; the mean of none is 0, with gradient 0.

    Args:
      a: values.
      where: which count.
      reduce_fn: ``jnp.mean``, ``jnp.sum`` or another with ``where``; None keeps the values, 0 where they do not count.

    Returns:
      The reduced value.

    >>> safe_reduce(jnp.array([1.0, 2.0]), jnp.array([False, False]), jnp.mean).tolist()
    0.0
    """
    x = as_floating(a, "a")
    return reduce_values(x, as_mask(where, x.shape), reduce_fn)
