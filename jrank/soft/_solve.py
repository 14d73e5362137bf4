"""The blocks of the exact projections, by the solver that suits the device.

Which items are in which block is piecewise constant; the operators put the blocks into closed forms that autodiff
handles, hence no gradient passes here.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jrank.errors import SoftError
from jrank.sharding import common_variance
from jrank.soft._merge import pool_merge
from jrank.soft._rules import MEAN, Rule
from jrank.soft._stack import pool_stack, spread
from jrank.types import Array


class Blocks(NamedTuple):
    """The blocks of one list. Which entries of the tables are in use depends on the solver.

    Attributes:
      ids: for each item, where its block stands in the tables; the items in the order of the input.
      begin: table, the sorted position at which the block begins, counted from the beginning of its list.
      length: table, how many items the block has; 0 where the table holds no block.
      kept: tables, what the rule keeps of the block; of a mean two numbers, whose unevaluated sum it is.
      order: the order in which the items of a block stand together.
    """

    ids: Array
    begin: Array
    length: Array
    kept: tuple[Array, ...]
    order: Array


class Problem(NamedTuple):
    """One list, or several one behind the other, in sorted order.

    Attributes:
      items: what describes the items, ``[n]`` each; the first NaN where there is no item.
      order: int32 permutation that sorted them.
      slope: the parameter of the rule, a scalar.
      lower: int32, for each place where its list begins, or None for one list.
    """

    items: tuple[Array, ...]
    order: Array
    slope: Array
    lower: Array | None


def by_stack(rule: Rule, problem: Problem) -> Blocks:
    """Find the blocks of a list with the solver for CPUs.

    Args:
      rule: what is pooled.
      problem: the list.
    """
    items, order, slope, lower = problem
    count, begin, kept = pool_stack(rule, items, slope, lower)
    return _compact(spread(order, count, begin), count, begin, kept, order, lower)


def _compact(ids: Array, count: Array, begin: Array, kept: tuple, order: Array, lower: Array | None) -> Blocks:
    """Tables with the blocks in their first places."""
    n = order.shape[0]
    place = lax.iota(jnp.int32, n)
    after = jnp.concatenate([begin[1:], begin[:1]])
    end = jnp.where(place == count - 1, n, after)
    length = jnp.where(place < count, end - begin, 0)
    if lower is not None:
        begin = begin - lower.at[begin].get(mode="promise_in_bounds")
    return Blocks(ids, begin, length, kept, order)


def by_merging(rule: Rule, problem: Problem) -> Blocks:
    """Find the blocks of a list with the solver for accelerators; the tables have a block at its first place.

    Args:
      rule: what is pooled.
      problem: the list.
    """
    items, order, slope, lower = problem
    begin, end, kept = pool_merge(rule, items, slope, lower)
    return tabulate(begin, end, kept, order, lower)


def tabulate(begin: Array, end: Array, kept: tuple[Array, ...], order: Array, lower: Array | None) -> Blocks:
    """Turn what is known of the block of every sorted place into tables.

    Args:
      begin: where it begins, ``[n]``.
      end: where it ends.
      kept: what the rule keeps of it.
      order: the permutation that sorted the items.
      lower: for each place where its list begins, or None.
    """
    ids = jnp.zeros_like(begin).at[order].set(begin, mode="promise_in_bounds", unique_indices=True)
    length = jnp.where(lax.iota(jnp.int32, order.shape[0]) == begin, end - begin, 0)
    return Blocks(ids, begin if lower is None else begin - lower, length, kept, order)


def by_kernel(rule: Rule, problem: Problem, platform: str) -> Blocks:
    """Find the blocks of a list with the kernel for many short ones.

    Args:
      rule: what is pooled.
      problem: one list.
      platform: "gpu", "tpu", or "cpu" for interpretation.

    Raises:
      SoftError: the list is too long, not float32, or holds several lists.
    """
    from jrank.soft._pallas import pool_pallas

    items, order, slope, lower = problem
    if lower is not None:
        raise SoftError("the kernels take no segments", reason="invalid_parameter", hint="use backend='xla'")
    count, begin, kept = pool_pallas(rule, items, slope, platform)
    n = order.shape[0]
    first = jnp.where(lax.iota(jnp.int32, n) < count, begin, n)
    number = jnp.cumsum(jnp.zeros_like(begin).at[first].set(1, mode="drop")) - 1
    ids = jnp.zeros_like(number).at[order].set(number, mode="promise_in_bounds", unique_indices=True)
    return _compact(ids, count, begin, kept, order, None)


@functools.cache
def _by_stack_rows(rule: Rule) -> Callable[[Problem], Blocks]:
    # A batch is solved list by list: a loop of scalars is faster on CPU than one that moves all lists in lockstep,
    # where every list waits for the one that pools most.
    return jax.custom_batching.sequential_vmap(functools.partial(by_stack, rule))


def solve(
    items: tuple[Array, ...],
    order: Array,
    slope: Array,
    *,
    rule: Rule = MEAN,
    lower: Array | None = None,
    backend: str = "xla",
) -> Blocks:
    """Find the blocks of one list.

    Args:
      items: scores in sorted order, NaN where there is none, and what else describes the items; ``[n]``, n >= 1.
      order: int32 permutation that sorted them.
      slope: the parameter of the rule, a scalar.
      rule: what is pooled.
      lower: int32, for each sorted position where its list begins, if the array holds several; no block crosses lists.
      backend: "pallas" for the kernel; all others leave the choice to XLA's platform.

    Returns:
      The blocks, a place without a score in a block of its own; no gradient passes.

    Cost: O(n) time and memory on CPU; elsewhere see ``pool_merge``.
    """
    leaves, tree = jax.tree.flatten(Problem(items, order, slope, lower))
    problem = jax.tree.unflatten(tree, common_variance(*map(lax.stop_gradient, leaves)))
    if backend == "pallas":
        return by_kernel(rule, problem, jax.default_backend())
    return lax.platform_dependent(problem, cpu=_by_stack_rows(rule), default=functools.partial(by_merging, rule))
