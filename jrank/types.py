"""Array aliases and the protocols of the functions that users hand in.

Letters in shapes: ``b`` batch, ``n`` items of a list, ``q`` query tokens, ``t`` document tokens, ``d`` dimensions,
``k`` cut-off. Nobody needs to subclass a protocol: any function of that form will do.
"""

from typing import Protocol, runtime_checkable

from jax import Array
from jax.typing import ArrayLike

__all__ = [
    "Array",
    "ArrayLike",
    "CutoffFn",
    "DiscountFn",
    "GainFn",
    "LambdaweightFn",
    "LossFn",
    "MetricFn",
    "RankFn",
    "ReduceFn",
]


@runtime_checkable
class RankFn(Protocol):
    """Scores to 1-based ranks; the largest score has rank 1."""

    def __call__(
        self,
        scores: Array,
        *,
        where: Array | None = None,
        segments: Array | None = None,
        key: Array | None = None,
    ) -> Array:
        """Return the ranks, in the shape of ``scores``."""
        ...


@runtime_checkable
class CutoffFn(Protocol):
    """Which items are among the ``n`` largest, as 0 and 1 or smoothly between; it is called with negated ranks."""

    def __call__(self, a: Array, n: int | None = None, segments: Array | None = None) -> Array:
        """Return a weight in [0, 1] for each item."""
        ...


@runtime_checkable
class GainFn(Protocol):
    """Labels to gains."""

    def __call__(self, labels: Array) -> Array:
        """Return the gains, in the shape of ``labels``."""
        ...


@runtime_checkable
class DiscountFn(Protocol):
    """1-based ranks to discounts."""

    def __call__(self, ranks: Array) -> Array:
        """Return the discounts, in the shape of ``ranks``."""
        ...


@runtime_checkable
class LambdaweightFn(Protocol):
    """Weights of the pairs of a list, as a matrix."""

    def __call__(
        self,
        scores: Array,
        labels: Array,
        *,
        where: Array | None = None,
        segments: Array | None = None,
        weights: Array | None = None,
    ) -> Array:
        """Return the weights, ``[..., n, n]``."""
        ...


@runtime_checkable
class ReduceFn(Protocol):
    """A reduction with a mask, such as ``jnp.mean`` and ``jnp.sum``."""

    def __call__(self, a: Array, *, where: Array | None = None) -> Array:
        """Return the reduced values."""
        ...


@runtime_checkable
class LossFn(Protocol):
    """A ranking loss; smaller is better."""

    def __call__(self, scores: Array, labels: Array, *, where: Array | None = None) -> Array:
        """Return the loss."""
        ...


@runtime_checkable
class MetricFn(Protocol):
    """A ranking metric; larger is better."""

    def __call__(self, scores: Array, labels: Array, *, where: Array | None = None) -> Array:
        """Return the metric."""
        ...
