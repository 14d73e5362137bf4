"""What the benchmark scripts share: medians in one process, peers in turn, and where it was measured."""

import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def seconds(fn, repeats=7, warmup=1):
    """Median seconds of a call."""
    for _ in range(warmup):
        fn()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def in_turn(fns, repeats=7, warmup=1, *, settled=False):
    """Median seconds of several calls, made in turn so that a busy machine slows all of them alike.

    With ``settled``, each timed call follows an untimed one of the same function: else the threads of a peer that still
    wait for work, and memory that was touched last seconds ago, count as time of the next one.
    """
    times = {name: [] for name in fns}
    for turn in range(repeats + warmup):
        for name, fn in fns.items():
            if settled:
                fn()
            start = time.perf_counter()
            fn()
            if turn >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


VERSIONS = (
    "numpy",
    "jax",
    "ranx",
    "pytrec_eval",
    "scipy",
    "onnxruntime",
    "torch",
    "sentence_transformers",
    "transformers",
)


def where():
    """The machine, how busy it is, and the versions of what was used."""
    versions = {}
    for name in VERSIONS:
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = getattr(module, "__version__", "installed")
    return {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        **versions,
    }


def report(title, rows):
    """Print a table and, below it, the same as JSON."""
    print(f"## {title}\n")
    print("| what | ours, ms | peer, ms | ratio |\n|:--|--:|--:|--:|")
    for what, ours, peer in rows:
        other = f"{peer * 1e3:.1f} | {peer / ours:.1f}" if peer is not None else " | "
        print(f"| {what} | {ours * 1e3:.1f} | {other} |")
    print("\n" + json.dumps({"where": where(), "rows": [{"what": w, "ours_s": o, "peer_s": p} for w, o, p in rows]}))
