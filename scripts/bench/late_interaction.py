"""Quality and size of late interaction on a collection: python scripts/bench late_interaction scifact.

Token embeddings come from all-MiniLM-L6-v2, which was not trained for late interaction. Encoding takes minutes and is
kept in ``.cache/late-interaction``; ``--encode 500`` encodes that many documents more and stops. The collections are
those beside the project (``JRANK_DATA``). Vectors of [CLS], [SEP] and punctuation are left out of documents.
"""

import argparse
import functools
import json
import os
import time
from pathlib import Path

import numpy as np
from _timing import ROOT

PART = 500


def data_root():
    """Where the collections lie."""
    return Path(os.environ.get("JRANK_DATA", ROOT.parent / "shared" / "data"))


def read(name):
    """Ids and texts of the documents, ids and texts of the judged queries, and the judgements."""
    from jrank import data

    return data.read_beir(data_root() / "ir" / name)


def parts(name, kind, ids, texts, keep_special, limit=None):
    """Encode texts part by part into the cache; return the files, or None if ``limit`` stopped it."""
    from jrank.models import TextEncoder

    folder = ROOT / ".cache" / "late-interaction" / name
    folder.mkdir(parents=True, exist_ok=True)
    encoder, made, files = None, 0, []
    for low in range(0, len(ids), PART):
        path = folder / f"{kind}-{low:06d}.npz"
        files.append(path)
        if path.is_file():
            continue
        if limit is not None and made >= limit:
            return None
        encoder = encoder or TextEncoder.from_pretrained()
        some = texts[low : low + PART]
        start = time.perf_counter()
        pooled, tokens = encoder.encode(some, tokens=True, special_tokens=keep_special)
        rows = encoder.tokenizer.encode_texts(some, max_length=256)
        edge = 0 if keep_special else 1
        words = [encoder.tokenizer.tokens(row[edge : len(row) - edge]) for row in rows.ids]
        skip = np.concatenate([[not any(c.isalnum() for c in w) for w in line] or [False][:0] for line in words])
        np.savez(
            path.with_suffix(".part.npz"),
            tokens=np.concatenate(tokens).astype(np.float16),
            lengths=np.array([len(t) for t in tokens]),
            skip=skip.astype(bool),
            pooled=pooled,
        )
        os.replace(path.with_suffix(".part.npz"), path)
        made += len(some)
        print(f"{path.name}: {len(some)} texts in {time.perf_counter() - start:.0f} s", flush=True)
    return files


def load(files):
    """Token vectors of each text without punctuation and special tokens, and one vector for each text."""
    matrices, pooled = [], []
    for path in files:
        with np.load(path) as part:
            ends = np.cumsum(part["lengths"])[:-1]
            tokens, skip = np.split(part["tokens"], ends), np.split(part["skip"], ends)
            special = "docs" in path.name
            matrices += [t[1:-1][~s[1:-1]] if special else t for t, s in zip(tokens, skip, strict=True)]
            pooled.append(part["pooled"])
    return [matrix.astype(np.float32) for matrix in matrices], np.concatenate(pooled)


def pooled(documents, factor, method, protected):
    """Documents with fewer tokens."""
    from jrank import maxsim

    return [np.asarray(maxsim.pool(x, factor, method=method, protected=protected)) if len(x) else x for x in documents]


def compressions(documents, methods):
    """Ways to store documents: name, a function that gives the documents, and the type of the index."""
    for dtype in ("float32", "bfloat16", "int8", "2bit", "1bit"):
        yield dtype, lambda: documents, dtype
    for method in methods:
        for factor, protected in ((2, 0), (2, 1), (4, 0)):
            name = f"pooled x{factor}, {method}" + (", first token protected" if protected else "")
            yield name, functools.partial(pooled, documents, factor, method, protected), "float32"
    for dtype in ("int8", "2bit"):
        yield f"pooled x2, hierarchical, {dtype}", lambda: pooled(documents, 2, "hierarchical", 0), dtype


