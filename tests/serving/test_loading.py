"""Which models and tokenizers are loaded, and which are refused: damaged, hostile, or not made for each other."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import hypothesis
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from jrank.errors import ServeError
from jrank.serving import CrossEncoder
from jrank.text import PairTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]

# -- what cannot be loaded --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 11}, r"the model has fewer ids than the tokenizer \(12\); use the tokenizer"),
        ({"positions": 31}, "the model does not take 32 tokens; pass a smaller max_length"),
        ({"nan": True}, "the model's scores are not finite"),
        ({"rename": ("token_type_ids", "position_ids")}, "asks for the input 'position_ids', which texts do not give"),
        ({"rename": ("input_ids", "ids")}, "asks for the input 'ids'"),
        ({"shape": ("batch", 32)}, r"is \['batch', 32\], \[batch, sequence\] was expected, both free"),
        ({"kind": TensorProto.INT32, "shape": (1, "sequence")}, "both free"),
    ],
)
def test_models_that_do_not_fit(tiny, tokenizer_bytes, options, message):
    with pytest.raises(ServeError, match=message):
        CrossEncoder.from_bytes(tiny.make_model(**options).SerializeToString(), tokenizer_bytes, max_length=32)


def test_a_type_id_that_the_model_does_not_know(tiny, tokenizer_bytes):
    model = tiny.make_model()
    for tensor in model.graph.initializer:
        if tensor.name == "kinds":
            tensor.CopyFrom(numpy_helper.from_array(np.ones((1, 1), np.float32), "kinds"))
    with pytest.raises(ServeError, match="does not know the type id 1"):
        CrossEncoder.from_bytes(model.SerializeToString(), tokenizer_bytes, max_length=32)


def test_an_encoder_is_no_cross_encoder(tiny, tokenizer_bytes):
    model = tiny.make_model()
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("masked", TensorProto.FLOAT, ["batch", "sequence", 1]))
    with pytest.raises(ServeError, match="may be an encoder without a scoring head"):
        CrossEncoder.from_bytes(model.SerializeToString(), tokenizer_bytes, max_length=32)


def test_a_score_that_is_not_finite_names_the_pair(tiny, tokenizer_bytes):
    values = tiny.values.copy()
    values[tiny.words.index("bad")] = np.inf
    model = tiny.make_model()
    for tensor in model.graph.initializer:
        if tensor.name == "values":
            tensor.CopyFrom(numpy_helper.from_array(values[:, None], "values"))
    ranker = CrossEncoder.from_bytes(model.SerializeToString(), tokenizer_bytes, max_length=32)
    with pytest.raises(ServeError, match="the score of pair 1 is not finite") as caught:
        ranker.score_batch([("a", "b"), ("a", "bad"), ("a", "b b b")])
    assert caught.value.reason == ServeError.Reason.INFERENCE


@pytest.mark.usefixtures("unchecked")
def test_broken_bytes(model_bytes, tokenizer_bytes):
    for junk in (
        b"",
        b"junk",
        b"\x00" * 100,
        model_bytes[:-1],
        model_bytes[: len(model_bytes) // 2],
        b"\x3a\xff\xff\xff\x7f",
    ):
        with pytest.raises(ServeError) as caught:
            CrossEncoder.from_bytes(junk, tokenizer_bytes)
        assert caught.value.reason == ServeError.Reason.INVALID_MODEL
    with pytest.raises(ServeError, match="the tokenizer cannot be used"):
        CrossEncoder.from_bytes(model_bytes, b"{}")
    with pytest.raises(TypeError, match="the model must be bytes, got str"):
        CrossEncoder.from_bytes("model", tokenizer_bytes)
    with pytest.raises(TypeError, match="the tokenizer must be bytes or text, got int"):
        CrossEncoder.from_bytes(model_bytes, 3)
    assert CrossEncoder.from_bytes(model_bytes, PairTokenizer.from_bytes(tokenizer_bytes)).score("a", "b") == 65


@hypothesis.given(st.integers(0, 1500), st.binary(min_size=1, max_size=8))
def test_a_damaged_model_is_refused_or_runs(model_bytes, tokenizer_bytes, where, bytes_):
    data = bytearray(model_bytes)
    data[where : where + len(bytes_)] = bytes_
    try:
        ranker = CrossEncoder.from_bytes(bytes(data), tokenizer_bytes, max_length=32)
        ranker.score("a", "b")
    except ServeError:
        return


# -- files ------------------------------------------------------------------------------------------------------------


def write_bundle(folder, model, tokenizer, **config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    files = {
        name: {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
        for name in ("model.onnx", "tokenizer.json")
    }
    base = {"format": "jrank-bundle", "format_version": 1, "max_length": 32, "labels": ["relevance"], "files": files}
    (folder / "config.json").write_text(json.dumps({**base, **config}))
    return folder


def test_bundles_and_files(tmp_path, model_bytes, tokenizer_bytes):
    bundle = write_bundle(tmp_path / "b", model_bytes, tokenizer_bytes, max_length=16, name="tiny")
    ranker = CrossEncoder.from_file(bundle)
    assert ranker.info["max_length"] == 16
    assert ranker.info["name"] == "tiny"
    assert CrossEncoder.from_file(str(bundle)).score("a", "b") == 65
    assert CrossEncoder.from_file(bundle / "model.onnx").info["max_length"] == 16
    (tmp_path / "alone.onnx").write_bytes(model_bytes)
    for tokenizer in (bundle, bundle / "tokenizer.json", str(bundle), tokenizer_bytes):
        assert CrossEncoder.from_file(tmp_path / "alone.onnx", tokenizer).info["max_length"] == 32
    with pytest.raises(ServeError, match=r"no tokenizer.json beside .*alone.onnx; pass tokenizer=") as caught:
        CrossEncoder.from_file(tmp_path / "alone.onnx")
    assert caught.value.reason == ServeError.Reason.NOT_FOUND


def test_exports_of_other_tools(tiny, tmp_path, tokenizer_bytes):
    folder = tmp_path / "other"
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(tiny.make_model(positions=20).SerializeToString())
    (folder / "tokenizer.json").write_bytes(tokenizer_bytes)
    config = {"model_type": "bert", "max_position_embeddings": 20, "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps(config))
    ranker = CrossEncoder.from_file(folder)
    assert ranker.info["max_length"] == 20
    assert ranker.info["label_names"] == ["LABEL_0"]
    (folder / "config.json").write_text(
        json.dumps({"model_type": "roberta", "max_position_embeddings": 22, "pad_token_id": 1})
    )
    assert CrossEncoder.from_file(folder).info["max_length"] == 20


def test_exports_of_other_tools_with_the_configuration_of_a_tokenizer(tiny, tmp_path, tokenizer_bytes):
    (tmp_path / "model.onnx").write_bytes(tiny.make_model().SerializeToString())
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_bytes)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 32}))
    # Tokens of type 1 count ten times: "jax" of the document, and the [SEP] after it, which is worth nothing.
    query, document = tiny.values[[4, 6]]
    assert CrossEncoder.from_file(tmp_path).score("what", "jax") == query + 10 * document
    settings = {"model_input_names": ["input_ids", "attention_mask"], "model_max_length": 8}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ranker = CrossEncoder.from_file(tmp_path)
    assert ranker.score("what", "jax") == query + document
    assert ranker.info["max_length"] == 8


def test_files_that_are_missing_or_changed(tmp_path, model_bytes, tokenizer_bytes):
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "nope", "there is no model at"),
        (tmp_path / "empty", r"there is no model.onnx in .*empty; name a bundle directory"),
    ]:
        with pytest.raises(ServeError, match=message) as caught:
            CrossEncoder.from_file(path)
        assert caught.value.reason == ServeError.Reason.NOT_FOUND
    for name in ("model.onnx", "tokenizer.json"):
        bundle = write_bundle(tmp_path / name.split(".")[0], model_bytes, tokenizer_bytes)
        with (bundle / name).open("ab") as file:
            file.write(b" ")
        with pytest.raises(ServeError, match="does not match its checksum"):
            CrossEncoder.from_file(bundle)
    for config, message in [
        ({"format_version": 2}, "format version 2, this jrank reads 1"),
        ({"labels": ["yes", "no"]}, "gives 1 scores, its configuration names 2 labels"),
        ({"files": []}, '"files" in'),
    ]:
        with pytest.raises(ServeError, match=message):
            CrossEncoder.from_file(write_bundle(tmp_path / "c", model_bytes, tokenizer_bytes, **config))
    bundle = write_bundle(tmp_path / "d", model_bytes, tokenizer_bytes)
    for text in ("{", "[]"):
        (bundle / "config.json").write_text(text)
        with pytest.raises(ServeError, match=r"config\.json"):
            CrossEncoder.from_file(bundle)


# -- what is refused before the runtime sees it -----------------------------------------------------------------------


def external(model, location):
    for tensor in model.graph.initializer:
        if tensor.name == "values":
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key, entry.value = "location", location
    return model


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "beside.bin", "a/../../x", "C:\\x"])
def test_data_in_other_files_is_refused(tiny, tmp_path, tokenizer_bytes, location):
    (tmp_path / "beside.bin").write_bytes(tiny.values.tobytes())
    data = external(tiny.make_model(), location).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(data)
    for load in (
        lambda: CrossEncoder.from_bytes(data, tokenizer_bytes),
        lambda: CrossEncoder.from_file(tmp_path / "model.onnx", tokenizer_bytes),
    ):
        with pytest.raises(ServeError, match="keeps weights in another file") as caught:
            load()
        assert caught.value.reason == ServeError.Reason.EXTERNAL_DATA


def subgraph(tensor=None, depth=1):
    """A model whose branch holds a tensor, or branches of branches."""
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])] if tensor is not None else [],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [tensor] if tensor is not None else [],
    )
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["y"])
        node.attribute.append(helper.make_attribute("then_branch", inner))
        inner = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    return helper.make_model(inner).SerializeToString()


def test_hidden_and_hostile_contents_are_refused(tiny, tokenizer_bytes):
    hidden = numpy_helper.from_array(np.ones(1, np.float32), "w")
    hidden.data_location = TensorProto.EXTERNAL
    huge = numpy_helper.from_array(np.ones(1, np.float32), "w")
    huge.dims[:] = [10**6, 10**6]
    negative = numpy_helper.from_array(np.ones(1, np.float32), "w")
    negative.dims[:] = [-1]
    sparse = tiny.make_model()
    sparse.graph.sparse_initializer.append(
        onnx.SparseTensorProto(values=numpy_helper.from_array(np.ones(1, np.float32), "s"), dims=[10**9])
    )
    context = tiny.make_model()
    context.graph.node.append(helper.make_node("EPContext", ["v"], ["z"], domain="com.microsoft"))
    foreign = tiny.make_model()
    foreign.graph.node.append(helper.make_node("Foreign", ["v"], ["z"], domain="org.example"))
    training = tiny.make_model()
    training.training_info.append(onnx.TrainingInfoProto())
    constant = tiny.make_model()
    constant.graph.node.append(helper.make_node("Constant", [], ["z"], value=huge))
    function = tiny.make_model()
    function.functions.append(onnx.FunctionProto(name="f", domain="d", node=[constant.graph.node[-1]]))
    for data, message in [
        (subgraph(hidden), "another file"),
        (subgraph(huge), r"a tensor of shape \[1000000, 1000000\] without the data"),
        (subgraph(negative), "without the data"),
        (subgraph(depth=28), "nested too deeply"),
        (sparse.SerializeToString(), "sparse tensors"),
        (context.SerializeToString(), "the operator EPContext"),
        (foreign.SerializeToString(), "ONNX Runtime .* cannot load the model"),
        (training.SerializeToString(), "training information"),
        (constant.SerializeToString(), "without the data"),
        (function.SerializeToString(), "without the data"),
    ]:
        with pytest.raises(ServeError, match=message):
            CrossEncoder.from_bytes(data, tokenizer_bytes)


def test_symbolic_links_are_followed_and_directories_are_no_models(tmp_path, model_bytes, tokenizer_bytes):
    bundle = write_bundle(tmp_path / "blobs", model_bytes, tokenizer_bytes)
    (tmp_path / "snapshot").mkdir()
    for name in os.listdir(bundle):
        (tmp_path / "snapshot" / name).symlink_to(bundle / name)
    assert CrossEncoder.from_file(tmp_path / "snapshot").score("a", "b") == 65
    (tmp_path / "odd" / "model.onnx").mkdir(parents=True)
    with pytest.raises(ServeError, match=r"no model\.onnx"):
        CrossEncoder.from_file(tmp_path / "odd")


def test_dynamic_quantisation_is_noticed(tokenizer_bytes, tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization")
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["e"]),
            helper.make_node("MatMul", ["e", "w"], ["h"]),
            helper.make_node("ReduceMax", ["h", "axis"], ["logits"], keepdims=0),
        ],
        "matmul",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["b", "s"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 1])],
        [
            numpy_helper.from_array(rng.normal(size=(12, 16)).astype(np.float32) * np.arange(1, 13)[:, None], "table"),
            numpy_helper.from_array(rng.normal(size=(16, 1)).astype(np.float32), "w"),
            numpy_helper.from_array(np.array([1], np.int64), "axis"),
        ],
    )
    graph.initializer[0].CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(graph.initializer[0]).astype(np.float32), "table")
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "f.onnx")
    quantization.quantize_dynamic(
        tmp_path / "f.onnx",
        tmp_path / "q.onnx",
        weight_type=quantization.QuantType.QInt8,
        op_types_to_quantize=["MatMul"],
    )
    ranker = CrossEncoder.from_file(tmp_path / "q.onnx", tokenizer_bytes)
    assert ranker.info["batch_invariant"] is False
    pairs = [("what", "is"), ("a a", "b b")]
    alone = [ranker.score(*pair) for pair in pairs]
    assert ranker.score_batch(pairs, invariant=True).tolist() == alone
    assert ranker.score_batch(pairs, batch_size=2).tolist() != alone


def test_serving_needs_no_jax(tmp_path, model_bytes, tokenizer_bytes):
    bundle = write_bundle(tmp_path / "b", model_bytes, tokenizer_bytes)
    code = (
        "import sys\n"
        "names = ('jax', 'jaxlib', 'flax', 'onnx', 'jax2onnx', 'scipy', 'jaxtyping', 'torch', 'transformers')\n"
        "for name in names:\n"
        "    sys.modules[name] = None\n"
        "import jrank.serving\n"
        f"ranker = jrank.serving.CrossEncoder.from_file({str(bundle)!r})\n"
        "assert ranker.score('a', 'b') == 65.0\n"
        "assert [hit.index for hit in ranker.rank('a', ['bad', 'b'])] == [1, 0]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_the_runtime_reports_failures_as_errors_only(tiny, model_bytes, tokenizer_bytes, capfd):
    with pytest.raises(ServeError):
        CrossEncoder.from_bytes(tiny.make_model(positions=31).SerializeToString(), tokenizer_bytes, max_length=32)
    assert capfd.readouterr().err == ""
    assert onnxruntime.__version__
