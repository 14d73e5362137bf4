"""BM25 and its variants over the inverted index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jrank.retrieval._documents import check_choice, check_number
from jrank.retrieval._lexical import LexicalIndex, posting_terms
from jrank.retrieval._postings import Postings

__all__ = ["BM25Index"]

# Postings that are weighed at a time.
BLOCK = 1 << 18


@dataclass(frozen=True)
class Variant:
    """One member of the family.

    Attributes:
      idf: what a term is worth, of the number of documents and of those that hold it.
      tf: what its occurrences are worth, of their number, the relative length of the document, k1 and delta.
      delta: the default of delta.
    """

    idf: Callable[[Any, Any], Any]
    tf: Callable[[Any, Any, float, float], Any]
    delta: float = 0.0


def _saturated(tf, length, k1, delta):
    return tf / (tf + k1 * length)


def _scaled(tf, length, k1, delta):
    return (k1 + 1) * tf / (tf + k1 * length)


def _shifted(tf, length, k1, delta):
    normed = tf / length + delta
    return (k1 + 1) * normed / (k1 + normed)


VARIANTS = {
    "lucene": Variant(lambda n, df: np.log1p((n - df + 0.5) / (df + 0.5)), _saturated),
    "robertson": Variant(lambda n, df: np.maximum(np.log((n - df + 0.5) / (df + 0.5)), 0.0), _saturated),
    "atire": Variant(lambda n, df: np.log(n / df), _scaled),
    "bm25l": Variant(lambda n, df: np.log((n + 1) / (df + 0.5)), _shifted, 0.5),
    "bm25+": Variant(lambda n, df: np.log((n + 1) / df), lambda *a: _scaled(*a) + a[-1], 1.0),
}


class BM25Index(LexicalIndex):
    r"""Lexical search: a document scores by the query's words in it, rare words more, repeated ones less and less.

    .. math:: s(q, d) = \sum_{t \in q \cap d} \mathrm{idf}(t)\,
        \frac{\mathrm{tf}(t, d)}{\mathrm{tf}(t, d) + k_1 (1 - b + b\,|d| / \overline{|d|})},\qquad
        \mathrm{idf}(t) = \ln\Bigl(1 + \frac{n - \mathrm{df}(t) + 1/2}{\mathrm{df}(t) + 1/2}\Bigr)

    That is the variant "lucene". With :math:`L = 1 - b + b|d|/\overline{|d|}` the others are

    ============= ===================================== ==========================================================
    variant       idf                                   occurrences
    ============= ===================================== ==========================================================
    "robertson"   max(0, ln((n - df + ½) / (df + ½)))   tf / (tf + k1 L)
    "atire"       ln(n / df)                            (k1 + 1) tf / (tf + k1 L)
    "bm25l"       ln((n + 1) / (df + ½))                (k1 + 1)(tf/L + delta) / (k1 + tf/L + delta)
    "bm25+"       ln((n + 1) / df)                      (k1 + 1) tf / (tf + k1 L) + delta
    ============= ===================================== ==========================================================

    each summed over the words that the document holds; a word that stands twice in the query counts twice.

    Documents are texts or lists of terms; queries are these too, or mappings from terms, as the analyzer gives them, to
    weights.

    Args:
      analyzer: what cuts texts into words; None is ``jrank.text.Analyzer()``, English with stemming. Any function from
        a string to a list of strings will do.
      variant: see the table.
      k1: how soon repeated words stop to count; 0 counts presence only.
      b: how much long documents are discounted, from 0 to 1.
      delta: what a present word is worth at least; None is 0.5 for "bm25l" and 1 for "bm25+". The others have none.

    Raises:
      RetrieveError: a parameter is not one of these.

    Numerics: weights are computed in float64 and kept in float32. A word in every document is worth 0 in "atire", and
    one in half of them or more in "robertson"; documents that share nothing else with the query are not found.

    Cost: 12 bytes for each pair of document and word. Every weight is computed once, not at each search.

    References: Robertson and Zaragoza (2009); Lv and Zhai (2011) for "bm25l" and "bm25+"; Kamphuis et al. (2020).

    >>> index = BM25Index.build(["the red fox", "a dog and a fox", "two dogs"], ids=["a", "b", "c"])
    >>> index.search(["red foxes", "cats"], k=2).ids.tolist()
    [['a', 'b'], [None, None]]
    """

    kind: ClassVar[str] = "bm25"

    def __init__(
        self,
        *,
        analyzer: Callable[[str], Sequence[str]] | None = None,
        variant: str = "lucene",
        k1: float | int = 1.5,
        b: float | int = 0.75,
        delta: float | int | None = None,
    ):
        super().__init__(analyzer)
        self.variant = check_choice("variant", variant, VARIANTS)
        self.k1 = check_number("k1", k1)
        self.b = check_number("b", b, most=1)
        self.delta = VARIANTS[variant].delta if delta is None else check_number("delta", delta)

    def _scoring(self) -> dict[str, Any]:
        return {"variant": self.variant, "k1": self.k1, "b": self.b, "delta": self.delta}

    def _weigh(self, postings: Postings) -> np.ndarray:
        variant, n = VARIANTS[self.variant], postings.num_documents
        df = postings.document_frequency
        idf = variant.idf(n, np.maximum(df, 1))
        mean = max(postings.lengths.mean(), 1e-9) if n else 1.0
        length = 1 - self.b + self.b * postings.lengths / mean
        weights = np.empty(len(postings.documents), np.float32)
        for low in range(0, len(weights), BLOCK):
            part = slice(low, low + BLOCK)
            term = posting_terms(postings, low, low + BLOCK)
            tf = variant.tf(postings.values[part], length[postings.documents[part]], self.k1, self.delta)
            weights[part] = idf[term] * tf
        return weights
