"""Document ids as small integers: each distinct id is kept once, arrays hold its code."""

import weakref
from collections import defaultdict
from collections.abc import Iterable
from itertools import count as counter
from typing import Any

import numpy as np

__all__ = ["Interner", "Vocabulary", "merge_vocabularies"]


class Interner:
    """Gives each new id the next code; several lists may be encoded one after the other."""

    def __init__(self):
        # A missing id calls the counter, so that one pass in C does everything.
        self._index: defaultdict[Any, int] = defaultdict(counter().__next__)

    @property
    def names(self) -> list:
        """The distinct ids, by code."""
        return list(self._index)

    def encode(self, ids: Iterable, count: int) -> np.ndarray:
        """Return the code of each id.

        Args:
          ids: str, or bytes, with repetitions.
          count: how many there are.
        """
        return np.fromiter(map(self._index.__getitem__, ids), np.int32, count)


class Vocabulary:
    """Distinct ids and the code, a position, of each.

    Args:
      names: distinct ids; the position of an id is its code.
    """

    def __init__(self, names: list[str]):
        self.names = names
        self._index: dict[str, int] | None = None
        self._array: np.ndarray | None = None
        self._rank: np.ndarray | None = None
        # Codes of this vocabulary in others; an entry goes when the other vocabulary does.
        self._known: weakref.WeakKeyDictionary[Vocabulary, np.ndarray] = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def intern(cls, ids: list[str]) -> tuple["Vocabulary", np.ndarray]:
        """Give each distinct id a code, in the order of first appearance.

        Args:
          ids: ids with repetitions.

        Returns:
          The vocabulary, and an int32 array with the code of each id.

        >>> vocabulary, codes = Vocabulary.intern(["b", "a", "b"])
        >>> vocabulary.names, codes.tolist()
        (['b', 'a'], [0, 1, 0])
        """
        interner = Interner()
        codes = interner.encode(ids, len(ids))
        return cls(interner.names), codes

    @property
    def index(self) -> dict[str, int]:
        """The code of each id."""
        if self._index is None:
            self._index = dict(zip(self.names, range(len(self.names)), strict=True))
        return self._index

    @property
    def array(self) -> np.ndarray:
        """The ids as an object array, for gathering."""
        if self._array is None:
            array = np.empty(len(self.names), object)
            array[:] = self.names
            self._array = array
        return self._array

    def codes_in(self, other: "Vocabulary") -> np.ndarray:
        """Return, for each code of this vocabulary, the code of the same id in another one; -1 if it is not there.

        Args:
          other: the other vocabulary. The answer is remembered as long as it lives.
        """
        if other is self:
            return np.arange(len(self), dtype=np.int32)
        known = self._known.get(other)
        if known is None:
            index = other.index
            known = np.fromiter((index.get(name, -1) for name in self.names), np.int32, len(self))
            self._known[other] = known
        return known

    def byte_rank(self, codes: np.ndarray) -> np.ndarray:
        """Return integers that order ids as their UTF-8 bytes do.

        Python compares strings by code point, and UTF-8 keeps that order.

        Args:
          codes: int array; only these ids need comparing, so a few ties do not sort a large vocabulary.

        Returns:
          One integer per code, comparable within one call.
        """
        if self._rank is None:
            used = np.zeros(len(self), bool)
            used[codes] = True
            some = np.flatnonzero(used)
            names = self.names
            order = np.array(sorted(some.tolist(), key=names.__getitem__), np.int64)
            rank = np.zeros(len(self), np.int64)
            rank[order] = np.arange(len(order))
            if len(some) < len(self):
                return rank[codes]
            self._rank = rank
        return self._rank[codes]


def merge_vocabularies(vocabularies: Iterable[Vocabulary]) -> Vocabulary:
    """Return one vocabulary with the ids of all; the first one itself if that holds everything.

    Args:
      vocabularies: at least one.
    """
    distinct = list(dict.fromkeys(vocabularies))
    if len(distinct) == 1:
        return distinct[0]
    names = dict.fromkeys(name for vocabulary in distinct for name in vocabulary.names)
    if len(names) == len(distinct[0]):
        return distinct[0]
    return Vocabulary(list(names))
