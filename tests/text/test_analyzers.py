"""Lexical analyzers: values by hand, the fast road against the plain one, bad input."""

import copy
import pickle
import re
import unicodedata

import numpy as np
import pytest
import Stemmer
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from jrank.errors import DataError, MissingExtraError, RetrieveError
from jrank.text import ENGLISH_STOP_WORDS, STOP_WORDS, Analyzer, TokenizerAnalyzer, encode_texts

TEXTS = st.lists(st.text(alphabet="aAbB _-.,éÉßİ\u0301ñ9 \n日本ﬁ\ud800the runing", max_size=30), max_size=6)


def reference(text, stem=True):
    """What the default analyzer does, written out."""
    text = unicodedata.normalize("NFC", text).lower()
    words = [word for word in re.findall(r"(?u)\b\w\w+\b", text) if word not in ENGLISH_STOP_WORDS]
    return Stemmer.Stemmer("english").stemWords(words) if stem else words


def test_defaults():
    text = "The Runner's running: 2 over 10_000 hills, no A b!"
    assert Analyzer()(text) == ["runner", "run", "over", "10_000", "hill"]
    assert Analyzer(language=None)(text) == ["the", "runner", "running", "over", "10_000", "hills", "no"]
    assert len(ENGLISH_STOP_WORDS) == 33


@given(TEXTS)
def test_equals_the_written_out_form(texts):
    for text in texts:
        assert Analyzer()(text) == reference(text)
        assert Analyzer(language=None, stop_words=ENGLISH_STOP_WORDS)(text) == reference(text, stem=False)


@given(TEXTS, st.sampled_from([1, 2]))
def test_encoding_a_corpus_equals_analysing_each_text(texts, ngrams):
    analyzer, vocabulary = Analyzer(ngrams=ngrams), {}
    ids, lengths = encode_texts(texts, analyzer, vocabulary)
    terms, back = [analyzer(text) for text in texts], list(vocabulary)
    assert list(vocabulary.values()) == list(range(len(vocabulary)))
    assert lengths.tolist() == [len(row) for row in terms]
    assert [back[i] for i in ids] == [term for row in terms for term in row]


def test_queries_leave_out_unknown_terms_and_do_not_grow():
    vocabulary = {"fox": 0, "dog": 1}
    ids, lengths = encode_texts(["dogs and cats", "", "foxes fox"], Analyzer(), vocabulary, grow=False)
    assert (ids.tolist(), lengths.tolist(), len(vocabulary)) == ([1, 0, 0], [1, 0, 2], 2)


def test_lists_of_terms_are_taken_as_they_are():
    vocabulary = {}
    ids, lengths = encode_texts([["The", "running"], [], ("The",)], Analyzer(), vocabulary)
    assert (ids.tolist(), lengths.tolist(), list(vocabulary)) == ([0, 1, 0], [2, 0, 1], ["The", "running"])


def test_any_function_will_do():
    vocabulary = {}
    ids, _ = encode_texts(["a b", "b c"], str.split, vocabulary)
    assert (ids.tolist(), list(vocabulary)) == ([0, 1, 1, 2], ["a", "b", "c"])


def make_tokenizer():
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"red": 0, "fox": 1, "[UNK]": 2}, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.enable_truncation(1)
    inner.enable_padding(length=4)
    return inner


def test_tokenizers_of_models(tmp_path):
    inner = make_tokenizer()
    inner.save(str(tmp_path / "tokenizer.json"))
    for analyzer in (TokenizerAnalyzer(inner), TokenizerAnalyzer(tmp_path / "tokenizer.json")):
        assert analyzer("red fox \ud800") == ["red", "fox", "[UNK]"]
        vocabulary = {}
        texts = ["fox red"] * 1500 + [""]
        ids, lengths = encode_texts(texts, analyzer, vocabulary)
        assert (ids[:2].tolist(), lengths[-2:].tolist(), list(vocabulary)) == ([0, 1], [2, 0], ["fox", "red"])
    assert inner.truncation is not None, "the caller's object stays as it was"


def test_files_that_are_no_tokenizer(tmp_path):
    for content in (b"{}", b"\xff", b"no"):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(RetrieveError, match=r"tokenizer\.json is no tokenizer"):
            TokenizerAnalyzer(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match="there is no file"):
        TokenizerAnalyzer(tmp_path / "none.json")
    with pytest.raises(TypeError, match=r"expected a tokenizers\.Tokenizer or a path, got int"):
        TokenizerAnalyzer(3)


def test_nothing_gives_nothing():
    for texts in ([], [""], ["the"]):
        ids, lengths = encode_texts(texts, Analyzer(), {})
        assert ids.dtype == np.int32
        assert lengths.dtype == np.int64
        assert lengths.tolist() == [0] * len(texts)


