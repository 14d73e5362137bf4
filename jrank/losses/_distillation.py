"""Losses that learn from the scores of a teacher."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_array, as_floating, neutralise
from jrank.errors import LearnError
from jrank.losses._label_order import LabelOrder
from jrank.losses._lambda_form import list_size
from jrank.losses._listmle import order_terms
from jrank.losses._pairs import finite_scores
from jrank.losses._softmax import clip_scores, list_logsumexp
from jrank.metrics import default_discount_fn
from jrank.metrics._dominance import count_smaller
from jrank.metrics._lists import (
    Fn,
    check_topn,
    finish,
    iota_like,
    list_places,
    prepare,
    scatter_last,
    segment_slots,
)
from jrank.metrics._rank_sums import logistic_sums, smallest_temperature
from jrank.types import Array, ArrayLike

__all__ = ["adr_mse_loss", "kl_distillation_loss", "listwise_distillation_loss", "margin_mse_loss"]


def margin_mse_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    positive: int = 0,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""MarginMSE: the margins of one positive item over the others shall be those of a teacher.

    .. math:: \ell(s, t) = \frac{1}{|N|} \sum_{j \in N} ((s_p - s_j) - (t_p - t_j))^2, \quad N = \{j : j \ne p\}

    Args:
      scores: scores of the student.
      labels: scores t of the teacher.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for each other item.
      positive: the place p of the positive item in every list, from 0 on, or from the end if negative: in the order of
        the input, masked items included. Static.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0; 0 for a list of one item. A list whose positive item is masked, or a segment too
      short to have it, is left out of means.

    Raises:
      LearnError: shapes differ, or a row has no place p.

    Numerics: only differences matter. Infinite scores cost +inf. Half types are accumulated in float32.
    Cost: O(n) time and memory, O(n log n) time with segments.
    References: Hofstätter et al. 2020, "Improving efficient neural ranking models with cross-architecture knowledge
      distillation".

    >>> student, teacher = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([3.0, 0.5, 2.0, 0.0])
    >>> print(f"{margin_mse_loss(student, teacher):.4f}")
    2.8333
    """
    dtype = as_floating(scores, "scores").dtype
    s, t, w, lists = prepare(scores, labels, where, segments, weights)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    if not -lists.size <= positive < lists.size:
        raise LearnError(
            f"positive is {positive}, a place of a list of {lists.size} was expected", reason="invalid_parameter"
        )
    s = finite_scores(s)
    chosen = _at_place(positive, s, segments)
    chosen = chosen if lists.where is None else chosen & lists.where
    known = lists.max(chosen.astype(s.dtype)) > 0
    known = known if lists.valid is None else known & lists.valid
    counts = ~chosen & lists.spread(known)
    counts = counts if lists.where is None else counts & lists.where
    lists = dataclasses.replace(lists, valid=known)
    zero = jnp.zeros_like(s)
    of_student, of_teacher = (lists.spread(lists.sum(jnp.where(chosen, x, zero))) for x in (s, t))
    squares = neutralise((of_student - s) - (of_teacher - t), counts) ** 2
    squares = squares if w is None else squares * w
    number = lists.sum(counts.astype(s.dtype))
    values = lists.sum(neutralise(squares, counts)) / jnp.maximum(number, jnp.ones_like(number))
    return finish(values, lists, reduce_fn, dtype)


def _at_place(place: int, like: Array, segments: Any) -> Array:
    """Which items stand at a place of their list, in the order of the input; a negative one counts from the end."""
    index = iota_like(like)
    if segments is None:
        return index == place % like.shape[-1]
    # Masked items keep their places: a mask does not make another item the positive one.
    slot = segment_slots(as_array(segments, "segments"), None)
    operands = (slot, index if place >= 0 else -index, index)
    slot, _, order = lax.sort(operands, dimension=-1, num_keys=2)
    wanted = place + 1 if place >= 0 else -place
    return scatter_last(order, list_places(order, slot) == wanted)


