"""What is exported: the function, its inputs and outputs, and what it is checked with."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jrank.errors import ExportError
from jrank.export._convert import as_structs
from jrank.export._parity import function_cases, pair_cases
from jrank.models import CrossEncoder, MLPRanker
from jrank.text import PairTokenizer

__all__ = ["PAIR_INPUTS", "Job", "cross_encoder_job", "function_job"]

PAIR_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclasses.dataclass(frozen=True)
class Job:
    """An export.

    Attributes:
      kind: "cross-encoder" or "function".
      function: what is converted; takes the inputs in order.
      reference: what the graph is held against; takes the same.
      inputs: shape and dtype by name.
      outputs: names.
      cases: inputs to check with.
      tokenizer: travels along, if the inputs are texts.
      facts: what else the bundle's configuration says.
    """

    kind: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: dict[str, jax.ShapeDtypeStruct]
    outputs: list[str]
    cases: list[dict[str, np.ndarray]]
    tokenizer: PairTokenizer | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


def cross_encoder_job(model: CrossEncoder, max_length: int | None) -> Job:
    """Describe the export of a cross-encoder.

    Args:
      model: the model, with its tokenizer.
      max_length: most tokens of a pair; None = that of the model, at most 512.

    Returns:
      The job.

    Raises:
      ExportError: there is no tokenizer, or the length is out of range.
    """
    tokenizer, config = model.tokenizer, model.config
    if tokenizer is None:
        raise ExportError(
            "the cross-encoder has no tokenizer, and a bundle is served with one",
            reason="invalid_parameter",
            hint="make it with tokenizer=",
        )
    longest = model.max_length if max_length is None else max_length
    if not 4 <= longest <= config.max_length:
        raise ExportError(
            f"max_length must be from 4 to {config.max_length}, got {longest}", reason="invalid_parameter"
        )
    struct = jax.ShapeDtypeStruct(("batch", "sequence"), np.dtype("int32"))  # type: ignore[arg-type]
    return Job(
        kind="cross-encoder",
        function=lambda ids, mask, types: model(ids, mask, types),
        # Compiled with the parameters as arguments; inside of the program they would be copied for every shape.
        reference=model.logits,
        inputs=dict.fromkeys(PAIR_INPUTS, struct),
        outputs=["logits"],
        cases=pair_cases(config.vocab_size, longest, types=2 if config.type_vocab_size > 1 else 1),
        tokenizer=tokenizer,
        facts={
            "max_length": longest,
            "labels": list(config.labels),
            "pad_id": tokenizer.pad_id,
            "vocab_size": config.vocab_size,
            "tokenizer_sha256": tokenizer.sha256,
        },
    )


def function_job(
    model: Any,
    inputs: Mapping[str, Any] | None,
    outputs: Sequence[str] | None,
    samples: Iterable[Mapping[str, Any]] | None,
) -> Job:
    """Describe the export of a feature ranker or a pure function.

    Args:
      model: the function.
      inputs: its arguments; None is enough for a feature ranker.
      outputs: names of what it returns.
      samples: inputs to check with.

    Returns:
      The job.

    Raises:
      TypeError: the model cannot be called.
      ExportError: inputs, outputs or samples do not fit the function.
    """
    if not callable(model):
        raise TypeError(f"a model or a function was expected, got {type(model).__name__}")
    if inputs is None and isinstance(model, MLPRanker):
        inputs = {"features": (("lists", "items", model.config.features), "float32")}
    structs = as_structs(inputs)
    cases = function_cases(structs) if samples is None else _samples(samples, structs)
    count = _count_outputs(model, cases[0])
    if outputs is None:
        outputs = ["scores"] if count == 1 else [f"output_{i}" for i in range(count)]
    names = list(outputs)
    if len(names) != count or len(set(names) | set(structs)) != len(names) + len(structs):
        raise ExportError(
            f"the function returns {count} arrays, outputs names {names}",
            reason="invalid_parameter",
            hint="one name each, different from one another and from the inputs",
        )
    return Job("function", model, jax.jit(model), structs, names, cases)


def _count_outputs(function: Callable[..., Any], case: Mapping[str, np.ndarray]) -> int:
    try:
        return len(jax.tree.leaves(jax.eval_shape(function, *case.values())))
    except Exception as error:
        raise ExportError(
            f"the function cannot take the inputs that were described: {type(error).__name__}: {error}",
            reason="invalid_parameter",
            hint="inputs= lists its arguments in order, with shape and dtype",
        ) from error


def _samples(samples: Iterable[Mapping[str, Any]], structs: Mapping[str, Any]) -> list[dict[str, np.ndarray]]:
    cases = []
    for i, sample in enumerate(samples):
        if set(sample) != set(structs):
            raise ExportError(
                f"sample {i} has {sorted(sample)}, {sorted(structs)} was expected", reason="invalid_parameter"
            )
        cases.append({key: np.asarray(sample[key], entry.dtype) for key, entry in structs.items()})
    if not cases:
        raise ExportError("there are no samples to check the graph with", reason="invalid_parameter")
    return cases
