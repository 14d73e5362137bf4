"""Models and functions to ONNX: what the graph computes, what the gate refuses, what the bundle holds."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

from jrank import export, models, serving
from jrank.errors import ExportError, MissingExtraError
from jrank.export import _to_onnx
from jrank.export._quality import _graded, compare_scores
from jrank.export._quantize import METHODS, quantize_weights
from jrank.text import PairTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "bundle"
    return export.to_onnx(model, folder)


@pytest.fixture(scope="module")
def graph(bundle):
    return onnx.load(bundle.path / "model.onnx")


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_the_served_scores_are_the_models(model, bundle, pairs):
    ranker = serving.CrossEncoder.from_file(bundle.path, threads=1)
    want = model.score(pairs)
    assert want.std() > 0.1
    np.testing.assert_allclose(ranker.score_batch(pairs), want, atol=1e-5)
    assert ranker.info["max_length"] == 48
    assert ranker.info["batch_invariant"] is True
    assert ranker.info["label_names"] == list(model.config.labels)


def test_scores_do_not_depend_on_batch_padding_or_threads(bundle, pairs):
    ranker = serving.CrossEncoder.from_file(bundle.path, threads=1)
    want = ranker.score_batch(pairs)
    assert [ranker.score(*pair) for pair in pairs] == want.tolist()
    assert ranker.score_batch(pairs, batch_size=36, max_tokens=10**6).tolist() == want.tolist()
    padded = serving.CrossEncoder.from_file(bundle.path, threads=4, multiple_of=48)
    assert padded.score_batch(pairs).tolist() == want.tolist()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: ranker.score_batch(pairs).tolist(), range(64)))
    assert found == [want.tolist()] * 64


def test_names_sizes_and_metadata(bundle, graph, model):
    assert [value.name for value in graph.graph.input] == ["input_ids", "attention_mask", "token_type_ids"]
    assert [value.name for value in graph.graph.output] == ["logits"]
    for value in graph.graph.input:
        dims = value.type.tensor_type.shape.dim
        assert [dim.dim_param for dim in dims] == ["batch", "sequence"]
        assert value.type.tensor_type.elem_type == onnx.TensorProto.INT32
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert metadata["max_length"] == "48"
    assert metadata["tokenizer_sha256"] == model.tokenizer.sha256
    assert json.loads(metadata["labels"]) == list(model.config.labels)
    assert graph.opset_import[0].version == 21
    onnx.checker.check_model(graph, full_check=True)


def test_the_graph_is_small_and_standard(graph):
    kinds = [node.op_type for node in graph.graph.node]
    assert all(node.domain == "" for node in graph.graph.node)
    assert kinds.count("LayerNormalization") == 5
    assert "ReduceMean" not in kinds
    assert kinds.count("Shape") <= 1
    assert len(kinds) < 100
    # Vectors are stored as vectors, so that the runtime recognises them as biases.
    assert all(list(t.dims)[:-1] != [1, 1] for t in graph.graph.initializer)
    # The last layer computes queries and what follows for the first token only.
    assert kinds.count("Slice") == 1


def test_the_bundle(bundle, model):
    assert sorted(path.name for path in bundle.path.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "tokenizer.json",
    ]
    config = json.loads((bundle.path / "config.json").read_text())
    for name, entry in config["files"].items():
        data = (bundle.path / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert bundle.checksums[name] == entry["sha256"]
        assert bundle.files[name] == len(data)
    assert PairTokenizer.from_file(bundle.path).to_bytes() == model.tokenizer.to_bytes()
    assert config["opset"] == 21
    assert config["labels"] == ["LABEL_0"]
    assert config["kind"] == "cross-encoder"
    assert config["quantize"] is None
    assert max(case["max_abs_error"] for case in config["parity"]) == bundle.max_abs_error < 1e-5
    shapes = [tuple(case["shape"]) for case in config["parity"]]
    assert shapes == [(1, 1), (1, 8), (5, 37), (32, 48), (3, 48), (1, 8)]
    card = (bundle.path / "README.md").read_text()
    assert config["files"]["model.onnx"]["sha256"] in card
    assert "5 x 37" in card
    text = str(bundle)
    assert "float32" in text
    assert "32 x 48" in text


def test_a_second_export_writes_the_same_bytes(bundle, model, tmp_path):
    export.to_onnx(model, tmp_path / "b")
    for name in ("model.onnx", "tokenizer.json", "config.json", "README.md"):
        assert (tmp_path / "b" / name).read_bytes() == (bundle.path / name).read_bytes(), name


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(bundle, tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests/export')\n"
        "import conftest\n"
        "from jrank import export\n"
        "export.to_onnx(conftest.make_model(), sys.argv[1])\n"
    )
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONHASHSEED": "7",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=True, cwd=ROOT, env=environment)
    for name in ("model.onnx", "tokenizer.json", "config.json", "README.md"):
        assert (tmp_path / "b" / name).read_bytes() == (bundle.path / name).read_bytes(), name


@pytest.mark.parametrize("method", METHODS)
def test_quantising_twice_gives_the_same_bytes(bundle, method):
    full = (bundle.path / "model.onnx").read_bytes()
    assert quantize_weights(full, method) == quantize_weights(full, method)


def test_several_labels(make, tmp_path):
    model = make(3, seed=7)
    export.to_onnx(model, tmp_path / "b", max_length=20, name="three ways")
    ranker = serving.CrossEncoder.from_file(tmp_path / "b")
    pairs = [("w1 w2", "w3 w4 w5"), ("w1", " ".join(["w9"] * 40))]
    np.testing.assert_allclose(ranker.score_batch(pairs), model.score(pairs, max_length=20), atol=1e-5)
    assert ranker.info["max_length"] == 20
    assert ranker.info["name"] == "three ways"


FAMILIES = {
    "roberta": {"max_position_embeddings": 50, "pad_token_id": 1, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "electra": {"embedding_size": 16},
    "distilbert": {
        "dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 64,
        "max_position_embeddings": 48,
    },
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "conv_kernel_size": 3,
        "pos_att_type": ["c2p", "p2c"],
    },
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 8, "pad_token_id": 0},
}


@pytest.mark.parametrize(
    "family", ["roberta", *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name != "roberta")]
)
def test_other_families(make, tmp_path, family, pairs):
    model = make(model_type=family, **FAMILIES[family])
    report = export.to_onnx(model, tmp_path / "b")
    assert report.max_abs_error < 1e-5
    ranker = serving.CrossEncoder.from_file(tmp_path / "b")
    np.testing.assert_allclose(ranker.score_batch(pairs), model.score(pairs), atol=2e-5)


# -- quantisation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "share", "error", "tau"),
    [("int8", 0.45, 0.5, 0.7), ("int8-weights", 0.45, 0.1, 0.9), ("float16-weights", 0.7, 0.01, 0.99)],
)
def test_quantised_weights(make, tmp_path, pairs, method, share, error, tau):
    model = make(hidden_size=64, intermediate_size=256, initializer_range=0.1)
    report = export.to_onnx(model, tmp_path / "b", quantize=method, pairs=pairs)
    quality = report.quality
    assert report.files["model.onnx"] < share * report.float32_bytes
    assert quality.texts
    assert quality.pairs == 36
    assert quality.queries == 6
    assert quality.kendall_tau > tau
    assert quality.max_abs_error < error * quality.score_std
    assert report.batch_invariant is (method != "int8")
    ranker = serving.CrossEncoder.from_file(tmp_path / "b", threads=1)
    assert ranker.info["batch_invariant"] is (method != "int8")
    assert ranker.info["quantize"] == method
    got, want = ranker.score_batch(pairs), model.score(pairs)
    assert np.abs(got - want).max() < 1.5 * error * want.std()
    alone = [ranker.score(*pair) for pair in pairs]
    if method == "int8":
        # One scale for the activations of a batch: a score moves with its batch mates.
        assert alone != got.tolist()
        assert ranker.score_batch(pairs, invariant=True).tolist() == alone
    else:
        padded = serving.CrossEncoder.from_file(tmp_path / "b", threads=4, multiple_of=48, batch_size=36)
        assert alone == got.tolist() == padded.score_batch(pairs, max_tokens=10**6).tolist()
    assert method in str(report)
    assert "Kendall tau" in (tmp_path / "b" / "README.md").read_text()


def test_grades_give_ndcg():
    want = np.array([3.0, 2.0, 1.0, 0.5, 0.2])
    got = np.array([1.0, 2.0, 3.0, 0.5, 0.2])
    found = compare_scores(want, got, np.array([0, 0, 0, 1, 1]), texts=True, grades=np.array([1.0, 0, 0, 0, 0]))
    # The relevant document falls from rank 1 to rank 3 in one of two queries; the other has none.
    assert found.ndcg == pytest.approx(0.5 / np.log2(4))
    assert found.ndcg_change == pytest.approx(0.5 / np.log2(4) - 0.5)


@pytest.mark.parametrize("pairs", [[("a", "b", 1), ("a", "b")], [("a", "b", "x")], [("a",)], [("a", "b", np.nan)]])
def test_malformed_grades_are_refused(pairs):
    with pytest.raises(ExportError, match="grade"):
        _graded(pairs)


def test_quality_without_texts_uses_made_up_ids(model, tmp_path):
    report = export.to_onnx(model, tmp_path / "b", quantize="int8-weights")
    assert not report.quality.texts
    assert report.quality.pairs == 48
    assert report.quality.queries == 6


# -- plain functions --------------------------------------------------------------------------------------------------


def masked_scores(features, where):
    weights = jnp.arange(1.0, 5.0)
    return jnp.where(where, jnp.tanh(features) @ weights, -1e9)


def test_a_function_with_a_mask(tmp_path):
    inputs = {"features": (("lists", "items", 4), "float32"), "where": (("lists", "items"), "bool")}
    report = export.to_onnx(masked_scores, tmp_path / "b", inputs=inputs)
    assert report.kind == "function"
    assert [case.shape for case in report.parity] == [(1, 1, 4), (2, 3, 4), (7, 11, 4), (5, 37, 4)]
    rng = np.random.default_rng(0)
    features, where = rng.normal(size=(3, 9, 4)).astype(np.float32), rng.random((3, 9)) < 0.5
    (got,) = session(report.path / "model.onnx").run(["scores"], {"features": features, "where": where})
    np.testing.assert_allclose(got, np.where(where, np.tanh(features) @ np.arange(1.0, 5.0), -1e9), rtol=1e-5)
    assert sorted(report.files) == ["README.md", "config.json", "model.onnx"]


def test_functions_with_several_outputs_and_structs(tmp_path):
    inputs = {"x": jax.ShapeDtypeStruct((4, 3), jnp.float32)}
    report = export.to_onnx(lambda x: (x.sum(-1), x * 2.0), tmp_path / "b", inputs=inputs, outputs=["total", "twice"])
    got = session(report.path / "model.onnx").run(["total", "twice"], {"x": np.ones((4, 3), np.float32)})
    assert got[0].tolist() == [3.0] * 4
    assert got[1].shape == (4, 3)


def test_feature_rankers_need_no_description(tmp_path):
    ranker = models.MLPRanker(7, hidden=(16, 8), seed=2)
    report = export.to_onnx(ranker, tmp_path / "b", quantize="float16-weights")
    features = np.random.default_rng(1).normal(size=(2, 5, 7)).astype(np.float32)
    (got,) = session(report.path / "model.onnx").run(None, {"features": features})
    np.testing.assert_allclose(got, ranker(features), atol=2e-3)


def test_modules_of_flax(tmp_path):
    class Net(nnx.Module):
        def __init__(self):
            self.norm = nnx.LayerNorm(6, rngs=nnx.Rngs(0))
            self.dense = nnx.Linear(6, 1, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.dense(nnx.gelu(self.norm(x)))[..., 0]

    net = Net()
    report = export.to_onnx(net, tmp_path / "b", inputs={"x": ("items", 6)})
    x = np.random.default_rng(1).normal(size=(9, 6)).astype(np.float32)
    (got,) = session(report.path / "model.onnx").run(None, {"x": x})
    np.testing.assert_allclose(got, net(x), atol=1e-5)


def test_samples_replace_random_inputs(tmp_path):
    table = jnp.arange(12.0).reshape(6, 2)
    samples = [{"ids": np.array([[0, 5, 3]])}, {"ids": np.array([[1], [2]])}]
    report = export.to_onnx(
        lambda ids: table[ids].sum(-1), tmp_path / "b", inputs={"ids": (("n", "k"), "int32")}, samples=samples
    )
    assert [case.shape for case in report.parity] == [(1, 3), (2, 1)]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_graph_that_differs_is_not_written(model, tmp_path, monkeypatch):
    real = _to_onnx.convert

    def wrong(function, *args, **options):
        return real(lambda *inputs: function(*inputs) * 1.001, *args, **options)

    monkeypatch.setattr(_to_onnx, "convert", wrong)
    with pytest.raises(ExportError, match=r"for an input of shape \(1, 1\) the graph's 'logits' differs") as caught:
        export.to_onnx(model, tmp_path / "b")
    assert caught.value.reason == ExportError.Reason.PARITY
    assert not list(tmp_path.iterdir())


def test_a_graph_that_the_runtime_refuses_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setattr(_to_onnx, "convert", lambda *args, **options: b"junk")
    with pytest.raises(ExportError, match=r"ONNX Runtime .* cannot run the exported graph") as caught:
        export.to_onnx(model, tmp_path / "b")
    assert caught.value.reason == ExportError.Reason.PARITY
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_converted_is_said(tmp_path):
    def sorts(x):
        return jax.pure_callback(lambda v: v, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(ExportError, match="jax2onnx cannot convert the function") as caught:
        export.to_onnx(sorts, tmp_path / "b", inputs={"x": ((3,), "float32")})
    assert caught.value.reason == ExportError.Reason.CONVERSION
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "inputs must be a dictionary"),
        ({"inputs": {}}, "inputs must be a dictionary"),
        ({"inputs": {"": (3,)}}, "the name of an input must be a text"),
        ({"inputs": {"x": 3}}, r"\(shape, dtype\) was expected"),
        ({"inputs": {"x": ((3,), "float99")}}, "the dtype 'float99' of 'x' is unknown"),
        ({"inputs": {"x": ((-3,), "float32")}}, "the size -3 of the input 'x'"),
        ({"inputs": {"x": (("no name",), "float32")}}, "the size 'no name'"),
        ({"inputs": {"x": (3,), "y": (3,)}}, "cannot take the inputs that were described"),
        ({"inputs": {"x": (3,)}, "outputs": ["a", "b"]}, r"returns 1 arrays, outputs names \['a', 'b'\]"),
        ({"inputs": {"x": (3,)}, "outputs": ["x"]}, "different from one another and from the inputs"),
        ({"inputs": {"x": (3,)}, "samples": []}, "there are no samples"),
        ({"inputs": {"x": (3,)}, "samples": [{"y": 1}]}, r"sample 0 has \['y'\], \['x'\] was expected"),
        ({"inputs": {"x": (3,)}, "pairs": []}, "pairs is for a CrossEncoder; leave it out"),
        ({"inputs": {"x": (3,)}, "max_length": 9}, "max_length is for a CrossEncoder"),
        ({"inputs": {"x": (3,)}, "quantize": "int4"}, "unknown quantisation 'int4'; None, or one of int8"),
    ],
)
def test_options_of_functions(tmp_path, options, message):
    with pytest.raises(ExportError, match=message) as caught:
        export.to_onnx(lambda x: x * 2.0, tmp_path / "b", **options)
    assert caught.value.reason == ExportError.Reason.INVALID_PARAMETER
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("unchecked")
def test_options_of_cross_encoders(model, tmp_path):
    naked = models.CrossEncoder(model.params, model.config)
    for call, message in [
        (lambda: export.to_onnx(model, tmp_path / "b", inputs={"x": (3,)}), "inputs is known for a CrossEncoder"),
        (lambda: export.to_onnx(model, tmp_path / "b", max_length=49), "max_length must be from 4 to 48, got 49"),
        (lambda: export.to_onnx(naked, tmp_path / "b"), "has no tokenizer"),
        (lambda: export.to_onnx(model, tmp_path / "b", quantize="int8", pairs=[]), "no pairs to compare"),
    ]:
        with pytest.raises(ExportError, match=message):
            call()
    with pytest.raises(TypeError, match="a model or a function was expected, got int"):
        export.to_onnx(3, tmp_path / "b")


def test_directories_with_other_things_are_kept(model, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("precious")
    with pytest.raises(ExportError, match=r"holds 'thesis.tex', which is no part of a bundle"):
        export.to_onnx(model, tmp_path / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="is a file; name a directory"):
        export.to_onnx(model, tmp_path / "file")
    assert (tmp_path / "b" / "thesis.tex").read_text() == "precious"


def test_an_older_bundle_is_replaced(tmp_path):
    for scale in (1.0, 2.0):
        export.to_onnx(lambda x, scale=scale: x * scale, tmp_path / "b", inputs={"x": ((2,), "float32")})
    (got,) = session(tmp_path / "b" / "model.onnx").run(None, {"x": np.ones(2, np.float32)})
    assert got.tolist() == [2.0, 2.0]
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_without_the_extra(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r'onnx is not installed; run: pip install "jrank\[export\]"'):
        export.to_onnx(model, tmp_path / "b")


def test_bundles_are_served_without_the_converter(bundle):
    code = (
        "import sys\n"
        "for name in ('jax', 'onnx', 'jax2onnx', 'flax', 'scipy'):\n"
        "    sys.modules[name] = None\n"
        "from jrank.serving import CrossEncoder\n"
        "print(CrossEncoder.from_file(sys.argv[1]).score('w1', 'w2'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle.path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == serving.CrossEncoder.from_file(bundle.path).score("w1", "w2")


def test_a_sentence_encoder_as_a_function(tmp_path):
    raw = {"model_type": "bert", "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = models.config_from({**raw, "intermediate_size": 32, "max_position_embeddings": 40})
    params = models.init_params(config, 1)

    def embed(input_ids, attention_mask):
        hidden = models.encode(params, config, input_ids, attention_mask)
        return models.pool_hidden(hidden, attention_mask, normalize=True)

    struct = (("batch", "sequence"), "int32")
    export.to_onnx(embed, tmp_path / "b", inputs={"input_ids": struct, "attention_mask": struct}, outputs=["vectors"])
    ids, mask = np.array([[3, 4, 5], [6, 0, 0]], np.int32), np.array([[1, 1, 1], [1, 0, 0]], np.int32)
    got = session(tmp_path / "b" / "model.onnx").run(None, {"input_ids": ids, "attention_mask": mask})[0]
    np.testing.assert_allclose(got, embed(ids, mask), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1.0, atol=1e-5)
