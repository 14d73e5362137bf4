"""Time losses, value and gradient, against Rax: python scripts/bench losses (Rax comes from pip)."""

import argparse
import functools
import importlib
import json

import _timing
import numpy as np

# Of a batch of lists: name here, name in Rax.
LOSSES = {
    "softmax_loss": "softmax_loss",
    "listmle_loss": "listmle_loss",
    "unique_softmax_loss": "unique_softmax_loss",
    "pairwise_hinge_loss": "pairwise_hinge_loss",
    "pairwise_logistic_loss": "pairwise_logistic_loss",
    "LambdaRank": "lambdarank",
    "LambdaLoss": "lambdaloss",
    "ApproxNDCG": "approx_ndcg",
    "Gumbel-ApproxNDCG, one sample": None,
    "neural_ndcg_loss": None,
    "smooth_ap_loss": None,
    "pl_rank_loss": None,
    "spearman_loss": None,
    "kendall_loss": None,
    "ap_metric": None,
}


def ours(name):
    """A function of scores and labels."""
    import jax

    import jrank

    if name == "LambdaRank":
        return functools.partial(jrank.pairwise_logistic_loss, lambdaweight_fn=jrank.dcg_lambdaweight)
    if name == "LambdaLoss":
        return functools.partial(jrank.pairwise_logistic_loss, lambdaweight_fn=jrank.dcg2_lambdaweight)
    if name == "ApproxNDCG":
        return jrank.approx_t12n(jrank.ndcg_metric)
    if name.startswith("Gumbel"):
        loss = jrank.gumbel_t12n(jrank.approx_t12n(jrank.ndcg_metric), samples=1)
        return functools.partial(loss, key=jax.random.key(0))
    loss = getattr(importlib.import_module("jrank"), name, None) or getattr(
        importlib.import_module("jrank.losses"), name
    )
    if name == "pl_rank_loss":
        return functools.partial(loss, key=jax.random.key(0))
    return loss


def theirs(name):
    """The same of Rax; its transformation fails on the newest JAX, so ApproxNDCG is put together from its parts."""
    import rax

    logistic = functools.partial(rax.pairwise_logistic_loss)
    if name == "lambdarank":
        return functools.partial(logistic, lambdaweight_fn=rax.dcg_lambdaweight)
    if name == "lambdaloss":
        return functools.partial(logistic, lambdaweight_fn=rax.dcg2_lambdaweight)
    if name == "approx_ndcg":
        options = {"rank_fn": rax.utils.approx_ranks, "cutoff_fn": rax.utils.approx_cutoff}
        return lambda s, y: -rax.ndcg_metric(s, y, **options)
    return getattr(rax, name)


def compiled(fn, *arrays):
    """A compiled value and gradient, and its temporary memory in MB."""
    import jax
    import jax.numpy as jnp

    run = jax.jit(jax.value_and_grad(lambda s, y: jnp.sum(fn(s, y)))).lower(*arrays).compile()
    return run, run.memory_analysis().temp_size_in_bytes / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lists", type=int, default=128)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--only", nargs="*", help="names of losses")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="compile and tell the memory, run nothing")
    parser.add_argument("--no-rax", action="store_true", help="where Rax would not fit into memory")
    options = parser.parse_args()
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    shape = (options.lists, options.items)
    share = rng.choice(5, shape, p=[0.7, 0.15, 0.1, 0.03, 0.02])
    arrays = jnp.asarray(rng.normal(size=shape), jnp.float32), jnp.asarray(share, jnp.float32)
    print(f"Value and gradient of {shape[0]} lists of {shape[1]}, 30 % with a label above 0, jax {jax.__version__}\n")
    print("| loss | ms | Rax, ms | times | MB | Rax, MB | times |\n|:--|--:|--:|--:|--:|--:|--:|")
    rows = []
    for name in options.only or LOSSES:
        try:
            run, size = compiled(ours(name), *arrays)
        except (AttributeError, ModuleNotFoundError):
            continue
        if options.memory:
            print(f"| {name} | {size:.1f} |", flush=True)
            continue
        calls = {"ours": lambda run=run: jax.block_until_ready(run(*arrays))}
        peer = LOSSES.get(name)
        other = None
        if peer is not None and not options.no_rax:
            fn, other = compiled(theirs(peer), *arrays)
            calls["rax"] = lambda fn=fn: jax.block_until_ready(fn(*arrays))
        times = _timing.in_turn(calls, repeats=options.repeats)
        row = {"loss": name, "ms": times["ours"] * 1e3, "mb": size}
        if other is not None:
            row |= {"rax_ms": times["rax"] * 1e3, "rax_mb": other}
            text = f"{row['rax_ms']:.1f} | {row['rax_ms'] / row['ms']:.1f} | "
            end = f" | {other:.0f} | {other / max(size, 0.01):.0f} |"
            print(f"| {name} | {row['ms']:.1f} | {text}{size:.1f}{end}", flush=True)
        else:
            print(f"| {name} | {row['ms']:.1f} | | | {size:.1f} | | |", flush=True)
        rows.append(row)
    print("\n" + json.dumps(rows))


main()
