"""Time soft ranks, forward and backward: python scripts/bench/soft.py (peers, where installed: torchsort, softjax).

Everything runs in turn in one process, so a busy machine slows all alike: read the ratios. Temperature is 40 / n. torch
has one thread. softjax standardises the scores before it projects, so that its softness is on another scale; the time
of its solver hardly depends on that.
"""

import argparse
import importlib.util
import json
import os
import platform
import time

import _timing
import jax
import jax.numpy as jnp
import numpy as np

from jrank import soft

SHAPES = [(128, 100), (1024, 200), (1, 10_000), (1, 100_000), (1, 1_000_000)]
# The largest list of each method that is quadratic, or nearly.
LONGEST = {"sigmoid": 10_000, "softsort": 10_000, "neuralsort": 10_000, "network": 10_000, "odd_even": 256}
METHODS = ["l2", "kl", "laplace", "sigmoid", "softsort", "neuralsort", "network", "odd_even"]


def torchsort_rank(x, cost, temperature):
    """Forward and backward of torchsort's rank by the Euclidean projection, one thread."""
    import torch
    import torchsort

    torch.set_num_threads(1)
    given, weights = torch.tensor(x), torch.tensor(cost)

    def run():
        leaf = given.clone().requires_grad_(True)
        (torchsort.soft_rank(leaf, regularization_strength=temperature) * weights).sum().backward()
        return leaf.grad

    return run


def jitted(rank, cost):
    return jax.jit(jax.value_and_grad(lambda x: jnp.sum(rank(x) * cost)))


def softjax_rank(x):
    import softjax

    return softjax.rank(x, axis=-1, method="fast_soft_sort", mode="c0", softness=0.1)


def measure(shape, repeats, methods, slow):
    """Rows of the table for one shape."""
    n, rng = shape[1], np.random.default_rng(0)
    x, cost = rng.normal(size=shape).astype("f"), rng.normal(size=shape).astype("f")
    on_device, temperature = jnp.asarray(x), 40 / n
    fns, told = {}, {}
    candidates = {"jnp.argsort": jax.jit(lambda v: jnp.argsort(v, axis=-1))}
    for method in methods:
        if shape[0] * min(n, LONGEST.get(method, n)) >= shape[0] * n and (slow or method not in LONGEST or n <= 200):
            candidates[method] = jitted(lambda v, m=method: soft.rank(v, method=m, temperature=temperature), cost)
    if importlib.util.find_spec("softjax") and n <= 100_000:
        candidates["softjax, exact"] = jitted(softjax_rank, cost)
    for name, fn in candidates.items():
        start = time.perf_counter()
        compiled = fn.lower(on_device).compile()
        seconds = time.perf_counter() - start
        told[name] = (seconds, compiled.memory_analysis().temp_size_in_bytes / 1e6)
        fns[name] = lambda compiled=compiled: jax.block_until_ready(compiled(on_device))
    if importlib.util.find_spec("torchsort"):
        fns["torchsort"] = torchsort_rank(x, cost, temperature)
    times = _timing.in_turn(fns, repeats=repeats)
    base = times["jnp.argsort"]
    return [(f"{shape[0]} x {n}", name, t, t / base, *told.get(name, (None, None))) for name, t in times.items()]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--methods", nargs="*", default=METHODS, choices=METHODS)
    parser.add_argument(
        "--shapes", type=int, nargs="*", default=range(len(SHAPES)), help="which of the five shapes, from 0"
    )
    parser.add_argument("--slow", action="store_true", help="the quadratic methods for lists of 10,000 as well")
    options = parser.parse_args()
    # Compilation is measured, not read back.
    jax.config.update("jax_enable_compilation_cache", False)
    rows = [row for i in options.shapes for row in measure(SHAPES[i], options.repeats, options.methods, options.slow)]
    print("| lists | what | ms | / jnp.argsort | compile, s | temporaries, MB |\n|:--|:--|--:|--:|--:|--:|")
    for lists, name, t, ratio, compiled, memory in rows:
        more = "| | " if compiled is None else f"| {compiled:.1f} | {memory:.1f} "
        print(f"| {lists} | {name} | {t * 1e3:.2f} | {ratio:.2f} {more}|")
    where = {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }
    print("\n" + json.dumps({"where": where, "rows": rows}))


if __name__ == "__main__":
    main()
