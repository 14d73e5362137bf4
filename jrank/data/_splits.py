"""Splits that depend on the content of a text alone: the same on every machine, in every order."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

__all__ = ["content_fraction", "content_split", "join_groups", "near_duplicates"]

SHARES = {"test": 0.135, "validation": 0.1}


def content_fraction(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone.

    Args:
      text: any string.

    >>> round(content_fraction("a question"), 4)
    0.196
    """
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def content_split(text: str, shares: Mapping[str, float] = SHARES) -> str:
    """Return the split that a text belongs to.

    Args:
      text: any string.
      shares: the share of each split; what is left over is "train".

    >>> content_split("a question", {"test": 0.5}) in ("test", "train")
    True
    """
    fraction = content_fraction(text)
    for split, share in shares.items():
        if fraction < share:
            return split
        fraction -= share
    return "train"


def near_duplicates(items: Sequence[Set[str]], threshold: float) -> list[tuple[int, int]]:
    r"""Return the pairs of sets that are nearly the same.

    .. math:: |a \cap b| \ge \mathrm{threshold} \cdot |a \cup b|

    Args:
      items: sets of words; empty ones are like no other.
      threshold: from above 0 to 1.

    Returns:
      Pairs of places, the smaller one first.

    Cost: only sets that share one of their rarest words are compared.

    >>> near_duplicates([{"a", "b", "c", "d"}, {"x"}, {"a", "b", "c"}], 0.7)
    [(0, 2)]
    """
    count = Counter(word for item in items for word in item)
    # Two sets this similar must share a word among the first few of each, in any fixed order of all words.
    ordered = [sorted(item, key=lambda word: (count[word], word)) for item in items]
    holders: dict[str, list[int]] = defaultdict(list)
    pairs = []
    for place, words in enumerate(ordered):
        first = len(words) - math.ceil(threshold * len(words)) + 1
        others = {other for word in words[:first] for other in holders[word]}
        for other in sorted(others):
            a, b = items[place], items[other]
            if len(a & b) >= threshold * len(a | b):
                pairs.append((other, place))
        for word in words[:first]:
            holders[word].append(place)
    return pairs


def join_groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return a group for each of ``count`` things, so that the things of each pair share one.

    Args:
      count: how many things there are.
      pairs: places of things that belong together.

    Returns:
      The smallest place of its group for each thing.

    >>> join_groups(5, [(1, 3), (3, 4)])
    [0, 1, 2, 1, 1]
    """
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return [root(place) for place in range(count)]