def kl_distillation_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Divergence of a teacher's distribution over the list from the student's.

    .. math:: \ell(s, t) = T^2 \sum_i w_i p_i (\log p_i - \log q_i), \quad
        p = \operatorname{softmax}(t / T), \quad q = \operatorname{softmax}(s / T)

    Args:
      scores: scores of the student.
      labels: scores t of the teacher.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the term of each item.
      temperature: T, in the units of the scores; the factor T² keeps gradients of one size. May be traced.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced divergence, at least 0. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: an item that the teacher gives -inf costs nothing; one that the student alone gives -inf costs +inf.
    Cost: O(n) time and memory, O(n log n) time with segments.
    References: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network".

    >>> student, teacher = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([3.0, 0.5, 2.0, 0.0])
    >>> print(f"{kl_distillation_loss(student, teacher):.4f}")
    0.4330
    """
    dtype = as_floating(scores, "scores").dtype
    s, t, w, lists = prepare(scores, labels, where, segments, weights)
    scale = jnp.asarray(temperature, s.dtype)
    s, t = (clip_scores(x / scale) for x in (s, t))
    log_p, log_q = (neutralise(x - lists.spread(list_logsumexp(x, lists)), lists.where) for x in (t, s))
    p = jnp.exp(log_p)
    live = p > 0
    gap = jnp.where(live, jnp.where(live, log_p, jnp.zeros_like(p)) - log_q, jnp.zeros_like(p))
    terms = p * gap if w is None else p * gap * w
    return finish(scale * scale * lists.sum(terms), lists, reduce_fn, dtype)


def listwise_distillation_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    discount_fn: Fn = default_discount_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Surprise of the student at the order that a teacher puts the first items in: only the order is learned.

    .. math:: \ell(s, t) = -\sum_{k \le K} \frac{D(k)}{\sum_{j \le K} D(j)}
        \log \frac{\exp(s_{\pi(k)})}{\sum_{j \ge k} \exp(s_{\pi(j)})}

    where :math:`\pi` sorts the scores of the teacher in descending order.

    Args:
      scores: scores of the student; only their differences matter.
      labels: scores t of the teacher; only their order matters. Equal ones are all chosen from the same items.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the term of each item.
      topn: how many places K of the teacher's ranking are learned; None for all.
      discount_fn: places to discounts D.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ or ``topn`` is below 1.

    Numerics: as ``listmle_loss``.
    Cost: O(n log n) time, O(n) memory.
    References: Reddi et al. 2021, "RankDistil: knowledge distillation for ranking"; Xia et al. 2008, "Listwise approach
      to learning to rank: theory and algorithm".

    >>> student, teacher = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([3.0, 0.5, 2.0, 0.0])
    >>> print(f"{listwise_distillation_loss(student, teacher):.4f}")
    0.7112
    """
    check_topn(topn)
    dtype = as_floating(scores, "scores").dtype
    s, t, w, lists = prepare(scores, labels, where, segments, weights)

    def factor(ranked: LabelOrder) -> Array:
        place = list_places(ranked.order, ranked.lists.slot).astype(s.dtype)
        weight = discount_fn(place)
        weight = weight if topn is None else jnp.where(place <= topn, weight, jnp.zeros_like(weight))
        weight = neutralise(weight, ranked.lists.where)
        total = ranked.lists.spread(ranked.lists.sum(weight))
        weight = weight / jnp.where(total == 0, jnp.ones_like(total), total)
        return weight if w is None else weight * ranked.take(w)

    return finish(order_terms(s, t, lists, None, "group", factor, any_labels=True), lists, reduce_fn, dtype)


def adr_mse_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    discount_fn: Fn = default_discount_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Approximate discounted rank MSE: soft ranks of the student shall be the ranks that a teacher gives.

    .. math:: \ell(s, t) = \frac{1}{n} \sum_i D(r_i) (r_i - \tilde r_i)^2, \quad
        \tilde r_i = 1 + \sum_{j \ne i} \sigma((s_j - s_i) / T)

    where r is the rank by the teacher, equal scores sharing the mean of their ranks.

    Args:
      scores: scores of the student; only their differences matter.
      labels: scores t of the teacher; only their order matters.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for the term of each item.
      temperature: T, in the units of the scores. May be traced.
      discount_fn: ranks to discounts D.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: infinite scores are ties at the ends, with gradient 0. Half types are computed in float32.
    Cost: O(n²) time, O(n) memory beside one block.
    References: Schlatt et al. 2025, "Rank-DistiLLM: closing the effectiveness gap between cross-encoders and LLMs for
      passage re-ranking".

    >>> student, teacher = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([3.0, 0.5, 2.0, 0.0])
    >>> print(f"{adr_mse_loss(student, teacher):.4f}")
    0.4384
    """
    dtype = as_floating(scores, "scores").dtype
    s, t, w, lists = prepare(scores, labels, where, segments, weights)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    count = list_size(lists, s)
    smaller, greater = count_smaller(t, lists), count_smaller(-t, lists)
    target = neutralise((greater + (count - smaller) + 1) / 2, lists.where, 1)
    scale = jnp.maximum(jnp.asarray(temperature, s.dtype), smallest_temperature(s.dtype))
    scale = jnp.broadcast_to(scale, (*s.shape[:-1], 1))
    # Half of an item outranks itself in this sum, and its rank begins at 1.
    ranks = logistic_sums(finite_scores(s), scale, lists.where, lists.slot, None) + 0.5
    terms = neutralise(discount_fn(target) * jnp.square(target - neutralise(ranks, lists.where, 1)), lists.where)
    terms = terms if w is None else terms * w
    total = lists.count(s.dtype)
    return finish(lists.sum(terms) / jnp.maximum(total, jnp.ones_like(total)), lists, reduce_fn, dtype)