def truncated(documents, queries, found, collection, score):
    """The first dimensions alone, then refined with the others: rows as those of ``compressions``."""
    from jrank import evaluate, maxsim
    from jrank.retrieval import MultiVectorIndex

    everything = MultiVectorIndex.build(documents, collection.doc_ids)
    for kept in (192, 96):

        def cut(matrices, kept=kept):
            return [np.asarray(maxsim.truncate(x, kept)) if len(x) else x[:, :kept] for x in matrices]

        index = MultiVectorIndex.build(cut(documents), collection.doc_ids)
        first = index.search(cut(queries), 50, candidates=found)
        yield f"first {kept} dimensions", kept / 384, score(first)
        run = {}
        for place, query in enumerate(queries):
            names = [name for name in first.ids[place] if name is not None]
            matrices = everything.vectors(names)
            width = -(-max(map(len, matrices)) // 128) * 128
            docs = np.stack([np.pad(x, ((0, width - len(x)), (0, 0))) for x in matrices])
            where = np.arange(width) < np.array([[len(x)] for x in matrices])
            coarse = np.asarray(first.scores[place][: len(names)]) / len(query)
            fine = maxsim.refine(coarse, query, docs, alpha=0.5, skip=kept, doc_where=where)
            run[collection.query_ids[place]] = dict(zip(names, np.asarray(fine).tolist(), strict=True))
        value = evaluate(collection.qrels, run, ["ndcg@10"])["ndcg@10"]
        yield f"first {kept} dimensions, the best 50 refined with the rest", 1.0, value


def main():
    """Measure and print."""
    from jrank import evaluate
    from jrank.retrieval import DenseIndex, MultiVectorIndex

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("collection", nargs="?", default="scifact")
    parser.add_argument("--encode", type=int, help="encode so many documents more, then stop")
    parser.add_argument("--depth", type=int, default=100, help="candidates of the dense stage; 0 scores all documents")
    parser.add_argument("--only", nargs="*", help="names of compressions")
    parser.add_argument("--pool", nargs="*", default=["sequential", "greedy", "hierarchical", "adaptive"])
    parser.add_argument("--truncate", action="store_true", help="also the first dimensions alone, and refined")
    options = parser.parse_args()
    collection = read(options.collection)
    query_files = parts(options.collection, "queries", collection.query_ids, list(collection.queries), False)
    files = parts(
        options.collection, "docs", collection.doc_ids, list(collection.documents), True, limit=options.encode
    )
    if files is None:
        return
    queries, query_vectors = load(query_files)
    documents, vectors = load(files)
    dense = DenseIndex.build(vectors, collection.doc_ids)
    found = dense.search(query_vectors, options.depth or 100)
    base = evaluate(collection.qrels, found.to_run(collection.query_ids), ["ndcg@10"])["ndcg@10"]
    tokens = sum(map(len, documents))
    print(f"{options.collection}: {len(documents)} documents, {tokens} tokens; dense alone {base:.4f}", flush=True)
    print("| stored as | bytes of a document | NDCG@10 | change | s for all queries |")
    print("|:--|--:|--:|--:|--:|")
    rows, first = [], None
    for name, make, dtype in compressions(documents, options.pool):
        if options.only and not any(name.startswith(some) for some in options.only):
            continue
        stored = make()
        index = MultiVectorIndex.build(stored, collection.doc_ids, dtype=dtype)
        index.search(queries[:1], 10, candidates=[found.ids[0].tolist()] if options.depth else None)
        start = time.perf_counter()
        hits = index.search(queries, 10, candidates=found if options.depth else None)
        taken = time.perf_counter() - start
        value = evaluate(collection.qrels, hits.to_run(collection.query_ids), ["ndcg@10"])["ndcg@10"]
        first = value if first is None else first
        width = {"float32": 4, "bfloat16": 2, "int8": 1, "2bit": 1 / 4, "1bit": 1 / 8}[dtype]
        beside = {"int8": 4, "2bit": 2, "1bit": 4}.get(dtype, 0)
        size = sum(map(len, stored)) * (384 * width + beside) / len(stored)
        print(f"| {name} | {size:.0f} | {value:.4f} | {value - first:+.4f} | {taken:.1f} |", flush=True)
        rows.append({"stored": name, "bytes": size, "ndcg@10": value, "seconds": taken})
    if options.truncate:

        def score(hits):
            return evaluate(collection.qrels, hits.to_run(collection.query_ids), ["ndcg@10"])["ndcg@10"]

        for name, share, value in truncated(documents, queries, found, collection, score):
            size = share * tokens * 384 * 4 / len(documents)
            print(f"| {name} | {size:.0f} | {value:.4f} | {value - (first or value):+.4f} | |", flush=True)
            rows.append({"stored": name, "bytes": size, "ndcg@10": value})
    print("\n" + json.dumps({"collection": options.collection, "depth": options.depth, "dense": base, "rows": rows}))


if __name__ == "__main__":
    main()
