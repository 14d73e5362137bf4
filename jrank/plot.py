"""Plots of rankings: each takes ``ax=None``, draws on it, and returns it; nothing is shown or saved.

matplotlib is the extra ``plot``.

>>> ax = temperature_sweep(np.array([0.0, 1.0, 1.5]), temperatures=np.array([0.1, 1.0, 10.0]))
>>> ax.get_xlabel()
'temperature'
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jrank.errors import EvalError, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "alignment",
    "precision_recall",
    "quality_depth",
    "quality_latency",
    "query_differences",
    "temperature_sweep",
    "training_curve",
]

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


def query_differences(
    values: Mapping[str, float],
    other: Mapping[str, float],
    *,
    names: tuple[str, str] = ("run", "other"),
    metric: str = "",
    ax: Any = None,
) -> "Axes":
    """Draw by how much one run beats another on each query, largest gain first.

    Args:
      values: query -> value of the one run, such as ``report.per_query["ndcg@10"]``.
      other: the same of the other; queries that one of them lacks are left out.
      names: what the two runs are called.
      metric: what the values are.
      ax: where to draw; None makes a new figure.

    Returns:
      The axes; its title counts wins, ties and losses.

    Raises:
      EvalError: the two have no query in common.
    """
    common = [query for query in values if query in other]
    if not common:
        raise EvalError("the two runs have no query in common", reason="empty_input", hint="evaluate both on one set")
    ax = _axes(ax)
    gaps = np.sort(np.array([values[query] - other[query] for query in common], float))[::-1]
    wins, losses = int(np.sum(gaps > 0)), int(np.sum(gaps < 0))
    place = np.arange(1, len(gaps) + 1)
    for sign, colour in ((gaps > 0, PALETTE[0]), (gaps < 0, PALETTE[1])):
        ax.bar(place[sign], gaps[sign], width=1.0 if len(gaps) > 60 else 0.8, color=colour, linewidth=0)
    ax.axhline(0, color="0.4", linewidth=0.8)
    ax.axhline(gaps.mean(), color="0.2", linewidth=1.0, linestyle="--", label=f"mean {gaps.mean():+.3f}")
    ax.set_xlim(0.2, len(gaps) + 0.8)
    ax.set_title(f"{names[0]} - {names[1]}: {wins} better, {len(gaps) - wins - losses} equal, {losses} worse", size=10)
    ax.set_xlabel("query, by difference")
    ax.set_ylabel(f"difference in {metric}" if metric else "difference")
    ax.legend(frameon=False, fontsize=8.5, loc="upper right")
    _tidy(ax)
    return ax


def precision_recall(qrels: Any, runs: Mapping[str, Any], *, rel: float | int = 1, ax: Any = None) -> "Axes":
    """Draw interpolated precision at recall 0, 0.1, ..., 1, the mean over queries, one line for each run.

    Args:
      qrels: the judgments, as ``evaluate`` takes them.
      runs: name -> run.
      rel: the least grade that counts as relevant.
      ax: where to draw; None makes a new figure.

    Returns:
      The axes.

    Raises:
      EvalError: what ``evaluate`` raises.
    """
    levels = [i / 10 for i in range(11)]
    metrics = [f"iprec(recall={level},rel={rel:g})" for level in levels]
    ax = _curves(qrels, runs, metrics, levels, ax)
    ax.set_xlabel("recall")
    ax.set_ylabel("interpolated precision")
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    return ax


def quality_depth(
    qrels: Any,
    runs: Mapping[str, Any],
    *,
    metric: str = "ndcg",
    depths: Sequence[int] = (1, 2, 3, 5, 10, 20, 30, 50, 100),
    ax: Any = None,
) -> "Axes":
    """Draw a metric against its cut-off, one line for each run.

    Args:
      qrels: the judgments, as ``evaluate`` takes them.
      runs: name -> run.
      metric: a metric that takes a cut-off, without it.
      depths: the cut-offs.
      ax: where to draw; None makes a new figure.

    Returns:
      The axes.

    Raises:
      EvalError: what ``evaluate`` raises.
    """
    ax = _curves(qrels, runs, [f"{metric}@{depth}" for depth in depths], depths, ax)
    ax.set_xscale("log")
    ax.set_xticks(list(depths), [str(depth) for depth in depths])
    ax.minorticks_off()
    ax.set_xlabel("depth")
    ax.set_ylabel(f"{metric}@depth")
    return ax


def _curves(qrels: Any, runs: Mapping[str, Any], metrics: Sequence[str], x: Numbers, ax: Any) -> "Axes":
    from jrank.evaluation import evaluate

    ax = _axes(ax)
    for i, (name, run) in enumerate(runs.items()):
        report = evaluate(qrels, run, metrics)
        colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        ax.plot(x, [report[m] for m in metrics], color=colour, marker=marker, markersize=4, linewidth=1.5, label=name)
    ax.legend(frameon=False, fontsize=8.5)
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
    operator: str = "rank",
    legend: bool = True,
    ax: Any = None,
) -> "Axes":
    """Draw how soft ranks go from the hard ranks to their mean as the temperature grows, or how sorted values do.

    Args:
      scores: a list of scores, ``[n]``.
      temperatures: which temperatures; None is three decades around the gaps of the scores.
      method: a method of ``jrank.soft.rank`` or ``jrank.soft.sort``.
      operator: ``"rank"`` or ``"sort"``.
      legend: whether to name the scores, or the places of the sort, of up to ten items.
      ax: where to draw; None makes a new figure.

    Returns:
      The axes.
    """
    from jrank import soft

    ax = _axes(ax)
    scores = np.asarray(scores, np.float32)
    published = operator == "sort" and method in ("l2", "kl")
    if temperatures is None:
        middle = soft.suggest_temperature(scores, operator="sort" if published else "rank")
        temperatures = float(middle) * np.logspace(-1, 2, 61)
    rows = np.broadcast_to(scores, (len(temperatures), len(scores)))
    values = np.asarray(getattr(soft, operator)(rows, method=method, temperature=np.asarray(temperatures, np.float32)))
    for number, i in enumerate(np.argsort(-scores)):
        line = i if operator == "rank" else len(scores) - 1 - number
        name = f"{scores[i]:.2f}" if operator == "rank" else str(line + 1)
        ax.plot(temperatures, values[:, line], linewidth=1.5, label=name, color=PALETTE[number % len(PALETTE)])
    ax.set_xscale("log")
    ax.set_xlabel("temperature (1 / score)" if published else "temperature")
    ax.set_ylabel(f"soft {operator} ({method})")
    if legend and len(scores) <= 10:
        ax.legend(
            title="score" if operator == "rank" else "place",
            fontsize=8,
            title_fontsize=8,
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
        )
    _tidy(ax)
    return ax


def alignment(
    similarities: np.ndarray, query_tokens: Sequence[str], doc_tokens: Sequence[str], *, ax: Any = None
) -> "Axes":
    """Draw the similarities between query and document tokens; a dot marks the best document token of each query token.

    Args:
      similarities: ``[q, t]``; NaN is left white, and is no best token.
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
    known = ~np.isnan(similarities)
    lowest = similarities.min(initial=0.0, where=known & (similarities > -np.inf))
    q, t = (max(1, size) for size in similarities.shape)  # axes of no width would be warned of
    image = ax.imshow(similarities, aspect="auto", cmap="Blues", vmin=lowest, extent=(-0.5, t - 0.5, q - 0.5, -0.5))
    rows = np.flatnonzero(known.any(axis=1))
    best = np.where(known, similarities, -np.inf)[rows].argmax(axis=1) if len(rows) else rows
    ax.scatter(best, rows, s=22, color=PALETTE[1], zorder=3)
    # Tokens are text: a dollar sign among them starts no formula.
    ax.set_xticks(range(len(doc_tokens)), doc_tokens, rotation=90, fontsize=8, parse_math=False)
    ax.set_yticks(range(len(query_tokens)), query_tokens, fontsize=8, parse_math=False)
    ax.set_xlabel("document token")
    ax.set_ylabel("query token")
    ax.figure.colorbar(image, ax=ax, label="similarity", fraction=0.03, pad=0.01)
    return ax
