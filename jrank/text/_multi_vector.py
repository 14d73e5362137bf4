"""What a late-interaction model does to texts before and after it: markers, expansion of queries, tokens left out."""

import dataclasses
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jrank.errors import ModelError
from jrank.text._encoded import Encoded
from jrank.text._pairs import PairTokenizer

__all__ = ["MultiVectorRules", "TokenRules"]

PUNCTUATION = tuple(string.punctuation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MultiVectorRules:
    """How texts become rows of tokens for a late-interaction model, and which of their vectors count.

    Attributes:
      query_prefix: the token that marks a query, after [CLS]; "" for none.
      document_prefix: the token that marks a document; "" for none.
      query_length: most tokens of a query, special ones included.
      document_length: most tokens of a document.
      query_expansion: whether queries are filled up to ``query_length`` with mask tokens, whose vectors count.
      attend_to_expansion: whether the other tokens see those.
      skiplist: tokens of documents whose vectors do not count.
      special_tokens: whether the vectors of [CLS], [SEP] and their like count.

    >>> rules = MultiVectorRules(query_prefix="", document_prefix="", query_expansion=False)
    >>> MultiVectorRules.from_dict(rules.to_dict()) == rules
    True
    """

    query_prefix: str = "[Q] "
    document_prefix: str = "[D] "
    query_length: int = 32
    document_length: int = 180
    query_expansion: bool = True
    attend_to_expansion: bool = False
    skiplist: tuple[str, ...] = PUNCTUATION
    special_tokens: bool = True

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value: Any = getattr(self, field.name)
            if field.name == "skiplist":
                good = isinstance(value, tuple) and all(isinstance(word, str) for word in value)
            else:
                good = type(value) is type(field.default)
            if field.type is int:
                good = good and int(value) >= 3
            if not good:
                raise ModelError(f"{field.name} must not be {value!r}", reason="invalid_config")

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as JSON values."""
        return dataclasses.asdict(self) | {"skiplist": list(self.skiplist)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MultiVectorRules":
        """Return rules from what ``to_dict`` returned; unknown names are passed over, missing ones take the default.

        Args:
          values: JSON values by name.

        Raises:
          ModelError: a value is of another kind.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        found = {name: value for name, value in values.items() if name in known}
        if isinstance(found.get("skiplist"), list):
            found["skiplist"] = tuple(found["skiplist"])
        return cls(**found)


class TokenRules:
    """Rules with the tokenizer that knows their tokens.

    Args:
      rules: the rules.
      tokenizer: the tokenizer.

    Raises:
      ModelError: a marker or the mask token is not in the vocabulary.

    Attributes:
      mask_id: the id that queries are filled up with; None without expansion.
    """

    def __init__(self, rules: MultiVectorRules, tokenizer: PairTokenizer):
        self.rules, self.tokenizer = rules, tokenizer
        self._query_prefix = self._marker(rules.query_prefix)
        self._document_prefix = self._marker(rules.document_prefix)
        self.mask_id = self._mask() if rules.query_expansion else None
        self._skipped = np.array([i for word in rules.skiplist if (i := tokenizer.token_to_id(word)) is not None], int)
        bare = tokenizer.encode_texts([""], max_length=8).ids[0]
        self._special = np.array([*bare, *self._query_prefix, *self._document_prefix], int)

    def queries(self, texts: Iterable[str]) -> Encoded:
        """Return queries as token ids, filled up if the rules say so.

        Args:
          texts: the texts.
        """
        encoded = self.tokenizer.encode_texts(texts, max_length=self.rules.query_length, prefix=self._query_prefix)
        if self.mask_id is None:
            return encoded
        width = self.rules.query_length
        ids = [np.append(row, np.full(width - len(row), self.mask_id, np.int32)) for row in encoded.ids]
        kinds = [np.append(row, np.zeros(width - len(row), np.int32)) for row in encoded.type_ids]
        return dataclasses.replace(encoded, ids=ids, type_ids=kinds, lengths=np.full(len(ids), width, np.int32))

    def documents(self, texts: Iterable[str]) -> Encoded:
        """Return documents as token ids.

        Args:
          texts: the texts.
        """
        return self.tokenizer.encode_texts(texts, max_length=self.rules.document_length, prefix=self._document_prefix)

    def attention(self, ids: Any, mask: Any) -> Any:
        """Return the attention mask of a padded batch of queries: expansion is seen only if the rules say so.

        Args:
          ids: token ids.
          mask: 1 at tokens, 0 at padding.
        """
        if self.mask_id is None or self.rules.attend_to_expansion:
            return mask
        return mask * (ids != self.mask_id)

    def keep(self, ids: np.ndarray, *, query: bool) -> np.ndarray:
        """Return which vectors of a row count.

        Args:
          ids: its token ids, ``[t]``.
          query: whether it is a query.

        Returns:
          bool, ``[t]``.
        """
        kept = np.ones(len(ids), bool) if query else ~np.isin(ids, self._skipped)
        return kept if self.rules.special_tokens else kept & ~np.isin(ids, self._special)

    def _marker(self, token: str) -> Sequence[int]:
        if not token:
            return ()
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise ModelError(
                f"the marker {token!r} is not in the vocabulary",
                reason="invalid_config",
                hint='choose a token that is, such as "[unused0]", or ""',
            )
        return (found,)

    def _mask(self) -> int:
        for token in ("[MASK]", "<mask>", "</s>", "[SEP]"):
            if (found := self.tokenizer.token_to_id(token)) is not None:
                return found
        raise ModelError(
            "the vocabulary has no mask token to fill queries up with",
            reason="invalid_config",
            hint="use query_expansion=False",
        )
