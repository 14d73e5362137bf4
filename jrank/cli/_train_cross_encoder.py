"""Train a cross-encoder on a collection in the BEIR layout.

Each training query gives a list: relevant documents, and negatives that a first stage ranks high. Queries of
qrels/dev.tsv choose the best parameters; without that file a tenth of the training queries does. Of a single file of
judgments 0.4 of the queries are kept for the test, 0.1 for validation, by the hash of their texts.

With --num-labels N the grades 0 to N - 1 are classes, learnt by cross-entropy, and the model has an output for each; a
document that nobody judged counts as grade 0. Ranked is by the expected grade. Several labels at once, which judgments
in this layout do not hold, are for fit_cross_encoder.

  jrank train cross-encoder --data beir/scifact/ --out reranker/
  jrank train cross-encoder --data beir/scifact/ --model my-model/ --out reranker/ --loss lambdarank --evaluate 50
  jrank search index/ --queries beir/scifact/queries.jsonl -k 100 -o found.trec
  jrank train cross-encoder --data beir/scifact/ --candidates found.trec --out reranker/ --resume state/
"""

import argparse
import sys
from typing import Any

from jrank.cli._tables import positive
from jrank.cli._train_texts import add_data_options, fraction, positive_float, read_task, rerank_test


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from jrank.cli._train import add_loop_options

    add_data_options(parser)
    parser.add_argument(
        "--model", metavar="DIR", help="a Hugging Face directory to start from (default: all-MiniLM-L6-v2)"
    )
    parser.add_argument("--max-length", type=positive, default=128, metavar="N", help="tokens of a pair (default: 128)")
    add_loop_options(parser, rate=5e-5, batch_size=8, loss="softmax")
    group = parser.add_argument_group("cross-encoder")
    group.add_argument(
        "--num-labels", type=positive, default=1, metavar="N", help="more than 1: outputs, one for each grade from 0"
    )
    group.add_argument("--max-steps", type=positive, metavar="N", help="the schedule ends with the last one")
    group.add_argument(
        "--head-learning-rate",
        type=positive_float,
        metavar="R",
        help="of pooler and head (default: 20 times the other for a new head)",
    )
    group.add_argument("--warmup", type=fraction, default=0.1, metavar="F", help="share of the steps (default: 0.1)")
    group.add_argument("--decay", choices=("linear", "cosine", "constant"), default="linear", help="default: linear")
    group.add_argument("--accumulate", type=positive, metavar="N", help="parts of a step, for less memory")
    group.add_argument("--dropout", action="store_true", help="as the model's configuration says")
    group.add_argument("--bf16", action="store_true", help="compute in bfloat16; for accelerators")
    group.add_argument("--remat", action="store_true", help="compute layers again instead of keeping them")
    group.add_argument("--devices", action="store_true", help="spread each step over all devices")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and write the model; returns the report."""
    import jax.numpy as jnp

    from jrank.cli._train import summary
    from jrank.models import DEFAULT_MODEL, CrossEncoder
    from jrank.sharding import make_mesh
    from jrank.training import fit_cross_encoder

    classes = args.num_labels > 1
    if classes:
        _check_options(args)
        args.loss, args.loss_fn = "cross-entropy", None
    elif args.positives is None:
        args.positives = 1
    task = read_task(args)
    if classes:
        _check_grades(task, args.num_labels)
    model = CrossEncoder.from_pretrained(args.model or DEFAULT_MODEL, num_labels=args.num_labels, seed=args.seed)
    progress = sys.stderr.isatty()
    sizes = f"{len(task.train)} lists, {len(task.validation)} for validation"
    sys.stderr.write(f"{task.collection!r}: {sizes}, candidates from {task.candidates.name}\n")
    result = fit_cross_encoder(
        model,
        task.train,
        validation=task.validation or None,
        loss=args.loss_fn,
        metric=graded_ndcg if classes else None,
        max_length=args.max_length,
        list_size=args.list_size,
        batch_size=args.batch_size,
        epochs=args.epochs,
        max_steps=args.max_steps,
        learning_rate=args.learning_rate,
        head_learning_rate=args.head_learning_rate,
        warmup=args.warmup,
        decay=args.decay,
        weight_decay=args.weight_decay,
        accumulate=args.accumulate,
        dropout=args.dropout,
        compute_dtype=jnp.bfloat16 if args.bf16 else jnp.float32,
        remat=args.remat,
        validate_every=args.validate_every,
        patience=args.patience,
        seed=args.seed,
        mesh=make_mesh() if args.devices else None,
        resume=args.resume,
        progress=progress,
    )
    result.model.save_pretrained(args.out)
    more: dict[str, Any] = {"lists": len(task.train)}
    if args.evaluate:

        def score(pairs: list[tuple[str, str]]) -> Any:
            scores = result.model.score(pairs, max_length=args.max_length, progress=progress)
            return expected_grade(scores) if classes else scores

        more["evaluation"], more["first stage in mix"] = rerank_test(task, score, args.evaluate)
    return summary(args, result, **more)


def expected_grade(outputs: Any) -> Any:
    """The mean of the grades, each with the probability that the outputs ``[..., grades]`` give it."""
    import jax
    import jax.numpy as jnp

    return jax.nn.softmax(jnp.asarray(outputs), axis=-1) @ jnp.arange(outputs.shape[-1], dtype=jnp.float32)


def graded_ndcg(outputs: Any, labels: Any, *, where: Any) -> Any:
    """NDCG@10 of the order by the expected grade."""
    from jrank.metrics import ndcg_metric

    return ndcg_metric(expected_grade(outputs), labels, where=where, topn=10)


def _check_options(args: argparse.Namespace) -> None:
    """Refuse what says nothing about classes."""
    from jrank.errors import DataError

    for name, wrong, why in (
        ("--loss", args.loss_given, "classes are learnt by cross-entropy"),
        ("--teacher", args.teacher is not None, "the scores of a teacher are no classes"),
        ("--min-grade", args.min_grade != 1, "every grade is a class of its own"),
    ):
        if wrong:
            raise DataError(
                f"{name} does not go with --num-labels {args.num_labels}: {why}",
                reason="invalid_value",
                hint=f"leave one of the two out, {name} or --num-labels",
            )


def _check_grades(task: Any, classes: int) -> None:
    """Refuse grades that are no classes."""
    from jrank.errors import DataError

    for query, _, labels in [*task.train, *task.validation]:
        for grade in labels:
            if grade != int(grade) or not 0 <= grade < classes:
                raise DataError(
                    f"a document of the query {query!r:.80} has the grade {grade:g}, "
                    f"expected a whole number from 0 to {classes - 1}",
                    reason="invalid_value",
                    hint="--num-labels is the largest grade plus 1",
                )
