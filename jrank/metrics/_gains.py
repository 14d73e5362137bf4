"""Labels to gains, ranks to discounts: the conventions of DCG."""

import jax.numpy as jnp
from jaxtyping import Float, Real

from jrank.arrays import as_floating
from jrank.types import Array, ArrayLike

__all__ = ["default_discount_fn", "default_gain_fn", "letor_discount_fn", "linear_gain_fn"]


def default_gain_fn(label: Real[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""Gain :math:`2^y - 1` of a label.

    Args:
      label: grades. Those below 0 have gain 0; those so large that a sum of gains could overflow (above 100 in float32)
        count as the largest that cannot.

    Returns:
      The gains, at least 0.

    References: Burges et al. 2005, "Learning to rank using gradient descent".

    >>> default_gain_fn(jnp.array([0.0, 1.0, 2.0, -1.0])).tolist()
    [0.0, 1.0, 3.0, 0.0]
    """
    y = as_floating(label, "label")
    largest = jnp.asarray(jnp.finfo(y.dtype).maxexp - 28 if jnp.finfo(y.dtype).maxexp > 28 else 11, y.dtype)
    y = jnp.where(y > largest, largest, y)
    return jnp.where(y < 0, jnp.zeros_like(y), jnp.exp2(y) - 1)


def linear_gain_fn(label: Real[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""Gain :math:`\max(y, 0)` of a label, as trec_eval counts.

    Args:
      label: grades. Those below 0 have gain 0.

    Returns:
      The gains, at least 0.

    References: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".

    >>> linear_gain_fn(jnp.array([0.0, 1.0, 2.0, -1.0])).tolist()
    [0.0, 1.0, 2.0, 0.0]
    """
    y = as_floating(label, "label")
    return jnp.where(y < 0, jnp.zeros_like(y), y)


def default_discount_fn(rank: Real[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""Discount :math:`1 / \log_2(r + 1)` of a rank.

    Args:
      rank: 1-based ranks.

    Returns:
      The discounts, in (0, 1].

    References: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques".

    >>> default_discount_fn(jnp.array([1.0, 3.0])).tolist()
    [1.0, 0.5]
    """
    return 1 / jnp.log2(as_floating(rank, "rank") + 1)


def letor_discount_fn(rank: Real[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    r"""Discount :math:`1 / \max(1, \log_2 r)` of a rank, the convention of the published LETOR tables.

    Args:
      rank: 1-based ranks.

    Returns:
      The discounts; ranks 1 and 2 are not discounted.

    References: Qin and Liu 2013, "Introducing LETOR 4.0 datasets".

    >>> letor_discount_fn(jnp.array([1.0, 2.0, 4.0])).tolist()
    [1.0, 1.0, 0.5]
    """
    r = as_floating(rank, "rank")
    return 1 / jnp.maximum(jnp.ones_like(r), jnp.log2(jnp.maximum(r, jnp.ones_like(r))))
