"""The command line: ``jrank COMMAND`` and ``python -m jrank COMMAND``.

Data goes to stdout; progress and messages go to stderr. The exit code is 0, 1 when the work failed, 2 when the call was
wrong. One file holds one command; it is imported only when that command runs, so ``jrank rerank`` needs no jax.

>>> main(["--version"])  # doctest: +ELLIPSIS
jrank ...
0
"""

from jrank.cli._main import main

__all__ = ["main"]
