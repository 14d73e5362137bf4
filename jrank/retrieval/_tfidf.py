"""TF-IDF over the inverted index."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from jrank.retrieval._documents import check_choice
from jrank.retrieval._lexical import LexicalIndex, posting_terms
from jrank.retrieval._postings import Postings

__all__ = ["TfidfIndex"]

TF = {"log": lambda tf: 1 + np.log(tf), "linear": lambda tf: tf, "binary": np.ones_like}
IDF = {
    "standard": lambda n, df: np.log(n / df),
    "smoothed": lambda n, df: np.log1p((n - df + 0.5) / (df + 0.5)),
    "none": lambda n, df: np.ones(len(df)),
}


class TfidfIndex(LexicalIndex):
    r"""Lexical search by term frequency and inverse document frequency.

    .. math:: s(q, d) = \frac{1}{z_d} \sum_{t \in q \cap d} \mathrm{tf}(t, d)\,\mathrm{idf}(t)

    Args:
      analyzer: as for ``BM25Index``.
      tf: "log" is 1 + ln of the count, "linear" the count, "binary" 1.
      idf: "standard" is ln(n / df), "smoothed" ln(1 + (n - df + ½) / (df + ½)), "none" 1.
      norm: "none" has z = 1; "cosine" divides by the length of the document's vector of tf idf, so that long documents
        gain nothing.

    Raises:
      RetrieveError: a parameter is not one of these.

    Numerics: weights are computed in float64 and kept in float32. With "standard" a word in every document is worth 0.

    Cost: as for ``BM25Index``.

    References: Salton and Buckley (1988).

    >>> index = TfidfIndex.build(["red red fox", "red dog", "cat"], ids=["a", "b", "c"])
    >>> index.search(["red dog"], k=3).ids.tolist()
    [['b', 'a', None]]
    """

    kind: ClassVar[str] = "tfidf"

    def __init__(
        self,
        *,
        analyzer: Callable[[str], Sequence[str]] | None = None,
        tf: str = "log",
        idf: str = "standard",
        norm: str = "none",
    ):
        super().__init__(analyzer)
        self.tf = check_choice("tf", tf, TF)
        self.idf = check_choice("idf", idf, IDF)
        self.norm = check_choice("norm", norm, ("none", "cosine"))

    def _scoring(self) -> dict[str, Any]:
        return {"tf": self.tf, "idf": self.idf, "norm": self.norm}

    def _weigh(self, postings: Postings) -> np.ndarray:
        idf = IDF[self.idf](postings.num_documents, np.maximum(postings.document_frequency, 1))
        weights = TF[self.tf](postings.values.astype(np.float64)) * idf[posting_terms(postings)]
        if self.norm == "cosine":
            square = np.bincount(postings.documents, weights**2, postings.num_documents)
            weights /= np.sqrt(np.where(square > 0, square, 1))[postings.documents]
        return weights.astype(np.float32)
