"""Values of peers on random runs: pip install --no-deps ir-measures==0.4.3 cwl-eval==1.0.12 pyndeval==0.0.8, then run.

cwl_eval has the metrics of readers, ndeval (pyndeval) those of diversity; the others come from ir_measures.
"""

import json
import pathlib

import ir_measures
import numpy as np
import pyndeval
from ir_measures import BPM, INSQ, INST, NERR8, NERR9, NERR10, NERR11, SDCG, Accuracy, Compat

READERS = {
    "accuracy": Accuracy,
    "accuracy@5": Accuracy @ 5,
    "compat": Compat,
    "compat(p=0.8)": Compat(p=0.8),
    "bpm(t=1, max_grade=4)@5": BPM(T=1.0, max_rel=4) @ 5,
    "sdcg(max_grade=4)@7": SDCG(max_rel=4) @ 7,
    "nerr8(max_grade=4)@5": NERR8(max_rel=4) @ 5,
    "nerr9(max_grade=4)@5": NERR9(max_rel=4) @ 5,
    "nerr10(p=0.8, max_grade=4)": NERR10(p=0.8, max_rel=4),
    "nerr11(t=2, max_grade=4)": NERR11(T=2.0, max_rel=4),
    "inst(t=1.5, max_grade=4)": INST(T=1.5, max_rel=4),
    "insq(t=1, max_grade=4)": INSQ(T=1.0, max_rel=4),
}
NOVELTY = ["ERR-IA", "nERR-IA", "alpha-DCG", "alpha-nDCG", "P-IA", "strec"]
TAKES_ALPHA = {"ERR-IA", "nERR-IA", "alpha-DCG", "alpha-nDCG", "NRBP", "nNRBP"}


def collection(seed, queries=6, documents=30):
    """Positive scores without ties, since the peers break ties in other ways; a relevant document is found."""
    rng = np.random.default_rng(seed)
    qrels, run = {}, {}
    for i in range(queries):
        judged = rng.choice(documents, size=rng.integers(4, documents), replace=False)
        grades = rng.choice([0, 0, 0, 1, 2, 4], len(judged))
        grades[:2] = 0, 1
        qrels[str(i)] = {f"d{j}": int(g) for j, g in zip(judged, grades, strict=True)}
        found = np.union1d(judged[:2], rng.choice(documents, size=rng.integers(1, documents), replace=False))
        scores = rng.permutation(len(found)) + 1.0
        run[str(i)] = {f"d{j}": float(s) for j, s in zip(found, scores, strict=True)}
    groups = {}
    for i in range(queries):
        groups[str(i)] = {}
        for subtopic in range(int(rng.integers(1, 5))):
            judged = rng.choice(documents, size=rng.integers(1, documents), replace=False)
            grades = rng.choice([0, 0, 0, 1, 2], len(judged))
            groups[str(i)][str(subtopic)] = {f"d{j}": int(g) for j, g in zip(judged, grades, strict=True)}
    return qrels, run, groups


def novelty(groups, run, alpha, beta):
    lines = [(q, s, d, g) for q, subtopics in groups.items() for s, docs in subtopics.items() for d, g in docs.items()]
    ranked = [(q, d, s) for q, docs in run.items() for d, s in sorted(docs.items(), key=lambda item: -item[1])]
    names = [f"{name}@{k}" for name in NOVELTY for k in (5, 20)] + ["NRBP", "nNRBP", "MAP-IA"]
    found = pyndeval.RelevanceEvaluator(lines, measures=names, alpha=alpha, beta=beta).evaluate(ranked)
    values = {}
    for name in names:
        head, at, k = name.partition("@")
        options = [f"alpha={alpha}"] * (head in TAKES_ALPHA) + [f"beta={beta}"] * head.endswith("NRBP")
        ours = head + (f"({', '.join(options)})" if options else "") + at + k
        # A query without a relevant document is 0 / 0 there.
        values[ours] = {q: 0.0 if np.isnan(v[name]) else v[name] for q, v in found.items()}
    return values


def main():
    sets = []
    for seed, alpha, beta in ((1, 0.5, 0.5), (2, 0.3, 0.8)):
        qrels, run, groups = collection(seed)
        values = {name: {} for name in READERS}
        by_measure = {measure: name for name, measure in READERS.items()}
        for metric in ir_measures.iter_calc(list(READERS.values()), qrels, run):
            values[by_measure[metric.measure]][metric.query_id] = float(metric.value)
        sets.append(
            {
                "qrels": qrels,
                "run": run,
                "groups": groups,
                "readers": values,
                "novelty": novelty(groups, run, alpha, beta),
            }
        )
    out = {
        "made_by": f"ir-measures {ir_measures.__version__}, cwl-eval 1.0.12, pyndeval 0.0.8",
        "tolerance": "1e-9: sums in another order",
        "collections": sets,
    }
    path = pathlib.Path(__file__).with_name("diversity.json")
    path.write_text(json.dumps(out, separators=(",", ":"), sort_keys=True) + "\n")


main()
