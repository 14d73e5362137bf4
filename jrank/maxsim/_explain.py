"""What to show of an alignment: the strongest matches, figures, a snippet of the text, a region of the picture."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Int, Integer, Real, Shaped

from jrank.arrays import as_array, as_floating, masked_max, masked_mean, masked_sum, neutralise
from jrank.errors import RerankError
from jrank.maxsim._align import Alignment
from jrank.maxsim._inputs import as_threshold, whole
from jrank.types import Array, ArrayLike

__all__ = ["AlignmentStats", "alignment_stats", "filter_alignment", "patch_boxes", "snippet", "top_alignments"]


class AlignmentStats(NamedTuple):
    """Figures of an alignment; all 0 where nothing is aligned.

    Attributes:
      min: the weakest match.
      max: the strongest match.
      mean: their mean.
      sum: their sum, the score of the document.
      count: how many query tokens are aligned.
    """

    min: Float[Array, "*batch"]
    max: Float[Array, "*batch"]
    mean: Float[Array, "*batch"]
    sum: Float[Array, "*batch"]
    count: Int[Array, "*batch"]


def _checked(alignment: Any) -> tuple[Array, Array]:
    """Return tokens and scores of an alignment, of which NumPy arrays may have been made in between."""
    if not isinstance(alignment, Alignment):
        raise TypeError(f"alignment must be an Alignment, got a {type(alignment).__name__}; write align(query, doc)")
    tokens, scores = as_array(alignment.tokens, "tokens"), as_floating(alignment.scores, "scores")
    if tokens.shape != scores.shape:
        raise RerankError(
            f"the alignment has tokens of shape {tokens.shape} and scores of shape {scores.shape}",
            reason="dimension_mismatch",
        )
    return tokens, scores


def alignment_stats(alignment: Alignment) -> AlignmentStats:
    """Summarise an alignment in five figures.

    Args:
      alignment: from ``align``.

    Returns:
      The figures over the aligned query tokens.

    Raises:
      TypeError: it is no alignment.

    >>> from jrank.maxsim import align
    >>> stats = alignment_stats(align(jnp.eye(2), jnp.array([[3.0, 1.0]])))
    >>> float(stats.min), float(stats.max), float(stats.mean), float(stats.sum), int(stats.count)
    (1.0, 3.0, 2.0, 4.0, 2)
    """
    tokens, scores = _checked(alignment)
    where = tokens >= 0
    return AlignmentStats(
        min=-masked_max(-scores, where),
        max=masked_max(scores, where),
        mean=masked_mean(scores, where),
        sum=masked_sum(scores, where),
        count=jnp.sum(where, axis=-1, dtype=jnp.int32),
    )


def filter_alignment(alignment: Alignment, threshold: Real[ArrayLike, ""]) -> Alignment:
    """Drop matches weaker than a threshold.

    Args:
      alignment: from ``align``.
      threshold: the weakest score that stays.

    Returns:
      The alignment with -1 and score 0 at the dropped places.

    Raises:
      RerankError: the threshold is no scalar.
      TypeError: it is no alignment.

    >>> filter_alignment(Alignment(jnp.array([4, 2]), jnp.array([0.9, 0.2])), 0.5).tokens.tolist()
    [4, -1]
    """
    tokens, scores = _checked(alignment)
    keep = (tokens >= 0) & (scores >= as_threshold(threshold).astype(scores.dtype))
    return Alignment(neutralise(tokens, keep, -1), neutralise(scores, keep))


def top_alignments(alignment: Alignment, k: int) -> tuple[Int[Array, "*batch k"], Alignment]:
    """Return the strongest matches, best first.

    Args:
      alignment: from ``align``.
      k: how many; fewer come back where there are fewer query tokens.

    Returns:
      The query tokens, and their alignment in the same order. Places without a match come last, as -1. Of equal scores
      the earlier query token comes first.

    Raises:
      RerankError: ``k`` is below 1.
      TypeError: ``k`` is no integer, or it is no alignment.

    >>> queries, best = top_alignments(Alignment(jnp.array([4, -1, 2]), jnp.array([0.2, 0.0, 0.9])), 2)
    >>> queries.tolist(), best.tokens.tolist()
    ([2, 0], [2, 4])
    """
    tokens, scores = _checked(alignment)
    k = whole(k, "k")
    if k < 1:
        raise RerankError(f"k is {k}, expected at least 1", reason="invalid_parameter")
    order = lax.top_k(neutralise(scores, tokens >= 0, -jnp.inf), min(k, scores.shape[-1]))[1]
    tokens = jnp.take_along_axis(tokens, order, -1)
    scores = jnp.take_along_axis(scores, order, -1)
    return neutralise(order, tokens >= 0, -1), Alignment(tokens, scores)


def snippet(
    highlighted: Shaped[ArrayLike, "*batch t"], context: int = 3, max_tokens: int | None = None
) -> Bool[Array, "*batch t"]:
    """Widen highlighted tokens by the tokens around them.

    Args:
      highlighted: bool, from ``highlight``.
      context: how many tokens to show on either side of each.
      max_tokens: most tokens to show, the first ones; None is all.

    Returns:
      True at the tokens to show.

    Raises:
      RerankError: ``context`` is negative or ``max_tokens`` below 1, or ``highlighted`` is a single value.
      TypeError: ``context`` or ``max_tokens`` is no integer.

    >>> snippet(jnp.array([0, 0, 0, 1, 0, 0, 0]), context=1).tolist()
    [False, False, True, True, True, False, False]
    """
    context = whole(context, "context")
    max_tokens = None if max_tokens is None else whole(max_tokens, "max_tokens")
    if context < 0 or (max_tokens is not None and max_tokens < 1):
        raise RerankError(
            f"context is {context} and max_tokens {max_tokens}, expected at least 0 and at least 1",
            reason="invalid_window_size",
        )
    marked = as_array(highlighted, "highlighted").astype(bool).astype(jnp.int32)
    if not marked.ndim:
        raise RerankError("highlighted is one value, expected one for each token", reason="dimension_mismatch")
    t = marked.shape[-1]
    context = min(context, t)  # places are added to it
    before = jnp.cumsum(jnp.concatenate([jnp.zeros((*marked.shape[:-1], 1), jnp.int32), marked], axis=-1), axis=-1)
    place = jnp.arange(t)
    first, last = jnp.maximum(place - context, 0), jnp.minimum(place + context + 1, t)
    shown = before[..., last] > before[..., first]
    if max_tokens is not None and max_tokens < t:
        shown = shown & (jnp.cumsum(shown, axis=-1, dtype=jnp.int32) <= max_tokens)
    return shown


def patch_boxes(
    patches: Integer[ArrayLike, "*batch"], grid: tuple[int, int], size: tuple[int | float, int | float]
) -> Float[Array, "*batch 4"]:
    """Return the pixel boxes of image patches, for documents whose tokens are patches of a page.

    Args:
      patches: indices of patches in row-major order, such as ``Alignment.tokens``.
      grid: rows and columns of patches.
      size: height and width of the image in pixels.

    Returns:
      Left, top, right, bottom of each; 0 for indices outside of the grid, such as -1.

    Raises:
      RerankError: the grid has no patch or more than 2^31, or the image no size.
      TypeError: indices, rows or columns are no integers.

    >>> patch_boxes(jnp.array([5]), (2, 4), (100, 200)).tolist()
    [[50.0, 50.0, 100.0, 100.0]]
    """
    if np.shape(grid) != (2,) or np.shape(size) != (2,):
        raise RerankError(
            f"grid is {grid!r:.80} and size {size!r:.80}, expected rows and columns, height and width",
            reason="invalid_parameter",
        )
    rows, columns = (whole(number, "grid") for number in grid)
    if rows < 1 or columns < 1 or rows * columns >= 1 << 31:
        raise RerankError(
            f"grid is {grid}, expected at least one row and one column, and fewer than 2^31 patches",
            reason="invalid_parameter",
        )
    if not (0 < size[0] < np.inf and 0 < size[1] < np.inf):
        raise RerankError(f"size is {size}, expected a height and a width in pixels", reason="invalid_parameter")
    patches = as_array(patches, "patches")
    if not jnp.issubdtype(patches.dtype, jnp.integer):
        raise TypeError(f"patches must be integers, got {patches.dtype}")
    if jnp.iinfo(patches.dtype).bits < 32:  # a narrow type does not hold the number of patches
        patches = patches.astype(jnp.int32)
    row, column = patches // columns, patches % columns
    height, width = (as_floating(x, "size") for x in (size[0] / rows, size[1] / columns))
    row, column = row.astype(height.dtype), column.astype(width.dtype)
    box = jnp.stack([column * width, row * height, (column + 1) * width, (row + 1) * height], axis=-1)
    inside = (patches >= 0) & (patches < rows * columns)
    return neutralise(box, inside[..., None])
