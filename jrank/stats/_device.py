"""Tests and intervals on arrays of JAX: many comparisons at once, under jit, on the device of the arrays.

Values cannot raise here: where a value that counts is NaN, so is the result.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy import special

from jrank.arrays import as_floating, as_mask, sort_with_order, take_last
from jrank.errors import EvalError
from jrank.stats._paired import TestResult
from jrank.types import Array

__all__ = ["bootstrap_interval", "effect_size", "paired_t", "randomization", "sign", "t_interval", "wilcoxon"]

jax.tree_util.register_dataclass(TestResult, data_fields=["statistic", "p_value", "exact"], meta_fields=[])

# Signs or resampled queries that are drawn at a time.
DRAWS = 1 << 18

# Up to this many differences Wilcoxon's distribution is exact.
EXACT_RANKS = 50


def _pairs(a: Any, b: Any, where: Any) -> tuple[Array, Array, Array]:
    """Differences, 0 where they do not count, which count, and how many."""
    x, y = as_floating(a, "a"), as_floating(b, "b")
    if x.shape[-1:] != y.shape[-1:] or x.ndim == 0:
        raise EvalError(f"a has shape {x.shape} and b {y.shape}, expected one pair per query", reason="length_mismatch")
    x, y = jnp.broadcast_arrays(x, y)
    return _valid(x - y, where)


def _valid(x: Array, where: Any) -> tuple[Array, Array, Array]:
    mask = as_mask(where, x.shape)
    mask = jnp.ones(x.shape, bool) if mask is None else mask
    return jnp.where(mask, x, jnp.zeros_like(x)), mask, jnp.sum(mask, axis=-1, dtype=x.dtype)


def _moments(d: Array, mask: Array, n: Array) -> tuple[Array, Array, Array]:
    """Mean, differences from it, and standard deviation, 0 where values differ by rounding alone."""
    mean = jnp.sum(d, axis=-1) / jnp.maximum(n, 1)
    centred = jnp.where(mask, d - mean[..., None], jnp.zeros_like(d))
    spread = jnp.sqrt(jnp.sum(centred * centred, axis=-1) / jnp.maximum(n - 1, 1))
    least = 4 * jnp.finfo(d.dtype).eps * jnp.max(jnp.abs(d), axis=-1, initial=0)
    return mean, centred, jnp.where(spread <= least, jnp.zeros_like(spread), spread)


def paired_t(a: Any, b: Any, where: Any) -> TestResult:
    """See ``jrank.stats.paired_t``."""
    d, mask, n = _pairs(a, b, where)
    mean, _, spread = _moments(d, mask, n)
    some = (n > 1) & (spread > 0)
    t = mean / jnp.where(some, spread / jnp.sqrt(jnp.maximum(n, 1)), 1)
    free = jnp.maximum(n - 1, 1)
    p = special.betainc(free / 2, jnp.full_like(free, 0.5), free / (free + t * t))
    # All differences equal: infinite where they are not 0.
    equal = (n > 1) & (mean != 0)
    t = jnp.where(some, t, jnp.where(equal, jnp.copysign(jnp.inf, mean), jnp.zeros_like(t)))
    p = jnp.where(some, p, jnp.where(equal, jnp.zeros_like(p), jnp.ones_like(p)))
    return TestResult(t, jnp.where(jnp.isnan(mean), mean, p), jnp.ones(n.shape, bool))


def effect_size(a: Any, b: Any, where: Any) -> Array:
    """Cohen's d; see ``jrank.stats.effect_size``."""
    d, mask, n = _pairs(a, b, where)
    mean, _, spread = _moments(d, mask, n)
    some = (n > 1) & (mean != 0)
    infinite = jnp.copysign(jnp.inf, mean)
    value = jnp.where(spread > 0, mean / jnp.where(spread > 0, spread, 1), infinite)
    return jnp.where(some, value, jnp.zeros_like(value))


def sign(a: Any, b: Any, where: Any) -> TestResult:
    """See ``jrank.stats.sign``."""
    d, _, _ = _pairs(a, b, where)
    wins, n = jnp.sum(d > 0, axis=-1, dtype=d.dtype), jnp.sum(d != 0, axis=-1, dtype=d.dtype)
    least = jnp.minimum(wins, n - wins)
    # The chance of at most k heads of n is an incomplete beta function.
    tail = special.betainc(jnp.maximum(n - least, 1), least + 1, jnp.full_like(n, 0.5))
    p = jnp.where(n > 0, jnp.minimum(2 * tail, 1), jnp.ones_like(tail))
    return TestResult(wins, p, jnp.ones(n.shape, bool))


