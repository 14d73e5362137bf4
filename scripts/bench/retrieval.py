"""Time retrieval in one process: python scripts/bench/retrieval.py (peers, where installed: bm25s, numba, faiss).

Collections are read from JRANK_DATA, or from ../shared/data beside the project; without them the embedded corpus is
used.
"""

import argparse
import gc
import os
import resource
import threading
from pathlib import Path

import _timing
import numpy as np

from jrank import data
from jrank.retrieval import BM25Index, DenseIndex


def collections(names):
    folder = Path(os.environ.get("JRANK_DATA", _timing.ROOT.parent / "shared" / "data")) / "ir"
    found = [folder / name for name in names if (folder / name).is_dir()]
    return [data.read_beir(path) for path in found] or [data.load_pydocs()]


def lexical(collection, k):
    """Indexing and searching, words included, against bm25s with NumPy and with numba."""
    documents, queries, rows = list(collection.documents), list(collection.queries), []
    index = BM25Index.build(documents)
    index.search(queries, k=k)

    def build():
        # A search, so that the postings are weighed.
        BM25Index.build(documents).search(queries[:1], k=1)

    builds, searches = {"ours": build}, {"ours": lambda: index.search(queries, k=k)}
    try:
        import bm25s
        import Stemmer
    except ModuleNotFoundError:
        bm25s = None
    if bm25s:
        stemmer = Stemmer.Stemmer("english")

        def words(texts):
            return bm25s.tokenize(texts, stemmer=stemmer, show_progress=False)

        def built(**options):
            peer = bm25s.BM25(**options)
            peer.index(words(documents), show_progress=False)
            return peer

        builds["bm25s"] = built
        peer = built()
        searches["bm25s"] = lambda: peer.retrieve(words(queries), k=k, show_progress=False)
        try:
            fast = built(backend="numba")
            fast.retrieve(words(queries), k=k, show_progress=False)
            searches["numba"] = lambda: fast.retrieve(words(queries), k=k, show_progress=False)
        except ImportError:
            pass
    times = _timing.in_turn(builds, repeats=3)
    name = f"{collection.name}, {len(documents)} documents"
    rows.append((f"{name}: index", times["ours"], times.get("bm25s")))
    times = _timing.in_turn(searches)
    asked = f"{collection.name}: {len(queries)} queries"
    rows.append((f"{asked}, bm25s with NumPy", times["ours"], times.get("bm25s")))
    rows.append((f"{asked}, bm25s with numba", times["ours"], times.get("numba")))
    return rows


def dense(count, dimensions, queries, k):
    """Exact search, against a plain product and sort by JAX, NumPy and faiss."""
    import jax
    from jax import lax

    rng = np.random.default_rng(0)
    vectors, asked = (rng.normal(size=(n, dimensions)).astype(np.float32) for n in (count, queries))
    calls = {}
    for dtype in ("float32", "bfloat16", "int8"):
        index = DenseIndex.build(vectors, metric="dot", dtype=dtype)
        calls[dtype] = lambda index=index: index.search(asked, k=k)
    placed = jax.device_put(vectors)
    plain = jax.jit(lambda q, v: lax.top_k(lax.dot(q, v.T, precision="highest"), k))
    calls["jax"] = lambda: [jax.device_get(plain(asked[i : i + 50], placed)) for i in range(0, queries, 50)]
    if jax.default_backend() == "cpu":
        calls["numpy"] = lambda: [
            np.argpartition(-(asked[i : i + 100] @ vectors.T), k, axis=1)[:, :k] for i in range(0, queries, 100)
        ]
        try:
            import faiss

            flat = faiss.IndexFlatIP(dimensions)
            flat.add(vectors)
            calls["faiss"] = lambda: flat.search(asked, k)
        except ModuleNotFoundError:
            pass
    times = _timing.in_turn(calls, repeats=5, settled=True)
    name = f"dense, {count} x {dimensions}, {queries} queries"
    rows = [(f"{name}, {peer}", times["float32"], times[peer]) for peer in ("jax", "numpy", "faiss") if peer in times]
    return rows + [
        (f"{name}, {dtype} (float32 as peer)", times[dtype], times["float32"]) for dtype in ("bfloat16", "int8")
    ]


def stream(count):
    """Memory of indexing a stream: the peak, and the finished index."""
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(50000)])

    def texts():
        for _ in range(count):
            yield " ".join(words[(rng.zipf(1.3, 80) - 1) % len(words)])

    def now():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    BM25Index.build(["warm up"]).search("warm", k=1)
    start, peak, done = now(), [0], threading.Event()

    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], now() - start)

    watcher = threading.Thread(target=watch)
    watcher.start()
    index = BM25Index.build(texts())
    index.search("w1", k=1)
    done.set()
    watcher.join()
    gc.collect()
    size = now() - start
    print(
        f"stream of {count} documents: index {size >> 20} MiB, peak {peak[0] >> 20} MiB, {peak[0] / size:.2f} times\n"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collections", nargs="*", default=["cranfield", "cisi", "med", "scifact"])
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument(
        "--dense", type=int, nargs=3, default=[100000, 384, 320], metavar=("DOCS", "DIMENSIONS", "QUERIES")
    )
    parser.add_argument("--stream", type=int, default=0, metavar="DOCS", help="also the memory of indexing a stream")
    options = parser.parse_args()
    if options.stream:
        stream(options.stream)
    rows = [row for collection in collections(options.collections) for row in lexical(collection, options.k)]
    rows += dense(*options.dense, options.k)
    _timing.report("Retrieval", rows)


if __name__ == "__main__":
    main()
