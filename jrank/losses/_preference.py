"""Preference losses: a policy shall prefer what people prefer, more than a reference does."""

import functools
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, as_mask, neutralise
from jrank.errors import LearnError
from jrank.losses._elementary import logistic_parts
from jrank.losses._pair_values import HINGE, LOGISTIC, Normalize, pairwise_value
from jrank.losses._pairs import PairLoss
from jrank.metrics._lists import Fn, as_items
from jrank.types import Array, ArrayLike

__all__ = ["dpo_loss"]


def _ipo(x: Array, dy: Array) -> tuple[Array, Array]:
    return jnp.square(x - 0.5), 2 * (x - 0.5)


IPO = PairLoss(_ipo)


def _smoothed(epsilon: float, x: Array, dy: Array) -> tuple[Array, Array]:
    value, slope = logistic_parts(x)
    # log(1 + exp(x)) = log(1 + exp(-x)) + x
    return value + epsilon * x, slope + epsilon


@functools.cache
def _pair_loss(variant: str, smoothing: float) -> PairLoss:
    if variant == "logistic":
        return PairLoss(functools.partial(_smoothed, smoothing)) if smoothing else LOGISTIC
    return HINGE if variant == "hinge" else IPO


def dpo_loss(
    scores: Real[ArrayLike, "*batch n"],
    labels: Shaped[ArrayLike, "*batch n"],
    *,
    reference: Real[ArrayLike, "*batch n"] | None = None,
    beta: Real[ArrayLike, ""] = 0.1,
    variant: Literal["logistic", "hinge", "ipo"] = "logistic",
    label_smoothing: float = 0.0,
    where: Shaped[ArrayLike, "..."] | None = None,
    segments: Shaped[ArrayLike, "*batch n"] | None = None,
    weights: Shaped[ArrayLike, "*batch n"] | None = None,
    lambdaweight_fn: Fn | None = None,
    reduce_fn: Fn | None = jnp.mean,
    normalize: Normalize = "pairs",
) -> Float[Array, "..."]:
    r"""Direct preference optimisation over all pairs of a list.

    .. math:: \ell(s, y) = -\sum_{i,j : y_i > y_j} \log \sigma(\beta ((s_i - r_i) - (s_j - r_j)))

    Args:
      scores: log-probabilities that the policy gives the answers to a prompt.
      labels: grades of the answers; of two, one chosen and one rejected, 1 and 0.
      reference: log-probabilities r that the frozen reference gives them; None for none. It gets no gradient.
      beta: how far the policy may move from the reference. May be traced.
      variant: "logistic", above; "hinge", :math:`\max(0, 1 - x)` of the same differences x (SLiC); "ipo",
        :math:`(x / \beta - 1 / (2 \beta))^2`, which does not overfit preferences without exception.
      label_smoothing: the share of preferences that are taken to be the wrong way round, in [0, 0.5), for "logistic".
        Static.
      where: True at real items. None: all are.
      segments: ids of lists within a row, in any order.
      weights: a factor for each pair: the weight of its first item.
      lambdaweight_fn: a factor for each pair, as in ``pairwise_logistic_loss``; with ``dcg_lambdaweight`` this is
        LiPO-λ. It is given the scaled differences from the reference as scores.
      reduce_fn: as in ``pairwise_logistic_loss``.
      normalize: as in ``pairwise_logistic_loss``.

    Returns:
      The reduced loss, at least 0 without smoothing; 0 without a pair that counts.

    Raises:
      LearnError: shapes differ or an option is unknown.

    Numerics: as ``pairwise_logistic_loss``.
    Cost: O(n²) time, O(n) memory beside one tile.
    References: Rafailov et al. 2023, "Direct preference optimization: your language model is secretly a reward model";
      Azar et al. 2024, "A general theoretical paradigm to understand learning from human preferences" (IPO); Zhao et
      al. 2023, "SLiC-HF: sequence likelihood calibration with human feedback"; Liu et al. 2024, "LiPO: listwise
      preference optimization through learning-to-rank".

    >>> chosen_first, labels = jnp.array([-5.0, -9.0]), jnp.array([1.0, 0.0])
    >>> print(f"{dpo_loss(chosen_first, labels, reference=jnp.array([-6.0, -7.0])):.4f}")
    0.5544
    """
    if variant not in ("logistic", "hinge", "ipo"):
        raise LearnError(
            f"variant is {variant!r}, 'logistic', 'hinge' or 'ipo' was expected", reason="invalid_parameter"
        )
    if not 0 <= label_smoothing < 0.5 or (label_smoothing and variant != "logistic"):
        raise LearnError(
            f"label_smoothing is {label_smoothing} for {variant!r}, a number in [0, 0.5) for 'logistic' was expected",
            reason="invalid_parameter",
        )
    s = as_floating(scores, "scores")
    scale = jnp.asarray(beta, s.dtype)
    mask = as_mask(where, s.shape)
    moved = neutralise(s, mask)
    if reference is not None:
        moved = moved - as_items(reference, s.shape, "reference", s.dtype, mask)
    value = pairwise_value(
        _pair_loss(variant, float(label_smoothing)),
        scale * moved,
        labels,
        mask,
        segments,
        weights,
        lambdaweight_fn,
        reduce_fn,
        normalize,
        "auto",
        False,
    )
    return value / (scale * scale) if variant == "ipo" else value