@functools.cache
def _rank_sums() -> np.ndarray:
    """Chance that the sum of a random subset of 1..n is at most s, for each n up to 50 and each s."""
    size = EXACT_RANKS * (EXACT_RANKS + 1) // 2 + 1
    table, ways = np.ones((EXACT_RANKS + 1, size)), np.zeros(size)
    ways[0] = 1
    for n in range(1, EXACT_RANKS + 1):
        more = np.zeros(size)
        more[n:] = ways[: size - n]
        ways = (ways + more) / 2
        table[n] = np.cumsum(ways)
    return table


def wilcoxon(a: Any, b: Any, where: Any) -> TestResult:
    """See ``jrank.stats.wilcoxon``."""
    d, _, _ = _pairs(a, b, where)
    used = d != 0
    n = jnp.sum(used, axis=-1, dtype=d.dtype)
    size, order = sort_with_order(jnp.abs(d), used)
    positive = take_last(d, order) > 0
    place = lax.broadcasted_iota(jnp.int32, d.shape, d.ndim - 1)
    change = size[..., 1:] != size[..., :-1]
    edge = jnp.ones_like(change[..., :1]) if d.shape[-1] > 1 else jnp.ones((*d.shape[:-1], 1), bool)
    fresh, close = jnp.concatenate([edge, change], axis=-1), jnp.concatenate([change, edge], axis=-1)
    start = lax.cummax(jnp.where(fresh, place, jnp.zeros_like(place)), axis=d.ndim - 1)
    end = lax.cummin(jnp.where(close, place, jnp.full_like(place, d.shape[-1])), axis=d.ndim - 1, reverse=True)
    inside = place < n[..., None].astype(jnp.int32)
    rank = (start + end + 2).astype(d.dtype) / 2
    plus = jnp.sum(jnp.where(inside & positive, rank, jnp.zeros_like(rank)), axis=-1)
    total = n * (n + 1) / 2
    statistic = jnp.minimum(plus, total - plus)
    ties = (end - start + 1).astype(d.dtype)
    # Each item of a tie of t brings t^2 - 1: together t^3 - t.
    correction = jnp.sum(jnp.where(inside, ties * ties - 1, jnp.zeros_like(ties)), axis=-1) / 48
    variance = n * (n + 1) * (2 * n + 1) / 24 - correction
    some = variance > 0
    z = (statistic - total / 2) / jnp.sqrt(jnp.where(some, variance, 1))
    p = special.erfc(-z / np.sqrt(2).astype(d.dtype))
    exact = (n <= EXACT_RANKS) & (correction == 0)
    table = jnp.asarray(_rank_sums(), d.dtype)
    row = jnp.clip(n.astype(jnp.int32), 0, EXACT_RANKS)
    column = jnp.clip(statistic.astype(jnp.int32), 0, table.shape[1] - 1)
    p = jnp.minimum(jnp.where(exact, 2 * table[row, column], p), 1)
    return TestResult(statistic, jnp.where(n > 0, p, jnp.ones_like(p)), exact)


