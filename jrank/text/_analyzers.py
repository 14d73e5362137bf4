"""Lexical analyzers: text to terms, one text at a time or a whole corpus at once."""

import itertools
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from jrank.errors import ModelError, RetrieveError, require
from jrank.files import read_bytes
from jrank.text._stop_words import STOP_WORDS
from jrank.text._tokenizer_file import guarded

__all__ = ["Analyzer", "EncodedTexts", "TokenizerAnalyzer", "encode_texts"]

WORDS = r"\w\w+"

# None may stand among the texts by mistake.
_NOTHING: Any = object()

# Words that are turned into numbers at a time.
BLOCK = 1 << 16

# ASCII text can be cut at once: upper case to lower case, everything that is no word character to a space.
_LOWER = {i: chr(i).lower() if chr(i).isalnum() or chr(i) == "_" else " " for i in range(128)}
_KEEP = {i: chr(i) if chr(i).isalnum() or chr(i) == "_" else " " for i in range(128)}


class EncodedTexts(NamedTuple):
    """The terms of many texts as numbers.

    Attributes:
      ids: int32, the number of each term in the vocabulary, text after text.
      lengths: int64, how many terms each text has.
    """

    ids: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class Analyzer:
    r"""Cut text into words, lower them, leave out stop words, and stem the rest.

    The default is what lexical search in English usually does. Any function from a string to a list of strings can
    stand in its place.

    Args:
      language: the language of the Snowball stemmer, such as "english", "german", "porter"; None does not stem.
      stop_words: words to leave out, compared after lower-casing and before stemming; "auto" are those of
        the language in ``STOP_WORDS``, or none; the name of a language there, a collection of words, or None.
      lowercase: whether words are lowered.
      pattern: regular expression of a word; the default takes two or more letters, digits or underscores of any script.
      normalize: Unicode normal form the text is brought to first: "NFC" (the default, so that composed and decomposed
        accents are one), "NFKC", "NFD", "NFKD", or None.
      ngrams: 1 gives words, 2 words and pairs of neighbouring words, and so on; joined by a space.

    Raises:
      RetrieveError: a parameter is not one of these.
      MissingExtraError: stemming is asked for and PyStemmer is not installed.

    Cost: linear in the text; ``encode_texts`` stems each distinct word once.

    >>> Analyzer()("The runner was running in Zürich")
    ['runner', 'run', 'zürich']
    >>> Analyzer(language=None, stop_words={"the"}, ngrams=2)("the red fox")
    ['red', 'fox', 'red fox']
    """

    language: str | None = "english"
    stop_words: str | Iterable[str] | None = "auto"
    lowercase: bool = True
    pattern: str = WORDS
    normalize: str | None = "NFC"
    ngrams: int = 1
    _find: Callable[[str], list[str]] = field(init=False, repr=False, compare=False)
    _stop: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        stop = self.stop_words
        if stop == "auto":
            stop = STOP_WORDS.get(self.language or "", frozenset())
        elif isinstance(stop, str):
            if stop not in STOP_WORDS:
                raise RetrieveError(
                    f'stop_words must be "auto", a language, None or a collection of words, got {stop!r}',
                    reason="invalid_parameter",
                    hint=f"put words into a set; languages: {', '.join(STOP_WORDS)}",
                )
            stop = STOP_WORDS[stop]
        object.__setattr__(self, "stop_words", frozenset(stop or ()))
        object.__setattr__(self, "_stop", self.stop_words)
        if self.normalize not in (None, "NFC", "NFKC", "NFD", "NFKD"):
            raise RetrieveError(
                f"normalize must be NFC, NFKC, NFD, NFKD or None, got {self.normalize!r}", reason="invalid_parameter"
            )
        if isinstance(self.ngrams, bool) or not isinstance(self.ngrams, int) or self.ngrams < 1:
            raise RetrieveError(f"ngrams must be at least 1, got {self.ngrams!r}", reason="invalid_parameter")
        try:
            pattern = re.compile(self.pattern)
        except (re.error, TypeError) as error:
            raise RetrieveError(
                f"pattern {self.pattern!r} is not a regular expression: {error}", reason="invalid_parameter"
            ) from None
        if pattern.groups > 1:
            raise RetrieveError(
                f"pattern {self.pattern!r} has {pattern.groups} groups, at most one was expected",
                reason="invalid_parameter",
                hint="write (?:...) for groups that only bracket",
            )
        object.__setattr__(self, "_find", pattern.findall)
        self._stemmer()

    def __getstate__(self) -> dict[str, Any]:
        return self.config()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def __call__(self, text: str) -> list[str]:
        """Return the terms of a text, in order.

        Args:
          text: any string.

        Raises:
          TypeError: it is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"a text must be a string, got {type(text).__name__}")
        words = self._words(text)
        terms = [term for term in self._terms(words) if term is not None]
        if self.ngrams > 1:
            n = len(terms)
            terms += [" ".join(terms[i : i + size]) for size in range(2, self.ngrams + 1) for i in range(n - size + 1)]
        return terms

    def config(self) -> dict[str, Any]:
        """Return the arguments that make an equal analyzer, as JSON can hold them.

        >>> Analyzer(**Analyzer().config()) == Analyzer()
        True
        """
        return {
            "language": self.language,
            "stop_words": sorted(self._stop),
            "lowercase": self.lowercase,
            "pattern": self.pattern,
            "normalize": self.normalize,
            "ngrams": self.ngrams,
        }

    def _stemmer(self) -> Any:
        # One for each call: a stemmer must not be used by two threads, and making one costs a microsecond.
        if self.language is None:
            return None
        stemmer = require("Stemmer", "")
        try:
            # No cache: each distinct word is stemmed once anyway.
            return stemmer.Stemmer(self.language, 0)
        except (KeyError, TypeError):
            known = ", ".join(stemmer.algorithms())
            raise RetrieveError(
                f"there is no stemmer for the language {self.language!r}",
                reason="invalid_parameter",
                hint=f"choose one of {known}, or None",
            ) from None

    def _words(self, text: str) -> list[str]:
        """Return the words, stop words and (from ASCII text) single letters included; ``_terms`` drops them."""
        if text.isascii():
            if self.pattern == WORDS:
                return text.translate(_LOWER if self.lowercase else _KEEP).split()
        elif self.normalize is not None:
            text = unicodedata.normalize(self.normalize, text)  # type: ignore[arg-type]
        return self._find(text.lower() if self.lowercase else text)

    def _terms(self, words: list[str]) -> list[str | None]:
        """Return the term of each word, None for words to leave out."""
        stop = self._stop
        short = 2 if self.pattern == WORDS else 1
        stemmer = self._stemmer()
        stems = words if stemmer is None else stemmer.stemWords(words)
        return [None if len(word) < short or word in stop else stem for word, stem in zip(words, stems, strict=True)]


class TokenizerAnalyzer:
    """Cut text with a tokenizer of the `tokenizers` library, so that a lexical index counts a model's word pieces.

    Args:
      tokenizer: a ``tokenizers.Tokenizer``, the path of a ``tokenizer.json``, or its content as bytes.
        Special tokens are not added, and truncation and padding that it may prescribe are left out.

    Raises:
      RetrieveError: the file is no tokenizer.

    >>> import tokenizers
    >>> inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"red": 0, "fox": 1, "?": 2}, unk_token="?"))
    >>> inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    >>> TokenizerAnalyzer(inner)("red dog")
    ['red', '?']
    """

    def __init__(self, tokenizer: Any):
        tokenizers = require("tokenizers", "")
        if isinstance(tokenizer, (str, os.PathLike)):
            content = read_bytes(tokenizer, max_bytes=256 << 20)
            tokenizer = _tokenizer_from(content, os.fspath(tokenizer))
        elif isinstance(tokenizer, bytes):
            tokenizer = _tokenizer_from(tokenizer, "the text given")
        elif not isinstance(tokenizer, tokenizers.Tokenizer):
            raise TypeError(f"expected a tokenizers.Tokenizer or a path, got {type(tokenizer).__name__}")
        # A copy, since these settings belong to the object.
        self._tokenizer = tokenizers.Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def to_bytes(self) -> bytes:
        """Return the content of a ``tokenizer.json`` that makes an equal analyzer."""
        return self._tokenizer.to_str().encode("utf-8", "surrogatepass")

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text, in order.

        Args:
          text: any string.
        """
        return self.batch([text])[0]

    def batch(self, texts: list[str]) -> list[list[str]]:
        """Return the tokens of many texts; large batches use all cores.

        Args:
          texts: strings.
        """
        clean = [_as_text(text).encode("utf-8", "replace").decode() for text in texts]
        return [encoding.tokens for encoding in self._tokenizer.encode_batch(clean, add_special_tokens=False)]


