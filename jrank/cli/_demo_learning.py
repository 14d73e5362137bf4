"""The two stages of the demo that learn: a ranker over features, and the cross-encoder on its way to the server."""

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jrank import export, serving, training
from jrank.cli._demo_plan import Plan, training_steps
from jrank.cli._demo_shelf import Clock, Shelf, only, reranked
from jrank.errors import TrainError
from jrank.evaluation import evaluate
from jrank.fusion import refine
from jrank.metrics import ndcg_metric
from jrank.models import CrossEncoder, MLPRanker
from jrank.runs import Qrels, Run
from jrank.transforms import approx_t12n

FEATURES = (
    "bm25", "dense", "maxsim", "1/rank bm25", "1/rank dense", "rrf", "log query length", "log document length",
)  # fmt: skip
WEIGHTS = np.linspace(0.1, 1.0, 10)


@dataclasses.dataclass
class Served:
    """What the exported cross-encoder did on the test queries."""

    plain: Run
    blended: Run
    int8: Run
    weight: float
    summary: str
    example_query: str
    example_documents: list[str]


def features(shelf: Shelf, late: dict[str, dict[str, float]], queries: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Return the features of the candidates of some queries, as padded lists.

    Args:
      shelf: what the first stages know.
      late: MaxSim of the candidates of every query.
      queries: which queries.

    Returns:
      Features ``[queries, n, f]``, labels ``[queries, n]``, mask ``[queries, n]``.
    """
    n = max(len(late[query]) for query in queries)
    x = np.zeros((len(queries), n, len(FEATURES)), np.float32)
    labels, where = np.zeros((len(queries), n), np.float32), np.zeros((len(queries), n), bool)
    grades = shelf.collection.qrels.to_dict()
    for i, query in enumerate(queries):
        row = shelf.query_place[query]
        place = {name: {doc: r for r, doc in enumerate(shelf.runs[name][query], 1)} for name in shelf.runs}
        fused = shelf.runs["rrf"][query]
        for j, (doc, maxsim) in enumerate(late[query].items()):
            column = shelf.place[doc]
            x[i, j] = (
                shelf.bm25[row, column],
                shelf.query_vectors[row] @ shelf.vectors[column],
                maxsim,
                1 / place["bm25"].get(doc, np.inf),
                1 / place["dense"].get(doc, np.inf),
                fused[doc],
                np.log1p(len(shelf.query_tokens[row])),
                np.log1p(len(shelf.tokens[column])),
            )
            labels[i, j] = grades.get(query, {}).get(doc, 0)
            where[i, j] = True
    return x, labels, where


def train_ranker(
    shelf: Shelf, late: dict[str, dict[str, float]], plan: Plan, clock: Clock, *, seed: int, progress: bool
) -> tuple[training.FitResult, Run]:
    """Fit a small network on the training queries, and rank the candidates of the test queries with it.

    Args:
      shelf: what the first stages know.
      late: MaxSim of the candidates of every query.
      plan: the sizes.
      clock: takes the time of ranking.
      seed: of the initial parameters and the order.
      progress: whether a bar is shown.

    Returns:
      The fit, and the run of the test queries.
    """
    splits = shelf.collection.splits
    train, validation = (features(shelf, late, splits[name]) for name in ("train", "validation"))
    fit = training.fit_ranker(
        MLPRanker(len(FEATURES), hidden=(32, 16), seed=seed),
        train,
        validation=validation,
        loss=approx_t12n(ndcg_metric, temperature=0.1),
        epochs=30 if plan.epochs else 3,
        batch_size=64,
        learning_rate=3e-3,
        patience=5,
        seed=seed,
        progress=progress,
    )
    test = list(splits["test"])
    fit.model(*features(shelf, late, test)[:1])  # compiles
    with clock.measure("rank features"):
        x, _, _ = features(shelf, late, test)
        scores = np.asarray(fit.model(x))
    values = {
        query: dict(zip(late[query], row.tolist(), strict=False)) for query, row in zip(test, scores, strict=True)
    }
    return fit, reranked(shelf, values, test)


def train_cross_encoder(
    shelf: Shelf, weights: Path, plan: Plan, out: Path, clock: Clock, *, seed: int, progress: bool
) -> training.FitResult:
    """Train the cross-encoder on the relevant document and the mined negatives of every training query.

    An interrupted run leaves its state in the output directory, and the next run with the same options goes on from it.

    Args:
      shelf: what the first stages know.
      weights: the directory to start from.
      plan: the sizes.
      out: where the state stands while training lasts.
      clock: takes the time.
      seed: of the new head, the order, the negatives and the dropout.
      progress: whether a bar is shown.

    Returns:
      The fit.
    """
    collection = shelf.collection

    def lists(split: str, negatives: int) -> list[tuple[str, list[str], list[float]]]:
        queries = list(collection.splits[split])
        found = {query: list(shelf.runs["bm25"][query]) for query in queries}
        mined = training.mine_negatives(found, collection.qrels, num_negatives=negatives, seed=seed)
        return [(shelf.words[q], [shelf.text[d] for d in docs], labels) for q, (docs, labels) in mined.items()]

    state = out / ".training"

    def fit() -> training.FitResult:
        return training.fit_cross_encoder(
            CrossEncoder.from_pretrained(weights, num_labels=1, seed=seed),
            lists("train", plan.negatives),
            validation=lists("validation", 9),
            max_length=plan.pair_tokens,
            list_size=1 + plan.negatives,
            batch_size=plan.queries_per_step,
            max_steps=training_steps(plan, len(collection.splits["train"])),
            learning_rate=1e-4,
            head_learning_rate=1e-3,  # the head is new, and at the rate of the trunk it wakes up late
            seed=seed,
            resume=state if plan.resumable else None,
            save_every=20,
            progress=progress,
        )

    with clock.measure("train"):
        try:
            result = fit()
        except TrainError as error:
            if error.reason != TrainError.Reason.INVALID_STATE:
                raise
            shutil.rmtree(state)  # left by an interrupted run with other options: nothing to continue
            result = fit()
    shutil.rmtree(state, ignore_errors=True)
    return result


def rerank_with_cross_encoder(shelf: Shelf, model: CrossEncoder, plan: Plan, out: Path, clock: Clock) -> Served:
    """Export the model, serve it with ONNX Runtime, and rerank the fused candidates of the test queries.

    Args:
      shelf: what the first stages know.
      model: the trained model.
      plan: the sizes.
      out: where the bundles are written.
      clock: takes the times of serving.

    Returns:
      The runs and the reports of the export.
    """
    splits = shelf.collection.splits
    asked = list(splits["validation"])[:8]
    pairs = [(shelf.words[query], shelf.text[doc]) for query in asked for doc in shelf.fused(query)[: plan.depth]]
    report = export.to_onnx(model, out / "bundle", max_length=plan.served_tokens)
    int8_report = export.to_onnx(
        model, out / "bundle-int8", max_length=plan.served_tokens, quantize="int8", pairs=pairs
    )
    server = serving.CrossEncoder.from_file(out / "bundle")
    small = serving.CrossEncoder.from_file(out / "bundle-int8")

    validation = list(splits["validation"])
    weight = best_weight(shelf, validation, scores_of(shelf, server, validation, plan))
    test = list(splits["test"])
    with clock.measure("serve"):
        scores = scores_of(shelf, server, test, plan)
    with clock.measure("serve int8"):
        small_scores = scores_of(shelf, small, test, plan)
    quality = int8_report.quality
    assert quality is not None  # a quantised export always has one
    summary = (
        f"ONNX differs from Flax by {report.max_abs_error:.1e} at most; int8 has "
        f"{int8_report.files['model.onnx'] / report.files['model.onnx']:.0%} of the size, "
        f"Kendall tau {quality.kendall_tau:.3f} with float32"
    )
    example = test[0]
    return Served(
        plain=reranked(shelf, scores, test),
        blended=blended(shelf, scores, test, weight),
        int8=reranked(shelf, small_scores, test),
        weight=weight,
        summary=summary,
        example_query=shelf.words[example],
        example_documents=shelf.fused(example)[:20],
    )


def scores_of(
    shelf: Shelf, server: serving.CrossEncoder, queries: Sequence[str], plan: Plan
) -> dict[str, dict[str, float]]:
    """Score the best fused candidates of every query, all pairs in one batch.

    Args:
      shelf: what the first stages know.
      server: the served model.
      queries: which queries.
      plan: how many candidates.

    Returns:
      Scores by query and document.
    """
    places = [(query, doc) for query in queries for doc in shelf.fused(query)[: plan.depth]]
    values = server.score_batch([(shelf.words[query], shelf.text[doc]) for query, doc in places])
    scores: dict[str, dict[str, float]] = {query: {} for query in queries}
    for (query, doc), value in zip(places, values.tolist(), strict=True):
        scores[query][doc] = value
    return scores


def blended(shelf: Shelf, scores: dict[str, dict[str, float]], queries: Sequence[str], weight: float) -> Run:
    """Blend the scores with those of the first stage, both scaled to [0, 1] over the scored documents.

    Args:
      shelf: what the first stages know.
      scores: by query and document.
      queries: which queries.
      weight: of the cross-encoder, in [0, 1].
    """
    first = only(shelf.runs["rrf"], queries)
    return refine(first, {query: scores[query] for query in queries}, alpha=1 - weight)


def best_weight(shelf: Shelf, queries: Sequence[str], scores: dict[str, dict[str, float]]) -> float:
    """Return the weight of the blend that is best on some queries; of equal ones the largest.

    Args:
      shelf: what the first stages know.
      queries: the validation queries.
      scores: of the cross-encoder, by query and document.
    """
    qrels = Qrels({query: shelf.collection.qrels[query] for query in queries})
    quality = [evaluate(qrels, blended(shelf, scores, queries, w), ["ndcg@10"])["ndcg@10"] for w in WEIGHTS]
    return float(max(zip(quality, WEIGHTS, strict=True))[1])
