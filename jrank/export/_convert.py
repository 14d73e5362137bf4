"""The one place that calls the converter from JAX to ONNX."""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jrank.errors import ExportError, require
from jrank.export._first_token import select_early
from jrank.export._graph import Graph, canonical, flatten_vectors, fold_shapes, fuse_layer_norm, prune

__all__ = ["OPSET", "as_structs", "convert", "count_nodes"]

# What is done to every converted graph, in this order.
PASSES = (fold_shapes, flatten_vectors, fuse_layer_norm, prune, select_early, prune, canonical)

# 17 gives a graph that ONNX Runtime rejects, and at 23 an attention operator that fails when it runs.
OPSET = 21


def convert(
    function: Callable[..., Any],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    outputs: Sequence[str],
    *,
    metadata: Mapping[str, str],
) -> bytes:
    """Convert a function of arrays to an ONNX model.

    Args:
      function: takes the inputs in order.
      inputs: name, shape and dtype of each; a text in the place of a size leaves that size free.
      outputs: names of the outputs, in the order in which the function returns them.
      metadata: texts to be stored in the model.

    Returns:
      The model, the same bytes each time, with all weights inside.

    Raises:
      MissingExtraError: the extra ``export`` is not installed.
      ExportError: the converter fails.
    """
    onnx = require("onnx", "export")
    converter = require("jax2onnx", "export")
    with _quiet(), _quick_compilation():
        try:
            model = converter.to_onnx(
                function,
                list(inputs.values()),
                model_name="jrank",
                opset=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                normalization_mode="prefer_native",
            )
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise ExportError(
                f"jax2onnx cannot convert the function: {type(error).__name__}: {lines[0][:400]}",
                reason="conversion",
                hint="the operation may have no ONNX form, or need sizes that are not free; "
                "docs/serving.md lists what converts",
            ) from error
        return _finish(onnx, model, inputs, outputs, metadata)


def count_nodes(model: bytes) -> int:
    """Return how many operators a model has."""
    return len(require("onnx", "export").load_model_from_string(model).graph.node)


def _finish(
    onnx: Any, model: Any, inputs: Mapping[str, Any], outputs: Sequence[str], metadata: Mapping[str, str]
) -> bytes:
    """Simplify a converted model, hold it against what was asked for, and serialise it."""
    found = [value.name for value in model.graph.output]
    if found != list(outputs):
        raise ExportError(
            f"the function has {len(found)} outputs, {len(outputs)} were named ({', '.join(outputs)})",
            reason="invalid_parameter",
            hint="name one output for each array that the function returns",
        )
    unknown = {value.name for value in model.graph.input} - set(inputs)
    if unknown:
        raise ExportError(f"the converter added the inputs {sorted(unknown)}", reason="conversion")
    graph = Graph(model, onnx)
    for step in PASSES:
        step(graph)
    for key in sorted(metadata):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, metadata[key]
    size = model.ByteSize()
    if size >= 2 << 30:
        raise ExportError(f"the model has {size} bytes, an ONNX file holds 2 GB", reason="conversion")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the converted model is not valid: {error}", reason="conversion") from None
    return model.SerializeToString(deterministic=True)


@contextlib.contextmanager
def _quick_compilation() -> Iterator[None]:
    """Compile without optimising: the converter compiles dozens of small programs that run once, when it is loaded."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's remarks off stderr: what matters reaches the caller as an error or in the report."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "jax2onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def as_structs(inputs: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Read the description of a function's arguments."""
    if not isinstance(inputs, Mapping) or not inputs:
        raise ExportError(
            "inputs must be a dictionary of the arguments, in order",
            reason="invalid_parameter",
            hint='such as {"features": (("lists", "items", 136), "float32")}',
        )
    found = {}
    for name, entry in inputs.items():
        if not isinstance(name, str) or not name:
            raise ExportError(f"the name of an input must be a text, got {name!r}", reason="invalid_parameter")
        shape, dtype = (entry.shape, entry.dtype) if hasattr(entry, "shape") else _pair(name, entry)
        sizes = tuple(_size(name, size) for size in shape)
        try:
            found[name] = jax.ShapeDtypeStruct(sizes, np.dtype(dtype))  # type: ignore[arg-type]
        except TypeError:
            raise ExportError(f"the dtype {dtype!r} of {name!r} is unknown", reason="invalid_parameter") from None
    return found


def _pair(name: str, entry: Any) -> tuple[Sequence[Any], Any]:
    if isinstance(entry, str) or not isinstance(entry, Sequence):
        raise ExportError(
            f"the input {name!r} is described by {entry!r}, (shape, dtype) was expected", reason="invalid_parameter"
        )
    if len(entry) == 2 and isinstance(entry[0], Sequence) and not isinstance(entry[0], str):
        return entry[0], entry[1]
    return entry, "float32"


def _size(name: str, size: Any) -> int | str:
    if isinstance(size, str) and size.isidentifier():
        return size
    if isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size >= 0:
        return int(size)
    raise ExportError(
        f"the size {size!r} of the input {name!r} is neither a number nor a name", reason="invalid_parameter"
    )
