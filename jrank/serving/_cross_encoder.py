"""A cross-encoder in ONNX Runtime: texts in, scores and rankings out."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import onnxruntime
import tokenizers

from jrank.errors import ModelError, ServeError
from jrank.serving._activations import Activation, activate
from jrank.serving._bundle import read_bundle
from jrank.serving._checks import choose_max_length, positive, read_tokenizer, scores_of, trial_row, try_out
from jrank.serving._hits import RerankHit
from jrank.serving._plan import plan_batches
from jrank.serving._session import Options, Session
from jrank.serving._windows import POOLS, Pool, pool_windows
from jrank.text import Encoded, PairTokenizer

__all__ = ["CrossEncoder"]

# A thread works fastest on what stays in its cache; an accelerator wants much at once.
TOKENS_PER_THREAD = 256
TOKENS_PER_ACCELERATOR = 16384
DEFAULT_BATCH_SIZE = 32

Truncation = Literal["only_second", "longest_first", "error", "windows"]


class CrossEncoder:
    r"""Scores (query, document) pairs with an exported cross-encoder, without jax.

    Make one with `from_file` or `from_bytes`. Scores are the model's raw outputs unless an activation is asked for;
    rankings always go by the raw scores. Rows are sorted by length and batched under a token budget, so a long document
    does not slow the short ones. One instance may be shared by many threads.

    Numerics: a float32 model gives a pair the same score alone, in any batch, and with any number of threads.
      A dynamically quantised one does not (``info["batch_invariant"]`` says which it is): ask for ``invariant=True``.
    """

    def __init__(
        self,
        session: Session,
        tokenizer: PairTokenizer,
        *,
        config: dict[str, Any] | None = None,
        max_length: int | None = None,
        truncation: Truncation = "only_second",
        max_query_length: int | None = None,
        max_characters: int | None = None,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        multiple_of: int | None = None,
    ):
        """Join a loaded model and a tokenizer; `from_file` and `from_bytes` say what the options mean."""
        config = config or {}
        self._session, self._tokenizer, self._config = session, tokenizer, config
        self._max_length = choose_max_length(max_length, config, session.file.metadata)
        self._truncation: Truncation = truncation
        self._max_query_length = max_query_length
        self._max_characters = max_characters
        on_cpu = session.providers[0] == "CPUExecutionProvider"
        tokens = TOKENS_PER_THREAD * session.threads if on_cpu else TOKENS_PER_ACCELERATOR
        self._batch_size = DEFAULT_BATCH_SIZE if batch_size is None else batch_size
        self._max_tokens = tokens if max_tokens is None else max_tokens
        self._multiple_of = multiple_of
        positive(batch_size=self._batch_size, max_tokens=self._max_tokens)
        self._encode(
            [("a", "b")], truncation
        )  # settings that contradict each other show here, not at the first request
        self._labels = self._count_labels()

    # -- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def from_file(
        cls,
        model: str | os.PathLike,
        tokenizer: str | os.PathLike | bytes | PairTokenizer | None = None,
        *,
        threads: int | None = None,
        providers: Sequence[Any] = ("cpu",),
        spin: bool = False,
        arena: bool = True,
        max_length: int | None = None,
        truncation: Truncation = "only_second",
        max_query_length: int | None = None,
        max_characters: int | None = None,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        multiple_of: int | None = None,
    ) -> "CrossEncoder":
        """Load a bundle directory, or an ONNX file with a tokenizer.

        Args:
          model: a directory that `export.to_onnx` wrote (its checksums are verified), a directory with ``model.onnx``
            or ``onnx/model.onnx``, or an ``.onnx`` file.
          tokenizer: a ``tokenizer.json``, its directory or its contents; None = the one beside the model.
          threads: threads inside an operator; None = the physical cores that this process may use, a container's quota
            included.
          providers: where to run, in order of preference: "cpu", "cuda", "tensorrt", "coreml" …, or the runtime's own
            names, each alone or as (name, options). A provider that cannot start is an error, never a silent fallback.
          spin: let idle threads spin: a little faster, at the price of busy cores.
          arena: keep memory between runs.
          max_length: most tokens of a pair, special tokens included; None = what the model was made for.
          truncation: what happens to longer pairs: "only_second" cuts the query at ``max_query_length`` and the
            document to the rest; "longest_first" cuts whichever is longer; "windows" scores overlapping pieces of the
            document and takes the best; "error" refuses them.
          max_query_length: most tokens of a query; None = half of ``max_length``.
          max_characters: texts are cut to so many characters before tokenising; None = no bound.
          batch_size: most pairs run together; None = 32.
          max_tokens: most tokens run together, padding included; a longer pair runs alone. None = 256 for each thread,
            which is what stays in a core's cache, and 16384 on accelerators.
          multiple_of: pad to multiples of this, for providers that compile a program for each shape.

        Returns:
          The cross-encoder, after one trial run.

        Raises:
          ServeError: something is missing, damaged or refused, or model and tokenizer do not belong together.
        """
        bundle = read_bundle(model, tokenizer=tokenizer is None)
        source = bundle.tokenizer if tokenizer is None else tokenizer
        if source is None:
            raise ServeError(
                f"there is no tokenizer.json beside {model}",
                reason="not_found",
                hint="pass tokenizer=, the tokenizer.json that the model was trained with",
            )
        return cls(
            Session(bundle.model, Options(threads, providers, spin, arena)),
            read_tokenizer(source),
            config=bundle.config,
            max_length=max_length,
            truncation=truncation,
            max_query_length=max_query_length,
            max_characters=max_characters,
            batch_size=batch_size,
            max_tokens=max_tokens,
            multiple_of=multiple_of,
        )

    @classmethod
    def from_bytes(
        cls,
        model: bytes,
        tokenizer: str | os.PathLike | bytes | PairTokenizer,
        *,
        threads: int | None = None,
        providers: Sequence[Any] = ("cpu",),
        spin: bool = False,
        arena: bool = True,
        max_length: int | None = None,
        truncation: Truncation = "only_second",
        max_query_length: int | None = None,
        max_characters: int | None = None,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        multiple_of: int | None = None,
    ) -> "CrossEncoder":
        """Load an ONNX model that is already in memory.

        Args:
          model: contents of an ``.onnx`` file; weights in other files are refused.
          tokenizer: contents of a ``tokenizer.json`` as bytes, a path to one, or a tokenizer.
          threads: as in `from_file`, like all that follow.
          providers: where to run.
          spin: let idle threads spin.
          arena: keep memory between runs.
          max_length: most tokens of a pair; None = what the file's metadata say, else 512.
          truncation: what happens to longer pairs.
          max_query_length: most tokens of a query.
          max_characters: most characters of a text.
          batch_size: most pairs run together.
          max_tokens: most tokens run together.
          multiple_of: pad to multiples of this.

        Returns:
          The cross-encoder, after one trial run.

        Raises:
          ServeError: the model or tokenizer is damaged or refused, or they do not belong together.
        """
        return cls(
            Session(model, Options(threads, providers, spin, arena)),
            read_tokenizer(tokenizer),
            max_length=max_length,
            truncation=truncation,
            max_query_length=max_query_length,
            max_characters=max_characters,
            batch_size=batch_size,
            max_tokens=max_tokens,
            multiple_of=multiple_of,
        )

    # -- scoring ----------------------------------------------------------------------------------------------------

    def score(self, query: str, document: str, *, activation: Activation = None) -> float:
        """Score one pair.

        Args:
          query: the question.
          document: the text that may answer it; may be empty.
          activation: None = the raw score, "sigmoid", or a function.

        Returns:
          The score, a Python float; larger is better.

        Raises:
          TypeError: the texts are not strings.
          ServeError: the model has several labels (`score_batch` returns them all), or fails.
        """
        if self._labels != 1:
            raise ServeError(
                f"the model gives {self._labels} scores for a pair", reason="invalid_parameter", hint="use score_batch"
            )
        return float(self._scores([(query, document)], activation)[0, 0])

    def score_batch(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        activation: Activation = None,
        truncation: Truncation | None = None,
        pool: Pool = "max",
        invariant: bool = False,
    ) -> np.ndarray:
        """Score many pairs.

        Args:
          pairs: (query, document) pairs.
          batch_size: most pairs run together; None = the instance's.
          max_tokens: most tokens run together; None = the instance's.
          activation: None = raw scores; "sigmoid"; "softmax" over the labels; or a function of the float64 array
            [pairs, labels].
          truncation: None = the instance's.
          pool: how the scores of a document's windows become one: "max", "mean" or "first".
          invariant: run each pair alone, so that no score depends on the other pairs even in a model with dynamically
            quantised activations; slower for those, and ignored where nothing depends on them anyway.

        Returns:
          float64 [pairs], or [pairs, labels] if the model has several labels, in the order of the pairs.

        Raises:
          TypeError: something other than pairs of texts; the message names the index.
          ServeError: an option is out of range, a pair is too long under "error", or the model fails.
        """
        scores = self._scores(
            pairs,
            activation,
            batch_size=batch_size,
            max_tokens=max_tokens,
            truncation=truncation,
            pool=pool,
            invariant=invariant,
        )
        return scores[:, 0] if self._labels == 1 else scores

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        top_k: int | None = None,
        *,
        activation: Activation = None,
        label: int | None = None,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        truncation: Truncation | None = None,
        pool: Pool = "max",
        invariant: bool = False,
    ) -> list[RerankHit]:
        """Order documents by their score for a query, the best first.

        Args:
          query: the question.
          documents: the texts.
          top_k: how many to return; None, or more than there are, = all.
          activation: applied to the scores that are returned; the order is that of the raw scores.
          label: for a model with several labels, the one to rank by.
          batch_size: as in `score_batch`, like all that follow.
          max_tokens: most tokens run together.
          truncation: what happens to long documents.
          pool: how the scores of windows become one.
          invariant: run each pair alone.

        Returns:
          The hits; documents with equal scores keep their order. No documents, no hits.

        Raises:
          TypeError: the query is no text, or the documents are not a list of texts; the message names the index.
          ServeError: an option is out of range, or the model fails.
        """
        if isinstance(documents, (str, bytes)) or not isinstance(documents, Iterable):
            raise TypeError(f"documents must be a list of texts, got {type(documents).__name__}")
        if not isinstance(query, str):
            raise TypeError(f"the query must be a string, got {type(query).__name__}")
        documents = list(documents)
        for i, document in enumerate(documents):
            if not isinstance(document, str):
                raise TypeError(f"document {i} must be a string, got {type(document).__name__}")
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1):
            raise ServeError(f"top_k must be at least 1, got {top_k!r}", reason="invalid_parameter")
        column = self._column(label)
        logits = self._logits(
            [(query, document) for document in documents],
            batch_size=batch_size,
            max_tokens=max_tokens,
            truncation=truncation,
            pool=pool,
            invariant=invariant,
        )
        order = np.argsort(-logits[:, column], kind="stable")[:top_k]
        scores = activate(logits, activation)[:, column]
        return [RerankHit(int(i), float(scores[i]), documents[i]) for i in order]

    async def score_async(self, query: str, document: str, **options: Any) -> float:
        """Score one pair without blocking the event loop; the options are those of `score`.

        Args:
          query: the question.
          document: the text that may answer it.
          **options: see `score`.

        Returns:
          The score.
        """
        return await asyncio.to_thread(self.score, query, document, **options)

    async def score_batch_async(self, pairs: Iterable[tuple[str, str]], **options: Any) -> np.ndarray:
        """Score many pairs without blocking the event loop; the options are those of `score_batch`.

        Args:
          pairs: (query, document) pairs.
          **options: see `score_batch`.

        Returns:
          The scores.
        """
        return await asyncio.to_thread(self.score_batch, pairs, **options)

    async def rank_async(
        self, query: str, documents: Iterable[str], top_k: int | None = None, **options: Any
    ) -> list[RerankHit]:
        """Order documents without blocking the event loop; the options are those of `rank`.

        Args:
          query: the question.
          documents: the texts.
          top_k: how many to return.
          **options: see `rank`.

        Returns:
          The hits.
        """
        return await asyncio.to_thread(self.rank, query, documents, top_k, **options)

    def warmup(self, lengths: Sequence[int] = (16, 128)) -> "CrossEncoder":
        """Run made-up pairs once, so that the first request does not pay for memory and caches.

        Args:
          lengths: tokens per pair; longer than the model takes counts as the longest.

        Returns:
          This instance.
        """
        for length in lengths:
            scores_of(self._session, trial_row(max(1, min(int(length), self._max_length)), 0))
        return self

    @property
    def tokenizer(self) -> PairTokenizer:
        """The tokenizer."""
        return self._tokenizer

    @property
    def info(self) -> dict[str, Any]:
        """What is loaded and how it runs, ready for JSON."""
        config, session = self._config, self._session
        return {
            "name": config.get("name"),
            "kind": config.get("kind", "cross-encoder"),
            "labels": self._labels,
            "label_names": config.get("labels"),
            "max_length": self._max_length,
            "truncation": self._truncation,
            "quantize": config.get("quantize"),
            "batch_invariant": session.file.batch_invariant,
            "inputs": list(session.inputs),
            "opset": session.file.opsets.get("", 0),
            "model_sha256": session.sha256,
            "tokenizer_sha256": self._tokenizer.sha256,
            "vocab_size": self._tokenizer.vocab_size,
            "threads": session.threads,
            "providers": session.providers,
            "batch_size": self._batch_size,
            "max_tokens": self._max_tokens,
            "onnxruntime": onnxruntime.__version__,
            "tokenizers": tokenizers.__version__,
        }

    def __repr__(self) -> str:
        return (
            f"CrossEncoder(labels={self._labels}, max_length={self._max_length}, "
            f"threads={self._session.threads}, model={self._session.sha256[:12]}…)"
        )

    # -- the inside -------------------------------------------------------------------------------------------------

    def _scores(self, pairs: Iterable[tuple[str, str]], activation: Activation, **options: Any) -> np.ndarray:
        activate(
            np.zeros((0, self._labels)), activation if isinstance(activation, str) else None
        )  # fail before the work
        return activate(self._logits(pairs, **options), activation)

    def _logits(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        truncation: Truncation | None = None,
        pool: Pool = "max",
        invariant: bool = False,
    ) -> np.ndarray:
        """Return raw scores, float64 [pairs, labels]."""
        batch_size = self._batch_size if batch_size is None else batch_size
        max_tokens = self._max_tokens if max_tokens is None else max_tokens
        positive(batch_size=batch_size, max_tokens=max_tokens)
        if pool not in POOLS:
            raise ServeError(f"unknown pool {pool!r}", reason="invalid_parameter", hint=f"one of {', '.join(POOLS)}")
        if invariant and not self._session.file.batch_invariant:
            batch_size = 1
        encoded = self._encode(pairs, truncation or self._truncation)
        logits = np.zeros((len(encoded), self._labels))
        for rows in plan_batches(encoded.lengths, batch_size=batch_size, max_tokens=max_tokens):
            ids, mask, types = self._tokenizer.pad(encoded, rows, multiple_of=self._multiple_of)
            logits[rows] = scores_of(self._session, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})
        bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if bad.size:
            raise ServeError(
                f"the score of pair {encoded.owners[bad[0]]} is not finite",
                reason="inference",
                hint="the weights may be damaged, or overflow in half precision",
            )
        return pool_windows(logits, encoded.owners, pool)

    def _encode(self, pairs: Iterable[tuple[str, str]], truncation: Truncation) -> Encoded:
        shared = {
            "max_length": self._max_length,
            "max_query_length": self._max_query_length,
            "max_characters": self._max_characters,
        }
        try:
            if truncation == "windows":
                return self._tokenizer.encode_windows(pairs, **shared)
            return self._tokenizer.encode_pairs(pairs, truncation=truncation, **shared)
        except ModelError as error:
            long = error.reason == ModelError.Reason.TOO_LONG
            raise ServeError(str(error), reason="too_long" if long else "invalid_input") from None

    def _count_labels(self) -> int:
        labels = try_out(self._session, self._tokenizer, self._max_length).shape[1]
        names = self._config.get("labels")
        if isinstance(names, list) and len(names) != labels:
            raise ServeError(
                f"the model gives {labels} scores, its configuration names {len(names)} labels", reason="invalid_model"
            )
        return labels

    def _column(self, label: int | None) -> int:
        if label is None:
            if self._labels == 1:
                return 0
            raise ServeError(
                f"the model has {self._labels} labels", reason="invalid_parameter", hint="say which to rank by: label="
            )
        if not 0 <= label < self._labels:
            raise ServeError(f"label must be below {self._labels}, got {label}", reason="invalid_parameter")
        return int(label)
