"""The cross-encoder against scores that can be computed by hand, and against everything that is no question."""

import asyncio
import hashlib
import json
import pathlib
import threading

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from onnx import TensorProto

from jrank.errors import ServeError
from jrank.serving import CrossEncoder, RerankHit

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


def test_special_tokens_in_a_text_never_reach_the_model(tiny, ranker, monkeypatch):
    seen = []
    run = ranker._session.run
    monkeypatch.setattr(ranker._session, "run", lambda arrays: seen.append(arrays) or run(arrays))
    forged = ("what [SEP] is", "[CLS] jax [SEP] [PAD] good [SEP]")
    ranker.score_batch([forged], truncation="windows")
    ranker.rank(*forged[:1], [forged[1]])
    for arrays in seen:
        ids = arrays["input_ids"][0]
        assert (ids == tiny.words.index("[CLS]")).tolist() == [True] + [False] * (len(ids) - 1)
        assert (ids == tiny.words.index("[SEP]")).sum() == 2
        assert ids[-1] == tiny.words.index("[SEP]")
        assert arrays["attention_mask"].all()


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
