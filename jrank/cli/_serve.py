r"""Serve an exported cross-encoder over HTTP: Cohere's /v1/rerank and /v2/rerank, TEI's /rerank. Needs no jax.

  jrank serve bundle/ --port 8000
  curl -s localhost:8000/rerank -H 'Content-Type: application/json' \
    -d '{"query": "what is jax?", "texts": ["an array library", "a river"]}'

A page to try it stands at http://localhost:8000/. It listens on this machine only unless --host says otherwise; then
set a key, in the environment variable JRANK_API_KEY or a file.
"""

import argparse
import os
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", metavar="BUNDLE", help="a directory that jrank export wrote, or model.onnx")
    parser.add_argument("--tokenizer", metavar="FILE", help="tokenizer.json (default: the one beside the model)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    parser.add_argument("--name", help="refuse Cohere requests for another model than this")
    parser.add_argument("--api-key-file", metavar="FILE", help="clients need its first line as a bearer token")
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: the cores that this process may use")
    parser.add_argument("--max-length", type=_positive, metavar="N", help="most tokens of question and document")
    parser.add_argument("--max-documents", type=_positive, default=1000, metavar="N", help="default: 1000 per request")
    parser.add_argument("--max-body", type=_positive, default=8 << 20, metavar="BYTES", help="default: 8 MiB")
    parser.add_argument(
        "--max-waiting", type=_positive, default=4096, metavar="N", help="documents in the queue (default: 4096)"
    )
    parser.add_argument(
        "--max-wait",
        type=float,
        default=10.0,
        metavar="S",
        help="refuse what would wait longer, even in a burst (default: 10)",
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds per request (default: 60)")
    parser.add_argument(
        "--grace", type=_positive, default=30, metavar="S", help="seconds to finish when stopped (default: 30)"
    )
    parser.add_argument("--quiet", action="store_true", help="no line per request on stderr")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def run(args: argparse.Namespace) -> int:
    """Load the model and serve until a signal stops it; requests that have begun are finished."""
    from jrank.serving import CrossEncoder, Limits, create_app, serve

    limits = Limits(
        body_bytes=args.max_body,
        documents=args.max_documents,
        waiting_pairs=max(args.max_waiting, args.max_documents),
        waiting_seconds=args.max_wait,
        seconds=args.timeout,
    )
    ranker = CrossEncoder.from_file(args.model, args.tokenizer, threads=args.threads, max_length=args.max_length)
    app = create_app(ranker, limits=limits, api_key=_key(args.api_key_file), name=args.name)
    if args.host not in ("127.0.0.1", "localhost", "::1") and _key(args.api_key_file) is None:
        sys.stderr.write("jrank serve: anyone who reaches this address can use it; JRANK_API_KEY sets a key\n")
    return serve(app, args.host, args.port, grace=args.grace, quiet=args.quiet)


def _key(path: str | None) -> str | None:
    from jrank.errors import ServeError

    if path is None:
        return os.environ.get("JRANK_API_KEY") or None
    key = Path(path).read_text(encoding="utf-8").strip().splitlines()
    if not key:
        raise ServeError(f"there is no key in {path}", reason="invalid_parameter", hint="write it on the first line")
    return key[0]
