"""Texts with ids, from files and from standard input: what the commands on documents and queries read."""

import json
import os
import sys
from collections.abc import Iterable, Iterator

MAX_LINE = 8 << 20
MAX_BYTES = 4 << 30

INPUTS = ("auto", "jsonl", "tsv", "lines")


def read_texts(source: str, kind: str = "auto") -> Iterator[tuple[str, str]]:
    """Read texts with their ids, one per line.

    Args:
      source: its path, or "-" for standard input.
      kind: "lines"; "jsonl", objects with "text" and perhaps "title" and "_id"; "tsv", an id, a tab, the text; or
        "auto": JSON if the first line that is not empty starts with a brace, tabs if the name ends in ``.tsv``.

    Yields:
      Id and text; without an id, the number of the line. Empty lines are skipped.

    Raises:
      DataError: the file cannot be read, or a line of JSON has no text; the message names file and line.
    """
    for _, key, text in numbered_texts(source, kind):
        yield key, text


def numbered_texts(source: str, kind: str = "auto") -> Iterator[tuple[int, str, str]]:
    """Read texts as ``read_texts`` does.

    Args:
      source: see ``read_texts``.
      kind: see ``read_texts``.

    Yields:
      The number of the line, the id and the text.
    """
    from jrank.errors import DataError
    from jrank.files import read_lines

    name = "stdin" if source == "-" else source
    if kind == "auto" and name.removesuffix(".gz").endswith(".tsv"):
        kind = "tsv"
    lines: Iterable[tuple[int, str]] = _stdin() if source == "-" else read_lines(source, max_bytes=MAX_BYTES)
    for number, line in lines:
        if not line.strip():
            continue
        if kind == "auto":
            kind = "jsonl" if line.lstrip().startswith("{") else "lines"
        if kind == "lines":
            yield number, str(number), line
        elif kind == "tsv":
            key, tab, text = line.partition("\t")
            if not tab or not key.strip():
                raise DataError(
                    f"{name}, line {number}: expected an id, a tab and a text", reason="malformed", hint="see --input"
                )
            yield number, key.strip(), text
        else:
            yield number, *_parsed(line, name, number)


def _parsed(line: str, name: str, number: int) -> tuple[str, str]:
    from jrank.errors import DataError

    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{name}, line {number}: not JSON: {error}", reason="malformed", hint="--input lines reads plain text"
        ) from None
    text, title = (value.get("text"), value.get("title")) if isinstance(value, dict) else (None, None)
    if not isinstance(text, str):
        raise DataError(f'{name}, line {number}: there is no text in "text"', reason="malformed")
    key = value.get("_id", value.get("id"))
    whole = f"{title} {text}" if isinstance(title, str) and title.strip() else text
    return str(number if key is None else key), whole


def unique_texts(source: str, kind: str = "auto") -> Iterator[tuple[str, str]]:
    """Read texts as ``read_texts`` does, and refuse an id that comes twice.

    Args:
      source: a file, "-", or a directory in the BEIR layout, whose ``corpus.jsonl`` is read.
      kind: see ``read_texts``.

    Raises:
      DataError: see ``read_texts``; or an id comes twice.
    """
    from jrank.errors import DataError

    if source != "-" and os.path.isdir(source):
        found = [os.path.join(source, name) for name in ("corpus.jsonl", "corpus.jsonl.gz")]
        source = next((path for path in found if os.path.exists(path)), found[0])
    name = "stdin" if source == "-" else source
    first: dict[str, int] = {}
    for number, key, text in numbered_texts(source, kind):
        if first.setdefault(key, number) != number:
            raise DataError(
                f"{name}, line {number}: the id {key!r} comes a second time, first on line {first[key]}",
                reason="duplicate",
                hint="keep one of the two lines",
            )
        yield key, text


def _stdin() -> Iterator[tuple[int, str]]:
    from jrank.errors import DataError

    number = 0
    while line := sys.stdin.buffer.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise DataError(f"stdin, line {number}: longer than {MAX_LINE} bytes", reason="too_large")
        try:
            yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"stdin, line {number}: byte {error.start} is not UTF-8", reason="encoding", hint="send UTF-8"
            ) from None
