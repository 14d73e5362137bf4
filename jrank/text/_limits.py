"""What the encoding methods accept, and how much of a pair they keep."""

from collections.abc import Iterable, Sequence

import numpy as np

from jrank.errors import ModelError

__all__ = ["CUTS", "as_pairs", "as_texts", "at_least", "query_cap", "well_formed"]

# How many tokens of the query and of the document are kept, from (index of the pair, query tokens, document tokens,
# room for both, most tokens of a query).


def _only_second(index: int, n: int, m: int, budget: int, cap: int) -> tuple[int, int]:
    n = min(n, cap, budget)
    return n, min(m, budget - n)


def _longest_first(index: int, n: int, m: int, budget: int, cap: int) -> tuple[int, int]:
    if n + m <= budget:
        return n, m
    short = min(n, m, budget // 2)
    return (short, budget - short) if n <= m else (budget - short, short)


def _error(index: int, n: int, m: int, budget: int, cap: int) -> tuple[int, int]:
    if n + m > budget:
        raise ModelError(
            f"pair {index} has {n} + {m} tokens, more than the {budget} that fit",
            reason="too_long",
            hint='raise max_length, or choose truncation="only_second"',
        )
    return n, m


CUTS = {"only_second": _only_second, "longest_first": _longest_first, "error": _error}


def query_cap(cap: int | None, max_length: int) -> int:
    at_least(cap, 1, "max_query_length")
    return max(1, int(max_length) // 2) if cap is None else int(cap)


def at_least(value: int | None, least: int, name: str) -> None:
    if value is not None and value < least:
        raise ModelError(f"{name} must be at least {least}, got {value}", reason="invalid_input")


def as_texts(texts: Iterable[str]) -> list[str]:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise TypeError(f"a list of texts was expected, got {_kind(texts)}; put a single text into a list")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {i} must be a string, got {_kind(text)}")
    return texts


def as_pairs(pairs: Iterable[tuple[str, str]]) -> tuple[list[str], list[str]]:
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise TypeError(f"a list of (query, document) pairs was expected, got {_kind(pairs)}")
    first, second = [], []
    for i, pair in enumerate(pairs):
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence | np.ndarray) or len(pair) != 2:
            raise TypeError(f"pair {i} must be a (query, document) tuple, got {_kind(pair)}")
        query, document = pair
        if not isinstance(query, str):
            raise TypeError(f"the query of pair {i} must be a string, got {_kind(query)}")
        if not isinstance(document, str):
            raise TypeError(f"the document of pair {i} must be a string, got {_kind(document)}")
        first.append(query)
        second.append(document)
    return first, second


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def well_formed(text: str) -> str:
    """Return a text that UTF-8 can carry: U+FFFD takes the place of each half of a surrogate pair, as JSON may hold it.

    Args:
      text: any string.

    >>> well_formed("a" + chr(0xD800)) == "a" + chr(0xFFFD)
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
