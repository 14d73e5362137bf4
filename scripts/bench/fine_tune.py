"""Fine-tune a cross-encoder on a small collection: python scripts/bench fine_tune [scifact].

The question is whether a reranker made of all-MiniLM-L6-v2, on a CPU, ranks better than what it reranks. The
collections beside the project (``JRANK_DATA``) have no training queries, so the judged ones are cut into two
halves by the hash of their text: a model is trained on the one and judged on the other. Before that, both train on
the titles of the collection, which need no judgments: the title is the query, its own text is relevant, and texts that
BM25 finds for the title are not.

Everything is kept in ``.cache/fine-tune``, the state of an interrupted training too: the same call goes on from there.
"""

import argparse
import json
import os
import zlib
from pathlib import Path

import _timing
import numpy as np

FOLDER = _timing.ROOT / ".cache" / "fine-tune"
PART = 512


def data_root():
    """Where the collections lie."""
    return Path(os.environ.get("JRANK_DATA", _timing.ROOT.parent / "shared" / "data"))


def read_titles(path):
    """Title and text of the documents that have both."""
    rows = [json.loads(line) for line in (path / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["_id"]: (row["title"], row["text"]) for row in rows if row.get("title") and len(row["text"]) > 200}


def texts_of(collection):
    """Queries and documents by id."""
    return (
        dict(zip(collection.query_ids, collection.queries, strict=True)),
        dict(zip(collection.doc_ids, collection.documents, strict=True)),
    )


def vectors(texts, path):
    """One vector per text by MiniLM; in parts, so that an interruption loses little."""
    from jrank.models import TextEncoder

    encoder, parts = None, []
    for low in range(0, len(texts), PART):
        place = path.with_name(f"{path.name}-{low:06d}.npy")
        if not place.is_file():
            encoder = encoder or TextEncoder.from_pretrained()
            np.save(place.with_suffix(".part.npy"), encoder.encode(texts[low : low + PART], max_length=128))
            os.replace(place.with_suffix(".part.npy"), place)
            print(f"encoded {min(low + PART, len(texts))} of {len(texts)}", flush=True)
        parts.append(np.load(place))
    return np.concatenate(parts)


def first_stages(collection, folder, depth=100):
    """BM25, dense retrieval, and the two fused by reciprocal ranks."""
    from jrank import fusion
    from jrank.retrieval import BM25Index, DenseIndex

    queries = list(collection.qrels)
    words = [texts_of(collection)[0][query] for query in queries]
    bm25 = BM25Index.build(collection.documents, collection.doc_ids)
    dense = DenseIndex.build(vectors(collection.documents, folder / "documents"), collection.doc_ids)
    runs = {
        "BM25": bm25.search(words, depth).to_run(queries),
        "dense": dense.search(vectors(words, folder / "queries"), depth).to_run(queries),
    }
    runs["RRF"] = fusion.fuse(list(runs.values()), method="rrf")
    return runs, bm25


def title_lists(titles, bm25, count, negatives, seed=0):
    """A title, its own text, and texts that BM25 finds for the title; some titles at random."""
    from jrank.training import mine_negatives

    rng = np.random.default_rng(seed)
    chosen = [list(titles)[i] for i in rng.permutation(len(titles))[:count]]
    hits = bm25.search([titles[doc][0] for doc in chosen], 30)
    found = {doc: [h for h in row if h in titles] for doc, row in zip(chosen, hits.ids, strict=True)}
    mined = mine_negatives(found, {doc: {doc: 1} for doc in chosen}, num_negatives=negatives, seed=seed)
    return [(titles[doc][0], [titles[d][1] for d in docs], labels) for doc, (docs, labels) in mined.items()]


def train(model, lists, folder, name, **options):
    """Train, or read what was trained."""
    from jrank.models import CrossEncoder
    from jrank.training import fit_cross_encoder

    place = folder / name
    if not place.is_dir():
        result = fit_cross_encoder(
            model,
            lists,
            resume=folder / f"{name}-state",
            save_every=10,
            progress=False,
            **options,
        )
        seconds = result.history.seconds[-1]
        print(f"{name}: {len(result.history)} steps, {seconds:.0f} s, loss {result.history.loss[-1]:.3f}", flush=True)
        result.model.save_pretrained(place)
    return CrossEncoder.from_pretrained(place)


def scores(model, collection, candidates, folder, name):
    """Scores of the candidates by the served int8 model, by query and document."""
    from jrank import export, serving

    place = folder / f"{name}.json"
    if not place.is_file():
        export.to_onnx(model, folder / f"{name}-bundle", quantize="int8", max_length=192)
        served = serving.CrossEncoder.from_file(folder / f"{name}-bundle")
        words, texts = texts_of(collection)
        found = {}
        for query, documents in candidates.items():
            values = served.score_batch([(words[query], texts[document]) for document in documents])
            found[query] = dict(zip(documents, values.tolist(), strict=True))
        place.write_text(json.dumps(found))
    return json.loads(place.read_text())


# How many titles, and how they are trained on. Short pairs teach most of what is to be
# learned, that one text answers another, at half the cost of long ones.
TITLES = 2000
TITLE_OPTIONS = {"max_length": 64, "learning_rate": 1e-4, "head_learning_rate": 1e-3}
QUERY_OPTIONS = {"max_length": 128, "learning_rate": 5e-5, "head_learning_rate": 1e-3}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", nargs="?", default="scifact")
    parser.add_argument("--epochs", type=int, default=2, help="over the training queries")
    parser.add_argument("--depth", type=int, default=30, help="documents that are reranked")
    args = parser.parse_args()

    from jrank import compare, evaluate, fusion
    from jrank.data import read_beir
    from jrank.models import CrossEncoder
    from jrank.runs import Run
    from jrank.training import mine_negatives

    path, folder = data_root() / "ir" / args.collection, FOLDER / args.collection
    folder.mkdir(parents=True, exist_ok=True)
    collection = read_beir(path)
    words, texts = texts_of(collection)
    runs, bm25 = first_stages(collection, folder)
    model = CrossEncoder.from_pretrained(num_labels=1)
    lists = title_lists(read_titles(path), bm25, TITLES, negatives=4)
    model = train(model, lists, folder, f"titles-{TITLES}", **TITLE_OPTIONS)
    folds = [[], []]
    for query in collection.qrels:
        folds[zlib.crc32(words[query].encode()) % 2].append(query)
    found = {}
    for number, held_out in enumerate(folds):
        others = {query: runs["RRF"][query] for query in folds[1 - number]}
        mined = mine_negatives(others, collection.qrels, num_negatives=3, max_positives=1, depth=args.depth)
        lists = [(words[query], [texts[doc] for doc in docs], labels) for query, (docs, labels) in mined.items()]
        name = f"{TITLES}-{args.epochs}-fold-{number}-of-2"
        tuned = train(model, lists, folder, name, epochs=args.epochs, **QUERY_OPTIONS)
        candidates = {query: list(runs["RRF"][query])[: args.depth] for query in held_out}
        found |= scores(tuned, collection, candidates, folder, f"{name}-fine-tuned")

    def mixed(queries, share):
        first = {query: runs["RRF"][query] for query in queries}
        return fusion.refine(first, {query: found[query] for query in queries}, alpha=share)

    # The share of each half is the one that is best on the other half, which its model was not trained on either.
    rows = {}
    for number, held_out in enumerate(folds):
        judged = {query: collection.qrels[query] for query in folds[1 - number]}
        quality = {
            s / 10: evaluate(judged, mixed(folds[1 - number], s / 10), ["ndcg@10"])["ndcg@10"] for s in range(11)
        }
        share = max(quality, key=quality.get)
        print(f"half {number}: {share:.1f} of RRF; on the other half " + " ".join(f"{v:.3f}" for v in quality.values()))
        rows |= mixed(held_out, share).to_dict()
    runs["cross-encoder"], runs["cross-encoder and RRF"] = mixed(list(found), 0.0), Run(rows)
    print(compare(collection.qrels, runs, ["ndcg@10", "map", "mrr@10"], baseline="RRF"))
    print("\n" + json.dumps({"where": _timing.where()}))


if __name__ == "__main__":
    main()
