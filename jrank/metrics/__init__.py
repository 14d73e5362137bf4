"""Exact ranking metrics on arrays.

A metric says how well the order of the scores agrees with the labels; larger is better. The last axis is the list of
items, leading axes are a batch.

>>> import jax.numpy as jnp
>>> scores = jnp.array([[2.0, 1.0, 3.0], [1.0, 0.5, 1.5]])
>>> labels = jnp.array([[2.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
>>> print(f"{ndcg_metric(scores, labels):.4f}")
0.8984

``where`` says which items are real; what stands at the others never matters.

>>> where = jnp.array([[True, True, False], [True, True, True]])
>>> print(ndcg_metric(scores, labels, where=where))
1.0

``reduce_fn=None`` keeps one value per list, ``valid_lists`` says which stand for one with a valid item, ``topn`` is the
cut-off, ``ties`` the rule for equal scores.

>>> print(mrr_metric(scores, labels, reduce_fn=None), precision_metric(scores, labels, topn=2))
[1. 1.] 0.75
>>> equal, one = jnp.zeros(3), jnp.array([1.0, 0.0, 0.0])
>>> [f"{ndcg_metric(equal, one, ties=ties):.3f}" for ties in ("stable", "average", "worst")]
['1.000', '0.710', '0.500']
"""

from jrank.metrics._binary import ap_metric, mrr_metric, precision_metric, recall_metric
from jrank.metrics._binary_more import f_metric, hits_metric, rprec_metric, success_metric
from jrank.metrics._correlation import rbo_metric, tau_ap_metric
from jrank.metrics._dcg import dcg_metric, ndcg_metric
from jrank.metrics._gains import default_discount_fn, default_gain_fn, letor_discount_fn, linear_gain_fn
from jrank.metrics._graded import arp_metric, err_metric, q_metric, rbp_metric
from jrank.metrics._incomplete import bpref_metric, infap_metric, judged_metric
from jrank.metrics._lists import valid_lists
from jrank.metrics._opa import kendall_metric, opa_metric
from jrank.metrics._ranking import cutoff, ranks

__all__ = [
    "ap_metric",
    "arp_metric",
    "bpref_metric",
    "cutoff",
    "dcg_metric",
    "default_discount_fn",
    "default_gain_fn",
    "err_metric",
    "f_metric",
    "hits_metric",
    "infap_metric",
    "judged_metric",
    "kendall_metric",
    "letor_discount_fn",
    "linear_gain_fn",
    "mrr_metric",
    "ndcg_metric",
    "opa_metric",
    "precision_metric",
    "q_metric",
    "ranks",
    "rbo_metric",
    "rbp_metric",
    "recall_metric",
    "rprec_metric",
    "success_metric",
    "tau_ap_metric",
    "valid_lists",
]
