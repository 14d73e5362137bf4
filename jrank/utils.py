"""Rax's ``rax.utils``: the functions that rank functions, cut-offs and lambda weights of one's own are built from.

>>> import jax.numpy as jnp
>>> ranks(jnp.array([2.0, 3.0, 1.0])).tolist()
[2, 1, 3]
"""

from jrank.losses import compute_pairs, normalize_probabilities, pairwise_loss, safe_reduce
from jrank.metrics import cutoff, ranks
from jrank.transforms import approx_cutoff, approx_ranks

__all__ = [
    "approx_cutoff",
    "approx_ranks",
    "compute_pairs",
    "cutoff",
    "normalize_probabilities",
    "pairwise_loss",
    "ranks",
    "safe_reduce",
]
