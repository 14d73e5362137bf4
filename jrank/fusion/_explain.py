"""Why a document stands where it stands: what each run contributed, and how far the runs agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.errors import FusionError
from jrank.fusion._align import align
from jrank.fusion._fuse import as_runs, as_weights
from jrank.fusion._methods import resolve_method
from jrank.fusion._normalize import normalize
from jrank.runs import Run

__all__ = ["Agreement", "Explanation", "Source", "attribute", "consensus", "explain", "run_names"]


@dataclass(frozen=True)
class Source:
    """What one run says about one document.

    Attributes:
      run: the name of the run.
      rank: the 1-based rank there; None if the run lacks the document.
      score: the score there, or None.
      normalized: the score on the common scale; None for methods that look at ranks alone.
      contribution: the part of the fused score that comes from this run; None for methods that are no sum over runs.
    """

    run: str
    rank: int | None
    score: float | None
    normalized: float | None
    contribution: float | None


@dataclass(frozen=True)
class Explanation:
    """A document of a fused list.

    Attributes:
      id: the document.
      rank: its 1-based rank.
      score: its fused score.
      sources: one entry per run.
      consensus: the share of the runs that hold the document.
    """

    id: str
    rank: int
    score: float
    sources: tuple[Source, ...]
    consensus: float

    def __str__(self) -> str:
        parts = []
        for source in self.sources:
            if source.rank is None:
                parts.append(f"{source.run}: -")
            else:
                added = "" if source.contribution is None else f" -> {source.contribution:.4g}"
                parts.append(f"{source.run}: rank {source.rank}, score {source.score:.4g}{added}")
        return f"{self.rank}. {self.id} {self.score:.4g} ({'; '.join(parts)})"


def run_names(runs: Any, listed: list[Run]) -> list[str]:
    """Return what each run is called.

    Args:
      runs: what the user handed in.
      listed: the same as a list of runs.
    """
    if isinstance(runs, Mapping):
        return [str(name) for name in runs]
    names = [run.name or f"run {i}" for i, run in enumerate(listed, 1)]
    return names if len(set(names)) == len(names) else [f"{name} {i}" for i, name in enumerate(names, 1)]


def explain(
    runs: Sequence[Any] | Mapping[str, Any],
    query: str,
    *,
    method: str = "rrf",
    preset: str | None = None,
    k: int | None = 10,
    options: Mapping[str, Any] | None = None,
) -> list[Explanation]:
    """Fuse one query and tell where each score comes from.

    Args:
      runs: as for ``fuse``.
      query: the query id.
      method: see ``fuse``.
      preset: see ``fuse``.
      k: how many documents, from the top; None for all.
      options: options of the method, such as ``{"k": 60}``.

    Returns:
      One explanation per document, best first. For methods that sum over runs the contributions add up to the score.

    Raises:
      FusionError: no run holds the query, or what ``fuse`` raises.

    >>> bm25, dense = {"q": {"a": 12.0, "b": 7.0}}, {"q": {"b": 0.9, "c": 0.4}}
    >>> print(explain({"bm25": bm25, "dense": dense}, "q", k=1)[0])
    1. b 0.03252 (bm25: rank 2, score 7 -> 0.01613; dense: rank 1, score 0.9 -> 0.01639)
    """
    found, params = resolve_method(method, dict(options or {}), preset)
    listed = as_runs(runs)
    names = run_names(runs, listed)
    if not any(query in run for run in listed):
        raise FusionError(f"no run holds the query {query!r}", reason="invalid_run", hint="check the id")
    aligned = align([Run({query: run[query]} if query in run else {}) for run in listed])
    side = next(aligned.sides(), None)
    if side is None:
        return []
    ranks, scores = side.ranks[0], side.scores[0]
    if params.get("weights") is not None:
        params["weights"] = as_weights(params["weights"])
    fused = aligned.to_run(np.asarray(found(ranks, scores, **params), np.float64))
    parts = _contributions(found, ranks, scores, params)
    normal = None
    if found.takes == "scores" and found.name != "segfuse":
        norm = {"dbsf": "dbsf", "standardized": "zmuv"}.get(found.name, params.get("norm", "min_max"))
        normal = normalize(scores, norm=norm)
    place = {aligned.vocabulary.names[code]: i for i, code in enumerate(aligned.codes.tolist())}
    result = []
    for rank, (document, score) in enumerate(list(fused[query].items())[:k], 1):
        j = place[document]
        sources = tuple(
            Source(
                run=name,
                rank=int(ranks[i, j]) or None,
                score=float(scores[i, j]) if ranks[i, j] else None,
                normalized=float(normal[i, j]) if normal is not None and np.isfinite(normal[i, j]) else None,
                contribution=None if parts is None else float(parts[i, j]),
            )
            for i, name in enumerate(names)
        )
        result.append(Explanation(document, rank, score, sources, float(np.mean(ranks[:, j] > 0))))
    return result


def _contributions(found: Any, ranks: np.ndarray, scores: np.ndarray, params: dict[str, Any]) -> np.ndarray | None:
    """Return what each run adds, ``[runs, docs]``; None for methods that are not linear in the weights."""
    if not found.additive or "weights" not in found.params or params.get("weights_in_rank"):
        return None
    runs = len(ranks)
    weights = params["weights"] if params.get("weights") is not None else np.ones(runs)
    bias = params.get("bias")
    plain = {key: value for key, value in params.items() if key != "bias"}
    parts = np.stack(
        [
            w * np.asarray(found(ranks, scores, **{**plain, "weights": e}))
            for w, e in zip(weights, np.eye(runs), strict=True)
        ]
    )
    return parts if bias is None else parts + np.asarray(bias, np.float64)[:, None] * (ranks > 0)


@dataclass(frozen=True)
class Agreement:
    """How far runs agree on one query.

    Attributes:
      everywhere: documents that all runs hold.
      single: documents that one run holds, by the name of the run.
      spread: documents whose ranks lie more than ``spread_over`` apart, with the lowest and highest rank.
      overlap: documents that all runs hold, as a share of those that any holds.
    """

    everywhere: list[str]
    single: dict[str, list[str]]
    spread: dict[str, tuple[int, int]]
    overlap: float


def consensus(
    runs: Sequence[Any] | Mapping[str, Any], query: str, *, depth: int | None = None, spread_over: int = 10
) -> Agreement:
    """Tell which documents of a query all runs hold, which only one does, and on which they disagree.

    Args:
      runs: as for ``fuse``.
      query: the query id.
      depth: how many documents of each run count, or None for all.
      spread_over: ranks further apart than this count as disagreement.

    Raises:
      FusionError: no run holds the query, or depth < 1.

    >>> runs = {"bm25": {"q": {"a": 2.0, "b": 1.0}}, "dense": {"q": {"b": 0.9, "c": 0.4}}}
    >>> agreement = consensus(runs, "q")
    >>> agreement.everywhere, agreement.single
    (['b'], {'bm25': ['a'], 'dense': ['c']})
    """
    listed = as_runs(runs)
    names = run_names(runs, listed)
    if not any(query in run for run in listed):
        raise FusionError(f"no run holds the query {query!r}", reason="invalid_run", hint="check the id")
    aligned = align([Run({query: run[query]} if query in run else {}) for run in listed], depth=depth, by_id=True)
    held: dict[str, list[tuple[int, int]]] = {}
    run_of = np.repeat(np.arange(len(listed)), aligned.sizes).tolist()
    ids = [aligned.vocabulary.names[code] for code in aligned.codes[aligned.document].tolist()]
    for document, run, rank in zip(ids, run_of, aligned.rank.tolist(), strict=True):
        held.setdefault(document, []).append((run, rank))
    everywhere = sorted(d for d, found in held.items() if len(found) == len(listed))
    single: dict[str, list[str]] = {name: [] for name in names}
    spread = {}
    for document in sorted(held):
        ranks = [rank for _, rank in held[document]]
        if len(ranks) == 1:
            single[names[held[document][0][0]]].append(document)
        if max(ranks) - min(ranks) > spread_over:
            spread[document] = (min(ranks), max(ranks))
    return Agreement(everywhere, single, spread, len(everywhere) / len(held) if held else 0.0)


def attribute(
    fused: Run | Mapping[str, Any], runs: Sequence[Any] | Mapping[str, Any], *, k: int = 10
) -> dict[str, dict[str, float]]:
    """Tell how much each run has to do with the first k documents of a fused run.

    Args:
      fused: the fused run.
      runs: what it was fused from.
      k: how many documents per query.

    Returns:
      Per run: "held", the share of the first k documents that the run holds at all; "top", the share that it has among
      its own first k; and "only", the share that no other run holds.

    Raises:
      FusionError: there is no run, or k < 1.

    >>> runs = {"bm25": {"q": {"a": 2.0, "b": 1.0}}, "dense": {"q": {"b": 0.9, "c": 0.4}}}
    >>> attribute({"q": {"b": 2.0, "a": 1.0}}, runs, k=2)["dense"]
    {'held': 0.5, 'top': 0.5, 'only': 0.0}
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise FusionError(f"k is {k!r}, expected an integer of at least 1", reason="invalid_config")
    listed = as_runs(runs)
    names = run_names(runs, listed)
    fused = fused if isinstance(fused, Run) else Run(fused)
    counts = {name: {"held": 0.0, "top": 0.0, "only": 0.0} for name in names}
    total = 0
    for query in fused:
        first = list(fused[query])[:k]
        total += len(first)
        lists = [run.get(query, {}) for run in listed]
        tops = [set(list(one)[:k]) for one in lists]
        for document in first:
            holders = [i for i, one in enumerate(lists) if document in one]
            for i in holders:
                counts[names[i]]["held"] += 1
                counts[names[i]]["top"] += document in tops[i]
                counts[names[i]]["only"] += len(holders) == 1
    return {name: {key: value / max(total, 1) for key, value in row.items()} for name, row in counts.items()}
