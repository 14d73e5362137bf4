"""ELECTRA: BERT with embeddings of another width, projected where they differ, and a head of its own."""

from collections.abc import Mapping
from typing import Any

from jrank.models._bert import parse_bert
from jrank.models._config import EncoderConfig, read_field
from jrank.models._family import Family, Tensor, affine
from jrank.models._post_norm import embedding_tensors, encode_post_norm, layer_tensors
from jrank.models._roberta import head_tensors, two_layer_head
from jrank.types import Array

__all__ = ["ELECTRA"]


def _parse(raw: Mapping[str, Any]) -> EncoderConfig:
    return parse_bert(raw, embedding_size=read_field(raw, "embedding_size", int, 128))


def _tensors(config: EncoderConfig) -> list[Tensor]:
    narrow, wide = config.embedding_size, config.hidden_size
    projection = affine(("projection",), "embeddings_project", narrow, wide) if narrow != wide else []
    return [*embedding_tensors(config), *projection, *layer_tensors(config), *head_tensors(config)]


def _head(params: Any, config: EncoderConfig, hidden: Array, attention_mask: Array, *, rng: Array | None) -> Array:
    # Exact GELU here, whatever the layers use.
    return two_layer_head(params, config, hidden, "gelu", rng)


ELECTRA = Family(
    model_type="electra",
    architecture="ElectraForSequenceClassification",
    prefix="electra.",
    parse=_parse,
    tensors=_tensors,
    encode=encode_post_norm,
    head=_head,
    ignored=("discriminator_predictions.", "generator_predictions.", "generator_lm_head.", "qa_outputs."),
)
