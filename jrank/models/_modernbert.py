"""ModernBERT: rotary positions, normalisation before each block, gated feed-forward, windows in most layers."""

import dataclasses
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
    MASKED,
    activate,
    attend,
    dense,
    drop,
    embed,
    first_token,
    layer_norm,
    mask_bias,
    merge_heads,
    split_heads,
    subkey,
)
from jrank.types import Array

__all__ = ["MODERNBERT", "ModernBertConfig"]

FULL, SLIDING = "full_attention", "sliding_attention"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModernBertConfig(EncoderConfig):
    """The shape of a ModernBERT.

    Args:
      window: tokens that a layer with sliding attention sees, half of them on each side.
      full_layers: which layers see all tokens.
      theta_full: base of the rotary positions in those layers.
      theta_sliding: base of the rotary positions in the other layers.
      attention_bias: whether the dense layers of the attention have biases.
      mlp_bias: whether those of the feed-forward block have.
      norm_bias: whether the normalisations have.
      classifier_bias: whether the dense layer of the head has.
      classifier_activation: activation of the head.
      pooling: what the head reads: "cls" or "mean".
      mlp_dropout: dropout inside the feed-forward block.
    """

    window: int = 128
    full_layers: tuple[bool, ...] = ()
    theta_full: float = 160000.0
    theta_sliding: float = 10000.0
    attention_bias: bool = False
    mlp_bias: bool = False
    norm_bias: bool = False
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    pooling: str = "cls"
    mlp_dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.window < 0:
            raise ModelError(f"window is {self.window}, at least 0 was expected", reason="invalid_config")
        if self.head_size % 2:
            raise ModelError(
                f"the attention heads are {self.head_size} wide, rotary positions need an even width",
                reason="invalid_config",
            )


