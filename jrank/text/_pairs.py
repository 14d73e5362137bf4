"""Pairs of texts to token ids: one policy for truncation, special tokens and padding, in training and in serving."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import tokenizers

from jrank.errors import DataError, ModelError
from jrank.files import atomic_write, read_bytes
from jrank.text._encoded import Encoded, from_rows
from jrank.text._limits import CUTS, as_pairs, as_texts, at_least, query_cap, well_formed
from jrank.text._tokenizer_file import (
    Template,
    TokenizerConfig,
    broken,
    guarded,
    padding,
    padding_spec,
    read_tokenizer_config,
    without_types,
)

__all__ = ["PairTokenizer"]

# A tokenizer file is a vocabulary: the largest known ones stay below 40 MB.
MAX_TOKENIZER_BYTES = 256 << 20

Truncation = Literal["only_second", "longest_first", "error"]


class PairTokenizer:
    r"""Turns (query, document) pairs, or single texts, into token ids.

    It wraps a ``tokenizer.json`` of the `tokenizers` library and settles what such a file leaves to chance: truncation
    and padding baked into the file are ignored, special tokens written in a text are plain text (a document that says
    "[SEP]" cannot forge the border between query and document), and lone surrogates become U+FFFD. An instance never
    changes, so many threads may share it.

    Attributes:
      vocab_size: the largest id plus one, so the number of rows that an embedding table must have.
      type_vocab_size: the largest token type plus one.
      pad_id: the id of the padding token.
      sha256: checksum of the bytes that `to_bytes` returns.

    >>> import tokenizers
    >>> words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "what": 4, "is": 5, "jax": 6}
    >>> inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    >>> inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    >>> inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    >>> tokenizer = PairTokenizer.from_bytes(inner.to_str())
    >>> encoded = tokenizer.encode_pairs([("what is jax", "jax is jax")], max_length=8)
    >>> encoded.ids[0].tolist(), encoded.type_ids[0].tolist(), bool(encoded.truncated[0])
    ([1, 4, 5, 6, 2, 6, 5, 2], [0, 0, 0, 0, 0, 1, 1, 1], True)
    """

    vocab_size: int
    type_vocab_size: int
    pad_id: int
    sha256: str

    def __init__(self, data: bytes | str, *, pad_token: str | None = None, token_types: bool = True):
        """Read a tokenizer from the contents of a ``tokenizer.json``; see `from_bytes`."""
        raw = data.encode() if isinstance(data, str) else bytes(data)
        try:
            spec = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise broken(f"it is not JSON: {error}") from None
        if not isinstance(spec, dict) or "model" not in spec:
            raise broken('there is no "model" in it')
        if not token_types:  # what is known only from outside has to travel with the bytes
            typed = spec
            spec = guarded(lambda: without_types(typed))
            raw = raw if spec == typed else json.dumps(spec, ensure_ascii=False).encode()
        # Limits of the file are dropped before the library sees them: contradictory ones make it panic.
        baked = spec.get("padding") if isinstance(spec.get("padding"), dict) else {}
        plain = json.dumps({**spec, "truncation": None, "padding": None})
        inner = guarded(lambda: tokenizers.Tokenizer.from_str(plain))
        inner.encode_special_tokens = True
        self._inner = inner
        vocabulary = guarded(lambda: inner.get_vocab(with_added_tokens=True))
        if not vocabulary:
            raise broken("its vocabulary is empty")
        self.vocab_size = max(vocabulary.values()) + 1
        self.pad_id, self._pad_type, named = padding(vocabulary, baked, pad_token)
        if not named:
            spec["padding"] = padding_spec(pad_token, self.pad_id)
            raw = json.dumps(spec, ensure_ascii=False).encode()
        self._raw = raw
        self.sha256 = hashlib.sha256(raw).hexdigest()
        self._single = self._probe(1, vocabulary)
        self._pair = self._probe(2, vocabulary)
        self.type_vocab_size = max(self._single.types | self._pair.types | {self._pad_type}) + 1
        self._unknown, self._forbidden = self._special_ids(spec, vocabulary)

    # -- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def from_file(cls, path: str | os.PathLike, *, pad_token: str | None = None) -> "PairTokenizer":
        """Read a ``tokenizer.json``, or the one in a directory.

        Args:
          path: the file, or a directory that holds ``tokenizer.json``.
          pad_token: the padding token, for a file that does not say; otherwise the ``tokenizer_config.json`` beside the
            file is asked, then the usual names. That file also says whether the model is given token types: where its
            ``model_input_names`` leave them out, all are 0.

        Returns:
          The tokenizer.

        Raises:
          ModelError: there is no such file, or it is not a tokenizer.
        """
        path = Path(path)
        if path.is_dir():
            path = path / "tokenizer.json"
        try:
            data = read_bytes(path, max_bytes=MAX_TOKENIZER_BYTES)
        except DataError as error:
            raise ModelError(
                f"no tokenizer can be read: {error}",
                reason="not_found" if error.reason == DataError.Reason.NOT_FOUND else "invalid_config",
                hint="jrank reads the tokenizer.json of a fast tokenizer",
            ) from None
        try:
            beside = _config_beside(path)
            return cls(data, pad_token=pad_token or beside.pad_token, token_types=beside.token_types)
        except ModelError as error:
            raise ModelError(f"{path}: {error}", reason=error.reason) from None

    @classmethod
    def from_bytes(
        cls, data: bytes | str, *, pad_token: str | None = None, token_types: bool = True
    ) -> "PairTokenizer":
        """Read a tokenizer from the contents of a ``tokenizer.json``.

        Args:
          data: the JSON, as bytes or text.
          pad_token: the padding token, for contents that do not say and use none of the usual names.
          token_types: whether the second text has another type than the first, if the contents say so; False for
            models that are given no types.

        Returns:
          The tokenizer.

        Raises:
          ModelError: the contents are not a tokenizer.
        """
        if not isinstance(data, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"the tokenizer must be bytes or text, got {type(data).__name__}")
        data = data if isinstance(data, str) else bytes(data)
        return cls(data, pad_token=pad_token, token_types=token_types)

    def to_bytes(self) -> bytes:
        """Return the contents of a ``tokenizer.json`` that gives this tokenizer again."""
        return self._raw

    def save(self, path: str | os.PathLike) -> None:
        """Write a ``tokenizer.json``, whole or not at all.

        Args:
          path: the file, or a directory in which it becomes ``tokenizer.json``.

        Raises:
          DataError: the file cannot be written.
        """
        path = Path(path)
        with atomic_write(path / "tokenizer.json" if path.is_dir() else path, "wb") as file:
            file.write(self._raw)

    def __reduce__(self):
        return type(self), (self._raw,)

    def __repr__(self) -> str:
        return f"PairTokenizer(vocab_size={self.vocab_size}, pad_id={self.pad_id}, sha256={self.sha256[:12]}…)"

    # -- encoding ---------------------------------------------------------------------------------------------------

    def encode_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        max_length: int,
        truncation: Truncation = "only_second",
        max_query_length: int | None = None,
        max_characters: int | None = None,
    ) -> Encoded:
        """Encode (query, document) pairs.

        Args:
          pairs: two texts each; empty texts are allowed.
          max_length: most tokens of a pair, special tokens included.
          truncation: "only_second" cuts the query at ``max_query_length`` and then the document to what is left;
            "longest_first" cuts the longer of the two, then both evenly; "error" cuts nothing.
          max_query_length: most tokens of a query under "only_second"; None = half of ``max_length``.
          max_characters: texts are cut to so many characters before they are tokenised, which bounds the time that an
            enormous text costs; None = no bound.

        Returns:
          One row per pair, in order; no rows for no pairs.

        Raises:
          TypeError: something other than pairs of texts; the message names the index.
          ModelError: ``max_length`` leaves no room for text, or a pair is too long under "error".
        """
        first, second = as_pairs(pairs)
        budget = self._budget(max_length, self._pair)
        if truncation not in CUTS:
            raise ModelError(
                f"unknown truncation {truncation!r}", reason="invalid_input", hint=f"one of {', '.join(CUTS)}"
            )
        cap = query_cap(max_query_length, max_length)
        tokens, cut = self._tokenize(first + second, max_characters)
        cut_to = CUTS[truncation]
        rows, shortened = [], np.zeros(len(first), bool)
        for i, (query, document) in enumerate(zip(tokens[: len(first)], tokens[len(first) :], strict=True)):
            n, m = cut_to(i, len(query), len(document), budget, cap)
            shortened[i] = n < len(query) or m < len(document) or cut[i] or cut[len(first) + i]
            rows.append(self._pair.fill((query[:n], document[:m])))
        return from_rows(rows, shortened, np.arange(len(rows)), max_length)

    def encode_windows(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        max_length: int,
        stride: int | None = None,
        max_query_length: int | None = None,
        max_windows: int | None = None,
        max_characters: int | None = None,
    ) -> Encoded:
        """Encode (query, document) pairs, long documents as several overlapping pieces.

        Args:
          pairs: two texts each.
          max_length: most tokens of a piece together with its query, special tokens included.
          stride: document tokens that neighbouring pieces share; None = a quarter of a piece.
          max_query_length: most tokens of a query; None = half of ``max_length``.
          max_windows: most pieces of a document, the rest is left out; None = all.
          max_characters: as in `encode_pairs`.

        Returns:
          One row per piece; ``owners`` says which pair it comes from. A document that fits, the empty one included,
          gives one row. ``truncated`` is True where the query was cut or pieces were left out.

        Raises:
          TypeError: something other than pairs of texts; the message names the index.
          ModelError: ``max_length``, ``stride`` or ``max_windows`` is out of range.
        """
        first, second = as_pairs(pairs)
        budget = self._budget(max_length, self._pair)
        cap = query_cap(max_query_length, max_length)
        at_least(max_windows, 1, "max_windows")
        at_least(stride, 0, "stride")
        tokens, cut = self._tokenize(first + second, max_characters)
        rows, shortened, owners = [], [], []
        for i, (query, document) in enumerate(zip(tokens[: len(first)], tokens[len(first) :], strict=True)):
            n = min(len(query), cap, budget - 1) if document else min(len(query), cap, budget)
            width = max(budget - n, 1)
            overlap = width // 4 if stride is None else stride
            if overlap >= width:
                raise ModelError(
                    f"stride {overlap} is not smaller than the {width} document tokens of a window (pair {i})",
                    reason="invalid_input",
                    hint="lower stride or max_query_length, or raise max_length",
                )
            count = 1 + max(0, math.ceil((len(document) - width) / (width - overlap)))
            kept = count if max_windows is None else min(count, max_windows)
            lost = n < len(query) or kept < count or cut[i] or cut[len(first) + i]
            for j in range(kept):
                start = j * (width - overlap)
                rows.append(self._pair.fill((query[:n], document[start : start + width])))
                shortened.append(lost)
                owners.append(i)
        return from_rows(rows, np.array(shortened, bool), np.array(owners, np.int32), max_length)

    def encode_texts(
        self,
        texts: Iterable[str],
        *,
        max_length: int,
        prefix: Sequence[int] = (),
        max_characters: int | None = None,
    ) -> Encoded:
        """Encode single texts, cut at the right.

        Args:
          texts: the texts; empty ones are allowed.
          max_length: most tokens of a text, special tokens included.
          prefix: token ids put in front of each text, after the leading special tokens, such as a marker for queries.
          max_characters: as in `encode_pairs`.

        Returns:
          One row per text, in order; no rows for no texts.

        Raises:
          TypeError: something other than texts; the message names the index.
          ModelError: ``max_length`` leaves no room for text.
        """
        texts = as_texts(texts)
        prefix = [int(i) for i in prefix]
        budget = self._budget(max_length, self._single, len(prefix))
        tokens, cut = self._tokenize(texts, max_characters)
        rows = [self._single.fill((prefix + ids[:budget],)) for ids in tokens]
        shortened = np.array([len(ids) > budget for ids in tokens], bool) | cut
        return from_rows(rows, shortened, np.arange(len(rows)), max_length)

    def pad(
        self,
        encoded: Encoded,
        rows: Sequence[int] | np.ndarray | slice | None = None,
        *,
        length: int | None = None,
        multiple_of: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pad some rows to a rectangle, at the right.

        Args:
          encoded: what an encoding method returned.
          rows: which rows, in which order; None = all.
          length: the width; None = the longest of the rows.
          multiple_of: the width is rounded up to a multiple of this, though never above ``encoded.max_length``, so that
            a compiler sees few shapes.

        Returns:
          input_ids, attention_mask (1 = token, 0 = padding) and token_type_ids: int32 [rows, width].

        Raises:
          ModelError: a row is longer than ``length``, or an option is out of range.
        """
        at_least(multiple_of, 1, "multiple_of")
        at_least(length, 0, "length")
        chosen = np.arange(len(encoded))[rows if rows is not None else slice(None)]
        longest = int(encoded.lengths[chosen].max(initial=0))
        if length is None:
            length = longest
            if multiple_of is not None:
                length = max(longest, min(math.ceil(longest / multiple_of) * multiple_of, encoded.max_length))
        elif length < longest:
            raise ModelError(f"a row has {longest} tokens, more than length={length}", reason="too_long")
        input_ids = np.full((len(chosen), length), self.pad_id, np.int32)
        mask = np.zeros((len(chosen), length), np.int32)
        type_ids = np.full((len(chosen), length), self._pad_type, np.int32)
        for row, i in enumerate(chosen):
            ids = encoded.ids[i]
            input_ids[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
            type_ids[row, : len(ids)] = encoded.type_ids[i]
        return input_ids, mask, type_ids

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Turn token ids back into text, as well as the tokenizer can.

        Args:
          ids: token ids.
          skip_special_tokens: leave out [CLS], [SEP] and their like.

        Returns:
          The text.
        """
        ids = [int(i) for i in ids]
        return guarded(lambda: self._inner.decode(ids, skip_special_tokens=skip_special_tokens))

    def heads(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """Cut texts to their first tokens, special tokens not counted.

        Args:
          texts: the texts.
          max_tokens: most tokens that are left of each.
        """
        at_least(max_tokens, 1, "max_tokens")
        texts = [well_formed(text) for text in texts]
        found = guarded(lambda: self._inner.encode_batch(texts, add_special_tokens=False))
        return [
            text if len(encoding.ids) <= max_tokens else text[: encoding.offsets[max_tokens - 1][1]]
            for text, encoding in zip(texts, found, strict=True)
        ]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Return the token that each id stands for; "" for an unknown id.

        Args:
          ids: token ids.
        """
        return [self._inner.id_to_token(int(i)) or "" for i in ids]

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token, None if there is no such token.

        Args:
          token: the token as it is written in the vocabulary.
        """
        return self._inner.token_to_id(token)

    # -- the inside -------------------------------------------------------------------------------------------------

    def _budget(self, max_length: int, template: Template, extra: int = 0) -> int:
        if isinstance(max_length, bool) or not isinstance(max_length, (int, np.integer)):
            raise TypeError(f"max_length must be an integer, got {type(max_length).__name__}")
        budget = int(max_length) - template.added - extra
        if budget < 1:
            raise ModelError(
                f"max_length={max_length} leaves no room beside {template.added + extra} special tokens",
                reason="invalid_input",
                hint=f"use at least {template.added + extra + 1}",
            )
        return budget

    def _tokenize(self, texts: list[str], max_characters: int | None) -> tuple[list[list[int]], np.ndarray]:
        """Return the bare token ids of each text, and whether it was cut; equal texts are tokenised once."""
        at_least(max_characters, 1, "max_characters")
        cut = np.zeros(len(texts), bool)
        if max_characters is not None:
            cut = np.array([len(text) > max_characters for text in texts], bool)
            texts = [text[:max_characters] for text in texts]
        unique = list(dict.fromkeys(texts))
        found = dict(zip(unique, self._raw_ids(unique), strict=True))
        return [found[text] for text in texts], cut

    def _raw_ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        try:
            batch = self._inner.encode_batch_fast(texts, add_special_tokens=False)
        except (TypeError, UnicodeError):  # a lone surrogate, which UTF-8 cannot carry
            texts = [well_formed(text) for text in texts]
            batch = guarded(lambda: self._inner.encode_batch_fast(texts, add_special_tokens=False))
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            raise broken(f"it fails on this text: {error}") from None
        return [self._plain(encoding.ids) for encoding in batch]

    def _plain(self, ids: list[int]) -> list[int]:
        # Some vocabularies can spell a special token with ordinary pieces.
        if self._forbidden.isdisjoint(ids):
            return ids
        unknown = [] if self._unknown is None else [self._unknown]
        return [kept for i in ids for kept in (unknown if i in self._forbidden else [i])]

    def _probe(self, count: int, vocabulary: dict[str, int]) -> Template:
        """Find out where the file puts special tokens, by letting it process texts of one token."""
        for text in ("a", "1", ".", *list(vocabulary)[:1000]):
            pieces = guarded(lambda text=text: self._inner.encode(text, add_special_tokens=False))
            if len(pieces.ids) >= 1:
                break
        else:
            raise broken("it gives no token for any text")
        # `text` is the loop's last value: the first text with a token.
        result = guarded(lambda: self._inner.encode(*[text] * count))
        specials: list[list[int]] = [[] for _ in range(count + 1)]
        special_types: list[list[int]] = [[] for _ in range(count + 1)]
        types: dict[int, int] = {}
        sequences, position = result.sequence_ids, 0
        for i, kind, sequence in zip(result.ids, result.type_ids, sequences, strict=True):
            if sequence is None:
                specials[position].append(i)
                special_types[position].append(kind)
            else:
                if sequence not in (position, position - 1):
                    raise broken("it does not put the texts in order, once each")
                position = sequence + 1
                types.setdefault(sequence, kind)
        if strange := {i for group in specials for i in group} - set(vocabulary.values()):
            raise broken(f"it adds a special token with the id {min(strange)}, which is not in its vocabulary")
        if position != count or len(result.ids) != count * len(pieces.ids) + sum(map(len, specials)):
            raise broken(f"it cannot encode {'a pair of texts' if count == 2 else 'a text'}")
        return Template(
            tuple(map(tuple, specials)), tuple(map(tuple, special_types)), tuple(types[i] for i in range(count))
        )

    def _special_ids(self, spec: dict, vocabulary: dict[str, int]) -> tuple[int | None, frozenset[int]]:
        model = spec["model"] if isinstance(spec["model"], dict) else {}
        unknown = model.get("unk_id")
        if unknown is None:
            unknown = vocabulary.get(model.get("unk_token") or "")
        forbidden = {i for i, token in self._inner.get_added_tokens_decoder().items() if token.special}
        for template in (self._single, self._pair):
            forbidden.update(i for group in template.specials for i in group)
        forbidden.discard(unknown)
        return unknown, frozenset(forbidden)


def _config_beside(path: Path) -> TokenizerConfig:
    try:
        return read_tokenizer_config(read_bytes(path.with_name("tokenizer_config.json"), max_bytes=1 << 24))
    except DataError:
        return TokenizerConfig()
