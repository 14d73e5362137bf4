"""The parser over all commands, and the one place where errors become messages and exit codes."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from jrank import __version__
from jrank.errors import JrankError

# Command -> what the overview says. The module jrank.cli._<command> holds add_arguments(parser) and run(args) -> int.
COMMANDS = {
    "demo": "the whole road on real text: retrieve, fuse, rerank, train, export, serve, evaluate",
    "evaluate": "measure a run against relevance judgments",
    "compare": "compare runs: values, differences, and whether these are more than chance",
    "fuse": "fuse runs into one, with weights given or learned",
    "index": "index documents by their words or by vectors",
    "search": "search an index, or several at once",
    "train": "train a cross-encoder on texts, or a ranker on feature vectors",
    "export": "write a trained model as an ONNX bundle, checked against the model",
    "rerank": "order documents by a question with an exported cross-encoder; needs no jax",
    "serve": "answer rerank requests over HTTP with an exported cross-encoder; needs no jax",
    "doctor": "versions, devices, extras and weights that this installation has",
}


class _Parser(argparse.ArgumentParser):
    """Wrong usage: the usage line and what was wrong, without "error:" in front."""

    def error(self, message: str):
        self.print_usage(sys.stderr)
        sys.stderr.write(f"{self.prog}: {message}\n")
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
      arguments: the words after ``jrank``; None is those of the process.

    Returns:
      The exit code: 0, 1 when the work failed, 2 when the call was wrong, 130 when it was interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output is gone: nothing left to say to it
        return 1
    except SystemExit as stop:  # argparse leaves this way after --help, --version and wrong usage
        return stop.code if isinstance(stop.code, int) else 2 if stop.code else 0


def _run(words: list[str]) -> int:
    parser = _Parser(prog="jrank", description="The ranking library of the JAX ecosystem.")
    parser.add_argument("--version", action="version", version=f"jrank {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=_Parser)
    for name, summary in COMMANDS.items():
        # Only the command that is called is imported: the others stay an entry in the overview.
        chosen = bool(words) and words[0] == name
        module = importlib.import_module(f"jrank.cli._{name}") if chosen else None
        child = commands.add_parser(
            name,
            help=summary,
            description=(module.__doc__ or summary) if module else summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        child.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if module is not None:
            module.add_arguments(child)
    if not words:
        parser.print_help()
        return 2
    args = parser.parse_args(words)
    module = importlib.import_module(f"jrank.cli._{args.command}")
    try:
        return module.run(args)
    except BrokenPipeError:
        raise
    except (JrankError, OSError) as error:
        if args.debug:
            raise
        sys.stderr.write(f"jrank {args.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        kept = getattr(args, "resume", None)
        further = f"; the same command goes on from what {kept} holds" if kept else ""
        sys.stderr.write(f"\njrank {args.command}: interrupted{further}\n")
        return 130
