"""BERT and what is built like it (MiniLM): layer normalisation after each block, a pooler over the first token."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jrank.errors import ModelError
from jrank.models._config import EncoderConfig, read_activation, read_field, read_labels
from jrank.models._family import Family, Tensor, affine
from jrank.models._layers import dense, drop, first_token, subkey
from jrank.models._post_norm import embedding_tensors, encode_post_norm, layer_tensors
from jrank.types import Array

__all__ = ["BERT", "parse_bert", "refuse_variants"]


def refuse_variants(raw: Mapping[str, Any]) -> None:
    """Refuse what BERT's configuration can express and this encoder does not do.

    Args:
      raw: the fields of ``config.json``.

    Raises:
      ModelError: relative positions, a decoder, cross-attention.
    """
    kind = read_field(raw, "position_embedding_type", str, "absolute")
    if kind != "absolute":
        raise ModelError(
            f"config.json: position_embedding_type is {kind!r}, 'absolute' was expected", reason="invalid_config"
        )
    for name in ("is_decoder", "add_cross_attention"):
        if raw.get(name):
            raise ModelError(f"config.json: {name} is set, an encoder was expected", reason="invalid_config")


def parse_bert(raw: Mapping[str, Any], **other: Any) -> EncoderConfig:
    """Read the configuration of a BERT, or of a family that names its fields as BERT does.

    Args:
      raw: the fields of ``config.json``.
      **other: fields of ``EncoderConfig`` that BERT does not have.
    """
    refuse_variants(raw)
    hidden_dropout = read_field(raw, "hidden_dropout_prob", float, 0.1)
    return EncoderConfig(
        family=read_field(raw, "model_type", str, "bert"),
        vocab_size=read_field(raw, "vocab_size", int),
        hidden_size=read_field(raw, "hidden_size", int),
        num_layers=read_field(raw, "num_hidden_layers", int),
        num_heads=read_field(raw, "num_attention_heads", int),
        intermediate_size=read_field(raw, "intermediate_size", int),
        max_positions=read_field(raw, "max_position_embeddings", int),
        type_vocab_size=read_field(raw, "type_vocab_size", int, 2),
        layer_norm_eps=read_field(raw, "layer_norm_eps", float, 1e-12),
        activation=read_activation(raw),
        pad_id=read_field(raw, "pad_token_id", int, 0),
        hidden_dropout=hidden_dropout,
        attention_dropout=read_field(raw, "attention_probs_dropout_prob", float, 0.1),
        classifier_dropout=read_field(raw, "classifier_dropout", float, hidden_dropout),
        initializer_range=read_field(raw, "initializer_range", float, 0.02),
        labels=read_labels(raw),
        **other,
    )


def _tensors(config: EncoderConfig) -> list[Tensor]:
    return [
        *embedding_tensors(config),
        *layer_tensors(config),
        *affine(("pooler",), "pooler.dense", config.hidden_size, config.hidden_size, part="pooler"),
        *affine(("head",), "classifier", config.hidden_size, config.num_labels, part="head"),
    ]


def _head(params: Any, config: EncoderConfig, hidden: Array, attention_mask: Array, *, rng: Array | None) -> Array:
    pooled = jnp.tanh(dense(params["pooler"], first_token(hidden)))
    return dense(params["head"], drop(pooled, config.classifier_dropout, subkey(rng, 0)))


BERT = Family(
    model_type="bert",
    architecture="BertForSequenceClassification",
    prefix="bert.",
    parse=parse_bert,
    tensors=_tensors,
    encode=encode_post_norm,
    head=_head,
    ignored=("cls.", "embeddings.position_ids", "qa_outputs."),
)
