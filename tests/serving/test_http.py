"""The HTTP server: through its ASGI interface, and once as a real process."""

import asyncio
import http.client
import json
import logging
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from jrank.errors import MissingExtraError, ServeError
from jrank.serving import CrossEncoder, Limits, create_app
from jrank.serving._run import serve

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMITS = Limits(body_bytes=4000, documents=5, query_characters=100, document_characters=50, body_seconds=0.3)


@pytest.fixture(scope="module")
def ranker(model_bytes, tokenizer_bytes):
    return CrossEncoder.from_bytes(model_bytes, tokenizer_bytes, threads=1)


class Client:
    """Calls an ASGI application without a network."""

    def __init__(self, app):
        self.app = app

    async def send(self, method, path, body=b"", headers=None, chunks=None, stay=True):
        messages, sent = list(chunks if chunks is not None else [body]), {"headers": {}, "body": b""}

        async def receive():
            if messages:
                part = messages.pop(0)
                if isinstance(part, float):
                    await asyncio.sleep(part)
                    return await receive()
                return {"type": "http.request", "body": part, "more_body": bool(messages)}
            if stay:
                await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.start":
                sent["status"] = message["status"]
                sent["headers"] = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                sent["body"] += message.get("body", b"")

        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "scheme": "http", "http_version": "1.1", "server": ("test", 80), "client": ("test", 1),
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        }  # fmt: skip
        await self.app(scope, receive, send)
        return sent["status"], sent["headers"], sent["body"]

    async def post(self, path, value, **options):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        status, headers, answer = await self.send("POST", path, body, **options)
        return status, headers, json.loads(answer)


def with_client(app, work):
    async def main():
        async with app.router.lifespan_context(app):
            return await work(Client(app))

    return asyncio.run(main())


def post(ranker, path, value, **options):
    app = create_app(ranker, limits=LIMITS, **options.pop("app", {}))
    return with_client(app, lambda client: client.post(path, value, **options))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("version", [1, 2])
def test_cohere(ranker, version):
    body = {"model": "any", "query": "what", "documents": ["bad", {"text": "[UNK]"}, "jax"], "top_n": 2}
    status, headers, answer = post(ranker, f"/v{version}/rerank", body)
    assert status == 200
    assert [result["index"] for result in answer["results"]] == [2, 1]
    np.testing.assert_allclose(answer["results"][1]["relevance_score"], sigmoid(1.0))
    assert answer["id"] == headers["x-request-id"]
    assert answer["meta"]["api_version"]["version"] == str(version)
    assert "document" not in answer["results"][0]
    _, _, answer = post(ranker, f"/v{version}/rerank", {**body, "return_documents": True, "top_n": 99})
    assert [result["document"]["text"] for result in answer["results"]] == ["jax", "[UNK]", "bad"]


def test_documents_cut_to_tokens(ranker):
    body = {"query": "what", "documents": ["bad jax jax", "jax bad"], "return_documents": True}
    status, _, answer = post(ranker, "/v2/rerank", {**body, "max_tokens_per_doc": 1})
    assert status == 200
    # What counts is the first token; what comes back is the whole document.
    wanted = post(ranker, "/v2/rerank", {**body, "documents": ["bad", "jax"]})[2]
    assert [r["relevance_score"] for r in answer["results"]] == [r["relevance_score"] for r in wanted["results"]]
    assert answer["results"][0]["document"]["text"] == "jax bad"
    for wrong in (0, "8", 1.5, True):
        status, _, answer = post(ranker, "/v2/rerank", {**body, "max_tokens_per_doc": wrong})
        assert (status, answer["message"]) == (422, "max_tokens_per_doc must be an integer of at least 1")


def test_unknown_paths_and_methods_are_answered_in_json(ranker):
    async def work(client):
        found = [await client.send("GET", "/v3/rerank"), await client.send("GET", "/v1/rerank")]
        return found, await client.send("GET", "/metrics")

    found, (_, _, metrics) = with_client(create_app(ranker), work)
    for (status, headers, body), want in zip(found, (404, 405), strict=True):
        answer = json.loads(body)
        assert status == want
        assert answer["id"] == headers["x-request-id"]
        assert answer["message"]
    assert found[1][1]["allow"] == "POST"
    assert b'path="other"' in metrics


