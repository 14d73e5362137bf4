"""Learning-rate schedules as plain functions of the step, and which parameters decay."""

import math
from collections.abc import Callable
from typing import Any

import jax

from jrank.errors import TrainError

__all__ = ["decay_mask", "warmup_schedule"]

_DECAYS: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
}

# Parts of a path that say a parameter is an offset or a scale; a stacked bias has two axes, so its shape cannot tell.
_UNDECAYED = ("bias", "norm")


def warmup_schedule(
    peak: float | int,
    steps: int,
    *,
    warmup: float | int = 0.1,
    decay: str = "linear",
    floor: float | int = 0.0,
) -> Callable[[int], float]:
    r"""Rise linearly to a peak, then fall.

    With ``w`` warm-up steps, and steps counted from 0,

    .. math:: \eta_s = \eta \frac{s + 1}{w} \quad (s < w), \qquad
              \eta_s = f + (\eta - f)\, g\!\left(\frac{s - w}{T - w}\right) \quad (s \ge w)

    where ``g`` is 1 for "constant", ``1 - x`` for "linear", ``(1 + cos(pi x)) / 2`` for "cosine". No step is lost to a
    learning rate of zero: the first warm-up step moves, and so does the last step of all.

    Args:
      peak: the largest learning rate, positive.
      steps: how many steps there are in all.
      warmup: a float is the fraction of all steps, in [0, 1]; an int is a number of steps.
      decay: "constant", "linear" or "cosine".
      floor: what "linear" and "cosine" fall to, in [0, peak].

    Returns:
      A function from the step (from 0) to the learning rate; beyond the last step it stays at its end value.

    Raises:
      TrainError: a value is out of range.

    >>> rate = warmup_schedule(1.0, 6, warmup=2)
    >>> [rate(step) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if not (peak > 0 and math.isfinite(peak)):
        raise TrainError(f"the learning rate must be positive, got {peak}", reason="invalid_parameter")
    if steps < 1:
        raise TrainError(f"a schedule needs at least one step, got {steps}", reason="invalid_parameter")
    if decay not in _DECAYS:
        raise TrainError(
            f"unknown decay {decay!r}", reason="invalid_parameter", hint=f"use one of {', '.join(sorted(_DECAYS))}"
        )
    if not 0 <= floor <= peak:
        raise TrainError(f"floor must be in [0, {peak}], got {floor}", reason="invalid_parameter")
    if isinstance(warmup, float) and not 0 <= warmup <= 1:
        raise TrainError(
            f"warmup must be in [0, 1], got {warmup}",
            reason="invalid_parameter",
            hint="a fraction is a float, a number of steps an int",
        )
    rise = round(warmup * steps) if isinstance(warmup, float) else warmup
    if not 0 <= rise <= steps:
        raise TrainError(f"warmup must be in [0, {steps}] steps, got {rise}", reason="invalid_parameter")
    shape = _DECAYS[decay]

    def rate(step: int) -> float:
        if step < rise:
            return peak * (step + 1) / rise
        done = min(step - rise, steps - rise) / max(steps - rise, 1)
        return floor + (peak - floor) * shape(done)

    return rate


def decay_mask(params: Any) -> Any:
    """Say which parameters weight decay applies to: matrices do, biases and normalisation scales do not.

    Args:
      params: any pytree of arrays; what counts is the names on the path to a leaf, and its number of axes.

    Returns:
      A pytree of bool with the same structure.

    >>> import numpy as np
    >>> decay_mask({"dense": {"kernel": np.ones((2, 2)), "bias": np.ones(2)}, "layer_norm": {"scale": np.ones(2)}})
    {'dense': {'bias': False, 'kernel': True}, 'layer_norm': {'scale': False}}
    """

    def decays(path: tuple, leaf: Any) -> bool:
        name = jax.tree_util.keystr(path, simple=True, separator="/").lower()
        return leaf.ndim >= 2 and not any(part in name for part in _UNDECAYED)

    return jax.tree_util.tree_map_with_path(decays, params)
