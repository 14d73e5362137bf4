"""What an ONNX file holds, read from its bytes before any runtime sees them.

The runtime executes what a model file says. This reader walks the file's structure (protocol buffers) without building
anything, and refuses what a self-contained ranking model never has: data in other files, sparse or absurdly large
tensors, operators that load code. Weights are skipped over, so it takes milliseconds.
"""

import dataclasses
import math
from collections.abc import Iterator

from jrank.errors import ServeError

__all__ = ["OnnxFile", "inspect"]

MAX_DEPTH = 24
MAX_NODES = 1_000_000

# Operators that make the runtime read other files or run foreign code.
FORBIDDEN = frozenset({"EPContext", "PyOp", "PythonOp", "TRTPlugin"})

# The scales of these operators are taken over the whole batch, so a score depends on its batch mates.
BATCH_DEPENDENT = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})


@dataclasses.dataclass
class OnnxFile:
    """What `inspect` found.

    Attributes:
      ir_version: version of the file format.
      opsets: version of each operator domain; "" is the standard one.
      metadata: the file's key-value pairs.
      operators: names of the operators.
      nodes: how many there are.
    """

    ir_version: int = 0
    opsets: dict[str, int] = dataclasses.field(default_factory=dict)
    metadata: dict[str, str] = dataclasses.field(default_factory=dict)
    operators: set[str] = dataclasses.field(default_factory=set)
    nodes: int = 0

    @property
    def batch_invariant(self) -> bool:
        """Whether a row's score is independent of the other rows of its batch."""
        return not self.operators & BATCH_DEPENDENT


def inspect(data: bytes) -> OnnxFile:
    """Walk a model.

    Args:
      data: contents of an ``.onnx`` file.

    Returns:
      What it holds.

    Raises:
      ServeError: it is not a model, or holds something that is refused.
    """
    found = OnnxFile()
    has_graph = False
    for field, value in _fields(memoryview(data)):
        if field == 1 and isinstance(value, int):
            found.ir_version = value
        elif field == 7:
            has_graph = True
            _graph(_message(value), found, 0)
        elif field == 8:
            entry = dict(_fields(_message(value)))
            found.opsets[_text(entry.get(1, b""))] = int(entry.get(2, 0)) if isinstance(entry.get(2, 0), int) else 0
        elif field == 14:
            entry = dict(_fields(_message(value)))
            found.metadata[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
        elif field == 20:
            raise _refused("it holds training information")
        elif field == 25:
            for inner, node in _fields(_message(value)):
                if inner == 7:
                    _node(_message(node), found, 1)
                elif inner == 11:
                    _attribute(_message(node), found, 1)
    if not has_graph:
        raise _malformed("there is no graph in it")
    return found


def _graph(data: memoryview, found: OnnxFile, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _refused("its graphs are nested too deeply")
    for field, value in _fields(data):
        if field == 1:
            _node(_message(value), found, depth)
        elif field == 5:
            _tensor(_message(value))
        elif field == 15:
            raise _refused("it holds sparse tensors")


def _node(data: memoryview, found: OnnxFile, depth: int) -> None:
    found.nodes += 1
    if found.nodes > MAX_NODES:
        raise _refused(f"it has more than {MAX_NODES} nodes")
    for field, value in _fields(data):
        if field == 4:
            name = _text(value)
            if name in FORBIDDEN:
                raise _refused(f"it uses the operator {name}, which runs code from elsewhere")
            found.operators.add(name)
        elif field == 5:
            _attribute(_message(value), found, depth)


def _attribute(data: memoryview, found: OnnxFile, depth: int) -> None:
    for field, value in _fields(data):
        if field in (5, 10):
            _tensor(_message(value))
        elif field in (6, 11):
            _graph(_message(value), found, depth + 1)
        elif field in (22, 23):
            raise _refused("it holds sparse tensors")


def _tensor(data: memoryview) -> None:
    dims: list[int] = []
    for field, value in _fields(data):
        if field == 1:
            dims += [value] if isinstance(value, int) else list(_varints(value))
        elif field == 13 or (field == 14 and value != 0):
            raise ServeError(
                "the model keeps weights in another file, which is refused",
                reason="external_data",
                hint="save it as one file (onnx.save with save_as_external_data=False); models up to 2 GB fit",
            )
    # A declared size that the bytes cannot back: the smallest element type takes an eighth of a byte.
    if any(d < 0 or d >= 1 << 63 for d in dims) or math.prod(dims) > 8 * (len(data) + 1):
        raise _refused(f"it declares a tensor of shape {dims[:8]} without the data for it")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a message: an int for numbers, a view for everything else."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if kind == 2:
            size, position = _varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise _malformed(f"byte {position} starts no field")
        if position + size > end:
            raise _malformed("it is cut off")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise _malformed("it is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _malformed("a number stands where a message belongs")
    return value


def _text(value: int | memoryview | bytes) -> str:
    if isinstance(value, int):
        raise _malformed("a number stands where a text belongs")
    return bytes(value).decode("utf-8", "replace")


def _malformed(why: str) -> ServeError:
    return ServeError(f"this is not an ONNX model: {why}", reason="invalid_model", hint="the file may be cut off")


def _refused(why: str) -> ServeError:
    return ServeError(f"the model is refused: {why}", reason="invalid_model")
