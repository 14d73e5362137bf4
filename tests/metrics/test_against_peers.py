"""Values of pytrec_eval (trec_eval) and ranx, list by list; tests/golden/make_metrics.py made them."""

import jax
import numpy as np
import pytest

from jrank import metrics as M
from jrank.runs import Qrels, Run


def test_lists(golden):
    lists = golden("metrics.json")["lists"]
    width = max(len(one["scores"]) for one in lists)
    scores, labels = np.full((len(lists), width), -np.inf, np.float32), np.full((len(lists), width), -2, np.float32)
    where = np.zeros((len(lists), width), bool)
    for row, one in enumerate(lists):
        n = len(one["scores"])
        scores[row, :n] = np.where(one["found"], one["scores"], -np.inf)
        labels[row, :n], where[row, :n] = one["labels"], True
    linear = {"gain_fn": M.linear_gain_fn}
    table = {
        ("trec", "ndcg"): (M.ndcg_metric, linear),
        ("trec", "ndcg_cut_5"): (M.ndcg_metric, {"topn": 5, **linear}),
        ("trec", "map"): (M.ap_metric, {}),
        ("trec", "map_cut_5"): (M.ap_metric, {"topn": 5}),
        ("trec", "recip_rank"): (M.mrr_metric, {}),
        ("trec", "P_5"): (M.precision_metric, {"topn": 5}),
        ("trec", "recall_5"): (M.recall_metric, {"topn": 5}),
        ("trec", "success_5"): (M.success_metric, {"topn": 5}),
        ("trec", "Rprec"): (M.rprec_metric, {}),
        ("trec", "bpref"): (M.bpref_metric, {}),
        ("trec", "infAP"): (M.infap_metric, {}),
        ("ranx", "ndcg_burges@5"): (M.ndcg_metric, {"topn": 5}),
        ("ranx", "mrr@5"): (M.mrr_metric, {"topn": 5}),
        ("ranx", "f1@5"): (M.f_metric, {"topn": 5}),
        ("ranx", "hits@5"): (M.hits_metric, {"topn": 5}),
    }
    for (peer, name), (metric, options) in table.items():
        got = metric(scores, labels, where=where, reduce_fn=None, **options)
        want = [one[peer][name] for one in lists]
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6, err_msg=f"{peer} {name}")


@pytest.mark.data
def test_expected_output_of_trec_eval(data_dir):
    folder = data_dir / "trec_eval" / "test"
    qrels, run = Qrels.read(folder / "qrels.test"), Run.read(folder / "results.test")
    # Documents in the order of trec_eval, then the judged ones that were not found.
    lists = [[*run[q], *(d for d in qrels[q] if d not in run[q])] for q in qrels]
    width = max(map(len, lists))
    scores = np.full((len(lists), width), -np.inf, np.float32)
    labels, where = np.full((len(lists), width), -2, np.float32), np.zeros((len(lists), width), bool)
    for row, (query, documents) in enumerate(zip(qrels, lists, strict=True)):
        found = len(run[query])
        scores[row, :found], where[row, : len(documents)] = -np.arange(found), True
        # Outside the pool a label below -1; -1 in the pool, not judged.
        labels[row, : len(documents)] = [qrels[query].get(d, -2) for d in documents]
    linear = {"gain_fn": M.linear_gain_fn}
    table = {
        "ndcg": (M.ndcg_metric, linear),
        "ndcg_cut_10": (M.ndcg_metric, {"topn": 10, **linear}),
        "map": (M.ap_metric, {}),
        "map_cut_100": (M.ap_metric, {"topn": 100}),
        "recip_rank": (M.mrr_metric, {}),
        "P_20": (M.precision_metric, {"topn": 20}),
        "recall_500": (M.recall_metric, {"topn": 500}),
        "success_1": (M.success_metric, {"topn": 1}),
        "Rprec": (M.rprec_metric, {}),
        "bpref": (M.bpref_metric, {}),
        "infAP": (M.infap_metric, {}),
        "set_F": (M.f_metric, {}),
        "rbp": (M.rbp_metric, {"p": 0.9, "graded": True}),
    }

    @jax.jit
    def run_all(s, y, w):
        return {name: fn(s, y, where=w, reduce_fn=None, **options) for name, (fn, options) in table.items()}

    got = {
        name: dict(zip(qrels, values.tolist(), strict=True)) for name, values in run_all(scores, labels, where).items()
    }
    seen = 0
    for line in (folder / "out.test.aq").read_text().splitlines():
        name, query, value = line.split(None, 2)
        if name in table and query != "all":
            assert abs(got[name][query] - float(value)) < 0.51e-4, (name, query)
            seen += 1
    assert seen == 3 * len(table)
