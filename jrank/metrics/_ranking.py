"""Exact ranks and cut-offs, and the ranking that every metric is a sum over."""

import dataclasses
import functools
import inspect
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int, Real, Shaped

from jrank.arrays import as_array, as_floating, as_mask, ordered_key, segment_sum, take_last
from jrank.errors import LearnError
from jrank.metrics._lists import (
    Fn,
    Lists,
    accepts,
    check_topn,
    iota_like,
    list_places,
    running_count,
    scatter_last,
    segment_slots,
)
from jrank.metrics._top import top_items
from jrank.types import Array, ArrayLike

__all__ = [
    "BY_THRESHOLD",
    "Ranking",
    "TieGroups",
    "Ties",
    "at_ranks",
    "call_cutoff",
    "cutoff",
    "list_offsets",
    "outranked_by",
    "rank_items",
    "ranks",
]

Ties = Literal["stable", "average", "worst", "best"]
TIES = ("stable", "average", "worst", "best")


def _descending_key(scores: Array, where: Array | None) -> Array:
    """Integers that sort the best first, NaN as -inf, masked items last."""
    low = jnp.asarray(-jnp.inf, scores.dtype)
    key = ~ordered_key(jnp.where(jnp.isnan(scores), low, scores))
    return key if where is None else jnp.where(where, key, jnp.asarray(jnp.iinfo(key.dtype).max, key.dtype))


def _order(keys: list[Array]) -> tuple[Array, list[Array]]:
    """Indices that sort by several keys, and the sorted keys."""
    *sorted_keys, order = lax.sort((*keys, iota_like(keys[0])), dimension=-1, num_keys=len(keys), is_stable=True)
    return order, sorted_keys


