"""Train a cross-encoder on a collection in the BEIR layout.

Each training query gives a list: relevant documents, and negatives that a first stage ranks high. Queries of
qrels/dev.tsv choose the best parameters; without that file a tenth of the training queries does. Of a single file of
judgments 0.4 of the queries are kept for the test, 0.1 for validation, by the hash of their texts.

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

    task = read_task(args)
    model = CrossEncoder.from_pretrained(args.model or DEFAULT_MODEL, num_labels=1, seed=args.seed)
    progress = sys.stderr.isatty()
    sizes = f"{len(task.train)} lists, {len(task.validation)} for validation"
    sys.stderr.write(f"{task.collection!r}: {sizes}, candidates from {task.candidates.name}\n")
    result = fit_cross_encoder(
        model,
        task.train,
        validation=task.validation or None,
        loss=args.loss_fn,
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
        more["evaluation"], more["first stage in mix"] = rerank_test(
            task,
            lambda pairs: result.model.score(pairs, max_length=args.max_length, progress=progress),
            args.evaluate,
        )
    return summary(args, result, **more)
