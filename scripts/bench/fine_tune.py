"""Fine-tune a cross-encoder on a small collection: python scripts/bench fine_tune [scifact].

The question is whether a reranker made of all-MiniLM-L6-v2, on a CPU, ranks better than what it reranks. The
collections beside the project (``JRANK_DATA``) have no training queries. So a model first learns on queries made from
the documents: a sentence taken out of a text asks for the rest of it, against texts that BM25 and dense vectors find
for the sentence (``training.cloze_queries``). Then the judged queries are cut into two halves by the hash of their
text: a model is trained on the one and judged on the other.

Pairs are short: a document is read as passages of 60 words with the title in front, in training one of them, in ranking
all, and the best passage counts. A model that has seen short pairs only ranks long ones badly.

Everything is kept in ``.cache/fine-tune``, the state of an interrupted training too: the same call goes on from there.
"""

import argparse
import collections
import json
import math
import os
import re
import zlib
from pathlib import Path

import _timing
import numpy as np

from jrank.text import passages

FOLDER = _timing.ROOT / ".cache" / "fine-tune"
PART = 512


def data_root():
    """Where the collections lie."""
    return Path(os.environ.get("JRANK_DATA", _timing.ROOT.parent / "shared" / "data"))


def read_documents(path):
    """Title and text of each document."""
    rows = [json.loads(line) for line in (path / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    return {row["_id"]: (row.get("title") or "", row["text"]) for row in rows}


def vectors(texts, path):
    """One vector per text by MiniLM; in parts, so that an interruption loses little."""
    from jrank.models import TextEncoder

    encoder, parts = None, []
    for low in range(0, len(texts), PART):
        place = path.with_name(f"{path.name}-{low:06d}.npy")
        if not place.is_file():
            encoder = encoder or TextEncoder.from_pretrained()
            np.save(place.with_suffix(".part.npy"), encoder.encode(texts[low : low + PART]))
            os.replace(place.with_suffix(".part.npy"), place)
            print(f"encoded {min(low + PART, len(texts))} of {len(texts)}", flush=True)
        parts.append(np.load(place))
    return np.concatenate(parts)


class FirstStage:
    """BM25, dense retrieval, and the two fused by reciprocal ranks."""

    def __init__(self, collection, folder):
        from jrank.retrieval import BM25Index, DenseIndex

        self.folder = folder
        self.bm25 = BM25Index.build(collection.documents, collection.doc_ids)
        self.dense = DenseIndex.build(vectors(collection.documents, folder / "documents"), collection.doc_ids)

    def search(self, names, queries, depth, kind):
        """The three runs; vectors of the queries are kept under their kind."""
        from jrank import fusion

        runs = {
            "BM25": self.bm25.search(queries, depth).to_run(names),
            "dense": self.dense.search(vectors(queries, self.folder / kind), depth).to_run(names),
        }
        return runs | {"RRF": fusion.fuse(list(runs.values()), method="rrf")}


class Passages:
    """Documents as passages with the title in front, and which of them says most of what a query says."""

    def __init__(self, documents):
        self.documents = documents
        counts = collections.Counter(term for _, text in documents.values() for term in terms(text))
        self.weight = {term: math.log(1 + len(documents) / count) for term, count in counts.items()}

    def of(self, title, text):
        """All passages of the first 300 words."""
        return passages(" ".join(text.split()[:300]), words=WORDS, title=title)

    def nearest(self, query, title, text):
        """The passage with the most of the query's terms, rare ones before frequent ones."""
        asked = terms(query)
        return max(self.of(title, text), key=lambda part: sum(self.weight.get(t, 0.0) for t in asked & terms(part)))


def terms(text):
    return set(re.findall(r"\w+", text.lower()))


def cloze_lists(pieces, stage, count, negatives, seed=0):
    """A sentence, a passage of the rest of its text, and passages of texts that are found for the sentence."""
    from jrank.training import cloze_queries, mine_negatives

    names = list(pieces.documents)
    made = cloze_queries([pieces.documents[name][1] for name in names], seed=seed)
    rng = np.random.default_rng(seed)
    made = [made[i] for i in rng.permutation(len(made))[:count]]
    sources = [names[query.place] for query in made]
    found = stage.search(sources, [query.query for query in made], 30, f"cloze-{seed}-{count}")["RRF"]
    mined = mine_negatives(found, {n: {n: 1} for n in sources}, num_negatives=negatives, depth=20, seed=seed)
    lists = []
    for query, source in zip(made, sources, strict=True):
        docs, labels = mined[source]
        rows = [(pieces.documents[source][0], query.rest), *(pieces.documents[doc] for doc in docs[1:])]
        # Most of the time the passage that the maximum will meet, sometimes any.
        cut = [
            pieces.nearest(query.query, *row) if rng.random() < NEAREST else rng.choice(pieces.of(*row)) for row in rows
        ]
        lists.append((query.query, [str(part) for part in cut], labels))
    return lists


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


def scores(model, pieces, asked, candidates, folder, name):
    """The best score of a passage of each candidate, by the served int8 model; by query and document."""
    from jrank import export, serving

    place = folder / f"{name}.json"
    if not place.is_file():
        export.to_onnx(model, folder / f"{name}-bundle", quantize="int8", max_length=LENGTH)
        served = serving.CrossEncoder.from_file(folder / f"{name}-bundle")
        found = {}
        for query, names in candidates.items():
            parts = [pieces.of(*pieces.documents[document]) for document in names]
            values = served.score_batch([(asked[query], part) for some in parts for part in some])
            starts = np.cumsum([0, *map(len, parts[:-1])])
            found[query] = dict(zip(names, np.maximum.reduceat(values, starts).tolist(), strict=True))
        place.write_text(json.dumps(found))
    return json.loads(place.read_text())


# Words of a passage, tokens of a pair, and the share of passages that are the nearest to the query.
WORDS, LENGTH, NEAREST = 60, 96, 0.7
CLOZE_OPTIONS = {"max_length": LENGTH, "learning_rate": 1e-4, "head_learning_rate": 1e-3}
JUDGED_OPTIONS = {"max_length": LENGTH, "learning_rate": 3e-5}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", nargs="?", default="scifact")
    parser.add_argument("--sentences", type=int, default=5000, help="queries made from documents, at most")
    parser.add_argument("--epochs", type=int, default=2, help="over the judged queries")
    parser.add_argument("--depth", type=int, default=20, help="documents that are reranked")
    args = parser.parse_args()

    from jrank import compare, evaluate, fusion
    from jrank.data import read_beir
    from jrank.models import CrossEncoder
    from jrank.runs import Run
    from jrank.training import mine_negatives

    path, folder = data_root() / "ir" / args.collection, FOLDER / args.collection
    folder.mkdir(parents=True, exist_ok=True)
    collection = read_beir(path)
    asked = dict(zip(collection.query_ids, collection.queries, strict=True))
    pieces, stage = Passages(read_documents(path)), FirstStage(collection, folder)
    queries = list(collection.qrels)
    runs = stage.search(queries, [asked[query] for query in queries], 100, "queries")
    lists = cloze_lists(pieces, stage, args.sentences, negatives=4)
    first = train(CrossEncoder.from_pretrained(num_labels=1), lists, folder, f"cloze-{args.sentences}", **CLOZE_OPTIONS)

    folds, found = [[], []], {"cloze alone": {}, "cloze, then judged": {}}
    for query in queries:
        folds[zlib.crc32(asked[query].encode()) % 2].append(query)
    for number, held_out in enumerate(folds):
        others = {query: runs["RRF"][query] for query in folds[1 - number]}
        mined = mine_negatives(others, collection.qrels, num_negatives=4, max_positives=1, depth=args.depth)
        lists = [
            (asked[query], [pieces.nearest(asked[query], *pieces.documents[doc]) for doc in docs], labels)
            for query, (docs, labels) in mined.items()
        ]
        name = f"cloze-{args.sentences}-judged-{args.epochs}-{number}"
        tuned = train(first, lists, folder, name, epochs=args.epochs, **JUDGED_OPTIONS)
        candidates = {query: list(runs["RRF"][query])[: args.depth] for query in held_out}
        for kind, model, place in (
            ("cloze alone", first, f"cloze-{args.sentences}-{number}-scores"),
            ("cloze, then judged", tuned, f"{name}-scores"),
        ):
            found[kind] |= scores(model, pieces, asked, candidates, folder, place)

    def mixed(kind, queries, share):
        base = {query: runs["RRF"][query] for query in queries}
        return fusion.refine(base, {query: found[kind][query] for query in queries}, alpha=share)

    # In equal shares, which nobody had to choose; and with the share of each half that is best on the other half.
    for kind in found:
        rows = {}
        for number, held_out in enumerate(folds):
            other = folds[1 - number]
            judged = {query: collection.qrels[query] for query in other}
            quality = [evaluate(judged, mixed(kind, other, s / 10), ["ndcg@10"])["ndcg@10"] for s in range(11)]
            share = int(np.argmax(quality)) / 10
            print(f"{kind}, half {number}: {share:.1f} of RRF; the other half " + " ".join(f"{v:.3f}" for v in quality))
            rows |= mixed(kind, held_out, share).to_dict()
        runs |= {kind: mixed(kind, queries, 0.0), f"{kind} + RRF": mixed(kind, queries, 0.5)}
        runs[f"{kind} + RRF, share chosen"] = Run(rows)
    print(compare(collection.qrels, runs, ["ndcg@10", "map", "mrr@10"], baseline="RRF"))
    print("\n" + json.dumps({"where": _timing.where()}))


if __name__ == "__main__":
    main()
