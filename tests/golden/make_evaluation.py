"""Values of peers on random runs: pip install pytrec_eval-terrier==0.5.11 scipy numpy, then run this file.

pytrec_eval holds the code of trec_eval 9, so the measures that version 10 changed (interpolated precision) are missing.
"""

import json
import pathlib

import numpy as np
import pytrec_eval
import scipy
import scipy.stats as ss

MEASURES = {
    "map": "map",
    "gm_map": "gm_map",
    "ndcg": "ndcg",
    "ndcg_cut_10": "ndcg@10",
    "recip_rank": "mrr",
    "P_5": "precision@5",
    "recall_20": "recall@20",
    "map_cut_10": "map@10",
    "Rprec": "rprec",
    "bpref": "bpref",
    "infAP": "infap",
    "success_5": "success@5",
    "set_F": "f",
    "set_map": "set_map",
    "relative_P_10": "relative_precision@10",
    "binG": "bing",
    "G": "g",
    "ndcg_rel": "ndcg_rel",
    "Rndcg": "rndcg",
    "utility": "utility",
    "Rprec_mult_1.40": "rprec(x=1.4)",
    "num_rel_ret": "num_rel_ret",
}


def collection(seed):
    """Grades -1 to 3, scores with many ties, queries without relevant documents, empty overlaps."""
    rng = np.random.default_rng(seed)
    qrels, run = {}, {}
    for i in range(40):
        judged = rng.choice(80, size=rng.integers(1, 60), replace=False)
        grades = rng.choice([-1, 0, 0, 0, 1, 1, 2, 3], len(judged))
        qrels[f"q{i}"] = {f"d{j}": int(g) for j, g in zip(judged, grades, strict=True)}
        found = rng.choice(80, size=rng.integers(1, 60), replace=False)
        scores = np.round(rng.normal(size=len(found)), 1)
        run[f"q{i}"] = {f"d{j}": float(s) for j, s in zip(found, scores, strict=True)}
    return qrels, run


def tests():
    rng = np.random.default_rng(5)
    cases = []
    for n in (2, 5, 12, 30, 80):
        a, b = np.round(rng.random(n), 3), np.round(rng.random(n) * 0.9, 3)
        if n == 30:
            a, b = np.round(a, 1), np.round(b, 1)
        d = a - b
        ties = len(set(np.abs(d[d != 0]).round(9))) < np.sum(d != 0)
        exact = "approx" if ties or np.sum(d != 0) > 50 else "exact"
        t = ss.ttest_rel(a, b)
        w = ss.wilcoxon(np.round(d, 9), zero_method="wilcox", method=exact, correction=False)
        wins = int(np.sum(d > 0))
        cases.append(
            {
                "a": a.tolist(),
                "b": b.tolist(),
                "t": [float(t.statistic), float(t.pvalue)],
                "wilcoxon": [float(w.statistic), float(w.pvalue)],
                "sign": float(ss.binomtest(wins, int(np.sum(d != 0))).pvalue),
                "interval": [float(x) for x in ss.t.interval(0.95, n - 1, a.mean(), ss.sem(a))],
            }
        )
    return cases


def main():
    sets = []
    for seed in (1, 2):
        qrels, run = collection(seed)
        # Version 10 keeps scores in double precision; these have one decimal, so both keep the same ties.
        ref = pytrec_eval.RelevanceEvaluator(qrels, set(MEASURES) | {"relative_P", "Rprec_mult"}).evaluate(run)
        values = {ours: {q: ref[q][theirs] for q in ref} for theirs, ours in MEASURES.items() if theirs in ref["q0"]}
        missing = set(MEASURES) - set(ref["q0"]) - {"gm_map"}
        assert not missing, missing
        values.pop("gm_map", None)
        sets.append({"qrels": qrels, "run": run, "values": values})
    out = {
        "made_by": f"pytrec_eval-terrier 0.5.11, scipy {scipy.__version__}",
        "tolerance": "1e-9: sums in another order",
        "collections": sets,
        "tests": tests(),
    }
    path = pathlib.Path(__file__).with_name("evaluation.json")
    path.write_text(json.dumps(out, separators=(",", ":"), sort_keys=True) + "\n")


main()
