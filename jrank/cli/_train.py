"""Train a model on files: a cross-encoder on a collection of texts, a ranker on lists of feature vectors.

  jrank train cross-encoder --data beir/scifact/ --out reranker/ --loss lambdarank
  jrank train ranker --data train.txt --validation vali.txt --out ranker/ --loss approx-ndcg

What was trained is a directory for jrank export. With --resume DIR the state is kept there, and the same call continues
after an interruption as if there had been none. jrank train KIND --help lists the options.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from jrank.cli._tables import positive
from jrank.cli._train_texts import fraction, natural, positive_float

# Kind of model -> what the overview says. The module jrank.cli._train_<kind> holds add_arguments(parser) and
# run(args) -> dict, the report.
KINDS = {
    "cross-encoder": "reads query and document together; texts in the BEIR layout",
    "ranker": "a linear model or small network over feature vectors; LETOR or svmlight files",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the kinds, each with its options."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", title="kinds", required=True)
    for kind, summary in KINDS.items():
        module = importlib.import_module(f"jrank.cli._train_{kind.replace('-', '_')}")
        child = kinds.add_parser(
            kind,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        child.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        child.add_argument("--out", required=True, metavar="DIR", help="where the trained model goes")
        child.add_argument("--replace", action="store_true", help="write over a model that stands there")
        child.add_argument(
            "--format", choices=("table", "json"), default="table", help="of the report (default: table)"
        )
        module.add_arguments(child)


def add_loop_options(parser: argparse.ArgumentParser, *, rate: float, batch_size: int, loss: str) -> None:
    """Declare the options that all trainings share.

    Args:
      parser: of one kind.
      rate: the default learning rate.
      batch_size: the default.
      loss: the default.
    """
    group = parser.add_argument_group("training")
    group.add_argument(
        "--loss", metavar="NAME", help=f"any loss of jrank, such as lambdarank or listmle (default: {loss})"
    )
    parser.set_defaults(usual_loss=loss)
    group.add_argument("--epochs", type=positive, metavar="N", help="how often every list is seen, at most")
    group.add_argument("--batch-size", type=positive, default=batch_size, metavar="N", help=f"lists; {batch_size}")
    group.add_argument("--list-size", type=positive, metavar="N", help="most items of a training list")
    group.add_argument("--learning-rate", type=positive_float, default=rate, metavar="R", help=f"default: {rate:g}")
    group.add_argument("--weight-decay", type=float, default=0.01, metavar="R", help="of matrices (default: 0.01)")
    group.add_argument("--validate-every", type=positive, metavar="STEPS", help="default: an epoch")
    group.add_argument("--patience", type=positive, metavar="N", help="stop after N validations without improvement")
    group.add_argument("--seed", type=natural, default=0, help="of the order, the negatives, new weights (default: 0)")
    group.add_argument("--resume", metavar="DIR", help="keep the state there, and continue from it")


def run(args: argparse.Namespace) -> int:
    """Train, write the model and its report."""
    from jrank.errors import DataError
    from jrank.files import atomic_write
    from jrank.training import named_loss

    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file", reason="unwritable", hint="name a directory")
    if out.is_dir() and any(out.iterdir()) and not args.replace:
        raise DataError(f"{out} is not empty", reason="unwritable", hint="name a new directory, or pass --replace")
    args.loss_given, args.loss = args.loss is not None, args.loss or args.usual_loss
    args.loss_fn = named_loss(args.loss)
    report = importlib.import_module(f"jrank.cli._train_{args.kind.replace('-', '_')}").run(args)
    with atomic_write(out / "training.json", "w") as file:
        json.dump(report, file, indent=1)
        file.write("\n")
    if args.format == "json":
        print(json.dumps({key: value for key, value in report.items() if key != "history"}, indent=1))
    else:
        _print(report)
    sys.stderr.write(f"{out}: trained; jrank export {out} BUNDLE makes it ready to serve\n")
    return 0


def summary(args: argparse.Namespace, result: Any, **more: Any) -> dict[str, Any]:
    """The report of a training, ready for JSON.

    Args:
      args: the options.
      result: what the training function returned.
      **more: further entries.
    """
    options = {key: value for key, value in vars(args).items() if key not in ("loss_fn", "command", "debug", "format")}
    history = result.history
    return {
        "kind": args.kind,
        "model": args.out,
        "steps": len(history),
        "seconds": round(history.seconds[-1], 1) if len(history) else 0.0,
        "last loss": history.loss[-1] if len(history) else None,
        "best step": None if result.best is None else result.best.step,
        "validation ndcg@10": None if result.best is None else float(result.best.metric),
        **more,
        "options": options,
        "history": history.to_dict(),
    }


def _print(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if key in ("options", "history", "evaluation") or value is None:
            continue
        print(f"{key:<20}{value:.4g}" if isinstance(value, float) else f"{key:<20}{value}")
    rows = report.get("evaluation")
    if rows:
        metrics = list(next(iter(rows.values())))
        width = max(len(name) for name in rows) + 2
        print("\n" + " " * width + "".join(f"{metric:>10}" for metric in metrics))
        for name, values in rows.items():
            print(f"{name:<{width}}" + "".join(f"{values[metric]:>10.4f}" for metric in metrics))


__all__ = ["KINDS", "add_arguments", "add_loop_options", "fraction", "run", "summary"]
