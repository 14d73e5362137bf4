"""Fitting a cross-encoder to lists of texts."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jrank.errors import TrainError
from jrank.losses import softmax_loss
from jrank.models import CrossEncoder, EncoderConfig, logits
from jrank.training._classification import accuracy, binary_cross_entropy_loss, cross_entropy_loss
from jrank.training._history import FitResult
from jrank.training._lists import TextLists, encode_lists, epoch_batches, gather, length_widths, widths_of
from jrank.training._loop import fit
from jrank.training._objectives import as_loss, keyed
from jrank.training._schedules import decay_mask, warmup_schedule
from jrank.training._state import describe_callable, describe_data
from jrank.training._validation import compiled_metric, ndcg_at_10
from jrank.types import Array

__all__ = ["fit_cross_encoder"]

# What a CPU computes at a time: larger parts leave its caches and make the kernel clear fresh pages for every step.
CPU_TOKENS = 640
# Tokens of a batch of the validation.
SCORE_TOKENS = {"cpu": 2048}
HEAD = ("head", "pooler")
# How many times as fast as the trunk a new head learns.
NEW_HEAD = 20


def fit_cross_encoder(
    model: CrossEncoder,
    lists: Sequence[Any],
    *,
    validation: Sequence[Any] | None = None,
    loss: Callable[..., Array] | str | None = None,
    metric: Callable[..., Array] | None = None,
    max_length: int = 128,
    list_size: int | None = None,
    batch_size: int = 8,
    epochs: int | None = None,
    max_steps: int | None = None,
    learning_rate: float | int = 5e-5,
    head_learning_rate: float | int | None = None,
    warmup: float | int = 0.1,
    decay: str = "linear",
    weight_decay: float | int = 0.01,
    clip_norm: float | int | None = 1.0,
    accumulate: int | None = None,
    shapes: int = 2,
    dropout: bool = False,
    compute_dtype: Any = jnp.float32,
    remat: bool = False,
    validate_every: int | None = None,
    patience: int | None = None,
    seed: int = 0,
    mesh: Mesh | None = None,
    resume: Any = None,
    save_every: int = 100,
    progress: bool = True,
) -> FitResult:
    r"""Train a cross-encoder on lists: one query, some documents, a grade for each.

    Every document of a list is read together with the query, the loss compares the scores within the list, and a step
    minimises the mean over its lists,

    .. math:: L = \frac{1}{|B|} \sum_{(q, D, y) \in B} \ell\bigl((f_\theta(q, d))_{d \in D},\, y\bigr)

    by AdamW, with warm-up, then decay to 0. One relevant document against four negatives that BM25 ranks high
    (``mine_negatives``), the softmax loss and the defaults here are a good first recipe.

    A model with several outputs learns classes instead: the label of a pair is the number of its class, or a number in
    [0, 1] for each output, where a pair may have several labels or none. Pairs need no lists then; a list of one is
    one pair.

    Args:
      model: the model to start from, with a tokenizer; it is not changed.
      lists: ``(query, documents, labels)`` each; a larger label is more relevant. For a model with several outputs a
        label is a class, or a sequence of numbers, throughout the one or the other.
      validation: lists to choose the best parameters by; None keeps the last.
      loss: ``(scores, labels, *, where)`` of one list, ``[1, n]``, such as any loss of ``jrank.losses``, or a name of
        ``loss_names``, such as "lambdarank"; for a model with several outputs the scores are ``[1, n, outputs]``. None
        is ``softmax_loss``, ``cross_entropy_loss`` for classes, ``binary_cross_entropy_loss`` for a number for each
        output.
      metric: ``(scores, labels, *, where)`` of the validation lists, larger is better. None is NDCG@10, and for several
        outputs the share of right decisions, ``accuracy``.
      max_length: most tokens of a query and a document together.
      list_size: most documents of a training list, those with the largest labels first (with several outputs the
        first); None for the longest list. Shorter lists are padded, which costs as much as documents do.
      batch_size: lists of a step.
      epochs: how often every list is seen; None is 1, or as often as ``max_steps`` needs.
      max_steps: most steps; the schedule ends with the last one.
      learning_rate: the largest.
      head_learning_rate: that of the pooler and the head; None for the same, and for 20 times as much where
        ``model.source.new`` says that the head is new: at the rate of the trunk it would stay near its random start
        for hundreds of steps.
      warmup: as in ``warmup_schedule``.
      decay: as in ``warmup_schedule``.
      weight_decay: of all matrices, not of biases and normalisations.
      clip_norm: the longest gradient; None does not clip.
      accumulate: into how many parts a step is cut, for less memory; it must divide ``batch_size``. None is one part on
        accelerators, and on a CPU as many as keep a part in its caches, which is faster there. The loss is the same.
      shapes: most widths that lists are padded to; every one costs a compilation.
      dropout: whether to drop out as the model's configuration says.
      compute_dtype: ``jnp.bfloat16`` for accelerators; parameters and optimiser stay in float32. On a CPU a step takes
        about as long in both.
      remat: compute each layer again in the backward pass instead of keeping it.
      validate_every: steps between validations; None is an epoch.
      patience: stop after so many validations without improvement; None never stops early.
      seed: the order of the lists and the dropout.
      mesh: spread the lists of a step over all devices of the mesh; ``batch_size`` must be a multiple of their number.
      resume: a directory for the state, to continue from after an interruption; see ``fit``.
      save_every: steps between states in that directory.
      progress: whether to show a bar on stderr.

    Returns:
      The trained model (the best by validation, without it the last), the history, the best validation.

    Raises:
      TrainError: an option is out of range, the lists are empty or malformed, the training diverged, or the state
        belongs to another run.
      TypeError: a list is not of the form asked for.

    Numerics: the loss is taken list by list, and every list counts the same. So ``accumulate`` and ``mesh`` change a
    step by rounding only, unless there is dropout.
    Cost: three times the forward pass of ``batch_size`` · documents · width tokens per step; compiles once per width.
    References: Nogueira and Cho, Passage re-ranking with BERT, 2019; Gao et al., Rethink training of BERT rerankers,
    ECIR 2021.

    >>> import tokenizers
    >>> from jrank.text import PairTokenizer
    >>> inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "a": 1, "b": 2, "c": 3}, "[PAD]"))
    >>> raw = {"model_type": "bert", "vocab_size": 4, "hidden_size": 8, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 8}
    >>> model = CrossEncoder.from_config(raw, PairTokenizer.from_bytes(inner.to_str()))
    >>> lists = [("a", ["b", "c"], [1, 0])]
    >>> result = fit_cross_encoder(model, lists, max_length=8, learning_rate=0.01, max_steps=20, progress=False)
    >>> good, bad = result.model.score([("a", "b"), ("a", "c")])
    >>> bool(good > bad), len(result.history)
    (True, 20)
    """
    objective = None if loss is None else as_loss(loss)
    config, tokenizer = model.config, model.tokenizer
    if tokenizer is None:
        raise TrainError("the model has no tokenizer", reason="invalid_parameter", hint="pass tokenizer= to it")
    counts = {"max_length": max_length, "list_size": list_size, "batch_size": batch_size, "epochs": epochs}
    counts |= {"max_steps": max_steps, "accumulate": accumulate, "shapes": shapes}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise TrainError(f"{name} must be at least 1, got {value}", reason="invalid_parameter")
    if max_length > config.max_length:
        raise TrainError(
            f"max_length is {max_length}, the model takes {config.max_length} tokens", reason="invalid_parameter"
        )
    if head_learning_rate is not None and not head_learning_rate > 0:
        raise TrainError(f"head_learning_rate must be positive, got {head_learning_rate}", reason="invalid_parameter")
    if accumulate is not None and batch_size % accumulate:
        raise TrainError(f"accumulate={accumulate} does not divide batch_size={batch_size}", reason="invalid_parameter")
    if mesh is not None and batch_size % mesh.size:
        raise TrainError(
            f"batch_size={batch_size} is no multiple of the {mesh.size} devices", reason="invalid_parameter"
        )

    shared: dict[str, Any] = {"max_length": max_length, "outputs": config.num_labels}
    train = encode_lists(lists, tokenizer, list_size=list_size, name="lists", **shared)
    objective, metric = _objective(config.num_labels, train.labels.ndim, objective, metric)
    size = int(train.sizes.max())
    per_epoch = math.ceil(len(train) / batch_size)
    steps = (epochs or 1) * per_epoch if max_steps is None else min(max_steps, (epochs or max_steps) * per_epoch)
    widths = length_widths(train.widths, shapes, max_length, visits=steps / per_epoch * size)
    bucket = widths_of(train.widths, widths)
    if accumulate is None:
        accumulate = _cpu_parts(batch_size, size * int(widths[-1])) if mesh is None else 1

    @functools.lru_cache(maxsize=2)
    def plan(epoch: int) -> list[tuple[int, np.ndarray]]:
        return epoch_batches(bucket, batch_size, seed, epoch)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        epoch, place = divmod(step, per_epoch)
        width, rows = plan(epoch)[place]
        return gather(train, rows, lists_per_batch=batch_size, list_size=size, width=int(widths[width]))

    validate = None
    if validation is not None:
        held_out = encode_lists(validation, tokenizer, list_size=None, name="validation", **shared)
        if held_out.labels.ndim != train.labels.ndim:
            raise TrainError("the labels of validation are of another kind than those of lists", reason="invalid_data")
        validate = _validator(config, held_out, metric, widths, max_length, compute_dtype)

    params = model.params
    schedule = warmup_schedule(learning_rate, steps, warmup=warmup, decay=decay)
    if head_learning_rate is None:
        head_learning_rate = learning_rate * (NEW_HEAD if model.source.new else 1)
    rates = jax.tree_util.tree_map_with_path(
        lambda path, _: head_learning_rate / learning_rate if path[0].key in HEAD else 1.0, params
    )
    result = fit(
        params,
        _loss_fn(config, objective, dropout, jnp.dtype(compute_dtype), remat),
        batch_at,
        steps=steps,
        learning_rate=schedule,
        rate_scale=rates,
        weight_decay=jax.tree.map(lambda decays: weight_decay if decays else 0.0, decay_mask(params)),
        clip_norm=clip_norm,
        accumulate=accumulate,
        validate=validate,
        validate_every=validate_every or per_epoch,
        patience=patience,
        seed=seed,
        mesh=mesh,
        resume=resume,
        save_every=save_every,
        config={
            "model": repr(config),
            "lists": describe_data(train.ids, train.types, train.starts, train.first, train.labels),
            "loss": describe_callable(objective),
            "metric": None if validation is None else describe_callable(metric),
            "batch_size": batch_size,
            "widths": widths.tolist(),
            "steps": steps,
            "learning_rate": [learning_rate, head_learning_rate, warmup, decay],
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "dropout": dropout,
            "compute_dtype": str(jnp.dtype(compute_dtype)),
        },
        progress=progress,
        description="cross-encoder",
    )
    trained = model.with_params(result.model)
    trained.source = dataclasses.replace(model.source, new=())
    return FitResult(model=trained, history=result.history, best=result.best)


def _objective(
    outputs: int, label_axes: int, loss: Callable[..., Array] | None, metric: Callable[..., Array] | None
) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """What is minimised and what is measured, where they are not given."""
    if outputs == 1:
        return loss or softmax_loss, metric or ndcg_at_10
    return loss or (cross_entropy_loss if label_axes == 1 else binary_cross_entropy_loss), metric or accuracy


def _cpu_parts(batch_size: int, tokens: int) -> int:
    if jax.default_backend() != "cpu":
        return 1
    fits = (parts for parts in range(1, batch_size + 1) if not batch_size % parts)
    return next((parts for parts in fits if batch_size // parts * tokens <= CPU_TOKENS), batch_size)


@functools.lru_cache(maxsize=8)
def _loss_fn(config: EncoderConfig, loss: Callable[..., Array], dropout: bool, dtype: Any, remat: bool) -> Any:
    """One function per setting, so that another fit finds the compiled step again."""

    def loss_fn(params: Any, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        q, n, t = batch["ids"].shape
        rows = (batch[name].reshape(q * n, t) for name in ("ids", "mask", "types"))
        scores = logits(params, config, *rows, key=key if dropout else None, compute_dtype=dtype, remat=remat)

        def of_list(scores: Array, labels: Array, where: Array, noise: Array) -> Array:
            return keyed(loss)(scores[None], labels[None], where=where[None], key=noise)

        scores = scores.reshape(q, n) if config.num_labels == 1 else scores.reshape(q, n, -1)
        noise = jax.random.split(jax.random.fold_in(key, 1), q)  # another one than that of the dropout
        values = jax.vmap(of_list)(scores, batch["labels"], batch["where"], noise)
        real = jnp.any(batch["where"], axis=-1)
        count = jnp.sum(real, dtype=jnp.float32)
        return jnp.sum(jnp.where(real, values, 0.0)) / jnp.maximum(count, 1.0), count

    return loss_fn


@functools.partial(jax.jit, static_argnames=("config", "dtype"))
def _scores(params: Any, config: EncoderConfig, batch: dict[str, Array], *, dtype: Any) -> Array:
    rows = (batch[name][:, 0] for name in ("ids", "mask", "types"))
    return logits(params, config, *rows, compute_dtype=dtype)


def _validator(
    config: EncoderConfig,
    lists: TextLists,
    metric: Callable[..., Array],
    widths: np.ndarray,
    limit: int,
    dtype: Any,
) -> Callable[[Any], float]:
    """Return a function of the parameters that scores all pairs, by length and in few shapes, and takes the metric."""
    longest = int(lists.lengths.max())
    # The widths of training, and one more only if some pair is longer than they are.
    if longest > widths[-1]:
        widths = np.append(widths, min(-(-longest // 16) * 16, limit))
    pairs = np.arange(len(lists.lengths))
    alone = TextLists(lists.ids, lists.types, lists.starts, np.append(pairs, len(pairs)), lists.labels, lists.pad_id)
    bucket = widths_of(lists.lengths, widths)
    budget = SCORE_TOKENS.get(jax.default_backend(), 32768)
    where = np.arange(int(lists.sizes.max()))[None, :] < lists.sizes[:, None]
    labels = np.zeros(where.shape + lists.labels.shape[1:], np.float32)
    labels[where] = lists.labels
    outputs = config.num_labels
    measure = compiled_metric(metric)

    def validate(params: Any) -> float:
        flat = np.zeros((len(pairs), outputs), np.float32)
        waiting = []
        for number, width in enumerate(widths.tolist()):
            rows = pairs[bucket == number]
            height = max(budget // width, 1)
            for start in range(0, len(rows), height):
                part = rows[start : start + height]
                batch = gather(alone, part, lists_per_batch=height, list_size=1, width=width)
                batch = {name: batch[name] for name in ("ids", "mask", "types")}
                waiting.append((part, _scores(params, config, batch, dtype=dtype)))
        for part, scores in waiting:
            flat[part] = np.asarray(scores)[: len(part)]
        table = np.zeros((*where.shape, outputs), np.float32)
        table[where] = flat
        return float(measure(table[..., 0] if outputs == 1 else table, labels, where))

    return validate
