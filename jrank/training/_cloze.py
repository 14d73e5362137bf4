"""Queries made from documents, where nobody has asked any."""

import re
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from jrank.errors import TrainError

__all__ = ["ClozeQuery", "cloze_queries"]

# The end of a sentence, and white space where the script has it. What follows must not be a small letter: "e.g. this".
END = re.compile(r"(?<=[.!?])[\"')\]]*\s+|(?<=[。！？])\s*")


class ClozeQuery(NamedTuple):
    """A sentence taken out of a document.

    Attributes:
      place: which of the documents.
      query: the sentence, without its full stop.
      rest: the document without it.
    """

    place: int
    query: str
    rest: str


def cloze_queries(
    documents: Iterable[str], *, shortest: int = 40, longest: int = 300, sentences: int = 3, seed: int = 0
) -> list[ClozeQuery]:
    """Take one sentence out of each document; it is a query, the rest of the document answers it.

    So a reranker or an encoder can be trained on a collection without queries: the rest of the document is the relevant
    text, what an index finds for the sentence are the negatives. The sentence stands nowhere in the rest, so that more
    than equal words has to be learnt.

    Args:
      documents: texts of several sentences.
      shortest: fewest characters of a query.
      longest: most characters of a query.
      sentences: documents with fewer sentences give no query.
      seed: draws the sentence; what a document gives does not depend on the other documents.

    Returns:
      The queries in the order of the documents.

    Raises:
      TrainError: the bounds are out of order, or ``sentences`` is below 2.
      TypeError: ``documents`` is one string, or one of them is no string.

    References: Lee, Chang and Toutanova, Latent retrieval for weakly supervised open domain question answering, ACL
    2019 (the inverse cloze task).

    >>> text = "Foxes are small dogs. They eat mice, birds and berries. Most of them hunt at night."
    >>> cloze_queries([text, "Too short."], shortest=10)[0].query
    'Foxes are small dogs'
    """
    if not 1 <= shortest <= longest:
        raise TrainError(
            f"shortest is {shortest} and longest {longest}, expected 1 <= shortest <= longest",
            reason="invalid_parameter",
        )
    if sentences < 2:
        raise TrainError(f"sentences is {sentences}, expected 2 or more", reason="invalid_parameter")
    if isinstance(documents, str):
        raise TypeError("documents must be a sequence of strings, got one string; write [text]")
    found = []
    for place, text in enumerate(documents):
        if not isinstance(text, str):
            raise TypeError(f"document {place} must be a string, got a {type(text).__name__}")
        spans = _sentences(text)
        usable = [span for span in spans if shortest <= len(_query(text, span)) <= longest]
        if len(spans) < sentences or not usable:
            continue
        rng = np.random.default_rng((seed, zlib.crc32(text.encode(errors="surrogatepass"))))
        start, stop = usable[rng.integers(len(usable))]
        rest = " ".join(part for part in (text[:start].strip(), text[stop:].strip()) if part)
        found.append(ClozeQuery(place, _query(text, (start, stop)), rest))
    return found


def _sentences(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence."""
    starts, ends = [0], []
    for gap in END.finditer(text):
        if gap.end() < len(text) and not text[gap.end()].islower():
            ends.append(gap.end())
            starts.append(gap.end())
    ends.append(len(text))
    return [span for span in zip(starts, ends, strict=True) if text[slice(*span)].strip()]


def _query(text: str, span: tuple[int, int]) -> str:
    return text[slice(*span)].strip().rstrip(".。").rstrip()