def test_documents_with_several_fields(ranker):
    body = {
        "query": "what",
        "documents": [{"a": "bad"}, {"a": "jax", "b": "is", "text": "bad"}],
        "rank_fields": ["a", "b"],
    }
    _, _, answer = post(ranker, "/v1/rerank", {**body, "return_documents": True})
    assert [result["document"]["text"] for result in answer["results"]] == ["jax\nis", "bad"]


def test_tei(ranker):
    body = {"query": "what", "texts": ["bad", "jax"], "raw_scores": True, "return_text": True}
    assert post(ranker, "/rerank", body)[2] == [
        {"index": 1, "score": 31.0, "text": "jax"},
        {"index": 0, "score": -39.0, "text": "bad"},
    ]
    _, _, answer = post(ranker, "/rerank", {"query": "", "texts": ["a"]})
    assert answer["error"] == "query is empty"
    status, _, answer = post(ranker, "/rerank", {"query": "a", "texts": ["b " * 25], "truncate": True})
    assert status == 200
    status, _, answer = post(ranker, "/rerank", {"query": "a " * 10, "texts": ["b " * 25], "truncate": False})
    assert (status, answer["error_type"]) == (413, "validation")


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/rerank", b"", 400, "not JSON"),
        ("/v1/rerank", b"{", 400, "not JSON"),
        ("/v1/rerank", b"[]", 400, "must be a JSON object"),
        ("/v1/rerank", b"\xff", 400, "not UTF-8"),
        ("/v1/rerank", b'{"query": "a", "query": "b", "documents": ["c"]}', 400, "twice"),
        ("/v1/rerank", b'{"query": "a", "documents": ["c"], "top_n": NaN}', 400, "NaN is not JSON"),
        ("/rerank", b'{"query":' + b"[" * 3900, 400, "body"),
        ("/v1/rerank", {"documents": ["a"]}, 422, "query must be a text"),
        ("/v1/rerank", {"query": 3, "documents": ["a"]}, 422, "query must be a text"),
        ("/v1/rerank", {"query": " ", "documents": ["a"]}, 400, "query is empty"),
        ("/v1/rerank", {"query": "a" * 101, "documents": ["a"]}, 413, "101 characters, at most 100"),
        ("/v1/rerank", {"query": "a", "documents": []}, 400, "documents is empty"),
        ("/v1/rerank", {"query": "a", "documents": "abc"}, 422, "must be a list"),
        ("/v1/rerank", {"query": "a", "documents": ["a", 3]}, 422, "documents[1] must be a text"),
        ("/v1/rerank", {"query": "a", "documents": ["a"] * 6}, 413, "6 documents, at most 5"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, 422, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": -1}, 422, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 1.0}, 422, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 1e99}, 422, "top_n"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "return_documents": 1}, 422, "true or false"),
        ("/v1/rerank", {"query": "a", "documents": [{"b": "c"}]}, 422, 'an object with one in "text"'),
        ("/v1/rerank", {"query": "a", "documents": [{"b": 1}], "rank_fields": ["b"]}, 422, "one of rank_fields"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "rank_fields": []}, 422, "rank_fields must be"),
        ("/v1/rerank", {"query": "a", "documents": ["a"], "model": 3}, 422, "model must be a text"),
        ("/rerank", {"query": "a", "documents": ["a"]}, 422, "texts must be a list"),
        ("/rerank", {"query": "a", "texts": ["a"], "truncation_direction": "Left"}, 422, "must be Right"),
        ("/v1/rerank", b" " * 4001, 413, "larger than 4000 bytes"),
    ],
)
def test_bad_requests(ranker, path, body, status, message):
    got, headers, answer = post(ranker, path, body)
    assert got == status
    assert message in answer["message"]
    assert answer["id"] == headers["x-request-id"]


