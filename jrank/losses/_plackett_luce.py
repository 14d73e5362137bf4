"""The Plackett-Luce model: a ranking is drawn item by item, each from what is left, with odds exp(score)."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int, Real, Shaped

from jrank.arrays import as_array, as_floating, as_mask, neutralise, ordered_key, sort_order, take_last
from jrank.errors import LearnError
from jrank.losses._running import suffix_logsumexp
from jrank.losses._softmax import clip_scores
from jrank.metrics._lists import Lists, check_topn, iota_like, list_places
from jrank.types import Array, ArrayLike

__all__ = [
    "all_orders",
    "draw",
    "draw_lists",
    "list_ends",
    "plackett_luce_log_prob",
    "plackett_luce_sample",
    "suffix_surprise",
]

# 8! = 40,320 orders of a list.
MOST_ITEMS = 8


def draw(key: Array, scores: Array, where: Array | None) -> Array:
    """Draw a ranking of each list, by sorting scores with Gumbel noise; masked items last.

    Args:
      key: a random key.
      scores: floating.
      where: the mask, or None.
    """
    noise = jax.random.gumbel(key, scores.shape, scores.dtype)
    return sort_order(scores + noise, descending=True, where=where)


def draw_lists(key: Array, scores: Array, lists: Lists) -> tuple[Array, Array | None]:
    """Draw a ranking of each list, of a row or of a segment.

    Args:
      key: a random key.
      scores: floating.
      lists: the lists.

    Returns:
      Permutations of the rows, the items of each list together and masked ones last; and, with segments, which list
      each place belongs to.
    """
    if lists.slot is None:
        return draw(key, scores, lists.where), None
    noisy = scores + jax.random.gumbel(key, scores.shape, scores.dtype)
    slot = lists.slot if lists.where is None else jnp.where(lists.where, lists.slot, jnp.int32(lists.size))
    operands = (slot, ~ordered_key(noisy), iota_like(slot))
    slot, _, order = lax.sort(operands, dimension=-1, num_keys=2, is_stable=True)
    return order, slot


def list_ends(slot: Array) -> Array:
    """Tell which places are the last of their list.

    Args:
      slot: which list each place belongs to; the items of a list stand together.
    """
    return jnp.concatenate([slot[..., 1:] != slot[..., :-1], jnp.ones_like(slot[..., :1], bool)], axis=-1)


def remaining(
    scores: Array, order: Array, where: Array | None, slot: Array | None = None
) -> tuple[Array, Array, Array]:
    """Put scores in an order, with the logarithm of the sum of the exponentials of what is left at each place.

    Args:
      scores: ``[..., n]``, not +inf.
      order: int32 permutations, masked items last.
      where: the mask, or None.
      slot: which list each place belongs to, or None where each row is a list.

    Returns:
      The scores in this order, finite; the logarithms; and which places hold a valid item.
    """
    low = jnp.asarray(-jnp.finfo(scores.dtype).max / 4, scores.dtype)
    valid = jnp.ones(order.shape, bool) if where is None else take_last(where, order)
    s = jnp.where(valid, jnp.maximum(take_last(scores, order), low), low)
    return s, suffix_logsumexp(s, None if slot is None else list_ends(slot)), valid


def suffix_surprise(
    s: Array, w: Array | None, order: Array, lists: Lists, k: int | None, slot: Array | None = None
) -> Array:
    """Minus the log-likelihood of the first k items of an order, each term weighted.

    Args:
      s: scores, not +inf.
      w: one weight per item, or None.
      order: what ``draw_lists`` returns.
      lists: the lists.
      k: how many places of each list count, or None for all.
      slot: what ``draw_lists`` returns.

    Returns:
      One value per list.
    """
    ranked, left, valid = remaining(s, order, lists.where, slot)
    counts = valid if k is None else valid & (list_places(order, slot) <= k)
    terms = jnp.where(counts, left - ranked, jnp.zeros_like(ranked))
    return lists.take(order).sum(terms if w is None else terms * take_last(w, order))


def all_orders(size: int) -> Array:
    """All orders of a few items, int32 ``[size!, size]``.

    Args:
      size: how many items, at most ``MOST_ITEMS``.
    """
    if size > MOST_ITEMS:
        raise LearnError(
            f"all orders of {size} items were asked for: {math.factorial(size):,} of them",
            reason="invalid_parameter",
            hint=f"lists of at most {MOST_ITEMS} items are enumerated; sample longer ones",
        )
    # The factorial number system: digit j of an order's number says which of the items left comes next.
    number = jnp.arange(math.factorial(size), dtype=jnp.int32)
    left = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), (number.shape[0], size))
    chosen = []
    for j in range(size):
        base = math.factorial(size - 1 - j)
        digit = (number // base)[:, None]
        number = number % base
        chosen.append(take_last(left, digit))
        place = jnp.broadcast_to(jnp.arange(left.shape[1] - 1, dtype=jnp.int32), (left.shape[0], left.shape[1] - 1))
        left = take_last(left, place + (place >= digit).astype(jnp.int32)) if left.shape[1] > 1 else left[:, :0]
    return jnp.concatenate(chosen, axis=1) if chosen else left


def plackett_luce_sample(
    key: Array,
    scores: Real[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    topn: int | None = None,
) -> Int[Array, "*batch k"]:
    r"""Draw a ranking of each list: each next item from those left, with probability softmax of their scores.

    .. math:: P(\pi) = \prod_k \frac{\exp(s_{\pi(k)})}{\sum_{j \ge k} \exp(s_{\pi(j)})}

    Args:
      key: a random key.
      scores: log-odds of being chosen next.
      where: True at real items; masked ones come last.
      topn: how many places to return; None for all.

    Returns:
      The items by rank, int32 ``[..., min(topn, n)]``.

    Raises:
      LearnError: ``topn`` is below 1.

    Numerics: items with score -inf come after all others.
    Cost: O(n log n) time, O(n) memory.
    References: Plackett 1975, "The analysis of permutations"; the Gumbel trick, Yellott 1977.

    >>> plackett_luce_sample(jax.random.key(0), jnp.array([0.0, 50.0, 100.0])).tolist()
    [2, 1, 0]
    """
    check_topn(topn)
    s = as_floating(scores, "scores")
    mask = as_mask(where, s.shape)
    order = draw(key, neutralise(s.astype(jnp.promote_types(s.dtype, jnp.float32)), mask), mask)
    return order if topn is None else order[..., :topn]


def plackett_luce_log_prob(
    scores: Real[ArrayLike, "*batch n"],
    order: Int[ArrayLike, "*batch k"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "*batch"]:
    r"""Log-probability of a ranking, or of its first places, under the Plackett-Luce model.

    .. math:: \log P(\pi) = \sum_k s_{\pi(k)} - \log \sum_{j \notin \pi(1..k-1)} \exp(s_j)

    Args:
      scores: log-odds of being chosen next.
      order: the items by rank, no item twice; fewer than all for the probability of the top.
      where: True at real items; places of masked items do not count.

    Returns:
      One value per list, at most 0; 0 without a valid item.

    Raises:
      LearnError: there are more places than items.

    Numerics: an item with score -inf before one that was retrieved gives a very large negative number.
    Cost: O(n log n) time, O(n) memory.
    References: Plackett 1975, "The analysis of permutations".

    >>> print(f"{plackett_luce_log_prob(jnp.array([0.0, 1.0, 2.0]), jnp.array([2, 1, 0])):.4f}")
    -0.7209
    """
    s = as_floating(scores, "scores")
    dtype = s.dtype
    mask = as_mask(where, s.shape)
    index = as_array(order, "order").astype(jnp.int32)
    n, k = s.shape[-1], index.shape[-1]
    if k > n:
        raise LearnError(f"order has {k} places, the scores have {n} items", reason="length_mismatch")
    s = neutralise(clip_scores(s.astype(jnp.promote_types(dtype, jnp.float32))), mask)
    index = jnp.broadcast_to(index, (*s.shape[:-1], k))
    # What is not in the order comes behind it; there it does not matter how.
    place = jnp.full(s.shape, k, jnp.int32)
    place = jnp.put_along_axis(place, index, jnp.broadcast_to(lax.iota(jnp.int32, k), index.shape), -1, inplace=False)
    place = place if mask is None else jnp.where(mask, place, n)
    whole = sort_order(place)
    behind = k if mask is None else jnp.sum(mask & (place < k), axis=-1, keepdims=True, dtype=jnp.int32)
    ranked, left, valid = remaining(s, whole, mask)
    counts = valid & (lax.broadcasted_iota(jnp.int32, s.shape, s.ndim - 1) < behind)
    return jnp.sum(jnp.where(counts, ranked - left, jnp.zeros_like(left)), axis=-1).astype(dtype)
