"""Fitting a ranker of feature vectors to padded lists."""

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jrank.errors import TrainError
from jrank.losses import softmax_loss
from jrank.models import MLPRanker
from jrank.training._history import FitResult
from jrank.training._loop import epoch_order, fit
from jrank.training._objectives import as_loss, keyed
from jrank.training._schedules import decay_mask
from jrank.training._state import describe_callable, describe_data, describe_tree
from jrank.training._validation import compiled_metric, ndcg_at_10
from jrank.types import Array

__all__ = ["fit_ranker"]

# Items that the validation scores at a time.
SCORE_ITEMS = 1 << 20


def fit_ranker(
    model: Any,
    train: Any,
    *,
    validation: Any = None,
    loss: Callable[..., Array] | str = softmax_loss,
    metric: Callable[..., Array] = ndcg_at_10,
    epochs: int = 50,
    batch_size: int = 64,
    learning_rate: float | int | Callable[[int], Any] = 1e-3,
    weight_decay: float | int = 0.0,
    clip_norm: float | int | None = None,
    list_size: int | None = None,
    standardize: bool = True,
    validate_every: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    mesh: Mesh | None = None,
    resume: Any = None,
    progress: bool = True,
) -> FitResult:
    r"""Train a ranker of feature vectors on padded lists.

    Each step minimises ``loss`` over a batch of lists by AdamW; the validation metric chooses the parameters and stops
    the run. On a few hundred queries, a linear model (``MLPRanker(f, hidden=())``) is hard to beat.

    Args:
      model: an ``MLPRanker``, or any object with ``params``, ``with_params(params)`` and
        ``apply(params, features, *, where, key)`` that returns scores ``[lists, n]``; it is not changed.
      train: the ``RankingData`` of ``data.read_letor``; or ``(features, labels, where)``, or a mapping or object
        with these names: features ``[lists, n, f]``, labels ``[lists, n]``, larger is more relevant, and the mask
        ``[lists, n]`` of real items, which may be left out.
      validation: lists of the same form to choose the best parameters by; None keeps the last.
      loss: ``(scores, labels, *, where)``, such as ``softmax_loss`` or ``approx_t12n(ndcg_metric)``, or a name of
        ``loss_names``, such as "lambdarank". One that samples, such as ``pl_rank_loss`` or one of ``gumbel_t12n``, is
        given a new ``key`` in every step.
      metric: ``(scores, labels, *, where)``, larger is better; by default NDCG@10.
      epochs: how often every list is seen, at most.
      batch_size: lists of a step; the last batch of an epoch is filled up with masked lists.
      learning_rate: a number, or a function of the step (from 0).
      weight_decay: of all matrices, not of biases and normalisations.
      clip_norm: the longest gradient; None does not clip.
      list_size: most items of a training list: those with the largest labels stay; None for all.
      standardize: whether to shift and scale the inputs by mean and deviation of the training items
        (``model.fit_inputs``), where the model can.
      validate_every: steps between validations; None is an epoch.
      patience: stop after so many validations without improvement; None never stops early.
      seed: the order of the lists and the dropout.
      mesh: spread the lists of a step over all devices of the mesh; ``batch_size`` must be a multiple of their number.
      resume: a directory for the state, to continue from after an interruption; see ``fit``.
      progress: whether to show a bar on stderr.

    Returns:
      The trained model (the best by validation, without it the last), the history, the best validation.

    Raises:
      TrainError: an option is out of range, arrays do not fit together, a real item is not finite, the training
        diverged, or the state belongs to another run.

    Numerics: lists without a real item count nothing. Labels must be finite and at real items only.
    Cost: compiles one step, which later fits of an ``MLPRanker`` of the same shape to the same data use again; the data
    stay on the host and travel batch by batch.

    >>> from jrank.models import MLPRanker
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(64, 5, 3)).astype(np.float32)
    >>> labels = (features[..., 0] > features[..., 1]).astype(np.float32)
    >>> result = fit_ranker(MLPRanker(3, hidden=()), (features, labels), validation=(features, labels),
    ...                     epochs=20, batch_size=16, learning_rate=0.1, progress=False)
    >>> result.best.metric > 0.95
    True
    """
    for name, value in {"epochs": epochs, "batch_size": batch_size, "list_size": list_size}.items():
        if value is not None and value < 1:
            raise TrainError(f"{name} must be at least 1, got {value}", reason="invalid_parameter")
    if not callable(learning_rate) and not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise TrainError(f"learning_rate must be positive, got {learning_rate}", reason="invalid_parameter")
    if mesh is not None and batch_size % mesh.size:
        raise TrainError(
            f"batch_size={batch_size} is no multiple of the {mesh.size} devices", reason="invalid_parameter"
        )
    objective = as_loss(loss)
    features, labels, where = _arrays(train, "train")
    if standardize and hasattr(model, "fit_inputs"):
        model = model.fit_inputs(features, where=where)
    if list_size is not None and features.shape[1] > list_size:
        features, labels, where = _cut(features, labels, where, list_size)
    count = len(features)
    per_epoch = math.ceil(count / batch_size)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return epoch_order(count, seed, epoch)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        epoch, place = divmod(step, per_epoch)
        rows = order(epoch)[place * batch_size : (place + 1) * batch_size]
        batch = {"features": features[rows], "labels": labels[rows], "where": where[rows]}
        missing = batch_size - len(rows)
        if missing:
            batch = {key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1)) for key, value in batch.items()}
        return batch

    scorer = _Scorer(_key(model), model)
    params = model.params
    result = fit(
        params,
        _loss_fn(scorer, objective),
        batch_at,
        steps=epochs * per_epoch,
        learning_rate=learning_rate,
        weight_decay=jax.tree.map(lambda decays: weight_decay if decays else 0.0, decay_mask(params)),
        clip_norm=clip_norm,
        validate=None if validation is None else _validator(scorer, validation, metric),
        validate_every=validate_every or per_epoch,
        patience=patience,
        seed=seed,
        mesh=mesh,
        resume=resume,
        config={
            "model": f"{type(model).__qualname__} {getattr(model, 'config', '')} {describe_tree(params)}",
            "train": describe_data(features, labels, where),
            "loss": describe_callable(objective),
            "metric": None if validation is None else describe_callable(metric),
            "batch_size": batch_size,
            "learning_rate": describe_callable(learning_rate),
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "standardize": standardize,
        },
        progress=progress,
        description="ranker",
    )
    return FitResult(model=model.with_params(result.model), history=result.history, best=result.best)


