"""RoBERTa and its multilingual kin: BERT with positions that start after the padding id, and another head."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jrank.models._bert import parse_bert
from jrank.models._config import EncoderConfig, read_field
from jrank.models._family import Family, Tensor, affine
from jrank.models._layers import activate, dense, drop, first_token, subkey
from jrank.models._post_norm import embedding_tensors, encode_post_norm, layer_tensors
from jrank.types import Array

__all__ = ["CAMEMBERT", "ROBERTA", "XLM_ROBERTA", "head_tensors", "two_layer_head"]


def head_tensors(config: EncoderConfig) -> list[Tensor]:
    """The tensors of a head of two layers.

    Args:
      config: the configuration.
    """
    d = config.hidden_size
    return [
        *affine(("head", "dense"), "classifier.dense", d, d, part="head"),
        *affine(("head", "out"), "classifier.out_proj", d, config.num_labels, part="head"),
    ]


def two_layer_head(params: Any, config: EncoderConfig, hidden: Array, activation: str, rng: Array | None) -> Array:
    """Logits from the first token through two layers, in float32.

    Args:
      params: the parameters.
      config: the configuration.
      hidden: ``[b, t, d]``.
      activation: between the layers.
      rng: key of the dropout; None for none.
    """
    x = drop(first_token(hidden), config.classifier_dropout, subkey(rng, 0))
    x = activate(dense(params["head"]["dense"], x), activation)
    return dense(params["head"]["out"], drop(x, config.classifier_dropout, subkey(rng, 1)))


def _parse(raw: Mapping[str, Any]) -> EncoderConfig:
    pad = read_field(raw, "pad_token_id", int, 1)
    return dataclasses.replace(parse_bert(raw), pad_id=pad, position_offset=pad + 1)


def _tensors(config: EncoderConfig) -> list[Tensor]:
    return [*embedding_tensors(config), *layer_tensors(config), *head_tensors(config)]


def _head(params: Any, config: EncoderConfig, hidden: Array, attention_mask: Array, *, rng: Array | None) -> Array:
    return two_layer_head(params, config, hidden, "tanh", rng)


ROBERTA = Family(
    model_type="roberta",
    architecture="RobertaForSequenceClassification",
    prefix="roberta.",
    parse=_parse,
    tensors=_tensors,
    encode=encode_post_norm,
    head=_head,
    ignored=("lm_head.", "pooler.", "qa_outputs."),
)
XLM_ROBERTA = dataclasses.replace(ROBERTA, model_type="xlm-roberta", architecture="XLMRobertaForSequenceClassification")
CAMEMBERT = dataclasses.replace(ROBERTA, model_type="camembert", architecture="CamembertForSequenceClassification")
