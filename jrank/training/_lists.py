"""Lists of texts as token ids, and batches of lists in few shapes."""

import dataclasses
import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jrank.errors import TrainError
from jrank.training._loop import epoch_order

__all__ = ["TextLists", "check_lists", "encode_lists", "epoch_batches", "gather", "length_widths", "widths_of"]

# Matrix products of whole vector registers; a finer step would only bring more shapes.
STEP = 16
# A further width must save this share of the padded tokens, and so many of them, or its compilation is not worth it:
# on two cores, a small encoder trains on about so many in the time that it takes to compile.
WORTH = 0.95
WORTH_TOKENS = 12_000


@dataclasses.dataclass(frozen=True, eq=False)
class TextLists:
    """Queries with their documents, as token ids.

    Attributes:
      ids: token ids of all pairs, one after the other.
      types: their token types.
      starts: where each pair begins in ``ids``, and the end of the last; ``[pairs + 1]``.
      first: the first pair of each list, and the end of the last; ``[lists + 1]``.
      labels: ``[pairs]``, float32; ``[pairs, outputs]`` where each pair has a number for each output of the model.
      pad_id: the id of the padding token.
    """

    ids: np.ndarray
    types: np.ndarray
    starts: np.ndarray
    first: np.ndarray
    labels: np.ndarray
    pad_id: int

    def __len__(self) -> int:
        return len(self.first) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each pair."""
        return np.diff(self.starts)

    @property
    def sizes(self) -> np.ndarray:
        """Documents of each list."""
        return np.diff(self.first)

    @property
    def widths(self) -> np.ndarray:
        """Tokens of the longest pair of each list."""
        return np.maximum.reduceat(self.lengths, self.first[:-1])


def encode_lists(
    lists: Iterable[Any],
    tokenizer: Any,
    *,
    max_length: int,
    list_size: int | None,
    name: str,
    outputs: int = 1,
) -> TextLists:
    """Tokenise lists.

    Args:
      lists: ``(query, documents, labels)``.
      tokenizer: a ``PairTokenizer``.
      max_length: most tokens of a pair.
      list_size: most documents of a list; those with the largest labels stay, in their order.
      name: what messages call the lists.
      outputs: of the model, see ``check_lists``.

    Returns:
      The lists.

    Raises:
      TrainError: there is no list, or one is empty, of unequal lengths, or has a label that is not what was expected.
      TypeError: an item is not a list of that form.
    """
    chosen = check_lists(lists, list_size=list_size, name=name, outputs=outputs)
    pairs = [(query, document) for query, documents, _ in chosen for document in documents]
    labels = [grade for _, _, grades in chosen for grade in grades]
    first = np.cumsum([0, *(len(documents) for _, documents, _ in chosen)])
    encoded = tokenizer.encode_pairs(pairs, max_length=max_length)
    return TextLists(
        ids=np.concatenate(encoded.ids).astype(np.int32),
        types=np.concatenate(encoded.type_ids).astype(np.int32),
        starts=np.concatenate([[0], np.cumsum(encoded.lengths)]).astype(np.int64),
        first=first.astype(np.int64),
        labels=np.array(labels, np.float32),
        pad_id=int(tokenizer.pad_id),
    )


def check_lists(
    lists: Iterable[Any], *, list_size: int | None, name: str, outputs: int = 1
) -> list[tuple[str, list[str], list[Any]]]:
    """Check lists, and keep the best of long ones.

    Args:
      lists: ``(query, documents, labels)``.
      list_size: most documents of a list; those with the largest labels stay, in their order. None keeps all. With
        several outputs the first ones stay.
      name: what messages call the lists.
      outputs: of the model. With 1 a label is a number; with more it is the number of a class, below ``outputs``, or a
        sequence of ``outputs`` numbers in [0, 1], throughout the one or the other.

    Returns:
      The lists.

    Raises:
      TrainError: there is no list, or one is empty, of unequal lengths, or has a label that is not what was expected.
      TypeError: an item is not a list of that form.
    """
    checked = []
    for number, item in enumerate(lists):
        query, documents, labels = _checked(item, f"{name}[{number}]", outputs)
        chosen: Sequence[int] = range(len(documents))
        if list_size is not None and len(documents) > list_size:
            by_grade = sorted(chosen, key=lambda i: -labels[i]) if outputs == 1 else chosen
            chosen = sorted(by_grade[:list_size])
        checked.append((query, [documents[i] for i in chosen], [labels[i] for i in chosen]))
    if not checked:
        raise TrainError(f"{name} holds no list", reason="empty_input")
    if len({isinstance(label, list) for _, _, labels in checked for label in labels}) > 1:
        raise TrainError(
            f"some labels of {name} are classes, others have a number for each output",
            reason="invalid_data",
            hint="choose one of the two",
        )
    return checked


def _checked(item: Any, name: str, outputs: int) -> tuple[str, Sequence[str], list[Any]]:
    if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 3:
        raise TypeError(f"{name} must be (query, documents, labels), got {type(item).__name__}")
    query, documents, labels = item
    if not isinstance(query, str):
        raise TypeError(f"the query of {name} must be a str, got {type(query).__name__}")
    if isinstance(documents, str) or not isinstance(documents, Sequence):
        raise TypeError(f"the documents of {name} must be a sequence of str, got {type(documents).__name__}")
    read = _grades if outputs == 1 else _classes
    values = read(labels, outputs)
    if values is None:
        wanted = "finite numbers"
        if outputs > 1:
            wanted = f"classes from 0 to {outputs - 1}, or {outputs} numbers from 0 to 1 each"
        raise TrainError(f"the labels of {name} must be {wanted}, got {list(labels)!r}", reason="invalid_data")
    if len(documents) != len(values):
        raise TrainError(f"{name} has {len(documents)} documents and {len(values)} labels", reason="invalid_data")
    if not documents:
        raise TrainError(f"{name} has no documents", reason="invalid_data", hint="leave such queries out")
    return query, documents, values


def _grades(labels: Any, outputs: int) -> list[float] | None:
    """Labels as numbers; None if one is not."""
    grades = [float(grade) for grade in labels if isinstance(grade, numbers.Real | np.generic)]
    return grades if len(grades) == len(labels) and all(map(math.isfinite, grades)) else None


def _classes(labels: Any, outputs: int) -> list[Any] | None:
    """Labels as classes, or as lists of a number for each output; None if one is neither."""
    found: list[Any] = []
    for label in labels:
        if isinstance(label, numbers.Real | np.generic):
            value = float(label)
            if not (0 <= value < outputs and value == int(value)):
                return None
            found.append(value)
            continue
        row = (
            _grades(label, outputs) if isinstance(label, Sequence | np.ndarray) and not isinstance(label, str) else None
        )
        if row is None or len(row) != outputs or not all(0 <= value <= 1 for value in row):
            return None
        found.append(row)
    return found


def length_widths(lengths: np.ndarray, shapes: int, limit: int, visits: float | int = math.inf) -> np.ndarray:
    """Choose the widths to pad to: at most so many, that cost the fewest padded tokens.

    Args:
      lengths: tokens of each list.
      shapes: how many widths at most. Fewer are taken where another saves less than a twentieth, or too few tokens.
      limit: the largest width allowed.
      visits: how many pairs of such a length are computed in all, for each of ``lengths``.

    Returns:
      The widths, ascending: multiples of 16, or ``limit``.

    Cost: O(shapes · (limit / 16)²).

    >>> length_widths(np.array([10, 12, 90, 91]), 2, 96).tolist()
    [16, 96]
    """
    rounded = np.minimum(-(-np.asarray(lengths) // STEP) * STEP, limit)
    grid, counts = np.unique(rounded, return_counts=True)
    total = np.concatenate([[0], np.cumsum(counts)])
    m = len(grid)
    # cost[j]: the fewest tokens for the lists of grid[:j] with as many widths as rounds; cuts: where the last begins.
    cost = np.where(np.arange(m + 1) == 0, 0.0, np.inf)
    cuts, totals = [], []
    for _ in range(min(shapes, m)):
        spans = cost[:, None] + (total[None, 1:] - total[:, None]) * grid[None, :].astype(float)
        spans = np.where(np.arange(m + 1)[:, None] <= np.arange(m)[None, :], spans, np.inf)
        cuts.append(np.argmin(spans, axis=0))
        cost = np.concatenate([[0.0], np.min(spans, axis=0)])
        totals.append(cost[-1])
    rounds = next(
        r
        for r in range(len(totals))
        if totals[r] * WORTH <= totals[-1] or (totals[r] - totals[-1]) * visits <= WORTH_TOKENS
    )
    widths, end = [], m
    for r in range(rounds, -1, -1):
        if end == 0:
            break
        widths.append(int(grid[end - 1]))
        end = int(cuts[r][end - 1])
    return np.array(sorted(widths))


def widths_of(lengths: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The index of the smallest width that holds each length.

    Args:
      lengths: tokens.
      widths: ascending; the last holds all.
    """
    return np.searchsorted(widths, np.minimum(lengths, widths[-1]))


