"""Losses that a Plackett-Luce policy expects: of DCG by PL-Rank, of any metric by its policy gradient."""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, take_last
from jrank.errors import LearnError
from jrank.losses._plackett_luce import all_orders, draw_lists, list_ends, remaining, suffix_surprise
from jrank.losses._running import decayed_sum, suffix_logsumexp, suffix_sum
from jrank.losses._softmax import clip_scores
from jrank.metrics import default_discount_fn, default_gain_fn, ndcg_metric
from jrank.metrics._dcg import ideal_dcg, item_gains
from jrank.metrics._lists import Fn, Lists, accepts, check_topn, finish, iota_like, list_places, prepare, scatter_last
from jrank.types import Array, ArrayLike

__all__ = ["pl_rank_loss", "policy_gradient_loss"]

METHODS = ("pl_rank_3", "pl_rank_2", "pl_rank_1", "exact")


def _need_key(key: Array | None, num_samples: int, least: int) -> Array:
    if key is None:
        raise LearnError(
            "rankings are sampled, which needs a key",
            reason="invalid_parameter",
            hint="pass key=jax.random.key(step), a new one in every step, or method='exact' for short lists",
        )
    if num_samples < least:
        raise LearnError(f"num_samples is {num_samples}, at least {least} was expected", reason="invalid_parameter")
    return key


def _no_segments(segments: Any) -> None:
    if segments is not None:
        raise LearnError(
            "method 'exact' enumerates the orders of a row, which segments would be parts of",
            reason="invalid_parameter",
            hint="pad the lists, or sample",
        )


class _Problem(NamedTuple):
    """What the estimate of one list needs beside the scores."""

    key: Array
    gains: Array
    where: Array | None
    slot: Array | None
    valid: Array | None

    @property
    def lists(self) -> Lists:
        """The lists."""
        return Lists(self.gains.shape[-1], self.where, self.slot, self.valid)


