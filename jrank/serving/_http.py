"""The HTTP server: Cohere's and TEI's rerank requests in front of a cross-encoder."""

import asyncio
import contextlib
import functools
import hmac
import json
import logging
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from importlib import resources
from typing import Any

import numpy as np

from jrank.errors import ServeError, require
from jrank.serving._activations import activate
from jrank.serving._batcher import Batcher, QueueFull
from jrank.serving._cross_encoder import CrossEncoder
from jrank.serving._openapi import openapi
from jrank.serving._prometheus import Metrics
from jrank.serving._requests import Limits, Refusal, RerankRequest, parse_cohere, parse_json, parse_tei

__all__ = ["create_app"]

LOG = logging.getLogger("jrank.serving")

_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def create_app(
    ranker: CrossEncoder, *, limits: Limits | None = None, api_key: str | None = None, name: str | None = None
) -> Any:
    """Make an ASGI application that serves a cross-encoder.

    ``POST /v1/rerank`` and ``/v2/rerank`` take Cohere's requests, ``POST /rerank`` those of Text Embeddings Inference;
    ``/health``, ``/info``, ``/metrics`` (Prometheus), ``/openapi.json``, and a page to try it at ``/``. Requests that
    arrive together are scored together, as far as that cannot change their scores. Scores are sigmoids, in [0, 1],
    unless TEI's ``raw_scores`` is set. A full queue answers 429 at once. Logs hold sizes and times, never texts.

    Args:
      ranker: the model; it must give a single score per pair.
      limits: sizes and times; None = the defaults of `Limits`.
      api_key: if given, requests need ``Authorization: Bearer KEY``; ``/health`` and the page do not.
      name: if given, Cohere requests for another model get 404.

    Returns:
      A Starlette application.

    Raises:
      MissingExtraError: the extra ``http`` is not installed.
      ServeError: the model has several labels.
    """
    starlette = require("starlette.applications", "http")
    routing = require("starlette.routing", "http")
    if ranker.info["labels"] != 1:
        raise ServeError(
            f"the model gives {ranker.info['labels']} scores per pair, a reranker gives one", reason="invalid_model"
        )
    server = _Server(ranker, limits or Limits(), api_key, name)
    routes = [
        routing.Route("/", server.page, methods=["GET"]),
        routing.Route("/health", server.guard("/health", server.health, open_to_all=True), methods=["GET"]),
        routing.Route("/info", server.guard("/info", server.info), methods=["GET"]),
        routing.Route("/metrics", server.guard("/metrics", server.prometheus), methods=["GET"]),
        routing.Route("/openapi.json", server.guard("/openapi.json", server.description), methods=["GET"]),
        *(
            routing.Route(path, server.guard(path, handler), methods=["POST"])
            for path, handler in (
                ("/v1/rerank", server.cohere),
                ("/v2/rerank", server.cohere),
                ("/rerank", server.tei),
            )
        ),
    ]
    unknown = {404: server.unknown, 405: server.unknown}
    return starlette.Starlette(routes=routes, lifespan=server.lifespan, exception_handlers=unknown)