def epoch_batches(bucket: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[tuple[int, np.ndarray]]:
    """Put the lists of an epoch into batches of one width each, in an order of the seed and the epoch.

    What is left over of a width goes to the next larger one, so an epoch always has ``ceil(lists / batch_size)``
    batches and holds every list once.

    Args:
      bucket: the index of the width of each list.
      batch_size: lists of a batch; the last batch of an epoch may have fewer.
      seed: the seed.
      epoch: the number of the epoch.

    Returns:
      For each batch the index of its width, and its lists.
    """
    order = epoch_order(len(bucket), seed, epoch)
    batches: list[tuple[int, np.ndarray]] = []
    rest = order[:0]
    last = int(bucket.max())
    for width in range(last + 1):
        rows = np.concatenate([rest, order[bucket[order] == width]])
        full = len(rows) if width == last else len(rows) // batch_size * batch_size
        batches += [(width, rows[start : start + batch_size]) for start in range(0, full, batch_size)]
        rest = rows[full:]
    # Another stream than that of the lists, or the order of the batches would follow from it.
    return [batches[i] for i in np.random.default_rng((seed, epoch, 1)).permutation(len(batches))]


def gather(
    lists: TextLists, rows: np.ndarray, *, lists_per_batch: int, list_size: int, width: int
) -> dict[str, np.ndarray]:
    """Pad some lists to a rectangle.

    Args:
      lists: all lists.
      rows: which.
      lists_per_batch: how many lists the batch shall have; the missing ones are masked.
      list_size: documents of a list; the missing ones are masked.
      width: tokens of a pair.

    Returns:
      "ids", "mask", "types" ``[lists_per_batch, list_size, width]`` int32, "labels" and "where"
      ``[lists_per_batch, list_size]``; "labels" with one more axis where a pair has several.
    """
    shape = (lists_per_batch, list_size, width)
    ids, mask, types = np.full(shape, lists.pad_id, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    labels = np.zeros(shape[:2] + lists.labels.shape[1:], np.float32)
    where = np.zeros(shape[:2], bool)
    for i, row in enumerate(rows):
        start, end = lists.first[row], lists.first[row + 1]
        labels[i, : end - start] = lists.labels[start:end]
        where[i, : end - start] = True
        for j, pair in enumerate(range(start, end)):
            a, b = lists.starts[pair], lists.starts[pair + 1]
            ids[i, j, : b - a] = lists.ids[a:b]
            types[i, j, : b - a] = lists.types[a:b]
            mask[i, j, : b - a] = 1
    return {"ids": ids, "mask": mask, "types": types, "labels": labels, "where": where}
