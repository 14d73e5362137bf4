"""Functions that make losses of metrics.

>>> import jax.numpy as jnp
>>> from jrank.metrics import ndcg_metric
>>> approx_ndcg = approx_t12n(ndcg_metric, temperature=0.1)
>>> scores, labels = jnp.array([2.0, 1.0, 3.0, 0.5]), jnp.array([2.0, 0.0, 1.0, 0.0])
>>> print(f"{ndcg_metric(scores, labels):.4f} {approx_ndcg(scores, labels):.4f}")
0.7967 -0.7967
"""

from jrank.transforms._approx import approx_ndcg_loss, approx_t12n
from jrank.transforms._bound import bound_t12n
from jrank.transforms._gumbel import gumbel_t12n
from jrank.transforms._segment import segment_t12n
from jrank.transforms._steps import approx_cutoff, approx_ranks

__all__ = [
    "approx_cutoff",
    "approx_ndcg_loss",
    "approx_ranks",
    "approx_t12n",
    "bound_t12n",
    "gumbel_t12n",
    "segment_t12n",
]
