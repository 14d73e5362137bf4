"""Losses by the names that people write on a command line."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from jrank import losses
from jrank.errors import TrainError, did_you_mean
from jrank.losses import (
    dcg2_lambdaweight,
    dcg_lambdaweight,
    pairwise_logistic_loss,
    pl_rank_loss,
    policy_gradient_loss,
)
from jrank.metrics import ap_metric, mrr_metric, ndcg_metric
from jrank.transforms import approx_t12n, gumbel_t12n
from jrank.types import Array

__all__ = ["as_loss", "keyed", "loss_names", "named_loss"]

# Losses that are put together of others. One object each, so that a compiled step is found again.
PRESETS: dict[str, Callable[..., Array]] = {
    "approx-ap": approx_t12n(ap_metric),
    "approx-mrr": approx_t12n(mrr_metric),
    "approx-ndcg": approx_t12n(ndcg_metric),
    "gumbel-approx-ndcg": gumbel_t12n(approx_t12n(ndcg_metric)),
    "lambdaloss": functools.partial(
        pairwise_logistic_loss, lambdaweight_fn=functools.partial(dcg2_lambdaweight, normalize=True)
    ),
    "lambdarank": functools.partial(
        pairwise_logistic_loss, lambdaweight_fn=functools.partial(dcg_lambdaweight, normalize=True)
    ),
    "ranknet": pairwise_logistic_loss,
}
# They sample rankings. Their key has a default, since one of their methods samples nothing.
SAMPLED = (pl_rank_loss, policy_gradient_loss)
END = "_loss"


def loss_names() -> list[str]:
    """Return the names that ``named_loss`` knows.

    >>> {"softmax", "lambdarank", "margin-mse"} <= set(loss_names())
    True
    """
    return sorted({*PRESETS, *(name.removesuffix(END).replace("_", "-") for name in losses.__all__ if _fits(name))})


def named_loss(name: str) -> Callable[..., Array]:
    """Return a loss by its name: "softmax" is ``softmax_loss``, "pairwise-hinge" is ``pairwise_hinge_loss``, and so on.

    Besides every loss of ``jrank.losses`` that compares scores with labels there are "lambdarank" and "lambdaloss" (the
    logistic loss of pairs, weighted by what a swap does to NDCG), "ranknet" (the same unweighted), and "approx-ndcg",
    "approx-ap", "approx-mrr" (metrics with soft ranks), "gumbel-approx-ndcg" (the first of them on sampled scores).
    Those that sample take ``key`` too, which ``fit_ranker`` and ``fit_cross_encoder`` give them, a new one in every
    step.

    Args:
      name: the name; case and the choice of "-" or "_" do not matter, an ending "_loss" may stay.

    Returns:
      ``(scores, labels, *, where)`` to the loss; "pl-rank", "policy-gradient" and "gumbel-approx-ndcg" also take a
      ``key``.

    Raises:
      TrainError: there is no such loss.

    >>> named_loss("Pairwise-Hinge").__name__
    'pairwise_hinge_loss'
    """
    key = name.strip().lower().replace("_", "-").removesuffix("-loss")
    if key in PRESETS:
        return PRESETS[key]
    full = key.replace("-", "_") + END
    if not _fits(full):
        guess = did_you_mean(key, loss_names())
        raise TrainError(
            f"there is no loss {name!r}", reason="invalid_parameter", hint=f"{guess}known: {', '.join(loss_names())}"
        )
    return getattr(losses, full)


def as_loss(loss: Any) -> Callable[..., Array]:
    """Take what ``fit_ranker`` and ``fit_cross_encoder`` take for a loss: a function, or the name of one.

    Args:
      loss: ``(scores, labels, *, where)``, or a name of ``loss_names``.

    Raises:
      TrainError: it is neither, or there is no such name.

    >>> as_loss("softmax") is losses.softmax_loss
    True
    """
    if isinstance(loss, str):
        return named_loss(loss)
    if not callable(loss):
        raise TrainError(
            f"loss is {loss!r:.80}, a function or a name was expected",
            reason="invalid_parameter",
            hint='write loss=jrank.softmax_loss, or loss="softmax"',
        )
    return loss


def keyed(loss: Callable[..., Array]) -> Callable[..., Array]:
    """Return a loss as ``(scores, labels, *, where, key)``, where the key goes to those that sample.

    A loss samples if its key has no default, as those of ``gumbel_t12n``, or if it is ``pl_rank_loss`` or
    ``policy_gradient_loss``, also in a ``functools.partial`` that does not fix the key.

    Args:
      loss: a loss.
    """
    try:
        key = inspect.signature(loss).parameters.get("key")
    except (TypeError, ValueError):
        key = None
    inner = loss
    while isinstance(inner, functools.partial):
        inner = inner.func
    if key is not None and (key.default is key.empty or (key.default is None and inner in SAMPLED)):
        return loss

    def without_key(scores: Array, labels: Array, *, where: Array, key: Array) -> Array:
        return loss(scores, labels, where=where)

    return without_key


def _fits(name: str) -> bool:
    """Whether a public name is a loss of scores and labels that needs nothing else."""
    if not name.endswith(END) or name not in losses.__all__:
        return False
    parameters = list(inspect.signature(getattr(losses, name)).parameters.values())
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return needed == ["scores", "labels"] and any(p.name == "where" for p in parameters)
