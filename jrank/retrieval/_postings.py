"""Postings: for each term, the documents that hold it and how often, in one compressed matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["Postings", "keep_documents", "merge_postings", "postings_from_rows"]


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
    rows = sparse.csr_array((data, terms, bounds), shape=(len(lengths), num_terms))
    columns = rows.tocsc()
    columns.sum_duplicates()
    return Postings(
        columns.indptr.astype(np.int64),
        columns.indices.astype(np.int32, copy=False),
        columns.data,
        np.asarray(lengths, np.int64),
    )


def merge_postings(parts: Sequence[Postings], num_terms: int) -> Postings:
    """Join the postings of disjoint sets of documents; the documents of a later part come after those of earlier ones.

    Args:
      parts: the first terms are the same in all, later parts may know more.
      num_terms: how many terms the result has.

    Returns:
      The postings of all documents.

    Cost: linear; beyond parts and result, the memory of one part.
    """
    if not parts:
        none = np.zeros(0, np.int32)
        return Postings(np.zeros(num_terms + 1, np.int64), none, none, np.zeros(0, np.int64))
    if len(parts) == 1 and parts[0].num_terms == num_terms:
        return parts[0]
    counts = np.zeros((len(parts), num_terms), np.int64)
    for row, part in zip(counts, parts, strict=True):
        row[: part.num_terms] = part.document_frequency
    starts = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    documents = np.empty(starts[-1], np.int32)
    values = np.empty(starts[-1], np.result_type(*(part.values for part in parts)))
    free, first = starts[:-1].copy(), 0
    for row, part in zip(counts, parts, strict=True):
        # Every run of equal terms moves as one piece: to where the term's free space begins.
        place = np.repeat(free[: part.num_terms] - part.starts[:-1], row[: part.num_terms])
        place += np.arange(len(place))
        documents[place] = part.documents + np.int32(first)
        values[place] = part.values
        free += row
        first += part.num_documents
    return Postings(starts, documents, values, np.concatenate([part.lengths for part in parts]))


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
