"""What clients may send: bodies to checked requests, or the status code that says what is wrong."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from jrank.text import well_formed

__all__ = ["Limits", "Refusal", "RerankRequest", "parse_cohere", "parse_json", "parse_tei"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What the server takes.

    Attributes:
      body_bytes: most bytes of a body.
      documents: most documents of a request.
      query_characters: most characters of a query.
      document_characters: longer documents are cut to this before they are tokenised.
      waiting_pairs: most (query, document) pairs that wait for the model.
      waiting_seconds: a request is refused if what waits before it would take longer; under lasting overload, when more
        is asked than can be served, long before that.
      seconds: most time that a request may take.
      body_seconds: most time that a client may take to send its body.
    """

    body_bytes: int = 8 << 20
    documents: int = 1000
    query_characters: int = 16_384
    document_characters: int = 65_536
    waiting_pairs: int = 4096
    waiting_seconds: float = 10.0
    seconds: float = 60.0
    body_seconds: float = 10.0


class Refusal(Exception):
    """A request that is not served.

    Args:
      status: the HTTP status.
      message: what is wrong, without any text of the request.
      headers: additional headers.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


@dataclasses.dataclass(frozen=True)
class RerankRequest:
    """A checked request.

    Attributes:
      query: the question.
      documents: the texts.
      top_n: how many results; None = all.
      return_documents: whether the results hold the texts.
      raw_scores: raw scores instead of probabilities.
      truncate: False refuses documents that are too long.
      model: the model's name, if the client sent one.
      document_tokens: documents are cut to so many tokens; None = to what the model takes.
    """

    query: str
    documents: list[str]
    top_n: int | None
    return_documents: bool
    raw_scores: bool
    truncate: bool
    model: str | None
    document_tokens: int | None = None


def parse_json(body: bytes) -> dict[str, Any]:
    """Read a JSON object strictly.

    Args:
      body: the bytes.

    Returns:
      The object.

    Raises:
      Refusal: it is not JSON in UTF-8, no object, has a key twice, or holds NaN.
    """

    def unique(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(entries)
        if len(found) != len(entries):
            raise ValueError("a key stands there twice")
        return found

    def no_constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=unique, parse_constant=no_constant)
    except UnicodeDecodeError:
        raise Refusal(400, "the body is not UTF-8") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not valid: {error}") from None
    if not isinstance(value, dict):
        raise Refusal(400, "the body must be a JSON object")
    return value


def parse_cohere(body: dict[str, Any], limits: Limits) -> RerankRequest:
    """Read a request in Cohere's form.

    It has query, documents, top_n, return_documents, rank_fields, max_tokens_per_doc and model.

    Args:
      body: the JSON object.
      limits: what the server takes.

    Returns:
      The request.

    Raises:
      Refusal: 400, 413 or 422, and what is wrong.
    """
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise Refusal(422, "model must be a text")
    fields = body.get("rank_fields")
    if fields is not None and (
        not isinstance(fields, list) or not fields or not all(isinstance(f, str) for f in fields)
    ):
        raise Refusal(422, "rank_fields must be a list of names")
    return RerankRequest(
        query=_query(body, limits),
        documents=_documents(body, "documents", limits, fields or ("text",)),
        top_n=_count(body, "top_n"),
        return_documents=_flag(body, "return_documents", False),
        raw_scores=False,
        truncate=True,
        model=model,
        document_tokens=_count(body, "max_tokens_per_doc"),
    )


def parse_tei(body: dict[str, Any], limits: Limits) -> RerankRequest:
    """Read a request in the form of Text Embeddings Inference: query, texts, raw_scores, return_text, truncate.

    Args:
      body: the JSON object.
      limits: what the server takes.

    Returns:
      The request.

    Raises:
      Refusal: 400, 413 or 422, and what is wrong.
    """
    side = body.get("truncation_direction")
    if side is not None and str(side).lower() != "right":
        raise Refusal(422, "truncation_direction must be Right: texts are cut at their ends")
    return RerankRequest(
        query=_query(body, limits),
        documents=_documents(body, "texts", limits),
        top_n=None,
        return_documents=_flag(body, "return_text", False),
        raw_scores=_flag(body, "raw_scores", False),
        truncate=_flag(body, "truncate", True),
        model=None,
    )


def _query(body: dict[str, Any], limits: Limits) -> str:
    query = body.get("query")
    if not isinstance(query, str):
        raise Refusal(422, "query must be a text")
    if not query.strip():
        raise Refusal(400, "query is empty")
    if len(query) > limits.query_characters:
        raise Refusal(413, f"query has {len(query)} characters, at most {limits.query_characters} are taken")
    return well_formed(query)


def _documents(body: dict[str, Any], key: str, limits: Limits, fields: Sequence[str] = ("text",)) -> list[str]:
    entries = body.get(key)
    if not isinstance(entries, list):
        raise Refusal(422, f"{key} must be a list of texts")
    if not entries:
        raise Refusal(400, f"{key} is empty")
    if len(entries) > limits.documents:
        raise Refusal(413, f"{len(entries)} {key}, at most {limits.documents} are taken")
    texts = []
    for i, entry in enumerate(entries):
        parts = [entry[name] for name in fields if name in entry] if isinstance(entry, dict) else [entry]
        if not parts or not all(isinstance(part, str) for part in parts):
            where = '"text"' if fields == ("text",) else "one of rank_fields"
            raise Refusal(422, f"{key}[{i}] must be a text, or an object with one in {where}")
        texts.append(well_formed("\n".join(parts)))
    return texts


def _count(body: dict[str, Any], key: str) -> int | None:
    value = body.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise Refusal(422, f"{key} must be an integer of at least 1")
    return value


def _flag(body: dict[str, Any], key: str, default: bool) -> bool:
    value = body.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refusal(422, f"{key} must be true or false")
    return value
