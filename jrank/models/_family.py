"""What a family of encoders consists of: its configuration, its named tensors, its two functions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from jrank.models._config import EncoderConfig
from jrank.types import Array

__all__ = ["Family", "Tensor", "affine", "embedding", "norm"]

Part = Literal["encoder", "pooler", "head"]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One array of the parameters and where a Hugging Face checkpoint keeps it.

    Args:
      path: keys and indices that lead to it in the parameters.
      name: its name in the checkpoint, without the prefix of the encoder.
      shape: its shape here.
      part: "encoder", or "pooler" or "head", which a checkpoint may lack.
      prefixed: whether its name starts with the family's prefix in a checkpoint with a head.
      transpose: the checkpoint keeps it transposed (a linear layer: outputs first).
      init: how a new one is made.
    """

    path: tuple[str | int, ...]
    name: str
    shape: tuple[int, ...]
    part: Part = "encoder"
    prefixed: bool = True
    transpose: bool = False
    init: Literal["normal", "zeros", "ones"] = "normal"

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Its shape in the checkpoint."""
        return self.shape[::-1] if self.transpose else self.shape


@runtime_checkable
class EncodeFn(Protocol):
    """Token ids to hidden states."""

    def __call__(
        self,
        params: Any,
        config: Any,
        input_ids: Array,
        attention_mask: Array,
        token_type_ids: Array | None,
        *,
        rng: Array | None,
        remat: bool,
        dtype: Any,
    ) -> Array:
        """Return the hidden states ``[b, t, d]``."""
        ...


@runtime_checkable
class HeadFn(Protocol):
    """Hidden states to logits, in float32."""

    def __call__(self, params: Any, config: Any, hidden: Array, attention_mask: Array, *, rng: Array | None) -> Array:
        """Return the logits ``[b, labels]``."""
        ...


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of encoders; each lives in a file of its own and has one line in ``FAMILIES``.

    Args:
      model_type: what ``config.json`` calls it.
      architecture: the name of its classifier in ``config.json``.
      prefix: what names start with in a checkpoint with a head, those of the head apart.
      parse: the configuration from the fields of ``config.json``.
      tensors: every array of the parameters.
      encode: token ids to hidden states.
      head: hidden states to logits.
      ignored: beginnings of names that belong to heads of other tasks or to buffers.
    """

    model_type: str
    architecture: str
    prefix: str
    parse: Callable[[Mapping[str, Any]], EncoderConfig]
    tensors: Callable[[Any], list[Tensor]]
    encode: EncodeFn
    head: HeadFn
    ignored: tuple[str, ...] = ()


def affine(
    path: tuple[str | int, ...],
    name: str,
    inputs: int,
    outputs: int,
    *,
    part: Part = "encoder",
    bias: bool = True,
    prefixed: bool | None = None,
) -> list[Tensor]:
    """The tensors of a dense layer.

    Args:
      path: where its dictionary stands in the parameters.
      name: its name in the checkpoint.
      inputs: width of its input.
      outputs: width of its output.
      part: see ``Tensor``.
      bias: whether it has one.
      prefixed: see ``Tensor``; None for all but heads.
    """
    prefixed = part != "head" if prefixed is None else prefixed
    kernel = Tensor((*path, "kernel"), f"{name}.weight", (inputs, outputs), part, prefixed, transpose=True)
    if not bias:
        return [kernel]
    return [kernel, Tensor((*path, "bias"), f"{name}.bias", (outputs,), part, prefixed, init="zeros")]


def norm(
    path: tuple[str | int, ...],
    name: str,
    width: int,
    *,
    part: Part = "encoder",
    bias: bool = True,
    prefixed: bool = True,
) -> list[Tensor]:
    """The tensors of a layer normalisation.

    Args:
      path: where its dictionary stands in the parameters.
      name: its name in the checkpoint.
      width: of the axis that it normalises.
      part: see ``Tensor``.
      bias: whether it has one.
      prefixed: see ``Tensor``.
    """
    scale = Tensor((*path, "scale"), f"{name}.weight", (width,), part, prefixed, init="ones")
    return [scale, Tensor((*path, "bias"), f"{name}.bias", (width,), part, prefixed, init="zeros")] if bias else [scale]


def embedding(path: tuple[str | int, ...], name: str, rows: int, width: int) -> list[Tensor]:
    """The tensor of an embedding.

    Args:
      path: where its dictionary stands in the parameters.
      name: its name in the checkpoint.
      rows: how many.
      width: of a row.
    """
    return [Tensor((*path, "table"), f"{name}.weight", (rows, width))]