def _parse(raw: Mapping[str, Any]) -> ModernBertConfig:
    layers = read_field(raw, "num_hidden_layers", int)
    pooling = read_field(raw, "classifier_pooling", str, "cls")
    if pooling not in ("cls", "mean"):
        raise ModelError(
            f"config.json: classifier_pooling is {pooling!r}, 'cls' or 'mean' was expected", reason="invalid_config"
        )
    window = read_field(raw, "local_attention", int, 128)
    hidden, heads = read_field(raw, "hidden_size", int), read_field(raw, "num_attention_heads", int)
    # Other releases name half of the window, or the width of a head; here both follow from the rest.
    for name, expected in (("sliding_window", window // 2), ("head_dim", hidden // max(heads, 1))):
        if read_field(raw, name, int, expected) != expected:
            raise ModelError(f"config.json: {name} is {raw[name]}, {expected} was expected", reason="invalid_config")
    return ModernBertConfig(
        family="modernbert",
        vocab_size=read_field(raw, "vocab_size", int),
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        intermediate_size=read_field(raw, "intermediate_size", int),
        max_positions=read_field(raw, "max_position_embeddings", int, 8192),
        type_vocab_size=0,
        layer_norm_eps=read_field(raw, "norm_eps", float, 1e-5),
        activation=read_activation(raw, "hidden_activation"),
        pad_id=read_field(raw, "pad_token_id", int, 0),
        hidden_dropout=read_field(raw, "embedding_dropout", float, 0.0),
        attention_dropout=read_field(raw, "attention_dropout", float, 0.0),
        classifier_dropout=read_field(raw, "classifier_dropout", float, 0.0),
        mlp_dropout=read_field(raw, "mlp_dropout", float, 0.0),
        initializer_range=read_field(raw, "initializer_range", float, 0.02),
        labels=read_labels(raw),
        window=window,
        full_layers=_full_layers(raw, layers),
        theta_full=_theta(raw, FULL, "global_rope_theta", 160000.0),
        theta_sliding=_theta(raw, SLIDING, "local_rope_theta", 10000.0),
        attention_bias=read_field(raw, "attention_bias", bool, False),
        mlp_bias=read_field(raw, "mlp_bias", bool, False),
        norm_bias=read_field(raw, "norm_bias", bool, False),
        classifier_bias=read_field(raw, "classifier_bias", bool, False),
        classifier_activation=read_activation(raw, "classifier_activation"),
        pooling=pooling,
    )


def _full_layers(raw: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    kinds = raw.get("layer_types")
    if kinds is None:  # older files name the distance between layers that see everything
        every = read_field(raw, "global_attn_every_n_layers", int, 3)
        if every < 1:
            raise ModelError(
                f"config.json: global_attn_every_n_layers is {every}, at least 1 was expected", reason="invalid_config"
            )
        return tuple(i % every == 0 for i in range(layers))
    if not isinstance(kinds, list) or len(kinds) != layers or not all(kind in (FULL, SLIDING) for kind in kinds):
        raise ModelError(
            f"config.json: layer_types is {kinds}, {layers} of {FULL!r} and {SLIDING!r} were expected",
            reason="invalid_config",
        )
    return tuple(kind == FULL for kind in kinds)


def _theta(raw: Mapping[str, Any], kind: str, old_name: str, default: float) -> float:
    rope = raw.get("rope_parameters")
    if isinstance(rope, Mapping) and not set(rope) <= {FULL, SLIDING}:
        raise ModelError(
            f"config.json: rope_parameters has the keys {sorted(map(str, rope))},"
            f" {FULL!r} and {SLIDING!r} were expected",
            reason="invalid_config",
        )
    given = rope.get(kind) if isinstance(rope, Mapping) else None
    given = given if isinstance(given, Mapping) else {}
    if given.get("rope_type", "default") != "default" or raw.get("rope_scaling"):
        raise ModelError("config.json: scaled rotary positions are not supported", reason="invalid_config")
    return read_field(given, "rope_theta", float, read_field(raw, old_name, float, default))


def _tensors(config: ModernBertConfig) -> list[Tensor]:
    d, e = config.hidden_size, config.intermediate_size
    biases = config.norm_bias
    tensors = embedding(("embeddings", "word"), "embeddings.tok_embeddings", config.vocab_size, d)
    tensors += norm(("embeddings", "norm"), "embeddings.norm", d, bias=biases)
    for i in range(config.num_layers):
        path, name = ("layers", i), f"layers.{i}"
        if i:  # the first layer's input is normalised already
            tensors += norm((*path, "attention_norm"), f"{name}.attn_norm", d, bias=biases)
        tensors += affine((*path, "qkv"), f"{name}.attn.Wqkv", d, 3 * d, bias=config.attention_bias)
        tensors += affine((*path, "out"), f"{name}.attn.Wo", d, d, bias=config.attention_bias)
        tensors += norm((*path, "mlp_norm"), f"{name}.mlp_norm", d, bias=biases)
        tensors += affine((*path, "up"), f"{name}.mlp.Wi", d, 2 * e, bias=config.mlp_bias)
        tensors += affine((*path, "down"), f"{name}.mlp.Wo", e, d, bias=config.mlp_bias)
    tensors += norm(("final_norm",), "final_norm", d, bias=biases)
    bias = config.classifier_bias
    tensors += affine(("pooler", "dense"), "head.dense", d, d, part="pooler", bias=bias, prefixed=False)
    tensors += norm(("pooler", "norm"), "head.norm", d, part="pooler", bias=biases, prefixed=False)
    return tensors + affine(("head",), "classifier", d, config.num_labels, part="head")


def _encode(
    params: Any,
    config: ModernBertConfig,
    input_ids: Array,
    attention_mask: Array,
    token_type_ids: Array | None,
    *,
    rng: Array | None,
    remat: bool,
    dtype: Any,
) -> Array:
    x = embed(params["embeddings"]["word"]["table"], input_ids)
    x = layer_norm(params["embeddings"]["norm"], x, config.layer_norm_eps)
    x = drop(x.astype(dtype), config.hidden_dropout, subkey(rng, 0))
    length = input_ids.shape[1]
    bias = mask_bias(attention_mask)
    near = bias + _window_bias(length, config.window)
    full, sliding = (_rotation(length, config.head_size, theta) for theta in (config.theta_full, config.theta_sliding))

    def layer(p: Any, x: Array, bias: Array, rotation: tuple[Array, Array], rng: Array | None) -> Array:
        return _layer(p, config, x, bias, rotation, rng)

    if remat:
        layer = jax.checkpoint(layer)
    for i, (p, sees_all) in enumerate(zip(params["layers"], config.full_layers, strict=True)):
        x = layer(p, x, bias if sees_all else near, full if sees_all else sliding, subkey(rng, i + 1))
    return layer_norm(params["final_norm"], x, config.layer_norm_eps)


def _window_bias(length: Any, window: int) -> Array:
    """0 where two tokens are at most half a window apart, ``MASKED`` elsewhere, ``[1, 1, t, t]``."""
    shape = (1, 1, length, length)
    distance = lax.broadcasted_iota(jnp.int32, shape, 2) - lax.broadcasted_iota(jnp.int32, shape, 3)
    return jnp.where(lax.abs(distance) <= window // 2, jnp.float32(0.0), jnp.float32(MASKED))


def _rotation(length: Any, width: int, theta: float) -> tuple[Array, Array]:
    """Cosine and sine of the angle of each position and dimension, ``[1, 1, t, e]``."""
    frequencies = np.tile(theta ** -(np.arange(0, width, 2) / width), 2).astype(np.float32)
    angles = lax.broadcasted_iota(jnp.float32, (1, 1, length, width), 2) * frequencies[None, None, None, :]
    return jnp.cos(angles), jnp.sin(angles)


def _rotate(x: Array, rotation: tuple[Array, Array]) -> Array:
    half = x.shape[-1] // 2
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    turned = jnp.concatenate([-wide[..., half:], wide[..., :half]], axis=-1)
    return (wide * rotation[0] + turned * rotation[1]).astype(x.dtype)


def _layer(
    params: Any,
    config: ModernBertConfig,
    x: Array,
    bias: Array,
    rotation: tuple[Array, Array],
    rng: Array | None,
) -> Array:
    eps, d, e = config.layer_norm_eps, config.hidden_size, config.intermediate_size
    normed = layer_norm(params["attention_norm"], x, eps) if "attention_norm" in params else x
    qkv = dense(params["qkv"], normed)
    query, key, value = (split_heads(qkv[:, :, i * d : (i + 1) * d], config.num_heads) for i in range(3))
    query, key = _rotate(query, rotation), _rotate(key, rotation)
    mixed = attend(query, key, value, bias, rate=config.attention_dropout, rng=subkey(rng, 0))
    x = x + drop(dense(params["out"], merge_heads(mixed)), config.attention_dropout, subkey(rng, 1))
    inner = dense(params["up"], layer_norm(params["mlp_norm"], x, eps))
    gated = activate(inner[:, :, :e], config.activation) * inner[:, :, e:]
    return x + dense(params["down"], drop(gated, config.mlp_dropout, subkey(rng, 2)))


def _head(params: Any, config: ModernBertConfig, hidden: Array, attention_mask: Array, *, rng: Array | None) -> Array:
    if config.pooling == "cls":
        pooled = first_token(hidden)
    else:
        wide = hidden.astype(jnp.promote_types(hidden.dtype, jnp.float32))
        real = (attention_mask > 0)[:, :, None]
        count = jnp.sum(real, axis=1).astype(wide.dtype)
        pooled = jnp.sum(jnp.where(real, wide, 0.0), axis=1) / lax.max(count, jnp.ones_like(count))
    x = activate(dense(params["pooler"]["dense"], pooled), config.classifier_activation)
    x = layer_norm(params["pooler"]["norm"], x, config.layer_norm_eps)
    return dense(params["head"], drop(x, config.classifier_dropout, subkey(rng, 0)))


MODERNBERT = Family(
    model_type="modernbert",
    architecture="ModernBertForSequenceClassification",
    prefix="model.",
    parse=_parse,
    tensors=_tensors,
    encode=_encode,
    head=_head,
    ignored=("decoder.",),
)
