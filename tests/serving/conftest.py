"""A cross-encoder small enough to compute by hand, as ONNX, and its tokenizer."""

import threading
import types

import numpy as np
import onnx
import pytest
import tokenizers
from onnx import TensorProto, helper, numpy_helper

from jrank.errors import ServeError

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "what", "is", "jax", "good", "bad", "long", "a", "b"]
POSITIONS = 32

# What each token adds to the score; tokens of the document count ten times.
VALUES = np.array([99, 0, 0, 0, 1, 2, 3, 4, -4, 1, 5, 6], np.float32)


def make_tokenizer():
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return inner.to_str().encode()


def make_model(
    *,
    rows=12,
    positions=POSITIONS,
    labels=1,
    kind=TensorProto.INT64,
    typed=True,
    mask=True,
    nan=False,
    vector=False,
    output="logits",
    rename=None,
    shape=("batch", "sequence"),
):
    """Score = the sum of the values of the tokens; label j gets j more."""
    values = np.resize(VALUES, rows)[:, None] + np.arange(labels, dtype=np.float32)[None, :] * 0
    kinds = np.repeat(np.array([[1.0], [10.0]], np.float32), labels, axis=1)
    if nan:
        values[0] = np.nan
    constants = {
        "values": values.astype(np.float32),
        "kinds": kinds,
        "places": np.zeros((positions, labels), np.float32),
        "offset": np.arange(labels, dtype=np.float32)[None, :],
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "axis": np.array([1], np.int64),
        "last": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["values", "input_ids"], ["v"]),
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Range", ["zero", "length", "one"], ["range"]),
        helper.make_node("Gather", ["places", "range"], ["p"]),
        helper.make_node("Add", ["v", "p"], ["vp"]),
    ]
    inputs, last = ["input_ids"], "vp"
    if typed:
        inputs.append("token_type_ids")
        nodes += [
            helper.make_node("Gather", ["kinds", "token_type_ids"], ["k"]),
            helper.make_node("Mul", [last, "k"], ["vpk"]),
        ]
        last = "vpk"
    if mask:
        inputs.append("attention_mask")
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["m1"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["m1", "last"], ["m2"]),
            helper.make_node("Mul", [last, "m2"], ["masked"]),
        ]
        last = "masked"
    nodes += [
        helper.make_node("ReduceSum", [last, "axis"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "offset"], ["full"]),
        helper.make_node("Squeeze", ["full", "axis"], [output])
        if vector
        else helper.make_node("Identity", ["full"], [output]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, list(shape)) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch"] if vector else ["batch", labels])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    if rename:
        old, new = rename
        for value in model.graph.input:
            value.name = new if value.name == old else value.name
        for node in model.graph.node:
            for i, name in enumerate(node.input):
                node.input[i] = new if name == old else name
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="session")
def tokenizer_bytes():
    return make_tokenizer()


@pytest.fixture(scope="session")
def model_bytes():
    model = make_model()
    helper.set_model_props(model, {"max_length": str(POSITIONS)})
    return model.SerializeToString()


@pytest.fixture(scope="session")
def tiny():
    """How the model is made, for tests that need another one."""
    return types.SimpleNamespace(make_model=make_model, words=WORDS, values=VALUES, positions=POSITIONS)


class Slow:
    """A ranker that waits to be let go, counts its rounds, and fails on one text."""

    def __init__(self, *, batch_invariant=True, gate=True):
        self.info = {"batch_invariant": batch_invariant, "labels": 1}
        self.gate = threading.Event()
        self.rounds = []
        self.begun = 0
        if not gate:
            self.gate.set()

    def warmup(self):
        return self

    def score_batch(self, pairs, *, truncation=None, invariant=False):
        self.begun += 1
        self.gate.wait(10)
        self.rounds.append([query for query, _ in pairs])
        if any(document == "poison" for _, document in pairs):
            raise ServeError("no", reason="inference")
        return np.array([float(document or 0) for _, document in pairs])


@pytest.fixture
def slow_ranker():
    """The class of a ranker that waits to be let go."""
    return Slow
