"""DeBERTa-v2 and v3: attention by content and by relative position apart, distant positions in shared buckets."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jrank.errors import ModelError
from jrank.models._config import EncoderConfig, read_activation, read_field, read_labels
from jrank.models._family import Family, Tensor, affine, embedding, norm
from jrank.models._layers import (
    activate,
    attend,
    dense,
    drop,
    embed,
    first_token,
    layer_norm,
    mask_bias,
    merge_heads,
    positions,
    split_heads,
    subkey,
)
from jrank.types import Array

__all__ = ["DEBERTA", "DebertaConfig", "log_buckets"]

# What the attention may look at besides the contents: how far a key stands from a query, seen by either of them.
TERMS = ("c2p", "p2c")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DebertaConfig(EncoderConfig):
    """The shape of a DeBERTa-v2 or v3.

    Args:
      relative: whether the attention knows relative positions.
      terms: which of "c2p" (a query asks for a position) and "p2c" (a key is asked by a position) it adds.
      buckets: positive relative positions that are told apart; beyond half of them the steps grow.
      max_distance: the distance that the last bucket begins at.
      shared_projections: whether positions go through the projections of queries and keys.
      normalized_positions: whether the position embeddings are normalised.
      absolute: whether absolute positions are added to the input.
      pooler_activation: of the head's first layer.
      pooler_dropout: before the head's first layer, in training.
      conv_width: tokens that the convolution beside the first layer sees, odd; 0 for none.
      conv_activation: what the convolution goes through.
    """

    relative: bool = True
    terms: tuple[str, ...] = TERMS
    buckets: int = 256
    max_distance: int = 512
    shared_projections: bool = True
    normalized_positions: bool = True
    absolute: bool = False
    pooler_activation: str = "gelu"
    pooler_dropout: float = 0.0
    conv_width: int = 0
    conv_activation: str = "tanh"


def _parse(raw: Mapping[str, Any]) -> DebertaConfig:
    hidden, heads = read_field(raw, "hidden_size", int), read_field(raw, "num_attention_heads", int)
    for name, expected in (("attention_head_size", hidden // max(heads, 1)), ("pooler_hidden_size", hidden)):
        if read_field(raw, name, int, expected) != expected:
            raise ModelError(f"config.json: {name} is {raw[name]}, {expected} was expected", reason="invalid_config")
    length = read_field(raw, "max_position_embeddings", int, 512)
    furthest = read_field(raw, "max_relative_positions", int, -1)
    furthest = furthest if furthest > 0 else length
    buckets = read_field(raw, "position_buckets", int, -1)
    hidden_dropout = read_field(raw, "hidden_dropout_prob", float, 0.1)
    return DebertaConfig(
        family="deberta-v2",
        vocab_size=read_field(raw, "vocab_size", int),
        hidden_size=hidden,
        num_layers=read_field(raw, "num_hidden_layers", int),
        num_heads=heads,
        intermediate_size=read_field(raw, "intermediate_size", int),
        max_positions=length,
        type_vocab_size=read_field(raw, "type_vocab_size", int, 0),
        embedding_size=read_field(raw, "embedding_size", int, hidden),
        layer_norm_eps=read_field(raw, "layer_norm_eps", float, 1e-7),
        activation=read_activation(raw),
        pad_id=read_field(raw, "pad_token_id", int, 0),
        hidden_dropout=hidden_dropout,
        attention_dropout=read_field(raw, "attention_probs_dropout_prob", float, 0.1),
        classifier_dropout=read_field(raw, "cls_dropout", float, hidden_dropout),
        initializer_range=read_field(raw, "initializer_range", float, 0.02),
        labels=read_labels(raw),
        relative=read_field(raw, "relative_attention", bool, False),
        terms=_terms(raw.get("pos_att_type")),
        # Without buckets every distance is one of its own.
        buckets=buckets if buckets > 0 else furthest,
        max_distance=furthest if buckets > 0 else 0,
        shared_projections=read_field(raw, "share_att_key", bool, False),
        normalized_positions="layer_norm" in _words(read_field(raw, "norm_rel_ebd", str, "none")),
        absolute=read_field(raw, "position_biased_input", bool, True),
        pooler_activation=read_activation(raw, "pooler_hidden_act"),
        pooler_dropout=read_field(raw, "pooler_dropout", float, 0.0),
        conv_width=_conv_width(raw),
        conv_activation=read_activation(raw, "conv_act", "tanh"),
    )


def _conv_width(raw: Mapping[str, Any]) -> int:
    width, groups = read_field(raw, "conv_kernel_size", int, 0), read_field(raw, "conv_groups", int, 1)
    if width > 0 and width % 2 == 0:
        raise ModelError(
            f"config.json: conv_kernel_size is {width}, an odd number was expected", reason="invalid_config"
        )
    if width > 0 and groups != 1:
        raise ModelError(f"config.json: conv_groups is {groups}, 1 was expected", reason="invalid_config")
    return max(width, 0)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.lower().split("|") if word.strip()]


def _terms(given: Any) -> tuple[str, ...]:
    words = _words(given) if isinstance(given, str) else [] if given is None else given
    if not isinstance(words, list) or not set(words) <= set(TERMS):
        raise ModelError(
            f"config.json: pos_att_type is {given!r}, a list of {' and '.join(TERMS)} was expected",
            reason="invalid_config",
        )
    return tuple(term for term in TERMS if term in words)


def _tensors(config: DebertaConfig) -> list[Tensor]:
    d, e, narrow = config.hidden_size, config.intermediate_size, config.embedding_size
    tensors = embedding(("embeddings", "word"), "embeddings.word_embeddings", config.vocab_size, narrow)
    if config.absolute:
        rows = config.max_positions
        tensors += embedding(("embeddings", "position"), "embeddings.position_embeddings", rows, narrow)
    if config.type_vocab_size:
        rows = config.type_vocab_size
        tensors += embedding(("embeddings", "type"), "embeddings.token_type_embeddings", rows, narrow)
    if narrow != d:
        tensors += affine(("embeddings", "projection"), "embeddings.embed_proj", narrow, d, bias=False)
    tensors += norm(("embeddings", "norm"), "embeddings.LayerNorm", d)
    if config.relative:
        tensors += embedding(("relative", "distance"), "encoder.rel_embeddings", 2 * config.buckets, d)
    if config.normalized_positions:
        tensors += norm(("relative", "norm"), "encoder.LayerNorm", d)
    if config.conv_width:
        tensors += _conv_tensors(config.conv_width, d)
    for i in range(config.num_layers):
        path, name = ("layers", i), f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            tensors += affine((*path, part), f"{name}.attention.self.{part}_proj", d, d)
        if config.relative and not config.shared_projections:
            for term, part in (("c2p", "key"), ("p2c", "query")):
                if term in config.terms:
                    tensors += affine((*path, f"position_{part}"), f"{name}.attention.self.pos_{part}_proj", d, d)
        tensors += affine((*path, "out"), f"{name}.attention.output.dense", d, d)
        tensors += norm((*path, "attention_norm"), f"{name}.attention.output.LayerNorm", d)
        tensors += affine((*path, "up"), f"{name}.intermediate.dense", d, e)
        tensors += affine((*path, "down"), f"{name}.output.dense", e, d)
        tensors += norm((*path, "output_norm"), f"{name}.output.LayerNorm", d)
    tensors += affine(("pooler",), "pooler.dense", d, d, part="pooler", prefixed=False)
    return tensors + affine(("head",), "classifier", d, config.num_labels, part="head")


def _conv_tensors(width: int, d: int) -> list[Tensor]:
    name = "encoder.conv"
    return [
        Tensor(("conv", "kernel"), f"{name}.conv.weight", (width, d, d), transpose=True),
        Tensor(("conv", "bias"), f"{name}.conv.bias", (d,), init="zeros"),
        *norm(("conv", "norm"), f"{name}.LayerNorm", d),
    ]


def log_buckets(size: int, buckets: int, max_distance: int) -> np.ndarray:
    r"""The bucket of each distance between two tokens of a text.

    Distances up to ``m = buckets // 2`` are buckets of their own; beyond, with ``L`` the largest distance,

    .. math:: b(r) = \mathrm{sign}(r)\left(m + \left\lceil (m - 1)
              \frac{\ln(|r| / m)}{\ln((L - 1) / m)} \right\rceil\right)

    Args:
      size: tokens of the longest text.
      buckets: how many on each side.
      max_distance: ``L``; 0 gives every distance a bucket of its own.

    Returns:
      Indices into the position embeddings, for the distances ``1 - size`` to ``size - 1``.

    >>> log_buckets(6, 4, 8).tolist()
    [1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    """
    distance = np.arange(1 - size, size)
    bucket = distance
    middle = buckets // 2
    if max_distance and middle:
        # In float32, as the models were trained: at the edge of a bucket the rounding decides.
        far = np.maximum(np.abs(distance), middle).astype(np.float32) / np.float32(middle)
        steps = np.log(far) / np.log(np.float32((max_distance - 1) / middle)) * np.float32(middle - 1)
        bucket = np.where(np.abs(distance) <= middle, distance, np.sign(distance) * (np.ceil(steps) + middle))
    return np.clip(bucket + buckets, 0, 2 * buckets - 1).astype(np.int32)


def _encode(
    params: Any,
    config: DebertaConfig,
    input_ids: Array,
    attention_mask: Array,
    token_type_ids: Array | None,
    *,
    rng: Array | None,
    remat: bool,
    dtype: Any,
) -> Array:
    x = _embed(params["embeddings"], config, input_ids, token_type_ids)
    x = drop(x.astype(dtype), config.hidden_dropout, subkey(rng, 0))
    bias = mask_bias(attention_mask)
    near = _convolve(params["conv"], config, x, attention_mask, rng) if config.conv_width else None
    far = _by_distance(params["relative"], config, input_ids.shape[1], dtype) if config.relative else None

    def layer(p: Any, x: Array, bias: Array, far: tuple[Array, Array] | None, rng: Array | None) -> Array:
        return _layer(p, config, x, bias, far, rng)

    if remat:
        layer = jax.checkpoint(layer)
    for i, p in enumerate(params["layers"]):
        x = layer(p, x, bias, far, subkey(rng, i + 1))
        if i == 0 and near is not None:
            x = layer_norm(params["conv"]["norm"], x + near, config.layer_norm_eps)
    return x


def _embed(params: Any, config: DebertaConfig, input_ids: Array, token_type_ids: Array | None) -> Array:
    x = embed(params["word"]["table"], input_ids)
    if "position" in params:
        x = x + embed(params["position"]["table"], positions(input_ids, 0))
    if "type" in params:
        types = jnp.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        x = x + embed(params["type"]["table"], types)
    if "projection" in params:
        x = dense(params["projection"], x)
    return layer_norm(params["norm"], x, config.layer_norm_eps)


def _convolve(params: Any, config: DebertaConfig, x: Array, attention_mask: Array, rng: Array | None) -> Array:
    """What the neighbours of each token add to the first layer's output, as one product for each of them."""
    b, t, d = x.shape
    # What stands at padding must not reach the tokens beside it.
    x = jnp.where((attention_mask > 0)[:, :, None], x, jnp.zeros((), x.dtype))
    edge = jnp.zeros((b, config.conv_width // 2, d), x.dtype)
    padded = jnp.concatenate([edge, x, edge], axis=1)
    total = params["bias"].astype(x.dtype).reshape(1, 1, -1)
    place = lax.broadcasted_iota(jnp.int32, (t,), 0)  # slices of a free length do not export
    for i in range(config.conv_width):
        total = total + jnp.matmul(jnp.take(padded, place + i, axis=1), params["kernel"][i].astype(x.dtype))
    dropped = drop(total, config.hidden_dropout, subkey(rng, config.num_layers + 1))
    return activate(dropped, config.conv_activation)


def _by_distance(params: Any, config: DebertaConfig, length: Any, dtype: Any) -> tuple[Array, Array]:
    """The position embedding of every distance in a text, ``[1, 2 t - 1, d]``: from the largest, from the smallest."""
    table = params["distance"]["table"]
    if config.normalized_positions:
        table = layer_norm(params["norm"], table, config.layer_norm_eps)
    buckets = jnp.asarray(log_buckets(config.max_positions, config.buckets, config.max_distance))
    count = lax.broadcasted_iota(jnp.int32, (2 * length - 1,), 0)

    def rows(place: Array) -> Array:
        return jnp.take(table, jnp.take(buckets, place, axis=0), axis=0)[None, :, :].astype(dtype)

    return rows(config.max_positions + length - 2 - count), rows(config.max_positions - length + count)


def _layer(
    params: Any, config: DebertaConfig, x: Array, bias: Array, far: tuple[Array, Array] | None, rng: Array | None
) -> Array:
    query, key, value = (split_heads(dense(params[part], x), config.num_heads) for part in ("query", "key", "value"))
    # The sum of contents and positions is scaled by the number of its terms as well.
    terms = math.sqrt(1 + len(config.terms))
    query = query / terms
    if far is not None:
        falling, rising = (drop(rows, config.hidden_dropout, subkey(rng, 3 + i)) for i, rows in enumerate(far))
        names = ("key", "query") if config.shared_projections else ("position_key", "position_query")
        scale = 1.0 / math.sqrt(config.head_size)
        if "c2p" in config.terms:
            asked = split_heads(dense(params[names[0]], falling), config.num_heads)
            bias = bias + scale * _align(query, asked)
        if "p2c" in config.terms:
            asking = split_heads(dense(params[names[1]], rising), config.num_heads)
            bias = bias + (scale / terms) * _align(key, asking).transpose(0, 1, 3, 2)
    mixed = attend(query, key, value, bias, rate=config.attention_dropout, rng=subkey(rng, 0))
    mixed = drop(dense(params["out"], merge_heads(mixed)), config.hidden_dropout, subkey(rng, 1))
    x = layer_norm(params["attention_norm"], x + mixed, config.layer_norm_eps)
    inner = activate(dense(params["up"], x), config.activation)
    outer = drop(dense(params["down"], inner), config.hidden_dropout, subkey(rng, 2))
    return layer_norm(params["output_norm"], x + outer, config.layer_norm_eps)


def _align(tokens: Array, far: Array) -> Array:
    """Products of each token with the embedding of its distance to each other token, ``[b, h, t, t]``, float32.

    Entry ``i, j`` is the product of token ``i`` with row ``t - 1 - i + j``. All products are taken, and the rows are
    then shifted against each other by padding and reshaping: no gather, and no scatter in the gradient.

    Args:
      tokens: ``[b, h, t, e]``.
      far: by distance, ``[1, h, 2 t - 1, e]``.
    """
    b, h, t, _ = tokens.shape
    products = jnp.matmul(tokens, far.transpose(0, 1, 3, 2))
    products = products.astype(jnp.promote_types(products.dtype, jnp.float32))
    padded = jnp.concatenate([jnp.zeros((b, h, t, 1), products.dtype), products], axis=-1)
    shifted = padded.reshape(b, h, 2 * t, t)[:, :, 1:, :].reshape(b, h, t, 2 * t - 1)
    return shifted[:, :, :, :t]


def _head(params: Any, config: DebertaConfig, hidden: Array, attention_mask: Array, *, rng: Array | None) -> Array:
    x = drop(first_token(hidden), config.pooler_dropout, subkey(rng, 1))
    x = activate(dense(params["pooler"], x), config.pooler_activation)
    return dense(params["head"], drop(x, config.classifier_dropout, subkey(rng, 0)))


DEBERTA = Family(
    model_type="deberta-v2",
    architecture="DebertaV2ForSequenceClassification",
    prefix="deberta.",
    parse=_parse,
    tensors=_tensors,
    encode=_encode,
    head=_head,
    ignored=("lm_predictions.", "mask_predictions.", "cls.", "qa_outputs.", "embeddings.position_embeddings."),
)
