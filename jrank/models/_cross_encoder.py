"""A transformer that reads query and document together and gives one score."""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jrank.models import _functions as functions
from jrank.models._batches import run_batches
from jrank.models._checkpoint import read_assets, read_checkpoint
from jrank.models._config import EncoderConfig
from jrank.models._families import config_from
from jrank.models._sentence import SENTENCE_FILES, cross_encoder_fields
from jrank.models._shell import Shell, Source, check_vocabulary, load_tokenizer, need_tokenizer
from jrank.models._text_encoder import check_max_length, save
from jrank.models._weights import DEFAULT_MODEL, find_weights
from jrank.text import PairTokenizer, read_tokenizer_config
from jrank.types import Array

__all__ = ["CrossEncoder"]

MAX_LENGTH = 512


class CrossEncoder(Shell):
    """A transformer encoder with a classifier head over pairs of texts.

    Args:
      params: its parameters.
      config: its configuration.
      tokenizer: its tokenizer; None if only token ids will be scored.
      source: what to write back when it is saved.

    >>> raw = {"model_type": "bert", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 6}
    >>> model = CrossEncoder.from_config(raw)
    >>> model.logits(np.array([[1, 5, 2, 6, 2]]), np.ones((1, 5), int), np.array([[0, 0, 0, 1, 1]])).shape
    (1, 1)
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
        if tokenizer is not None:
            check_vocabulary(tokenizer, config)

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | os.PathLike[str] = DEFAULT_MODEL,
        num_labels: int | None = None,
        *,
        seed: int = 0,
    ) -> "CrossEncoder":
        """Read a cross-encoder, or make one of an encoder by giving it a new head.

        Args:
          name_or_dir: see ``find_weights``.
          num_labels: outputs; None for those of the checkpoint, or 1 where it has no head.
          seed: of the new head, and of the new pooler where the checkpoint has none; ``source.new`` names them.

        Returns:
          The model, in float32.

        Raises:
          ModelError: it is not found, its files do not fit together, or its head has another number of outputs.
        """
        directory = find_weights(name_or_dir)
        found = read_checkpoint(directory, parts=("encoder", "pooler", "head"), num_labels=num_labels, seed=seed)
        tokenizer = load_tokenizer(directory, found.config)
        raw = {**found.raw, **cross_encoder_fields(found.raw, read_assets(directory, SENTENCE_FILES))}
        return cls(found.params, found.config, tokenizer, source=Source(raw, found.assets, found.new))

    @classmethod
    def from_config(
        cls,
        raw: Mapping[str, Any],
        tokenizer: PairTokenizer | None = None,
        *,
        num_labels: int | None = None,
        seed: int = 0,
    ) -> "CrossEncoder":
        """Make a new cross-encoder.

        Args:
          raw: the fields of a Hugging Face ``config.json``.
          tokenizer: its tokenizer.
          num_labels: outputs; None for what ``raw`` says, or 1.
          seed: of the parameters.

        Raises:
          ModelError: the configuration is not valid.
        """
        config = config_from(raw)
        config = config if num_labels is None else config.with_labels(num_labels)
        return cls(functions.init_params(config, seed), config, tokenizer, source=Source(dict(raw)))

    @property
    def max_length(self) -> int:
        """Most tokens of a pair where nobody says otherwise: 512, or fewer where the model takes fewer.

        A directory may say fewer too, by ``model_max_length`` of its tokenizer_config.json, where sentence-transformers
        keeps the length of a cross-encoder.
        """
        said = read_tokenizer_config(self.source.assets.get("tokenizer_config.json", b"")).max_length
        return min(MAX_LENGTH, self.config.max_length, said or MAX_LENGTH)

    def apply(
        self, params: Any, input_ids: Any, attention_mask: Any, token_type_ids: Any = None, **options: Any
    ) -> Array:
        """Logits as a pure function of the parameters: what training differentiates.

        Args:
          params: the parameters.
          input_ids: ``[b, t]``.
          attention_mask: ``[b, t]``.
          token_type_ids: ``[b, t]`` or None.
          **options: key (dropout), remat, compute_dtype; see ``logits`` in this package.

        Returns:
          ``[b, labels]``, float32.
        """
        return functions.logits(params, self.config, input_ids, attention_mask, token_type_ids, **options)

    def __call__(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Array:
        """Logits ``[b, labels]``, traceable: what export converts.

        Args:
          input_ids: ``[b, t]``.
          attention_mask: ``[b, t]``.
          token_type_ids: ``[b, t]`` or None.
        """
        return self.apply(self.params, input_ids, attention_mask, token_type_ids)

    def logits(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Array:
        """Logits of token ids, checked and compiled.

        Args:
          input_ids: ``[b, t]``.
          attention_mask: ``[b, t]``, 1 at tokens, 0 at padding.
          token_type_ids: ``[b, t]``, 0 in the query, 1 in the document; None for 0 throughout.

        Returns:
          ``[b, labels]``, float32.

        Raises:
          ModelError: shapes that do not fit, or ids outside of the vocabulary.
        """
        if functions.is_concrete(input_ids, attention_mask, token_type_ids):
            functions.validate_inputs(self.config, input_ids, attention_mask, token_type_ids)
        return _logits(self.params, input_ids, attention_mask, token_type_ids, config=self.config, dtype=jnp.float32)

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        max_length: int | None = None,
        max_batch_tokens: int | None = None,
        progress: bool = False,
        compute_dtype: Any = jnp.float32,
        mesh: Mesh | None = None,
    ) -> np.ndarray:
        """Score (query, document) pairs: raw logits, larger is better.

        Args:
          pairs: two texts each; empty texts are allowed.
          max_length: most tokens of a pair, special ones included; None for that of the model, 512 or fewer. The query
            is cut at half of it, the document at what is left.
          max_batch_tokens: tokens of a padded batch, on each device; None for what suits the machine.
          progress: show a bar on stderr.
          compute_dtype: ``jnp.bfloat16`` is faster on accelerators, and with jax 0.12 on a CPU that multiplies it.
          mesh: devices that share the rows of each batch, see ``jrank.sharding.make_mesh``; None for one device.

        Returns:
          float32 ``[n]``, or ``[n, labels]`` for a model with several outputs.

        Raises:
          TypeError: something other than pairs of texts.
          ModelError: an option is out of range, or the model has no tokenizer.
        """
        limit = check_max_length(max_length, self.config, self.max_length)
        tokenizer = need_tokenizer(self.tokenizer)
        encoded = tokenizer.encode_pairs(pairs, max_length=limit)
        run = functools.partial(_logits, config=self.config, dtype=compute_dtype)
        scores = np.zeros((len(encoded), self.config.num_labels), np.float32)
        for batch, result in run_batches(
            run,
            self.params,
            tokenizer,
            encoded,
            limit=limit,
            budget=max_batch_tokens,
            mesh=mesh,
            progress=progress,
            description="score",
        ):
            scores[batch.rows] = result[: len(batch.rows)]
        return scores[:, 0] if self.config.num_labels == 1 else scores

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write a Hugging Face directory that transformers and sentence-transformers read, the tokenizer included.

        Args:
          directory: where. A new one appears whole or not at all; in one that is there the model's files are replaced.

        Raises:
          ModelError: it cannot be written.
        """
        save(self, directory)


@functools.partial(jax.jit, static_argnames=("config", "dtype"))
def _logits(
    params: Any, input_ids: Any, attention_mask: Any, token_type_ids: Any, *, config: EncoderConfig, dtype: Any
) -> Array:
    return functions.logits(params, config, input_ids, attention_mask, token_type_ids, compute_dtype=dtype)
