"""Models: feature rankers, transformer encoders and cross-encoders.

A model is a nested dictionary of arrays (``params``), a frozen configuration, and pure functions of the two; the
classes are thin Flax modules that hold them together with the tokenizer.

>>> import jax
>>> import numpy as np
>>> from jrank import models
>>> raw = {"model_type": "bert", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 6}
>>> model = models.CrossEncoder.from_config(raw, seed=1)
>>> ids, mask, types = np.array([[1, 5, 2, 6, 2]]), np.ones((1, 5), int), np.array([[0, 0, 0, 1, 1]])
>>> checked = model.logits(ids, mask, types)
>>> pure = jax.jit(models.logits, static_argnames="config")(model.params, model.config, ids, mask, types)
>>> bool(abs(checked - pure).max() < 1e-6)
True

With weights at hand, ``models.TextEncoder.from_pretrained().encode(texts)`` gives vectors and
``models.CrossEncoder.from_pretrained(directory).score(pairs)`` gives scores.
"""

from jrank.models._checkpoint import Checkpoint, read_checkpoint, read_config, write_checkpoint
from jrank.models._config import EncoderConfig
from jrank.models._cross_encoder import CrossEncoder
from jrank.models._families import FAMILIES, config_from
from jrank.models._functions import encode, init_params, logits, pool_hidden, validate_inputs
from jrank.models._mlp import MLPRanker, RankerConfig
from jrank.models._multi_vector import MultiVectorEncoder, token_vectors
from jrank.models._text_encoder import TextEncoder
from jrank.models._weights import DEFAULT_MODEL, find_weights

__all__ = [
    "DEFAULT_MODEL",
    "FAMILIES",
    "Checkpoint",
    "CrossEncoder",
    "EncoderConfig",
    "MLPRanker",
    "MultiVectorEncoder",
    "RankerConfig",
    "TextEncoder",
    "config_from",
    "encode",
    "find_weights",
    "init_params",
    "logits",
    "pool_hidden",
    "read_checkpoint",
    "read_config",
    "token_vectors",
    "validate_inputs",
    "write_checkpoint",
]
