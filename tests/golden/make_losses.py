"""Write losses.json: gradients of LightGBM and values of sentence-transformers on random data.

Run in an environment with lightgbm, torch and sentence-transformers; the project itself needs none of them:

    python tests/golden/make_losses.py
"""

import json
import pathlib

import lightgbm
import numpy as np
import sentence_transformers
import torch
from sentence_transformers.cross_encoder import losses as cross
from sentence_transformers.sentence_transformer import losses as bi

RNG = np.random.default_rng(20261130)


def lightgbm_gradient(scores, labels, sizes, **params):
    """Gradients of the objective lambdarank, item by item.

    LightGBM does not show them. A tree of two leaves, one of which holds some items, has the value -g / (h + l2) there,
    summed over these items: two values of l2 give g. It takes leaves with little curvature for empty; an item of that
    kind is put together with the one that has most.
    """

    def of_items(*items):
        leaf = []
        for l2 in (1.0, 3.0):
            data = lightgbm.Dataset(
                np.isin(np.arange(len(scores)), items).astype(float)[:, None],
                label=labels,
                group=sizes,
                init_score=scores,
                params={"min_data_in_bin": 1, "feature_pre_filter": False, "verbose": -1},
            )
            options = {
                "objective": "lambdarank",
                "min_data_in_leaf": 0,
                "min_sum_hessian_in_leaf": 0.0,
                "lambda_l2": l2,
                "num_leaves": 2,
                "learning_rate": 1.0,
                "num_threads": 1,
                "verbose": -1,
            }
            leaf.append(lightgbm.train(options | params, data, num_boost_round=1).predict(np.array([[1.0]]))[0])
        if 0.0 in leaf:
            return None, 0.0
        gradient = 2.0 / (1 / leaf[0] - 1 / leaf[1])
        return gradient, -gradient / leaf[0] - 1.0

    alone = [of_items(i) for i in range(len(scores))]
    anchor = max(range(len(scores)), key=lambda i: alone[i][1])
    out = []
    for i, (gradient, _) in enumerate(alone):
        if gradient is None:
            both, _ = of_items(i, anchor)
            gradient = None if both is None else both - alone[anchor][0]
        out.append(None if gradient is None else round(gradient, 7))
    return out


def of_lightgbm():
    sizes = [9, 25, 1, 12]
    n = sum(sizes)
    scores, labels = np.round(RNG.normal(size=n) * 2, 1), RNG.integers(0, 5, size=n)
    cases = [
        {
            "norm": norm,
            "truncation": k,
            "gradient": lightgbm_gradient(scores, labels, sizes, lambdarank_norm=norm, lambdarank_truncation_level=k),
        }
        for norm, k in ((True, 30), (False, 5), (True, 5))
    ]
    return {"scores": scores.tolist(), "labels": labels.tolist(), "sizes": sizes, "cases": cases}


class Scores:
    """A model whose outputs are known: it looks up the number of each pair."""

    num_labels = 1
    device = "cpu"

    def __init__(self, scores):
        self.scores = torch.tensor(scores.reshape(-1))

    def preprocess(self, pairs, **_):
        return {"index": torch.tensor([int(document) for _, document in pairs])}

    def __call__(self, features):
        return {"scores": self.scores[features["index"]]}


def of_cross_encoders():
    scores = RNG.normal(size=(4, 7)) * 1.5
    labels = np.stack([RNG.permutation(7) for _ in range(4)]) / 2.0
    grades = RNG.integers(0, 4, size=(4, 7)).astype(float)
    names = [[str(7 * i + j) for j in range(7)] for i in range(4)]
    weights = {
        "ndcg1": cross.NDCGLoss1Scheme(),
        "ndcg2": cross.NDCGLoss2Scheme(),
        "ndcg2pp": cross.NDCGLoss2PPScheme(mu=10.0),
        "lambdarank": cross.LambdaRankScheme(),
    }
    model = Scores(scores)
    losses = {
        "listnet": (cross.ListNetLoss(model), grades),
        "listmle": (cross.ListMLELoss(model, respect_input_order=False), labels),
        "p_listmle": (cross.PListMLELoss(model, respect_input_order=False), labels),
        "ranknet": (cross.RankNetLoss(model), grades),
        "adr_mse": (cross.ADRMSELoss(model), grades),
        "lambdarank@3": (cross.LambdaLoss(model, weighting_scheme=weights["lambdarank"], k=3), grades),
    }
    losses |= {name: (cross.LambdaLoss(model, weighting_scheme=weight), grades) for name, weight in weights.items()}
    values = {}
    for name, (loss, y) in losses.items():
        value = loss(inputs=[["q"] * 4, names], labels=[torch.tensor(row) for row in y])
        values[name] = round(float(value), 7)
    return {"scores": scores.tolist(), "labels": labels.tolist(), "grades": grades.tolist(), "values": values}


class Embeddings:
    """A model that returns what it is given."""

    def __call__(self, features):
        return {"sentence_embedding": features["embedding"]}


def of_bi_encoders():
    q, d, hard = (RNG.normal(size=(6, 5)) for _ in range(3))
    features = [{"embedding": torch.tensor(x)} for x in (q, d, hard)]
    loss = bi.MultipleNegativesRankingLoss(Embeddings(), scale=20.0)
    margin = bi.MarginMSELoss(Embeddings())
    wanted = RNG.normal(size=6)
    return {
        "queries": q.tolist(),
        "positives": d.tolist(),
        "negatives": hard.tolist(),
        "margins": wanted.tolist(),
        "multiple_negatives": round(float(loss(features, None)), 7),
        "margin_mse": round(float(margin(features, torch.tensor(wanted))), 7),
    }


if __name__ == "__main__":
    golden = {
        "made_with": {"lightgbm": lightgbm.__version__, "sentence-transformers": sentence_transformers.__version__},
        "lightgbm": of_lightgbm(),
        "cross_encoders": of_cross_encoders(),
        "bi_encoders": of_bi_encoders(),
    }
    place = pathlib.Path(__file__).with_name("losses.json")
    place.write_text(json.dumps(golden, indent=1) + "\n")
