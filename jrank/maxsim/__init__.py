"""Late interaction: queries and documents are sets of token embeddings, compared by the sum of best matches (MaxSim).

>>> import jax, jax.numpy as jnp
>>> from jrank import maxsim
>>> query = jnp.array([[1.0, 0.0], [0.0, 1.0]])
>>> docs = [jnp.array([[0.8, 0.6], [0.0, 1.0]]), jnp.array([[0.6, 0.8]]), jnp.array([[-1.0, 0.0], [0.6, 0.8]])]

Documents of different lengths are packed side by side and scored together:

>>> packed = maxsim.pack(docs)
>>> [round(score, 2) for score in maxsim.score_packed(query, packed).tolist()]
[1.8, 1.4, 1.4]

An alignment says why:

>>> found = maxsim.align(query, docs[0])
>>> found.tokens.tolist(), [round(score, 2) for score in found.scores.tolist()]
([0, 1], [0.8, 1.0])

For training, ``score_matrix`` scores all queries of a batch against all documents; its gradient costs little more than
the product itself and keeps only the indices of the best matches:

>>> queries, padded = jnp.ones((2, 3, 4)), jnp.ones((5, 6, 4))
>>> jax.grad(lambda q: maxsim.score_matrix(q, padded).sum())(queries).shape
(2, 3, 4)
"""

from jrank.maxsim._align import Alignment, align, highlight
from jrank.maxsim._concat import concat
from jrank.maxsim._explain import (
    AlignmentStats,
    alignment_stats,
    filter_alignment,
    patch_boxes,
    snippet,
    top_alignments,
)
from jrank.maxsim._fde import FixedEncoder, fde
from jrank.maxsim._pack import PackedDocs, pack
from jrank.maxsim._packed import score_packed
from jrank.maxsim._pool import pool
from jrank.maxsim._quantize import QuantizedDocs, quantize
from jrank.maxsim._refine import refine, truncate
from jrank.maxsim._residual import ResidualCode, residual_code
from jrank.maxsim._score import score, score_matrix, score_pairs
from jrank.maxsim._weights import bm25_weights, idf_weights

__all__ = [
    "Alignment",
    "AlignmentStats",
    "FixedEncoder",
    "PackedDocs",
    "QuantizedDocs",
    "ResidualCode",
    "align",
    "alignment_stats",
    "bm25_weights",
    "concat",
    "fde",
    "filter_alignment",
    "highlight",
    "idf_weights",
    "pack",
    "patch_boxes",
    "pool",
    "quantize",
    "refine",
    "residual_code",
    "score",
    "score_matrix",
    "score_packed",
    "score_pairs",
    "snippet",
    "top_alignments",
    "truncate",
]