def test_bodies_that_are_large_late_or_compressed(ranker):
    app = create_app(ranker, limits=LIMITS)

    async def work(client):
        chunked = await client.send("POST", "/rerank", chunks=[b" " * 1000] * 5)
        declared = await client.send("POST", "/rerank", headers={"Content-Length": "99999999"})
        junk = await client.send("POST", "/rerank", headers={"Content-Length": "x"})
        slow = await client.send("POST", "/rerank", chunks=[b"{", 5.0, b"}"])
        packed = await client.send("POST", "/rerank", headers={"Content-Encoding": "gzip"})
        return [answer[0] for answer in (chunked, declared, junk, slow, packed)]

    assert with_client(app, work) == [413, 413, 413, 408, 415]


def test_odd_texts_get_the_same_score_twice(ranker):
    texts = ["\ud800", "\x00", "\u202eabc", "😀" * 20]
    body = json.dumps({"query": "a\udfff", "texts": texts}).encode()
    one, two = post(ranker, "/rerank", body), post(ranker, "/rerank", body)
    assert one[0] == 200
    assert one[2] == two[2]
    back = post(ranker, "/rerank", json.dumps({"query": "a", "texts": ["b\ud800"], "return_text": True}).encode())
    assert (back[0], back[2][0]["text"]) == (200, "b\ufffd")


def test_keys_and_names(ranker):
    body = {"query": "a", "documents": ["b"], "model": "tiny"}
    app = {"api_key": "s3cret", "name": "tiny"}
    for headers, status in [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "s3cret"}, 401),
        ({"Authorization": "Bearer s3cret"}, 200),
        ({"Authorization": "bearer s3cret"}, 200),
        ({"Authorization": "Basic s3cret"}, 401),
    ]:
        got = post(ranker, "/v1/rerank", body, app=app, headers=headers)
        assert got[0] == status
        if status == 401:
            assert got[1]["www-authenticate"] == "Bearer"
    headers = {"Authorization": "Bearer s3cret"}
    assert post(ranker, "/v1/rerank", {**body, "model": "other"}, app=app, headers=headers)[0] == 404

    async def work(client):
        return [(await client.send("GET", path))[0] for path in ("/health", "/", "/info", "/metrics")]

    assert with_client(create_app(ranker, **app), work) == [200, 200, 401, 401]


def test_the_other_routes(ranker):
    async def work(client):
        await client.post("/rerank", {"query": "a", "texts": ["b", "c"]})
        await client.post("/rerank", {"query": "a"})
        found = {}
        for path in ("/health", "/info", "/metrics", "/openapi.json", "/", "/nowhere"):
            found[path] = await client.send("GET", path)
        found["GET"] = await client.send("GET", "/rerank")
        return found

    found = with_client(create_app(ranker, limits=LIMITS, name="tiny"), work)
    assert json.loads(found["/health"][2]) == {"status": "ok"}
    info = json.loads(found["/info"][2])
    assert (info["name"], info["limits"]["documents"]) == ("tiny", 5)
    metrics = found["/metrics"][2].decode()
    assert 'jrank_requests_total{path="/rerank",status="200"} 1' in metrics
    assert 'jrank_requests_total{path="/rerank",status="422"} 1' in metrics
    assert "jrank_pairs_total 2" in metrics
    assert "jrank_request_seconds_count 1" in metrics
    assert "jrank_queue_pairs 0" in metrics
    description = json.loads(found["/openapi.json"][2])
    assert set(description["paths"]) == {"/v1/rerank", "/v2/rerank", "/rerank", "/health", "/info", "/metrics"}
    page = found["/"]
    assert "<form" in page[2].decode()
    assert "default-src 'none'" in page[1]["content-security-policy"]
    assert found["/nowhere"][0] == 404
    assert found["GET"][0] == 405


def test_before_the_model_is_ready(ranker):
    app = create_app(ranker)

    async def work():
        client = Client(app)
        return (await client.send("GET", "/health"))[0], (await client.post("/rerank", {"query": "a", "texts": ["b"]}))[
            0
        ]

    assert asyncio.run(work()) == (503, 503)