class _Server:
    def __init__(self, ranker: CrossEncoder, limits: Limits, api_key: str | None, name: str | None):
        self.ranker, self.limits, self.api_key, self.name = ranker, limits, api_key, name
        self.metrics = Metrics()
        self.batcher: Batcher | None = None
        self.responses = require("starlette.responses", "http")

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        await asyncio.to_thread(self.ranker.warmup)
        self.batcher = Batcher(
            self.ranker, max_waiting=self.limits.waiting_pairs, max_seconds=self.limits.waiting_seconds
        )
        try:
            yield
        finally:
            batcher, self.batcher = self.batcher, None
            await asyncio.to_thread(batcher.close)

    # -- around every request -----------------------------------------------------------------------------------------

    def guard(self, path: str, handler: Callable[[Any], Awaitable[Any]], *, open_to_all: bool = False) -> Any:
        """Check the key, turn refusals and faults into answers, count and log."""

        async def guarded(request: Any) -> Any:
            started, identity = time.perf_counter(), uuid.uuid4().hex
            request.state.identity, request.state.pairs = identity, 0
            try:
                if not open_to_all:
                    self._authorize(request)
                response = await handler(request)
            except Refusal as refusal:
                response = self._error(refusal.status, refusal.message, identity, refusal.headers)
            except Exception as error:
                # The message of an unexpected fault may hold paths or texts: the log gets its kind, the client nothing.
                LOG.error(json.dumps({"id": identity, "path": path, "fault": type(error).__name__}))
                response = self._error(500, "internal error", identity)
            response.headers["X-Request-Id"] = identity
            seconds = time.perf_counter() - started
            self.metrics.observe(path, response.status_code, seconds, request.state.pairs)
            LOG.info(
                json.dumps(
                    {
                        "id": identity,
                        "path": path,
                        "status": response.status_code,
                        "pairs": request.state.pairs,
                        "ms": round(1000 * seconds, 1),
                    }
                )
            )
            return response

        return guarded

    def _authorize(self, request: Any) -> None:
        if self.api_key is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self.api_key.encode())
        if scheme.lower() != "bearer" or not same:
            raise Refusal(401, "the key is missing or wrong", {"WWW-Authenticate": "Bearer"})

    async def unknown(self, request: Any, error: Any) -> Any:
        """Answer what no route takes, as all other errors are answered."""
        message = (
            "there is no such path; /openapi.json lists them" if error.status_code == 404 else "not with this method"
        )
        guarded = self.guard("other", functools.partial(self._refuse, error.status_code, message, error.headers))
        return await guarded(request)

    async def _refuse(self, status: int, message: str, headers: Any, request: Any) -> Any:
        raise Refusal(status, message, dict(headers or {}))

    def _error(self, status: int, message: str, identity: str, headers: dict[str, str] | None = None) -> Any:
        body = {"message": message, "error": message, "error_type": _KINDS.get(status, "backend"), "id": identity}
        return self.responses.JSONResponse(body, status, headers=headers)

    # -- answers ------------------------------------------------------------------------------------------------------

    async def page(self, request: Any) -> Any:
        text = resources.files("jrank.serving").joinpath("page.html").read_text(encoding="utf-8")
        return self.responses.HTMLResponse(text, headers=_PAGE_HEADERS)

    async def health(self, request: Any) -> Any:
        if self.batcher is None:
            raise Refusal(503, "not ready")
        return self.responses.JSONResponse({"status": "ok"})

    async def info(self, request: Any) -> Any:
        facts = {**self.ranker.info, "name": self.name or self.ranker.info["name"]}
        limits = {"documents": self.limits.documents, "body_bytes": self.limits.body_bytes}
        return self.responses.JSONResponse({**facts, "limits": limits})

    async def prometheus(self, request: Any) -> Any:
        waiting = self.batcher.waiting if self.batcher else 0
        gauges = {"jrank_queue_pairs": float(waiting), "jrank_queue_limit": float(self.limits.waiting_pairs)}
        return self.responses.PlainTextResponse(self.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    async def description(self, request: Any) -> Any:
        return self.responses.JSONResponse(openapi(self.limits))

    async def cohere(self, request: Any) -> Any:
        wanted = parse_cohere(parse_json(await self._body(request)), self.limits)
        if self.name is not None and wanted.model not in (None, self.name):
            raise Refusal(404, f"the model here is {self.name}")
        order, scores = await self._rank(request, wanted)
        results = []
        for i in order[: wanted.top_n]:
            result: dict[str, Any] = {"index": int(i), "relevance_score": float(scores[i])}
            if wanted.return_documents:
                result["document"] = {"text": wanted.documents[i]}
            results.append(result)
        version = request.url.path.split("/")[1][1:]
        meta = {"api_version": {"version": version}, "billed_units": {"search_units": 1}}
        return self.responses.JSONResponse({"id": request.state.identity, "results": results, "meta": meta})

    async def tei(self, request: Any) -> Any:
        wanted = parse_tei(parse_json(await self._body(request)), self.limits)
        order, scores = await self._rank(request, wanted)
        results = []
        for i in order:
            result: dict[str, Any] = {"index": int(i), "score": float(scores[i])}
            if wanted.return_documents:
                result["text"] = wanted.documents[i]
            results.append(result)
        return self.responses.JSONResponse(results)

    async def _rank(self, request: Any, wanted: RerankRequest) -> tuple[np.ndarray, np.ndarray]:
        if self.batcher is None:
            raise Refusal(503, "not ready", {"Retry-After": "1"})
        cut = self.limits.document_characters
        texts = [document[:cut] for document in wanted.documents]
        if wanted.document_tokens is not None:
            texts = await asyncio.to_thread(self.ranker.tokenizer.heads, texts, wanted.document_tokens)
        pairs = [(wanted.query, text) for text in texts]
        try:
            async with asyncio.timeout(self.limits.seconds):
                raw = await _while_connected(
                    request, self.batcher.score(pairs, truncation=None if wanted.truncate else "error")
                )
        except QueueFull as full:
            after = str(math.ceil(full.seconds))
            raise Refusal(429, "too much is waiting; try again later", {"Retry-After": after}) from None
        except TimeoutError:
            raise Refusal(503, "it took too long; try again later", {"Retry-After": "5"}) from None
        except ServeError as error:
            if error.reason == ServeError.Reason.TOO_LONG:
                raise Refusal(413, "a document has more tokens than fit; set truncate") from None
            raise Refusal(424, "the model cannot score these texts") from None
        request.state.pairs = len(pairs)
        order = np.argsort(-raw, kind="stable")
        return order, raw if wanted.raw_scores else activate(raw[:, None], "sigmoid")[:, 0]

    async def _body(self, request: Any) -> bytes:
        limit = self.limits.body_bytes
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "compressed bodies are not taken")
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            raise Refusal(413, f"the body is larger than {limit} bytes")
        data = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for chunk in request.stream():
                    data += chunk
                    if len(data) > limit:
                        raise Refusal(413, f"the body is larger than {limit} bytes")
        except TimeoutError:
            raise Refusal(408, "the body took too long to arrive") from None
        return bytes(data)


async def _while_connected(request: Any, work: Coroutine[Any, Any, np.ndarray]) -> np.ndarray:
    """Wait for work as long as the client waits for it."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(499, "the client has gone")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


_KINDS = {
    400: "validation",
    401: "unauthorized",
    404: "not_found",
    405: "validation",
    408: "timeout",
    413: "validation",
    415: "validation",
    422: "validation",
    424: "backend",
    429: "overloaded",
    503: "unhealthy",
}
