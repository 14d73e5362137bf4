"""Train a ranker over feature vectors on LETOR or svmlight files.

  jrank train ranker --data train.txt --validation vali.txt --test test.txt --out ranker/
  jrank train ranker --data rank.train --validation rank.test --out ranker/ --hidden 64,32 --loss approx-ndcg

A line is "label qid:Q i:v i:v …". Without qid, a file FILE.query with the number of items of each list is read, as
LightGBM has it. Inputs are shifted and scaled by the training items, and the model keeps the numbers.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from jrank.cli._train_texts import fraction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from jrank.cli._train import add_loop_options

    group = parser.add_argument_group("data")
    group.add_argument("--data", required=True, metavar="FILE", help="lists to train on; may end in .gz")
    group.add_argument("--validation", metavar="FILE", help="lists to choose the best parameters by")
    group.add_argument("--test", metavar="FILE", help="lists to judge the model on at the end")
    add_loop_options(parser, rate=3e-3, batch_size=32, loss="softmax")
    group = parser.add_argument_group("ranker")
    group.add_argument(
        "--hidden", type=_widths, default=(), metavar="N,N", help="widths of hidden layers (default: none, linear)"
    )
    group.add_argument("--dropout", type=fraction, default=0.0, metavar="F", help="of the hidden layers (default: 0)")
    group.add_argument("--log1p", action="store_true", help="take logarithms of the inputs: counts, long tails")


def _widths(text: str) -> tuple[int, ...]:
    widths = tuple(int(part) for part in text.split(",") if part.strip())
    if any(width < 1 for width in widths):
        raise argparse.ArgumentTypeError(f"widths must be at least 1, got {text}")
    return widths


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and write the model; returns the report."""
    from jrank.cli._train import summary
    from jrank.models import MLPRanker
    from jrank.training import fit_ranker

    paths = [path for path in (args.data, args.validation, args.test) if path]
    read = dict(zip(paths, _same_width([_read(path) for path in paths]), strict=True))
    train = read[args.data]
    sys.stderr.write(f"{args.data}: {train}\n")
    width = train.features.shape[1]
    result = fit_ranker(
        MLPRanker(width, hidden=args.hidden, dropout=args.dropout, log1p=args.log1p, seed=args.seed),
        train,
        validation=read[args.validation] if args.validation else None,
        loss=args.loss_fn,
        epochs=args.epochs or 50,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        weight_decay=args.weight_decay,
        list_size=args.list_size,
        validate_every=args.validate_every,
        patience=args.patience,
        seed=args.seed,
        resume=args.resume,
        progress=sys.stderr.isatty(),
    )
    result.model.save(args.out)
    more: dict[str, Any] = {"lists": len(train)}
    if args.test:
        more["evaluation"] = {"test": _judge(result.model, read[args.test])}
    return summary(args, result, **more)


def _read(path: str) -> Any:
    from jrank.data import read_letor

    sizes = Path(f"{path}.query")
    return read_letor(path, sizes=sizes if sizes.is_file() else None)


def _same_width(lists: list[Any]) -> list[Any]:
    """Features that a file never names are 0 there."""
    import numpy as np

    width = max(data.features.shape[1] for data in lists)
    return [
        dataclasses.replace(data, features=np.pad(data.features, ((0, 0), (0, width - data.features.shape[1]))))
        for data in lists
    ]


def _judge(model: Any, data: Any) -> dict[str, float]:
    from jrank.metrics import mrr_metric, ndcg_metric

    features, labels, where = data.padded()
    scores = model(features, where)
    return {
        "ndcg@5": float(ndcg_metric(scores, labels, where=where, topn=5)),
        "ndcg@10": float(ndcg_metric(scores, labels, where=where, topn=10)),
        "mrr": float(mrr_metric(scores, labels, where=where)),
    }
