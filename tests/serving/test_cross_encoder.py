"""The cross-encoder against scores that can be computed by hand, and against everything that is no question."""

import asyncio
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import hypothesis
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from jrank.errors import ServeError
from jrank.serving import CrossEncoder, RerankHit
from jrank.text import PairTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSITIONS = 32


def expected(tiny, query, document, max_length=POSITIONS):
    """The score by hand: cut the query at half, the document at the rest."""
    value = {word: tiny.values[i] for i, word in enumerate(tiny.words) if i > 3}
    first = query.split()[: min(max_length // 2, max_length - 3)]
    second = document.split()[: max_length - 3 - len(first)]
    return sum(float(value.get(word, 0)) for word in first) + 10 * sum(float(value.get(word, 0)) for word in second)


@pytest.fixture(scope="module")
def ranker(model_bytes, tokenizer_bytes):
    return CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, threads=1)


PAIRS = [
    ("what is jax", "jax is good"),
    ("what is jax", ""),
    ("", "bad bad"),
    ("", ""),
    ("a " * 40, "b " * 40),
    ("unknown words", "long " * 9),
    ("what", "[PAD] [PAD]"),
]


def test_scores_are_the_graphs(tiny, ranker):
    want = [expected(tiny, *pair) for pair in PAIRS]
    got = ranker.score_batch(PAIRS)
    assert got.dtype == np.float64
    assert got.tolist() == want
    assert [ranker.score(*pair) for pair in PAIRS] == want
    assert type(ranker.score("a", "b")) is float


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3}, {"max_tokens": 7}, {"invariant": True}])
def test_batching_changes_nothing(ranker, options):
    assert ranker.score_batch(PAIRS, **options).tolist() == ranker.score_batch(PAIRS).tolist()


@pytest.mark.parametrize("kind", [TensorProto.INT32, TensorProto.INT64])
@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("vector", [True, False])
def test_graphs_of_other_makers(tiny, tokenizer_bytes, kind, typed, vector):
    model = tiny.make_model(kind=kind, typed=typed, vector=vector, output="score")
    ranker = CrossEncoder.from_bytes(model.SerializeToString(), tokenizer_bytes, max_length=POSITIONS)
    weight = 10 if typed else 1
    assert ranker.score("what is", "jax") == 1 + 2 + weight * 3
    assert ranker.info["inputs"][0] == "input_ids"


def test_a_graph_without_a_mask_still_gets_right_scores_alone(tiny, tokenizer_bytes):
    ranker = CrossEncoder.from_bytes(
        tiny.make_model(mask=False).SerializeToString(), tokenizer_bytes, max_length=POSITIONS
    )
    assert ranker.score("what", "jax") == 31


def test_rank_orders_and_keeps_ties_in_place(ranker):
    documents = ["bad", "jax", "good", "jax", "", "jax"]
    hits = ranker.rank("what is jax", documents)
    assert [hit.index for hit in hits] == [2, 1, 3, 5, 4, 0]
    assert hits[0] == RerankHit(2, 46.0, "good")
    assert [type(hit.score) for hit in hits] == [float] * 6
    assert [hit.index for hit in ranker.rank("what is jax", documents, top_k=2)] == [2, 1]
    assert len(ranker.rank("what", documents, 99)) == 6
    assert ranker.rank("what", []) == []
    assert ranker.rank("what", ["jax"])[0].index == 0
    assert ranker.rank("what", iter(["jax", "bad"]))[0].document == "jax"
    assert documents == ["bad", "jax", "good", "jax", "", "jax"]


@hypothesis.given(st.permutations(["bad", "jax", "good bad", "is is", "a", "b a"]))
def test_rank_does_not_depend_on_the_order(ranker, documents):
    hits = ranker.rank("what is jax", documents)
    assert [hit.document for hit in hits] == ["b a", "a", "is is", "jax", "good bad", "bad"]
    assert [documents[hit.index] for hit in hits] == [hit.document for hit in hits]