def ranks(
    scores: Real[ArrayLike, "*shape"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*shape"] | None = None,
    axis: int = -1,
    key: Array | None = None,
) -> Int[Array, "*shape"]:
    r"""1-based rank of every item; the largest score has rank 1.

    Args:
      scores: one score per item.
      where: True at real items. Masked items come after all others of their list.
      segments: ids of lists within the axis, in any order; each is ranked by itself.
      axis: the axis of the items.
      key: a random key; ties are then in random order, otherwise in that of the input.

    Returns:
      int32 ranks.

    Numerics: NaN ranks as -inf does, last. No gradient.
    Cost: one sort, two with segments; O(n log n) time, O(n) memory.

    >>> ranks(jnp.array([2.0, 1.0, 3.0, 0.5])).tolist()
    [2, 3, 1, 4]
    """
    s = as_floating(scores, "scores")
    mask = as_mask(where, s.shape)
    if axis not in (-1, s.ndim - 1):
        moved = [None if a is None else jnp.moveaxis(jnp.asarray(a), axis, -1) for a in (mask, segments)]
        result = ranks(jnp.moveaxis(s, axis, -1), where=moved[0], segments=moved[1], key=key)
        return jnp.moveaxis(result, -1, axis)
    slot = None if segments is None else segment_slots(as_array(segments, "segments"), None)
    keys = [_descending_key(s, mask)] if slot is None else [slot, _descending_key(s, mask)]
    if key is not None:
        keys.append(jax.random.bits(key, s.shape, jnp.uint32))
    order, keys = _order(keys)
    slot = None if slot is None else keys[0]
    place = list_places(order, slot)
    return scatter_last(order, place)


def _sorted(
    scores: Array, lists: Lists, ties: str, value: Array | None, key: Array | None
) -> tuple[Array, Array, Array | None]:
    """The order by list and score, the sorted score keys and the sorted lists."""
    keys = [_descending_key(scores, lists.where)]
    if lists.slot is not None:
        last = jnp.asarray(lists.size, jnp.int32)
        keys.insert(0, lists.slot if lists.where is None else jnp.where(lists.where, lists.slot, last))
    level = len(keys) - 1
    if ties in ("worst", "best") and value is not None:
        gain = ordered_key(value)
        keys.append(gain if ties == "worst" else ~gain)
    elif key is not None:
        keys.append(jax.random.bits(key, scores.shape, jnp.uint32))
    order, keys = _order(keys)
    return order, keys[level], keys[0] if lists.slot is not None else None


def cutoff(
    a: Real[ArrayLike, "*batch n"],
    n: int | Int[Array, "..."] | None = None,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
) -> Float[Array, "*batch n"]:
    r"""1 at the ``n`` largest values of each list and 0 elsewhere.

    Args:
      a: any values; metrics hand in the negated ranks.
      n: how many to select, one number or one for each item; None selects all.
      where: True at real items; masked items are never selected.
      segments: ids of lists within a row.

    Returns:
      0 and 1 as floats. Of equal values the first ones are selected.

    Numerics: no gradient.
    Cost: O(n log n).

    >>> cutoff(jnp.array([0.1, 0.9, 0.5]), n=2).tolist()
    [0.0, 1.0, 1.0]
    """
    values = as_floating(a, "a")
    if n is None:
        return jnp.ones_like(values)
    mask = as_mask(where, values.shape)
    chosen = ranks(values, where=mask, segments=segments) <= n
    return (chosen if mask is None else chosen & mask).astype(values.dtype)


@dataclasses.dataclass(frozen=True)
class TieGroups:
    """The groups of equal scores in a sorted row.

    Args:
      number: the number of the group of each item, ascending.
    """

    number: Array

    @classmethod
    def of(cls, key: Array, slot: Array | None) -> "TieGroups":
        """Number the groups of equal sorted keys within each list."""
        fresh = key[..., 1:] != key[..., :-1]
        if slot is not None:
            fresh |= slot[..., 1:] != slot[..., :-1]
        number = jnp.cumsum(fresh, axis=-1, dtype=jnp.int32)
        return cls(jnp.concatenate([jnp.zeros((*key.shape[:-1], 1), jnp.int32), number], axis=-1))

    def sum(self, x: Array) -> Array:
        """Sum of ``x`` over the group of each item."""
        return take_last(segment_sum(x, self.number, self.number.shape[-1], sorted_ids=True), self.number)

    def mean(self, x: Array) -> Array:
        """Mean of ``x`` over the group of each item."""
        return self.sum(x) / self.sum(jnp.ones_like(x))

    @property
    def fresh(self) -> Array:
        """Which items are the first of their group."""
        first = jnp.ones_like(self.number[..., :1], bool)
        return jnp.concatenate([first, self.number[..., 1:] != self.number[..., :-1]], axis=-1)

    @property
    def start(self) -> Array:
        """Where the group of each item starts."""
        place = iota_like(self.number)
        return lax.cummax(jnp.where(self.fresh, place, jnp.zeros_like(place)), axis=place.ndim - 1)


@dataclasses.dataclass(frozen=True)
class Ranking:
    """The items of each list with rank and cut-off: what a metric sums over.

    Args:
      lists: the lists, in the order of this ranking.
      ranks: 1-based, floating; soft ranks where ``rank_fn`` is soft.
      kept: 1 for items that were retrieved within the cut-off, 0 for others, between for a soft cut-off.
      seen: 1 for items that were retrieved (a score above -inf), 0 for others.
      order: which item of the input stands where; None for the order of the input.
      ties: the groups of equal scores, where these are to be averaged over.
    """

    lists: Lists
    ranks: Array
    kept: Array
    seen: Array
    order: Array | None = None
    ties: TieGroups | None = None

    def take(self, x: Array) -> Array:
        """Bring an array with one number per item into the order of this ranking."""
        return x if self.order is None else take_last(x, self.order)

    def expected(self, x: Array) -> Array:
        """Mean of ``x`` over the items with the same score, where ties are averaged; otherwise ``x``."""
        return x if self.ties is None else self.ties.mean(x)

    def in_order(self) -> "Ranking":
        """The same ranking with the items of a list in the order of their ranks."""
        if self.order is not None:
            return self
        keys = [_descending_key(-self.ranks, self.lists.where)]
        if self.lists.slot is not None:
            last = jnp.asarray(self.lists.size, jnp.int32)
            slot = self.lists.slot
            keys.insert(0, slot if self.lists.where is None else jnp.where(self.lists.where, slot, last))
        order, _ = _order(keys)
        place, kept, seen = (take_last(x, order) for x in (self.ranks, self.kept, self.seen))
        return Ranking(self.lists.take(order), place, kept, seen, order)

    def running(self, x: Array) -> Array:
        """How much of ``x``, a count, stands at this rank or before."""
        if self.order is not None:
            return running_count(x, self.lists.slot)
        key = _descending_key(-self.ranks, self.lists.where)
        lists = self.lists
        keys = [key] if lists.slot is None else [lists.slot, key]
        if lists.slot is not None and lists.where is not None:
            keys[0] = jnp.where(lists.where, lists.slot, jnp.asarray(lists.size, jnp.int32))
        order, keys = _order(keys)
        total = running_count(take_last(x, order), keys[0] if lists.slot is not None else None)
        # Items of one and the same rank see each other: take the value at the last of them.
        last = jnp.ones_like(order, bool)
        if order.shape[-1] > 1:
            change = keys[-1][..., 1:] != keys[-1][..., :-1]
            if lists.slot is not None:
                change |= keys[0][..., 1:] != keys[0][..., :-1]
            last = jnp.concatenate([change, last[..., :1]], axis=-1)
        place = jnp.where(last, iota_like(order), jnp.asarray(order.shape[-1], jnp.int32))
        end = lax.cummin(place, axis=place.ndim - 1, reverse=True)
        return scatter_last(order, take_last(total, end))


def rank_items(
    scores: Array,
    lists: Lists,
    *,
    segments: Any = None,
    topn: int | None = None,
    key: Array | None = None,
    rank_fn: Fn = ranks,
    cutoff_fn: Fn = cutoff,
    ties: str = "stable",
    value: Array | None = None,
    counts: Array | None = None,
) -> Ranking:
    """Rank the items of each list.

    Args:
      scores: floating, 0 at masked places.
      lists: the lists.
      segments: the ids that ``lists`` was made from.
      topn: the cut-off, or None.
      key: a random key for the order of ties, or None.
      rank_fn: scores to ranks.
      cutoff_fn: negated ranks to cut-offs.
      ties: how equal scores are ranked.
      value: what ``ties="worst"`` and "best" order equal scores by.
      counts: which items the metric counts, where these are not those with a value; soft ranks of others are left out.

    Returns:
      The ranking; its items are a prefix of the list where only that is needed.
    """
    check_topn(topn)
    if ties not in TIES:
        raise LearnError(f"ties is {ties!r}, one of {', '.join(TIES)} was expected", reason="invalid_parameter")
    retrieved = scores > -jnp.inf
    if lists.where is not None:
        retrieved &= lists.where
    counts = value if counts is None else counts
    if rank_fn is not ranks or cutoff_fn is not cutoff:
        return _custom(scores, retrieved, lists, segments, topn, key, rank_fn, cutoff_fn, counts)
    if topn is not None and topn < lists.size and lists.slot is None and key is None and ties == "stable":
        masks = () if lists.where is None else (lists.where,)
        values, order = top_items((lax.stop_gradient(scores), *masks), _retrieved_score, topn)
        place = iota_like(order).astype(scores.dtype) + 1
        kept = (values > -jnp.inf).astype(scores.dtype)
        return Ranking(lists.take(order), place, kept, kept, order)
    order, score_key, slot = _sorted(scores, lists, ties, value, key)
    place = list_places(order, slot).astype(scores.dtype)
    seen = take_last(retrieved, order)
    kept = seen if topn is None else seen & (place <= topn)
    groups = TieGroups.of(score_key, slot) if ties == "average" and lists.size else None
    return Ranking(lists.take(order), place, kept.astype(scores.dtype), seen.astype(scores.dtype), order, groups)


def _retrieved_score(scores: Array, *where: Array) -> Array:
    """The scores of retrieved items, -inf for others."""
    found = scores > -jnp.inf
    found = found & where[0] if where else found
    best = jnp.where(found, scores, jnp.asarray(-jnp.inf, scores.dtype))
    return jnp.where(best == 0, jnp.zeros_like(best), best)  # top_k would rank -0 below 0


def _custom(
    scores: Array,
    retrieved: Array,
    lists: Lists,
    segments: Any,
    topn: int | None,
    key: Array | None,
    rank_fn: Fn,
    cutoff_fn: Fn,
    counts: Array | None,
) -> Ranking:
    """Ranks and cut-offs by functions of the user, over the retrieved items alone."""
    segments = None if segments is None else jnp.asarray(segments)
    safe = jnp.where(retrieved, scores, jnp.zeros_like(scores))
    asked, others = _asked(safe, retrieved, segments, topn, rank_fn, cutoff_fn, counts)
    place = rank_fn(safe, where=retrieved, segments=segments, key=key, **asked)
    place = jnp.where(retrieved, place.astype(scores.dtype), jnp.ones_like(scores))
    if others is not None:
        place = jnp.where(asked["wanted"], place, others.astype(scores.dtype))
    kept = call_cutoff(cutoff_fn, -place, topn, retrieved, segments).astype(scores.dtype)
    return Ranking(lists, place, jnp.where(retrieved, kept, jnp.zeros_like(kept)), retrieved.astype(scores.dtype))


def call_cutoff(cutoff_fn: Fn, a: Array, n: Any, where: Array | None, segments: Array | None) -> Array:
    """Call a cut-off function with as much as it takes.

    Args:
      cutoff_fn: the function.
      a: the negated ranks.
      n: the cut-off, None, or one number for each item.
      where: the items that count.
      segments: ids of lists within a row, or None.
    """
    options: dict[str, Any] = {"where": where} if accepts(cutoff_fn, "where") else {}
    if segments is not None or accepts(cutoff_fn, "segments"):
        options["segments"] = segments
    return cutoff_fn(a, n=n, **options)


def outranked_by(
    others: Array,
    own: Array,
    scores: Array,
    ranking: "Ranking",
    rank_fn: Fn,
    segments: Any,
    key: Array | None,
) -> Array:
    """Count for each item of one kind the retrieved items of another kind that stand before it.

    Args:
      others: 1 for the items that are counted, 0 for others.
      own: 1 for the items whose count is needed, none of them counted.
      scores: floating, 0 at masked places.
      ranking: the ranking of all items.
      rank_fn: the function that it was made by. The count by a soft one is the rank among both kinds less that among
        one's own.
      segments: the ids that the lists were made from, or None.
      key: the random key of the ranking, or None.

    Returns:
      Counts in the order of the ranking; those of items of neither kind mean nothing.
    """
    if ranking.order is not None:
        return ranking.running(ranking.take(others) * ranking.seen)
    segments = None if segments is None else jnp.asarray(segments)
    seen = ranking.seen > 0
    mine = (own > 0) & seen
    both = mine | ((others > 0) & seen)
    safe = jnp.where(seen, scores, jnp.zeros_like(scores))
    place = [rank_fn(safe, where=which, segments=segments, key=key).astype(scores.dtype) for which in (both, mine)]
    return jnp.where(mine, place[0] - place[1], jnp.zeros_like(scores))


def list_offsets(ranking: Ranking, like: Array) -> Array:
    """Tell for each item where its list begins in an exact ranking.

    Args:
      ranking: the ranking.
      like: an array of the wanted shape.

    Returns:
      int32 places, in the order of the input.
    """
    if ranking.order is None or ranking.lists.slot is None:
        return jnp.zeros(like.shape, jnp.int32)
    slot = ranking.lists.slot
    if ranking.lists.where is not None:
        slot = jnp.where(ranking.lists.where, slot, jnp.asarray(ranking.lists.size, slot.dtype))
    return scatter_last(ranking.order, iota_like(slot) + 1 - list_places(slot, slot))


def at_ranks(table: Array, place: Array, ranking: Ranking) -> Array:
    """Look up a table with an entry for each rank of each list, between two ranks by a straight line.

    Args:
      table: ``[..., n]``, in the order of an exact ranking.
      place: ranks of the items, in the order of the input, soft ones too.
      ranking: the exact ranking.

    Returns:
      One entry for each item, in the order of the input.
    """
    start = list_offsets(ranking, place)
    below = jnp.floor(lax.stop_gradient(place))
    share = place - below
    end = jnp.asarray(table.shape[-1] - 1, jnp.int32)
    at = start + below.astype(jnp.int32) - 1
    low, high = (take_last(table, jnp.clip(at + step, 0, end)) for step in (0, 1))
    return low + share * (high - low)


def _asked(
    scores: Array,
    retrieved: Array,
    segments: Array | None,
    topn: int | None,
    rank_fn: Fn,
    cutoff_fn: Fn,
    counts: Array | None,
) -> tuple[dict[str, Array], Array | None]:
    """Which items a rank function has to rank, where it can leave out some, and the places of the others.

    Those that do not count may have any rank. A cut-off by a threshold needs the two items around it, and
    that the others stand on their side of it.
    """
    plain = cutoff_fn.func if isinstance(cutoff_fn, functools.partial) else cutoff_fn
    explicit = "wanted" in _parameters(rank_fn)
    if counts is None or not explicit or plain not in BY_THRESHOLD:
        return {}, None
    wanted = retrieved & (lax.stop_gradient(counts) != 0)
    if topn is None:
        return {"wanted": wanted}, jnp.ones(scores.shape, jnp.int32)
    exact = ranks(scores, where=retrieved, segments=segments)
    wanted |= retrieved & ((exact == topn) | (exact == topn + 1))
    one = jnp.ones_like(exact)
    return {"wanted": wanted}, jnp.where(exact <= topn, one, one * (scores.shape[-1] + 1))


def _parameters(fn: Fn) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        return ()


# Cut-offs for which only the order of the values and the two around the threshold matter: a metric may then leave out
# the rank of an item that it does not count. The approximate cut-off joins them in its own file.
BY_THRESHOLD: set[Fn] = {cutoff}
