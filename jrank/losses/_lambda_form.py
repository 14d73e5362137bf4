"""What a lambda weight is: a few numbers per item, and a function of the numbers of two items.

In this form losses work tile by tile. Called, a lambda weight gives the weights of all pairs, as Rax does; its ``rows``
gives those of some items with all others.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jrank.arrays import as_array
from jrank.losses._pairs import PairWeights
from jrank.metrics._lists import Fn, Lists, prepare
from jrank.types import Array

__all__ = ["Form", "dense_weights", "lambda_weight", "list_size", "pair_form", "pair_mask", "weight_matrix"]

# Numbers per item, and the weight of a pair.
Form = tuple[tuple[Array, ...], PairWeights]
F = TypeVar("F", bound=Fn)


def lambda_weight(form: Callable[..., Form]) -> Callable[[F], F]:
    """Give a lambda weight its form by items, and the method ``rows``.

    Args:
      form: (scores, labels, weights, lists, segments) and the options of the weight to the numbers per item and the
        weight of a pair.

    Returns:
      A decorator.
    """

    def attach(fn: F) -> F:
        def rows(i, scores, labels, *, where=None, segments=None, weights=None, **options):
            """Weights of the pairs of some items, by index, with all items of their list: ``[..., len(i), n]``."""
            s, y, w, lists = prepare(scores, labels, where, segments, weights)
            index = jnp.atleast_1d(as_array(i, "i"))
            features, pair = form(s, y, w, lists, segments, **options)
            first, counts = (jax.tree.map(lambda x: x[..., index][..., :, None], f) for f in (features, lists.where))
            slot = None if lists.slot is None else lists.slot[..., index][..., :, None]
            matrix = pair.fn(first, tuple(f[..., None, :] for f in features))
            matrix = jnp.broadcast_to(matrix, (*s.shape[:-1], index.shape[0], s.shape[-1]))
            if counts is not None and lists.where is not None:
                matrix = jnp.where(counts & lists.where[..., None, :], matrix, jnp.zeros_like(matrix))
            if slot is not None and lists.slot is not None:
                matrix = jnp.where(slot == lists.slot[..., None, :], matrix, jnp.zeros_like(matrix))
            return matrix

        given: Any = fn
        given.form, given.rows = form, rows
        return fn

    return attach


def pair_form(lambdaweight_fn: Fn) -> Callable[..., Form] | None:
    """Find the form by items of a lambda weight, through ``functools.partial``.

    Args:
      lambdaweight_fn: any lambda weight.

    Returns:
      A function of (scores, labels, weights, lists, segments) to the numbers per item and the weight of a pair; None
      for a callable that only knows all pairs at once.
    """
    if isinstance(lambdaweight_fn, functools.partial) and not lambdaweight_fn.args:
        form = pair_form(lambdaweight_fn.func)
        return None if form is None else functools.partial(form, **lambdaweight_fn.keywords)
    return getattr(lambdaweight_fn, "form", None)


def weight_matrix(
    form: Callable[..., Form], scores: Any, labels: Any, where: Any, segments: Any, weights: Any
) -> Array:
    """Weights of all pairs of a list, flattened to ``[..., n * n]``; 0 for pairs that do not belong together.

    Args:
      form: the form by items, with its options.
      scores: ``[..., n]``.
      labels: ``[..., n]``.
      where: the mask, or None.
      segments: ids of lists, or None.
      weights: one weight per item, or None.
    """
    s, y, w, lists = prepare(scores, labels, where, segments, weights)
    features, pair = form(s, y, w, lists, segments)
    first = tuple(f[..., :, None] for f in features)
    second = tuple(f[..., None, :] for f in features)
    matrix = pair.fn(first, second)
    matrix = jnp.broadcast_to(matrix, (*s.shape, s.shape[-1]))
    counts = pair_mask(lists)
    if counts is not None:
        matrix = jnp.where(counts, matrix, jnp.zeros_like(matrix))
    return matrix.reshape((*s.shape[:-1], -1))


def pair_mask(lists: Lists) -> Array | None:
    """Which pairs of items are valid and of one list, ``[..., n, n]``; None for all.

    Args:
      lists: the lists.
    """
    counts = None
    if lists.where is not None:
        counts = lists.where[..., :, None] & lists.where[..., None, :]
    if lists.slot is not None:
        same = lists.slot[..., :, None] == lists.slot[..., None, :]
        counts = same if counts is None else counts & same
    return counts


def dense_weights(lambdaweight_fn: Fn, s: Array, y: Array, w: Array | None, lists: Lists, segments: Any) -> Array:
    """Weights of all pairs as ``[..., n, n]``, whichever way a lambda weight gives them.

    Args:
      lambdaweight_fn: any lambda weight.
      s: scores.
      y: labels.
      w: weights, or None.
      lists: the lists.
      segments: the ids that ``lists`` was made from, or None.
    """
    ids = None if segments is None else as_array(segments, "segments")
    matrix = lambdaweight_fn(s, y, where=lists.where, segments=ids, weights=w)
    return jax.lax.stop_gradient(matrix).reshape((*s.shape, s.shape[-1])).astype(s.dtype)


def list_size(lists: Lists, like: Array) -> Array:
    """How many items the list of each item has: what a weight is scaled by, so that padding changes nothing.

    Args:
      lists: the lists.
      like: an array with one number per item.
    """
    count = lists.count(like.dtype)
    return jnp.broadcast_to(count if count.ndim == 0 else lists.spread(count), like.shape)
