"""First-stage retrieval: indexes that find the best documents of a large collection.

Every index has one shape: build, add, delete, search, save, load. ``BM25Index`` searches texts by their words:

>>> from jrank.retrieval import BM25Index, DenseIndex
>>> texts = ["a red fox runs", "the dog sleeps", "foxes and dogs"]
>>> words = BM25Index.build(texts, ids=["fox", "dog", "both"])
>>> hits = words.search(["running foxes", "a sleeping dog"], k=2)
>>> hits.ids.tolist()
[['fox', 'both'], ['dog', 'both']]
>>> hits.to_run(["q1", "q2"])
Run(2 queries, 4 documents)

Documents come and go without a rebuild:

>>> words.delete(["fox"])
>>> words.add(["a fox"], ids=["new"])
>>> words.search(["fox"], k=3).ids.tolist()
[['new', 'both', None]]

``DenseIndex`` searches vectors by cosine or dot product, exactly:

>>> import numpy as np
>>> vectors = DenseIndex.build(np.eye(3), ids=["x", "y", "z"])
>>> vectors.search(np.array([[0.6, 0.8, 0.0]]), k=2).ids.tolist()
[['y', 'x']]

What they find is fused by ``jrank.fusion`` and reranked by ``jrank.maxsim`` or a model. jax is imported by the first
search that needs it, so lexical search starts at once.
"""

from jrank.retrieval._ann import ANNIndex
from jrank.retrieval._bm25 import BM25Index
from jrank.retrieval._dense import DenseIndex
from jrank.retrieval._expansion import expand_queries
from jrank.retrieval._filters import Field, Metadata, Predicate, field, post_filter
from jrank.retrieval._hybrid import HybridIndex, hybrid
from jrank.retrieval._likelihood import QueryLikelihoodIndex
from jrank.retrieval._load import load_index
from jrank.retrieval._multi_vector import MultiVectorIndex
from jrank.retrieval._routing import QueryRouter, query_features
from jrank.retrieval._sparse import SparseIndex, SparseVector
from jrank.retrieval._tfidf import TfidfIndex

__all__ = [
    "ANNIndex",
    "BM25Index",
    "DenseIndex",
    "Field",
    "HybridIndex",
    "Metadata",
    "MultiVectorIndex",
    "Predicate",
    "QueryLikelihoodIndex",
    "QueryRouter",
    "SparseIndex",
    "SparseVector",
    "TfidfIndex",
    "expand_queries",
    "field",
    "hybrid",
    "load_index",
    "post_filter",
    "query_features",
]