@pytest.mark.usefixtures("unchecked")
def test_activations(ranker):
    pairs = [("what", "bad"), ("", ""), ("", "good " * 20)]
    raw = ranker.score_batch(pairs)
    assert raw.tolist() == [-39, 0, 800]
    np.testing.assert_allclose(ranker.score_batch(pairs, activation="sigmoid"), [np.exp(-39.0), 0.5, 1.0], rtol=1e-12)
    assert ranker.score("", "", activation="sigmoid") == 0.5
    np.testing.assert_allclose(ranker.score_batch(pairs, activation=np.tanh), np.tanh(raw))
    # Saturated probabilities still rank by the raw score.
    hits = ranker.rank("", ["good " * 9, "good " * 10, "a"], activation="sigmoid")
    assert [(hit.index, hit.score) for hit in hits] == [(1, 1.0), (0, 1.0), (2, 1.0)]
    for activation, message in [
        ("relu", "unknown activation 'relu'; None, a function, or one of sigmoid, softmax"),
        ("softmax", "softmax of a single score is always 1"),
        (np.sum, "turned"),
    ]:
        with pytest.raises(ServeError, match=message):
            ranker.score_batch(pairs, activation=activation)


def test_several_labels(tiny, tokenizer_bytes):
    ranker = CrossEncoder.from_bytes(
        tiny.make_model(labels=3).SerializeToString(), tokenizer_bytes, max_length=POSITIONS
    )
    scores = ranker.score_batch([("what", "jax"), ("", "")])
    assert scores.tolist() == [[31, 32, 33], [0, 1, 2]]
    assert ranker.score_batch([]).shape == (0, 3)
    np.testing.assert_allclose(ranker.score_batch([("", "")], activation="softmax").sum(axis=1), 1.0)
    assert [hit.score for hit in ranker.rank("what", ["bad", "jax"], label=2)] == [33, -37]
    for call, message in [
        (lambda: ranker.score("a", "b"), "gives 3 scores for a pair; use score_batch"),
        (lambda: ranker.rank("a", ["b"]), "3 labels; say which to rank by"),
        (lambda: ranker.rank("a", ["b"], label=3), "label must be below 3, got 3"),
    ]:
        with pytest.raises(ServeError, match=message):
            call()


def test_nothing_in_nothing_out(ranker):
    assert ranker.score_batch([]).shape == (0,)
    assert ranker.score_batch([], activation="sigmoid").shape == (0,)


def test_truncation(ranker):
    long = ("what is", "good " * 20 + "bad " * 40)
    assert ranker.score(*long) == 3 + 10 * (20 * 4 - 7 * 4)
    with pytest.raises(ServeError, match=r"pair 1 has 2 \+ 60 tokens") as caught:
        ranker.score_batch([("a", "b"), long], truncation="error")
    assert caught.value.reason == ServeError.Reason.TOO_LONG
    windows = ranker.score_batch([("a", "b"), long, ("", "")], truncation="windows")
    pieces = [long[1].split()[start : start + 27] for start in range(0, 60, 21)][:3]
    each = [3 + 10 * sum(4 if word == "good" else -4 for word in piece) for piece in pieces]
    assert windows.tolist() == [65, max(each), 0]
    mean = ranker.score_batch([long], truncation="windows", pool="mean")
    np.testing.assert_allclose(mean, [np.mean(each)])
    assert ranker.score_batch([long], truncation="windows", pool="first").tolist() == [each[0]]
    assert ranker.rank("what is", [long[1], "is"], truncation="windows")[0].index == 0


