"""Ranking losses as pure functions of scores and labels.

A loss says how much is wrong with the order of the scores; smaller is better. The last axis is the list of items,
leading axes are a batch.

>>> import jax
>>> import jax.numpy as jnp
>>> scores = jnp.array([[0.0, 1.0, 3.0], [1.0, 2.0, 0.0]])
>>> labels = jnp.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
>>> print(f"{softmax_loss(scores, labels):.4f}")
0.7887

Gradients are those of JAX. What stands at a masked place never matters, and its gradient is 0.

>>> where = jnp.array([[True, True, True], [True, True, False]])
>>> print(jnp.array_str(jax.grad(softmax_loss)(scores, labels, where=where), precision=3))
[[ 0.021  0.057 -0.078]
 [-0.366  0.366  0.   ]]
"""

from jrank.losses import unbiased
from jrank.losses._building_blocks import compute_pairs, normalize_probabilities, safe_reduce
from jrank.losses._calibrated import calibrated_softmax_loss, ordinal_loss
from jrank.losses._contrastive import contrastive_loss, info_nce_loss
from jrank.losses._correlation import spearman_loss
from jrank.losses._distillation import adr_mse_loss, kl_distillation_loss, listwise_distillation_loss, margin_mse_loss
from jrank.losses._gradient_cache import gradient_cache
from jrank.losses._kendall import kendall_loss
from jrank.losses._lambda_dcg import dcg1_lambdaweight, dcg2_lambdaweight, dcg2pp_lambdaweight, dcg_lambdaweight
from jrank.losses._lambda_losses import arp1_loss, arp2_loss, ndcg1_loss, ndcg2_loss, ndcg2pp_loss
from jrank.losses._lambda_metrics import (
    ap_lambdaweight,
    err_lambdaweight,
    labeldiff_lambdaweight,
    labels_lambdaweight,
    mrr_lambdaweight,
    precision_lambdaweight,
)
from jrank.losses._lambdarank import lambdarank_loss
from jrank.losses._listmle import listmle_loss, p_listmle_loss
from jrank.losses._listnet import listnet_loss
from jrank.losses._neural_ndcg import neural_ndcg_loss, pirank_loss
from jrank.losses._pairwise import (
    pairwise_hinge_loss,
    pairwise_logistic_loss,
    pairwise_loss,
    pairwise_mse_loss,
    pairwise_qr_loss,
    pairwise_soft_zero_one_loss,
)
from jrank.losses._plackett_luce import plackett_luce_log_prob, plackett_luce_sample
from jrank.losses._pointwise import pointwise_mse_loss, pointwise_sigmoid_loss
from jrank.losses._policy import pl_rank_loss, policy_gradient_loss
from jrank.losses._preference import dpo_loss
from jrank.losses._smooth_ap import smooth_ap_loss
from jrank.losses._softmax import poly1_softmax_loss, softmax_loss, unique_softmax_loss

__all__ = [
    "adr_mse_loss",
    "ap_lambdaweight",
    "arp1_loss",
    "arp2_loss",
    "calibrated_softmax_loss",
    "compute_pairs",
    "contrastive_loss",
    "dcg1_lambdaweight",
    "dcg2_lambdaweight",
    "dcg2pp_lambdaweight",
    "dcg_lambdaweight",
    "dpo_loss",
    "err_lambdaweight",
    "gradient_cache",
    "info_nce_loss",
    "kendall_loss",
    "kl_distillation_loss",
    "labeldiff_lambdaweight",
    "labels_lambdaweight",
    "lambdarank_loss",
    "listmle_loss",
    "listnet_loss",
    "listwise_distillation_loss",
    "margin_mse_loss",
    "mrr_lambdaweight",
    "ndcg1_loss",
    "ndcg2_loss",
    "ndcg2pp_loss",
    "neural_ndcg_loss",
    "normalize_probabilities",
    "ordinal_loss",
    "p_listmle_loss",
    "pairwise_hinge_loss",
    "pairwise_logistic_loss",
    "pairwise_loss",
    "pairwise_mse_loss",
    "pairwise_qr_loss",
    "pairwise_soft_zero_one_loss",
    "pirank_loss",
    "pl_rank_loss",
    "plackett_luce_log_prob",
    "plackett_luce_sample",
    "pointwise_mse_loss",
    "pointwise_sigmoid_loss",
    "policy_gradient_loss",
    "poly1_softmax_loss",
    "precision_lambdaweight",
    "safe_reduce",
    "smooth_ap_loss",
    "softmax_loss",
    "spearman_loss",
    "unbiased",
    "unique_softmax_loss",
]
