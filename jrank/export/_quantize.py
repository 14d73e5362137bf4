"""Smaller weights: dynamic int8, and int8 or float16 weights that leave the arithmetic in float32."""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jrank.errors import ExportError, require

__all__ = ["METHODS", "quantize_weights"]

# Smaller constants are not worth a scale of their own.
SMALLEST = 1024


def quantize_weights(model: bytes, method: str) -> bytes:
    """Store the weights of a float32 model in fewer bits.

    Args:
      model: the ONNX file, before any fusion of operators.
      method: a key of `METHODS`.

    Returns:
      The smaller ONNX file.

    Raises:
      ExportError: the method is unknown, or the runtime's quantiser fails.
    """
    if method not in METHODS:
        raise ExportError(
            f"unknown quantisation {method!r}", reason="invalid_parameter", hint=f"None, or one of {', '.join(METHODS)}"
        )
    return METHODS[method](model)


def _dynamic(model: bytes) -> bytes:
    """Weights in int8, one scale per column; activations quantised as they come, one scale per batch.

    Two things keep the order of the scores: weights use seven of the eight bits, because processors without VNNI
    saturate otherwise, and what works on single rows (the head, and the part of the last layer that only the first
    token passes) keeps float32 arithmetic, which costs no time there.
    """
    onnx = require("onnx", "export")
    quantization = require("onnxruntime.quantization", "export")
    original = onnx.load_model_from_string(model)
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "q.onnx"
        root.setLevel(logging.ERROR)  # it advises on the root logger to run a preprocessing that is not needed here
        try:
            quantization.quantize_dynamic(
                onnx.load_model_from_string(model),
                place,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_exclude=_after_selection(original),
            )
        except Exception as error:
            raise ExportError(f"onnxruntime.quantization fails: {error}", reason="quantization") from error
        finally:
            root.setLevel(level)
        return _weights_only(_serialize(onnx, onnx.load(place), original), _symmetric)


def _after_selection(model: Any) -> list[str]:
    """Return the names of the products that work on selected rows only."""
    selected, names = set(), []
    for node in model.graph.node:
        if node.op_type == "Slice" or selected.intersection(node.input):
            selected.update(node.output)
            if node.op_type in ("MatMul", "Gemm"):
                names.append(node.name)
    return names


def _int8_weights(model: bytes) -> bytes:
    """Weights in int8, restored to float32 when the model is loaded: exact arithmetic, no dependence on the batch."""
    return _weights_only(model, _symmetric)


def _float16_weights(model: bytes) -> bytes:
    """Weights in float16, restored to float32 when the model is loaded."""
    return _weights_only(model, None)


def _symmetric(weight: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.abs(weight).max(axis=others, keepdims=True).astype(np.float64) / 127.0
    scale = np.where(scale == 0.0, 1.0, scale).astype(np.float32)
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale


def _weights_only(data: bytes, reduce: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]] | None) -> bytes:
    onnx = require("onnx", "export")
    model = onnx.load_model_from_string(data)
    graph = model.graph
    # Columns of a matrix product have scales of their own, rows of a table too.
    axes = {"MatMul": (1, -1), "Gemm": (1, -1), "Gather": (0, 0)}
    users = {name: (node, i) for node in graph.node for i, name in enumerate(node.input)}
    nodes, tensors = [], []
    for tensor in graph.initializer:
        node, place = users.get(tensor.name, (None, 0))
        weight = onnx.numpy_helper.to_array(tensor) if tensor.data_type == onnx.TensorProto.FLOAT else None
        if weight is None or node is None or node.op_type not in axes or weight.ndim < 2 or weight.size < SMALLEST:
            tensors.append(tensor)
            continue
        want, axis = axes[node.op_type]
        if place != want:
            tensors.append(tensor)
            continue
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            axis = 0
        small = f"{tensor.name}_small"
        if reduce is None:
            tensors.append(onnx.numpy_helper.from_array(_to_half(weight, tensor.name), small))
            nodes.append(onnx.helper.make_node("Cast", [small], [tensor.name], to=onnx.TensorProto.FLOAT))
            continue
        axis %= weight.ndim
        values, scale = reduce(weight, axis)
        tensors += [
            onnx.numpy_helper.from_array(values, small),
            onnx.numpy_helper.from_array(scale, f"{tensor.name}_scale"),
        ]
        # Not DequantizeLinear: the runtime would fuse it into a product that quantises activations as well. A cast and
        # a product of constants are computed once, when the model is loaded.
        nodes += [
            onnx.helper.make_node("Cast", [small], [f"{tensor.name}_cast"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", [f"{tensor.name}_cast", f"{tensor.name}_scale"], [tensor.name]),
        ]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in [*nodes, *graph.node]]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in tensors]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(copies)
    return _serialize(onnx, model, model)


def _to_half(weight: np.ndarray, name: str) -> np.ndarray:
    if np.abs(weight).max() > np.finfo(np.float16).max:
        raise ExportError(f"the weight {name} exceeds the range of float16", reason="quantization")
    return weight.astype(np.float16)


def _serialize(onnx: Any, model: Any, original: Any) -> bytes:
    """Drop what the tools noted on the side, keep what the original said."""
    for i, node in enumerate(model.graph.node):
        node.name = f"n{i}"
        node.doc_string = ""
    entries = [(entry.key, entry.value) for entry in original.metadata_props]
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for key, value in entries:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    model.producer_name, model.producer_version = original.producer_name, original.producer_version
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


METHODS = {"int8": _dynamic, "int8-weights": _int8_weights, "float16-weights": _float16_weights}
