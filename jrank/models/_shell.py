"""The Flax side: modules that hold parameters and call the pure functions. Nothing else in jrank knows nnx."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from jrank.errors import ModelError
from jrank.models._config import EncoderConfig
from jrank.text import PairTokenizer

__all__ = ["Shell", "Source", "load_tokenizer", "need_tokenizer"]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """What a model read from disk carries along, to be written back.

    Attributes:
      raw: the fields of config.json.
      assets: files of the tokenizer, by name.
      new: names of the tensors that were made from the seed, not read.
    """

    raw: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    assets: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    new: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Source(files={sorted(self.assets)}, new={self.new})"


class Shell(nnx.Module):
    """A Flax module over a nested dictionary of parameters.

    Args:
      params: nested dictionaries and lists of arrays; each becomes an ``nnx.Param``.
    """

    def __init__(self, params: Any):
        self.weights = nnx.data(jax.tree.map(nnx.Param, params))

    @property
    def params(self) -> Any:
        """The parameters as plain arrays, for the pure functions and for optax."""
        return jax.tree.map(lambda p: p[...], self.weights, is_leaf=lambda x: isinstance(x, nnx.Variable))

    def with_params(self, params: Any) -> Any:
        """Return this model with other parameters.

        Args:
          params: of the same structure and shapes.

        Raises:
          ModelError: the structure or a shape differs.
        """
        old, new = (jax.tree.map(lambda a: tuple(a.shape), tree) for tree in (self.params, params))
        if old != new:
            raise ModelError("the new parameters have another structure or other shapes", reason="invalid_weights")
        graph, state = nnx.split(self)
        copy = nnx.merge(graph, state)
        copy.weights = nnx.data(jax.tree.map(nnx.Param, params))
        return copy


def load_tokenizer(directory: Any, config: EncoderConfig) -> PairTokenizer | None:
    """Read the tokenizer of a model directory; None where there is none.

    Args:
      directory: the directory.
      config: the configuration of the model.

    Raises:
      ModelError: it is broken, or has ids that the model does not know.
    """
    if not (directory / "tokenizer.json").is_file():
        return None
    tokenizer = PairTokenizer.from_file(directory / "tokenizer.json")
    check_vocabulary(tokenizer, config)
    return tokenizer


def check_vocabulary(tokenizer: PairTokenizer, config: EncoderConfig) -> None:
    """Refuse a tokenizer with more ids or token types than the model has rows.

    Args:
      tokenizer: the tokenizer.
      config: the configuration of the model.
    """
    # A model with one type takes it for every token, one without types takes none.
    types = tokenizer.type_vocab_size if config.type_vocab_size > 1 else 0
    for name, has, knows in (
        ("ids", tokenizer.vocab_size, config.vocab_size),
        ("token types", types, config.type_vocab_size),
    ):
        if has > knows:
            raise ModelError(
                f"the tokenizer has {has} {name}, the model knows {knows}",
                reason="invalid_config",
                hint="they belong to different models",
            )


def need_tokenizer(tokenizer: PairTokenizer | None) -> PairTokenizer:
    """Return the tokenizer, or say that there is none.

    Args:
      tokenizer: the tokenizer or None.
    """
    if tokenizer is None:
        raise ModelError(
            "the model has no tokenizer",
            reason="not_found",
            hint="put tokenizer.json beside its config.json, or pass tokenizer=",
        )
    return tokenizer
