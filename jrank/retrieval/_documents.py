"""What every index knows about its documents apart from their content: ids, deletions, filters."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from jrank.errors import RetrieveError

__all__ = ["Documents", "allowed_documents", "check_choice", "check_k", "check_number", "check_on_empty"]


# Documents that may be asked for where there are fewer.
MOST = 1 << 20


class Documents:
    """The ids of an index: strings or integers, unique, in the order in which the documents came.

    Deleted documents keep their place until ``compact``, so that deleting is quick. Not safe for threads by itself.
    """

    def __init__(self, ids: Iterable[str | int] = (), next_id: int = 0):
        self._ids = list(ids)
        self._places: dict[str | int, int] | None = None
        self._dead: set[int] = set()
        self.next_id = next_id

    def __len__(self) -> int:
        return len(self._ids) - len(self._dead)

    def __contains__(self, value: Any) -> bool:
        known = isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)
        return known and value in self._all_places()

    def alive(self) -> list[str | int]:
        """Return the ids of the documents that are not deleted."""
        if not self._dead:
            return list(self._ids)
        return [value for place, value in enumerate(self._ids) if place not in self._dead]

    def lookup(self) -> np.ndarray:
        """Return the ids as an object array that ends with None, which -1 therefore finds."""
        return np.array([*self.alive(), None], object)

    def add(self, count: int, ids: Iterable[Any] | None, update: bool = False) -> None:
        """Number new documents, or raise and leave all as it was.

        Args:
          count: how many there are.
          ids: their ids; None goes on counting, after the largest number so far.
          update: whether documents that have these ids already are deleted.

        Raises:
          RetrieveError: an id is no id, comes twice, is of another type than the others, or the number is wrong.
        """
        new = list(range(self.next_id, self.next_id + count)) if ids is None else list(_plain(ids))
        if len(new) != count:
            raise RetrieveError(
                f"{len(new)} ids for {count} documents", reason="invalid_parameter", hint="give every document one id"
            )
        places = self._all_places()
        numbers = dict(zip(new, itertools.count(len(self._ids)), strict=False))
        replaced = [] if places.keys().isdisjoint(numbers) else [value for value in numbers if value in places]
        if replaced and not update:
            raise RetrieveError(
                f"the id {replaced[0]!r} comes twice, it is in the index already",
                reason="duplicate_id",
                hint="add(..., update=True) puts the new document in the place of the old one",
            )
        if len(numbers) < len(new):
            seen: set[Any] = set()
            twice = next(value for value in new if value in seen or seen.add(value))
            raise RetrieveError(
                f"the id {twice!r} comes twice", reason="duplicate_id", hint="give every document an id of its own"
            )
        if places and new and type(next(iter(places))) is not type(new[0]):
            raise RetrieveError(
                f"ids are all strings or all integers, got {new[0]!r} for an index that holds {next(iter(places))!r}",
                reason="invalid_parameter",
                hint="pass ids= of the same type as before",
            )
        self._dead.update(places[value] for value in replaced)
        places.update(numbers)
        self._ids += new
        self.next_id = max([self.next_id + count, *(value + 1 for value in new if isinstance(value, int))])

    def delete(self, ids: Iterable[Any]) -> None:
        """Mark documents as deleted, or raise and leave all as it was.

        Args:
          ids: their ids.

        Raises:
          RetrieveError: an id is not there.
        """
        if isinstance(ids, (str, bytes)):
            raise TypeError(f"ids must be a collection of ids, got one {type(ids).__name__}")
        places, gone = self._all_places(), set(_plain(ids))
        if missing := [value for value in gone if value not in places]:
            raise RetrieveError(f"there is no document {min(missing, key=str)!r}", reason="unknown_id", hint="see .ids")
        self._dead.update(places.pop(value) for value in gone)

    def compact(self) -> np.ndarray | None:
        """Forget the deleted documents, and the table of places, which is made again when it is needed.

        Returns:
          Which of the places before are kept, bool; None where nothing was deleted.
        """
        self._places = None
        if not self._dead:
            return None
        keep = np.ones(len(self._ids), bool)
        keep[list(self._dead)] = False
        self._ids = list(itertools.compress(self._ids, keep))
        self._dead = set()
        return keep

    def _all_places(self) -> dict[str | int, int]:
        if self._places is None:
            places = zip(self._ids, itertools.count(), strict=False)
            self._places = {value: place for value, place in places if place not in self._dead}
        return self._places


def _plain(ids: Iterable[Any]) -> Iterator[str | int]:
    kind = None
    for value in ids.tolist() if isinstance(ids, np.ndarray) else ids:
        if isinstance(value, str):
            value = str(value)
        elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            value = int(value)
        else:
            raise RetrieveError(
                f"an id must be a string or an integer, got {type(value).__name__}", reason="invalid_parameter"
            )
        kind = kind or type(value)
        if type(value) is not kind:
            raise RetrieveError(
                f"ids are all strings or all integers, got {value!r} among ids of type {kind.__name__}",
                reason="invalid_parameter",
                hint="1 and '1' would be two documents",
            )
        yield value


def allowed_documents(chosen: Iterable[Any] | Callable[[Any], bool] | None, lookup: np.ndarray) -> np.ndarray | None:
    """Return which documents a filter lets pass.

    Args:
      chosen: ids, a function from an id to a bool, or None for all documents.
      lookup: the ids of the index, followed by None.

    Returns:
      bool, ``[documents]``, or None for all. Ids that are not in the index allow nothing.

    Raises:
      RetrieveError: the ids are strings where those of the index are integers, or the other way round.
    """
    if chosen is None:
        return None
    if isinstance(chosen, (str, bytes)):
        raise TypeError(f"filter must be a collection of ids, got one {type(chosen).__name__}")
    if not callable(chosen) and not isinstance(chosen, Iterable):
        raise TypeError(f"filter must be ids or a function from an id to a bool, got {type(chosen).__name__}")
    known = lookup[:-1].tolist()
    if callable(chosen):
        return np.fromiter((bool(chosen(value)) for value in known), bool, len(known))
    wanted = set(_plain(chosen))
    if known and wanted and type(known[0]) is not type(next(iter(wanted))):
        raise RetrieveError(
            f"the filter names {next(iter(wanted))!r}, ids of the index are like {known[0]!r}",
            reason="invalid_parameter",
            hint="pass ids of the same type",
        )
    return np.fromiter((value in wanted for value in known), bool, len(known))


def check_k(k: Any, name: str = "k", documents: int = 0) -> int:
    """Return how many documents are wanted.

    Args:
      k: an integer of at least 1.
      name: what the message calls it.
      documents: how many there are; up to a million, more than these may be asked for.

    Raises:
      RetrieveError: it is not, or so large that the rows of the result would not fit into memory.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise RetrieveError(f"{name} must be an integer of at least 1, got {k!r}", reason="invalid_parameter")
    if k > max(documents, MOST):
        raise RetrieveError(
            f"{name} is {k}, expected at most {max(documents, MOST)}: every query gets a row of that length",
            reason="invalid_parameter",
            hint="ask for as many as are looked at",
        )
    return int(k)


