"""What the indexes of vectors share: how they are built, and what they say about themselves."""

import threading
from collections.abc import Iterable
from typing import Any, TypeVar

from jrank.retrieval._documents import Documents

__all__ = ["VectorIndex"]

Index = TypeVar("Index", bound="VectorIndex")


class VectorIndex:
    """An index of documents that are vectors, one or many each.

    Args:
      metric: "cosine" or "dot".
    """

    def __init__(self, metric: str):
        self.metric = metric
        self._lock = threading.RLock()
        self._documents = Documents()

    @classmethod
    def build(cls: type[Index], items: Any, ids: Iterable[str] | Iterable[int] | None = None, **params: Any) -> Index:
        """Index documents.

        Args:
          items: array of finite numbers, ``[n, d]``; where documents have many vectors, one array ``[t, d]`` for each,
            with one ``d``; ``t`` may be 0.
          ids: one unique id per document, all strings or all integers; None counts from 0.
          **params: the arguments of the class.

        Returns:
          The index.

        Raises:
          RetrieveError: a number is not finite, an id comes twice, there are more or fewer ids than documents.
        """
        index = cls(**params)
        index.add(items, ids)
        return index

    def __len__(self) -> int:
        return len(self._documents)

    def __contains__(self, value: Any) -> bool:
        """Whether there is a document with this id."""
        with self._lock:
            return value in self._documents

    def __repr__(self) -> str:
        count = len(self)
        plural = "" if count == 1 else "s"
        return f"{type(self).__name__}({count} vector{plural} of {self.dimension} dimensions, {self.metric!r})"

    @property
    def dimension(self) -> int:
        """The number of dimensions; 0 before the first vector was added."""
        raise NotImplementedError

    @property
    def ids(self) -> list[str | int]:
        """The ids of all documents, in the order in which they were added."""
        with self._lock:
            return self._documents.alive()

    def add(self, items: Any, ids: Iterable[str] | Iterable[int] | None = None, *, update: bool = False) -> None:
        """Add vectors; either all are added, or, after an error, none.

        Args:
          items: as for ``build``.
          ids: as for ``build``; None goes on counting.
          update: whether documents that have these ids already are deleted; the new ones count as added last.

        Raises:
          RetrieveError: the dimension differs, an id is there already, or see ``build``.
        """
        raise NotImplementedError
