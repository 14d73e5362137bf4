"""Compare runs on the same queries."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from jrank import stats
from jrank.errors import EvalError
from jrank.evaluation._evaluate import Report, as_qrels, as_run, evaluate
from jrank.evaluation._tables import render
from jrank.runs import GroupedQrels, Preferences, Qrels, Run

__all__ = ["Comparison", "Contrast", "compare"]


@dataclass(frozen=True)
class Contrast:
    """Two runs under one metric.

    Attributes:
      metric: the metric.
      run: the one run.
      other: the run it is compared with.
      difference: mean of ``run`` minus mean of ``other``.
      low: lower end of the bootstrap interval of the difference.
      high: upper end.
      effect_size: mean difference in standard deviations of the differences.
      wins: on how many queries ``run`` is better.
      ties: on how many both are equal.
      losses: on how many ``other`` is better.
      p_value: of the paired test.
      corrected: the p-value corrected for the number of contrasts under this metric.
    """

    metric: str
    run: str
    other: str
    difference: float
    low: float
    high: float
    effect_size: float
    wins: int
    ties: int
    losses: int
    p_value: float
    corrected: float


class Comparison:
    """The values of several runs, and which differences are more than chance.

    Attributes:
      reports: run name -> ``Report``.
      metrics: the metrics.
      baseline: the run that the others are compared with, or None where all pairs are.
      contrasts: one ``Contrast`` per metric and pair.
      test: the name of the test.
      correction: the name of the correction, or None.
      level: what counts as significant.
    """

    def __init__(
        self,
        reports: dict[str, Report],
        contrasts: list[Contrast],
        *,
        baseline: str | None,
        test: str,
        correction: str | None,
        level: float,
    ):
        self.reports = reports
        self.metrics = list(next(iter(reports.values())))
        self.contrasts = contrasts
        self.baseline = baseline
        self.test = test
        self.correction = correction
        self.level = level

    def __getitem__(self, run: str) -> Report:
        if run not in self.reports:
            raise EvalError(
                f"there is no run {run!r}", reason="invalid_parameter", hint=f"runs: {', '.join(self.reports)}"
            )
        return self.reports[run]

    def contrast(self, metric: str, run: str, other: str | None = None) -> Contrast:
        """Return one contrast, turned the way it is asked for.

        Args:
          metric: the metric.
          run: the one run.
          other: the run to compare with; the baseline by default.

        Raises:
          EvalError: the two were not compared.
        """
        other = self.baseline if other is None else other
        for c in self.contrasts:
            if c.metric == metric and (c.run, c.other) == (run, other):
                return c
            if c.metric == metric and (c.run, c.other) == (other, run):
                turned = {
                    "run": c.other,
                    "other": c.run,
                    "difference": -c.difference,
                    "low": -c.high,
                    "high": -c.low,
                    "effect_size": -c.effect_size,
                    "wins": c.losses,
                    "losses": c.wins,
                }
                return Contrast(**{**asdict(c), **turned})
        raise EvalError(
            f"{run!r} and {other!r} were not compared under {metric!r}",
            reason="invalid_parameter",
            hint="name a metric and two different runs of the comparison",
        )

    def _marks(self, metric: str, run: str) -> str:
        """Return what stands behind a value: the letters of the runs that it beats, or a star against the baseline."""
        marks = ""
        for letter, name in zip(_letters(len(self.reports)), self.reports, strict=True):
            if name == run or (self.baseline is not None and name != self.baseline):
                continue
            contrast = self.contrast(metric, run, name)
            if contrast.corrected < self.level:
                if self.baseline is not None:
                    marks += "+" if contrast.difference > 0 else "-"
                elif contrast.difference > 0:
                    marks += letter
        return marks

    @property
    def caption(self) -> str:
        """What the marks in the tables mean, and over how many queries."""
        queries = next(iter(self.reports.values())).counts["queries"]
        correction = f", {self.correction} correction" if self.correction else ""
        test = f"{self.test} test{correction}, p < {self.level:g}, {queries} queries"
        if self.baseline is not None:
            return f"+ better, - worse than {self.baseline}: {test}"
        return f"letters name the runs that are beaten: {test}"

    def to_table(self, format: str = "text", *, digits: int = 4) -> str:
        """Return a table with one line per run and one column per metric; marks tell which differences are significant.

        Args:
          format: "text", "markdown", "latex", "html" or "tsv".
          digits: digits after the point.

        Raises:
          EvalError: the format is unknown.
        """
        letters = _letters(len(self.reports)) if self.baseline is None else [""] * len(self.reports)
        rows = [["run", *self.metrics]]
        marks = {(m, run): self._marks(m, run) for m in self.metrics for run in self.reports}
        widths = {m: max(len(marks[m, run]) for run in self.reports) for m in self.metrics}
        for letter, (name, report) in zip(letters, self.reports.items(), strict=True):
            head = f"{letter} {name}" if letter else name
            rows.append([head, *(f"{report[m]:.{digits}f}{marks[m, name]:<{widths[m]}}" for m in self.metrics)])
        return render(rows, format, caption=self.caption)

    def to_contrasts_table(self, format: str = "text", *, digits: int = 4) -> str:
        """Return a table with one line per metric and pair: difference, interval, wins, ties, losses, p-values.

        Args:
          format: "text", "markdown", "latex", "html" or "tsv".
          digits: digits after the point.

        Raises:
          EvalError: the format is unknown.
        """
        rows = [["contrast", "metric", "difference", "95% interval", "effect", "w/t/l", "p", "corrected"]]
        for c in self.contrasts:
            rows.append(
                [
                    f"{c.run} - {c.other}",
                    c.metric,
                    f"{c.difference:+.{digits}f}",
                    f"[{c.low:+.{digits}f}, {c.high:+.{digits}f}]",
                    f"{c.effect_size:+.2f}",
                    f"{c.wins}/{c.ties}/{c.losses}",
                    f"{c.p_value:.2g}",
                    f"{c.corrected:.2g}",
                ]
            )
        return render(rows, format, caption=self.caption)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain Python values; an infinite effect size is None."""
        contrasts: list[dict[str, Any]] = [asdict(c) for c in self.contrasts]
        for c in contrasts:
            c["effect_size"] = c["effect_size"] if np.isfinite(c["effect_size"]) else None
        return {
            "baseline": self.baseline,
            "test": self.test,
            "correction": self.correction,
            "level": self.level,
            "runs": {name: report.to_dict() for name, report in self.reports.items()},
            "contrasts": contrasts,
        }

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)

    def __str__(self) -> str:
        return self.to_table()

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.reports)}; {', '.join(self.metrics)}; {self.caption})"


