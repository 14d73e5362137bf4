"""Train a small ranker with each loss on the LETOR files beside the project: python scripts/bench choosing [--seeds 5].

It writes the table of docs/choosing-a-loss.md to stdout. JRANK_DATA names the folder that holds ltr/.
"""

import argparse
import functools
import os
import pathlib
import statistics
import sys
import time

import numpy as np
from _timing import ROOT


def losses():
    """The losses of the table, by the name they have in it."""
    import jrank
    from jrank import losses as L

    ndcg = jrank.approx_t12n(jrank.ndcg_metric)
    return {
        "pointwise_sigmoid_loss": L.pointwise_sigmoid_loss,
        "pointwise_mse_loss": L.pointwise_mse_loss,
        "ordinal_loss": L.ordinal_loss,
        "pairwise_hinge_loss": L.pairwise_hinge_loss,
        "pairwise_logistic_loss": L.pairwise_logistic_loss,
        "pairwise_logistic_loss, normalize=list": functools.partial(L.pairwise_logistic_loss, normalize="list"),
        "lambdarank_loss": L.lambdarank_loss,
        "ndcg2pp_loss": L.ndcg2pp_loss,
        "softmax_loss": L.softmax_loss,
        "poly1_softmax_loss": L.poly1_softmax_loss,
        "unique_softmax_loss": L.unique_softmax_loss,
        "listmle_loss": L.listmle_loss,
        "p_listmle_loss, normalize": functools.partial(L.p_listmle_loss, normalize=True),
        "listnet_loss": L.listnet_loss,
        "approx_t12n(ndcg), T=1": ndcg,
        "approx_t12n(ndcg), T=0.1": jrank.approx_t12n(jrank.ndcg_metric, 0.1),
        "approx_t12n(ndcg), T=1, l2": jrank.approx_t12n(jrank.ndcg_metric, 1.0, method="l2"),
        "approx_t12n(ap), T=1": jrank.approx_t12n(jrank.ap_metric),
        "bound_t12n(ndcg)": jrank.bound_t12n(jrank.ndcg_metric),
        "gumbel_t12n(approx_t12n(ndcg))": jrank.gumbel_t12n(ndcg),
        "neural_ndcg_loss": L.neural_ndcg_loss,
        "smooth_ap_loss": L.smooth_ap_loss,
        "spearman_loss": L.spearman_loss,
        "pl_rank_loss": L.pl_rank_loss,
    }


def collections(data):
    """Training and test lists, padded, of the two data sets."""
    from jrank.data import read_letor

    folder = data / "ltr"
    mq = (read_letor(folder / "mq2008_fold1" / f"{part}.txt") for part in ("train", "test"))
    example = folder / "lightgbm_rank"
    sizes = (example / "rank.train.query", example / "rank.test.query")
    files = (example / "rank.train", example / "rank.test")
    bench = (read_letor(path, sizes=size, num_features=301) for path, size in zip(files, sizes, strict=True))
    return {"MQ2008": tuple(mq), "LightGBM": tuple(bench)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    data = pathlib.Path(os.environ.get("JRANK_DATA", ROOT.parent / "shared" / "data"))
    import jax

    from jrank import metrics, models, training
    from jrank.errors import TrainError

    found = collections(data)
    print("| loss | " + " | ".join(f"{name} NDCG@10" for name in found) + " | s |\n|:--|" + "--:|" * (len(found) + 1))
    ndcg = jax.jit(functools.partial(metrics.ndcg_metric, topn=10))
    for name, loss in losses().items():
        if options.only and name not in options.only:
            continue
        cells, started = [], time.perf_counter()
        for train, test in found.values():
            values = []
            features, labels, where = test.padded()
            for seed in range(options.seeds):
                model = models.MLPRanker(features.shape[-1], hidden=(64,), dropout=0.1, seed=seed)
                recipe = {"epochs": options.epochs, "batch_size": 64, "learning_rate": 3e-3, "weight_decay": 1e-2}
                try:
                    done = training.fit_ranker(
                        model, train, loss=loss, list_size=120, seed=seed, progress=False, **recipe
                    )
                except TrainError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    break
                scores = done.model(features, where=where)
                values.append(float(ndcg(scores, labels, where=where)))
            if len(values) < options.seeds:
                cells.append("diverged")
                continue
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{np.mean(values):.4f} ± {spread:.4f}")
        print(f"| `{name}` | " + " | ".join(cells) + f" | {time.perf_counter() - started:.0f} |", flush=True)


main()