def test_composed_and_decomposed_accents_are_one_word():
    assert Analyzer()("Zu\u0308rich") == Analyzer()("Zürich") == ["zürich"]
    assert Analyzer(normalize=None)("Zu\u0308rich") == ["zu", "rich"]
    assert Analyzer(normalize="NFKC")("ﬁle") == ["file"]


def test_options():
    assert Analyzer(language="german", stop_words=None)("Die Häuser und in will") == [
        "die",
        "haus",
        "und",
        "in",
        "will",
    ]
    assert Analyzer(lowercase=False, language=None, stop_words=None)("The RED fox") == ["The", "RED", "fox"]
    assert Analyzer(language=None, stop_words=["red"])("The RED fox") == ["the", "fox"]
    assert Analyzer(language=None, pattern=r"[a-z]+")("a1b22 c") == ["a", "b", "c"]
    assert Analyzer(language=None, stop_words=None, ngrams=3)("one two three") == [
        "one", "two", "three", "one two", "two three", "one two three",
    ]  # fmt: skip


def test_english_stop_words_belong_to_english_only():
    assert Analyzer().stop_words == ENGLISH_STOP_WORDS
    assert Analyzer(language=None).stop_words == Analyzer(language="tamil").stop_words == frozenset()
    assert Analyzer(language=None, stop_words="german").stop_words == STOP_WORDS["german"]


def test_stop_words_of_languages():
    """Each list belongs to a stemmer, and leaves a sentence its words of meaning."""
    for language, words in STOP_WORDS.items():
        assert Analyzer(language=language).stop_words == words
        assert all(word == word.lower() == unicodedata.normalize("NFC", word) and " " not in word for word in words)
    for language, text, want in (
        ("german", "Die Häuser der Stadt und das Meer sind nicht weit", ["haus", "stadt", "meer", "weit"]),
        ("french", "L'homme est dans la maison avec les enfants", ["homm", "maison", "enfant"]),
        ("spanish", "El perro y los gatos no están en la casa", ["perr", "gat", "cas"]),
        ("italian", "Il cane e i gatti sono nella casa", ["can", "gatt", "cas"]),
        ("portuguese", "O cachorro e os gatos estão na casa", ["cachorr", "gat", "cas"]),
        ("dutch", "De hond en het huis zijn van mijn vader", ["hond", "huis", "vader"]),
        ("russian", "Это дом, и в нём живёт моя собака", ["дом", "нем", "живет", "мо", "собак"]),
        ("swedish", "Hunden och katten är inte i huset", ["hund", "katt", "hus"]),
        ("turkish", "Bu ev ve o kedi için", ["ev", "kedi"]),
    ):
        assert Analyzer(language=language)(text) == want, language


def test_equal_analyzers_are_equal_and_can_be_copied():
    analyzer = Analyzer(stop_words=["b", "a"], ngrams=2)
    assert Analyzer(**analyzer.config()) == analyzer
    assert hash(Analyzer(**analyzer.config())) == hash(analyzer)
    assert pickle.loads(pickle.dumps(analyzer)) == analyzer == copy.deepcopy(analyzer)
    assert analyzer != Analyzer()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language": "klingon"}, "no stemmer for the language 'klingon'; choose one of .*english"),
        ({"stop_words": "klingon"}, 'stop_words must be "auto", a language, None or a collection of words, got \'kli'),
        ({"normalize": "NFX"}, "normalize must be NFC"),
        ({"pattern": "("}, "not a regular expression"),
        ({"pattern": "(a)(b)"}, "has 2 groups, at most one"),
        ({"ngrams": 0}, "ngrams must be at least 1, got 0"),
    ],
)
def test_wrong_parameters_are_named(options, message, unchecked):
    with pytest.raises(RetrieveError, match=message) as caught:
        Analyzer(**options)
    assert caught.value.reason is RetrieveError.Reason.INVALID_PARAMETER


def test_wrong_texts_are_named(unchecked):
    with pytest.raises(TypeError, match="a text must be a string, got int"):
        Analyzer()(3)
    for texts in (["a", 3], ["a", ["b"]], [["b"], "a"], [3]):
        with pytest.raises(TypeError, match=r"all be strings or all be lists|must be a string"):
            encode_texts(texts, Analyzer(), {})
    with pytest.raises(TypeError, match="a term must be a string"):
        encode_texts([["a", 3]], Analyzer(), {})
    with pytest.raises(TypeError, match="must be a function"):
        encode_texts(["a"], None, {})


def test_missing_stemmer_names_the_install_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "Stemmer", None)
    with pytest.raises((MissingExtraError, ImportError), match="Stemmer"):
        Analyzer()
    assert Analyzer(language=None)("red fox") == ["red", "fox"]


def test_none_among_texts_is_no_end(unchecked):
    for texts in ([None], [None, "fox"], ["fox", None]):
        with pytest.raises(TypeError, match="NoneType"):
            encode_texts(texts, Analyzer(), {})
