"""Values of pytrec_eval (trec_eval) and ranx, list by list; tests/golden/make_metrics.py made them."""

import numpy as np

from jrank import metrics as M


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
