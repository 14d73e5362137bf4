"""DistilBERT: BERT without token types and pooler, under other names."""

from collections.abc import Mapping
from typing import Any

from jrank.models._config import EncoderConfig, read_activation, read_field, read_labels
from jrank.models._family import Family, Tensor, affine, norm
from jrank.models._layers import activate, dense, drop, first_token, subkey
from jrank.models._post_norm import embedding_tensors, encode_post_norm
from jrank.types import Array

__all__ = ["DISTILBERT"]


def _parse(raw: Mapping[str, Any]) -> EncoderConfig:
    return EncoderConfig(
        family="distilbert",
        vocab_size=read_field(raw, "vocab_size", int),
        hidden_size=read_field(raw, "dim", int),
        num_layers=read_field(raw, "n_layers", int),
        num_heads=read_field(raw, "n_heads", int),
        intermediate_size=read_field(raw, "hidden_dim", int),
        max_positions=read_field(raw, "max_position_embeddings", int),
        type_vocab_size=0,
        layer_norm_eps=1e-12,
        activation=read_activation(raw, "activation"),
        pad_id=read_field(raw, "pad_token_id", int, 0),
        hidden_dropout=read_field(raw, "dropout", float, 0.1),
        attention_dropout=read_field(raw, "attention_dropout", float, 0.1),
        classifier_dropout=read_field(raw, "seq_classif_dropout", float, 0.2),
        initializer_range=read_field(raw, "initializer_range", float, 0.02),
        labels=read_labels(raw),
    )


def _tensors(config: EncoderConfig) -> list[Tensor]:
    d, e = config.hidden_size, config.intermediate_size
    tensors = embedding_tensors(config)
    for i in range(config.num_layers):
        path, name = ("layers", i), f"transformer.layer.{i}"
        for part in ("query", "key", "value"):
            tensors += affine((*path, part), f"{name}.attention.{part[0]}_lin", d, d)
        tensors += affine((*path, "out"), f"{name}.attention.out_lin", d, d)
        tensors += norm((*path, "attention_norm"), f"{name}.sa_layer_norm", d)
        tensors += affine((*path, "up"), f"{name}.ffn.lin1", d, e)
        tensors += affine((*path, "down"), f"{name}.ffn.lin2", e, d)
        tensors += norm((*path, "output_norm"), f"{name}.output_layer_norm", d)
    tensors += affine(("head", "dense"), "pre_classifier", d, d, part="head")
    return tensors + affine(("head", "out"), "classifier", d, config.num_labels, part="head")


def _head(params: Any, config: EncoderConfig, hidden: Array, attention_mask: Array, *, rng: Array | None) -> Array:
    x = activate(dense(params["head"]["dense"], first_token(hidden)), "relu")
    return dense(params["head"]["out"], drop(x, config.classifier_dropout, subkey(rng, 0)))


DISTILBERT = Family(
    model_type="distilbert",
    architecture="DistilBertForSequenceClassification",
    prefix="distilbert.",
    parse=_parse,
    tensors=_tensors,
    encode=encode_post_norm,
    head=_head,
    ignored=("vocab_transform.", "vocab_layer_norm.", "vocab_projector.", "qa_outputs."),
)
