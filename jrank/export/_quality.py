"""What quantisation costs: the same inputs scored by both graphs."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from jrank.errors import ExportError
from jrank.evaluation import evaluate
from jrank.export._jobs import PAIR_INPUTS, Job
from jrank.export._parity import run_graph
from jrank.text import PairTokenizer

__all__ = ["Quality", "compare_scores", "measure_quality"]

BATCH = 8


@dataclasses.dataclass(frozen=True)
class Quality:
    """How far the scores of a quantised model are from those of the float32 model.

    Attributes:
      pairs: how many scores were compared.
      texts: True for the caller's pairs of texts, False for made-up inputs.
      max_abs_error: largest absolute difference.
      score_std: standard deviation of the float32 scores, for comparison.
      kendall_tau: rank correlation (tau-b), the mean over the queries that have at least two documents.
      kendall_tau_min: the same of the worst query.
      queries: how many queries that were.
      top1: share of those queries whose best document stays the best.
      ndcg: NDCG@10 of the quantised model; None where the pairs came without grades.
      ndcg_change: by how much that is above the float32 model's.
    """

    pairs: int
    texts: bool
    max_abs_error: float
    score_std: float
    kendall_tau: float
    kendall_tau_min: float
    queries: int
    top1: float
    ndcg: float | None = None
    ndcg_change: float | None = None


def measure_quality(job: Job, full: bytes, small: bytes, pairs: Iterable[Sequence[Any]] | None) -> Quality:
    """Score the same inputs with both graphs.

    Args:
      job: what was exported.
      full: the float32 graph.
      small: the quantised graph.
      pairs: (query, document) texts, or (query, document, grade); None = made-up inputs.

    Returns:
      The figures, of the first output's first column.

    Raises:
      ExportError: the quantised graph cannot be run, gives no finite numbers, or there is nothing to score.
    """
    for case, output in zip(job.cases, run_graph(small, job.cases, job.outputs), strict=True):
        if not all(np.isfinite(value).all() for value in output):
            shape = next(iter(case.values())).shape
            raise ExportError(f"the quantised graph's numbers at {shape} are not finite", reason="quantization")
    grades = None
    if job.tokenizer is None:
        rows, queries = job.cases, None
    elif pairs is None:
        rows, queries = _made_up(job.facts["vocab_size"], job.facts["max_length"])
    else:
        texts, labels = _graded(list(pairs))
        rows, queries, order = _encode(job.tokenizer, texts, job.facts["max_length"])
        grades = None if labels is None else labels[order]
    if not rows:
        raise ExportError("there are no pairs to compare the quantised model on", reason="invalid_parameter")
    before, after = (run_graph(model, rows, job.outputs) for model in (full, small))
    if queries is None:  # a function's cases count as one list each
        queries = np.concatenate([np.full(output[0].size, i) for i, output in enumerate(before)])
        want, got = (np.concatenate([output[0].ravel() for output in side]) for side in (before, after))
    else:
        want, got = (np.concatenate([output[0][:, 0] for output in side]) for side in (before, after))
    return compare_scores(want, got, queries, texts=pairs is not None, grades=grades)


def _graded(pairs: Sequence[Sequence[Any]]) -> tuple[list[tuple[str, str]], np.ndarray | None]:
    """Take the grades off, if there are any."""
    widths = {len(pair) for pair in pairs}
    if not widths <= {2, 3} or len(widths) > 1:
        raise ExportError(
            "pairs must be (query, document) each, or (query, document, grade) each", reason="invalid_parameter"
        )
    texts = [(pair[0], pair[1]) for pair in pairs]
    try:
        labels = np.array([float(pair[2]) for pair in pairs]) if widths == {3} else None
    except (TypeError, ValueError):
        labels = np.array([np.nan])
    if labels is not None and not np.isfinite(labels).all():
        raise ExportError("the grades of pairs must be finite numbers", reason="invalid_parameter")
    return texts, labels


def _encode(
    tokenizer: PairTokenizer, pairs: Sequence[tuple[str, str]], max_length: int
) -> tuple[list[dict[str, np.ndarray]], np.ndarray, np.ndarray]:
    encoded = tokenizer.encode_pairs(pairs, max_length=max_length)
    order = np.argsort(-encoded.lengths, kind="stable")
    rows = [
        dict(zip(PAIR_INPUTS, tokenizer.pad(encoded, order[i : i + BATCH]), strict=True))
        for i in range(0, len(order), BATCH)
    ]
    seen: dict[str, int] = {}
    return rows, np.array([seen.setdefault(pairs[i][0], len(seen)) for i in order], int), order


def _made_up(vocab_size: int, max_length: int) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    """Draw rows of token ids, eight for each of six queries."""
    rng = np.random.default_rng(22)
    rows, length = [], min(64, max_length)
    for _ in range(6):
        lengths = rng.integers(max(1, length // 4), length + 1, BATCH)
        mask = (np.arange(length)[None, :] < lengths[:, None]).astype(np.int32)
        rows.append(
            {
                "input_ids": rng.integers(0, vocab_size, (BATCH, length)).astype(np.int32),
                "attention_mask": mask,
                "token_type_ids": np.zeros((BATCH, length), np.int32),
            }
        )
    return rows, np.repeat(np.arange(6), BATCH)


def compare_scores(
    want: np.ndarray, got: np.ndarray, queries: np.ndarray, *, texts: bool, grades: np.ndarray | None = None
) -> Quality:
    """Compare the scores of two models.

    Args:
      want: scores of the better model, [n].
      got: scores of the other, [n].
      queries: an integer per score: which query it belongs to.
      texts: whether real texts were scored.
      grades: how relevant each is, [n]; None = not known.

    Returns:
      The figures; 1 for the correlation where no query has two documents.
    """
    want, got = np.asarray(want, np.float64), np.asarray(got, np.float64)
    before, after = (None, None) if grades is None else (_ndcg(side, grades, queries) for side in (want, got))
    taus, first = [], []
    for query in np.unique(queries):
        mine = queries == query
        if mine.sum() < 2 or np.ptp(want[mine]) == 0.0:
            continue
        tau = stats.kendalltau(want[mine], got[mine]).statistic
        taus.append(float(np.nan_to_num(tau)))
        first.append(int(np.argmax(want[mine])) == int(np.argmax(got[mine])))
    return Quality(
        pairs=len(want),
        texts=texts,
        max_abs_error=float(np.abs(want - got).max(initial=0.0)),
        score_std=float(want.std()) if len(want) else 0.0,
        kendall_tau=float(np.mean(taus)) if taus else 1.0,
        kendall_tau_min=min(taus, default=1.0),
        queries=len(taus),
        top1=float(np.mean(first)) if first else 1.0,
        ndcg=after,
        ndcg_change=None if before is None or after is None else after - before,
    )


def _ndcg(scores: np.ndarray, grades: np.ndarray, queries: np.ndarray) -> float:
    """NDCG@10 over the documents that were scored; a query without a relevant one counts 0."""
    qrels, run = {}, {}
    for query in np.unique(queries).tolist():
        mine = np.flatnonzero(queries == query).tolist()
        qrels[str(query)] = {str(i): float(grades[i]) for i in mine}
        run[str(query)] = {str(i): float(scores[i]) for i in mine}
    return float(evaluate(qrels, run, "ndcg@10")["ndcg@10"])
