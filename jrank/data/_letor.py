"""Learning-to-rank data in the LETOR or svmlight format: ``label qid:Q i:v i:v … # comment``."""

import math
import os
from dataclasses import dataclass

import numpy as np

from jrank.errors import DataError
from jrank.files import read_lines

__all__ = ["RankingData", "read_letor"]

MAX_NUMBERS = 1 << 31


@dataclass(frozen=True, eq=False)
class RankingData:
    """Lists of items with features and labels, one list per query, one after the other.

    Attributes:
      features: float32, ``[items, features]``.
      labels: float32, ``[items]``.
      offsets: int64, ``[queries + 1]``; list i is ``offsets[i]:offsets[i + 1]``.
      query_ids: one per list.
    """

    features: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    query_ids: list[str]

    def __len__(self) -> int:
        return len(self.query_ids)

    def __repr__(self) -> str:
        items, width = self.features.shape
        return f"RankingData({len(self)} queries, {items} items, {width} features)"

    @property
    def lengths(self) -> np.ndarray:
        """The number of items of each list, ``[queries]``."""
        return np.diff(self.offsets)

    @property
    def segments(self) -> np.ndarray:
        """The list that each item belongs to, int32, ``[items]``: the ``segments=`` of losses and metrics."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.lengths)

    def take(self, queries: np.ndarray | list[int]) -> "RankingData":
        """Return some of the lists.

        Args:
          queries: their places.
        """
        queries = np.asarray(queries, np.int64)
        sizes = self.lengths[queries]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.repeat(self.offsets[queries] - offsets[:-1], sizes) + np.arange(offsets[-1])
        names = [self.query_ids[i] for i in queries]
        return RankingData(self.features[rows], self.labels[rows], offsets, names)

    def padded(self, length: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return rectangular arrays.

        Args:
          length: items per list; None is the longest list. Longer lists are refused.

        Returns:
          Features ``[queries, length, features]``, labels ``[queries, length]``, and ``where``, True at items.

        Raises:
          DataError: a list is longer than ``length``.
        """
        longest = int(self.lengths.max(initial=0))
        length = longest if length is None else length
        if longest > length:
            raise DataError(
                f"a list has {longest} items, more than {length}",
                reason="too_large",
                hint="raise length or use segments",
            )
        where = np.arange(length) < self.lengths[:, None]
        features = np.zeros((*where.shape, self.features.shape[1]), np.float32)
        labels = np.zeros(where.shape, np.float32)
        features[where], labels[where] = self.features, self.labels
        return features, labels, where


def read_letor(
    path: str | os.PathLike, *, sizes: str | os.PathLike | None = None, num_features: int | None = None
) -> RankingData:
    """Read lists of items with features and labels.

    Args:
      path: a file with a line ``label qid:Q i:v i:v …`` per item; what follows a ``#`` is left out, and features that
        are not named are 0. ``.gz`` is decompressed.
      sizes: a file with the number of items of each list, for data without ``qid``, as LightGBM has it.
      num_features: how many features there are; None is the largest number in the file. Numbers count from 1, unless
        the file names a feature 0.

    Returns:
      The lists, in the order of the file.

    Raises:
      DataError: a line has another form, a number is not finite, the items of a query do not stand together, or the
        sizes do not add up; the message names the line.

    Cost: memory for the dense matrix of features.
    """
    labels, names, counts, places, values, lines = [], [], [], [], [], []
    for number, line in read_lines(path):
        tokens = line.partition("#")[0].split()
        if not tokens:
            continue
        place = f"{path}, line {number}"
        has_query = len(tokens) > 1 and tokens[1].startswith("qid:")
        if has_query is (sizes is not None):
            expected = "without qid, since sizes= is given" if has_query else "label qid:Q i:v …"
            raise DataError(
                f"{place}: expected {expected}, got {line[:40]!r}",
                reason="malformed",
                hint="" if has_query else "pass sizes= for data without qid",
            )
        pairs = tokens[2:] if has_query else tokens[1:]
        cells = [pair.split(":") for pair in pairs]
        if any(len(cell) != 2 for cell in cells):
            raise DataError(f"{place}: a feature must be written i:v", reason="malformed")
        try:
            labels.append(float(tokens[0]))
            places += [int(cell[0]) for cell in cells]
            values += [float(cell[1]) for cell in cells]
        except ValueError as error:
            raise DataError(f"{place}: {error}", reason="malformed", hint="a line is: label qid:Q i:v i:v …") from None
        names.append(tokens[1][4:] if has_query else "")
        counts.append(len(pairs))
        lines.append(number)
    if not labels:
        raise DataError(f"{path} is empty", reason="empty", hint="expected lines of the form: label qid:Q i:v i:v …")
    offsets, query_ids = _lists(path, names, lines) if sizes is None else _sizes(sizes, len(labels))
    rows = np.repeat(np.arange(len(labels)), counts)
    features = _dense(path, rows, places, values, len(labels), num_features, lines)
    target = np.array(labels, np.float64)
    if not np.isfinite(target).all():
        bad = int(np.flatnonzero(~np.isfinite(target))[0])
        raise DataError(f"{path}, line {lines[bad]}: the label is not finite", reason="invalid_value")
    return RankingData(features, target.astype(np.float32), offsets, query_ids)