def test_max_length_can_be_lowered(tiny, model_bytes, tokenizer_bytes):
    ranker = CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, max_length=8)
    pairs = [("a b a b a b", "a b a b a b"), ("a", "b b b b b b b")]
    assert ranker.score_batch(pairs).tolist() == [expected(tiny, *pair, max_length=8) for pair in pairs]
    capped = CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, max_length=8, max_query_length=1)
    assert capped.score("a b", "a b a b") == 5 + 10 * (5 + 6 + 5 + 6)
    short = CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, max_characters=3)
    assert short.score("a b a b", "b b b") == 5 + 6 + 10 * (6 + 6)
    padded = CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, multiple_of=16)
    assert padded.score("a", "b") == 65


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.score(None, "x"), "the query of pair 0 must be a string, got None"),
        (lambda r: r.score("x", 3), "the document of pair 0 must be a string, got int"),
        (lambda r: r.score_batch("abc"), "got str"),
        (lambda r: r.score_batch(None), "got None"),
        (lambda r: r.score_batch([("a", "b"), "ab"]), "pair 1 must be"),
        (lambda r: r.rank("a", "documents"), "documents must be a list of texts, got str"),
        (lambda r: r.rank("a", None), "documents must be a list"),
        (lambda r: r.rank("a", ["b", None]), "document 1 must be a string, got NoneType"),
        (lambda r: r.rank(None, ["b"]), "the query must be a string"),
    ],
)
def test_what_is_no_text(ranker, call, message):
    with pytest.raises(TypeError, match=message):
        call(ranker)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: r.score_batch([], batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda r: r.score_batch([], max_tokens=1.5), "max_tokens must be at least 1, got 1.5"),
        (lambda r: r.score_batch([], pool="sum"), "unknown pool 'sum'; one of max, mean, first"),
        (lambda r: r.score_batch([], truncation="left"), "unknown truncation 'left'"),
        (lambda r: r.rank("a", ["b"], top_k=0), "top_k must be at least 1, got 0"),
        (lambda r: r.rank("a", ["b"], top_k=2.0), "top_k must be at least 1, got 2.0"),
    ],
)
def test_options_out_of_range(ranker, call, message):
    with pytest.raises(ServeError, match=message):
        call(ranker)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"max_length": 3}, "max_length must be at least 4"),
        ({"max_length": 33}, "at most 32, what the model was made for, got 33"),
        ({"batch_size": -1}, "batch_size must be at least 1"),
        ({"providers": ("gpu9",)}, "the provider 'gpu9' is not available here; this onnxruntime has"),
        ({"providers": ()}, "no provider was named"),
        ({"truncation": "left"}, "unknown truncation"),
        ({"max_query_length": 0}, "max_query_length must be at least 1"),
    ],
)
def test_settings_out_of_range(model_bytes, tokenizer_bytes, options, message):
    with pytest.raises(ServeError, match=message):
        CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, **options)


def test_providers_by_any_name(model_bytes, tokenizer_bytes):
    for providers in ("cpu", ["CPUExecutionProvider"], [("cpu", {})]):
        ranker = CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, providers=providers)
        assert ranker.info["providers"] == ["CPUExecutionProvider"]


def test_info_is_json_and_warmup_returns_the_ranker(ranker, model_bytes):
    info = json.loads(json.dumps(ranker.warmup().info))
    assert info["model_sha256"] == hashlib.sha256(model_bytes).hexdigest()
    assert info["max_length"] == POSITIONS
    assert info["labels"] == 1
    assert info["threads"] == 1
    assert info["opset"] == 20
    assert info["batch_invariant"] is True
    assert "max_length=32" in repr(ranker)


def test_async(ranker):
    async def work():
        return await asyncio.gather(
            ranker.score_async("a", "b"),
            ranker.score_batch_async([("a", "b"), ("", "b")], activation="sigmoid"),
            ranker.rank_async("a", ["bad", "b"], 1),
        )

    score, batch, hits = asyncio.run(work())
    assert score == 65
    assert batch.shape == (2,)
    assert [hit.index for hit in hits] == [1]


def test_many_threads_get_the_serial_scores(tiny, ranker):
    pairs = [
        (f"what {tiny.words[i % 12]}", " ".join(tiny.words[4 + (i * j) % 8] for j in range(i % 25))) for i in range(100)
    ]
    want = ranker.score_batch(pairs).tolist()
    wrong = []

    def work(shift):
        mine = pairs[shift:] + pairs[:shift]
        for _ in range(5):
            if ranker.score_batch(mine, batch_size=1 + shift % 5).tolist() != want[shift:] + want[:shift]:
                wrong.append(shift)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


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
