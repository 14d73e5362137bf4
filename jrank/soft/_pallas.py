"""Pool adjacent violators as a Pallas kernel, for many short lists: one thread follows one list.

On GPU a program takes as many lists as a warp has threads, and what a thread stores only that thread reads. On TPU a
program takes one list and works on scalars.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu, triton

from jrank.errors import SoftError
from jrank.soft._rules import Rule, Run
from jrank.types import Array

# The longest lists, and how many a GPU program takes.
LONGEST, LANES = 512, 32


def pool_pallas(rule: Rule, items: tuple[Array, ...], slope: Array, platform: str) -> tuple[Array, Array, tuple]:
    """Find the blocks of one list; under ``vmap`` all lists of a batch go to one kernel.

    Args:
      rule: what is pooled.
      items: the arrays that describe the items in sorted order, ``[n]``, float32, the first NaN where there is none.
      slope: the parameter of the rule.
      platform: "tpu" or "gpu" for a kernel, "cpu" for its interpretation.

    Returns:
      How many blocks there are; and, in the first places of ``[n]``, where each begins and what the rule keeps of it.

    Raises:
      SoftError: the list is too long, or not float32.
    """
    n, dtype = items[0].shape[0], items[0].dtype
    if n > LONGEST or dtype != jnp.float32:
        raise SoftError(
            f"the kernels take float32 lists of at most {LONGEST} items, got {n} of {dtype}",
            reason="invalid_parameter",
            hint="use backend='xla'",
        )
    count, begin, kept = _rows(rule, platform)(tuple(a[None] for a in items), slope[None])
    return count[0], begin[0], tuple(a[0] for a in kept)


@functools.cache
def _rows(rule: Rule, platform: str) -> Any:
    @jax.custom_batching.custom_vmap
    def rows(items: tuple[Array, ...], slope: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        return _call(rule, items, slope, platform)

    @rows.def_vmap
    def batched(size: int, mapped: Any, items: tuple[Array, ...], slope: Array) -> Any:
        given = jax.tree.map(
            lambda a, there: a if there else jnp.broadcast_to(a, (size, *a.shape)), (items, slope), tuple(mapped)
        )
        flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), given)
        out = jax.tree.map(lambda a: a.reshape(size, -1, *a.shape[1:]), rows(*flat))
        return out, jax.tree.map(lambda _: True, out)

    return rows


def _call(rule: Rule, items: tuple[Array, ...], slope: Array, platform: str) -> tuple[Array, Array, tuple]:
    b, n = items[0].shape
    lanes = 1 if platform == "tpu" else LANES
    more = -b % lanes
    slope = jnp.pad(slope, (0, more), constant_values=1)
    parts = (b + more) // lanes
    # [part, place, list]: neighbouring threads read neighbouring numbers.
    items = tuple(jnp.pad(a, ((0, more), (0, 0))).reshape(parts, lanes, n).swapaxes(1, 2) for a in items)
    kinds = [jnp.int32, *(a.dtype for a in jax.eval_shape(rule.single, *(a[0, 0] for a in items)))]
    space = tpu.SMEM if platform == "tpu" else None
    long = pl.BlockSpec((1, n, lanes), lambda i: (i, 0, 0), memory_space=space)
    one = pl.BlockSpec((1, 1, lanes), lambda i: (i, 0, 0), memory_space=space)
    count, begin, *kept = pl.pallas_call(
        functools.partial(_kernel, rule=rule, inputs=len(items), scalar=platform == "tpu"),
        grid=(parts,),
        in_specs=[long] * len(items) + [one],
        out_specs=[one] + [long] * len(kinds),
        out_shape=[
            jax.ShapeDtypeStruct((parts, 1, lanes), jnp.int32),
            *(jax.ShapeDtypeStruct((parts, n, lanes), kind) for kind in kinds),
        ],
        **_how(platform),
    )(*items, slope.reshape(parts, 1, lanes))
    rows = [a.swapaxes(1, 2).reshape(b + more, n)[:b] for a in (begin, *kept)]
    return count.reshape(-1)[:b], rows[0], tuple(rows[1:])


def _kernel(*refs: Any, rule: Rule, inputs: int, scalar: bool) -> None:
    item_refs, slope_ref, (count_ref, begin_ref, *kept_refs) = refs[:inputs], refs[inputs], refs[inputs + 1 :]
    lanes = 0 if scalar else lax.iota(jnp.int32, LANES)
    n = item_refs[0].shape[1]
    slope = slope_ref[0, 0, lanes]

    def outer(i: Array, count: Array) -> Array:
        def look(inner: tuple) -> tuple[Array, Run, Run]:
            top = jnp.maximum(inner[0] - 1, 0)
            place = begin_ref[0, top, lanes]
            first, middle = (p.astype(slope.dtype) for p in (place, inner[1]))
            end = jnp.full_like(first, 1) + i.astype(slope.dtype)
            return place, Run(first, middle, tuple(r[0, top, lanes] for r in kept_refs)), Run(middle, end, inner[2:])

        def pooled(inner: tuple) -> Array:
            _, left, right = look(inner)
            return (inner[1] > 0) & rule.closes(left, right, slope)

        def some(inner: tuple) -> Array:
            pools = pooled(inner)
            return pools if scalar else jnp.max(pools.astype(jnp.int32)) > 0

        def pool(inner: tuple) -> tuple:
            place, left, right = look(inner)
            new = inner[0] - 1, place, *rule.join(left, right, slope, True)
            pools = pooled(inner)
            return tuple(jnp.where(pools, a, b) for a, b in zip(new, inner, strict=True))

        values = [r[0, i, lanes] for r in item_refs]
        here = jnp.zeros_like(count) + i
        count, *top = lax.while_loop(some, pool, (count, here, *rule.single(*values)))
        for ref, value in zip((begin_ref, *kept_refs), top, strict=True):
            ref[0, count, lanes] = value
        return count + 1

    # Not read before they are written, but a thread looks at the first place always.
    for ref in (begin_ref, *kept_refs):
        ref[0, 0, lanes] = jnp.zeros_like(slope).astype(ref.dtype)
    count_ref[0, 0, lanes] = lax.fori_loop(0, n, outer, jnp.zeros_like(slope).astype(jnp.int32))


def _how(platform: str) -> dict[str, Any]:
    if platform in ("gpu", "cuda"):
        return {"compiler_params": triton.CompilerParams(num_warps=1, num_stages=1)}
    return {"interpret": platform == "cpu"}
