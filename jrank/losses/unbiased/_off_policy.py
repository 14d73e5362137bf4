"""Off-policy evaluation: what a ranker would have earned, from a log of another, with an interval."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Real, Shaped

from jrank.arrays import as_array, as_mask, neutralise
from jrank.errors import LearnError
from jrank.losses.unbiased._weighting import dr_labels, ips_labels
from jrank.metrics import default_discount_fn, ranks
from jrank.metrics._lists import Fn, check_topn, prepare
from jrank.types import Array, ArrayLike

__all__ = ["Estimate", "off_policy_ranking", "off_policy_value"]


class Estimate(NamedTuple):
    r"""An estimated mean with its confidence interval.

    Args:
      value: the estimate.
      low: the lower end of the interval.
      high: the upper end.
      standard_error: the estimated standard deviation of the estimate.
      effective_size: how many samples of equal weight would tell as much, :math:`(\sum w)^2 / \sum w^2`.
    """

    value: Array
    low: Array
    high: Array
    standard_error: Array
    effective_size: Array


def off_policy_value(
    rewards: Real[ArrayLike, " n"],
    weights: Real[ArrayLike, " n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    method: Literal["ips", "snips", "dr"] = "snips",
    predictions: Real[ArrayLike, " n"] | None = None,
    target_predictions: Real[ArrayLike, " n"] | None = None,
    clip: Real[ArrayLike, ""] | None = None,
    confidence: float = 0.95,
    interval: Literal["normal", "bernstein"] = "normal",
    bound: Real[ArrayLike, ""] | None = None,
) -> Estimate:
    r"""Estimate the mean reward of a policy from samples of another.

    .. math:: \hat v_{\mathrm{IPS}} = \frac{1}{n} \sum_i w_i r_i, \quad
        \hat v_{\mathrm{SNIPS}} = \frac{\sum_i w_i r_i}{\sum_i w_i}, \quad
        \hat v_{\mathrm{DR}} = \frac{1}{n} \sum_i \hat r_i^{\mathrm{target}} + w_i (r_i - \hat r_i)

    Args:
      rewards: what was earned in each logged session.
      weights: how much likelier the new policy is to do what was logged, :math:`w = \pi(a) / \pi_0(a)`.
      where: True at real samples.
      method: "ips" has no bias; "snips" less variance, and follows a shift of the rewards; "dr" needs predictions.
      predictions: for "dr", predicted rewards of what was logged.
      target_predictions: for "dr", the mean predicted reward under the new policy in each session.
      clip: the largest weight; None for no bound.
      confidence: the chance that the interval holds the mean, in (0, 1).
      interval: "normal", by the central limit theorem (for "snips" with the delta method), or "bernstein", which holds
        for any number of samples if ``bound`` does; for "ips" and "dr".
      bound: for "bernstein", the width of the range of the terms of the mean, such as clip times the largest reward.

    Returns:
      The estimate. Without a sample the value is 0 and the interval infinite; so is that of one sample.

    Raises:
      LearnError: shapes differ, or an option is unknown or lacks what it needs.

    Cost: O(n).
    References: Horvitz and Thompson 1952; Swaminathan and Joachims 2015, "The self-normalized estimator for
      counterfactual learning"; Dudík, Langford and Li 2011, "Doubly robust policy evaluation and learning"; Maurer and
      Pontil 2009, "Empirical Bernstein bounds and sample variance penalization".

    >>> estimate = off_policy_value(jnp.array([1.0, 0.0, 1.0, 1.0]), jnp.array([2.0, 0.5, 1.0, 0.5]), method="ips")
    >>> print(f"{estimate.value:.3f} in [{estimate.low:.3f}, {estimate.high:.3f}]")
    0.875 in [0.038, 1.712]
    """
    if method not in ("ips", "snips", "dr") or interval not in ("normal", "bernstein"):
        raise LearnError(
            f"method is {method!r} and interval {interval!r}; 'ips', 'snips' or 'dr', and 'normal' or 'bernstein', "
            "were expected",
            reason="invalid_parameter",
        )
    if (interval == "bernstein") and (bound is None or method == "snips"):
        raise LearnError("interval 'bernstein' needs a bound, and 'ips' or 'dr'", reason="invalid_parameter")
    if not 0 < confidence < 1:
        raise LearnError(f"confidence is {confidence}, a number in (0, 1) was expected", reason="invalid_parameter")
    if method == "dr" and (predictions is None or target_predictions is None):
        raise LearnError("method 'dr' needs predictions and target_predictions", reason="invalid_parameter")
    r = as_array(rewards, "rewards").astype(jnp.result_type(float))
    try:
        mask = as_mask(where, r.shape)
    except ValueError as error:
        raise LearnError(str(error), reason="length_mismatch") from None

    def sample(x: Any, name: str) -> Array:
        x = as_array(x, name).astype(r.dtype)
        if x.shape != r.shape:
            raise LearnError(f"{name} have shape {x.shape}, rewards {r.shape}", reason="length_mismatch")
        return neutralise(x, mask).reshape(-1)

    w = sample(weights, "weights")
    w = w if clip is None else jnp.minimum(w, jnp.asarray(clip, w.dtype))
    valid = jnp.ones(w.shape, bool) if mask is None else mask.reshape(-1)
    r = sample(r, "rewards")
    if method == "dr":
        terms = sample(target_predictions, "target_predictions") + w * (r - sample(predictions, "predictions"))
    else:
        terms = w * r
    return _estimate(terms, w, valid, method == "snips", confidence, interval, bound)


def _estimate(
    terms: Array, w: Array, valid: Array, ratio: bool, confidence: float, interval: str, bound: Any
) -> Estimate:
    counts = valid.astype(terms.dtype)
    n = jnp.sum(counts)
    some = jnp.maximum(n, 1)
    total, squares = jnp.sum(w), jnp.sum(w * w)
    # A ratio of means moves as the mean of the terms minus the ratio times their weights, over the mean weight.
    scale = jnp.where(total > 0, total / some, jnp.ones_like(total)) if ratio else jnp.ones_like(total)
    value = jnp.sum(terms) / some / scale
    spread = neutralise((terms - value * w) / scale if ratio else terms - value, valid)
    variance = jnp.sum(spread * spread) / jnp.maximum(n - 1, 1)
    error = jnp.where(n > 1, jnp.sqrt(variance / some), jnp.asarray(jnp.inf, terms.dtype))
    if interval == "normal":
        half = error * jax.scipy.special.ndtri(jnp.asarray((1 + confidence) / 2, terms.dtype))
    else:
        log = math.log(4 / (1 - confidence))
        slack = 7 * jnp.asarray(bound, terms.dtype) * log / (3 * jnp.maximum(n - 1, 1))
        half = jnp.where(n > 1, jnp.sqrt(2 * variance * log / some) + slack, jnp.asarray(jnp.inf, terms.dtype))
    size = jnp.where(squares > 0, total * total / jnp.where(squares > 0, squares, jnp.ones_like(squares)), 0.0)
    return Estimate(value, value - half, value + half, error, size)


def off_policy_ranking(
    scores: Real[ArrayLike, "b n"],
    clicks: Real[ArrayLike, "b n"],
    *,
    propensities: Real[ArrayLike, "b n"],
    where: Shaped[ArrayLike, "..."] | None = None,
    method: Literal["ips", "snips", "dr"] = "ips",
    predictions: Real[ArrayLike, "b n"] | None = None,
    offsets: Real[ArrayLike, "b n"] | None = None,
    shown: Real[ArrayLike, "b n"] | None = None,
    topn: int | None = None,
    discount_fn: Fn = default_discount_fn,
    clip: Real[ArrayLike, ""] | None = None,
    confidence: float = 0.95,
) -> Estimate:
    r"""Estimate the mean DCG of a ranker from clicks on the rankings of another (the item-position model).

    .. math:: \hat v = \frac{1}{b} \sum_q \sum_{i : r_{qi} \le k} D(r_{qi})\, \hat y_{qi}, \quad
        \hat y = \frac{c}{p} \;\text{or doubly robust}

    Args:
      scores: the scores of the ranker to evaluate; they give the ranks r.
      clicks: 0 and 1 for each item, as logged.
      propensities: the chance that each item was looked at where it was shown, see ``propensities_at``.
      where: True at real items.
      method: "ips", :math:`c / p`; "snips", the same over the mean of :math:`1 / p` of the clicks; "dr", corrected
        predictions, see ``dr_labels``.
      predictions: for "dr", estimates of the relevance in [0, 1].
      offsets: chances of clicks without relevance, under trust bias; see ``ips_labels``.
      shown: for "dr", the chance that each item was looked at where it was shown this time; see ``dr_labels``.
      topn: the cut-off k; None for none.
      discount_fn: ranks to discounts D.
      clip: the smallest propensity that is divided by; None for none.
      confidence: the chance that the normal interval holds the mean, in (0, 1).

    Returns:
      The estimate, over the queries with a valid item; its effective size counts clicks.

    Raises:
      LearnError: shapes differ, ``topn`` is below 1, the method is unknown or lacks predictions.

    Cost: one sort.
    References: Joachims, Swaminathan and Schnabel 2017, "Unbiased learning-to-rank with biased feedback"; Li et al.
      2018, "Offline evaluation of ranking policies with click models"; Oosterhuis 2023, "Doubly robust estimation for
      correcting position bias in click feedback for unbiased learning to rank".

    >>> scores, clicks = jnp.array([[1.0, 2.0], [2.0, 1.0]]), jnp.array([[0.0, 1.0], [1.0, 0.0]])
    >>> estimate = off_policy_ranking(scores, clicks, propensities=jnp.array([[1.0, 0.5], [1.0, 0.5]]))
    >>> print(f"{estimate.value:.3f}")
    1.500
    """
    check_topn(topn)
    if method not in ("ips", "snips", "dr"):
        raise LearnError(f"method is {method!r}, 'ips', 'snips' or 'dr' was expected", reason="invalid_parameter")
    if method == "dr" and predictions is None:
        raise LearnError("method 'dr' needs predictions", reason="invalid_parameter")
    if not 0 < confidence < 1:
        raise LearnError(f"confidence is {confidence}, a number in (0, 1) was expected", reason="invalid_parameter")
    s, c, _, lists = prepare(scores, clicks, where)
    options = {"where": lists.where, "clip": clip, "offsets": offsets}
    if method == "dr" and predictions is not None:
        gains = dr_labels(c, propensities, predictions, shown=shown, **options)
    else:
        gains = ips_labels(c, propensities, **options)
    place = ranks(s, where=lists.where)
    discounts = discount_fn(place.astype(s.dtype))
    discounts = discounts if topn is None else jnp.where(place <= topn, discounts, jnp.zeros_like(discounts))
    terms = jnp.atleast_1d(lists.sum(gains * discounts)).reshape(-1)
    valid = jnp.ones(terms.shape, bool) if lists.valid is None else jnp.atleast_1d(lists.valid).reshape(-1)
    # Weights of the clicks: for "snips" the sum over the clicks of a query stands for its number of clicks.
    taken = (c > 0).astype(c.dtype)
    inverse = ips_labels(taken, propensities, where=lists.where, clip=clip)
    clicked = jnp.atleast_1d(lists.sum(taken)).reshape(-1)
    if method == "snips":
        number, total = jnp.sum(clicked), jnp.sum(inverse)
        mean = jnp.where(number > 0, total / jnp.maximum(number, 1), jnp.ones_like(total))
        terms = terms / jnp.where(mean > 0, mean, jnp.ones_like(mean))
    estimate = _estimate(terms, jnp.ones_like(terms), valid, False, confidence, "normal", None)
    squares = jnp.sum(inverse * inverse)
    size = jnp.where(squares > 0, jnp.sum(inverse) ** 2 / jnp.where(squares > 0, squares, jnp.ones_like(squares)), 0.0)
    return estimate._replace(effective_size=size)
