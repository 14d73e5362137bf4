"""Write tests/golden/metrics.json: random lists, and what pytrec_eval and ranx make of them, query by query.

Run it where both are installed: python tests/golden/make_metrics.py
"""

import json
import pathlib

import numpy as np
import pytrec_eval
import ranx

TREC = (
    "ndcg",
    "ndcg_cut_5",
    "map",
    "map_cut_5",
    "recip_rank",
    "P_5",
    "recall_5",
    "success_5",
    "Rprec",
    "bpref",
    "infAP",
)
RANX = ("ndcg_burges@5", "mrr@5", "f1@5", "hits@5")


def main():
    rng = np.random.default_rng(0)
    rows, qrels, run = [], {}, {}
    for i in range(24):
        n = int(rng.integers(4, 16))
        scores = rng.permutation(n).astype(float)
        # Not judged and not pooled: -2; pooled, not judged: -1. A third was not retrieved.
        labels = rng.integers(-2, 4, n) if i else rng.integers(-2, 1, n)
        found = rng.random(n) < 0.7
        found[0] = True
        labels[~found & (labels == -2)] = 0
        rows.append({"scores": scores.tolist(), "labels": labels.tolist(), "found": found.tolist()})
        qrels[f"q{i}"] = {f"d{j}": int(y) for j, y in enumerate(labels) if y >= -1}
        run[f"q{i}"] = {f"d{j}": float(scores[j]) for j in range(n) if found[j]}
        if not qrels[f"q{i}"]:
            raise SystemExit("a list without a judgment: choose another seed")
    # A cut-off is asked for with a dot and answered with a line.
    measures = {name[:-2] + ".5" if name.endswith("_5") else name for name in TREC}
    trec = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    positive = {q: {d: max(g, 0) for d, g in docs.items()} for q, docs in qrels.items()}
    theirs = ranx.Run(run)
    ranx.evaluate(ranx.Qrels(positive), theirs, list(RANX))
    for i, row in enumerate(rows):
        query = f"q{i}"
        row["trec"] = {name: trec[query][name] for name in TREC}
        row["ranx"] = {name: float(theirs.scores[name][query]) for name in RANX}
    versions = {"pytrec_eval-terrier": "0.5.11", "ranx": "0.3.21"}
    target = pathlib.Path(__file__).with_name("metrics.json")
    target.write_text(json.dumps({"versions": versions, "lists": rows}) + "\n")


main()
