"""Time metrics on arrays against NumPy, Rax, ranx, pytrec_eval: python scripts/bench metrics (peers come from pip)."""

import argparse
import functools

import _timing
import numpy as np


def ideal_floor(scores, labels, k=10):
    """NDCG@k by argpartition: what NumPy needs at least."""
    rows = np.arange(len(scores))[:, None]
    top = np.argpartition(-scores, k, axis=1)[:, :k]
    top = np.take_along_axis(top, np.argsort(-scores[rows, top], axis=1), axis=1)
    discount = 1 / np.log2(np.arange(k) + 2)
    best = -np.sort(np.partition(-labels, k, axis=1)[:, :k], axis=1)
    gain, ideal = (np.exp2(y) - 1 for y in (labels[rows, top], best))
    whole = (ideal * discount).sum(1)
    return np.mean((gain * discount).sum(1) / np.where(whole == 0, 1, whole))


def long_list(n):
    import jax
    import jax.numpy as jnp

    import jrank

    rng = np.random.default_rng(1)
    scores = jnp.asarray(rng.normal(size=n), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 5, n), jnp.float32)
    rows = []
    for name in ("ndcg_metric", "ap_metric", "opa_metric", "kendall_metric", "tau_ap_metric", "q_metric"):
        run = jax.jit(getattr(jrank, name))
        rows.append(
            (
                f"{name}, one list of {n:,}",
                _timing.seconds(lambda r=run: r(scores, labels).block_until_ready(), 3),
                None,
            )
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--docs", type=int, default=1000)
    parser.add_argument("--long", type=int, default=1_000_000)
    options = parser.parse_args()
    import jax
    import jax.numpy as jnp

    import jrank

    rng = np.random.default_rng(0)
    shape = (options.queries, options.docs)
    scores = rng.normal(size=shape).astype(np.float32)
    labels = (rng.integers(1, 4, shape) * (rng.random(shape) < 0.05)).astype(np.float32)
    ours = jax.jit(functools.partial(jrank.ndcg_metric, topn=10))
    device = jnp.asarray(scores), jnp.asarray(labels)
    calls = {
        "ours": lambda: ours(*device).block_until_ready(),
        "numpy": lambda: ideal_floor(scores, labels),
    }
    values = {"numpy": ideal_floor(scores, labels), "ours": float(ours(*device))}
    short = slice(0, max(1, options.queries // 10))
    try:
        import ranx

        ids = [f"q{i}" for i in range(options.queries)]
        run = {
            q: {f"d{j}": float(s) for j, s in enumerate(row)} for q, row in zip(ids[short], scores[short], strict=False)
        }
        # Every document was judged, as in the arrays.
        qrels = {
            q: {f"d{j}": int(g) for j, g in enumerate(row)} for q, row in zip(ids[short], labels[short], strict=False)
        }
        theirs = ranx.Qrels(qrels), ranx.Run(run)
        calls["ranx"] = lambda: ranx.evaluate(*theirs, "ndcg_burges@10")
        values["ranx"] = float(ranx.evaluate(*theirs, "ndcg_burges@10"))
        import pytrec_eval

        judge = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"})
        calls["pytrec"] = lambda: judge.evaluate(run)
    except ModuleNotFoundError:
        pass
    try:
        import rax

        other = jax.jit(functools.partial(rax.ndcg_metric, topn=10))
        part = tuple(x[short] for x in device)
        calls["rax"] = lambda: other(*part).block_until_ready()
        values["rax"] = float(other(*part))
    except ModuleNotFoundError:
        pass
    values["ours, first part"] = float(ours(*(x[short] for x in device)))
    times = _timing.in_turn(calls, repeats=5)
    scale = options.queries / (short.stop - short.start)
    rows = [("NDCG@10, against NumPy argpartition", times["ours"], times["numpy"])]
    for name in ("ranx", "pytrec", "rax"):
        if name in times:
            rows.append(
                (
                    f"NDCG@10, against {name} (a tenth of the queries, times {scale:.0f})",
                    times["ours"],
                    times[name] * scale,
                )
            )
    rows += long_list(options.long) if options.long else []
    _timing.report(f"NDCG@10 of {options.queries} lists of {options.docs}", rows)
    print("\n".join(f"{name}: {value:.6f}" for name, value in values.items()))


main()
