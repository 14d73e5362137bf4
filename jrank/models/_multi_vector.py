"""A late-interaction encoder (ColBERT): one vector for each token, projected and of length 1."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, PRNGKeyArray, Shaped

from jrank.errors import ModelError
from jrank.models import _functions as functions
from jrank.models._batches import run_batches
from jrank.models._checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from jrank.models._config import EncoderConfig
from jrank.models._families import config_from, family_of
from jrank.models._multi_vector_files import plain_rules, read_late_interaction, write_late_interaction
from jrank.models._shell import Shell, Source, check_vocabulary, load_tokenizer, need_tokenizer
from jrank.models._weights import DEFAULT_MODEL, find_weights
from jrank.text import MultiVectorRules, PairTokenizer, TokenRules
from jrank.types import Array, ArrayLike

__all__ = ["MultiVectorEncoder", "token_vectors"]


def token_vectors(
    params: Any,
    config: EncoderConfig,
    input_ids: Int[ArrayLike, "b t"],
    attention_mask: Shaped[ArrayLike, "b t"],
    token_type_ids: Int[ArrayLike, "b t"] | None = None,
    *,
    key: PRNGKeyArray | Shaped[Array, "2"] | None = None,
    remat: bool = False,
    compute_dtype: Any = jnp.float32,
) -> Float[Array, "b t d"]:
    r"""One vector of length 1 for each token: hidden states, projected and normalised, in float32.

    .. math:: v_i = \frac{W h_i + b}{\lVert W h_i + b \rVert}

    Args:
      params: "encoder", the parameters of the trunk, and "projection" with a "kernel" and perhaps a "bias", or without
        "projection" the hidden states themselves are normalised.
      config: the configuration of the trunk; static.
      input_ids: token ids, padded on the right.
      attention_mask: 1 at tokens that others see.
      token_type_ids: None for 0 throughout.
      key: key of the dropout, for training; None for none.
      remat: recompute each layer in the backward pass.
      compute_dtype: of the trunk; the projection is in float32.

    Returns:
      ``[b, t, d]``. A vector of zeros stays zero, with gradient 0.

    Raises:
      ModelError: the shapes do not fit.

    >>> config = EncoderConfig(family="bert", vocab_size=9, hidden_size=4, num_layers=1, num_heads=2,
    ...                        intermediate_size=8, max_positions=6)
    >>> params = {"encoder": functions.init_params(config), "projection": {"kernel": jnp.ones((4, 2))}}
    >>> token_vectors(params, config, jnp.array([[1, 5, 2]]), jnp.ones((1, 3))).shape
    (1, 3, 2)
    """
    hidden = functions.encode(
        params["encoder"],
        config,
        input_ids,
        attention_mask,
        token_type_ids,
        key=key,
        remat=remat,
        compute_dtype=compute_dtype,
    ).astype(jnp.float32)
    if "projection" in params:
        layer = params["projection"]
        hidden = hidden @ layer["kernel"]
        hidden = hidden + layer["bias"][None, None] if "bias" in layer else hidden
    square = jnp.sum(hidden * hidden, axis=-1, keepdims=True)
    return hidden / jnp.sqrt(jnp.where(square > 0.0, square, 1.0))


class MultiVectorEncoder(Shell):
    """A late-interaction encoder with its tokenizer: texts to matrices, one row for each token that counts.

    Args:
      params: "encoder" and perhaps "projection", see ``token_vectors``.
      config: the configuration of the trunk.
      tokenizer: its tokenizer; None if only token ids will be encoded.
      rules: markers, lengths, expansion, what is left out.
      source: what to write back when it is saved.

    Raises:
      ModelError: the rules name tokens that the tokenizer does not have, or the projection does not fit.

    >>> import tokenizers
    >>> inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "a": 1, "b": 2, ".": 3}, "[PAD]"))
    >>> inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    >>> raw = {"model_type": "bert", "vocab_size": 4, "hidden_size": 8, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 8}
    >>> model = MultiVectorEncoder.from_config(raw, PairTokenizer.from_bytes(inner.to_str()), dimension=4)
    >>> [doc.shape for doc in model.encode_documents(["a b .", "b"])]
    [(2, 4), (1, 4)]
    """

    def __init__(
        self,
        params: Any,
        config: EncoderConfig,
        tokenizer: PairTokenizer | None = None,
        *,
        rules: MultiVectorRules | None = None,
        source: Source | None = None,
    ):
        super().__init__(params)
        self.config = config
        self.tokenizer = tokenizer
        self.source = source or Source()
        self.rules = plain_rules(tokenizer, colbert="projection" in params) if rules is None else rules
        longest = max(self.rules.query_length, self.rules.document_length)
        if longest > config.max_length:
            raise ModelError(
                f"the rules ask for {longest} tokens, the model takes {config.max_length}",
                reason="invalid_config",
                hint="pass rules= with a smaller query_length and document_length",
            )
        if "projection" in params and params["projection"]["kernel"].shape[0] != config.hidden_size:
            raise ModelError(
                f"the projection takes {params['projection']['kernel'].shape[0]} dimensions, the trunk gives "
                f"{config.hidden_size}",
                reason="invalid_weights",
            )
        if tokenizer is not None:
            check_vocabulary(tokenizer, config)
            self.tokens = TokenRules(self.rules, tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | os.PathLike[str] = DEFAULT_MODEL,
        dimension: int | None = None,
        *,
        rules: MultiVectorRules | None = None,
        seed: int = 0,
    ) -> "MultiVectorEncoder":
        """Read a late-interaction model, or make one of an encoder.

        Args:
          name_or_dir: see ``find_weights``. Directories of PyLate and ColBERT bring projection and rules; of another
            encoder, such as all-MiniLM-L6-v2, the hidden states are taken as they are, or a new projection is made.
          dimension: of a new projection, for an encoder that has none; None makes none.
          rules: other rules than those of the directory.
          seed: of a new projection; ``source.new`` names it.

        Returns:
          The model, in float32.

        Raises:
          ModelError: it is not found, its files do not fit together, or it has a projection to another dimension.
        """
        directory = find_weights(name_or_dir)
        projection, found_rules = read_late_interaction(directory)
        found = read_checkpoint(directory, ignored=("linear.",))
        tokenizer = load_tokenizer(directory, found.config)
        params, new = {"encoder": found.params}, ()
        if projection is not None:
            if dimension not in (None, projection[0].shape[1]):
                raise ModelError(
                    f"the model projects to {projection[0].shape[1]} dimensions, {dimension} were asked for",
                    reason="invalid_weights",
                    hint="leave dimension= out",
                )
            layer = {"kernel": jnp.asarray(projection[0])}
            params["projection"] = layer if projection[1] is None else {**layer, "bias": jnp.asarray(projection[1])}
        elif dimension is not None:
            params["projection"], new = new_projection(found.config, dimension, seed), ("projection.kernel",)
        rules = rules or found_rules or plain_rules(tokenizer, colbert="projection" in params)
        rules = _within(rules, found.config)
        return cls(params, found.config, tokenizer, rules=rules, source=Source(found.raw, found.assets, new))

    @classmethod
    def from_config(
        cls,
        raw: Mapping[str, Any],
        tokenizer: PairTokenizer | None = None,
        dimension: int | None = 128,
        *,
        rules: MultiVectorRules | None = None,
        seed: int = 0,
    ) -> "MultiVectorEncoder":
        """Make a new encoder.

        Args:
          raw: the fields of a Hugging Face ``config.json``.
          tokenizer: its tokenizer.
          dimension: of the projection; None for none.
          rules: markers, lengths, expansion, what is left out.
          seed: of the parameters.

        Raises:
          ModelError: the configuration is not valid.
        """
        config = config_from(raw)
        trunk = functions.init_params(config, seed)
        trunk.pop("head", None)
        params: dict[str, Any] = {"encoder": trunk}
        if dimension is not None:
            params["projection"] = new_projection(config, dimension, seed)
        rules = rules or _within(plain_rules(tokenizer, colbert=dimension is not None), config)
        return cls(params, config, tokenizer, rules=rules, source=Source(dict(raw)))

    @property
    def dimension(self) -> int:
        """The number of dimensions of a vector."""
        params = self.params
        return params["projection"]["kernel"].shape[1] if "projection" in params else self.config.hidden_size

    def __call__(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Array:
        """Vectors ``[b, t, d]``, traceable: what export converts.

        Args:
          input_ids: ``[b, t]``.
          attention_mask: ``[b, t]``.
          token_type_ids: ``[b, t]`` or None.
        """
        return token_vectors(self.params, self.config, input_ids, attention_mask, token_type_ids)

    def vectors(self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> Array:
        """Vectors of token ids, checked and compiled.

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
        return _vectors(self.params, input_ids, attention_mask, token_type_ids, config=self.config, dtype=jnp.float32)

    def encode_queries(self, texts: Iterable[str], **options: Any) -> list[np.ndarray]:
        """Encode queries.

        Args:
          texts: the texts; empty ones are allowed.
          **options: those of ``encode_documents``.

        Returns:
          float32 ``[q, d]`` for each; without expansion and special tokens an empty text has no row.

        Raises:
          TypeError: something other than texts.
          ModelError: an option is out of range, or the model has no tokenizer.
        """
        return self._encode(texts, query=True, **options)

    def encode_documents(
        self,
        texts: Iterable[str],
        *,
        max_batch_tokens: int | None = None,
        progress: bool = False,
        compute_dtype: Any = jnp.float32,
        mesh: Mesh | None = None,
    ) -> list[np.ndarray]:
        """Encode documents; see ``jrank.maxsim.pool`` to keep fewer vectors of each.

        Args:
          texts: the texts; empty ones are allowed.
          max_batch_tokens: tokens of a padded batch, on each device; None for what suits the machine.
          progress: show a bar on stderr.
          compute_dtype: ``jnp.bfloat16`` is faster on accelerators.
          mesh: devices that share the rows of each batch, see ``jrank.sharding.make_mesh``; None for one device.

        Returns:
          float32 ``[t, d]`` for each: the vectors of the tokens that are not on the skip list.

        Raises:
          TypeError: something other than texts.
          ModelError: an option is out of range, or the model has no tokenizer.
        """
        return self._encode(
            texts,
            query=False,
            max_batch_tokens=max_batch_tokens,
            progress=progress,
            compute_dtype=compute_dtype,
            mesh=mesh,
        )

    def _encode(
        self,
        texts: Iterable[str],
        *,
        query: bool,
        max_batch_tokens: int | None = None,
        progress: bool = False,
        compute_dtype: Any = jnp.float32,
        mesh: Mesh | None = None,
    ) -> list[np.ndarray]:
        tokenizer = need_tokenizer(self.tokenizer)
        encoded = self.tokens.queries(texts) if query else self.tokens.documents(texts)
        hidden = self.tokens.mask_id if query and not self.rules.attend_to_expansion else None
        run = functools.partial(_vectors, config=self.config, dtype=compute_dtype, hidden=hidden)
        found: list[np.ndarray] = [np.zeros((0, self.dimension), np.float32)] * len(encoded)
        for batch, result in run_batches(
            run,
            self.params,
            tokenizer,
            encoded,
            limit=self.config.max_length,
            budget=max_batch_tokens,
            mesh=mesh,
            progress=progress,
            description="encode",
        ):
            for row, matrix in zip(batch.rows, result, strict=False):
                kept = self.tokens.keep(encoded.ids[row], query=query)
                found[row] = matrix[: len(kept)][kept]
        return found

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write a directory that PyLate reads, the tokenizer included.

        Args:
          directory: where. A new one appears whole or not at all; in one that is there the model's files are replaced.

        Raises:
          ModelError: it cannot be written.
        """
        params, assets = self.params, dict(self.source.assets)
        if self.tokenizer is not None and "tokenizer.json" not in assets:
            assets["tokenizer.json"] = self.tokenizer.to_bytes()
        projection = None
        if "projection" in params:
            layer = params["projection"]
            projection = np.asarray(layer["kernel"]), np.asarray(layer["bias"]) if "bias" in layer else None
        assets |= write_late_interaction(projection, self.rules)
        raw = {"model_type": family_of(self.config).model_type, **self.source.raw}
        if raw.get("architectures") == ["HF_ColBERT"]:
            raw.pop("architectures")
        write_checkpoint(directory, Checkpoint(self.config, params["encoder"], raw, assets))


def new_projection(config: EncoderConfig, dimension: int, seed: int) -> dict[str, Array]:
    """Return a new projection, which keeps lengths on average.

    Args:
      config: the configuration of the trunk.
      dimension: the dimension to project to.
      seed: equal seeds give equal projections.
    """
    if dimension < 1:
        raise ModelError(f"dimension is {dimension}, at least 1 was expected", reason="invalid_input")
    values = np.random.default_rng([seed, 1]).standard_normal((config.hidden_size, dimension))
    return {"kernel": jnp.asarray(values / np.sqrt(dimension), jnp.float32)}


def _within(rules: MultiVectorRules, config: EncoderConfig) -> MultiVectorRules:
    """Rules with the lengths that the model takes."""
    limit = config.max_length
    return dataclasses.replace(
        rules, query_length=min(rules.query_length, limit), document_length=min(rules.document_length, limit)
    )


@functools.partial(jax.jit, static_argnames=("config", "dtype", "hidden"))
def _vectors(
    params: Any,
    input_ids: Any,
    attention_mask: Any,
    token_type_ids: Any,
    *,
    config: EncoderConfig,
    dtype: Any,
    hidden: int | None = None,
) -> Array:
    """Vectors; tokens of the id ``hidden`` are there and are not seen."""
    if hidden is not None:
        attention_mask = attention_mask * (jnp.asarray(input_ids) != hidden)
    return token_vectors(params, config, input_ids, attention_mask, token_type_ids, compute_dtype=dtype)
