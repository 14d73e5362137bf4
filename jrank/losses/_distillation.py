"""Losses that learn from the scores of a teacher."""

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, neutralise
from jrank.losses._pairs import finite_scores
from jrank.losses._softmax import clip_scores, list_logsumexp
from jrank.metrics._lists import Fn, finish, prepare
from jrank.types import Array, ArrayLike

__all__ = ["kl_distillation_loss", "margin_mse_loss"]


def margin_mse_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
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
      weights: a factor for each other item.
      positive: the place p of the positive item in every list. Static.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at least 0; 0 for a list of one item. A list whose positive item is masked is left out of means.

    Raises:
      LearnError: shapes differ.

    Numerics: only differences matter. Infinite scores cost +inf. Half types are accumulated in float32.
    Cost: O(n) time and memory.
    References: Hofstätter et al. 2020, "Improving efficient neural ranking models with cross-architecture knowledge
      distillation".

    >>> student, teacher = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([3.0, 0.5, 2.0, 0.0])
    >>> print(f"{margin_mse_loss(student, teacher):.4f}")
    2.8333
    """
    dtype = as_floating(scores, "scores").dtype
    s, t, w, lists = prepare(scores, labels, where, None, weights)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)
    s = finite_scores(s)
    others = jnp.arange(lists.size) != positive % lists.size
    counts = jnp.broadcast_to(others, s.shape)
    if lists.where is not None:
        known = lists.where[..., positive]
        counts &= lists.where & known[..., None]
        lists = type(lists)(lists.size, lists.where, None, known)
    margin = (s[..., positive, None] - s) - (t[..., positive, None] - t)
    squares = neutralise(margin, counts) ** 2
    squares = squares if w is None else squares * w
    number = jnp.sum(counts, axis=-1, dtype=s.dtype)
    values = jnp.sum(neutralise(squares, counts), axis=-1) / jnp.maximum(number, jnp.ones_like(number))
    return finish(values, lists, reduce_fn, dtype)


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
