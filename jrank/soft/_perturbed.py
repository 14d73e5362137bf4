r"""Perturbed functions: the mean over noise makes any function differentiable, even one that is piecewise constant.

With noise of density p, the mean is an integral in which x stands in the density alone,

.. math:: \mathbb{E}\, f(x + \sigma Z) = \int f(u)\, p\left(\frac{u - x}{\sigma}\right) \frac{du}{\sigma^n},

so that all derivatives are means over the same samples, of f times derivatives of the density over the density.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Real, Shaped

from jrank.arrays import as_array, as_floating
from jrank.errors import SoftError
from jrank.soft._arguments import check_mask, work_dtype
from jrank.types import Array, ArrayLike

__all__ = ["NOISES", "Noise", "perturbed"]


class Noise(NamedTuple):
    """A distribution of noise, the same for every entry.

    Attributes:
      sample: ``(key, shape, dtype) -> array``.
      log_density: the logarithm of the density up to a constant, elementwise; JAX differentiates it.
    """

    sample: Callable[..., Array]
    log_density: Callable[[Array], Array]


# name -> noise
NOISES: dict[str, Noise] = {
    "gumbel": Noise(jax.random.gumbel, lambda z: -z - jnp.exp(-z)),
    "normal": Noise(jax.random.normal, lambda z: -z * z / 2),
}


def _score_weight(x: Array, z: Array, sigma: Array, where: Array | None, noise: Noise) -> Array:
    """1, with the derivatives of the density at the point x + sigma z, which stays, over the density there."""
    # The noise that leads to that point: z itself, but it moves when x and sigma do.
    start, scale = lax.stop_gradient((x, sigma))
    z = z * (scale / sigma) + (start - x) / sigma
    terms = noise.log_density(z) - jnp.log(sigma)
    if where is not None:
        terms = jnp.where(where, terms, jnp.zeros_like(terms))
    # Each difference is 0 before it is summed: the exponential is 1 whatever the sum of the densities is.
    return jnp.exp(jnp.sum(terms - lax.stop_gradient(terms)))


def _one_list(
    fn: Callable[..., Any],
    x: Array,
    key: Any,
    sigma: Array,
    where: Array | None,
    *,
    samples: int,
    noise: Noise,
    block: int | None,
) -> Any:
    safe = x if where is None else jnp.where(where, x, jnp.zeros_like(x))

    def draw(key: Any) -> tuple[Array, Any]:
        z = noise.sample(key, x.shape, x.dtype)
        u = lax.stop_gradient(safe + sigma * z)
        out = fn(u) if where is None else fn(u, where=where)
        out = jax.tree.map(lambda y: lax.stop_gradient(jnp.asarray(y).astype(_floating(y, x.dtype))), out)
        return z, out

    keys = jax.random.split(key, samples)
    z, out = lax.map(draw, keys, batch_size=block) if block else jax.vmap(draw)(keys)
    weight = jax.vmap(lambda z: _score_weight(safe, z, sigma, where, noise))(z)

    def mean(y: Array) -> Array:
        # The mean of the other samples is taken off before the weights act: the same expectation of every derivative,
        # with less variance.
        others = (jnp.sum(y, axis=0, keepdims=True) - y) / max(samples - 1, 1)
        shape = (samples,) + (1,) * (y.ndim - 1)
        moved = (y - others) * (weight.reshape(shape) - 1).astype(y.dtype)
        return jnp.mean(y, axis=0) + jnp.mean(moved, axis=0)

    return jax.tree.map(mean, out)


def _floating(y: Any, dtype: Any) -> Any:
    given = jnp.asarray(y).dtype
    return given if jnp.issubdtype(given, jnp.floating) else dtype


def perturbed(
    fn: Callable[..., Any],
    *,
    num_samples: int = 1000,
    sigma: Real[ArrayLike, ""] = 0.5,
    noise: str | Noise = "gumbel",
    block: int | None = None,
) -> Callable[..., Any]:
    r"""Make a function of scores differentiable by its mean over noise, as in perturbed optimisers.

    .. math:: F(x) = \mathbb{E}\, f(x + \sigma Z), \qquad
        \nabla F(x) = \frac{1}{\sigma}\, \mathbb{E}\left[f(x + \sigma Z)\, \nabla\nu(Z)^\top\right],

    where exp(-nu) is the density of the noise. f is called and never differentiated: it may be an argmax, a sort, a
    matching, a shortest path.

    Args:
      fn: takes one list ``[n]`` and returns an array, or a tree of arrays, of any shape. Where the result is called
        with a mask, ``fn`` is given it as ``where=``. It has to work under ``vmap``.
      num_samples: over how many samples the mean is taken.
      sigma: the scale of the noise, in the units of the scores, > 0: the temperature of this relaxation. May be traced
        and differentiated.
      noise: ``"gumbel"``, ``"normal"`` or a ``Noise``.
      block: how many samples at a time ``fn`` is mapped over; None is all.

    Returns:
      A function ``f(x, *, key, where=None)``: x is ``[..., n]``, each list of a batch has noise of its own, and the
      values are those of ``fn``, with the batch axes in front, as floats. Gradients at masked places are exactly 0.

    Raises:
      SoftError: fewer than one sample, a number that is not positive as sigma, unknown noise.
      TypeError: x is not an array of real numbers.

    Numerics: value and derivatives are unbiased estimates with errors that fall as 1 / sqrt(num_samples); from the
    first derivative on they also grow as 1 / sigma, for each order once more, and with the square root of n. The mean
    of the other samples is subtracted first (a control variate without bias), which needs two samples. Derivatives of
    any order, in forward and reverse mode, also with respect to sigma. With Gumbel noise the argmax has the mean
    softmax(x / sigma). Gumbel noise has mean 0.577: functions that see shifts see that one. Half types are computed
    in float32.
    Cost: ``num_samples`` calls of ``fn`` and as many lists in memory; a gradient calls nothing again.
    References: Berthet et al., "Learning with Differentiable Perturbed Optimizers", NeurIPS 2020; Abernethy et al.,
    "Perturbation Techniques in Online Learning and Optimization", 2016.

    >>> rank = lambda x: jnp.argsort(jnp.argsort(x)) + 1
    >>> smooth = perturbed(rank, num_samples=500, sigma=0.5, noise="normal")
    >>> smooth(jnp.array([3.0, 1.0, 2.0]), key=jax.random.key(0)).round(1)
    Array([2.9, 1.1, 2. ], dtype=float32)
    """
    if isinstance(num_samples, bool) or num_samples < 1:
        raise SoftError(f"num_samples is {num_samples}, expected at least 1", reason="invalid_parameter")
    if isinstance(sigma, (int, float)) and not sigma > 0:
        raise SoftError(f"sigma is {sigma}, expected a number > 0", reason="invalid_parameter")
    if block is not None and block < 1:
        raise SoftError(f"block is {block}, expected at least 1", reason="invalid_parameter")
    if isinstance(noise, str):
        if noise not in NOISES:
            raise SoftError(
                f"noise is {noise!r}, expected {', '.join(map(repr, NOISES))} or a soft.Noise", reason="unknown_method"
            )
        noise = NOISES[noise]
    options = {"samples": num_samples, "noise": noise, "block": block}

    def smooth(x: Shaped[ArrayLike, "..."], *, key: Array, where: Shaped[ArrayLike, "..."] | None = None) -> Any:
        given = as_floating(x)
        if given.ndim == 0:
            raise SoftError("x is a single number, expected at least one axis", reason="shape_mismatch")
        mask = check_mask(where, given.shape, given.ndim - 1)
        scores = given.astype(work_dtype(given))
        scale = as_array(sigma, "sigma").astype(scores.dtype)
        if scale.ndim:
            raise SoftError(f"sigma has shape {scale.shape}, expected a number", reason="shape_mismatch")
        run: Any = partial(_one_list, fn, **options)
        keys = key
        for _ in scores.shape[:-1]:
            run = jax.vmap(run, in_axes=(0, 0, None, None if mask is None else 0))
        if scores.ndim > 1:
            keys = jax.random.split(key, scores.shape[:-1])
        return run(scores, keys, scale, mask)

    return smooth
