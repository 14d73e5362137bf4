"""Passes over a converted graph: the same mathematics in fewer, larger, standard operators, and in canonical form.

The converter writes layer normalisation as nine operators, computes at run time shapes that are known before, and
stores biases with leading ones, which keeps ONNX Runtime from recognising what it could run faster. The passes mend
that. They use standard operators only, and what they make has to pass the parity gate like everything else.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Graph", "canonical", "flatten_vectors", "fold_shapes", "fuse_layer_norm", "prune"]

Dim = int | str


class Graph:
    """An ONNX graph with the questions that the passes ask.

    Args:
      model: the model; the passes change it.
      shapes: sizes of every value, numbers or names of free ones, as far as they are known.
    """

    def __init__(self, model: Any, onnx: Any):
        self.onnx = onnx
        self.model = model
        self.graph = model.graph
        self.shapes: dict[str, list[Dim]] = {}
        for value in [*self.graph.value_info, *self.graph.input, *self.graph.output]:
            dims = value.type.tensor_type.shape.dim
            self.shapes[value.name] = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in dims]
        for tensor in self.graph.initializer:
            self.shapes[tensor.name] = list(tensor.dims)
        self.index()

    def index(self) -> None:
        """Bring the look-ups up to date after nodes were changed."""
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.producers = {name: node for node in self.graph.node for name in node.output}

    def value(self, name: str) -> np.ndarray | None:
        """Return the value of a constant; None for what is computed."""
        tensor = self.constants.get(name)
        return None if tensor is None else self.onnx.numpy_helper.to_array(tensor)

    def made_by(self, name: str, operator: str) -> Any | None:
        """Return the node that computes a value, if it is of the given kind."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type == operator else None

    def attribute(self, node: Any, name: str, default: Any = None) -> Any:
        """Return an attribute of a node."""
        for entry in node.attribute:
            if entry.name == name:
                return self.onnx.helper.get_attribute_value(entry)
        return default

    def add_constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant under a name that is not taken, and return that name."""
        while name in self.constants or name in self.producers:
            name += "_"
        tensor = self.onnx.numpy_helper.from_array(np.asarray(value, order="C"), name)
        self.graph.initializer.append(tensor)
        self.constants[name] = self.graph.initializer[-1]
        self.shapes[name] = list(value.shape)
        return name

    def replace_nodes(self, nodes: list[Any]) -> None:
        """Set the nodes of the graph."""
        copies = [self.onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        self.index()

    def reroute(self, renamed: dict[str, str]) -> None:
        """Let every reader of one value read another instead; outputs of the graph keep their names."""

        def final(name: str) -> str:
            while name in renamed:
                name = renamed[name]
            return name

        for node in self.graph.node:
            for i, name in enumerate(node.input):
                if name in renamed:
                    node.input[i] = final(name)


# -- shapes that are known before -------------------------------------------------------------------------------------


def fold_shapes(graph: Graph) -> None:
    """Turn shapes computed at run time into constants, and drop reshapes and expansions that change nothing."""
    renamed: dict[str, str] = {}
    outputs = {value.name for value in graph.graph.output}
    kept = []
    for node in graph.graph.node:
        if node.op_type == "Reshape" and _fold_constant(graph, node):
            continue
        if node.op_type in ("Reshape", "Expand") and not graph.attribute(node, "allowzero", 0):
            before, target = graph.shapes.get(node.input[0]), _shape_value(graph, node.input[1])
            if before is not None and target is not None:
                if before == target and node.output[0] not in outputs:
                    renamed[node.output[0]] = node.input[0]
                    continue
                constant = _static_target(before, target) if node.op_type == "Reshape" else None
                if constant is not None:
                    node.input[1] = graph.add_constant(f"{node.output[0]}_shape", np.array(constant, np.int64))
        kept.append(node)
    graph.reroute(renamed)
    graph.replace_nodes(kept)
    graph.reroute(renamed)


def _fold_constant(graph: Graph, node: Any) -> bool:
    """Reshape a constant now instead of at run time."""
    value, shape = graph.value(node.input[0]), graph.value(node.input[1])
    if value is None or shape is None or (shape == 0).any():
        return False
    tensor = graph.onnx.numpy_helper.from_array(np.ascontiguousarray(value.reshape(shape)), node.output[0])
    graph.graph.initializer.append(tensor)
    graph.constants[node.output[0]] = graph.graph.initializer[-1]
    graph.shapes[node.output[0]] = [int(d) for d in tensor.dims]
    return True


def _shape_value(graph: Graph, name: str) -> list[Dim] | None:
    """Return what a shape tensor holds, as numbers and names of free sizes; None if that cannot be told."""
    constant = graph.value(name)
    if constant is not None:
        return [int(d) for d in constant.reshape(-1)]
    node = graph.producers.get(name)
    if node is None:
        return None
    if node.op_type == "Shape" and not node.attribute:
        shape = graph.shapes.get(node.input[0])
        return None if shape is None or "" in shape else list(shape)
    if node.op_type in ("Squeeze", "Unsqueeze", "Identity", "Cast"):
        return _shape_value(graph, node.input[0])
    if node.op_type == "Gather":
        source, index = _shape_value(graph, node.input[0]), graph.value(node.input[1])
        if source is None or index is None:
            return None
        return [source[int(i)] for i in index.reshape(-1)]
    if node.op_type == "Concat":
        parts = [_shape_value(graph, part) for part in node.input]
        return None if any(part is None for part in parts) else [d for part in parts if part for d in part]
    return None


def _static_target(before: list[Dim], target: list[Dim]) -> list[int] | None:
    """Write a target shape with 0 for "as before" and at most one -1 for "the rest"."""
    written, rest = [], 0
    for i, size in enumerate(target):
        if isinstance(size, int) and size > 0:
            written.append(size)
        elif i < len(before) and before[i] == size:
            written.append(0)
        else:
            written.append(-1)
            rest += 1
    return written if rest <= 1 else None


# -- vectors ----------------------------------------------------------------------------------------------------------


def flatten_vectors(graph: Graph) -> None:
    """Store vectors that are added or multiplied as [n] instead of [1, …, 1, n]; broadcasting gives the same result."""
    users: dict[str, list[Any]] = {}
    for node in graph.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for tensor in list(graph.graph.initializer):
        dims = list(tensor.dims)
        if len(dims) < 2 or any(d != 1 for d in dims[:-1]) or not users.get(tensor.name):
            continue
        if all(_broadcasts(graph, node, tensor.name, len(dims)) for node in users[tensor.name]):
            del tensor.dims[:-1]
            graph.shapes[tensor.name] = [dims[-1]]


def _broadcasts(graph: Graph, node: Any, name: str, rank: int) -> bool:
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or list(node.input).count(name) != 1:
        return False
    other = next(value for value in node.input if value != name)
    return len(graph.shapes.get(other, ())) >= rank


# -- layer normalisation ----------------------------------------------------------------------------------------------


def fuse_layer_norm(graph: Graph) -> None:
    """Replace a layer normalisation over the last axis that is written out by one LayerNormalization."""
    if not any(entry.domain in ("", "ai.onnx") and entry.version >= 17 for entry in graph.model.opset_import):
        return
    readers: dict[str, list[Any]] = {}
    for node in graph.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.graph.output}
    replaced: dict[str, Any] = {}
    for node in graph.graph.node:
        found = _match_layer_norm(graph, node)
        if found is None:
            continue
        source, scale, eps = found
        last, inputs = node, [source, scale]
        following = readers.get(node.output[0], [])
        if len(following) == 1 and following[0].op_type == "Add" and node.output[0] not in outputs:
            bias = _other(following[0], node.output[0])
            if bias is not None and graph.shapes.get(bias) == graph.shapes[scale] and bias in graph.constants:
                last = following[0]
                inputs.append(bias)
        replaced[last.output[0]] = graph.onnx.helper.make_node(
            "LayerNormalization", inputs, list(last.output), name=last.name, axis=-1, epsilon=eps
        )
    graph.replace_nodes([replaced.get(node.output[0], node) for node in graph.graph.node])


def _match_layer_norm(graph: Graph, node: Any) -> tuple[str, str, float] | None:
    """Match (x - mean) / sqrt(var + eps) * scale; returns x, scale, eps."""
    if node.op_type != "Mul":
        return None
    for normal, scale in (tuple(node.input), tuple(node.input)[::-1]):
        divided = graph.made_by(normal, "Div")
        if divided is None or scale not in graph.constants or len(graph.shapes[scale]) != 1:
            continue
        root = graph.made_by(divided.input[1], "Sqrt")
        total = root and graph.made_by(root.input[0], "Add")
        centred = graph.made_by(divided.input[0], "Sub")
        if not total or centred is None:
            continue
        for variance, eps in (tuple(total.input), tuple(total.input)[::-1]):
            mean_square, constant = graph.made_by(variance, "ReduceMean"), graph.value(eps)
            if mean_square is None or constant is None or constant.size != 1:
                continue
            square, mean = graph.made_by(mean_square.input[0], "Mul"), graph.made_by(centred.input[1], "ReduceMean")
            if square is None or list(square.input) != [centred.output[0]] * 2 or mean is None:
                continue
            source = centred.input[0]
            same = mean.input[0] == source and _last_axis(graph, mean) and _last_axis(graph, mean_square)
            width = graph.shapes.get(source, [None])[-1:]
            if same and width == graph.shapes[scale]:
                return source, scale, float(constant.reshape(())) if constant.ndim else float(constant)
    return None


def _last_axis(graph: Graph, node: Any) -> bool:
    axes = graph.value(node.input[1]) if len(node.input) > 1 else None
    rank = len(graph.shapes.get(node.input[0], ()))
    keeps = graph.attribute(node, "keepdims", 1) == 1
    return keeps and rank > 0 and axes is not None and [int(a) for a in axes.reshape(-1)] in ([-1], [rank - 1])


def _other(node: Any, name: str) -> str | None:
    rest = [value for value in node.input if value != name]
    return rest[0] if len(rest) == 1 else None


# -- canonical form ---------------------------------------------------------------------------------------------------


def prune(graph: Graph) -> None:
    """Drop what no output depends on, and store equal constants once."""
    _share_constants(graph)
    needed = {value.name for value in graph.graph.output}
    kept = []
    for node in reversed(graph.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    graph.replace_nodes(kept[::-1])
    constants = [tensor for tensor in graph.graph.initializer if tensor.name in needed]
    copies = [graph.onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in constants]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(copies)
    graph.index()


def _share_constants(graph: Graph) -> None:
    first: dict[tuple, str] = {}
    renamed = {}
    for tensor in graph.graph.initializer:
        if np.prod(tensor.dims, dtype=np.int64) > 4096:
            continue
        value = graph.onnx.numpy_helper.to_array(tensor)
        same = first.setdefault((str(value.dtype), value.shape, value.tobytes()), tensor.name)
        if same != tensor.name:
            renamed[tensor.name] = same
    graph.reroute(renamed)


def canonical(graph: Graph) -> None:
    """Name values and constants by their place, and drop what the converter noted on the side.

    Two conversions of the same function then give the same bytes, whatever names the converter chose.
    """
    fixed = {value.name for value in [*graph.graph.input, *graph.graph.output]}
    names: dict[str, str] = {}

    def name_of(old: str, prefix: str, number: Callable[[], int]) -> str:
        if old in fixed or not old:
            return old
        if old not in names:
            names[old] = f"{prefix}{number()}"
        return names[old]

    weights, values = iter(range(1 << 30)), iter(range(1 << 30))
    order = []
    for i, node in enumerate(graph.graph.node):
        for j, old in enumerate(node.input):
            if old in graph.constants and old not in names:
                order.append(old)
            node.input[j] = name_of(
                old,
                "w" if old in graph.constants else "v",
                lambda old=old: next(weights if old in graph.constants else values),
            )
        for j, old in enumerate(node.output):
            node.output[j] = name_of(old, "v", lambda: next(values))
        node.name = f"n{i}"
        node.doc_string = ""
        del node.metadata_props[:]
    tensors = [graph.onnx.TensorProto.FromString(graph.constants[old].SerializeToString()) for old in order]
    for tensor, old in zip(tensors, order, strict=True):
        tensor.name = names.get(old, old)
        tensor.doc_string = ""
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(tensors)
    del graph.graph.value_info[:]
    graph.graph.name = "jrank"
    graph.graph.doc_string = ""
    graph.model.doc_string = ""
    graph.model.producer_name = "jrank"
    graph.model.producer_version = ""
    graph.model.domain = ""
    del graph.model.metadata_props[:]
    graph.index()
