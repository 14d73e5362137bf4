"""Token ids of many texts or pairs, before they are padded."""

import dataclasses

import numpy as np

__all__ = ["Encoded", "from_rows"]


@dataclasses.dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of several texts or pairs, ragged: nothing is padded yet.

    Attributes:
      ids: one int32 array per row, special tokens included.
      type_ids: one int32 array per row; 0 in the first text, and whatever the tokenizer gives the second.
      truncated: bool, per row: True where a part of the text was left out.
      lengths: int32, per row: the number of tokens.
      owners: int32, per row: the index of the pair that the row is a piece of; 0, 1, 2 … except for windows.
      max_length: the limit that the rows keep.
    """

    ids: list[np.ndarray]
    type_ids: list[np.ndarray]
    truncated: np.ndarray
    lengths: np.ndarray
    owners: np.ndarray
    max_length: int

    def __len__(self) -> int:
        return len(self.ids)


def from_rows(rows: list, truncated: np.ndarray, owners: np.ndarray, max_length: int) -> Encoded:
    """Put rows together.

    Args:
      rows: ids and type ids of each.
      truncated: whether a part of each was left out.
      owners: the pair that each belongs to.
      max_length: the limit that they keep.
    """
    ids = [row[0] for row in rows]
    return Encoded(
        ids,
        [row[1] for row in rows],
        truncated,
        np.array([len(row) for row in ids], np.int32),
        owners.astype(np.int32),
        int(max_length),
    )
