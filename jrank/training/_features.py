"""Features that depend on the list an item stands in."""

import jax.numpy as jnp
from jaxtyping import Float, Real, Shaped

from jrank.arrays import as_floating, as_mask
from jrank.types import Array, ArrayLike

__all__ = ["list_zscores"]


def list_zscores(
    features: Real[ArrayLike, "*batch n f"],
    *,
    where: Shaped[ArrayLike, "*batch n"] | None = None,
    limit: float | int = 5.0,
) -> Float[Array, "*batch n f"]:
    r"""How far each feature stands from its mean in the list, in standard deviations of the list.

    .. math:: z_{if} = \mathrm{clip}\left(\frac{x_{if} - \mu_f}{\sigma_f}, -c, c\right)

    with mean and deviation over the valid items of the list. Scores of a first stage are comparable within a query
    only; put beside the features themselves, these help linear models most.

    Args:
      features: the items of each list.
      where: True at real items. None: all are.
      limit: the largest absolute value, positive.

    Returns:
      Values in the shape of ``features``; 0 at masked places, and for a feature that is the same in the whole list.

    Numerics: mean and deviation in two passes; half types are computed in float32 and cast back.
    Cost: O(n · f).

    >>> list_zscores(jnp.array([[[1.0], [3.0], [99.0]]]), where=jnp.array([[True, True, False]])).tolist()
    [[[-1.0], [1.0], [0.0]]]
    """
    x = as_floating(features, "features")
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    mask = as_mask(where, x.shape[:-1])
    real = jnp.ones(x.shape[:-1], bool) if mask is None else mask
    real = real[..., None]
    x = jnp.where(real, x, 0)
    count = jnp.maximum(jnp.sum(real, axis=-2, keepdims=True, dtype=x.dtype), 1)
    mean = jnp.sum(x, axis=-2, keepdims=True) / count
    centred = jnp.where(real, x - mean, 0)
    variance = jnp.sum(centred * centred, axis=-2, keepdims=True) / count
    # What is left of a constant feature is rounding, not a spread.
    spread = variance > (1e-6 * mean) ** 2
    z = jnp.where(spread, centred / jnp.sqrt(jnp.where(spread, variance, 1)), 0)
    return jnp.clip(z, -limit, limit).astype(dtype)
