"""Order statistics from the soft sort."""

import jax.numpy as jnp
from jaxtyping import Float, Shaped

from jrank.arrays import as_array, take_last
from jrank.errors import SoftError
from jrank.soft._arguments import check_mask, check_scores, work_dtype
from jrank.soft._sort import sort
from jrank.types import Array, ArrayLike

__all__ = ["median", "quantile"]


def quantile(
    x: Shaped[ArrayLike, "..."],
    q: Shaped[ArrayLike, "..."],
    *,
    method: str = "l2",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Return differentiable quantiles: linear interpolation in the soft sort, as NumPy does in the hard one.

    .. math:: Q(q) = (1 - f) s_{\lfloor h \rfloor} + f s_{\lfloor h \rfloor + 1}, \quad h = 1 + q (n - 1),
        \quad f = h - \lfloor h \rfloor

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      q: which quantiles, in [0, 1]: a number, or several along one axis.
      method: see ``sort``.
      temperature: see ``sort``; for ``"l2"`` and ``"kl"`` in 1 / score.
      axis: the axis of the list.
      where: True at real items.

    Returns:
      The quantiles, ``[...]`` for one q and ``[..., number of q]`` for several; 0 for a list without a real item.

    Raises:
      SoftError: as for ``sort``, and q of more than one axis or, if it is a number, not in [0, 1].
      TypeError: ``x`` is not an array of real numbers.

    Numerics: those of ``sort``. NaN items count as items, at the end.
    Cost: that of ``sort``.
    See also: ``median``.

    >>> quantile(jnp.array([4.0, 1.0, 2.0]), jnp.array([0.0, 0.75]), temperature=0.25)
    Array([1., 3.], dtype=float32)
    """
    if isinstance(q, (int, float)) and not 0 <= q <= 1:
        raise SoftError(f"q is {q}, expected a number from 0 to 1", reason="invalid_parameter")
    fractions = as_array(q, "q")
    if fractions.ndim > 1:
        raise SoftError(f"q has {fractions.ndim} axes, expected at most one", reason="shape_mismatch")
    scores, position = check_scores(x, axis)
    mask = check_mask(where, scores.shape, position)
    values = sort(scores, method=method, temperature=temperature, where=mask)
    n = scores.shape[-1]
    if n == 0:
        raise SoftError("x has no items along the axis", reason="shape_mismatch", hint="mask lists that are empty")
    work = work_dtype(scores)
    several = jnp.atleast_1d(fractions).astype(work)
    batch = scores.shape[:-1]
    count = jnp.full(batch, n, jnp.int32) if mask is None else jnp.sum(mask, axis=-1, dtype=jnp.int32)
    last = jnp.maximum(count - 1, 0)[..., None]
    several = jnp.broadcast_to(several.reshape((1,) * len(batch) + several.shape), (*batch, several.size))
    place = several * last.astype(work)
    low = jnp.clip(jnp.floor(place), 0, last.astype(work)).astype(jnp.int32)
    high = jnp.minimum(low + 1, jnp.broadcast_to(last, low.shape))
    share = (place - low.astype(work)).astype(values.dtype)
    ends = take_last(values, low), take_last(values, high)
    # A place of its own takes its value as it is: 0 times an infinite neighbour is no number.
    mixed = ends[0] + jnp.where(share > 0, share * (ends[1] - ends[0]), jnp.zeros_like(share))
    return mixed if fractions.ndim else mixed[..., 0]


def median(
    x: Shaped[ArrayLike, "..."],
    *,
    method: str = "l2",
    temperature: Shaped[ArrayLike, "..."] = 1.0,
    axis: int = -1,
    where: Shaped[ArrayLike, "..."] | None = None,
) -> Float[Array, "..."]:
    """Return the differentiable median, the quantile at one half.

    Args:
      x: scores; the list is along ``axis``, all other axes are batch.
      method: see ``sort``.
      temperature: see ``sort``; for ``"l2"`` and ``"kl"`` in 1 / score.
      axis: the axis of the list.
      where: True at real items.

    Returns:
      The medians, ``[...]``; 0 for a list without a real item.

    Raises:
      SoftError: as for ``sort``.
      TypeError: ``x`` is not an array of real numbers.

    >>> median(jnp.array([4.0, 1.0, 2.0]), temperature=0.25)
    Array(2., dtype=float32)
    """
    return quantile(x, 0.5, method=method, temperature=temperature, axis=axis, where=where)