def _letters(number: int) -> list[str]:
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return [alphabet[i] if number <= 26 else f"[{i + 1}]" for i in range(number)]


def compare(
    qrels: Qrels | Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, Any] | Sequence[Any],
    metrics: str | Sequence[str],
    *,
    baseline: str | int | None = None,
    test: str = "t",
    correction: str | None = "holm",
    level: float | int = 0.05,
    samples: int = 10_000,
    seed: int = 0,
    **options: Any,
) -> Comparison:
    """Evaluate several runs and test which differences are more than chance.

    Args:
      qrels: the judgments, or a mapping ``{query id: {document id: grade}}``.
      runs: name -> run, or a list of runs with names of their own (otherwise "run 1", "run 2", ...).
      metrics: see ``evaluate``.
      baseline: the run, by name or place, that all others are compared with; None compares every pair.
      test: "t" (paired t), "randomization" (sign flips), "wilcoxon" or "sign"; all two-sided, over queries.
      correction: for the number of pairs under each metric: "holm", "bh" (Benjamini-Hochberg), "bonferroni" or None.
      level: corrected p-values below this are marked in tables.
      samples: of the randomisation test and of the bootstrap intervals.
      seed: of their random numbers.
      **options: see ``evaluate``. With ``queries="intersection"``, queries that any of the runs lacks are left out.

    Returns:
      The comparison: ``comparison["bm25"]["map"]``, ``comparison.contrasts``, ``print(comparison)``.

    Raises:
      EvalError: fewer than two runs, an unknown name, or what ``evaluate`` raises.

    Cost: that of ``evaluate`` per run, and O(samples queries) per pair and metric.

    >>> qrels = {f"q{i}": {"d1": 1} for i in range(8)}
    >>> good = {f"q{i}": {"d1": 2.0, "d2": 1.0} for i in range(8)}
    >>> poor = {f"q{i}": {"d1": 1.0 + i % 4, "d2": 2.5} for i in range(8)}
    >>> runs = {"poor": poor, "good": good}
    >>> print(compare(qrels, runs, ["mrr", "precision@1"], baseline="poor", test="randomization"))
    run      mrr  precision@1
    -------------------------
    poor  0.7500       0.5000
    good  1.0000       1.0000
    + better, - worse than poor: randomization test, holm correction, p < 0.05, 8 queries
    """
    if not isinstance(qrels, (GroupedQrels, Preferences)):
        qrels = as_qrels(qrels)
    named = _named(runs)
    if test not in stats.TESTS:
        raise EvalError(f"unknown test {test!r}", reason="invalid_parameter", hint=f"known: {', '.join(stats.TESTS)}")
    if correction is not None and correction not in stats.CORRECTIONS:
        raise EvalError(
            f"unknown correction {correction!r}",
            reason="invalid_parameter",
            hint=f"known: {', '.join(stats.CORRECTIONS)} or None",
        )
    if not 0 < level < 1:
        raise EvalError(f"level is {level}, expected a number between 0 and 1", reason="invalid_parameter")
    names = list(named)
    base = _baseline(baseline, names)
    if options.get("queries") == "intersection":
        common = [q for q in qrels if all(q in run for run in named.values())]
        if not common:
            raise EvalError("no query is in the qrels and in all runs", reason="empty_input")
        shared: dict[str, Any] = {q: qrels[q] for q in common}
        qrels = type(qrels)(shared)
    reports = {name: evaluate(qrels, run, metrics, **options) for name, run in named.items()}
    if base is None:
        pairs = [(b, a) for i, a in enumerate(names) for b in names[i + 1 :]]
    else:
        pairs = [(name, base) for name in names if name != base]
    sampled = {"samples": samples, "seed": seed} if test == "randomization" else {}
    contrasts: list[Contrast] = []
    for metric in reports[names[0]]:
        found = []
        for run, other in pairs:
            a, b = reports[run].values_by_metric[metric], reports[other].values_by_metric[metric]
            low, high = stats.bootstrap_interval(a - b, samples=samples, seed=seed)
            # Values that differ by the rounding of sums alone are ties.
            close = np.isclose(a, b, rtol=1e-12, atol=1e-15)
            a = np.where(close, b, a)
            found.append(
                Contrast(
                    metric=metric,
                    run=run,
                    other=other,
                    difference=reports[run][metric] - reports[other][metric],
                    low=low,
                    high=high,
                    effect_size=stats.effect_size(a, b),
                    wins=int(np.sum(a > b)),
                    ties=int(np.sum(close)),
                    losses=int(np.sum(a < b)),
                    p_value=(p := stats.TESTS[test](a, b, **sampled).p_value),
                    corrected=p,
                )
            )
        if correction:
            corrected = stats.CORRECTIONS[correction](np.array([c.p_value for c in found]))
            found = [replace(c, corrected=p) for c, p in zip(found, corrected.tolist(), strict=True)]
        contrasts += found
    return Comparison(reports, contrasts, baseline=base, test=test, correction=correction, level=level)


def _named(runs: Any) -> dict[str, Run]:
    if isinstance(runs, (Run, str)) or not isinstance(runs, (Mapping, Sequence)):
        raise TypeError(f"runs must be a mapping of names to runs or a list of runs, got {type(runs).__name__}")
    if isinstance(runs, Mapping):
        named = {name: as_run(run) for name, run in runs.items()}
    else:
        listed = [as_run(run) for run in runs]
        names = [run.name or f"run {i}" for i, run in enumerate(listed, 1)]
        if len(set(names)) < len(names):
            names = [f"{name} {i}" for i, name in enumerate(names, 1)]
        named = dict(zip(names, listed, strict=True))
    if len(named) < 2:
        raise EvalError(
            f"{len(named)} run, expected at least two", reason="empty_input", hint="a single run is for evaluate"
        )
    return named


def _baseline(baseline: str | int | None, names: list[str]) -> str | None:
    if isinstance(baseline, int) and not isinstance(baseline, bool) and -len(names) <= baseline < len(names):
        return names[baseline]
    if baseline is None or baseline in names:
        return baseline
    raise EvalError(f"there is no run {baseline!r}", reason="invalid_parameter", hint=f"runs: {', '.join(names)}")
