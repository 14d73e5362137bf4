"""The table of fusion methods, their other names, and what systems mean by them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jrank.errors import FusionError, did_you_mean
from jrank.fusion import _ranks, _scores, _trained
from jrank.fusion._plackett_luce import plackett_luce

__all__ = ["METHODS", "PRESETS", "Method", "list_methods", "resolve_method"]


@dataclass(frozen=True)
class Method:
    """A line of the table.

    Attributes:
      fn: the function on arrays.
      takes: "ranks" or "scores".
      params: the names of its options.
      square: whether it makes arrays of documents times documents.
      additive: whether the score is a sum of what each run adds, where there are weights.
      needs: options without a default, which training gives.
      defaults: options that differ from those of ``fn``.
      name: the key in the table.
      term: where the method is a plain sum over ranks, what one adds at a rank; runs are then fused entry by entry.
      power: where it is the sum of normalised scores times a power of the number of runs, that power, or the option
        that holds it; runs are then fused entry by entry too.
    """

    fn: Callable[..., Any]
    takes: str
    params: tuple[str, ...]
    square: bool = False
    additive: bool = True
    needs: tuple[str, ...] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    term: Callable[..., Any] | None = None
    power: float | str | None = None

    def uses_ranks(self, params: dict[str, Any]) -> bool:
        """Return whether ranks matter, under these options."""
        return self.takes == "ranks" or self.name == "segfuse" or str(params.get("norm")).lower() in ("rank", "borda")

    def __call__(self, ranks: np.ndarray | None, scores: np.ndarray | None, **params: Any) -> Any:
        """Fuse, ``[..., runs, docs]`` to ``[..., docs]``."""
        if self.takes == "ranks":
            return self.fn(ranks, **{**self.defaults, **params})
        if ranks is not None and ("norm" in self.params or self.name == "segfuse"):
            params["ranks"] = ranks
        return self.fn(scores, **{**self.defaults, **params})


_SUM = ("weights", "norm", "missing")


def _named(table: dict[str, Method]) -> dict[str, Method]:
    return {name: replace(method, name=name) for name, method in table.items()}


# Name -> method. A new one is one function and one line.
METHODS: dict[str, Method] = _named(
    {
        "rrf": Method(_ranks.rrf, "ranks", ("weights", "k", "rank_base", "weights_in_rank"), term=_ranks.rrf_term),
        "isr": Method(_ranks.isr, "ranks", ("weights", "k", "power", "rank_base", "count")),
        "log_isr": Method(_ranks.log_isr, "ranks", ("weights",)),
        "logn_isr": Method(_ranks.logn_isr, "ranks", ("weights", "sigma")),
        "rbc": Method(_ranks.rbc, "ranks", ("weights", "phi"), term=_ranks.rbc_term),
        "borda": Method(_ranks.borda, "ranks", ("weights", "points")),
        "condorcet": Method(_ranks.condorcet, "ranks", ("weights",), square=True, additive=False),
        "plackett_luce": Method(plackett_luce, "ranks", ("weights", "prior", "steps"), additive=False),
        "comb_sum": Method(_scores.comb_sum, "scores", (*_SUM, "bias"), power=0.0),
        "comb_mnz": Method(_scores.comb_mnz, "scores", _SUM, power=1.0),
        "comb_gmnz": Method(_scores.comb_gmnz, "scores", (*_SUM, "gamma"), power="gamma"),
        "comb_anz": Method(_scores.comb_anz, "scores", ("norm",), power=-1.0),
        "comb_max": Method(_scores.comb_max, "scores", ("norm",)),
        "comb_min": Method(_scores.comb_min, "scores", ("norm",)),
        "comb_med": Method(_scores.comb_med, "scores", ("norm",)),
        "wmnz": Method(_scores.wmnz, "scores", _SUM),
        "mixed": Method(_scores.mixed, "scores", _SUM, power=0.5),
        "dbsf": Method(_scores.dbsf, "scores", ("weights",), power=0.0),
        "standardized": Method(_scores.standardized, "scores", ("weights", "clip")),
        "mapfuse": Method(_trained.mapfuse, "ranks", ("map_scores",), needs=("map_scores",)),
        "posfuse": Method(_trained.posfuse, "ranks", ("probs",), needs=("probs",)),
        "slidefuse": Method(_trained.slidefuse, "ranks", ("probs", "w"), needs=("probs",)),
        "probfuse": Method(_trained.probfuse, "ranks", ("probs",), needs=("probs",)),
        "segfuse": Method(_trained.segfuse, "scores", ("probs",), needs=("probs",)),
        "bayesfuse": Method(_trained.bayesfuse, "ranks", ("log_odds", "missing"), needs=("log_odds",)),
    }
)

# What other programs call them.
ALIASES: dict[str, str] = {
    "combsum": "comb_sum",
    "sum": "comb_sum",
    "wsum": "comb_sum",
    "weighted": "comb_sum",
    "weighted_sum": "comb_sum",
    "relative_score": "comb_sum",
    "linear": "comb_sum",
    "combmnz": "comb_mnz",
    "mnz": "comb_mnz",
    "gmnz": "comb_gmnz",
    "combanz": "comb_anz",
    "anz": "comb_anz",
    "mean": "comb_anz",
    "combmax": "comb_max",
    "max": "comb_max",
    "combmin": "comb_min",
    "min": "comb_min",
    "combmed": "comb_med",
    "med": "comb_med",
    "median": "comb_med",
    "bordafuse": "borda",
    "w_bordafuse": "borda",
    "w_condorcet": "condorcet",
    "copeland": "condorcet",
}

# Method -> system -> options. One name means different functions in different systems.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "rrf": {
        "ranx": {"k": 60},
        "anserini": {"k": 60},
        "elasticsearch": {"k": 60},
        "opensearch": {"k": 60},
        "qdrant": {"k": 2, "rank_base": 0, "weights_in_rank": True},
        "weaviate": {"k": 60, "rank_base": 0},
        "rankops": {"k": 60, "rank_base": 0},
    },
    "isr": {
        "ranx": {},
        "rankops": {"k": 1, "power": 0.5, "rank_base": 0, "count": False},
    },
    "borda": {"ranx": {"points": "union"}, "rankops": {"points": "list"}},
    "comb_sum": {
        "ranx": {"norm": "min_max"},
        "weaviate": {"norm": "min_max_one"},
        "opensearch": {"norm": "min_max_floor"},
        "elasticsearch": {"norm": "min_max_raw"},
    },
    "dbsf": {"qdrant": {}},
    "standardized": {"rankops": {}},
}


def list_methods() -> list[str]:
    """Return the names of all fusion methods.

    >>> "rrf" in list_methods()
    True
    """
    return sorted(METHODS)


def resolve_method(
    method: str, params: dict[str, Any], preset: str | None = None, *, complete: bool = True
) -> tuple[Method, dict[str, Any]]:
    """Return the method of a name, and its options with those of a preset.

    Args:
      method: a name, in any of its spellings.
      params: the options that were given; they win over the preset.
      preset: the name of a system, or None.
      complete: whether what the method needs must be there.

    Raises:
      FusionError: the method, an option or the preset is unknown, or what the method learns is missing.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be a name, got {type(method).__name__}")
    name = method.lower().replace("-", "_")
    name = ALIASES.get(name, name)
    if name not in METHODS:
        guess = did_you_mean(name, [*METHODS, *ALIASES])
        raise FusionError(
            f"unknown method {method!r}", reason="unknown_method", hint=f"{guess}known: {', '.join(list_methods())}"
        )
    found = METHODS[name]
    if preset is not None:
        known = PRESETS.get(name, {})
        if preset not in known:
            raise FusionError(
                f"method {name!r} has no preset {preset!r}",
                reason="invalid_config",
                hint=f"known: {', '.join(known) or 'none'}",
            )
        params = {**known[preset], **params}
    missing = [param for param in found.needs if param not in params]
    if missing and complete:
        raise FusionError(
            f"method {name!r} needs {missing[0]}, which it learns from judged queries",
            reason="invalid_config",
            hint=f"use fit(runs, qrels, method={name!r}).fuse(runs), or pass {missing[0]}=",
        )
    for param in params:
        if param not in found.params:
            raise FusionError(
                f"method {name!r} has no option {param!r}",
                reason="invalid_config",
                hint=f"it takes: {', '.join(found.params) or 'none'}",
            )
    return found, params
