"""What a search returns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from jrank.errors import DataError
from jrank.runs._run import Run

__all__ = ["Hits"]


@dataclass(frozen=True, eq=False)
class Hits:
    """The best documents of each query, as rectangular arrays; a short list is padded.

    Iterating gives one list of ``(id, score)`` pairs per query, without the padding.

    Args:
      ids: ``[queries, k]`` object array; None at padding.
      scores: ``[queries, k]`` floats, largest first; -inf at padding.

    Raises:
      DataError: the two have different shapes, or are not two-dimensional.

    >>> hits = Hits(np.array([["d2", "d1"], ["d1", None]], object), np.array([[2.0, 1.0], [3.0, -np.inf]]))
    >>> list(hits)
    [[('d2', 2.0), ('d1', 1.0)], [('d1', 3.0)]]
    >>> hits.to_run(["q1", "q2"])["q2"]
    {'d1': 3.0}
    """

    ids: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "ids", np.asarray(self.ids, object))
        object.__setattr__(self, "scores", np.asarray(self.scores))
        if self.ids.ndim != 2 or self.ids.shape != self.scores.shape:
            raise DataError(
                f"ids of shape {self.ids.shape} and scores of shape {self.scores.shape}, "
                "expected [queries, k] for both",
                reason="malformed",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[list[tuple[str | int, float]]]:
        for row in range(len(self)):
            yield self[row]

    def __getitem__(self, row: int) -> list[tuple[str | int, float]]:
        pairs = zip(self.ids[row].tolist(), self.scores[row].tolist(), strict=True)
        return [(document, score) for document, score in pairs if document is not None]

    def to_run(self, query_ids: Sequence[str], *, name: str = "") -> Run:
        """Return the hits as a Run.

        Args:
          query_ids: one id per query.
          name: what the run is called.

        Raises:
          DataError: the number of ids is wrong, or an id comes twice.
        """
        return Run.from_arrays(list(query_ids), self.ids, self.scores, name=name)
