"""Time fusion against ranx, in one process: python scripts/bench/fusion.py (needs pip install ranx)."""

import argparse
import subprocess
import sys
import warnings

import _timing
import numpy as np

from jrank import fusion
from jrank.fusion._align import align
from jrank.runs import Qrels, Run


def collection(queries, docs, seed):
    rng = np.random.default_rng(seed)
    return {
        f"q{i}": {
            f"d{j}": float(s)
            for j, s in zip(rng.choice(docs * 3, size=docs, replace=False), rng.normal(size=docs), strict=True)
        }
        for i in range(queries)
    }


def sorted_fusion(fn, x):
    """Fuse arrays and put every list in order, as ranx does."""
    return fusion.order(fn(x))


def votes(data, queries, ranx):
    """Borda and Condorcet, on arrays; ranx takes seconds to minutes, so it is called once, after a small first call."""
    some = [dict(list(run.items())[:queries]) for run in data]
    x = next(align([Run(run) for run in some]).sides(1 << 40)).ranks
    rows = []
    for method, name in (("borda", "bordafuse"), ("condorcet", "condorcet")):
        fn = getattr(fusion, method)
        ours, theirs = _timing.seconds(lambda fn=fn: sorted_fusion(fn, x)), None
        if ranx:
            small = [ranx.Run(dict(list(run.items())[:2])) for run in some]
            ranx.fuse(runs=small, method=name)
            runs = [ranx.Run(run) for run in some]
            theirs = _timing.seconds(
                lambda name=name, runs=runs: ranx.fuse(runs=runs, method=name), repeats=1, warmup=0
            )
        rows.append((f"{method}, arrays, {queries} queries", ours, theirs))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--docs", type=int, default=100)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="the methods to time; default: all but Borda and Condorcet")
    parser.add_argument("--slow", type=int, metavar="N", help="also Borda and Condorcet, on the first N queries")
    options = parser.parse_args()
    data = [collection(options.queries, options.docs, seed) for seed in range(options.runs)]
    rows = []
    try:
        import ranx

        warnings.simplefilter("ignore")
        theirs = [ranx.Run(run) for run in data]
    except ModuleNotFoundError:
        ranx = None
    ours = [Run(run) for run in data]
    side = next(align(ours).sides(1 << 40))
    methods = [("rrf", "rrf", None), ("comb_sum", "sum", "min-max"), ("comb_mnz", "mnz", "min-max")]
    methods = [row for row in methods if options.only is None or row[0] in options.only]
    for method, name, norm in methods:
        x = side.scores if norm else side.ranks
        fn = getattr(fusion, method)
        calls = {
            "arrays": lambda fn=fn, x=x: sorted_fusion(fn, x),
            "runs": lambda method=method: fusion.fuse(ours, method=method).ranked,
            "dicts": lambda method=method: fusion.fuse([Run(run) for run in data], method=method).ranked,
        }
        if ranx:
            calls["ranx"] = lambda name=name, norm=norm: ranx.fuse(runs=theirs, method=name, norm=norm)
            calls["ranx from dicts"] = lambda name=name, norm=norm: ranx.fuse(
                runs=[ranx.Run(run) for run in data], method=name, norm=norm
            )
        times = _timing.in_turn(calls)
        rows.append((f"{method}, arrays", times["arrays"], times.get("ranx")))
        rows.append((f"{method}, runs", times["runs"], times.get("ranx")))
        rows.append((f"{method}, dicts", times["dicts"], times.get("ranx from dicts")))
    if options.slow:
        rows += votes(data, options.slow, ranx)
    rng = np.random.default_rng(9)
    qrels = Qrels({q: {d: int(rng.random() < 0.1) for d in docs} for q, docs in data[0].items()})
    found = []
    taken = _timing.seconds(lambda: found.append(fusion.fit(ours, qrels, method="comb_sum")), repeats=1, warmup=0)
    rows.append((f"grid of {len(found[0].candidates)} weight vectors", taken, None))
    code = "from jrank import fusion; fusion.fuse([{'q': {'a': 1.0}}, {'q': {'b': 1.0}}])['q']"
    fresh = _timing.seconds(
        lambda: subprocess.run([sys.executable, "-c", code], check=True, cwd=_timing.ROOT), repeats=3
    )
    rows.append(("first call of a fresh process", fresh, None))
    _timing.report(f"Fusion, {options.queries} queries x {options.docs} documents x {options.runs} runs", rows)


main()
