"""Contrastive losses: queries against the documents of a batch."""

import jax.numpy as jnp
from jaxtyping import Float, Int, Real, Shaped

from jrank.arrays import accumulator_dtype, as_array, as_floating, as_mask, masked_logsumexp, neutralise, reduce_values
from jrank.errors import LearnError
from jrank.losses._softmax import clip_scores
from jrank.metrics._lists import Fn
from jrank.types import Array, ArrayLike

__all__ = ["info_nce_loss"]


def info_nce_loss(
    similarities: Real[ArrayLike, "*batch n"],
    positives: Int[ArrayLike, "*batch"] | int | None = None,
    *,
    where: Shaped[ArrayLike, "..."] | None = None,
    temperature: Real[ArrayLike, ""] = 1.0,
    symmetric: bool = False,
    reduce_fn: Fn | None = jnp.mean,
) -> Float[Array, "..."]:
    r"""InfoNCE: the surprise at the positive document among all documents.

    .. math:: \ell_q = -\log \frac{\exp(s_{q p_q} / T)}{\sum_j \exp(s_{qj} / T)}

    Args:
      similarities: one row per query, one column per document: the matrix of a batch, or the positive document and the
        negatives of each query.
      positives: the column p of the positive document of each query. None: row i has column i, the documents of the
        batch in the order of their queries; more columns than rows are negatives from elsewhere. A number is one column
        for all.
      where: False at documents that shall not count as negatives, such as other positives. A query whose positive is
        masked costs nothing and is left out of means.
      temperature: T, in the units of the similarities. May be traced.
      symmetric: whether to add the same loss over each column, queries against documents, and halve the sum; needs a
        square matrix and no ``positives``.
      reduce_fn: reduction over the queries; None returns one value per query.

    Returns:
      The reduced loss, at least 0.

    Raises:
      LearnError: the shapes do not fit.

    Numerics: -inf is a similarity that does not count. Half types are accumulated in float32.
    Cost: O(n) time and memory for each query.
    References: van den Oord, Li and Vinyals 2018, "Representation learning with contrastive predictive coding".

    >>> matrix = jnp.array([[2.0, 1.0, 0.0], [0.5, 3.0, 1.0], [0.0, 1.0, 2.0]])
    >>> print(f"{info_nce_loss(matrix):.4f}")
    0.3373
    """
    s = as_floating(similarities, "similarities")
    dtype = s.dtype
    mask = as_mask(where, s.shape)
    if positives is None:
        if s.ndim < 2 or s.shape[-1] < s.shape[-2]:
            raise LearnError(
                f"similarities have shape {s.shape}, a column for every row was expected",
                reason="length_mismatch",
                hint="say with positives= which column is the positive one",
            )
        positives = jnp.broadcast_to(jnp.arange(s.shape[-2]), s.shape[:-1])
    elif symmetric:
        raise LearnError("symmetric=True has no meaning with positives", reason="invalid_parameter")
    if symmetric and s.shape[-1] != s.shape[-2]:
        raise LearnError(f"similarities have shape {s.shape}, a square matrix was expected", reason="length_mismatch")
    wide = neutralise(s.astype(accumulator_dtype(dtype)), mask)
    wide = wide / jnp.asarray(temperature, wide.dtype)
    values, valid = _surprise(wide, as_array(positives, "positives"), mask)
    if symmetric:
        turned = None if mask is None else jnp.swapaxes(mask, -1, -2)
        other, _ = _surprise(jnp.swapaxes(wide, -1, -2), as_array(positives, "positives"), turned)
        values = (values + other) / 2
    return reduce_values(values, valid, reduce_fn).astype(dtype)


def _surprise(s: Array, positives: Array, mask: Array | None) -> tuple[Array, Array | None]:
    index = jnp.broadcast_to(positives, s.shape[:-1])[..., None]
    valid = None if mask is None else jnp.take_along_axis(mask, index, axis=-1)[..., 0]
    s = clip_scores(s)
    own = jnp.take_along_axis(s, index, axis=-1)[..., 0]
    return masked_logsumexp(s, mask) - own, valid
