"""The server's description for machines."""

from typing import Any

from jrank.serving._requests import Limits

__all__ = ["openapi"]


def openapi(limits: Limits) -> dict[str, Any]:
    """Describe the server in OpenAPI 3.1.

    Args:
      limits: what the server takes.

    Returns:
      The description, ready for JSON.
    """
    text = {"type": "string"}
    query = {"type": "string", "minLength": 1, "maxLength": limits.query_characters}
    flag = {"type": "boolean", "default": False}
    entry = {"oneOf": [text, {"type": "object", "properties": {"text": text}, "additionalProperties": text}]}
    texts = {"type": "array", "minItems": 1, "maxItems": limits.documents, "items": entry}
    index = {"type": "integer", "minimum": 0}
    cohere = _object(
        ["query", "documents"],
        query=query,
        documents=texts,
        top_n={"type": "integer", "minimum": 1},
        return_documents=flag,
        rank_fields={
            "type": "array",
            "minItems": 1,
            "items": text,
            "description": "names in documents that are objects",
        },
        max_tokens_per_doc={"type": "integer", "minimum": 1},
        model=text,
    )
    tei = _object(
        ["query", "texts"],
        query=query,
        texts=texts,
        raw_scores=flag,
        return_text=flag,
        truncate={"type": "boolean", "default": True},
        truncation_direction={"enum": ["Right", "right"]},
    )
    results = _object(["index", "relevance_score"], index=index, relevance_score={"type": "number"}, document={})
    ranking = _object(["id", "results"], id=text, results={"type": "array", "items": results}, meta={})
    scores = {"type": "array", "items": _object(["index", "score"], index=index, score={"type": "number"}, text=text)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "jrank rerank server", "version": "1"},
        "paths": {
            **{f"/v{n}/rerank": {"post": _post(f"Rerank, in Cohere's form (v{n})", cohere, ranking)} for n in (1, 2)},
            "/rerank": {"post": _post("Rerank, in the form of Text Embeddings Inference", tei, scores)},
            "/health": {"get": _get("Whether the server takes requests")},
            "/info": {"get": _get("The model and how it runs")},
            "/metrics": {"get": _get("Counters for Prometheus")},
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        # Either will do: a server that was started without a key asks for none.
        "security": [{}, {"key": []}],
    }


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _post(summary: str, body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    errors = {
        "400": "not JSON, or empty",
        "401": "no key",
        "404": "another model is served here",
        "408": "the body took too long to arrive",
        "413": "too large",
        "415": "a compressed body",
        "422": "wrong types",
        "424": "the model cannot score these texts",
        "429": "too much is waiting",
        "500": "a fault of the server",
        "503": "not ready, or too slow",
    }
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "the ranking, best first", "content": {"application/json": {"schema": answer}}},
            **{status: {"description": meaning} for status, meaning in errors.items()},
        },
    }


def _get(summary: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "as said"}}}
