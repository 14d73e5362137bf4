"""Lists within a row, for functions that know only rows."""

from typing import Any

import jax.numpy as jnp

from jrank.arrays import as_array, as_floating, as_mask
from jrank.metrics._lists import Fn, accepts, iota_like, segment_slots
from jrank.transforms._gumbel import add_keyword

__all__ = ["segment_t12n"]


def segment_t12n(loss_or_metric_fn: Fn) -> Fn:
    r"""Give a loss or metric the argument ``segments``: ids of lists within a row, in any order.

    Args:
      loss_or_metric_fn: a function of scores and labels with ``where``. Every loss and metric of jrank takes
        ``segments`` already and is returned as it is.

    Returns:
      A function that gives each segment a row of its own, under a mask.

    Cost: none where the function takes ``segments``; otherwise O(n²) time and memory for n items in a row.

    >>> def total(scores, labels, *, where, reduce_fn=jnp.mean):
    ...     return reduce_fn(jnp.sum(scores * labels, axis=-1, where=where), where=jnp.any(where, axis=-1))
    >>> segmented = segment_t12n(total)
    >>> segmented(jnp.array([1.0, 2.0, 3.0]), jnp.ones(3), segments=jnp.array([0, 0, 1])).tolist()
    3.0
    """
    if accepts(loss_or_metric_fn, "segments"):
        return loss_or_metric_fn

    def segment_fn(scores, labels, *, segments=None, **kwargs):
        if segments is None:
            return loss_or_metric_fn(scores, labels, **kwargs)
        s = as_floating(scores, "scores")

        def rows(x: Any) -> Any:
            is_array = hasattr(x, "shape") and hasattr(x, "dtype")
            if not is_array or x.shape != s.shape:
                return x
            return jnp.broadcast_to(jnp.asarray(x)[..., None, :], (*s.shape, s.shape[-1]))

        mask = as_mask(kwargs.pop("where", None), s.shape)
        slot = segment_slots(as_array(segments, "segments"), mask)
        # Row r is the segment whose first valid item is item r.
        own = slot[..., None, :] == iota_like(s)[..., :, None]
        own = own if mask is None else own & mask[..., None, :]
        kwargs = {name: rows(value) for name, value in kwargs.items()}
        return loss_or_metric_fn(rows(s), rows(as_array(labels, "labels")), where=own, **kwargs)

    return add_keyword(segment_fn, loss_or_metric_fn, "segments", default=None)
