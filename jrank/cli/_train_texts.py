"""Training lists from a collection: what ``jrank train`` does for every model that reads texts."""

import argparse
import dataclasses
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jrank.cli._tables import positive

if TYPE_CHECKING:
    from jrank.data import Collection
    from jrank.runs import Run

SHARES = {"test": 0.4, "validation": 0.1}
SHARES_OF_FIRST = [share / 10 for share in range(11)]


def fraction(text: str) -> float:
    """Read an option that is a number from 0 to below 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to below 1, got {value}")
    return value


def positive_float(text: str) -> float:
    """Read an option that is a finite number above 0."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"must be above 0, got {value}")
    return value


def natural(text: str) -> int:
    """Read an option that is an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be at least 0, got {value}")
    return value


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Declare which lists are trained on."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data", required=True, metavar="DIR", help="a collection in the BEIR layout, perhaps with qrels/train.tsv"
    )
    group.add_argument(
        "--candidates",
        default="bm25",
        metavar="FROM",
        help="what the first stage finds: a run that jrank search wrote, the directory of an index of words, or bm25 "
        "(default), which indexes the collection",
    )
    group.add_argument("--negatives", type=natural, default=7, metavar="N", help="of each list (default: 7)")
    group.add_argument(
        "--positives", type=positive, metavar="N", help="most of each list (default: 1, with --num-labels all)"
    )
    group.add_argument(
        "--depth", type=positive, default=50, metavar="N", help="negatives come from the first N (default: 50)"
    )
    group.add_argument("--skip-top", type=natural, default=0, metavar="N", help="but not from the very first N")
    group.add_argument(
        "--min-grade", type=positive_float, default=1.0, metavar="G", help="that is relevant (default: 1)"
    )
    group.add_argument(
        "--teacher",
        metavar="RUN",
        help="a run whose scores are the labels, for margin-mse and kl-distillation; documents that it does not hold "
        "are left out",
    )
    group.add_argument(
        "--validation-queries", type=natural, default=100, metavar="N", help="most of them; 0 for none (default: 100)"
    )
    group.add_argument(
        "--validation-depth", type=positive, default=20, metavar="N", help="documents of each (default: 20)"
    )
    group.add_argument(
        "--evaluate",
        type=positive,
        metavar="N",
        help="at the end, rerank the first N of each test query, also mixed with the first stage",
    )


@dataclasses.dataclass(frozen=True)
class Task:
    """What a model is trained and judged on.

    Attributes:
      collection: the texts and judgments.
      candidates: what the first stage found, for the queries of all splits.
      train: (query, documents, labels) each.
      validation: the same; empty for none.
      held_out: the ids of the validation queries.
    """

    collection: "Collection"
    candidates: "Run"
    train: list[tuple[str, list[str], list[float]]]
    validation: list[tuple[str, list[str], list[float]]]
    held_out: list[str]


def read_task(args: argparse.Namespace) -> Task:
    """Read a collection and make lists of it.

    Args:
      args: with the options of ``add_data_options`` and ``seed``.

    Raises:
      DataError: a file is missing or malformed, or there is nothing to train on.
    """
    from jrank.data import read_beir
    from jrank.errors import DataError
    from jrank.runs import Run
    from jrank.training import mine_negatives

    collection = read_beir(args.data, shares=SHARES)
    train, held_out = _split(collection, args.validation_queries)
    if not train:
        raise DataError(
            f"{args.data} has no training queries",
            reason="empty",
            hint="expected qrels/train.tsv, or one qrels.tsv, of which a part is for training",
        )
    test = list(collection.splits.get("test", ())) if args.evaluate else []
    deepest = max(args.depth, args.validation_depth, args.evaluate or 0)
    candidates = _candidates(args.candidates, collection, [*train, *held_out, *test], deepest)
    judged, texts = collection.qrels.to_dict(), dict(zip(collection.doc_ids, collection.documents, strict=True))
    queries = dict(zip(collection.query_ids, collection.queries, strict=True))
    teacher = Run.read(args.teacher) if args.teacher else None
    found = {query: candidates.get(query, {}) for query in train}
    if teacher is not None:
        found = {query: {d: s for d, s in row.items() if d in teacher.get(query, {})} for query, row in found.items()}
    mined = mine_negatives(
        found,
        judged,
        num_negatives=args.negatives,
        max_positives=args.positives,
        skip_top=args.skip_top,
        depth=args.depth,
        min_grade=args.min_grade,
        seed=args.seed,
    )
    if teacher is not None:
        mined = _taught(mined, teacher)
    # A list of one document has no order to learn, though pointwise losses could use it.
    lists = [
        (queries[query], [texts[doc] for doc in docs], labels)
        for query, (docs, labels) in mined.items()
        if len(docs) > 1
    ]
    if not lists:
        raise DataError(
            f"no training query of {args.data} has two documents to compare",
            reason="empty",
            hint=f"candidates come from {args.candidates}; see --candidates, --depth and --min-grade",
        )
    validation = []
    for query in held_out:
        grades = judged.get(query, {})
        docs = [doc for doc in _best(candidates.get(query, {}), args.validation_depth) if doc in texts]
        labels = [float(grades.get(doc, 0)) for doc in docs]
        if max(labels, default=0) >= args.min_grade:
            validation.append((queries[query], [texts[doc] for doc in docs], labels))
    return Task(collection, candidates, lists, validation, held_out)


def _split(collection: "Collection", most: int) -> tuple[list[str], list[str]]:
    """Training and validation queries; without a split for validation, a tenth of the training queries."""
    splits = collection.splits
    train, held_out = list(splits.get("train", ())), list(splits.get("validation", ()))
    if not held_out and most:
        # By the text alone, so that equal queries stay together and another seed moves none.
        drawn = {
            q: not zlib.crc32(text.encode()) % 10 for q, text in zip(train, collection.queries_of(train), strict=True)
        }
        held_out = [query for query in train if drawn[query]]
        train = [query for query in train if not drawn[query]]
    return train, held_out[:most]


def _candidates(source: str, collection: "Collection", queries: list[str], depth: int) -> "Run":
    from jrank.errors import DataError
    from jrank.retrieval import BM25Index, load_index
    from jrank.runs import Run

    place, known = Path(source), set(collection.doc_ids)
    if source != "bm25" and not place.is_dir():
        given = Run.read(source)
        rows = {q: {doc: score for doc, score in given[q].items() if doc in known} for q in queries if q in given}
        if not any(rows.values()):
            raise DataError(
                f"{source} holds none of the {len(queries)} queries with documents of the collection",
                reason="invalid_value",
                hint="search the queries of the same collection",
            )
        return Run(rows, name=place.name)
    if source == "bm25":
        index: Any = BM25Index.build(collection.documents, ids=collection.doc_ids)
    else:
        index = load_index(place)
        if not hasattr(index, "analyzer"):
            raise DataError(
                f"{source} is no index of words",
                reason="invalid_value",
                hint="search it with jrank search --queries, and pass the run that this writes",
            )
    found = index.search(collection.queries_of(queries), depth)
    rows = {
        query: {str(doc): float(score) for doc, score in row if str(doc) in known}
        for query, row in zip(queries, found, strict=True)
    }
    return Run(rows, name="bm25" if source == "bm25" else place.name)


def _taught(
    mined: dict[str, tuple[list[str], list[float]]], teacher: "Run"
) -> dict[str, tuple[list[str], list[float]]]:
    taught = {}
    for query, (docs, _) in mined.items():
        scores = teacher.get(query, {})
        known = [doc for doc in docs if doc in scores]
        taught[query] = known, [float(scores[doc]) for doc in known]
    return taught


def _best(scores: Any, depth: int) -> list[str]:
    return sorted(scores, key=lambda doc: -scores[doc])[:depth]


def rerank_test(task: Task, score: Any, depth: int) -> tuple[dict[str, dict[str, float]], float | None]:
    """Rerank what the first stage found for the test queries, and judge both orders and a mix of the two.

    Args:
      task: the task.
      score: a function of (query, document) pairs to their scores.
      depth: how many documents of each query are reranked; the others keep their places below.

    Returns:
      For the first stage, "reranked" and "mixed" the values of NDCG@10, MAP and reciprocal rank; and the share of the
      first stage in the mix, the one that is best on the validation queries. Without those there is no mix.
    """
    from jrank.evaluation import evaluate
    from jrank.fusion import refine

    collection = task.collection
    texts = dict(zip(collection.doc_ids, collection.documents, strict=True))
    queries = dict(zip(collection.query_ids, collection.queries, strict=True))
    test = list(collection.splits.get("test", ()))
    found = {query: _best(task.candidates.get(query, {}), depth) for query in [*test, *task.held_out]}
    pairs = [(queries[query], texts[doc]) for query in found for doc in found[query]]
    scores = iter(score(pairs).tolist() if pairs else [])
    second = {query: {doc: next(scores) for doc in docs} for query, docs in found.items()}

    def judged(chosen: list[str], share: float, metrics: list[str]) -> dict[str, float]:
        """The values of some queries, with a share of the first stage in the scores; 1 is the first stage alone."""
        first = {query: task.candidates.get(query, {}) for query in chosen}
        run = refine(first, {query: second[query] for query in chosen}, alpha=share)
        return dict(evaluate(collection.qrels_of(chosen), run, metrics))

    metrics = ["ndcg@10", "map", "mrr"]
    rows = {task.candidates.name or "first stage": judged(test, 1.0, metrics), "reranked": judged(test, 0.0, metrics)}
    if not task.held_out:
        return rows, None
    quality = [judged(task.held_out, share, ["ndcg@10"])["ndcg@10"] for share in SHARES_OF_FIRST]
    share = SHARES_OF_FIRST[quality.index(max(quality))]  # of equal ones the smallest
    return rows | {"mixed": judged(test, share, metrics)}, share
