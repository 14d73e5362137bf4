"""Fuse the results of several systems, by rank or by score.

Runs and dictionaries are fused on the host, by NumPy:

>>> from jrank import fusion
>>> bm25 = {"q1": {"d1": 12.0, "d2": 7.0, "d3": 1.0}}
>>> dense = {"q1": {"d2": 0.9, "d4": 0.8}}
>>> fused = fusion.fuse([bm25, dense], method="comb_sum", weights=[0.3, 0.7])
>>> list(fused["q1"])
['d2', 'd1', 'd4', 'd3']

One name means different functions in different systems; a preset takes the one that is meant:

>>> fusion.fuse([bm25, dense], method="rrf", preset="qdrant")["q1"]["d2"]
0.8333333333333333

With judged queries the weights can be learned:

>>> fitted = fusion.fit([bm25, dense], {"q1": {"d2": 1}}, metric="mrr")
>>> fitted.score, fitted.fuse([bm25, dense]).name
(1.0, 'comb_sum')

and ``explain`` tells where a score comes from:

>>> print(fusion.explain({"bm25": bm25, "dense": dense}, "q1")[0])
1. d2 0.03252 (bm25: rank 2, score 7 -> 0.01613; dense: rank 1, score 0.9 -> 0.01639)

The same functions take arrays, ``[..., runs, docs]`` to ``[..., docs]``. NumPy arrays are computed by NumPy; arrays of
JAX by JAX, under ``jit``, ``vmap`` and ``grad``:

>>> import jax, jax.numpy as jnp
>>> scores = jnp.array([[3.0, 1.0, 2.0], [0.0, 5.0, -jnp.inf]])
>>> jax.jacobian(lambda w: fusion.comb_sum(scores, weights=w))(jnp.array([0.5, 0.5])).tolist()
[[1.0, 0.0], [0.0, 1.0], [0.5, 0.0]]
"""

from jrank.fusion._diversify import dpp, mmr, tune_lambda
from jrank.fusion._explain import Agreement, Explanation, Source, attribute, consensus, explain
from jrank.fusion._fit import Fitted, fit
from jrank.fusion._fuse import fuse
from jrank.fusion._grades import grade
from jrank.fusion._methods import PRESETS, list_methods
from jrank.fusion._normalize import normalize
from jrank.fusion._order import order
from jrank.fusion._plackett_luce import plackett_luce
from jrank.fusion._ranks import borda, condorcet, isr, log_isr, logn_isr, rbc, rrf
from jrank.fusion._scores import (
    comb_anz,
    comb_gmnz,
    comb_max,
    comb_med,
    comb_min,
    comb_mnz,
    comb_sum,
    dbsf,
    mixed,
    standardized,
    wmnz,
)
from jrank.fusion._stages import blend, refine
from jrank.fusion._trained import bayesfuse, mapfuse, posfuse, probfuse, segfuse, slidefuse
from jrank.fusion._validate import Finding, validate

__all__ = [
    "PRESETS",
    "Agreement",
    "Explanation",
    "Finding",
    "Fitted",
    "Source",
    "attribute",
    "bayesfuse",
    "blend",
    "borda",
    "comb_anz",
    "comb_gmnz",
    "comb_max",
    "comb_med",
    "comb_min",
    "comb_mnz",
    "comb_sum",
    "condorcet",
    "consensus",
    "dbsf",
    "dpp",
    "explain",
    "fit",
    "fuse",
    "grade",
    "isr",
    "list_methods",
    "log_isr",
    "logn_isr",
    "mapfuse",
    "mixed",
    "mmr",
    "normalize",
    "order",
    "plackett_luce",
    "posfuse",
    "probfuse",
    "rbc",
    "refine",
    "rrf",
    "segfuse",
    "slidefuse",
    "standardized",
    "tune_lambda",
    "validate",
    "wmnz",
]
