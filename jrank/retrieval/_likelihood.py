"""Query likelihood: language models of documents over the inverted index."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from jrank.retrieval._documents import check_choice, check_number
from jrank.retrieval._inverted import Snapshot
from jrank.retrieval._lexical import LexicalIndex, posting_terms
from jrank.retrieval._postings import Postings

__all__ = ["QueryLikelihoodIndex"]


class QueryLikelihoodIndex(LexicalIndex):
    r"""Lexical search by the probability that the document's language model gives to the query.

    .. math:: s(q, d) = \sum_{t \in q} \ln p(t \mid d),\qquad
        p(t \mid d) = \frac{\mathrm{tf}(t, d) + \mu\,p(t)}{|d| + \mu} \quad\text{or}\quad
        \lambda \frac{\mathrm{tf}(t, d)}{|d|} + (1 - \lambda)\,p(t)

    with p(t) the share of the word among all words of the collection. Words that no document holds are left out.

    Args:
      analyzer: as for ``BM25Index``.
      smoothing: "dirichlet" (the first form) or "jelinek-mercer" (the second).
      mu: for "dirichlet", how many words the collection's model counts for; above 0.
      lam: for "jelinek-mercer", the weight of the document's own words, above 0 and below 1.

    Raises:
      RetrieveError: a parameter is not one of these.

    Numerics: scores are logarithms, so they are negative, and larger is better. ``search`` finds documents that share a
    word with the query, as all indexes here do; ``scores`` has the value for all others too.

    Cost: as for ``BM25Index``.

    References: Ponte and Croft (1998); Zhai and Lafferty (2001).

    >>> index = QueryLikelihoodIndex.build([["a", "a", "b"], ["b", "c"]], smoothing="jelinek-mercer")
    >>> index.scores([["a"]]).round(4).tolist()  # ln(1/2 · 2/3 + 1/2 · 2/5), ln(1/2 · 2/5)
    [[-0.6286..., -1.609...]]
    """

    kind: ClassVar[str] = "likelihood"

    def __init__(
        self,
        *,
        analyzer: Callable[[str], Sequence[str]] | None = None,
        smoothing: str = "dirichlet",
        mu: float | int = 1000.0,
        lam: float | int = 0.5,
    ):
        super().__init__(analyzer)
        self.smoothing = check_choice("smoothing", smoothing, ("dirichlet", "jelinek-mercer"))
        self.mu = check_number("mu", mu, least=1e-6)
        self.lam = check_number("lam", lam, least=1e-6, most=1 - 1e-6)

    def _scoring(self) -> dict[str, Any]:
        return {"smoothing": self.smoothing, "mu": self.mu, "lam": self.lam}

    def _weigh(self, postings: Postings) -> np.ndarray:
        """Return ln p(t | d) less what it would be without the word."""
        share = _shares(postings)[posting_terms(postings)]
        if self.smoothing == "dirichlet":
            ratio = postings.values / (self.mu * share)
        else:
            ratio = self.lam * postings.values / (postings.lengths[postings.documents] * (1 - self.lam) * share)
        return np.log1p(ratio).astype(np.float32)

    def _background(self, postings: Postings) -> tuple[np.ndarray, np.ndarray]:
        """Return ln p(t) of each term, and for each document what every word of the query adds beside."""
        share = _shares(postings)
        logs = np.log(np.where(share > 0, share, 1))
        if self.smoothing == "dirichlet":
            return logs, np.log(self.mu / (postings.lengths + self.mu)).astype(np.float32)
        return logs + np.log(1 - self.lam), np.zeros(postings.num_documents, np.float32)

    def _offsets(self, snapshot: Snapshot, rows: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logs, add = snapshot.background
        known = np.asarray(rows.data, np.float64) * (snapshot.postings.document_frequency[rows.indices] > 0)
        start = np.concatenate([[0.0], np.cumsum(known * logs[rows.indices])])
        scale = np.concatenate([[0.0], np.cumsum(known)])
        low, high = rows.indptr[:-1], rows.indptr[1:]
        return (start[high] - start[low]).astype(np.float32), (scale[high] - scale[low]).astype(np.float32), add


def _shares(postings: Postings) -> np.ndarray:
    """Return the share of each term among all words of the collection."""
    total = np.concatenate([[0], np.cumsum(postings.values, dtype=np.int64)])[postings.starts]
    return np.diff(total) / max(int(postings.lengths.sum()), 1)
