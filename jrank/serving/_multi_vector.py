"""A late-interaction encoder in ONNX Runtime: texts in, one vector for each token out; and the scores of documents."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from jrank.errors import ModelError, ServeError
from jrank.serving._bundle import read_bundle, read_scorer
from jrank.serving._checks import positive, read_tokenizer
from jrank.serving._hits import RerankHit
from jrank.serving._plan import plan_batches
from jrank.serving._session import Options, Session, open_session
from jrank.text import Encoded, MultiVectorRules, PairTokenizer, TokenRules

__all__ = ["MultiVectorEncoder"]

TOKENS_PER_THREAD = 512
TOKENS_PER_ACCELERATOR = 32768
# Documents that are scored at a time.
DOCUMENTS = 64


class MultiVectorEncoder:
    """Encodes texts with an exported late-interaction encoder, and reranks with it, without jax.

    Make one with `from_file`. Encoding and scoring run in ONNX Runtime. One instance may be shared by many threads.

    Numerics: a float32 model gives a text the same vectors alone and in any batch, to rounding.
    """

    def __init__(
        self,
        session: Session,
        scorer: onnxruntime.InferenceSession | None,
        tokenizer: PairTokenizer,
        rules: MultiVectorRules,
        *,
        batch_size: int = 32,
        max_tokens: int | None = None,
    ):
        """Join loaded models and a tokenizer; `from_file` says what the options mean."""
        on_cpu = session.providers[0] == "CPUExecutionProvider"
        tokens = TOKENS_PER_THREAD * session.threads if on_cpu else TOKENS_PER_ACCELERATOR
        self._session, self._scorer, self._tokenizer = session, scorer, tokenizer
        self._batch_size, self._max_tokens = batch_size, tokens if max_tokens is None else max_tokens
        positive(batch_size=self._batch_size, max_tokens=self._max_tokens)
        try:
            self._tokens = TokenRules(rules, tokenizer)
        except ModelError as error:
            raise ServeError(str(error), reason="invalid_model") from None
        self._dimension = self._run(self._tokens.queries(["a"]), query=True)[0].shape[1]

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
        batch_size: int = 32,
        max_tokens: int | None = None,
    ) -> "MultiVectorEncoder":
        """Load a bundle directory that `export.to_onnx` wrote; its checksums are verified.

        Args:
          model: the directory.
          tokenizer: a ``tokenizer.json``, its directory or its contents; None = the one beside the model.
          threads: threads inside an operator; None = the physical cores that this process may use.
          providers: where to run, as for `CrossEncoder.from_file`.
          spin: let idle threads spin.
          arena: keep memory between runs.
          batch_size: most texts run together.
          max_tokens: most tokens run together; None = what suits the machine.

        Returns:
          The encoder, after one trial run.

        Raises:
          ServeError: something is missing, damaged or refused, or the directory holds another kind of model.
        """
        bundle = read_bundle(model, tokenizer=tokenizer is None)
        rules, source = bundle.config.get("rules"), bundle.tokenizer if tokenizer is None else tokenizer
        if not isinstance(rules, dict):
            raise ServeError(
                f"{model} holds no late-interaction encoder: its configuration has no rules for tokens",
                reason="invalid_model",
                hint="export a models.MultiVectorEncoder",
            )
        if source is None:
            raise ServeError(f"there is no tokenizer.json beside {model}", reason="not_found", hint="pass tokenizer=")
        try:
            known = MultiVectorRules.from_dict(rules)
        except ModelError as error:
            raise ServeError(str(error), reason="invalid_model") from None
        options = Options(threads, providers, spin, arena)
        scorer = read_scorer(Path(model), bundle.config)
        return cls(
            Session(bundle.model, options, output="vectors"),
            None if scorer is None else open_session(scorer, options),
            read_tokenizer(source),
            known,
            batch_size=batch_size,
            max_tokens=max_tokens,
        )

    @property
    def dimension(self) -> int:
        """The number of dimensions of a vector."""
        return self._dimension

    def encode_queries(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Encode queries.

        Args:
          texts: the texts; empty ones are allowed.

        Returns:
          float32 ``[q, d]`` for each.

        Raises:
          TypeError: something other than texts; the message names the index.
          ServeError: the model fails.
        """
        return self._run(self._tokens.queries(texts), query=True)

    def encode_documents(self, texts: Iterable[str]) -> list[np.ndarray]:
        """Encode documents.

        Args:
          texts: the texts; empty ones are allowed.

        Returns:
          float32 ``[t, d]`` for each: the vectors of the tokens that are not on the skip list.

        Raises:
          TypeError: something other than texts; the message names the index.
          ServeError: the model fails.
        """
        return self._run(self._tokens.documents(texts), query=False)

    def score(self, query: np.ndarray, documents: Sequence[np.ndarray]) -> np.ndarray:
        """Score encoded documents for an encoded query, in ONNX Runtime.

        Args:
          query: ``[q, d]``.
          documents: ``[t, d]`` each.

        Returns:
          float32 ``[n]``; 0 for a document without a token.

        Raises:
          ServeError: the bundle has no scorer, or the dimensions differ.
        """
        if self._scorer is None:
            raise ServeError("the bundle has no scorer.onnx", reason="invalid_model", hint="export the model again")
        for matrix in (query, *documents):
            if np.ndim(matrix) != 2 or matrix.shape[1] != self._dimension:
                raise ServeError(
                    f"vectors have shape {np.shape(matrix)}, [tokens, {self._dimension}] was expected",
                    reason="invalid_input",
                )
        scores: np.ndarray = np.zeros(len(documents), np.float32)
        if not len(query):
            return scores
        order = np.argsort([len(document) for document in documents], kind="stable")
        order = order[sum(len(document) == 0 for document in documents) :]
        for start in range(0, len(order), DOCUMENTS):
            rows = order[start : start + DOCUMENTS]
            width = max(len(documents[row]) for row in rows)
            tokens = np.zeros((len(rows), width, self._dimension), np.float32)
            where = np.zeros((len(rows), width), bool)
            for place, row in enumerate(rows):
                length = len(documents[row])
                tokens[place, :length], where[place, :length] = documents[row], True
            feeds = {
                "query": np.ascontiguousarray(query, np.float32),
                "query_where": np.ones(len(query), bool),
                "docs": tokens,
                "doc_where": where,
            }
            scores[rows] = self._scorer.run(["scores"], feeds)[0]
        return scores

    def rank(self, query: str, documents: Iterable[str], top_k: int | None = None) -> list[RerankHit]:
        """Order documents by their score for a query, the best first.

        Args:
          query: the question.
          documents: the texts.
          top_k: how many to return; None, or more than there are, = all.

        Returns:
          The hits; documents with equal scores keep their order. No documents, no hits.

        Raises:
          TypeError: the query is no text, or the documents are not a list of texts.
          ServeError: an option is out of range, or the model fails.
        """
        if isinstance(documents, (str, bytes)) or not isinstance(documents, Iterable):
            raise TypeError(f"documents must be a list of texts, got {type(documents).__name__}")
        if not isinstance(query, str):
            raise TypeError(f"the query must be a string, got {type(query).__name__}")
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1):
            raise ServeError(f"top_k must be at least 1, got {top_k!r}", reason="invalid_parameter")
        documents = list(documents)
        scores = self.score(self.encode_queries([query])[0], self.encode_documents(documents))
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [RerankHit(int(i), float(scores[i]), documents[i]) for i in order]

    def _run(self, encoded: Encoded, *, query: bool) -> list[np.ndarray]:
        found: list[np.ndarray] = [np.zeros((0, 0), np.float32)] * len(encoded)
        for rows in plan_batches(encoded.lengths, batch_size=self._batch_size, max_tokens=self._max_tokens):
            ids, mask, types = self._tokenizer.pad(encoded, rows)
            seen = self._tokens.attention(ids, mask) if query else mask
            vectors = self._session.run({"input_ids": ids, "attention_mask": seen, "token_type_ids": types})
            if vectors.ndim != 3 or vectors.shape[:2] != ids.shape:
                raise ServeError(
                    f"the graph turns {ids.shape} into {vectors.shape}, [rows, tokens, d] was expected",
                    reason="invalid_model",
                )
            for place, row in enumerate(rows):
                kept = self._tokens.keep(encoded.ids[row], query=query)
                found[row] = vectors[place, : len(kept)][kept]
        return found
