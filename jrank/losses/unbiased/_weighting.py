"""Losses of clicks that are, in expectation, losses of relevance."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_array, as_mask, neutralise
from jrank.errors import LearnError
from jrank.metrics._lists import Fn, as_items, prepare
from jrank.types import Array, ArrayLike

__all__ = ["dr_labels", "dr_t12n", "ips_labels", "ips_t12n", "ips_weights", "snips_t12n"]


def _clipped(propensities: Any, shape: tuple[int, ...], dtype: Any, mask: Array | None, clip: Any) -> Array:
    p = as_items(propensities, shape, "propensities", dtype, mask)
    if mask is not None:
        p = jnp.where(mask, p, jnp.ones_like(p))
    return p if clip is None else jnp.maximum(p, jnp.asarray(clip, p.dtype))


def _over(a: Array, p: Array) -> Array:
    """A quotient that is 0 where the propensity is: what is never looked at says nothing."""
    return jnp.where(p > 0, a / jnp.where(p > 0, p, jnp.ones_like(p)), jnp.zeros_like(a))


def ips_weights(
    propensities: Real[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    clip: Real[ArrayLike, ""] | None = None,
) -> Float[Array, "*batch n"]:
    r"""Inverse propensity weights: what a click counts for.

    .. math:: w_i = \frac{1}{\max(p_i, \tau)}

    Args:
      propensities: the chance that each item was looked at, see ``propensities_at``.
      where: True at real items.
      clip: the smallest propensity τ that is taken as it is: bias for less variance. None: no clipping.

    Returns:
      One weight for each item; 0 where the propensity is 0, and at masked items.

    Raises:
      LearnError: shapes differ.

    References: Joachims, Swaminathan and Schnabel 2017, "Unbiased learning-to-rank with biased feedback".

    >>> ips_weights(jnp.array([1.0, 0.5, 0.1]), clip=0.25).tolist()
    [1.0, 2.0, 4.0]
    """
    p = as_array(propensities, "propensities").astype(jnp.result_type(float))
    try:
        mask = as_mask(where, p.shape)
    except ValueError as error:
        raise LearnError(str(error), reason="length_mismatch") from None
    p = _clipped(p, p.shape, p.dtype, mask, clip)
    return neutralise(_over(jnp.ones_like(p), p), mask)


def ips_labels(
    clicks: Real[ArrayLike, "*batch n"],
    propensities: Real[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    clip: Real[ArrayLike, ""] | None = None,
    offsets: Real[ArrayLike, "*batch n"] | None = None,
) -> Float[Array, "*batch n"]:
    r"""Clicks over propensities: numbers whose expectation is the relevance.

    .. math:: \hat y_i = \frac{c_i - \beta_i}{\max(p_i, \tau)}

    Args:
      clicks: 0 and 1 for each item.
      propensities: the chance p that each item was looked at; under trust bias,
        :math:`\theta (\epsilon^+ - \epsilon^-)`.
      where: True at real items.
      clip: the smallest propensity τ that is taken as it is. None: no clipping.
      offsets: under trust bias, the chance :math:`\beta = \theta \epsilon^-` of a click without relevance; None for 0.

    Returns:
      One number for each item; 0 where the propensity is 0, and at masked items.

    Raises:
      LearnError: shapes differ.

    References: Joachims, Swaminathan and Schnabel 2017, "Unbiased learning-to-rank with biased feedback"; offsets,
      Vardasbi, Oosterhuis and de Rijke 2020, "When inverse propensity scoring does not work: affine corrections for
      unbiased learning to rank".

    >>> ips_labels(jnp.array([1.0, 0.0, 1.0]), jnp.array([1.0, 0.5, 0.25])).tolist()
    [1.0, 0.0, 4.0]
    """
    p, c, beta, lists = prepare(propensities, clicks, where, None, offsets)
    p = _clipped(p, p.shape, p.dtype, lists.where, clip)
    return neutralise(_over(c if beta is None else c - beta, p), lists.where)


def dr_labels(
    clicks: Real[ArrayLike, "*batch n"],
    propensities: Real[ArrayLike, "*batch n"],
    predictions: Real[ArrayLike, "*batch n"],
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    clip: Real[ArrayLike, ""] | None = None,
    offsets: Real[ArrayLike, "*batch n"] | None = None,
    shown: Real[ArrayLike, "*batch n"] | None = None,
) -> Float[Array, "*batch n"]:
    r"""Doubly robust relevance: a prediction, corrected by what the clicks say beyond it.

    .. math:: \hat y_i = \hat r_i + \frac{c_i - \beta_i - \theta_i \hat r_i}{\max(p_i, \tau)}

    The expectation is the relevance if either propensities or predictions are right. The variance is smaller than that
    of ``ips_labels`` where rankings were randomised and predictions are good; with one fixed ranking and no clipping
    the two are equal, and with clipping this one has less bias.

    Args:
      clicks: 0 and 1 for each item.
      propensities: the chance p that each item is looked at, over all rankings that the logged ranker may show; see
        ``ips_labels`` for trust bias.
      predictions: estimates of the relevance, in [0, 1], of a regression on clicks, such as ``regression_em``.
      where: True at real items.
      clip: the smallest propensity τ that is divided by. None: no clipping.
      offsets: as in ``ips_labels``.
      shown: the chance θ that each item was looked at where it was shown this time; None: as p, one fixed ranking.

    Returns:
      One number for each item; the prediction where the propensity is 0; 0 at masked items.

    Raises:
      LearnError: shapes differ.

    References: Oosterhuis 2023, "Doubly robust estimation for correcting position bias in click feedback for unbiased
      learning to rank".

    >>> dr_labels(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]), jnp.array([0.8, 0.2])).tolist()
    [2.0, 0.0]
    """
    p, c, beta, lists = prepare(propensities, clicks, where, None, offsets)
    r = as_items(predictions, p.shape, "predictions", p.dtype, lists.where)
    theta = p if shown is None else as_items(shown, p.shape, "shown", p.dtype, lists.where)
    surprise = (c if beta is None else c - beta) - theta * r
    return neutralise(r + _over(surprise, _clipped(p, p.shape, p.dtype, lists.where, clip)), lists.where)


def _wrapped(loss_fn: Fn, prefix: str, body: Callable[..., Array]) -> Fn:
    """Name a loss of clicks after the loss of labels that it is made of."""

    @functools.wraps(loss_fn)
    def loss(scores, clicks, *, propensities, **options):
        return body(scores, clicks, propensities, **options)

    inner = loss_fn.func if isinstance(loss_fn, functools.partial) else loss_fn
    name = getattr(inner, "__name__", type(inner).__name__)
    loss.__name__ = loss.__qualname__ = f"{prefix}_{name}"
    # Its arguments are not those of the loss of labels.
    vars(loss).pop("__wrapped__")
    return loss


def ips_t12n(loss_fn: Fn, *, clip: Real[ArrayLike, ""] | None = None) -> Fn:
    r"""Turn a loss of labels into a loss of clicks, weighted by inverse propensities.

    .. math:: \ell_{\mathrm{IPS}}(s, c) = \ell\Big(s, c, w = \frac{1}{\max(p, \tau)}\Big)

    The expectation over users is the loss of the relevance for losses that are sums over relevant items, each with its
    weight: ``softmax_loss``, ``arp1_loss(all_pairs=True)``, ``unique_softmax_loss`` of binary labels. For pairwise
    losses, an item that was not looked at still stands for an irrelevant one.

    Args:
      loss_fn: a loss that takes ``weights``, or a ``functools.partial`` of one.
      clip: the smallest propensity τ that is taken as it is. None: no clipping.

    Returns:
      A loss ``(scores, clicks, *, propensities, where=None, …)``; other arguments are those of ``loss_fn``.

    References: Joachims, Swaminathan and Schnabel 2017, "Unbiased learning-to-rank with biased feedback"; Ai et al.
      2018, "Unbiased learning to rank with unbiased propensity estimation".

    >>> from jrank.losses import softmax_loss
    >>> loss = ips_t12n(softmax_loss)
    >>> scores, clicks = jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 0.0])
    >>> print(f"{loss(scores, clicks, propensities=jnp.array([0.5, 0.3, 1.0])):.4f}")
    2.8152
    """

    def body(scores: Any, clicks: Any, propensities: Any, *, where: Any = None, **options: Any) -> Array:
        weights = ips_weights(propensities, where=where, clip=clip)
        return loss_fn(scores, clicks, where=where, weights=weights, **options)

    return _wrapped(loss_fn, "ips", body)


def snips_t12n(loss_fn: Fn, *, clip: Real[ArrayLike, ""] | None = None) -> Fn:
    r"""Turn a loss of labels into a loss of clicks whose weights are scaled to have mean 1 over the clicks.

    .. math:: w_i = \frac{1 / p_i}{\frac{1}{|C|} \sum_{j \in C} 1 / p_j}, \quad C = \{j : c_j > 0\}

    The mean is over the whole batch. A batch with clicks far down does not take a larger step than another: less
    variance, for a bias that vanishes with the size of the batch.

    Args:
      loss_fn: a loss that takes ``weights``, or a ``functools.partial`` of one.
      clip: the smallest propensity that is taken as it is. None: no clipping.

    Returns:
      A loss ``(scores, clicks, *, propensities, where=None, …)``; other arguments are those of ``loss_fn``.

    References: Swaminathan and Joachims 2015, "The self-normalized estimator for counterfactual learning".

    >>> from jrank.losses import softmax_loss
    >>> loss = snips_t12n(softmax_loss)
    >>> scores, clicks = jnp.array([2.0, 1.0, 3.0]), jnp.array([1.0, 0.0, 0.0])
    >>> print(f"{loss(scores, clicks, propensities=jnp.array([0.5, 0.3, 1.0])):.4f}")
    1.4076
    """

    def body(scores: Any, clicks: Any, propensities: Any, *, where: Any = None, **options: Any) -> Array:
        weights = ips_weights(propensities, where=where, clip=clip)
        _, c, _, _ = prepare(propensities, clicks, where)
        clicked = (c > 0).astype(weights.dtype)
        number = jnp.sum(clicked)
        total = jnp.sum(clicked * weights)
        weights = weights * jnp.where(total > 0, number / jnp.where(total > 0, total, jnp.ones_like(total)), 1.0)
        return loss_fn(scores, clicks, where=where, weights=weights, **options)

    return _wrapped(loss_fn, "snips", body)


def dr_t12n(loss_fn: Fn, *, clip: Real[ArrayLike, ""] | None = None) -> Fn:
    r"""Turn a loss of labels into a doubly robust loss of clicks: its labels are those of ``dr_labels``.

    The expectation over users is the loss of the relevance for losses that are linear in the labels, such as
    ``softmax_loss``, ``arp1_loss(all_pairs=True)`` and minus DCG with ``linear_gain_fn``.

    Args:
      loss_fn: a loss, or a ``functools.partial`` of one.
      clip: the smallest propensity that is divided by. None: no clipping.

    Returns:
      A loss ``(scores, clicks, *, propensities, predictions, where=None, offsets=None, shown=None, …)``; other
      arguments are those of ``loss_fn``.

    References: Oosterhuis 2023, "Doubly robust estimation for correcting position bias in click feedback for unbiased
      learning to rank".

    >>> from jrank.losses import softmax_loss
    >>> loss = dr_t12n(softmax_loss)
    >>> scores, clicks, half = jnp.array([2.0, 1.0]), jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])
    >>> print(f"{loss(scores, clicks, propensities=half, predictions=jnp.array([0.8, 0.2])):.4f}")
    0.6265
    """

    def body(
        scores: Any,
        clicks: Any,
        propensities: Any,
        *,
        predictions: Any,
        where: Any = None,
        offsets: Any = None,
        shown: Any = None,
        **options: Any,
    ) -> Array:
        labels = dr_labels(clicks, propensities, predictions, where=where, clip=clip, offsets=offsets, shown=shown)
        return loss_fn(scores, labels, where=where, **options)

    return _wrapped(loss_fn, "dr", body)
