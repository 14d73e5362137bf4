"""The table of losses that the properties are held against: a loss with options, and what is not its own."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jrank import losses as L


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss with options, and the properties that are not its own.

    Args:
      loss: the function.
      options: its options.
      name: what tells two lines of one loss apart.
      segments: whether it takes segments.
      quiet: whether a list without a label above 0 costs nothing.
      shift: whether a common shift of the scores changes nothing.
      order: whether the order of the items changes nothing; not where noise belongs to a place.
      slope: whether the gradient is that of the value; not where weights are held fixed, or estimated.
      retrieved: whether an irrelevant item with score -inf leaves the loss finite.
      padding: whether masked items at the end change no more than rounding; not where they shift random numbers.
      per_item: whether ``reduce_fn=None`` gives one value per item.
    """

    loss: Callable[..., Any]
    options: dict = dataclasses.field(default_factory=dict)
    name: str = ""
    segments: bool = True
    quiet: bool = True
    shift: bool = True
    order: bool = True
    slope: bool = True
    retrieved: bool = True
    padding: bool = True
    per_item: bool = False

    @property
    def id(self):
        return f"{self.loss.__name__}{'-' if self.name else ''}{self.name}"


def lam(fn, **options):
    return {"lambdaweight_fn": functools.partial(fn, **options)}


def squared_margin(x, dy):
    return jnp.square(jnp.maximum(1 - x, jnp.zeros_like(x))), dy > 0


KEY = {"key": jax.random.key(7)}
NOISY = {"order": False, "slope": False, "padding": False}

TABLE = [
    Case(L.adr_mse_loss, quiet=False),
    Case(L.arp1_loss),
    Case(L.arp1_loss, {"all_pairs": True}, "all"),
    Case(L.arp2_loss),
    Case(L.calibrated_softmax_loss, quiet=False, shift=False),
    Case(L.dpo_loss, {"beta": 0.5}),
    Case(L.dpo_loss, {"variant": "ipo"}, "ipo", retrieved=False),
    Case(L.dpo_loss, {"label_smoothing": 0.1}, "smoothed", retrieved=False),
    Case(L.kendall_loss),
    Case(L.kl_distillation_loss, quiet=False, retrieved=False),
    Case(L.lambdarank_loss),
    Case(
        L.lambdarank_loss,
        {"truncation": 2, "score_norm": True, "gradient_norm": True},
        "lightgbm",
        slope=False,
    ),
    Case(L.listmle_loss),
    Case(L.listmle_loss, {"ties": "group"}, "group"),
    Case(L.listnet_loss, quiet=False, retrieved=False),
    Case(L.listnet_loss, {"topn": 2}, "top-2", quiet=False, retrieved=False),
    Case(L.listnet_loss, {"topn": 3, **KEY}, "top-3", quiet=False, retrieved=False, **NOISY),
    Case(L.listwise_distillation_loss, quiet=False, retrieved=False),
    Case(L.margin_mse_loss, segments=False, quiet=False, retrieved=False, order=False),
    Case(L.ndcg1_loss),
    Case(L.ndcg2_loss, {"topn": 3}),
    Case(L.ndcg2pp_loss),
    Case(L.neural_ndcg_loss),
    Case(L.neural_ndcg_loss, {"sinkhorn": 5, "topn": 3}, "sinkhorn", segments=False),
    Case(L.ordinal_loss, quiet=False, shift=False, per_item=True),
    Case(L.p_listmle_loss),
    Case(L.p_listmle_loss, {"normalize": True, "ties": "group"}, "normalised"),
    Case(L.pairwise_hinge_loss),
    Case(L.pairwise_logistic_loss),
    Case(L.pairwise_logistic_loss, lam(L.dcg2_lambdaweight, topn=3, normalize=True), "lambdaloss"),
    Case(L.pairwise_logistic_loss, lam(L.ap_lambdaweight), "ap"),
    Case(L.pairwise_logistic_loss, lam(L.err_lambdaweight), "err"),
    Case(L.pairwise_logistic_loss, lam(L.mrr_lambdaweight), "mrr"),
    Case(L.pairwise_logistic_loss, lam(L.precision_lambdaweight, topn=3), "precision"),
    Case(L.pairwise_loss, {"pair_loss_fn": squared_margin}),
    Case(L.pairwise_mse_loss, quiet=False, retrieved=False),
    Case(L.pairwise_qr_loss, retrieved=False),
    Case(L.pairwise_soft_zero_one_loss),
    Case(L.pirank_loss, {"temperature": 0.5}),
    Case(
        L.pirank_loss, {"topn": 2, "depth": 2, "temperature": 0.5}, "depth", segments=False, order=False, padding=False
    ),
    Case(L.pl_rank_loss, KEY, shift=False, **NOISY),
    Case(L.pl_rank_loss, {"method": "exact"}, "exact", segments=False),
    Case(L.pointwise_mse_loss, quiet=False, shift=False, retrieved=False, per_item=True),
    Case(L.pointwise_sigmoid_loss, quiet=False, shift=False, per_item=True),
    Case(L.policy_gradient_loss, {"num_samples": 4, **KEY}, **NOISY),
    Case(L.policy_gradient_loss, {"method": "exact"}, "exact", segments=False),
    Case(L.poly1_softmax_loss),
    Case(L.smooth_ap_loss, {"temperature": 0.5}),
    Case(L.softmax_loss),
    Case(L.spearman_loss, {"temperature": 0.7}),
    Case(L.unique_softmax_loss),
]