def pl_rank_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    key: Array | None = None,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    topn: int | None = None,
    normalize: bool = False,
    method: Literal["pl_rank_3", "pl_rank_2", "pl_rank_1", "exact"] = "pl_rank_3",
    num_samples: int = 32,
    gain_fn: Fn = default_gain_fn,
    discount_fn: Fn = default_discount_fn,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Minus the DCG that rankings drawn from the scores are expected to have (PL-Rank).

    .. math:: \ell(s, y) = -\mathbb{E}_{\pi \sim P_s}\Big[\sum_{k \le K} g_{\pi(k)} D(k)\Big]

    where :math:`P_s` is the Plackett-Luce model, see ``plackett_luce_sample``. With
    :math:`\mathrm{PR}_k = \sum_{x \ge k} g_{\pi(x)} D(x)` the gradient of the expectation for item d at rank r is
    estimated by the mean over sampled rankings of

    .. math:: \mathrm{PR}_r - \sum_{k \le r} p_k(d)\, \mathrm{PR}_k \;\text{(PL-Rank-1)}, \qquad
        \mathrm{PR}_{r+1} + \sum_{k \le r} p_k(d)\, (D(k)\, g_d - \mathrm{PR}_k) \;\text{(PL-Rank-2, 3)}

    where :math:`p_k(d)` is the probability that d comes next at place k.

    Args:
      scores: log-odds of being chosen next; only their differences matter.
      labels: grades; see ``gain_fn``.
      key: a random key, a new one in every step; not for "exact".
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; not for "exact".
      weights: a factor for the gain of each item.
      topn: the cut-off K of DCG; None for none.
      normalize: whether gains are divided by the best possible DCG: the loss is then minus the expected NDCG.
      method: the estimator. "pl_rank_3" and "pl_rank_2" are one estimator, always computed in the time of the former;
        "pl_rank_1" has more variance. "exact" sums over all orders of lists of at most 8 items.
      num_samples: how many rankings are drawn for each list.
      gain_fn: labels to gains.
      discount_fn: ranks to discounts D.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss, at most 0 for gains of at least 0. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, the method is unknown, a key is missing, or "exact" was asked for
        long lists or segments.

    Numerics: value and gradient are estimates without bias, of the same rankings. Second derivatives raise, except by
      "exact". Items with score -inf come last. Half types are computed in float32.
    Cost: O(S n log n) time, O(n) memory, whatever the number S of samples; "exact" O(n! n).
    References: Oosterhuis 2021, "Computationally efficient optimization of Plackett-Luce ranking models for relevance
      and fairness"; Oosterhuis 2022, "Learning-to-rank at the speed of sampling".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{pl_rank_loss(scores, labels, method='exact'):.4f}")
    -2.8531
    """
    check_topn(topn)
    if method not in METHODS:
        raise LearnError(f"method is {method!r}, one of {METHODS} was expected", reason="invalid_parameter")
    dtype = as_floating(scores, "scores").dtype
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    s = clip_scores(s)
    gains = item_gains(y, w, gain_fn, lists)
    if normalize:
        best = lists.spread(ideal_dcg(gains, lists, topn=topn, discount_fn=discount_fn))
        gains = gains / jnp.where(best == 0, jnp.ones_like(best), best)
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)

    def discounts(place: Array) -> Array:
        weights = discount_fn(place.astype(s.dtype))
        return weights if topn is None else jnp.where(place <= topn, weights, jnp.zeros_like(weights))

    if method == "exact":
        _no_segments(segments)

        def dcg(order: Array, place: Array, valid: Array) -> Array:
            terms = take_last(gains, order) * discounts(place)
            return jnp.sum(jnp.where(valid, terms, jnp.zeros_like(terms)), axis=-1)

        return finish(-_over_orders(dcg, s, lists), lists, reduce_fn, dtype)
    key = _need_key(key, num_samples, 1)
    estimator = (method == "pl_rank_1", num_samples, discounts)
    value = _estimate(estimator, s, _Problem(key, lax.stop_gradient(gains), lists.where, lists.slot, lists.valid))
    return finish(-value, lists, reduce_fn, dtype)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _estimate(estimator: Any, s: Array, problem: _Problem) -> Array:
    return _sample(estimator, s, problem)[0]


@_estimate.defjvp
def _estimate_jvp(estimator, primals, tangents):
    value, slopes = _sample(estimator, _first_order(primals[0]), primals[1])
    return value, primals[1].lists.sum(slopes * tangents[0])


@jax.custom_jvp
def _first_order(s: Array) -> Array:
    """The scores as they go into an estimate of a gradient, whose own derivative is not that of the expectation."""
    return s


@_first_order.defjvp
def _first_order_jvp(primals, tangents):
    raise LearnError(
        "the gradient of a sampled ranking loss has no derivative",
        reason="invalid_parameter",
        hint="method='exact', or policy_gradient_loss, has derivatives of any order",
    )


def _sample(estimator: Any, s: Array, problem: _Problem) -> tuple[Array, Array]:
    """Mean DCG of sampled rankings for each list, and the estimated slope for each item."""
    first, num_samples, discounts = estimator
    key, gains, lists = problem.key, problem.gains, problem.lists

    def one(total: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
        order, slot = draw_lists(key, s, lists)
        close = None
        start = jnp.zeros_like(s[..., :1], bool)
        if slot is not None:
            close = list_ends(slot)
            start = jnp.concatenate([~start, close[..., :-1]], axis=-1)
        valid = jnp.ones(s.shape, bool) if lists.where is None else take_last(lists.where, order)
        low = jnp.asarray(-jnp.finfo(s.dtype).max / 4, s.dtype)
        scores = jnp.where(valid, jnp.maximum(take_last(s, order), low), low)
        left = suffix_logsumexp(scores, close)
        theta = jnp.where(valid, discounts(list_places(order, slot)), jnp.zeros_like(s))
        rho = take_last(gains, order)
        reward = theta * rho
        reach = suffix_sum(reward, close)
        # Sums over earlier places of numbers over what was left there, scaled to what is left now.
        before = jnp.concatenate([left[..., :1], left[..., :-1]], axis=-1)
        decay = jnp.exp(jnp.minimum(left - before, jnp.zeros_like(left)))
        decay = jnp.where(start, jnp.zeros_like(decay), decay) if slot is not None else decay
        chance = jnp.exp(scores - left)
        passed = decayed_sum(reach, decay)
        if first:
            slope = reach - chance * passed
        else:
            slope = reach - reward + chance * (rho * decayed_sum(theta, decay) - passed)
        slope = scatter_last(order, jnp.where(valid, slope, jnp.zeros_like(slope)))
        return (total[0] + lists.sum(scatter_last(order, reward)), total[1] + slope), None

    zero = jnp.zeros_like(s)
    (value, slopes), _ = lax.scan(one, (lists.sum(zero), zero), jax.random.split(key, num_samples))
    return value / num_samples, slopes / num_samples


def _over_orders(value: Any, s: Array, lists: Lists) -> Array:
    """Expectation over all orders of each list of a function of (order, rank at each place, which places are valid)."""
    orders = all_orders(lists.size)

    def one(order: Array) -> Array:
        order = jnp.broadcast_to(order, s.shape)
        valid = jnp.ones(s.shape, bool) if lists.where is None else take_last(lists.where, order)
        ranked, left, _ = remaining(s, order, lists.where)
        log_p = jnp.sum(jnp.where(valid, ranked - left, jnp.zeros_like(left)), axis=-1)
        return jnp.exp(log_p) * value(order, jnp.cumsum(valid, axis=-1, dtype=jnp.int32), valid)

    total = jnp.sum(lax.map(jax.checkpoint(one), orders, batch_size=min(orders.shape[0], 720)), axis=0)
    if lists.where is None:
        return total
    # Masked items stand anywhere: each order of the others comes n! / v! times.
    count = jnp.sum(lists.where, axis=-1, dtype=jnp.int32)
    times = [math.factorial(v) / math.factorial(lists.size) for v in range(lists.size + 1)]
    return total * jnp.asarray(times, s.dtype)[count]


def policy_gradient_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    key: Array | None = None,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    metric_fn: Fn = ndcg_metric,
    topn: int | None = None,
    method: Literal["sampled", "exact"] = "sampled",
    num_samples: int = 32,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""Minus the value that any metric is expected to have for rankings drawn from the scores (REINFORCE).

    .. math:: \ell(s, y) = -\mathbb{E}_{\pi \sim P_s}[m(\pi, y)], \qquad
        \nabla \ell \approx -\frac{1}{S} \sum_i (m_i - b_i) \nabla \log P_s(\pi_i)

    where :math:`P_s` is the Plackett-Luce model and :math:`b_i` the mean of the metric over the other samples.

    Args:
      scores: log-odds of being chosen next; only their differences matter.
      labels: what the metric takes.
      key: a random key, a new one in every step; not for "exact".
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order; not for "exact".
      metric_fn: a metric of jrank, or a ``functools.partial`` of one.
      topn: a cut-off that is handed to the metric; the gradient then is that of the first ``topn`` places alone.
      method: "sampled", or "exact" for the sum over all orders of lists of at most 8 items.
      num_samples: how many rankings are drawn for each list, at least 2.
      reduce_fn: reduction over the lists; None returns one value per list.

    Returns:
      The reduced loss. A list without a valid item is left out of means.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, the method is unknown, a key is missing, "exact" was asked for
        long lists or segments, or the metric takes no segments.

    Numerics: value and derivatives of any order are estimates without bias. Items with score -inf come last.
    Cost: O(S n log n) time, O(n) memory, whatever the number S of samples; "exact" O(n! n).
    References: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement
      learning"; leave-one-out baseline, Kool, van Hoof and Welling 2019, "Buy 4 REINFORCE samples, get a baseline for
      free!".

    >>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
    >>> print(f"{policy_gradient_loss(scores, labels, method='exact'):.4f}")
    -0.7858
    """
    check_topn(topn)
    if method not in ("sampled", "exact"):
        raise LearnError(f"method is {method!r}, 'sampled' or 'exact' was expected", reason="invalid_parameter")
    dtype = as_floating(scores, "scores").dtype
    s, y, _, lists = prepare(scores, labels, where, segments)
    s = clip_scores(s)
    options: dict[str, Any] = {"where": lists.where, "reduce_fn": None} | ({} if topn is None else {"topn": topn})
    if segments is not None:
        if not accepts(metric_fn, "segments"):
            raise LearnError("the metric takes no segments", reason="invalid_parameter", hint="pad the lists")
        options["segments"] = segments
    if lists.size == 0:
        return finish(lists.sum(s), lists, reduce_fn, dtype)

    def metric(order: Array) -> Array:
        return metric_fn(-scatter_last(order, iota_like(order)).astype(s.dtype), y, **options).astype(s.dtype)

    if method == "exact":
        _no_segments(segments)
        return finish(-_over_orders(lambda order, place, valid: metric(order), s, lists), lists, reduce_fn, dtype)
    keys = jax.random.split(_need_key(key, num_samples, 2), num_samples)
    fixed = lax.stop_gradient(s)
    gained = lax.map(lambda key: metric(draw_lists(key, fixed, lists)[0]), keys)
    others = (jnp.sum(gained, axis=0, keepdims=True) - gained) / (num_samples - 1)

    @jax.checkpoint
    def one(total: Array, sample: tuple[Array, Array]) -> tuple[Array, None]:
        key, advantage = sample
        order, slot = draw_lists(key, fixed, lists)
        log_p = -suffix_surprise(s, None, order, lists, topn, slot)
        # One, with the derivatives of the probability over itself.
        return total + advantage * jnp.exp(log_p - lax.stop_gradient(log_p)), None

    total, _ = lax.scan(one, lists.sum(jnp.zeros_like(s)), (keys, gained - others))
    value = jnp.mean(others, axis=0) + total / num_samples
    return finish(-value, lists, reduce_fn, dtype)
