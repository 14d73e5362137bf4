r"""NeuralSort by rows: the soft permutation that puts the largest score first, never held as a matrix.

Row r of a list of n items is

.. math:: \hat P_r = \operatorname{softmax}_j\left(\frac{(n + 1 - 2r) s_j - \sum_l |s_j - s_l|}{T}\right)
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import neutralise, ordered_key, take_last
from jrank.metrics._lists import Lists, iota_like
from jrank.types import Array

__all__ = ["SoftOrder", "largest_score"]

# Entries of the rows that are computed at a time, over all lists.
BLOCK_ITEMS = 1 << 20


def largest_score(like: Array) -> Array:
    """Return what +inf counts as: a number whose product with the size of any list is finite.

    Args:
      like: an array of the wanted type.
    """
    return jnp.asarray(float(jnp.finfo(like.dtype).max) ** 0.75, like.dtype)


@dataclasses.dataclass(frozen=True)
class SoftOrder:
    """The items of each list by descending score, and what the rows of their soft permutation are made of.

    Args:
      lists: the lists, in this order.
      order: which item of the input stands where; items that are not retrieved come last.
      scores: the scores in this order, about their mean.
      spread: sums of the distances to all other scores of the list.
      counts: which places hold an item that takes part: valid, and retrieved.
      rank: 1-based rank in the list.
      size: how many items of the list take part.
    """

    lists: Lists
    order: Array
    scores: Array
    spread: Array
    counts: Array
    rank: Array
    size: Array

    @classmethod
    def of(cls, scores: Array, lists: Lists) -> "SoftOrder":
        """Sort; scores of -inf take no part, +inf counts as a large finite number."""
        counts = scores > -jnp.inf
        counts = counts if lists.where is None else counts & lists.where
        large = largest_score(scores)
        scores = jnp.clip(neutralise(scores, counts), -large, large)
        key = ~ordered_key(scores)
        place = iota_like(key)
        slot = jnp.zeros_like(place) if lists.slot is None else lists.slot
        slot = jnp.where(counts, slot, jnp.int32(lists.size))
        slot, key, order = lax.sort((slot, key, place), dimension=-1, num_keys=2, is_stable=True)
        one = jnp.ones_like(place[..., :1], bool)
        new_list = slot[..., 1:] != slot[..., :-1]
        new_score = new_list | (key[..., 1:] != key[..., :-1])

        def start(change: Array) -> Array:
            fresh = jnp.concatenate([one, change], axis=-1)
            return lax.cummax(jnp.where(fresh, place, jnp.zeros_like(place)), axis=place.ndim - 1)

        def end(change: Array) -> Array:
            close = jnp.concatenate([change, one], axis=-1)
            last = jnp.where(close, place, jnp.full_like(place, place.shape[-1]))
            return lax.cummin(last, axis=place.ndim - 1, reverse=True) + 1

        first, last, low, high = start(new_list), end(new_list), start(new_score), end(new_score)
        counts = slot < lists.size
        x = take_last(scores, order)
        size = jnp.where(counts, last - first, jnp.zeros_like(first))

        def before(x: Array) -> Array:
            return jnp.concatenate([jnp.zeros_like(x[..., :1]), jnp.cumsum(x, axis=-1)], axis=-1)

        def between(total: Array, a: Array, b: Array) -> Array:
            return take_last(total, b) - take_last(total, a)

        # Rows do not change when all scores of a list are shifted; about their mean, sums lose least.
        number = jnp.maximum(size, jnp.ones_like(size)).astype(x.dtype)
        x = x - lax.stop_gradient(between(before(x / number), first, last))
        x = jnp.where(counts, x, jnp.zeros_like(x))
        total = before(x)
        larger, smaller = between(total, first, low), between(total, high, last)
        spread = ((last - high) - (low - first)).astype(x.dtype) * x + larger - smaller
        spread = jnp.where(counts, spread, jnp.zeros_like(spread))
        return cls(lists.take(order), order, x, spread, counts, place - first + 1, size)

    def apply(
        self, values: tuple[Array, ...], temperature: Array, places: int | None = None, straight_through: bool = False
    ) -> tuple[Array, ...]:
        """Bring numbers into the soft order, blocks of rows at a time.

        Args:
          values: one number per item of the input each.
          temperature: in the units of the scores.
          places: how many rows are needed, the first ones; not with several lists in a row.
          straight_through: whether each row takes the item with the largest weight, with the derivatives of the soft
            row.

        Returns:
          Soft sorted values, ``[..., places]`` each; 0 behind the last item that takes part.
        """
        n = self.scores.shape[-1]
        k = n if places is None else min(places, n)
        batch = self.scores.shape[:-1]
        rows = max(1, min(k, BLOCK_ITEMS // max(1, math.prod(batch) * n)))
        blocks = -(-k // rows)
        values = tuple(neutralise(take_last(v, self.order), self.counts) for v in values)
        columns = (self.scores, self.spread, self.counts, self.lists.slot, values)
        scale = jnp.asarray(temperature, self.scores.dtype)

        @jax.checkpoint
        def block(start: Array, columns: tuple, scale: Array) -> tuple[Array, ...]:
            x, spread, counts, slot, values = columns
            index = jnp.minimum(start + lax.iota(jnp.int32, rows), n - 1)
            factor = (self.size + 1 - 2 * self.rank)[..., index].astype(x.dtype)[..., :, None]
            live = counts[..., None, :] & counts[..., index][..., :, None]
            if slot is not None:
                live &= slot[..., None, :] == slot[..., index][..., :, None]
            logits = (factor * x[..., None, :] - spread[..., None, :]) / scale
            logits = jnp.where(live, logits, jnp.full_like(logits, -jnp.inf))
            top = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
            top = jnp.where(jnp.isfinite(top), top, jnp.zeros_like(top))
            weights = jnp.where(live, jnp.exp(jnp.where(live, logits - top, jnp.zeros_like(logits))), 0.0)
            total = jnp.sum(weights, axis=-1, keepdims=True)
            weights = weights / jnp.where(total > 0, total, jnp.ones_like(total))
            out = tuple(jnp.sum(weights * v[..., None, :], axis=-1) for v in values)
            if straight_through:
                best = jnp.argmax(weights, axis=-1)
                some = jnp.any(live, axis=-1)
                hard = (
                    jnp.where(some, take_last(v, best), jnp.zeros_like(o)) for v, o in zip(values, out, strict=True)
                )
                out = tuple(o + lax.stop_gradient(h - o) for o, h in zip(out, hard, strict=True))
            return out

        if blocks == 1:
            return tuple(v[..., :k] for v in block(jnp.int32(0), columns, scale))
        starts = jnp.arange(blocks, dtype=jnp.int32) * rows
        parts = lax.map(lambda start: block(start, columns, scale), starts)
        return tuple(jnp.moveaxis(p, 0, -2).reshape((*batch, blocks * rows))[..., :k] for p in parts)
