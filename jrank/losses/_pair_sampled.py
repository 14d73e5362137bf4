"""Sums over the pairs of a list, estimated from some of them."""

import jax
import jax.numpy as jnp
from jax import lax

from jrank.arrays import take_last
from jrank.losses._pairs import PairLoss, PairWeights, finite_scores, label_order, pairs_after
from jrank.metrics._lists import Lists
from jrank.types import Array

__all__ = ["sampled_sums"]


def sampled_sums(
    loss: PairLoss,
    s: Array,
    y: Array,
    w: Array | None,
    lists: Lists,
    pair_weights: PairWeights | None,
    features: tuple[Array, ...],
    key: Array,
    num_pairs: int,
) -> Array:
    """Estimate the sum of a pair loss over the pairs of each list, without bias.

    Args:
      loss: the pair loss.
      s: scores.
      y: labels.
      w: the weight of the pairs that an item is the first of, or None.
      lists: the lists.
      pair_weights: weights of pairs, or None.
      features: the numbers per item that ``pair_weights`` takes.
      key: a random key.
      num_pairs: how many pairs of each row are drawn, all alike, with replacement.

    Returns:
      One estimate per list; lists of one row share its pairs.

    Cost: one sort, and O(log n) for each pair.
    """
    order, sort_key, slot = label_order(y, lists)
    begin, count = pairs_after(loss, order, sort_key, slot, lists)
    count = count.astype(s.dtype)
    total = jnp.sum(count, axis=-1, keepdims=True)
    share = jnp.cumsum(count, axis=-1) / jnp.maximum(total, 1)
    first_key, second_key = jax.random.split(key)
    shape = (*s.shape[:-1], num_pairs)
    chosen = jax.random.uniform(first_key, shape, s.dtype)

    def search(share: Array, chosen: Array) -> Array:
        return jnp.searchsorted(share, chosen, side="right").astype(jnp.int32)

    for _ in s.shape[:-1]:
        search = jax.vmap(search)
    i = jnp.minimum(search(share, chosen), s.shape[-1] - 1)
    number = take_last(count, i)
    step = jnp.floor(jax.random.uniform(second_key, shape, s.dtype) * number).astype(jnp.int32)
    j = take_last(begin, i) + jnp.clip(step, 0, jnp.maximum(number.astype(jnp.int32) - 1, 0))
    if loss.pairs == "all":
        # An item makes no pair with itself.
        j = j + (j >= i).astype(jnp.int32)
    j = jnp.minimum(j, s.shape[-1] - 1)
    a, b = take_last(order, i), take_last(order, j)
    scores = finite_scores(s)
    live = number > 0
    x = jnp.where(live, take_last(scores, a) - take_last(scores, b), jnp.zeros_like(chosen))
    values = loss.parts(x, take_last(y, a) - take_last(y, b))[0]
    if pair_weights is not None:
        values = values * pair_weights.fn(*(tuple(take_last(f, at) for f in features) for at in (a, b)))
    if w is not None:
        values = values * take_last(w, a)
    values = jnp.where(live, values, jnp.zeros_like(values)) * (lax.stop_gradient(total) / num_pairs)

    def gather(value: Array, place: Array) -> Array:
        return jnp.zeros(s.shape[-1:], value.dtype).at[place].add(value)

    for _ in s.shape[:-1]:
        gather = jax.vmap(gather)
    return lists.sum(gather(values, a))
