"""ListNet: the distribution over the top of a ranking that the labels give against that of the scores."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, neutralise
from jrank.errors import LearnError
from jrank.losses._plackett_luce import draw_lists, suffix_surprise
from jrank.losses._softmax import clip_scores, list_logsumexp
from jrank.metrics._lists import Fn, Lists, check_topn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["listnet_loss"]


def listnet_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int = 1,
    temperature: Real[ArrayLike, ""] = 1.0,
    key: Array | None = None,
    num_samples: int = 8,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""ListNet: cross-entropy of the orders of the first k items, drawn as the labels say and as the scores say.

    .. math:: \ell(s, y) = -\sum_{\pi \in \Pi_k} P_{y / T}(\pi) \log P_s(\pi), \quad
        P_s(\pi) = \prod_{j=1}^{k} \frac{\exp(s_{\pi(j)})}{\sum_{i \notin \pi(1..j-1)} \exp(s_i)}

    Args:
      scores: larger is better; only their differences matter.
      labels: grades, which are scores of their own here: only their differences matter.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the term of each item, when it is drawn.
      topn: how many items k of the top are drawn. 1 and 2 are exact; more are sampled, with a ``key``.
      temperature: T, in the units of the labels. May be traced.
      key: a random key, for k above 2.
      num_samples: how many tops are drawn for each list, for k above 2.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced cross-entropy, at least 0. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, or above 2 without a key.

    Numerics: an item whose label is -inf is never drawn; one with score -inf alone costs +inf. +inf counts as the
      largest finite number. Half types are accumulated in float32.
    Cost: O(n) time and memory for k up to 2, O(n log n) time with segments; else O(S n log n) time.
    References: Cao et al. 2007, "Learning to rank: from pairwise approach to listwise approach".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{listnet_loss(scores, labels):.4f} {listnet_loss(scores, labels, topn=2):.4f}")
    1.4427 2.5166
    """
    check_topn(topn)
    if topn > 2 and (key is None or num_samples < 1):
        raise LearnError(
            f"topn is {topn}: more than two items are sampled, which needs a key and at least one sample",
            reason="invalid_parameter",
            hint="pass key=jax.random.key(step), a new one in every step",
        )
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    s = clip_scores(s)
    t = clip_scores(y / jnp.asarray(temperature, y.dtype))
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    w = jnp.ones_like(s) if w is None else w
    if topn > 2 and key is not None:
        return finish(_sampled(s, t, w, lists, topn, key, num_samples), lists, reduce_fn, dtype)
    log_p, log_q = (neutralise(x - lists.spread(list_logsumexp(x, lists)), lists.where) for x in (t, s))
    p = neutralise(jnp.exp(log_p), lists.where)
    values = lists.sum(_product(p * w, -log_q))
    if topn == 2:
        # The second item is j with sum_{i != j} p_i p_j / (1 - p_i); it is drawn from all but the first.
        tiny = jnp.asarray(jnp.finfo(p.dtype).tiny, p.dtype)
        odds = p / jnp.maximum(_others(p, lists), tiny)
        values += lists.sum(_product(p * _others(odds, lists) * w, -log_q))
        left = _others(neutralise(jnp.exp(log_q), lists.where), lists)
        values += lists.sum(_product(odds * _others(p * w, lists), jnp.log(jnp.maximum(left, tiny))))
    return finish(values, lists, reduce_fn, dtype)


def _product(p: Array, surprise: Array) -> Array:
    """Product that is 0 where p is: what is never drawn costs nothing."""
    live = p != 0
    return jnp.where(live, p * jnp.where(live, surprise, jnp.zeros_like(p)), jnp.zeros_like(p))


def _others(x: Array, lists: Lists) -> Array:
    """Sum over the other items of the list; added up for the largest, where a difference would cancel."""
    x = neutralise(x, lists.where)
    top = lists.spread(lists.max(x))
    below = lists.spread(lists.sum(jnp.where(x < top, x, jnp.zeros_like(x))))
    alone = lists.spread(lists.sum((x == top).astype(x.dtype))) == 1
    return jnp.where((x == top) & alone, below, lists.spread(lists.sum(x)) - x)


def _sampled(s: Array, t: Array, w: Array, lists: Lists, k: int, key: Array, samples: int) -> Array:
    """Mean surprise of the scores at tops that the labels drew."""

    @jax.checkpoint
    def one(total: Array, key: Array) -> tuple[Array, None]:
        order, slot = draw_lists(key, lax.stop_gradient(t), lists)
        return total + suffix_surprise(s, w, order, lists, k, slot), None

    total, _ = lax.scan(one, lists.sum(jnp.zeros_like(s)), jax.random.split(key, samples))
    return total / samples
