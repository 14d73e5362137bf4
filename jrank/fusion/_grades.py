"""Scores as grades from 0 to 10, for people and for prompts."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Real

from jrank.errors import FusionError
from jrank.fusion._space import floating

__all__ = ["grade"]


def grade(
    scores: Real[Any, "*batch docs"],
    *,
    low: float | int = -1.0,
    high: float | int = 1.0,
    share: float | int = 0.3,
    temperature: float | int = 1.0,
    where: Real[Any, "..."] | Bool[Any, "..."] | None = None,
) -> Int[np.ndarray, "*batch docs"]:
    r"""Turn scores into whole grades from 0 to 10: how good a document is, and how it stands among the others.

    .. math:: \mathrm{round}\Bigl(10 \bigl((1 - \mathrm{share})\,
        \mathrm{clip}\bigl(\tfrac{s - low}{high - low}, 0, 1\bigr)
        + \mathrm{share}\,\tfrac{p}{\max p}\bigr)\Bigr), \qquad p = \mathrm{softmax}(s / \mathrm{temperature})

    Args:
      scores: larger is better; -inf and NaN mean that there is no document.
      low: the score that is worth nothing, such as -1 for a cosine.
      high: the score that cannot be better, such as 1 for a cosine; a sum over query tokens wants their number.
      share: how much the standing among the others counts, from 0 to 1.
      temperature: below 1 the best document stands out more.
      where: True where there is a document.

    Returns:
      int64; -1 where there is no document. A better score never has a lower grade within one list.

    Raises:
      FusionError: high is not above low, or share or temperature is out of range.

    Numerics: on the host. A list of equal scores gets equal grades.
    Cost: O(docs).

    >>> grade(np.array([0.9, 0.1, -1.0, -np.inf])).tolist()
    [10, 5, 0, -1]
    """
    if not low < high:
        raise FusionError(f"low is {low} and high {high}, expected high above low", reason="invalid_config")
    if not 0 <= share <= 1 or not 0 < temperature < np.inf:
        raise FusionError(
            f"share is {share} and temperature {temperature}, expected 0 to 1 and more than 0", reason="invalid_config"
        )
    s = np.asarray(floating(np, np.asarray(scores), "scores"), np.float64)
    held = np.isfinite(s)
    if where is not None:
        held = held & np.broadcast_to(np.asarray(where) != 0, s.shape)
    s = np.where(held, s, -np.inf)
    best = np.max(s, axis=-1, keepdims=True, initial=-np.inf)
    # The largest of softmax divides out, so only differences to the best score are left.
    standing = np.exp((np.where(held, s, 0) - np.where(np.isfinite(best), best, 0)) / temperature)
    level = np.clip((np.where(held, s, low) - low) / (high - low), 0, 1)
    value = 10 * ((1 - share) * level + share * standing)
    return np.where(held, np.rint(value), -1).astype(np.int64)
