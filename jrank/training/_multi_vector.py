"""Fitting a late-interaction encoder: against the other documents of a batch, or to the scores of a teacher."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jrank import maxsim
from jrank.errors import TrainError
from jrank.losses import gradient_cache, info_nce_loss, kl_distillation_loss, margin_mse_loss
from jrank.models import EncoderConfig, MultiVectorEncoder, token_vectors
from jrank.training._history import FitResult
from jrank.training._lists import STEP, check_lists
from jrank.training._loop import epoch_order, fit
from jrank.training._schedules import decay_mask, warmup_schedule
from jrank.training._state import describe_data
from jrank.training._validation import ndcg_at_10
from jrank.types import Array

__all__ = ["fit_multi_vector"]

LOSSES = "contrastive", "margin_mse", "kl"


def fit_multi_vector(
    model: MultiVectorEncoder,
    lists: Sequence[Any],
    *,
    validation: Sequence[Any] | None = None,
    loss: str = "contrastive",
    temperature: float | int | None = None,
    list_size: int | None = None,
    batch_size: int = 16,
    chunk_size: int | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    learning_rate: float | int = 3e-5,
    projection_learning_rate: float | int | None = None,
    warmup: float | int = 0.1,
    decay: str = "linear",
    weight_decay: float | int = 0.01,
    clip_norm: float | int | None = 1.0,
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
    r"""Train a late-interaction encoder on lists: one query, some documents, a number for each.

    With "contrastive" the labels say which document of a list is the positive one, the one with the largest label; it
    competes with all documents of all lists of the step, those of its own list among them:

    .. math:: L = -\frac{1}{|B|} \sum_{q \in B} \log
        \frac{\exp(s(q, d_q) / T)}{\sum_{d \in B} \exp(s(q, d) / T)}

    With "margin_mse" and "kl" the labels are scores of a teacher, such as a cross-encoder; within a list the margins
    over the document with the largest label, or the softmax of all scores, shall be those of the teacher.

    Args:
      model: the model to start from, with a tokenizer; it is not changed.
      lists: ``(query, documents, labels)`` each, as for ``fit_cross_encoder``.
      validation: lists to choose the best parameters by, with NDCG@10 within each list; None keeps the last.
      loss: "contrastive", "margin_mse" or "kl".
      temperature: T, in units of the score. None is 1 for "kl" and the others; scores are sums over the query's tokens,
        so a smaller one is seldom needed.
      list_size: most documents of a list, those with the largest labels first; None for the longest list.
      batch_size: lists of a step.
      chunk_size: how many texts are encoded at a time: memory is then that of one chunk, not of the batch, and each
        text is encoded twice (``losses.gradient_cache``). None encodes all at once.
      epochs: how often every list is seen; None is 1, or as often as ``max_steps`` needs.
      max_steps: most steps; the schedule ends with the last one.
      learning_rate: the largest.
      projection_learning_rate: that of the projection; None for the same.
      warmup: as in ``warmup_schedule``.
      decay: as in ``warmup_schedule``.
      weight_decay: of all matrices, not of biases and normalisations.
      clip_norm: the longest gradient; None does not clip.
      dropout: whether to drop out as the model's configuration says; not together with ``chunk_size``.
      compute_dtype: ``jnp.bfloat16`` for accelerators; parameters, scores and optimiser stay in float32. On a CPU a
        step takes about as long in both.
      remat: compute each layer again in the backward pass instead of keeping it.
      validate_every: steps between validations; None is an epoch.
      patience: stop after so many validations without improvement; None never stops early.
      seed: the order of the lists and the dropout.
      mesh: spread the lists of a step over all devices of the mesh; negatives come from all of them.
      resume: a directory for the state, to continue from after an interruption; see ``fit``.
      save_every: steps between states in that directory.
      progress: whether to show a bar on stderr.

    Returns:
      The trained model (the best by validation, without it the last), the history, the best validation.

    Raises:
      TrainError: an option is out of range, the lists are empty or malformed, the training diverged, or the state
        belongs to another run.
      TypeError: a list is not of the form asked for.

    Numerics: a document that stands in several lists of a step is a negative in the others; texts equal to the positive
    one are left out of its negatives. Padding up to whole lists is masked.
    Cost: three times the forward pass of a step's texts; its scores cost one product (``maxsim.score_matrix``). One
    compilation for each of a few widths of documents.
    References: Khattab and Zaharia, ColBERT, SIGIR 2020; Santhanam et al., ColBERTv2, NAACL 2022; Hofstätter et al.,
    Improving efficient neural ranking models with cross-architecture knowledge distillation, 2020.

    >>> import tokenizers
    >>> from jrank.text import PairTokenizer
    >>> words = {"[PAD]": 0, "a": 1, "b": 2, "c": 3, "d": 4}
    >>> inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "[PAD]"))
    >>> raw = {"model_type": "bert", "vocab_size": 5, "hidden_size": 8, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 8}
    >>> model = MultiVectorEncoder.from_config(raw, PairTokenizer.from_bytes(inner.to_str()), dimension=4)
    >>> lists = [("a", ["b"], [1]), ("c", ["d"], [1])]
    >>> result = fit_multi_vector(model, lists, batch_size=2, learning_rate=0.05, max_steps=30, progress=False)
    >>> result.history.loss[-1] < 0.5 < result.history.loss[0]
    True
    """
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise TrainError("the model has no tokenizer", reason="invalid_parameter", hint="pass tokenizer= to it")
    if loss not in LOSSES:
        raise TrainError(f"loss is {loss!r}", reason="invalid_parameter", hint=f"choose one of {', '.join(LOSSES)}")
    counts = {"list_size": list_size, "batch_size": batch_size, "chunk_size": chunk_size, "epochs": epochs}
    for name, value in (counts | {"max_steps": max_steps}).items():
        if value is not None and value < 1:
            raise TrainError(f"{name} must be at least 1, got {value}", reason="invalid_parameter")
    for name, value in {"temperature": temperature, "projection_learning_rate": projection_learning_rate}.items():
        if value is not None and not value > 0:
            raise TrainError(f"{name} must be positive, got {value}", reason="invalid_parameter")
    if dropout and chunk_size is not None:
        raise TrainError(
            "dropout and chunk_size do not go together: both passes over a chunk must draw the same",
            reason="invalid_parameter",
            hint="leave one of them out",
        )
    if mesh is not None and batch_size % mesh.size:
        raise TrainError(
            f"batch_size={batch_size} is no multiple of the {mesh.size} devices", reason="invalid_parameter"
        )

    train = _Texts(model, check_lists(lists, list_size=list_size, name="lists"))
    size = max(len(rows) for rows in train.documents)
    per_epoch = math.ceil(len(train) / batch_size)
    steps = (epochs or 1) * per_epoch if max_steps is None else min(max_steps, (epochs or max_steps) * per_epoch)

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return epoch_order(len(train), seed, epoch)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        epoch, place = divmod(step, per_epoch)
        return train.batch(order(epoch)[place * batch_size : (place + 1) * batch_size], batch_size, size)

    validate = None
    if validation is not None:
        validate = _validator(model, check_lists(validation, list_size=None, name="validation"))

    params = model.params
    hidden = train.hidden
    rates = jax.tree_util.tree_map_with_path(
        lambda path, _: (
            1.0
            if projection_learning_rate is None or path[0].key != "projection"
            else projection_learning_rate / learning_rate
        ),
        params,
    )
    result = fit(
        params,
        _loss_fn(
            model.config,
            loss,
            float(1.0 if temperature is None else temperature),
            hidden,
            chunk_size,
            dropout,
            jnp.dtype(compute_dtype),
            remat,
        ),
        batch_at,
        steps=steps,
        learning_rate=warmup_schedule(learning_rate, steps, warmup=warmup, decay=decay),
        rate_scale=rates,
        weight_decay=jax.tree.map(lambda decays: weight_decay if decays else 0.0, decay_mask(params)),
        clip_norm=clip_norm,
        validate=validate,
        validate_every=validate_every or per_epoch,
        patience=patience,
        seed=seed,
        mesh=mesh,
        resume=resume,
        save_every=save_every,
        config={
            "model": repr(model.config),
            "rules": model.rules.to_dict(),
            "lists": describe_data(*train.identity()),
            "loss": loss,
            "temperature": temperature,
            "batch_size": batch_size,
            "steps": steps,
            "learning_rate": [learning_rate, projection_learning_rate, warmup, decay],
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "dropout": dropout,
            "compute_dtype": str(jnp.dtype(compute_dtype)),
        },
        progress=progress,
        description="multi-vector encoder",
    )
    return FitResult(model=model.with_params(result.model), history=result.history, best=result.best)


class _Texts:
    """Lists as token ids: every text once."""

    def __init__(self, model: MultiVectorEncoder, lists: list[tuple[str, list[str], list[float]]]):
        self._tokenizer = model.tokens.tokenizer
        unique = list(dict.fromkeys(text for _, documents, _ in lists for text in documents))
        numbers = {text: place for place, text in enumerate(unique)}
        self._queries = model.tokens.queries([query for query, _, _ in lists])
        self._texts = model.tokens.documents(unique)
        self._keep = [model.tokens.keep(row, query=False) for row in self._texts.ids]
        self._keep_query = [model.tokens.keep(row, query=True) for row in self._queries.ids]
        self.hidden = None if model.rules.attend_to_expansion else model.tokens.mask_id
        self.documents = [np.array([numbers[text] for text in documents]) for _, documents, _ in lists]
        self.labels = [np.array(labels, np.float32) for _, _, labels in lists]
        self._query_width = _width(int(self._queries.lengths.max()), model.rules.query_length)
        # Two widths of documents: one compilation each.
        lengths = self._texts.lengths
        limit = model.rules.document_length
        self._widths = sorted({_width(int(np.quantile(lengths, 0.75)), limit), _width(int(lengths.max()), limit)})

    def __len__(self) -> int:
        return len(self.documents)

    def identity(self) -> list[np.ndarray]:
        """What tells this data from other data."""
        return [np.concatenate(x) for x in (self._queries.ids, self._texts.ids, self.documents, self.labels)]

    def batch(self, rows: np.ndarray, lists_per_batch: int, list_size: int) -> dict[str, np.ndarray]:
        """Pad some lists to a rectangle; missing lists and documents are masked."""
        chosen = np.full((lists_per_batch, list_size), -1)
        labels = np.zeros(chosen.shape, np.float32)
        for place, row in enumerate(rows):
            count = len(self.documents[row])
            chosen[place, :count], labels[place, :count] = self.documents[row], self.labels[row]
        real = np.unique(chosen[chosen >= 0])
        width = next(width for width in self._widths if width >= self._texts.lengths[real].max())
        queries = self._padded(self._queries, self._keep_query, np.pad(rows, (0, lists_per_batch - len(rows))), None)
        documents = self._padded(self._texts, self._keep, np.maximum(chosen, 0).reshape(-1), width)
        documents = {name: array.reshape(*chosen.shape, -1) for name, array in documents.items()}
        return {
            **{f"query_{name}": array for name, array in queries.items()},
            **documents,
            "labels": labels,
            "where": chosen >= 0,
            "number": chosen.astype(np.int32),
        }

    def _padded(
        self, encoded: Any, keep: list[np.ndarray], rows: np.ndarray, width: int | None
    ) -> dict[str, np.ndarray]:
        ids, mask, types = self._tokenizer.pad(encoded, rows, length=width or self._query_width)
        kept = np.zeros(ids.shape, bool)
        for place, row in enumerate(rows):
            kept[place, : len(keep[row])] = keep[row]
        return {"ids": ids, "mask": mask, "types": types, "keep": kept}


def _width(length: int, limit: int) -> int:
    return max(min(-(-length // STEP) * STEP, limit), length)


@functools.lru_cache(maxsize=8)
def _loss_fn(
    config: EncoderConfig,
    loss: str,
    temperature: float,
    hidden: int | None,
    chunk_size: int | None,
    dropout: bool,
    dtype: Any,
    remat: bool,
) -> Any:
    """One function per setting, so that another fit finds the compiled step again."""

    def encoded(params: Any, rows: tuple[Array, ...], key: Array | None) -> Array:
        def some(params: Any, rows: tuple[Array, ...]) -> Array:
            return token_vectors(params, config, *rows, key=key, compute_dtype=dtype, remat=remat)

        return (some if chunk_size is None else gradient_cache(some, chunk_size=chunk_size))(params, rows)

    def loss_fn(params: Any, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        q, n, t = batch["ids"].shape
        keys = jax.random.split(key) if dropout else (None, None)
        mask = batch["query_mask"]
        if hidden is not None:
            mask = mask * (batch["query_ids"] != hidden)
        queries = encoded(params, (batch["query_ids"], mask, batch["query_types"]), keys[0])
        rows = tuple(batch[name].reshape(q * n, t) for name in ("ids", "mask", "types"))
        documents = encoded(params, rows, keys[1])
        real, labels = jnp.any(batch["where"], axis=-1), batch["labels"]
        count = jnp.sum(real, dtype=jnp.float32)
        # The first document of the largest label.
        positive = jnp.argmax(jnp.where(batch["where"], labels, -jnp.inf), axis=-1)
        if loss == "contrastive":
            scores = maxsim.score_matrix(
                queries, documents, query_where=batch["query_keep"], doc_where=batch["keep"].reshape(q * n, t)
            )
            number = batch["number"].reshape(1, -1)
            own = jnp.take_along_axis(batch["number"], positive[:, None], axis=1)
            column = jnp.arange(q) * n + positive
            here = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1) == column[:, None]
            # No other place of the positive text is a negative.
            where = (here | (number != own)) & (number >= 0) & real[:, None]
            values = info_nce_loss(scores, column, where=where, temperature=temperature, reduce_fn=None)
        else:
            scores = maxsim.score_pairs(
                queries,
                documents.reshape(q, n, t, -1),
                query_where=batch["query_keep"],
                doc_where=batch["keep"].reshape(q, n, t),
            )
            where = batch["where"]
            if loss == "kl":
                values = kl_distillation_loss(scores / temperature, labels / temperature, where=where, reduce_fn=None)
            else:
                # The positive one to the front, where the loss expects it.
                turn = (jnp.arange(n)[None] + positive[:, None]) % n
                scores, labels, where = (jnp.take_along_axis(x, turn, axis=1) for x in (scores, labels, where))
                values = margin_mse_loss(
                    scores / temperature, labels / temperature, where=where, positive=0, reduce_fn=None
                )
        return jnp.sum(jnp.where(real, values, 0.0)) / jnp.maximum(count, 1.0), count

    return loss_fn


def _validator(model: MultiVectorEncoder, lists: list[tuple[str, list[str], list[float]]]) -> Any:
    """Return a function of the parameters: NDCG@10 within the lists."""
    unique = list(dict.fromkeys(text for _, documents, _ in lists for text in documents))
    numbers = {text: place for place, text in enumerate(unique)}
    size = max(len(documents) for _, documents, _ in lists)
    labels, where = np.zeros((len(lists), size), np.float32), np.zeros((len(lists), size), bool)
    for row, (_, _, grades) in enumerate(lists):
        labels[row, : len(grades)], where[row, : len(grades)] = grades, True
    score = jax.jit(maxsim.score_packed)

    def validate(params: Any) -> float:
        trained = model.with_params(params)
        packed = maxsim.pack(trained.encode_documents(unique))
        queries = trained.encode_queries([query for query, _, _ in lists])
        width = max(8, -(-max(len(query) for query in queries) // 8) * 8)
        table = np.zeros(where.shape, np.float32)
        for row, (query, (_, documents, _)) in enumerate(zip(queries, lists, strict=True)):
            padded = np.pad(query, ((0, width - len(query)), (0, 0)))
            found = np.asarray(score(padded, packed, query_where=np.arange(width) < len(query)))
            table[row, : len(documents)] = found[[numbers[text] for text in documents]]
        return float(ndcg_at_10(table, labels, where=where))

    return validate