def test_logs_hold_no_text(ranker, caplog):
    caplog.set_level(logging.INFO, logger="jrank.serving")
    post(ranker, "/rerank", {"query": "secretquestion", "texts": ["secretdocument"]})
    post(ranker, "/rerank", {"query": "secretquestion", "texts": "secretdocument"})
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text
    entry = json.loads(caplog.records[0].getMessage())
    assert (entry["path"], entry["status"], entry["pairs"]) == ("/rerank", 200, 1)


def test_models_with_several_labels_are_no_rerankers(tiny, tokenizer_bytes):
    ranker = CrossEncoder.from_bytes(tiny.make_model(labels=2).SerializeToString(), tokenizer_bytes, max_length=32)
    with pytest.raises(ServeError, match="gives 2 scores per pair"):
        create_app(ranker)


def test_without_the_extra(ranker, monkeypatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    with pytest.raises(MissingExtraError, match=r'pip install "jrank\[http\]"'):
        create_app(ranker)


# -- under load --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
def test_overload_time_and_absence_have_their_status(slow_ranker):
    slow = slow_ranker()
    app = create_app(slow, limits=Limits(waiting_pairs=2, seconds=0.3))

    async def work(client):
        body = {"query": "a", "texts": ["1", "2"]}
        late = asyncio.ensure_future(client.post("/rerank", body))
        await asyncio.sleep(0.05)
        full = await client.post("/rerank", body)
        timed = await late
        gone = await client.send("POST", "/rerank", json.dumps(body).encode(), stay=False)
        slow.gate.set()
        return full[0], full[1]["retry-after"], timed[0], gone[0]

    assert with_client(app, work) == (429, "1", 503, 499)


def test_many_clients_get_the_serial_scores(ranker):
    words = ["what", "is", "jax", "good", "bad", "long", "a", "b"]
    bodies = [
        {"query": words[i % 8], "texts": [" ".join(words[(i * j) % 8] for j in range(k)) for k in range(1, 9)]}
        for i in range(64)
    ]

    async def work(client):
        return await asyncio.gather(*(client.post("/rerank", {**body, "raw_scores": True}) for body in bodies))

    for body, (status, _, answer) in zip(bodies, with_client(create_app(ranker), work), strict=True):
        assert status == 200
        hits = ranker.rank(body["query"], body["texts"])
        assert [(hit["index"], hit["score"]) for hit in answer] == [(hit.index, hit.score) for hit in hits]


# -- a real process ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def process(tmp_path_factory, model_bytes, tokenizer_bytes):
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "model.onnx").write_bytes(model_bytes)
    (folder / "tokenizer.json").write_bytes(tokenizer_bytes)
    code = (
        "import sys, argparse\n"
        "for name in ('jax', 'jaxlib', 'flax', 'onnx', 'scipy', 'jaxtyping'):\n"
        "    sys.modules[name] = None\n"
        "from jrank.cli import _serve\n"
        "parser = argparse.ArgumentParser()\n"
        "_serve.add_arguments(parser)\n"
        "sys.exit(_serve.run(parser.parse_args(sys.argv[1:])))\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), "--port", "0", "--threads", "1"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    line = started.stderr.readline()
    assert line.startswith("serving on http://127.0.0.1:"), line + started.stderr.read()
    yield started, int(line.split("/")[2].split(":")[1])
    if started.poll() is None:
        started.kill()
    started.wait()
    started.stderr.close()


def test_a_real_client_and_a_graceful_end(process):
    started, port = process
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = json.dumps({"query": "what", "documents": ["bad", "jax"]})
    for _ in range(3):
        connection.request("POST", "/v2/rerank", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert [result["index"] for result in json.loads(answer.read())["results"]] == [1, 0]
    connection.close()
    started.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + 20
    while started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert started.returncode == 0
    lines = started.stderr.read().splitlines()
    assert [json.loads(line)["status"] for line in lines] == [200] * 3


def test_a_port_in_use(tmp_path, ranker):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ServeError, match=r"cannot listen on 127\.0\.0\.1"):
            serve(create_app(ranker), "127.0.0.1", taken.getsockname()[1])
