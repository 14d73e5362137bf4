"""Texts to vectors: one per text, or one per token."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jrank.errors import ModelError
from jrank.models import _functions as functions
from jrank.models._batches import run_batches
from jrank.models._checkpoint import Checkpoint, read_assets, read_checkpoint, write_checkpoint
from jrank.models._config import EncoderConfig
from jrank.models._families import config_from, family_of
from jrank.models._sentence import SENTENCE_FILES, read_sentence_settings
from jrank.models._shell import Shell, Source, check_vocabulary, load_tokenizer, need_tokenizer
from jrank.models._weights import DEFAULT_MODEL, find_weights
from jrank.text import PairTokenizer
from jrank.types import Array

__all__ = ["TextEncoder"]

POOLINGS = ("mean", "cls", "max")
MAX_LENGTH = 256


class TextEncoder(Shell):
    """A transformer encoder with its tokenizer.

    Args:
      params: its parameters.
      config: its configuration.
      tokenizer: its tokenizer; None if only token ids will be encoded.
      source: what to write back when it is saved.

    >>> raw = {"model_type": "bert", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 6}
    >>> encoder = TextEncoder.from_config(raw)
    >>> encoder.hidden_states(np.array([[1, 5, 2]]), np.ones((1, 3), int)).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        params: Any,
        config: EncoderConfig,
        tokenizer: PairTokenizer | None = None,
        *,
        source: Source | None = None,
    ):
        super().__init__(params)
        self.config = config
        self.tokenizer = tokenizer
        self.source = source or Source()
        self.settings = read_sentence_settings(self.source.assets)
        if tokenizer is not None:
            check_vocabulary(tokenizer, config)

    @classmethod
    def from_pretrained(cls, name_or_dir: str | os.PathLike[str] = DEFAULT_MODEL) -> "TextEncoder":
        """Read an encoder from a Hugging Face directory.

        Args:
          name_or_dir: see ``find_weights``.

        Returns:
          The encoder, in float32.

        Raises:
          ModelError: it is not found, or its files do not fit together.
        """
        directory = find_weights(name_or_dir)
        found = read_checkpoint(directory)
        tokenizer = load_tokenizer(directory, found.config)
        assets = {**found.assets, **read_assets(directory, SENTENCE_FILES)}
        return cls(found.params, found.config, tokenizer, source=Source(found.raw, assets))

    @classmethod
    def from_config(
        cls, raw: Mapping[str, Any], tokenizer: PairTokenizer | None = None, *, seed: int = 0
    ) -> "TextEncoder":
        """Make a new encoder.

        Args:
          raw: the fields of a Hugging Face ``config.json``.
          tokenizer: its tokenizer.
          seed: of the parameters.

        Raises:
          ModelError: the configuration is not valid.
        """
        config = config_from(raw)
        params = functions.init_params(config, seed)
        params.pop("head", None)
        return cls(params, config, tokenizer, source=Source(dict(raw)))

    def apply(
        self, params: Any, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, **options: Any
    ) -> Array:
        """Hidden states as a pure function of the parameters; see ``encode`` in this package.

        Args:
          params: the parameters.
          input_ids: ``[b, t]``.
          attention_mask: ``[b, t]``.
          token_type_ids: ``[b, t]`` or None.
          **options: key, remat, compute_dtype.

        Returns:
          ``[b, t, d]``.
        """
        return functions.encode(params, self.config, input_ids, attention_mask, token_type_ids, **options)

    def __call__(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Array:
        """Hidden states ``[b, t, d]``, traceable: what export converts.

        Args:
          input_ids: ``[b, t]``.
          attention_mask: ``[b, t]``.
          token_type_ids: ``[b, t]`` or None.
        """
        return self.apply(self.params, input_ids, attention_mask, token_type_ids)

    def hidden_states(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Array:
        """Hidden states of token ids, checked and compiled.

        Args:
          input_ids: ``[b, t]``.
          attention_mask: ``[b, t]``, 1 at tokens, 0 at padding.
          token_type_ids: ``[b, t]`` or None.

        Returns:
          ``[b, t, d]``, float32.

        Raises:
          ModelError: shapes that do not fit, or ids outside of the vocabulary.
        """
        if functions.is_concrete(input_ids, attention_mask, token_type_ids):
            functions.validate_inputs(self.config, input_ids, attention_mask, token_type_ids)
        return _hidden(self.params, self.config, input_ids, attention_mask, token_type_ids)

    def encode(
        self,
        texts: Iterable[str],
        *,
        pooling: str | None = None,
        normalize: bool = True,
        max_length: int | None = None,
        max_batch_tokens: int | None = None,
        tokens: bool = False,
        special_tokens: bool = True,
        progress: bool = False,
        compute_dtype: Any = jnp.float32,
        mesh: Mesh | None = None,
    ) -> Any:
        """Encode texts.

        Texts are sorted by length and run in a few padded shapes; results come in the order of the texts, and do not
        depend on what else is encoded beyond rounding.

        Args:
          texts: the texts; empty ones are allowed.
          pooling: "mean" over the tokens, "cls" or "max"; None for what the model's directory says, or "mean".
          normalize: Euclidean length 1, of the tokens' vectors too.
          max_length: most tokens of a text, special ones included; None for what the model's directory says,
            or 256, and never more than the model takes.
          max_batch_tokens: tokens of a padded batch, on each device; None for what suits the machine.
          tokens: give the vectors of the tokens too.
          special_tokens: False leaves the vectors of the first and last token, [CLS] and [SEP], out of those.
          progress: show a bar on stderr.
          compute_dtype: ``jnp.bfloat16`` is faster on accelerators.
          mesh: devices that share the rows of each batch, see ``jrank.sharding.make_mesh``; None for one device.

        Returns:
          float32 ``[n, d]``; with ``tokens`` also a list of n float32 arrays ``[t_i, d]``.

        Raises:
          TypeError: something other than texts.
          ModelError: an option is out of range, or the model has no tokenizer.
        """
        limit = check_max_length(max_length, self.config, self.settings.max_length or MAX_LENGTH)
        pooling = self.settings.check() if pooling is None else pooling
        if pooling not in POOLINGS:
            raise ModelError(
                f"the pooling {pooling!r} is unknown", reason="invalid_input", hint=f"known are {', '.join(POOLINGS)}"
            )
        tokenizer = need_tokenizer(self.tokenizer)
        encoded = tokenizer.encode_texts(texts, max_length=limit)
        run = functools.partial(
            _embed, config=self.config, pooling=pooling, normalize=normalize, tokens=tokens, dtype=compute_dtype
        )
        vectors = np.zeros((len(encoded), self.config.hidden_size), np.float32)
        matrices: list[np.ndarray] = [np.zeros((0, self.config.hidden_size), np.float32)] * len(encoded)
        edge = 0 if special_tokens else 1
        for batch, (pooled, hidden) in run_batches(
            run,
            self.params,
            tokenizer,
            encoded,
            limit=limit,
            budget=max_batch_tokens,
            mesh=mesh,
            progress=progress,
            description="encode",
        ):
            vectors[batch.rows] = pooled[: len(batch.rows)]
            if tokens:
                for row, matrix in zip(batch.rows, hidden, strict=False):
                    matrices[row] = matrix[edge : encoded.lengths[row] - edge].copy()
        return (vectors, matrices) if tokens else vectors

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write a Hugging Face directory, the tokenizer included.

        Args:
          directory: where.

        Raises:
          ModelError: it cannot be written.
        """
        save(self, directory)


def save(model: Any, directory: str | os.PathLike[str]) -> None:
    """Write a model that has a source and a tokenizer.

    Args:
      model: the model.
      directory: where.
    """
    assets = dict(model.source.assets)
    if model.tokenizer is not None and "tokenizer.json" not in assets:
        assets["tokenizer.json"] = model.tokenizer.to_bytes()
    raw = {"model_type": family_of(model.config).model_type, **model.source.raw}
    write_checkpoint(directory, Checkpoint(model.config, model.params, raw, assets))


def check_max_length(asked: int | None, config: EncoderConfig, default: int) -> int:
    """The number of tokens to cut at.

    Args:
      asked: what the user asked for; None for the default.
      config: says how many the model takes.
      default: the default where the model takes as many.
    """
    if asked is None:
        return min(default, config.max_length)
    if not 1 <= asked <= config.max_length:
        raise ModelError(
            f"max_length is {asked}, 1 to {config.max_length} was expected: the model has no more positions",
            reason="invalid_input",
        )
    return asked


@functools.partial(jax.jit, static_argnames="config")
def _hidden(params: Any, config: EncoderConfig, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Array:
    return functions.encode(params, config, input_ids, attention_mask, token_type_ids)


@functools.partial(jax.jit, static_argnames=("config", "pooling", "normalize", "tokens", "dtype"))
def _embed(
    params: Any,
    input_ids: Any,
    attention_mask: Any,
    token_type_ids: Any,
    *,
    config: EncoderConfig,
    pooling: str,
    normalize: bool,
    tokens: bool,
    dtype: Any,
) -> tuple[Array, Array | None]:
    hidden = functions.encode(params, config, input_ids, attention_mask, token_type_ids, compute_dtype=dtype)
    pooled = functions.pool_hidden(hidden, attention_mask, method=pooling, normalize=normalize)
    if not tokens:
        return pooled, None
    hidden = hidden.astype(jnp.float32)
    if normalize:
        hidden = hidden / jnp.maximum(jnp.linalg.norm(hidden, axis=-1, keepdims=True), 1e-12)
    return pooled, hidden