def _tokenizer_from(content: bytes, name: str) -> Any:
    tokenizers = require("tokenizers", "")
    try:
        return guarded(lambda: tokenizers.Tokenizer.from_str(content.decode()))
    except ModelError as error:
        raise RetrieveError(
            f"{name} is no tokenizer: {error}", reason="invalid_parameter", hint="name a tokenizer.json"
        ) from None


def encode_texts(
    texts: Iterable[str] | Iterable[Sequence[str]],
    analyzer: Callable[[str], Sequence[str]] | None,
    vocabulary: dict[str, int],
    *,
    grow: bool = True,
) -> EncodedTexts:
    """Turn many texts into numbers of terms.

    Args:
      texts: strings, or lists of terms, which are taken as they are.
      analyzer: an ``Analyzer``, a ``TokenizerAnalyzer``, or any function from a string to its terms; not asked for
        lists of terms.
      vocabulary: number of each term, counted from 0; with ``grow`` new terms are added to it.
      grow: False leaves out terms that the vocabulary does not hold, which is right for queries.

    Returns:
      The numbers and the length of each text.

    Raises:
      TypeError: a text is neither a string nor a list of strings.

    Cost: linear; an ``Analyzer`` stems each distinct word once, other functions are called for each text.

    >>> words = {}
    >>> encode_texts(["red fox", "foxes run"], Analyzer(), words).ids.tolist(), words
    ([0, 1, 1, 2], {'red': 0, 'fox': 1, 'run': 2})
    """
    texts = iter(texts)
    first = next(texts, _NOTHING)
    if first is _NOTHING:
        return EncodedTexts(np.zeros(0, np.int32), np.zeros(0, np.int64))
    texts = itertools.chain([first], texts)
    # An analyzer of ours is asked for words first, and for the terms of the distinct ones at the end.
    ours = analyzer if isinstance(first, str) and isinstance(analyzer, Analyzer) and analyzer.ngrams == 1 else None
    if not isinstance(first, str):
        words = map(_as_given, texts)
    elif isinstance(analyzer, TokenizerAnalyzer):
        words = _in_batches(analyzer, texts)
    elif ours:
        words = map(ours._words, map(_as_text, texts))
    elif callable(analyzer):
        words = map(_as_terms, map(analyzer, map(_as_text, texts)))
    else:
        raise TypeError(f"an analyzer must be a function from a string to its terms, got {type(analyzer).__name__}")

    # Numbers of words as they come; the distinct ones become terms afterwards.
    numbers: defaultdict[str, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    parts, lengths, block, count = [], [], [], 0
    for row in words:
        block.append(row)
        lengths.append(len(row))
        count += len(row)
        if count >= BLOCK:
            parts.append(np.fromiter(map(numbers.__getitem__, itertools.chain.from_iterable(block)), np.int32, count))
            block, count = [], 0
    parts.append(np.fromiter(map(numbers.__getitem__, itertools.chain.from_iterable(block)), np.int32, count))

    # The factory refers to its own dictionary, which would keep all words until the next garbage collection.
    numbers.default_factory = None
    terms = ours._terms(list(numbers)) if ours else list(numbers)
    if not all(term is None or isinstance(term, str) for term in terms):
        raise TypeError("a term must be a string")
    if grow:
        new = dict.fromkeys(term for term in terms if term is not None and term not in vocabulary)
        vocabulary.update(zip(new, itertools.count(len(vocabulary)), strict=False))
    table = np.fromiter((-1 if term is None else vocabulary.get(term, -1) for term in terms), np.int32, len(terms))
    ids = table[np.concatenate(parts)] if len(terms) else np.zeros(0, np.int32)
    sizes = np.array(lengths, np.int64)
    keep = ids >= 0
    if not keep.all():
        ends = np.concatenate([[0], np.cumsum(keep)])[np.cumsum(sizes)]
        ids, sizes = ids[keep], np.diff(ends, prepend=0)
    return EncodedTexts(ids, sizes)


def _in_batches(analyzer: TokenizerAnalyzer, texts: Iterable[Any]) -> Iterator[list[str]]:
    source = iter(texts)
    while batch := list(itertools.islice(source, 1024)):
        yield from analyzer.batch(batch)


def _as_text(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"texts must all be strings or all be lists of terms, got {type(text).__name__} among strings")
    return text


def _as_terms(terms: Any) -> Sequence[str]:
    if not isinstance(terms, Sequence) or isinstance(terms, (str, bytes)):
        raise TypeError(f"an analyzer must return a list of terms, got {type(terms).__name__}")
    return terms


def _as_given(terms: Any) -> list[str] | tuple[str, ...]:
    if not isinstance(terms, (list, tuple)):
        raise TypeError(f"texts must all be strings or all be lists of terms, got {type(terms).__name__}")
    return terms
