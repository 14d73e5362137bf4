"""jrank: the ranking library of the JAX ecosystem.

Everything between raw scores and a served ranker: differentiable sorting (``soft``), ranking losses, metrics and the
transformations between them, late interaction (``maxsim``), fusion, retrieval, evaluation, Flax models, training,
export to ONNX and serving. Names are loaded when they are first used, so ``import jrank`` costs next to nothing.
"""

import importlib

__version__ = "0.1.0"

# The rooms of the house.
_PACKAGES = (
    "cli",
    "data",
    "evaluation",
    "export",
    "fusion",
    "losses",
    "maxsim",
    "metrics",
    "models",
    "plot",
    "retrieval",
    "runs",
    "serving",
    "soft",
    "stats",
    "text",
    "training",
    "transforms",
    "types",
    "utils",
)

# The names used most, and where each is defined. None may equal the name of a file or package in this folder: the
# import of that file would rebind it.
_NAMES = {
    "compare": "jrank.evaluation",
    "evaluate": "jrank.evaluation",
    "adr_mse_loss": "jrank.losses",
    "ap_lambdaweight": "jrank.losses",
    "arp1_loss": "jrank.losses",
    "arp2_loss": "jrank.losses",
    "calibrated_softmax_loss": "jrank.losses",
    "compute_pairs": "jrank.losses",
    "contrastive_loss": "jrank.losses",
    "dcg1_lambdaweight": "jrank.losses",
    "dcg2_lambdaweight": "jrank.losses",
    "dcg2pp_lambdaweight": "jrank.losses",
    "dcg_lambdaweight": "jrank.losses",
    "dpo_loss": "jrank.losses",
    "err_lambdaweight": "jrank.losses",
    "gradient_cache": "jrank.losses",
    "info_nce_loss": "jrank.losses",
    "kendall_loss": "jrank.losses",
    "kl_distillation_loss": "jrank.losses",
    "labeldiff_lambdaweight": "jrank.losses",
    "labels_lambdaweight": "jrank.losses",
    "lambdarank_loss": "jrank.losses",
    "listmle_loss": "jrank.losses",
    "listnet_loss": "jrank.losses",
    "listwise_distillation_loss": "jrank.losses",
    "margin_mse_loss": "jrank.losses",
    "mrr_lambdaweight": "jrank.losses",
    "ndcg1_loss": "jrank.losses",
    "ndcg2_loss": "jrank.losses",
    "ndcg2pp_loss": "jrank.losses",
    "neural_ndcg_loss": "jrank.losses",
    "normalize_probabilities": "jrank.losses",
    "ordinal_loss": "jrank.losses",
    "p_listmle_loss": "jrank.losses",
    "pairwise_hinge_loss": "jrank.losses",
    "pairwise_logistic_loss": "jrank.losses",
    "pairwise_loss": "jrank.losses",
    "pairwise_mse_loss": "jrank.losses",
    "pairwise_qr_loss": "jrank.losses",
    "pairwise_soft_zero_one_loss": "jrank.losses",
    "pirank_loss": "jrank.losses",
    "pl_rank_loss": "jrank.losses",
    "plackett_luce_log_prob": "jrank.losses",
    "plackett_luce_sample": "jrank.losses",
    "pointwise_mse_loss": "jrank.losses",
    "pointwise_sigmoid_loss": "jrank.losses",
    "policy_gradient_loss": "jrank.losses",
    "poly1_softmax_loss": "jrank.losses",
    "precision_lambdaweight": "jrank.losses",
    "safe_reduce": "jrank.losses",
    "smooth_ap_loss": "jrank.losses",
    "softmax_loss": "jrank.losses",
    "spearman_loss": "jrank.losses",
    "unique_softmax_loss": "jrank.losses",
    "ap_metric": "jrank.metrics",
    "arp_metric": "jrank.metrics",
    "bpref_metric": "jrank.metrics",
    "cutoff": "jrank.metrics",
    "dcg_metric": "jrank.metrics",
    "default_discount_fn": "jrank.metrics",
    "default_gain_fn": "jrank.metrics",
    "err_metric": "jrank.metrics",
    "f_metric": "jrank.metrics",
    "hits_metric": "jrank.metrics",
    "infap_metric": "jrank.metrics",
    "judged_metric": "jrank.metrics",
    "kendall_metric": "jrank.metrics",
    "letor_discount_fn": "jrank.metrics",
    "linear_gain_fn": "jrank.metrics",
    "mrr_metric": "jrank.metrics",
    "ndcg_metric": "jrank.metrics",
    "opa_metric": "jrank.metrics",
    "precision_metric": "jrank.metrics",
    "q_metric": "jrank.metrics",
    "ranks": "jrank.metrics",
    "rbo_metric": "jrank.metrics",
    "rbp_metric": "jrank.metrics",
    "recall_metric": "jrank.metrics",
    "rprec_metric": "jrank.metrics",
    "success_metric": "jrank.metrics",
    "tau_ap_metric": "jrank.metrics",
    "BM25Index": "jrank.retrieval",
    "DenseIndex": "jrank.retrieval",
    "MultiVectorIndex": "jrank.retrieval",
    "SparseIndex": "jrank.retrieval",
    "Qrels": "jrank.runs",
    "Run": "jrank.runs",
    "approx_cutoff": "jrank.transforms",
    "approx_ndcg_loss": "jrank.transforms",
    "approx_ranks": "jrank.transforms",
    "approx_t12n": "jrank.transforms",
    "bound_t12n": "jrank.transforms",
    "gumbel_t12n": "jrank.transforms",
    "segment_t12n": "jrank.transforms",
}

__all__ = ["__version__", *_PACKAGES, *_NAMES]


def __getattr__(name: str):
    if name in _PACKAGES:
        return importlib.import_module(f"jrank.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
        globals()[name] = value
        return value
    from jrank.errors import did_you_mean

    guess = did_you_mean(name, __all__).rstrip()
    raise AttributeError(f"module 'jrank' has no attribute {name!r}{guess and f'; {guess}'}")


def __dir__() -> list[str]:
    return sorted(__all__)