def check_on_empty(on_empty: Any, num_documents: int) -> bool:
    """Return whether empty queries raise.

    Args:
      on_empty: "row" or "raise".
      num_documents: how many the index holds.

    Raises:
      RetrieveError: it is neither, or it is "raise" and the index is empty.
    """
    if on_empty not in ("row", "raise"):
        raise RetrieveError(f'on_empty must be "row" or "raise", got {on_empty!r}', reason="invalid_parameter")
    if on_empty == "raise" and not num_documents:
        raise RetrieveError("the index holds no documents", reason="empty_index", hint="add some first")
    return on_empty == "raise"


def check_choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return a parameter that is one of a few words.

    Args:
      name: what the message calls it.
      value: what came.
      known: the words.

    Raises:
      RetrieveError: it is none of them.
    """
    if value not in known:
        raise RetrieveError(
            f"{name} {value!r} is unknown", reason="invalid_parameter", hint=f"choose one of {', '.join(known)}"
        )
    return value


def check_number(name: str, value: Any, *, least: float | int = 0, most: float | int = math.inf) -> float:
    """Return a parameter that is a number within bounds.

    Args:
      name: what the message calls it.
      value: what came.
      least: the smallest.
      most: the largest; infinity itself is refused.

    Raises:
      RetrieveError: it is none, or beyond the bounds.
    """
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not least <= value <= most or value == math.inf:
        wanted = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
        raise RetrieveError(f"{name} must be a number {wanted}, got {value!r}", reason="invalid_parameter")
    return float(value)
