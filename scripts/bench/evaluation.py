"""Time evaluation against ranx and pytrec_eval: python scripts/bench/evaluation.py (both come from pip)."""

import argparse
import tempfile
from pathlib import Path

import _timing
import numpy as np

from jrank.evaluation import evaluate
from jrank.runs import Qrels, Run

METRICS = ["ndcg@10", "map", "mrr", "recall@100"]


def collection(queries, docs, seed=0):
    rng = np.random.default_rng(seed)
    run, qrels = {}, {}
    for i in range(queries):
        found = rng.choice(docs * 3, size=docs, replace=False)
        run[f"q{i}"] = {f"d{j}": float(s) for j, s in zip(found, rng.normal(size=docs), strict=True)}
        judged = rng.choice(docs * 3, size=min(50, docs), replace=False)
        qrels[f"q{i}"] = {f"d{j}": int(g) for j, g in zip(judged, rng.integers(0, 3, len(judged)), strict=True)}
    return qrels, run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--docs", type=int, default=100)
    options = parser.parse_args()
    qrels, run = collection(options.queries, options.docs)
    ours = Qrels(qrels), Run(run)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "qrels", Path(folder) / "run"
        ours[0].write(files[0])
        ours[1].write(files[1])

        def fresh():
            # What was computed from a table is kept with it: a new one computes anew.
            return evaluate(Qrels._from_interned(ours[0].interned), Run._from_interned(ours[1].interned), METRICS)

        calls = {
            "tables": lambda: evaluate(*ours, METRICS),
            "files": lambda: evaluate(Qrels.read(files[0]), Run.read(files[1]), METRICS),
            "dicts": lambda: evaluate(qrels, run, METRICS),
        }
        try:
            import ranx

            theirs = ranx.Qrels(qrels), ranx.Run(run)
            names = ["ndcg@10", "map", "mrr", "recall@100"]
            calls["ranx"] = lambda: ranx.evaluate(*theirs, names, make_comparable=True)
        except ModuleNotFoundError:
            pass
        try:
            import pytrec_eval

            wanted = {"ndcg_cut_10", "map", "recip_rank", "recall_100"}
            calls["pytrec dicts"] = lambda: pytrec_eval.RelevanceEvaluator(qrels, wanted).evaluate(run)

            def from_files():
                with files[0].open() as q, files[1].open() as r:
                    return pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(q), wanted).evaluate(
                        pytrec_eval.parse_run(r)
                    )

            calls["pytrec files"] = from_files
        except ModuleNotFoundError:
            pass
        times = _timing.in_turn(calls)
        rows.append(("tables, against ranx", times["tables"], times.get("ranx")))
        rows.append(("dictionaries, against pytrec_eval", times["dicts"], times.get("pytrec dicts")))
        rows.append(("files, against pytrec_eval", times["files"], times.get("pytrec files")))
        rows.append(("tables, first time", _timing.seconds(fresh), None))
    _timing.report(f"Four metrics, {options.queries} queries x {options.docs} documents", rows)


main()
