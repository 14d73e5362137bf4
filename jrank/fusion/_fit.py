"""Learn how to fuse from queries with judgments."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from jrank.errors import FusionError
from jrank.evaluation import evaluate
from jrank.evaluation._judged import Judged
from jrank.fusion._align import Aligned, align
from jrank.fusion._fuse import as_runs, fuse
from jrank.fusion._methods import Method, resolve_method
from jrank.fusion._normalize import normalize
from jrank.fusion._search import Problem, simplex
from jrank.fusion._space import check_option
from jrank.fusion._trained import TRAINERS
from jrank.runs import Qrels, Run

__all__ = ["Fitted", "fit"]


@dataclass(frozen=True)
class Fitted:
    """A fusion method with what it learned.

    Attributes:
      method: the method.
      params: its options, those learned and those given.
      metric: what was made large.
      score: its value on the training queries; too good to be true, as always on training data.
      held_out: its value on queries that were not trained on, by cross-validation; None without folds.
      candidates: parameters and training scores of all candidates of a grid.
    """

    method: str
    params: dict[str, Any]
    metric: str
    score: float
    held_out: float | None = None
    candidates: list[tuple[dict[str, Any], float]] = field(default_factory=list, repr=False)

    def fuse(self, runs: Sequence[Any] | Mapping[str, Any], **options: Any) -> Run:
        """Fuse runs, in the order of those that were trained on.

        Args:
          runs: see ``fusion.fuse``.
          **options: ``queries``, ``depth`` and ``name`` of ``fusion.fuse``.
        """
        return fuse(runs, method=self.method, **self.params, **options)

    def to_json(self) -> str:
        """Return method, parameters and scores as JSON."""
        values = {
            name: np.asarray(value).tolist() if hasattr(value, "shape") else value
            for name, value in self.params.items()
        }
        return json.dumps(
            {
                "method": self.method,
                "params": values,
                "metric": self.metric,
                "score": self.score,
                "held_out": self.held_out,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Fitted":
        """Return what ``to_json`` wrote.

        Args:
          text: the JSON.

        Raises:
          FusionError: the text holds something else.
        """
        try:
            data = json.loads(text)
            fitted = cls(data["method"], data["params"], data["metric"], data["score"], data["held_out"])
        except (json.JSONDecodeError, KeyError, TypeError):
            raise FusionError("this is no JSON of a fitted fusion", reason="invalid_config") from None
        resolve_method(fitted.method, dict(fitted.params))
        return fitted


# Method -> parameter -> candidates. Weights are searched on the simplex.
GRIDS: dict[str, tuple[str, list[Any]]] = {
    "rrf": ("k", [1, 2, 5, 10, 20, 30, 40, 60, 80, 100, 150, 200]),
    "isr": ("k", [0, 1, 2, 5, 10]),
    "logn_isr": ("sigma", [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    "rbc": ("phi", [i / 100 for i in range(1, 100)]),
    "comb_gmnz": ("gamma", [i / 20 for i in range(41)]),
    "comb_sum": ("weights", []),
    "wmnz": ("weights", []),
    "mixed": ("weights", []),
    "comb_mnz": ("weights", []),
    "borda": ("weights", []),
    "condorcet": ("weights", []),
    "plackett_luce": ("weights", []),
    "dbsf": ("weights", []),
}

# What follows a gradient, and where it starts. The logarithm keeps k positive.
SLOPES: dict[str, dict[str, float]] = {
    "comb_sum": {"weights": 1.0, "bias": 0.0},
    "rrf": {"weights": 1.0, "k": 60.0},
    "rbc": {"weights": 1.0, "phi": 0.8},
    "logn_isr": {"weights": 1.0, "sigma": 0.1},
    "comb_gmnz": {"weights": 1.0, "gamma": 1.0},
}


def fit(
    runs: Sequence[Any] | Mapping[str, Any],
    qrels: Any,
    *,
    method: str = "comb_sum",
    metric: str = "ndcg@10",
    search: str | None = None,
    grid: Sequence[Any] | None = None,
    folds: int = 0,
    seed: int = 0,
    steps: int = 300,
    learning_rate: float = 0.05,
    depth: int | None = None,
    **params: Any,
) -> Fitted:
    """Learn the parameters of a fusion method from queries with judgments.

    Args:
      runs: the runs, as for ``fusion.fuse``; the fitted fusion takes them in the same order.
      qrels: the judgments; only queries in them are trained on.
      method: a method with parameters. "posfuse", "slidefuse", "probfuse", "segfuse", "bayesfuse" and "mapfuse" count
        relevant documents; the others search.
      metric: what is to be large, in the names of ``evaluate``.
      search: "grid" tries candidates: weights in steps of a tenth, or a list for other parameters. "gradient" (JAX)
        minimises the softmax loss of the relevant documents over weights and, where the method has them, k, phi, sigma,
        gamma, or what a run's holding the document is worth ("bias"). The grid by default.
      grid: candidates for the parameter that the grid runs over.
      folds: number of folds, by query, for an honest value in ``held_out``; 0 for none.
      seed: of the folds.
      steps: steps of the gradient method (Adam).
      learning_rate: of the gradient method.
      depth: how many documents of each run count, or None for all.
      **params: fixed options of the method.

    Returns:
      The fitted fusion: ``fitted.fuse(runs)``, ``fitted.params``, ``fitted.score``, ``fitted.held_out``.

    Raises:
      FusionError: the method has nothing to learn, no query is judged, or an option is wrong.

    Cost: a grid takes candidates × documents, on all cores.

    >>> runs = [{"q": {"a": 1.0, "b": 0.0}}, {"q": {"b": 1.0, "a": 0.0}}]
    >>> fitted = fit(runs, {"q": {"b": 1}}, metric="mrr")
    >>> fitted.score, list(fitted.fuse(runs)["q"])
    (1.0, ['b', 'a'])
    """
    listed = as_runs(runs)
    qrels = qrels if isinstance(qrels, Qrels) else Qrels(qrels)
    learn = _learner(method, search)
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 0 or folds == 1:
        raise FusionError(f"folds is {folds!r}, expected 0 or an integer of at least 2", reason="invalid_config")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise FusionError(f"steps is {steps!r}, expected an integer of at least 1", reason="invalid_config")
    check_option("learning_rate", learning_rate, least=0, within=True)
    judged = [query for query in qrels if any(query in run for run in listed)]
    if not judged:
        raise FusionError(
            "the runs and the qrels have no query in common", reason="empty_input", hint="check how the ids are written"
        )
    if folds > len(judged):
        raise FusionError(f"{folds} folds for {len(judged)} queries", reason="invalid_config", hint="use fewer folds")

    def train(queries: list[str]) -> tuple[dict[str, Any], list[tuple[dict[str, Any], float]]]:
        part, some = _restrict(qrels, queries), [_restrict(run, queries) for run in listed]
        settings = {"metric": metric, "grid": grid, "steps": steps, "learning_rate": learning_rate}
        return learn(align(some, depth=depth, by_id=True), some, part, dict(params), **settings)

    def score(learned: dict[str, Any], queries: list[str]) -> np.ndarray:
        fused = fuse([_restrict(run, queries) for run in listed], method=method, **learned, depth=depth)
        report = evaluate(_restrict(qrels, queries), fused, metric)
        return report.values_by_metric[metric]

    held_out = None
    if folds:
        order = np.random.default_rng(seed).permutation(len(judged))
        values = np.zeros(len(judged))
        for fold in range(folds):
            test = order[fold::folds]
            rest = np.setdiff1d(order, test)
            learned, _ = train([judged[i] for i in rest.tolist()])
            values[test] = score(learned, [judged[i] for i in test.tolist()])
        held_out = float(values.mean())
    learned, candidates = train(judged)
    return Fitted(method, learned, metric, float(score(learned, judged).mean()), held_out, candidates)


T = TypeVar("T", Run, Qrels)


def _restrict(table: T, queries: list[str]) -> T:
    """Return the part of a table that belongs to some queries."""
    wanted = set(queries)
    if all(query in wanted for query in table):
        return table
    return type(table)({query: table[query] for query in table if query in wanted})


Learner = Callable[..., tuple[dict[str, Any], list[tuple[dict[str, Any], float]]]]


def _learner(method: str, search: str | None) -> Learner:
    found, _ = resolve_method(method, {}, complete=False)
    name = found.name
    if name in TRAINERS or name == "mapfuse":
        if search not in (None, "count"):
            raise FusionError(f"method {name!r} counts; search {search!r} does not apply", reason="invalid_config")
        return lambda *a, **k: _count(name, *a, **k)
    if search not in (None, "grid", "gradient"):
        raise FusionError(f"search is {search!r}", reason="invalid_config", hint='use "grid" or "gradient"')
    known = SLOPES if search == "gradient" else GRIDS
    if name not in known:
        raise FusionError(
            f"method {name!r} has nothing to learn by {search or 'grid'}",
            reason="invalid_config",
            hint=f"choose one of: {', '.join(sorted({*known, *TRAINERS, 'mapfuse'}))}",
        )
    learner = _gradient if search == "gradient" else _grid
    return lambda *a, **k: learner(found, *a, **k)


def _count(
    name: str, aligned: Aligned, runs: list[Run], qrels: Qrels, params: dict[str, Any], **_: Any
) -> tuple[dict[str, Any], list]:
    if name == "mapfuse":
        scores = [evaluate(qrels, run, "map")["map"] if any(q in run for q in qrels) else 0.0 for run in runs]
        return {**params, "map_scores": scores}, []
    parameter, trainer = TRAINERS[name]
    segments = {"segments": params.pop("segments")} if "segments" in params else {}
    tables = []
    for run in runs:
        data = run.ranked
        rows = {query: row for row, query in enumerate(data.queries)}
        some = [query for query in qrels if query in rows and data.lengths[rows[query]]]
        longest = max((int(data.lengths[rows[query]]) for query in some), default=1)
        hits = np.full((max(len(some), 1), longest), np.nan)
        place = {query: i for i, query in enumerate(some)}
        for query, i in place.items():
            hits[i, : data.lengths[rows[query]]] = 0
        names = list(qrels)
        judged = Judged.join(
            qrels, run, np.arange(len(names)), np.array([rows.get(query, -1) for query in names], np.int64)
        )
        query, rank = judged.relevant(1)
        hits[[place[names[q]] for q in query.tolist()], rank - 1] = 1
        tables.append(trainer(hits, **segments))
    return {**params, parameter: tables}, []


def _grid(
    found: Method,
    aligned: Aligned,
    runs: list[Run],
    qrels: Qrels,
    params: dict[str, Any],
    *,
    metric: str,
    grid: Sequence[Any] | None,
    **_: Any,
) -> tuple[dict[str, Any], list[tuple[dict[str, Any], float]]]:
    parameter, values = GRIDS[found.name]
    if parameter in params:
        raise FusionError(f"{parameter} is what the grid looks for, but it was given", reason="invalid_config")
    values = list(grid) if grid is not None else values or list(simplex(len(runs)))
    if not values:
        raise FusionError("the grid is empty", reason="empty_input", hint="pass candidates, or None for the usual ones")
    problem = Problem(aligned, qrels, metric, ranks=found.uses_ranks(params), scores=found.takes == "scores")
    prepared = [_prepare(found, part.side, params) for part in problem.parts]
    flat = [np.ascontiguousarray(np.moveaxis(p[1], 1, 0)) for p in prepared if p[1] is not None]
    fixed = {key: value for key, value in params.items() if key != "norm"}
    if "norm" in found.params:
        fixed["norm"] = None

    def candidate(value: Any) -> Callable[[int], Any]:
        if found.name == "comb_sum" and not fixed.get("missing") and "bias" not in fixed:
            return lambda i: _weighted_sum(prepared[i][2], flat[i], value)
        return lambda i: found(prepared[i][0], prepared[i][3], **{**fixed, parameter: value})

    table = problem.table(candidate(value) for value in values)
    means = table.mean(axis=1)
    best = int(np.argmax(means))
    plain = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    candidates = [({parameter: value}, mean) for value, mean in zip(plain, means.tolist(), strict=True)]
    return {**params, parameter: plain[best]}, candidates


def _weighted_sum(start: np.ndarray, scores: np.ndarray, weights: Any) -> np.ndarray:
    """Return ``start`` plus the weighted scores, ``[queries, docs]``, of ``[runs, queries, docs]``.

    A matrix product would do the same, but threads of the BLAS within threads of the search stand in each other's way.
    """
    total, share = start.copy(), np.empty_like(start)
    for weight, part in zip(weights, scores, strict=True):
        if weight:
            total += np.multiply(part, weight, out=share)
    return total


def _prepare(found: Method, side: Any, params: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Return ranks, normalised scores with 0 and with -inf where missing, and -inf where there is no document."""
    scores = side.scores
    if scores is None:
        return side.ranks, None, None, None
    if "norm" in found.params:
        scores = normalize(scores, norm=params.get("norm", "min_max"))
    present = np.isfinite(scores)
    return side.ranks, np.where(present, scores, 0), np.where(present.any(axis=1), 0, -np.inf), scores


