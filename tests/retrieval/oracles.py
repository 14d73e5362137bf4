"""Scores and rankings of lexical search, written out word by word."""

import math

import numpy as np

IDF = {
    "lucene": lambda n, df: math.log(1 + (n - df + 0.5) / (df + 0.5)),
    "robertson": lambda n, df: max(0.0, math.log((n - df + 0.5) / (df + 0.5))),
    "atire": lambda n, df: math.log(n / df),
    "bm25l": lambda n, df: math.log((n + 1) / (df + 0.5)),
    "bm25+": lambda n, df: math.log((n + 1) / df),
}


def occurrences(variant, tf, length, k1, delta):
    if variant in ("lucene", "robertson"):
        return tf / (k1 * length + tf)
    if variant == "bm25l":
        c = tf / length + delta
        return (k1 + 1) * c / (k1 + c)
    return (k1 + 1) * tf / (k1 * length + tf) + (delta if variant == "bm25+" else 0)


def bm25(documents, queries, variant="lucene", k1=1.5, b=0.75, delta=None):
    """Return float64 scores, [queries, documents]."""
    delta = {"bm25l": 0.5, "bm25+": 1.0}.get(variant, 0.0) if delta is None else delta
    n = len(documents)
    mean = sum(map(len, documents)) / max(n, 1)
    scores = np.zeros((len(queries), n))
    for row, query in enumerate(queries):
        for term in query:
            df = sum(term in document for document in documents)
            for column, document in enumerate(documents):
                tf = document.count(term)
                if tf:
                    length = 1 - b + b * len(document) / mean
                    scores[row, column] += IDF[variant](n, df) * occurrences(variant, tf, length, k1, delta)
    return scores


def ranking(scores, k, found=None):
    """Return columns and scores of the k best found entries of a row: the earlier column first among equals."""
    found = scores != 0 if found is None else found
    order = sorted(np.flatnonzero(found), key=lambda i: (-scores[i], i))[:k]
    columns = order + [-1] * (k - len(order))
    return columns, [scores[i] if i >= 0 else -np.inf for i in columns]


def ndcg(qrels, ids, k=10):
    """Return the mean NDCG@k with linear gains, of ids [queries, k'] and a list of judgments per query."""
    values = []
    for judged, row in zip(qrels, ids, strict=True):
        gains = [max(judged.get(i, 0), 0) for i in row[:k] if i is not None]
        ideal = sorted((g for g in judged.values() if g > 0), reverse=True)[:k]
        dcg, best = (sum(g / math.log2(r + 2) for r, g in enumerate(row)) for row in (gains, ideal))
        values.append(dcg / best if best else 0.0)
    return float(np.mean(values))
