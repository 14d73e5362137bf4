"""Losses and metrics of scores with Gumbel noise: rankings drawn from the Plackett-Luce model."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Real

from jrank.arrays import as_array, as_floating, as_mask, neutralise
from jrank.errors import LearnError
from jrank.losses._softmax import list_logsumexp
from jrank.metrics._lists import Fn, Lists, accepts
from jrank.types import Array, ArrayLike

__all__ = ["add_keyword", "gumbel_t12n"]


def add_keyword(wrapper: Fn, fn: Fn, name: str, **default: Any) -> Fn:
    """Give a wrapper the name, the docstring and the signature of a function, and one keyword argument more.

    Args:
      wrapper: the wrapper.
      fn: what it wraps.
      name: the keyword argument.
      **default: ``default=``, its default; it has none otherwise.
    """
    functools.update_wrapper(wrapper, fn)
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return wrapper
    extra = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, **default)
    own = [p for p in signature.parameters.values() if p.name != name]
    rest = [p for p in own if p.kind is p.VAR_KEYWORD]
    own = [p for p in own if p.kind is not p.VAR_KEYWORD]
    # Through setattr, since a type checker does not know that functions have signatures of their own.
    setattr(wrapper, "__signature__", signature.replace(parameters=[*own, extra, *rest]))  # noqa: B010
    return wrapper


def gumbel_t12n(
    loss_or_metric_fn: Fn,
    *,
    samples: int = 8,
    beta: Real[ArrayLike, ""] = 1.0,
    smoothing_factor: Real[ArrayLike, ""] | None = None,
) -> Fn:
    r"""Turn a loss or metric into its mean over scores with Gumbel noise.

    .. math:: \mathbb{E}\, \ell(s + \beta G, y), \quad G_i \sim \operatorname{Gumbel}(0, 1)

    The order of :math:`s + G` is distributed as the Plackett-Luce model of s has it.

    Args:
      loss_or_metric_fn: a loss or a metric, also one from ``approx_t12n`` or ``bound_t12n``.
      samples: how many times noise is drawn. Static.
      beta: the scale of the noise, in the units of the scores. May be traced.
      smoothing_factor: where given, scores with noise become ``log(softmax(scores) + smoothing_factor)``; 1e-20 is what
        TF-Ranking does.

    Returns:
      A function with one more argument, ``key``. Samples are a new first axis of scores, labels and other arrays of
      that shape, so ``reduce_fn=None`` gives one value per sample and list.

    Raises:
      LearnError: ``samples`` is below 1.

    Numerics: noise at masked places is drawn and without effect. The gradient is that of the drawn samples.
    Cost: ``samples`` times that of the function.
    References: Bruch et al. 2020, "A stochastic treatment of learning to rank scoring functions".

    >>> from jrank.losses import softmax_loss
    >>> loss = gumbel_t12n(softmax_loss, samples=1000)
    >>> scores, labels = jnp.array([0.0, 1.0, 3.0, 2.0]), jnp.array([0.0, 0.0, 1.0, 2.0])
    >>> bool(loss(scores, labels, key=jax.random.key(0)) > softmax_loss(scores, labels))
    True
    """
    if isinstance(samples, bool) or samples < 1:
        raise LearnError(f"samples is {samples}, at least 1 was expected", reason="invalid_parameter")

    def gumbel_fn(scores, labels, *, key, **kwargs):
        s = as_floating(scores, "scores")

        def repeat(x: Any) -> Any:
            is_array = hasattr(x, "shape") and hasattr(x, "dtype")
            return jnp.broadcast_to(jnp.asarray(x), (samples, *s.shape)) if is_array and x.shape == s.shape else x

        kwargs = {name: repeat(value) for name, value in kwargs.items()}
        if accepts(loss_or_metric_fn, "key"):
            key, kwargs["key"] = jax.random.split(key)
        noise = jax.random.gumbel(key, (samples, *s.shape), s.dtype)
        noisy = noise * jnp.asarray(beta, s.dtype) + s[None]
        if smoothing_factor is not None:
            noisy = _smoothed(noisy, kwargs.get("where"), kwargs.get("segments"), smoothing_factor)
        return loss_or_metric_fn(noisy, repeat(as_array(labels, "labels")), **kwargs)

    return add_keyword(gumbel_fn, loss_or_metric_fn, "key")


def _smoothed(scores: Array, where: Any, segments: Any, factor: Any) -> Array:
    mask = as_mask(where, scores.shape)
    lists = Lists.of(mask, None if segments is None else as_array(segments, "segments"), scores.shape)
    safe = neutralise(scores, mask)
    # Masked before the exponential, which could overflow there and make the gradient NaN.
    chance = jnp.exp(neutralise(safe - lists.spread(list_logsumexp(safe, lists)), mask))
    return neutralise(jnp.log(chance + jnp.asarray(factor, scores.dtype)), mask)
