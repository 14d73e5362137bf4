"""Plots of rankings: each takes ``ax=None``, draws on it, and returns it; nothing is shown or saved.

matplotlib is the extra ``plot``.

>>> ax = temperature_sweep(np.array([0.0, 1.0, 1.5]), temperatures=np.array([0.1, 1.0, 10.0]))
>>> ax.get_xlabel()
'temperature'
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jrank.errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["alignment", "quality_latency", "temperature_sweep", "training_curve"]

Numbers = Sequence[float | int] | np.ndarray

# Okabe and Ito: told apart with every kind of colour vision, and in grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")


def _axes(ax: Any, size: tuple[float, float] = (6.4, 4.0)) -> Any:
    if ax is not None:
        return ax
    figure = require("matplotlib.figure", "plot").Figure(figsize=size, layout="constrained")
    return figure.add_subplot()


def _tidy(ax: Any) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)


def quality_latency(
    points: Mapping[str, tuple[float | int, float | int]], *, metric: str = "NDCG@10", ax: Any = None
) -> "Axes":
    """Draw quality against latency, one point for each system, and the line of those that nothing else beats.

    Args:
      points: system -> (milliseconds per query, quality).
      metric: what the quality is.
      ax: where to draw; None makes a new figure.

    Returns:
      The axes.
    """
    ax = _axes(ax)
    names = list(points)
    x = np.array([points[name][0] for name in names], float)
    y = np.array([points[name][1] for name in names], float)
    best = [i for i in range(len(names)) if not np.any((x <= x[i]) & (y > y[i]) | (x < x[i]) & (y >= y[i]))]
    best.sort(key=lambda i: x[i])
    ax.plot(x[best], y[best], color="0.75", linewidth=1.2, zorder=1)
    for i, name in enumerate(names):
        ax.scatter(
            x[i], y[i], s=48, color=PALETTE[i % len(PALETTE)], marker=MARKERS[i % len(MARKERS)], label=name, zorder=2
        )
    ax.set_xscale("log")
    # Stages of one family stand so close that names beside the points would cover each other.
    ax.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set_xlabel("milliseconds per query (log scale)")
    ax.set_ylabel(metric)
    _tidy(ax)
    return ax


def training_curve(
    steps: Numbers,
    losses: Numbers,
    *,
    metric_steps: Numbers = (),
    metric_values: Numbers = (),
    metric: str = "validation NDCG@10",
    ax: Any = None,
) -> "Axes":
    """Draw the loss of each step, its running mean, and the validation metric on a second axis.

    Args:
      steps: step numbers.
      losses: the loss at each step.
      metric_steps: the steps after which the metric was measured.
      metric_values: its values.
      metric: what it is.
      ax: where to draw; None makes a new figure.

    Returns:
      The axes of the loss.
    """
    ax = _axes(ax)
    steps_, losses_ = np.asarray(steps, float), np.asarray(losses, float)
    ax.plot(steps_, losses_, color=PALETTE[0], alpha=0.25, linewidth=0.8)
    if len(losses_):
        width = max(1, len(losses_) // 20)
        # The mean over the steps so far where the window is not yet full, so that the curve starts at the first step.
        total = np.cumsum(losses_)
        count = np.minimum(np.arange(1, len(losses_) + 1), width)
        smooth = (total - np.concatenate([np.zeros(min(width, len(total))), total[:-width]])) / count
        ax.plot(steps_, smooth, color=PALETTE[0], linewidth=1.8, label="loss")
    ax.set_xlabel("step")
    ax.set_ylabel("loss", color=PALETTE[0])
    _tidy(ax)
    if len(metric_steps):
        other = ax.twinx()
        other.plot(metric_steps, metric_values, color=PALETTE[1], marker="o", markersize=4, linewidth=1.4)
        other.set_ylabel(metric, color=PALETTE[1])
        other.spines["top"].set_visible(False)
    return ax


def temperature_sweep(
    scores: np.ndarray,
    *,
    temperatures: np.ndarray | None = None,
    method: str = "l2",
    ax: Any = None,
) -> "Axes":
    """Draw how soft ranks go from the hard ranks to their mean as the temperature grows.

    Args:
      scores: a list of scores, ``[n]``.
      temperatures: which temperatures; None is three decades around the gaps of the scores.
      method: a method of ``jrank.soft.rank``.
      ax: where to draw; None makes a new figure.

    Returns:
      The axes.
    """
    from jrank.soft import rank

    ax = _axes(ax)
    scores = np.asarray(scores, np.float32)
    if temperatures is None:
        gaps = np.diff(np.sort(scores))
        middle = float(np.median(gaps[gaps > 0])) if np.any(gaps > 0) else 1.0
        temperatures = middle * np.logspace(-1, 2, 61)
    ranks = np.stack([np.asarray(rank(scores, method=method, temperature=float(t))) for t in temperatures])
    for i in np.argsort(-scores):
        ax.plot(temperatures, ranks[:, i], linewidth=1.5, label=f"{scores[i]:.2f}")
    ax.set_xscale("log")
    ax.set_xlabel("temperature")
    ax.set_ylabel(f"soft rank ({method})")
    if len(scores) <= 10:
        ax.legend(
            title="score", fontsize=8, title_fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
        )
    _tidy(ax)
    return ax


def alignment(
    similarities: np.ndarray, query_tokens: Sequence[str], doc_tokens: Sequence[str], *, ax: Any = None
) -> "Axes":
    """Draw the similarities between query and document tokens; a dot marks the best document token of each query token.

    Args:
      similarities: ``[q, t]``.
      query_tokens: the q tokens of the query.
      doc_tokens: the t tokens of the document.
      ax: where to draw; None makes a new figure, as wide as the document is long.

    Returns:
      The axes.

    Raises:
      ValueError: the numbers of tokens do not fit the similarities.
    """
    similarities = np.asarray(similarities, float)
    if similarities.shape != (len(query_tokens), len(doc_tokens)):
        raise ValueError(
            f"similarities have shape {similarities.shape}, but there are {len(query_tokens)} query tokens "
            f"and {len(doc_tokens)} document tokens"
        )
    ax = _axes(ax, (max(4.0, 0.24 * len(doc_tokens) + 1.8), 0.26 * len(query_tokens) + 1.6))
    image = ax.imshow(similarities, aspect="auto", cmap="Blues", vmin=min(0.0, similarities.min(initial=0.0)))
    best = similarities.argmax(axis=1) if similarities.size else np.empty(0, int)
    ax.scatter(best, np.arange(len(best)), s=22, color=PALETTE[1], zorder=3)
    ax.set_xticks(range(len(doc_tokens)), doc_tokens, rotation=90, fontsize=8)
    ax.set_yticks(range(len(query_tokens)), query_tokens, fontsize=8)
    ax.set_xlabel("document token")
    ax.set_ylabel("query token")
    ax.figure.colorbar(image, ax=ax, label="similarity", fraction=0.03, pad=0.01)
    return ax
