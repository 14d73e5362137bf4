"""Evaluate runs against relevance judgments, and compare them.

>>> from jrank.evaluation import compare, evaluate
>>> qrels = {"q1": {"d1": 1, "d4": 2}, "q2": {"d2": 1}}
>>> bm25 = {"q1": {"d1": 3.0, "d2": 2.0, "d4": 1.0}, "q2": {"d1": 5.0, "d2": 4.0}}
>>> print(evaluate(qrels, bm25, ["ndcg@10", "map", "mrr", "recall@2"]))
metric     value
----------------
ndcg@10   0.6956
map       0.6667
mrr       0.7500
recall@2  0.7500
2 queries

Two runs differ by chance or by merit; a paired test over the queries tells:

>>> dense = {"q1": {"d1": 1.0, "d4": 2.0}, "q2": {"d1": 1.0, "d2": 2.0}}
>>> comparison = compare(qrels, {"bm25": bm25, "dense": dense}, "map", baseline="bm25")
>>> contrast = comparison.contrast("map", "dense")
>>> contrast.wins, contrast.ties, contrast.losses
(2, 0, 0)
"""

from jrank.evaluation._compare import Comparison, Contrast, compare
from jrank.evaluation._evaluate import Report, evaluate
from jrank.evaluation._metrics import list_metrics, parse_metric
from jrank.evaluation._standard import read_reference, standardize

__all__ = [
    "Comparison",
    "Contrast",
    "Report",
    "compare",
    "evaluate",
    "list_metrics",
    "parse_metric",
    "read_reference",
    "standardize",
]
