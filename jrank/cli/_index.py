"""Index documents, to be searched with jrank search. Indexes of words need no jax.

  jrank index corpus.jsonl index/
  jrank index beir/scifact/ index/ --variant bm25+ --k1 1.2
  jrank index new.jsonl index/ --add
  jrank index corpus.jsonl vectors/ --kind dense

Documents come one per line: plain text; JSON with "text" and, if there are, "title" and "_id"; or (.tsv) an id, a tab
and the text. A directory in the BEIR layout and standard input (-) are read too; any file may end in .gz. An index that
stands at the place already is left alone unless --add, --update or --replace says what to do. The index is written
whole or not at all.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from jrank.cli._tables import positive
from jrank.cli._texts import INPUTS, unique_texts

# Texts that go through the encoder at a time.
BATCH = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("documents", help="a file, a directory in the BEIR layout, or - for standard input")
    parser.add_argument("out", help="the directory of the index")
    parser.add_argument("--input", choices=INPUTS, default="auto", help="default: by the first line")
    there = parser.add_mutually_exclusive_group()
    there.add_argument(
        "--add", action="store_true", help="add to the index at that place; an id that is there is wrong"
    )
    there.add_argument("--update", action="store_true", help="the same, but documents with known ids are replaced")
    there.add_argument("--replace", action="store_true", help="build anew in place of the index that stands there")
    parser.add_argument(
        "--kind", choices=("bm25", "tfidf", "likelihood", "dense"), default="bm25", help="default: bm25"
    )
    words = parser.add_argument_group("words")
    words.add_argument(
        "--language", default="english", metavar="NAME", help="of the stemmer; none does not stem (default: english)"
    )
    words.add_argument("--stop-words", metavar="FILE", help="words to leave out, one per line; none leaves out nothing")
    words.add_argument("--ngrams", type=positive, default=1, metavar="N", help="2 adds pairs of words (default: 1)")
    bm25 = parser.add_argument_group("bm25")
    bm25.add_argument("--variant", help="lucene (default), robertson, atire, bm25l or bm25+")
    bm25.add_argument("--k1", type=float, help="default: 1.5")
    bm25.add_argument("--b", type=float, help="default: 0.75")
    parser.add_argument_group("dense").add_argument(
        "--encoder", metavar="DIR", help="a Hugging Face directory (default: all-MiniLM-L6-v2); needs jax"
    )


def run(args: argparse.Namespace) -> int:
    """Build or change the index."""
    from jrank.errors import DataError
    from jrank.files import progress
    from jrank.retrieval import load_index

    out = Path(args.out)
    there = (out / "manifest.json").exists()
    if there and not (args.add or args.update or args.replace):
        raise DataError(
            f"an index stands at {out} already",
            reason="unwritable",
            hint="--add adds to it, --update replaces documents in it, --replace builds anew",
        )
    given = {name: getattr(args, name) for name in ("variant", "k1", "b") if getattr(args, name) is not None}
    if given and (args.kind != "bm25" or args.add or args.update):
        raise DataError(
            f"--{next(iter(given))} belongs to a new index of kind bm25", reason="invalid_value", hint="leave it out"
        )
    ids: list[str] = []
    new = None if args.add or args.update else _new(args, given)
    # Without a terminal a bar would only fill a log.
    source = unique_texts(args.documents, args.input)
    texts = _noted(progress(source, description="documents", enabled=sys.stderr.isatty()), ids)
    if new is None:
        index = load_index(out)
        kind = type(index).__name__
        items = _encoded(texts, args.encoder) if kind == "DenseIndex" else texts
        index.add(items, ids, update=args.update)
    else:
        index = new
        index.add(_encoded(texts, args.encoder) if args.kind == "dense" else texts, ids)
    if not ids:
        raise DataError(f"{args.documents} holds no document", reason="empty", hint="expected one per line")
    index.save(out)
    sys.stderr.write(f"{out}: {index}\n")
    return 0


def _noted(texts: Any, ids: list[str]) -> Any:
    """Pass texts on and note their ids, so that a corpus is read once and never held."""
    for name, text in texts:
        ids.append(name)
        yield text


def _new(args: argparse.Namespace, params: dict[str, Any]) -> Any:
    from jrank import retrieval
    from jrank.text import Analyzer

    if args.kind == "dense":
        return retrieval.DenseIndex()
    stop: Any = "auto"
    if args.stop_words is not None:
        stop = None if args.stop_words == "none" else set(_words(args.stop_words))
    language = None if args.language == "none" else args.language
    analyzer = Analyzer(language=language, stop_words=stop, ngrams=args.ngrams)
    kinds = {
        "bm25": retrieval.BM25Index,
        "tfidf": retrieval.TfidfIndex,
        "likelihood": retrieval.QueryLikelihoodIndex,
    }
    return kinds[args.kind](analyzer=analyzer, **params)


def _words(path: str) -> list[str]:
    from jrank.files import read_lines

    return [line.strip() for _, line in read_lines(path) if line.strip() and not line.startswith("#")]


def _encoded(texts: Any, encoder: str | None) -> Any:
    import itertools

    import numpy as np

    from jrank.models import TextEncoder

    model = TextEncoder.from_pretrained(encoder) if encoder else TextEncoder.from_pretrained()
    source, parts = iter(texts), []
    while batch := list(itertools.islice(source, BATCH)):
        parts.append(model.encode(batch))
    return np.concatenate(parts) if parts else np.zeros((0, model.config.hidden_size), np.float32)