@dataclasses.dataclass(frozen=True)
class _Scorer:
    """A model by what its scores depend on besides the parameters, so that equal ones share what was compiled."""

    key: Hashable
    model: Any = dataclasses.field(compare=False)


def _key(model: Any) -> Hashable:
    if isinstance(model, MLPRanker):
        return model.config, np.asarray(model.mean[...]).tobytes(), np.asarray(model.scale[...]).tobytes()
    return object()  # equal to nothing: what the scores of another model depend on is not known


@functools.lru_cache(maxsize=8)
def _loss_fn(scorer: _Scorer, loss: Callable[..., Array]) -> Callable[..., tuple[Array, Array]]:
    def loss_fn(params: Any, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        scores = scorer.model.apply(params, batch["features"], where=batch["where"], key=key)
        counted = jnp.sum(jnp.any(batch["where"], axis=-1), dtype=jnp.float32)
        noise = jax.random.fold_in(key, 1)  # another one than that of the dropout
        return keyed(loss)(scores, batch["labels"], where=batch["where"], key=noise), counted

    return loss_fn


@functools.lru_cache(maxsize=8)
def _score_fn(scorer: _Scorer) -> Callable[..., Array]:
    return jax.jit(lambda params, features, where: scorer.model.apply(params, features, where=where))


def _arrays(lists: Any, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and mask, checked; what stands at masked places is put to 0."""
    if hasattr(lists, "padded"):
        lists = lists.padded()
    if isinstance(lists, Mapping):
        parts = [lists.get(key) for key in ("features", "labels", "where")]
    elif isinstance(lists, tuple | list):
        parts = [*lists, None][:3] if len(lists) in (2, 3) else []
    else:
        parts = [getattr(lists, key, None) for key in ("features", "labels", "where")]
    if len(parts) != 3 or parts[0] is None or parts[1] is None:
        raise TypeError(f"{name} must be (features, labels, where), got {type(lists).__name__}")
    features, labels = np.asarray(parts[0]), np.asarray(parts[1])
    if features.ndim != 3 or labels.shape != features.shape[:2]:
        raise TrainError(
            f"{name}: features of shape {features.shape} and labels of shape {labels.shape}, "
            "[lists, n, f] and [lists, n] were expected",
            reason="invalid_data",
        )
    where = np.ones(labels.shape, bool) if parts[2] is None else np.asarray(parts[2]) != 0
    if where.shape != labels.shape:
        raise TrainError(
            f"{name}: the mask has shape {where.shape}, that of the labels was expected: {labels.shape}",
            reason="invalid_data",
        )
    if not where.any():
        raise TrainError(f"{name} holds no item", reason="empty_input")
    features = np.where(where[..., None], features, 0).astype(np.float32)
    labels = np.where(where, labels, 0).astype(np.float32)
    for what, array in (("feature", features), ("label", labels)):
        if not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0]
            raise TrainError(
                f"{name}: the {what} at {tuple(place.tolist())} is {array[tuple(place)]}",
                reason="invalid_data",
                hint="replace missing values before training",
            )
    return features, labels, where


def _cut(
    features: np.ndarray, labels: np.ndarray, where: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Real items before padding, large labels before small ones, otherwise in order.
    order = np.argsort(np.where(where, -labels, np.inf), axis=1, kind="stable")[:, :size]
    kept = np.sort(order, axis=1)
    return (
        np.take_along_axis(features, kept[..., None], axis=1),
        np.take_along_axis(labels, kept, axis=1),
        np.take_along_axis(where, kept, axis=1),
    )


def _validator(scorer: _Scorer, lists: Any, metric: Callable[..., Array]) -> Callable[[Any], float]:
    features, labels, where = _arrays(lists, "validation")
    rows = max(min(SCORE_ITEMS // features.shape[1], len(features)), 1)
    missing = -len(features) % rows
    padded = np.pad(features, ((0, missing), (0, 0), (0, 0)))
    mask = np.pad(where, ((0, missing), (0, 0)))
    score = _score_fn(scorer)
    measure = compiled_metric(metric)

    def validate(params: Any) -> float:
        parts = [
            np.asarray(score(params, padded[start : start + rows], mask[start : start + rows]))
            for start in range(0, len(padded), rows)
        ]
        return float(measure(np.concatenate(parts)[: len(features)], labels, where))

    return validate
