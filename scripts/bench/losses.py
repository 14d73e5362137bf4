"""Time losses, value and gradient, against Rax: python scripts/bench losses (Rax comes from pip)."""

import argparse
import functools
import json

import _timing
import numpy as np

# Beside Rax: name here, and the form of Rax.
PEERS = {
    "softmax_loss": "softmax_loss",
    "listmle_loss": "listmle_loss",
    "unique_softmax_loss": "unique_softmax_loss",
    "pairwise_hinge_loss": "pairwise_hinge_loss",
    "pairwise_logistic_loss": "pairwise_logistic_loss",
    "LambdaRank": "lambdarank",
    "LambdaLoss": "lambdaloss",
    "ApproxNDCG": "approx_ndcg",
}
# Not of scores and labels alone.
APART = {"contrastive_loss", "info_nce_loss"}


def forms():
    """Every loss of scores and labels, and forms of them, by the name in the table: functions of scores and labels."""
    import jax

    import jrank
    from jrank import losses as L
    from jrank import metrics as M

    part, key = functools.partial, {"key": jax.random.key(0)}
    sampled = {"pl_rank_loss": {}, "policy_gradient_loss": {}}
    options = sampled | {"pairwise_loss": {"pair_loss_fn": squared_margin}}
    found = {}
    for name in sorted(n for n in L.__all__ if n.endswith("_loss") and n not in APART):
        given = options.get(name, {}) | (key if name in sampled else {})
        found[name] = part(getattr(L, name), **given)
    weighted = {
        "LambdaRank": jrank.dcg_lambdaweight,
        "LambdaLoss": jrank.dcg2_lambdaweight,
        "logistic, ap_lambdaweight": L.ap_lambdaweight,
        "logistic, err_lambdaweight": L.err_lambdaweight,
        "logistic, mrr_lambdaweight": L.mrr_lambdaweight,
    }
    found |= {name: part(L.pairwise_logistic_loss, lambdaweight_fn=fn) for name, fn in weighted.items()}
    found |= {
        "lambdarank_loss, truncation=30": part(L.lambdarank_loss, truncation=30),
        "listnet_loss, topn=3": part(L.listnet_loss, topn=3, **key),
        "neural_ndcg_loss, topn=10": part(L.neural_ndcg_loss, topn=10),
        "neural_ndcg_loss, softsort": part(L.neural_ndcg_loss, method="softsort"),
        "neural_ndcg_loss, sinkhorn=20": part(L.neural_ndcg_loss, sinkhorn=20),
        "pirank_loss, topn=10, depth=2": part(L.pirank_loss, topn=10, depth=2),
    }
    found |= {
        f"Approx{name}": jrank.approx_t12n(getattr(M, metric))
        for name, metric in {"NDCG": "ndcg_metric", "AP": "ap_metric", "MRR": "mrr_metric"}.items()
    }
    found |= {
        f"ApproxNDCG, {method}": jrank.approx_t12n(M.ndcg_metric, method=method)
        for method in ("l2", "kl", "laplace", "softsort", "neuralsort", "network")
    }
    found |= {
        "bound_t12n(ndcg_metric)": jrank.bound_t12n(M.ndcg_metric),
        "Gumbel-ApproxNDCG, one sample": part(jrank.gumbel_t12n(found["ApproxNDCG"], samples=1), **key),
        "Gumbel-softmax_loss, one sample": part(jrank.gumbel_t12n(L.softmax_loss, samples=1), **key),
    }
    return found


def squared_margin(x, dy):
    """A pair loss of the user's own."""
    import jax.numpy as jnp

    return jnp.square(jnp.maximum(1 - x, 0.0)), dy > 0


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
    parser.add_argument("--every", action="store_true", help="all losses, not only those that Rax has too")
    parser.add_argument("--repeats", type=int, default=3, help="calls; 0 runs each once, without a call to warm up")
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
    known = forms()
    chosen = options.only or (known if options.every else PEERS)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        parser.error(f"there is no loss {unknown[0]!r}; known are {', '.join(known)}")
    print("| loss | MB |\n|:--|--:|" if options.memory else HEADER)
    rows = []
    for name in chosen:
        run, size = compiled(known[name], *arrays)
        if options.memory:
            print(f"| {name} | {size:.0f} |", flush=True)
            rows.append({"loss": name, "mb": size})
            continue
        calls = {"ours": lambda run=run: jax.block_until_ready(run(*arrays))}
        other = None
        if name in PEERS and not options.no_rax:
            fn, other = compiled(theirs(PEERS[name]), *arrays)
            calls["rax"] = lambda fn=fn: jax.block_until_ready(fn(*arrays))
        times = _timing.in_turn(calls, repeats=max(1, options.repeats), warmup=min(1, options.repeats))
        row = {"loss": name, "ms": times["ours"] * 1e3, "mb": size}
        if other is not None:
            row |= {"rax_ms": times["rax"] * 1e3, "rax_mb": other}
            text = f"{row['rax_ms']:.1f} | {row['rax_ms'] / row['ms']:.1f} | "
            end = f" | {other:.0f} | {other / max(size, 0.01):.0f} |"
            print(f"| {name} | {row['ms']:.1f} | {text}{size:.1f}{end}", flush=True)
        else:
            print(f"| {name} | {row['ms']:.1f} | | | {size:.1f} | | |", flush=True)
        rows.append(row)
    print("\n" + json.dumps({"where": _timing.where(), "rows": rows}))


HEADER = "| loss | ms | Rax, ms | times | MB | Rax, MB | times |\n|:--|--:|--:|--:|--:|--:|--:|"
main()