def _chunks(samples: int, size: int) -> tuple[int, int]:
    """How many draws at a time, and how often."""
    block = max(1, min(samples, DRAWS // max(size, 1)))
    return block, -(-samples // block)


def randomization(a: Any, b: Any, where: Any, samples: int, seed: int, key: Any) -> TestResult:
    """See ``jrank.stats.randomization``; all comparisons share their sign flips, and all are sampled."""
    d, _, n = _pairs(a, b, where)
    mean = jnp.sum(d, axis=-1) / jnp.maximum(n, 1)
    # Sums that are equal in exact arithmetic must count as equal.
    slack = 64 * jnp.finfo(d.dtype).eps * jnp.sum(jnp.abs(d), axis=-1)
    bound = jnp.abs(jnp.sum(d, axis=-1)) - slack
    block, count = _chunks(samples, d.shape[-1])
    keys = jax.random.split(jax.random.key(seed) if key is None else key, count)

    def extreme(at: tuple[Array, Array]) -> Array:
        key, start = at
        signs = jax.random.rademacher(key, (d.shape[-1], block), d.dtype)
        sums = jnp.abs(jnp.matmul(d, signs, precision=lax.Precision.HIGHEST))
        # The last draws may be more than were asked for.
        place = start + lax.broadcasted_iota(jnp.int32, sums.shape, sums.ndim - 1)
        return jnp.sum((sums >= bound[..., None]) & (place < samples), axis=-1, dtype=jnp.int32)

    hits = jnp.sum(lax.map(extreme, (keys, jnp.arange(count) * block)), axis=0)
    p = (hits.astype(d.dtype) + 1) / (samples + 1)
    return TestResult(mean, jnp.where(jnp.isnan(mean), mean, p), jnp.zeros(n.shape, bool))


def t_interval(x: Any, level: float | int, where: Any) -> tuple[Array, Array]:
    """See ``jrank.stats.t_interval``."""
    from scipy.special import stdtrit

    d, mask, n = _valid(as_floating(x, "x"), where)
    mean, _, spread = _moments(d, mask, n)
    # The quantile for every number of degrees of freedom: a table, as its inverse is not in jax.
    free = np.arange(1, max(d.shape[-1], 2))
    table = jnp.asarray(stdtrit(free, 0.5 + level / 2), d.dtype)
    half = table[jnp.clip(n.astype(jnp.int32) - 2, 0, len(free) - 1)] * spread / jnp.sqrt(jnp.maximum(n, 1))
    half = jnp.where(n > 1, half, jnp.full_like(half, jnp.inf))
    return mean - half, mean + half


def bootstrap_interval(
    x: Any, level: float | int, samples: int, seed: int, method: str, where: Any, key: Any
) -> tuple[Array, Array]:
    """See ``jrank.stats.bootstrap_interval``; all rows share their draws."""
    d, mask, n = _valid(as_floating(x, "x"), where)
    mean, centred, spread = _moments(d, mask, n)
    # The queries that count come first.
    *_, order = lax.sort(
        ((~mask).astype(jnp.int32), lax.broadcasted_iota(jnp.int32, d.shape, d.ndim - 1)), dimension=-1, num_keys=2
    )
    first = take_last(centred, order)
    block, count = _chunks(samples, d.size)
    keys = jax.random.split(jax.random.key(seed) if key is None else key, count)

    def resampled(key: Array) -> Array:
        shape = (*(1,) * n.ndim, block, d.shape[-1])
        draws = jax.random.uniform(key, shape, d.dtype)
        at = jnp.minimum(jnp.floor(draws * n[..., None, None]), jnp.maximum(n[..., None, None] - 1, 0))
        values = jnp.take_along_axis(first[..., None, :], at.astype(jnp.int32), axis=-1, mode="promise_in_bounds")
        # As many draws as there are queries.
        inside = lax.broadcasted_iota(d.dtype, shape, n.ndim + 1) < n[..., None, None]
        total = jnp.sum(jnp.where(inside, values, jnp.zeros_like(values)), axis=-1)
        return total / jnp.maximum(n, 1)[..., None]

    means = jnp.moveaxis(lax.map(resampled, keys), 0, -2)
    means = means.reshape(*n.shape, count * block)[..., :samples]
    ends = jnp.broadcast_to(jnp.asarray([(1 - level) / 2, (1 + level) / 2], d.dtype), (*n.shape, 2))
    if method == "bca":
        share = (jnp.mean(means < 0, axis=-1) + jnp.mean(means <= 0, axis=-1)) / 2
        some = (share > 0) & (share < 1) & (spread > 0)
        bias = special.ndtri(jnp.where(some, share, jnp.full_like(share, 0.5)))[..., None]
        square = jnp.sum(centred**2, axis=-1) ** 1.5
        acceleration = (jnp.sum(centred**3, axis=-1) / (6 * jnp.where(some, square, 1)))[..., None]
        z = bias + special.ndtri(ends)
        ends = jnp.where(some[..., None], special.ndtr(bias + z / (1 - acceleration * z)), ends)
    ordered = jnp.sort(means, axis=-1)
    place = ends * (samples - 1)
    low = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, samples - 1)
    below, above = take_last(ordered, low), take_last(ordered, jnp.minimum(low + 1, samples - 1))
    ends = below + (place - low.astype(place.dtype)) * (above - below)
    if method == "basic":
        ends = -ends[..., ::-1]
    return ends[..., 0] + mean, ends[..., 1] + mean
