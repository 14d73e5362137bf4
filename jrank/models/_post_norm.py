"""The encoder of the BERT line: learned positions, normalisation after each block. Its families differ in the rest."""

from typing import Any

import jax
import jax.numpy as jnp

from jrank.models._config import EncoderConfig
from jrank.models._family import Tensor, affine, embedding, norm
from jrank.models._layers import (
    activate,
    attend,
    dense,
    drop,
    embed,
    layer_norm,
    mask_bias,
    merge_heads,
    positions,
    split_heads,
    subkey,
)
from jrank.types import Array

__all__ = ["embedding_tensors", "encode_post_norm", "layer_tensors"]


def embedding_tensors(config: EncoderConfig) -> list[Tensor]:
    """The tensors of the embeddings, under BERT's names.

    Args:
      config: the configuration.
    """
    width = config.embedding_size
    tensors = [
        *embedding(("embeddings", "word"), "embeddings.word_embeddings", config.vocab_size, width),
        *embedding(("embeddings", "position"), "embeddings.position_embeddings", config.max_positions, width),
    ]
    if config.type_vocab_size:
        rows = config.type_vocab_size
        tensors += embedding(("embeddings", "type"), "embeddings.token_type_embeddings", rows, width)
    return tensors + norm(("embeddings", "norm"), "embeddings.LayerNorm", width)


def layer_tensors(config: EncoderConfig) -> list[Tensor]:
    """The tensors of the layers, under BERT's names.

    Args:
      config: the configuration.
    """
    d, e = config.hidden_size, config.intermediate_size
    tensors: list[Tensor] = []
    for i in range(config.num_layers):
        path, name = ("layers", i), f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            tensors += affine((*path, part), f"{name}.attention.self.{part}", d, d)
        tensors += affine((*path, "out"), f"{name}.attention.output.dense", d, d)
        tensors += norm((*path, "attention_norm"), f"{name}.attention.output.LayerNorm", d)
        tensors += affine((*path, "up"), f"{name}.intermediate.dense", d, e)
        tensors += affine((*path, "down"), f"{name}.output.dense", e, d)
        tensors += norm((*path, "output_norm"), f"{name}.output.LayerNorm", d)
    return tensors


def encode_post_norm(
    params: Any,
    config: EncoderConfig,
    input_ids: Array,
    attention_mask: Array,
    token_type_ids: Array | None,
    *,
    rng: Array | None,
    remat: bool,
    dtype: Any,
) -> Array:
    """Token ids to hidden states.

    Args:
      params: the parameters.
      config: the configuration.
      input_ids: ``[b, t]``.
      attention_mask: ``[b, t]``.
      token_type_ids: ``[b, t]``; None for type 0 throughout.
      rng: key of the dropout; None for none.
      remat: recompute each layer in the backward pass.
      dtype: of the hidden states.
    """
    x = _embed(params["embeddings"], config, input_ids, token_type_ids)
    x = drop(x.astype(dtype), config.hidden_dropout, subkey(rng, 0))
    if "projection" in params:
        x = dense(params["projection"], x)
    bias = mask_bias(attention_mask)

    def layer(p: Any, x: Array, bias: Array, rng: Array | None) -> Array:
        return _layer(p, config, x, bias, rng)

    if remat:
        layer = jax.checkpoint(layer)
    for i, p in enumerate(params["layers"]):
        x = layer(p, x, bias, subkey(rng, i + 1))
    return x


def _embed(params: Any, config: EncoderConfig, input_ids: Array, token_type_ids: Array | None) -> Array:
    x = embed(params["word"]["table"], input_ids)
    if "type" in params:
        # One row is for all tokens, whatever types the tokenizer gives (RoBERTa).
        none = token_type_ids is None or config.type_vocab_size == 1
        x = x + embed(params["type"]["table"], jnp.zeros_like(input_ids) if none else token_type_ids)
    x = x + embed(params["position"]["table"], positions(input_ids, config.position_offset))
    return layer_norm(params["norm"], x, config.layer_norm_eps)


def _layer(params: Any, config: EncoderConfig, x: Array, bias: Array, rng: Array | None) -> Array:
    query, key, value = (split_heads(dense(params[part], x), config.num_heads) for part in ("query", "key", "value"))
    mixed = attend(query, key, value, bias, rate=config.attention_dropout, rng=subkey(rng, 0))
    mixed = drop(dense(params["out"], merge_heads(mixed)), config.hidden_dropout, subkey(rng, 1))
    x = layer_norm(params["attention_norm"], x + mixed, config.layer_norm_eps)
    inner = activate(dense(params["up"], x), config.activation)
    outer = drop(dense(params["down"], inner), config.hidden_dropout, subkey(rng, 2))
    return layer_norm(params["output_norm"], x + outer, config.layer_norm_eps)