def _gradient(
    found: Method,
    aligned: Aligned,
    runs: list[Run],
    qrels: Qrels,
    params: dict[str, Any],
    *,
    metric: str,
    steps: int,
    learning_rate: float,
    **_: Any,
) -> tuple[dict[str, Any], list]:
    import jax
    import jax.numpy as jnp
    import optax

    problem = Problem(aligned, qrels, metric, ranks=found.uses_ranks(params), scores=found.takes == "scores")
    fixed = {key: value for key, value in params.items() if key != "norm"}
    if "norm" in found.params:
        fixed["norm"] = None
    batches = []
    for part in problem.parts:
        ranks, _, _, scores = _prepare(found, part.side, params)
        data = scores if found.takes == "scores" else ranks
        gain = np.zeros_like(part.grade)
        gain[part.rows] = np.maximum(np.nan_to_num(part.grade[part.rows]), 0)
        kept = gain.sum(axis=1) > 0
        if kept.any():
            total = gain[kept].sum(axis=1, keepdims=True)
            batches.append((jnp.asarray(data[kept], jnp.float32), jnp.asarray(gain[kept] / total, jnp.float32)))
    if not batches:
        raise FusionError("no relevant document is in any run: nothing to learn from", reason="empty_input")
    start = {"log_scale": jnp.zeros(())}
    for name, value in SLOPES[found.name].items():
        if name in params:
            continue
        start[name] = jnp.full(len(runs), value) if name in ("weights", "bias") else jnp.asarray(_unbound(name, value))
    if found.takes == "ranks":
        start["log_scale"] = jnp.asarray(math.log(30.0))  # reciprocal ranks differ by little

    def options(state: dict[str, Any]) -> dict[str, Any]:
        return {name: _bound(name, value, jnp) for name, value in state.items() if name != "log_scale"}

    def loss(state: dict[str, Any]) -> Any:
        total = 0.0
        for data, target in batches:
            fused = found.fn(data, **{**fixed, **options(state)})
            held = jnp.isfinite(fused)
            logits = jnp.where(held, jnp.where(held, fused, 0) * jnp.exp(state["log_scale"]), -1e30)
            total = total - jnp.sum(target * jax.nn.log_softmax(logits, axis=-1))
        return total / sum(len(data) for data, _ in batches)

    optimizer = optax.adam(learning_rate)

    @jax.jit
    def run(state: dict[str, Any]) -> dict[str, Any]:
        def step(carry: Any, _: None) -> Any:
            state, memory = carry
            updates, memory = optimizer.update(jax.grad(loss)(state), memory)
            return (optax.apply_updates(state, updates), memory), None

        (state, _), _ = jax.lax.scan(step, (state, optimizer.init(state)), None, length=steps)
        return state

    learned = {name: np.asarray(value, np.float64).tolist() for name, value in options(run(start)).items()}
    return {**params, **learned}, []


def _unbound(name: str, value: float) -> float:
    if name == "k":
        return math.log(value)
    return math.log(value / (1 - value)) if name in ("phi", "sigma") else value


def _bound(name: str, value: Any, jnp: Any) -> Any:
    if name == "k":
        return jnp.exp(value)
    return 1 / (1 + jnp.exp(-value)) if name in ("phi", "sigma") else value
