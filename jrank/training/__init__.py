"""Training: one loop, and the functions that train jrank's models in it.

A loss is a pure function of parameters, batch and key; the loop compiles one update and repeats it.

>>> import jax.numpy as jnp
>>> from jrank import training
>>> def loss_fn(params, batch, key):
...     return jnp.mean((batch["x"] @ params["w"] - batch["y"]) ** 2)
>>> batch = {"x": jnp.eye(2), "y": jnp.array([1.0, -1.0])}
>>> rate = training.warmup_schedule(0.1, 300, warmup=10)
>>> result = training.fit({"w": jnp.zeros(2)}, loss_fn, [batch], steps=300, learning_rate=rate, progress=False)
>>> result.model["w"].round(2).tolist()
[1.0, -1.0]
"""

from jrank.training._classification import accuracy, binary_cross_entropy_loss, cross_entropy_loss
from jrank.training._cloze import ClozeQuery, cloze_queries
from jrank.training._cross_encoder import fit_cross_encoder
from jrank.training._features import list_zscores
from jrank.training._history import Best, FitResult, History
from jrank.training._loop import epoch_order, fit
from jrank.training._multi_vector import fit_multi_vector
from jrank.training._negatives import mine_negatives
from jrank.training._objectives import loss_names, named_loss
from jrank.training._ranker import fit_ranker
from jrank.training._schedules import decay_mask, warmup_schedule

__all__ = [
    "Best",
    "ClozeQuery",
    "FitResult",
    "History",
    "accuracy",
    "binary_cross_entropy_loss",
    "cloze_queries",
    "cross_entropy_loss",
    "decay_mask",
    "epoch_order",
    "fit",
    "fit_cross_encoder",
    "fit_multi_vector",
    "fit_ranker",
    "list_zscores",
    "loss_names",
    "mine_negatives",
    "named_loss",
    "warmup_schedule",
]
