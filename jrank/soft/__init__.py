"""Differentiable sorting and ranking, by exact projections and by smooth relaxations.

Ranks are 1-based, and the smallest score has rank 1 unless ``descending`` says otherwise. A temperature in the units of
the scores says how far apart two scores must be to be told apart: none gives the hard rank, which has no gradient.

>>> import jax, jax.numpy as jnp
>>> from jrank import soft
>>> scores = jnp.array([0.5, 2.0, 0.0])
>>> soft.rank(scores, temperature=0.25), soft.rank(scores, temperature=1.0)
(Array([2., 3., 1.], dtype=float32), Array([1.75, 3.  , 1.25], dtype=float32))

The gradient tells which way a rank moves with the scores; here the first rank, with the first score and against the
third, whose ranks the temperature lets overlap.

>>> jax.grad(lambda s: soft.rank(s, temperature=1.0)[0])(scores)
Array([ 0.5,  0. , -0.5], dtype=float32)

Padded lists carry a mask: ranks are those among the real items, and what stands elsewhere never matters.

>>> soft.rank(jnp.array([0.5, jnp.nan, 0.0]), temperature=0.25, where=jnp.array([True, False, True]))
Array([2., 4., 1.], dtype=float32)
"""

from jrank.soft._argmax import argmax, argmin, max, min
from jrank.soft._argsort import argsort, top_k
from jrank.soft._correlation import kendall, spearman
from jrank.soft._diagnosis import Diagnosis, diagnose, suggest_temperature
from jrank.soft._isotonic import isotonic
from jrank.soft._perturbed import Noise, perturbed
from jrank.soft._projection import projection_capped_simplex, projection_permutahedron
from jrank.soft._rank import rank
from jrank.soft._sampling import gumbel_softmax, gumbel_top_k
from jrank.soft._sort import sort
from jrank.soft._sort_with import sort_with
from jrank.soft._statistics import median, quantile
from jrank.soft._top_k_mask import top_k_mask

__all__ = [
    "Diagnosis",
    "Noise",
    "argmax",
    "argmin",
    "argsort",
    "diagnose",
    "gumbel_softmax",
    "gumbel_top_k",
    "isotonic",
    "kendall",
    "max",
    "median",
    "min",
    "perturbed",
    "projection_capped_simplex",
    "projection_permutahedron",
    "quantile",
    "rank",
    "sort",
    "sort_with",
    "spearman",
    "suggest_temperature",
    "top_k",
    "top_k_mask",
]