def _lists(path: str | os.PathLike, names: list[str], lines: list[int]) -> tuple[np.ndarray, list[str]]:
    starts = [0] + [i for i in range(1, len(names)) if names[i] != names[i - 1]]
    seen: set[str] = set()
    for start in starts:
        if names[start] in seen:
            raise DataError(
                f"{path}, line {lines[start]}: items of the query {names[start]!r} stand in two places",
                reason="malformed",
                hint="sort the file by query",
            )
        seen.add(names[start])
    return np.array([*starts, len(names)], np.int64), [names[start] for start in starts]


def _sizes(path: str | os.PathLike, count: int) -> tuple[np.ndarray, list[str]]:
    sizes = []
    for number, line in read_lines(path):
        if not line.strip():
            continue
        if not line.strip().isdecimal():
            raise DataError(
                f"{path}, line {number}: expected the size of a list, got {line[:40]!r}", reason="malformed"
            )
        sizes.append(int(line))
    if sum(sizes) != count:
        raise DataError(f"{path}: the lists have {sum(sizes)} items, the data {count}", reason="malformed")
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), [str(i + 1) for i in range(len(sizes))]


def _dense(
    path: str | os.PathLike,
    rows: np.ndarray,
    places: list[int],
    values: list[float],
    count: int,
    num_features: int | None,
    lines: list[int],
) -> np.ndarray:
    def refuse(bad: np.ndarray, what: str) -> None:
        if bad.any():
            raise DataError(f"{path}, line {lines[rows[np.flatnonzero(bad)[0]]]}: {what}", reason="invalid_value")

    try:
        columns = np.array(places, np.int64)
    except OverflowError:
        raise DataError(f"{path}: a feature number needs more than 64 bits", reason="invalid_value") from None
    numbers = np.array(values, np.float64)
    refuse(~np.isfinite(numbers), "a value is not finite")
    refuse(columns < 0, "a feature has a negative number")
    first = 0 if (columns == 0).any() else 1
    columns -= first
    width = int(columns.max(initial=-1)) + 1 if num_features is None else num_features
    refuse(columns >= width, f"a feature has a number beyond {width - 1 + first}")
    if count * width > MAX_NUMBERS:
        raise DataError(
            f"{path}: {count} items by {width} features need {4 * math.prod((count, width)) >> 20} MiB",
            reason="too_large",
            hint="number the features without gaps, or split the file",
        )
    flat = rows * width + columns
    ordered = np.sort(flat)
    if (ordered[1:] == ordered[:-1]).any():
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise DataError(
            f"{path}, line {lines[twice // width]}: the feature {twice % width + first} comes twice", reason="duplicate"
        )
    features = np.zeros(count * width, np.float32)
    features[flat] = numbers
    return features.reshape(count, width)
