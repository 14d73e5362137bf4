"""The stages of the demo in the order of the road, and what the report says about them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jrank.cli._demo_learning import FEATURES, Served, rerank_with_cross_encoder, train_cross_encoder, train_ranker
from jrank.cli._demo_plan import Plan
from jrank.cli._demo_report import Results, Stage, write_documents
from jrank.cli._demo_shelf import Clock, Shelf, late_interaction, only, reranked, retrieve
from jrank.cli._doctor import examine
from jrank.data import Collection
from jrank.evaluation import compare, evaluate
from jrank.runs import Qrels, Run

METRICS = ["ndcg@10", "mrr@10", "recall@100"]


def run_stages(
    collection: Collection,
    weights: Path,
    plan: Plan,
    out: Path,
    *,
    seed: int,
    progress: bool,
    say: Callable[[str], None],
) -> Results:
    """Run everything, from the index to the served cross-encoder.

    Args:
      collection: documents, queries, grades and splits.
      weights: a Hugging Face directory.
      plan: the sizes.
      out: where the bundles, the training state and the documents are written.
      seed: of the shuffles, the new head and the dropout.
      progress: whether bars are shown on stderr.
      say: takes a line for the user.

    Returns:
      What the table and the report show.
    """
    clock, stages = Clock(), []
    test = list(collection.splits["test"])
    qrels = Qrels({query: collection.qrels[query] for query in test})

    def stage(name: str, run: Run, parts: Sequence[str], note: str) -> None:
        seconds = sum(clock.seconds[part] for part in parts)
        stages.append(Stage(name, run, 1000 * seconds / len(test), note))
        say(f"  {name}: NDCG@10 {evaluate(qrels, run, METRICS[:1])[METRICS[0]]:.4f}")

    say("1/5 index and retrieve")
    shelf = retrieve(collection, weights, plan, clock, progress=progress)
    fused = ("bm25", "dense", "fuse")
    stage("BM25", only(shelf.runs["bm25"], test), fused[:1], "Lexical search on stemmed words.")
    stage("dense", only(shelf.runs["dense"], test), fused[1:2], "Exact search on mean-pooled MiniLM embeddings.")
    stage("RRF", only(shelf.runs["rrf"], test), fused, "Reciprocal rank fusion of BM25 and dense, k = 60.")

    say("2/5 rerank with MaxSim over token embeddings")
    late = late_interaction(shelf, plan, clock, progress=progress)
    note = f"The {plan.candidates} best of RRF, by MaxSim over the token embeddings of the same encoder."
    stage("RRF + MaxSim", reranked(shelf, late, test), (*fused, "maxsim"), note)

    say("3/5 learn a ranker over the features")
    ranker, run = train_ranker(shelf, late, plan, clock, seed=seed, progress=progress)
    note = f"A small network over {', '.join(FEATURES)}; trained with ApproxNDCG."
    stage("learned ranker", run, (*fused, "maxsim", "rank features"), note)

    say("4/5 train the cross-encoder, export it, serve it")
    trained = train_cross_encoder(shelf, weights, plan, out, clock, seed=seed, progress=progress)
    served = rerank_with_cross_encoder(shelf, trained.model, plan, out, clock)
    note = f"Fine-tuned here from MiniLM, exported to ONNX, served by ONNX Runtime on the {plan.depth} best of RRF."
    stage("cross-encoder", served.plain, (*fused, "serve"), note)
    note = f"Blended with the first stage; its weight, {served.weight:.1f}, was chosen on the validation queries."
    stage("cross-encoder + RRF", served.blended, (*fused, "serve"), note)
    stage("cross-encoder int8", served.int8, (*fused, "serve int8"), "The same, quantised to int8.")

    say("5/5 evaluate on the held-out queries")
    report = compare(qrels, {s.name: s.run for s in stages}, METRICS, baseline=stages[0].name)
    write_documents(out / "documents.jsonl", collection, served.example_documents)
    return Results(
        stages=stages,
        report=report,
        metrics=METRICS,
        facts=facts(collection, plan, clock, served, len(trained.history), seed),
        history=trained.history,
        ranker_history=ranker.history,
        heat=heat_map(shelf, late, test),
        example_query=served.example_query,
        sweep=sweep(shelf, test),
    )


def facts(collection: Collection, plan: Plan, clock: Clock, served: Served, steps: int, seed: int) -> dict[str, str]:
    """Return what the report says about how it was made, by name.

    Args:
      collection: the collection.
      plan: the sizes.
      clock: the times.
      served: the exported model.
      steps: steps of the cross-encoder's training.
      seed: the seed.
    """
    found = examine()
    splits = ", ".join(f"{len(ids)} {split}" for split, ids in collection.splits.items())
    return {
        "collection": f"{collection.name}: {len(collection.documents)} documents; queries: {splits}",
        "training": f"{steps} steps of {plan.queries_per_step} queries with {1 + plan.negatives} documents each, "
        f"{clock.seconds['train']:.0f} s",
        "export": served.summary,
        "versions": ", ".join(f"{name} {found[name]}" for name in ("jrank", "python", "jax", "onnxruntime")),
        "seed": str(seed),
    }


def heat_map(
    shelf: Shelf, late: dict[str, dict[str, float]], test: Sequence[str]
) -> tuple[np.ndarray, list[str], list[str]]:
    """Choose a test query and its best document by MaxSim, short enough to read, and compare their tokens.

    Args:
      shelf: what the first stages know.
      late: MaxSim by query and document.
      test: the test queries.

    Returns:
      Similarities ``[q, t]``, the query's tokens, the document's tokens.
    """

    def readable(pair: tuple[str, str]) -> tuple[bool, float]:
        query, doc = pair
        short = 6 <= len(shelf.query_tokens[shelf.query_place[query]]) <= 14
        return short and 12 <= len(shelf.tokens[shelf.place[doc]]) <= 40, late[query][doc]

    best = [(query, max(late[query], key=late[query].__getitem__)) for query in test if late[query]]
    query, doc = max(best, key=readable)
    q, t = shelf.query_tokens[shelf.query_place[query]], shelf.tokens[shelf.place[doc]][:40]
    tokenizer = shelf.encoder.tokenizer
    assert tokenizer is not None  # an encoder read from a directory has one
    names = [
        tokenizer.tokens(tokenizer.encode_texts([text], max_length=512).ids[0])[1:-1]
        for text in (shelf.words[query], shelf.text[doc])
    ]
    return q @ t.T, names[0][: len(q)], names[1][: len(t)]


def sweep(shelf: Shelf, test: Sequence[str]) -> np.ndarray:
    """Return the eight best BM25 scores of a test query that has eight different ones.

    Args:
      shelf: what the first stages know.
      test: the test queries.
    """
    for query in test:
        values = np.array(list(shelf.runs["bm25"][query].values())[:8])
        if len(np.unique(values)) == 8:
            return values
    return np.arange(8.0)
