"""What every encoder is described by: one frozen, hashable value, fit to be a static argument of ``jax.jit``."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jrank.errors import ModelError

__all__ = ["ACTIVATIONS", "EncoderConfig", "read_field"]

# Names in Hugging Face configurations, and which of the functions in _layers each one means.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


# Far above every model that there is: a file that says more is broken, and would take the memory for its many names.
_MOST = {
    "vocab_size": 1 << 24,
    "hidden_size": 1 << 16,
    "num_layers": 1 << 10,
    "num_heads": 1 << 16,
    "intermediate_size": 1 << 20,
    "max_positions": 1 << 24,
}
_MOST_LABELS = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The shape of a transformer encoder and of its classifier head.

    Families that need more derive from it. Instances are hashable, so they can be static arguments of ``jax.jit``.

    Args:
      family: the Hugging Face ``model_type``; a key of ``FAMILIES``.
      vocab_size: rows of the word embedding.
      hidden_size: width of the hidden states.
      num_layers: transformer layers.
      num_heads: attention heads; divides ``hidden_size``.
      intermediate_size: width inside the feed-forward block.
      max_positions: rows of the position embedding.
      position_offset: position of the first token (RoBERTa counts from ``pad_id + 1``).
      type_vocab_size: rows of the token type embedding; 0 where the family has none.
      embedding_size: width of the embeddings; another than ``hidden_size`` needs a projection.
      layer_norm_eps: added to the variance.
      activation: "gelu" (exact), "gelu_tanh", "tanh", "relu" or "silu".
      pad_id: token id of padding.
      hidden_dropout: dropout of embeddings and of each block's output, in training.
      attention_dropout: dropout of attention probabilities, in training.
      classifier_dropout: dropout before the classifier, in training.
      initializer_range: standard deviation of new weights.
      labels: names of the outputs of the classifier head.

    >>> config = EncoderConfig(family="bert", vocab_size=100, hidden_size=8, num_layers=1, num_heads=2,
    ...                        intermediate_size=16, max_positions=32)
    >>> config.max_length, config.num_labels
    (32, 1)
    """

    family: str
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    max_positions: int
    position_offset: int = 0
    type_vocab_size: int = 2
    embedding_size: int = 0
    layer_norm_eps: float = 1e-12
    activation: str = "gelu"
    pad_id: int = 0
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float = 0.1
    initializer_range: float = 0.02
    labels: tuple[str, ...] = ("LABEL_0",)

    def __post_init__(self):
        if not self.embedding_size:
            object.__setattr__(self, "embedding_size", self.hidden_size)
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not 1 <= value <= most:
                expected = "at least 1" if value < 1 else f"at most {most}"
                raise ModelError(f"{name} is {value}, {expected} was expected", reason="invalid_config")
        for name in ("hidden_dropout", "attention_dropout", "classifier_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ModelError(
                    f"{name} is {getattr(self, name)}, a probability below 1 was expected", reason="invalid_config"
                )
        for name in ("layer_norm_eps", "initializer_range"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ModelError(
                    f"{name} is {getattr(self, name)}, a number of at least 0 was expected", reason="invalid_config"
                )
        if self.hidden_size % self.num_heads:
            raise ModelError(
                f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}", reason="invalid_config"
            )
        if self.max_length < 1:
            raise ModelError(
                f"max_positions {self.max_positions} leaves no room after position_offset {self.position_offset}",
                reason="invalid_config",
            )
        if self.activation not in ACTIVATIONS.values():
            raise ModelError(
                f"the activation {self.activation!r} is unknown",
                reason="invalid_config",
                hint=f"known are {', '.join(sorted(set(ACTIVATIONS.values())))}",
            )
        if not self.labels:
            raise ModelError("labels is empty, one name per output was expected", reason="invalid_config")

    @property
    def max_length(self) -> int:
        """Most tokens of one sequence."""
        return self.max_positions - self.position_offset

    @property
    def num_labels(self) -> int:
        """Outputs of the classifier head."""
        return len(self.labels)

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    def with_labels(self, labels: int | tuple[str, ...]) -> "EncoderConfig":
        """Return the configuration with another number of outputs, or other names for them.

        Args:
          labels: how many, or their names.
        """
        names = tuple(f"LABEL_{i}" for i in range(labels)) if isinstance(labels, int) else tuple(labels)
        return dataclasses.replace(self, labels=names)


_MISSING = object()


def read_field(raw: Mapping[str, Any], name: str, kind: type, default: Any = _MISSING) -> Any:
    """Read one field of a Hugging Face ``config.json``, checked.

    Args:
      raw: the configuration.
      name: its field.
      kind: ``int``, ``float``, ``str`` or ``bool``.
      default: what to return where the field is missing or null; without it the field is required.

    Returns:
      The value.

    Raises:
      ModelError: the field is missing or of another kind.

    >>> read_field({"hidden_size": 384}, "hidden_size", int)
    384
    """
    value = raw.get(name)
    if value is None:
        if default is _MISSING:
            raise ModelError(f"config.json has no field {name!r}", reason="invalid_config")
        return default
    accepted = {int: int, float: (int, float), str: str, bool: bool}[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ModelError(f"config.json: {name} is {value!r}, {kind.__name__} was expected", reason="invalid_config")
    return kind(value)


def read_labels(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the names of the outputs from ``id2label`` or ``num_labels``; one where both are missing.

    Args:
      raw: the configuration.
    """
    names = raw.get("id2label")
    if isinstance(names, Mapping) and names:
        try:
            return tuple(str(names[str(i)]) for i in range(len(names)))
        except KeyError:
            raise ModelError(
                f"config.json: id2label has the keys {sorted(names)}, 0 to {len(names) - 1} were expected",
                reason="invalid_config",
            ) from None
    count = read_field(raw, "num_labels", int, 1)
    if count > _MOST_LABELS:
        raise ModelError(
            f"config.json: num_labels is {count}, at most {_MOST_LABELS} were expected", reason="invalid_config"
        )
    return tuple(f"LABEL_{i}" for i in range(count))


def read_activation(raw: Mapping[str, Any], name: str = "hidden_act", default: str = "gelu") -> str:
    """Read the activation of a ``config.json``.

    Args:
      raw: the configuration.
      name: the field that names it.
      default: where the field is missing.
    """
    given = read_field(raw, name, str, default)
    if given not in ACTIVATIONS:
        raise ModelError(
            f"config.json: {name} is {given!r}, which is not supported",
            reason="invalid_config",
            hint=f"supported are {', '.join(sorted(ACTIVATIONS))}",
        )
    return ACTIVATIONS[given]
