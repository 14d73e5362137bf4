"""Pool adjacent violators with a stack: one pass over the list, for processors that follow one thread fast."""

import jax.numpy as jnp
from jax import lax

from jrank.sharding import common_variance
from jrank.soft._rules import SHORT, Rule, Run
from jrank.types import Array


def pool_stack(
    rule: Rule, items: tuple[Array, ...], slope: Array, lower: Array | None
) -> tuple[Array, Array, tuple[Array, ...]]:
    """Find the blocks of one list, or of several that stand one behind the other.

    Args:
      rule: what is pooled.
      items: the arrays that describe the items in sorted order, ``[n]``, the first NaN where there is none.
      slope: the parameter of the rule.
      lower: for each place where its list begins, or None for one list.

    Returns:
      How many blocks there are; and, in the first places of ``[n]``, where each begins and what the rule keeps of it.
    """
    n, dtype = items[0].shape[0], items[0].dtype
    short = n <= SHORT

    def outer(i: Array, carry: tuple) -> tuple:
        count, begin, *kept = carry
        floor = jnp.zeros_like(i) if lower is None else lower[i]

        def look(inner: tuple) -> tuple[Array, Run, Run]:
            top = jnp.maximum(inner[0] - 1, 0)
            place = begin[top]
            first, middle, end = ((p - floor).astype(dtype) for p in (place, inner[1], i + 1))
            return place, Run(first, middle, tuple(a[top] for a in kept)), Run(middle, end, inner[2:])

        def pooled(inner: tuple) -> Array:
            return (inner[1] > floor) & rule.closes(*look(inner)[1:], slope)

        def pool(inner: tuple) -> tuple:
            place, left, right = look(inner)
            return inner[0] - 1, place, *rule.join(left, right, slope, short)

        # Only scalars are carried through the inner loop: the arrays are read there, and written once per item.
        *values, here = common_variance(*(a[i] for a in items), i)
        count, *top = lax.while_loop(pooled, pool, (count, here, *rule.single(*values)))
        put = [a.at[count].set(v, mode="promise_in_bounds") for a, v in zip((begin, *kept), top, strict=True)]
        return count + 1, *put

    places = jnp.zeros_like(items[0], jnp.int32)
    empty = tuple(jnp.zeros_like(a) for a in rule.single(*items))
    start = (jnp.sum(places, dtype=jnp.int32), places, *empty)
    count, begin, *kept = lax.fori_loop(jnp.int32(0), jnp.int32(n), outer, start)
    return count, begin, tuple(kept)


def spread(order: Array, count: Array, begin: Array) -> Array:
    """Write the number of its block to every item, in the order of the input.

    Args:
      order: the permutation that sorted the items, ``[n]``.
      count: how many blocks there are.
      begin: where each begins, ``[n]``.
    """
    n = order.shape[0]

    def body(t: Array, carry: tuple) -> tuple:
        block, ids = carry
        i = n - 1 - t
        ids = ids.at[order[i]].set(block, mode="promise_in_bounds", unique_indices=True)
        return jnp.where(begin[block] == i, block - 1, block), ids

    return lax.fori_loop(jnp.int32(0), jnp.int32(n), body, (count - 1, jnp.zeros_like(order)))[1]
