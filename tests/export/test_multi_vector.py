"""A late-interaction encoder exported, served without jax, and the MaxSim scorer in ONNX Runtime."""

import numpy as np
import pytest
import tokenizers

from jrank import export, maxsim, models, serving
from jrank.errors import ExportError, ServeError
from jrank.text import MultiVectorRules, PairTokenizer

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", "[Q] ", "[D] ", ".", "what", "is", "jax", "a", "library"]
RAW = {
    "model_type": "bert",
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
    "initializer_range": 0.3,
}
DOCUMENTS = ["jax is a library .", "what is a library ? what is jax .", "", "a"]


@pytest.fixture(scope="module")
def model():
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    rules = MultiVectorRules(query_length=8, document_length=12)
    return models.MultiVectorEncoder.from_config(RAW, PairTokenizer.from_bytes(inner.to_str()), 6, rules=rules)


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "bundle"
    report = export.to_onnx(model, place)
    assert report.kind == "multi-vector-encoder"
    assert report.max_abs_error < 1e-5
    assert set(report.files) == {"model.onnx", "scorer.onnx", "tokenizer.json", "config.json", "README.md"}
    return place


def test_served_vectors_and_scores_are_those_of_the_model(model, bundle):
    served = serving.MultiVectorEncoder.from_file(bundle)
    assert served.dimension == 6
    queries = ["what is jax", ""]
    for found, want in (
        (served.encode_queries(queries), model.encode_queries(queries)),
        (served.encode_documents(DOCUMENTS), model.encode_documents(DOCUMENTS)),
    ):
        assert [matrix.shape for matrix in found] == [matrix.shape for matrix in want]
        for one, two in zip(found, want, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)
    query, docs = model.encode_queries(queries)[0], model.encode_documents(DOCUMENTS)
    want = np.asarray(maxsim.score_packed(query, maxsim.pack(docs)))
    np.testing.assert_allclose(served.score(query, docs), want, rtol=1e-5)
    hits = served.rank(queries[0], DOCUMENTS, top_k=3)
    assert [hit.index for hit in hits] == np.argsort(-want, kind="stable")[:3].tolist()
    negative = served.score(np.ones((1, 6), "f"), [-np.ones((2, 6), "f"), np.zeros((0, 6), "f"), -np.ones((1, 6), "f")])
    assert negative.tolist() == [-6, 0, -6]
    assert served.rank("jax", []) == []
    with pytest.raises(ServeError, match=r"\[tokens, 6\]"):
        served.score(np.ones((1, 5), "f"), docs)
    with pytest.raises(TypeError, match="list of texts"):
        served.rank("jax", "text")


def test_quantised(model, tmp_path):
    wide = RAW | {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    model = models.MultiVectorEncoder.from_config(wide, model.tokenizer, 6, rules=model.rules)
    report = export.to_onnx(
        model, tmp_path / "small", quantize="float16-weights"
    )  # matrices this small are not quantised to 8 bits
    assert 0 < report.quality.max_abs_error < 0.2
    assert len(serving.MultiVectorEncoder.from_file(tmp_path / "small").encode_documents(DOCUMENTS)) == 4


def test_refused(model, bundle, tmp_path):
    with pytest.raises(ExportError, match="no tokenizer"):
        export.to_onnx(models.MultiVectorEncoder.from_config(RAW), tmp_path / "x")
    with pytest.raises(ExportError, match="pairs"):
        export.to_onnx(model, tmp_path / "x", pairs=[("a", "b")])
    (tmp_path / "copy").mkdir()
    for path in bundle.iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "copy" / "scorer.onnx").write_bytes(b"other")
    with pytest.raises(ServeError, match="checksum"):
        serving.MultiVectorEncoder.from_file(tmp_path / "copy")
    (tmp_path / "copy" / "config.json").unlink()
    with pytest.raises(ServeError, match="no rules"):
        serving.MultiVectorEncoder.from_file(tmp_path / "copy")
