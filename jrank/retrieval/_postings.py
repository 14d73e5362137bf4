"""Postings: for each term, the documents that hold it and how often, in one compressed matrix."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Postings", "compressed", "keep_documents", "merge_postings", "postings_from_rows"]


@dataclass(frozen=True, eq=False)
class Postings:
    """A matrix of terms by documents in compressed rows: row t holds the documents with term t in ascending order.

    Attributes:
      starts: int64, ``[terms + 1]``; the postings of term t are ``starts[t]:starts[t + 1]``.
      documents: int32, the document of each posting.
      values: the number or weight of the term in the document.
      lengths: int64, ``[documents]``; the number of terms of each document, repeated ones counted.
    """

    starts: np.ndarray
    documents: np.ndarray
    values: np.ndarray
    lengths: np.ndarray

    @property
    def num_terms(self) -> int:
        """How many terms there are."""
        return len(self.starts) - 1

    @property
    def num_documents(self) -> int:
        """How many documents there are."""
        return len(self.lengths)

    @property
    def document_frequency(self) -> np.ndarray:
        """In how many documents each term stands, ``[terms]``."""
        return np.diff(self.starts)


def compressed(values: np.ndarray, columns: np.ndarray, bounds: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Return a SciPy matrix over arrays that stay as they are.

    Args:
      values: the entries.
      columns: their columns, int32.
      bounds: where each row begins, and the end of the last.
      shape: rows and columns.

    Returns:
      The matrix, with indices of 32 bits where they suffice: SciPy takes the larger type of the two, and a product of
      matrices with different ones would copy.
    """
    narrow = np.int32 if len(columns) < 2**31 and max(shape) < 2**31 else np.int64
    return sparse.csr_array((values, columns.astype(narrow, copy=False), bounds.astype(narrow)), shape=shape)


def postings_from_rows(
    terms: np.ndarray, lengths: np.ndarray, num_terms: int, values: np.ndarray | None = None
) -> Postings:
    """Turn documents, as lists of term numbers, into postings.

    Args:
      terms: int32, the terms of all documents, one document after the other.
      lengths: how many terms each document has.
      num_terms: how many terms there are.
      values: the weight of each term; None counts how often a term stands in a document.

    Returns:
      The postings; equal terms of one document are added up.

    Cost: linear, by two counting sorts.
    """
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    data = np.ones(len(terms), np.int32) if values is None else values
    columns = compressed(data, terms, bounds, (len(lengths), num_terms)).tocsc()
    columns.sum_duplicates()
    return Postings(
        columns.indptr.astype(np.int64),
        # Copies: what adding up left behind are views of longer arrays.
        columns.indices.astype(np.int32),
        columns.data.copy(),
        np.asarray(lengths, np.int64),
    )


def merge_postings(parts: list[Postings], num_terms: int) -> Postings:
    """Join the postings of disjoint sets of documents; the documents of a later part come after those of earlier ones.

    Args:
      parts: the first terms are the same in all, later parts may know more. The list is emptied on the way, so that no
        posting is held twice for long.
      num_terms: how many terms the result has.

    Returns:
      The postings of all documents.

    Cost: linear; the memory of the result and of a few parts, where nobody else holds them.
    """
    if not parts:
        none = np.zeros(0, np.int32)
        return Postings(np.zeros(num_terms + 1, np.int64), none, none, np.zeros(0, np.int64))
    if len(parts) == 1 and parts[0].num_terms == num_terms:
        return parts.pop()
    starts = np.zeros(num_terms + 1, np.int64)
    for part in parts:
        starts[1 : part.num_terms + 1] += part.document_frequency
    np.cumsum(starts, out=starts)
    lengths = np.concatenate([part.lengths for part in parts])
    documents = np.empty(starts[-1], np.int32)
    values = np.empty(starts[-1], np.result_type(*{part.values.dtype for part in parts}))
    free, first = starts[:-1].copy(), 0
    parts.reverse()
    while parts:
        part = parts.pop()
        counts = part.document_frequency
        # Every run of equal terms moves as one piece: to where the term's free space begins.
        place = np.repeat(free[: part.num_terms] - part.starts[:-1], counts)
        place += np.arange(len(place))
        documents[place] = part.documents + np.int32(first)
        values[place] = part.values
        free[: part.num_terms] += counts
        first += part.num_documents
        del part
    return Postings(starts, documents, values, lengths)


def keep_documents(postings: Postings, keep: np.ndarray) -> Postings:
    """Drop documents and number the others anew, in their order.

    Args:
      postings: the postings.
      keep: bool, ``[documents]``.

    Returns:
      What a build from the kept documents would give, over the same terms.
    """
    number = np.cumsum(keep, dtype=np.int32) - 1
    stay = keep[postings.documents]
    kept = np.concatenate([[0], np.cumsum(stay)])
    return Postings(
        kept[postings.starts],
        number[postings.documents[stay]],
        postings.values[stay],
        postings.lengths[keep],
    )
