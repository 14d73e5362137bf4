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

from jrank.losses._building_blocks import compute_pairs, normalize_probabilities, safe_reduce
from jrank.losses._contrastive import info_nce_loss
from jrank.losses._distillation import kl_distillation_loss, margin_mse_loss
from jrank.losses._lambdaweights import dcg2_lambdaweight, dcg_lambdaweight, labeldiff_lambdaweight
from jrank.losses._listmle import listmle_loss
from jrank.losses._pairwise import (
    pairwise_hinge_loss,
    pairwise_logistic_loss,
    pairwise_loss,
    pairwise_mse_loss,
    pairwise_qr_loss,
    pairwise_soft_zero_one_loss,
)
from jrank.losses._pointwise import pointwise_mse_loss, pointwise_sigmoid_loss
from jrank.losses._softmax import poly1_softmax_loss, softmax_loss, unique_softmax_loss

__all__ = [
    "compute_pairs",
    "dcg2_lambdaweight",
    "dcg_lambdaweight",
    "info_nce_loss",
    "kl_distillation_loss",
    "labeldiff_lambdaweight",
    "listmle_loss",
    "margin_mse_loss",
    "normalize_probabilities",
    "pairwise_hinge_loss",
    "pairwise_logistic_loss",
    "pairwise_loss",
    "pairwise_mse_loss",
    "pairwise_qr_loss",
    "pairwise_soft_zero_one_loss",
    "pointwise_mse_loss",
    "pointwise_sigmoid_loss",
    "poly1_softmax_loss",
    "safe_reduce",
    "softmax_loss",
    "unique_softmax_loss",
]
