"""A pass that computes only what is read: where one token's vector feeds the head, the last layer needs only that row.

A cross-encoder reads its score from the first token. The keys and values of the last layer need all tokens, but its
queries, its output projection and its feed-forward block only that one: a seventh of the work of a six-layer model.
The pass moves the selection of a row towards the inputs, through operators that treat rows independently.
"""

from typing import Any

import numpy as np

from jrank.export._graph import Graph

__all__ = ["select_early"]

# Two rows instead of one: for a single row the runtime multiplies in another order, and a score would then depend, in
# its last digit, on the padding.
ROWS = 2

UNARY = frozenset({"Cast", "Erf", "Exp", "Gelu", "Identity", "Neg", "Relu", "Sigmoid", "Sqrt", "Tanh"})
BROADCAST = frozenset({"Add", "Div", "Mul", "Pow", "Sub", "Where"})


def select_early(graph: Graph) -> None:
    """Move the selection of a single row as far towards the inputs as it goes.

    Args:
      graph: the graph; it is changed.
    """
    users: dict[str, list[tuple[int, int]]] = {}
    for i, node in enumerate(graph.graph.node):
        for j, name in enumerate(node.input):
            users.setdefault(name, []).append((i, j))
    for value in graph.graph.output:
        users.setdefault(value.name, []).append((-1, 0))
    nodes = list(graph.graph.node)
    for seed in reversed(range(len(nodes))):
        index = graph.value(nodes[seed].input[1]) if nodes[seed].op_type == "Gather" else None
        if index is None or index.ndim or index < 0 or nodes[seed].input[0] not in graph.producers:
            continue
        if _move(graph, nodes, users, seed, int(index)):
            return  # one selection is what a ranking model has


def _move(graph: Graph, nodes: list[Any], users: dict[str, list[tuple[int, int]]], seed: int, row: int) -> bool:
    source = nodes[seed].input[0]
    axis = int(graph.attribute(nodes[seed], "axis", 0)) % max(1, len(graph.shapes.get(source, ())))
    wanted: dict[str, tuple[int, set[tuple[int, int]]]] = {source: (axis, {(seed, 0)})}
    moved, inserted = 0, {}
    for i in reversed(range(seed)):
        node = nodes[i]
        out = node.output[0]
        if out not in wanted:
            continue
        axis, slots = wanted[out]
        needs = _needs(graph, node, axis) if slots == set(users[out]) else None
        if needs is not None and all(wanted.get(name, (a,))[0] == a for name, a in needs.items()):
            moved += node.op_type == "MatMul"
            del wanted[out]
            for j, name in enumerate(node.input):
                if name in needs:
                    wanted.setdefault(name, (needs[name], set()))[1].add((i, j))
            continue
        inserted[i] = out
    if not moved:
        return False
    # What could not be moved past is selected there.
    start = graph.add_constant("start", np.array([row], np.int64))
    stop = graph.add_constant("stop", np.array([row + ROWS], np.int64))
    selections = {}
    for name, (axis, slots) in wanted.items():
        chosen = f"{name}_row"
        along = graph.add_constant("along", np.array([axis], np.int64))
        selections[name] = graph.onnx.helper.make_node("Slice", [name, start, stop, along], [chosen])
        for i, j in slots:
            nodes[i].input[j] = chosen
    nodes[seed].input[1] = graph.add_constant("first", np.array(0, np.int64))
    order = [node for name, node in selections.items() if name not in graph.producers]
    for i, node in enumerate(nodes):
        order.append(node)
        if i in inserted:
            order.append(selections[inserted[i]])
    graph.replace_nodes(order)
    return True


def _needs(graph: Graph, node: Any, axis: int) -> dict[str, int] | None:
    """Return along which axis each input has to be cut for the output to be cut along ``axis``; None if that fails."""
    shape = graph.shapes.get(node.output[0])
    if shape is None or axis >= len(shape) or any(graph.shapes.get(name) is None for name in node.input if name):
        return None
    kind, first = node.op_type, node.input[0]
    if kind in UNARY:
        return {first: axis}
    if kind in BROADCAST:
        return _aligned(graph, node.input, axis, len(shape))
    if kind in ("Softmax", "LayerNormalization"):
        along = int(graph.attribute(node, "axis", -1)) % len(shape)
        return {first: axis} if axis < along else None
    if kind == "Transpose":
        return {first: int(graph.attribute(node, "perm", list(range(len(shape)))[::-1])[axis])}
    if kind == "MatMul":
        return _matmul_needs(graph, node, axis, len(shape))
    if kind == "Reshape":
        target, before = graph.value(node.input[1]), graph.shapes[first]
        if target is None or axis >= len(target) or len(before) <= axis or target[axis] != 0:
            return None
        kept = all(target[k] == 0 or target[k] == before[k] for k in range(axis))
        return {first: axis} if kept else None
    return None


def _matmul_needs(graph: Graph, node: Any, axis: int, rank: int) -> dict[str, int] | None:
    left, right = node.input
    ranks = len(graph.shapes[left]), len(graph.shapes[right])
    if min(ranks) < 2 or left == right:
        return None
    if axis == rank - 2:
        return {left: ranks[0] - 2}
    if axis == rank - 1:
        return {right: ranks[1] - 1}
    return _aligned(graph, node.input, axis, rank)


def _aligned(graph: Graph, names: Any, axis: int, rank: int) -> dict[str, int] | None:
    """Along which axis operands that broadcast have to be cut."""
    needs: dict[str, int] = {}
    for name in names:
        shape = graph.shapes[name]
        place = axis - (rank - len(shape))
        if place >= 0 and shape[place] != 1:
            needs[name] = place
    return needs
