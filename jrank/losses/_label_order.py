"""Lists in the order of their labels, and running sums along it."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import ordered_key, take_last
from jrank.losses._running import suffix_logsumexp
from jrank.metrics._lists import Lists, iota_like
from jrank.types import Array

__all__ = ["LabelOrder"]


@dataclasses.dataclass(frozen=True)
class LabelOrder:
    """The items of each list by descending label, masked items last.

    Args:
      lists: the lists, in this order.
      order: which item of the input stands where.
      scores: finite scores, in this order.
      fresh: which items are the first with their label; what was not retrieved counts as a smaller label of its own.
      close: which items end a list; None where only the end of the row does.
    """

    lists: Lists
    order: Array
    scores: Array
    fresh: Array
    close: Array | None

    @classmethod
    def of(cls, labels: Array, scores: Array, lists: Lists, key: Array | None = None) -> "LabelOrder":
        """Sort; equal labels keep the order of the input, what was not retrieved last, or come in random order."""
        label_key = ~ordered_key(labels)
        if lists.where is not None:
            largest = jnp.asarray(jnp.iinfo(label_key.dtype).max, label_key.dtype)
            label_key = jnp.where(lists.where, label_key, largest)
        tie = (
            (scores <= -jnp.finfo(scores.dtype).max / 8).astype(jnp.uint32)
            if key is None
            else jax.random.bits(key, labels.shape, jnp.uint32)
        )
        keys = [label_key, tie]
        if lists.slot is not None:
            last = jnp.asarray(lists.size, jnp.int32)
            keys.insert(0, lists.slot if lists.where is None else jnp.where(lists.where, lists.slot, last))
        *keys, order = lax.sort((*keys, iota_like(labels)), dimension=-1, num_keys=len(keys), is_stable=True)
        one = jnp.ones_like(order[..., :1], bool)
        label_key = keys[-2]
        change = label_key[..., 1:] != label_key[..., :-1]
        if key is None:
            change |= keys[-1][..., 1:] != keys[-1][..., :-1]
        close = None
        if lists.slot is not None:
            new_list = keys[0][..., 1:] != keys[0][..., :-1]
            change |= new_list
            close = jnp.concatenate([new_list, one], axis=-1)
        ranked = lists.take(order)
        sorted_scores = take_last(scores, order)
        if ranked.where is not None:
            # What is masked comes last and has probability 0.
            lowest = jnp.asarray(-jnp.finfo(scores.dtype).max / 4, scores.dtype)
            sorted_scores = jnp.where(ranked.where, sorted_scores, lowest)
        return cls(ranked, order, sorted_scores, jnp.concatenate([one, change], axis=-1), close)

    def take(self, x: Array) -> Array:
        """Bring one number per item into this order."""
        return take_last(x, self.order)

    def from_here(self) -> Array:
        """Logarithm of the sum of the exponentials of the scores from each item to the end of its list."""
        return suffix_logsumexp(self.scores, self.close)

    @property
    def start(self) -> Array:
        """Where the items with the label of each item begin."""
        place = iota_like(self.order)
        return lax.cummax(jnp.where(self.fresh, place, jnp.zeros_like(place)), axis=place.ndim - 1)

    @property
    def next_start(self) -> Array:
        """Where the items with the next label begin; the size of the row after the last one."""
        place = iota_like(self.order)
        end = jnp.asarray(place.shape[-1], jnp.int32)
        begin = jnp.where(self.fresh, place, end)
        begin = jnp.concatenate([begin[..., 1:], jnp.full_like(begin[..., :1], end)], axis=-1)
        return lax.cummin(begin, axis=place.ndim - 1, reverse=True)

    def _next_in_list(self) -> tuple[Array, Array]:
        after = self.next_start
        inside = after < after.shape[-1]
        after = jnp.minimum(after, after.shape[-1] - 1)
        if self.lists.slot is not None:
            inside &= take_last(self.lists.slot, after) == self.lists.slot
        if self.lists.where is not None:
            inside &= take_last(self.lists.where, after)
        return after, inside

    @property
    def has_below(self) -> Array:
        """Which items have an item with a smaller label in their list."""
        return self._next_in_list()[1]

    def below(self) -> Array:
        """Logarithm of the sum of the exponentials of the scores with smaller labels; see ``has_below``."""
        return take_last(self.from_here(), self._next_in_list()[0])
