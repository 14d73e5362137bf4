"""Time served cross-encoders: python scripts/bench/serving.py BUNDLE [BUNDLE ...] [--http] [--torch DIR]

CPU milliseconds per pair on one thread, all in one process and in turn; the first bundle is what the others are held
against. ``--torch`` adds sentence-transformers on a Hugging Face directory (pip install torch sentence-transformers).
``--http`` serves the first bundle in a process of its own and sends it requests, up to twice what it can do.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from jrank.serving import CrossEncoder  # noqa: E402


def texts(tokenizer, seed=0):
    """Pairs by name: two fixed lengths, and ragged ones from 20 to 400 tokens."""
    rng = np.random.default_rng(seed)
    words = [w for w in tokenizer.tokens(range(tokenizer.vocab_size)) if w.isalpha() and len(w) > 2]

    def text(n):
        return " ".join(rng.choice(words, size=int(n)))

    return {
        "8 x 128": [(text(20), text(105)) for _ in range(8)],
        "8 x 256": [(text(20), text(233)) for _ in range(8)],
        "ragged 20..400": [(text(8), text(rng.integers(9, 390))) for _ in range(64)],
    }


def cpu_milliseconds(calls, repeats):
    """Least CPU time of each call, in turn."""
    best = dict.fromkeys(calls, float("inf"))
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                best[name] = min(best[name], time.process_time() - start)
    return {name: 1000 * value for name, value in best.items()}


def torch_reranker(path):
    import torch
    from sentence_transformers import CrossEncoder as Peer

    torch.set_num_threads(1)
    peer = Peer(path, device="cpu", activation_fn=torch.nn.Identity())
    return lambda pairs: peer.predict([list(pair) for pair in pairs], batch_size=8)


class Server:
    """``jrank serve`` in a process of its own, asked over sockets."""

    def __init__(self, bundle, *options):
        command = [sys.executable, "-m", "jrank", "serve", str(bundle), "--port", "0", "--threads", "1", "--quiet"]
        self._process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, cwd=ROOT)
        line = self._process.stderr.readline()
        self._port = int(line.split("127.0.0.1:")[1].split("/")[0])

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self._port)

    def resident(self):
        """Megabytes of memory."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def close(self):
        self._process.terminate()
        self._process.wait(60)
        self._process.stderr.close()


async def ask(connection, body):
    """One request; returns its status and seconds."""
    reader, writer = connection
    start = time.perf_counter()
    head = f"POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = answer.lower().split(b"content-length:")[1].split(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(answer.split()[1]), time.perf_counter() - start


async def clients(server, count, bodies):
    """Clients that each wait for the answer before they ask again; returns all answers."""
    rest = iter(bodies)

    async def client():
        connection = await server.connect()
        answers = [await ask(connection, body) for body in rest]
        connection[1].close()
        return answers

    return [answer for answers in await asyncio.gather(*(client() for _ in range(count))) for answer in answers]


async def load(server, bodies, rate, seconds):
    """Requests that arrive at random, at a rate, whatever the server does with them."""
    rng, idle, tasks = np.random.default_rng(0), [], []
    moments = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    start = time.perf_counter()

    async def one(body):
        connection = idle.pop() if idle else await server.connect()
        answer = await ask(connection, body)
        idle.append(connection)
        return answer

    for i, moment in enumerate(moments):
        await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(bodies[i % len(bodies)])))
    answers = await asyncio.gather(*tasks)
    for connection in idle:
        connection[1].close()
    return answers


def requests_of(tokenizer, count, documents, longest, seed=3):
    """Requests of some documents of 5 to ``longest`` words, as pairs and as bodies."""
    rng = np.random.default_rng(seed)
    words = [w for w in tokenizer.tokens(range(tokenizer.vocab_size)) if w.isalpha() and len(w) > 2]

    def text(low, high):
        return " ".join(rng.choice(words, int(rng.integers(low, high))))

    pairs = []
    for _ in range(count):
        query = text(3, 9)
        pairs.append([(query, text(5, longest)) for _ in range(documents)])
    bodies = [json.dumps({"query": r[0][0], "texts": [d for _, d in r]}).encode() for r in pairs]
    return pairs, bodies


def throughput(bundle, size, count):
    """Pairs per second of requests of one size: in process, and served to several clients; returns one by one."""
    ranker = CrossEncoder.from_file(bundle, threads=1)
    pairs, bodies = requests_of(ranker.tokenizer, count, size, 60)
    flat = [pair for request in pairs for pair in request]
    ranker.score_batch(flat)
    start = time.perf_counter()
    ranker.score_batch(flat)
    ranker.score_batch(flat)
    direct = 2 * len(flat) / (time.perf_counter() - start)
    start = time.perf_counter()
    for request in pairs:
        ranker.score_batch(request)
    apart = len(flat) / (time.perf_counter() - start)
    del ranker
    print(f"requests of {size}: in process {direct:.1f} pairs/s, request by request {apart:.1f}")
    server = Server(bundle)
    try:
        asyncio.run(clients(server, 2, bodies[:16]))
        for asking in (1, 2, 16) if count > 16 else (1, 2, 4):
            start = time.perf_counter()
            answers = asyncio.run(clients(server, asking, bodies))
            served = size * len(answers) / (time.perf_counter() - start)
            assert all(status == 200 for status, _ in answers)
            print(f"{asking} clients: {served:.1f} pairs/s, {served / direct:.2f} of the calls in process", flush=True)
    finally:
        server.close()
    return apart, bodies


def measure_http(bundle, seconds, *, size=4):
    """Throughput against the same pairs in process, then random arrivals below, at and above the capacity.

    Args:
      bundle: the model.
      seconds: of each load.
      size: documents of a request, where requests arrive at random.
    """
    throughput(bundle, 128, 4)
    throughput(bundle, 32, 8)
    apart, bodies = throughput(bundle, size, 64)
    print(f"requests of {size} documents, {1000 * size / apart:.0f} ms each", flush=True)
    server = Server(bundle)
    try:
        for factor in (0.7, 1.0, 2.0):
            answers = asyncio.run(load(server, bodies, factor * apart / size, seconds))
            good = sorted(t for status, t in answers if status == 200)
            refused = [t for status, t in answers if status == 429]
            assert len(good) + len(refused) == len(answers)
            p99 = good[min(len(good) - 1, int(0.99 * len(good)))]
            late = f", refused within {1000 * max(refused):.0f} ms" if refused else ""
            times = f"median {1000 * statistics.median(good):.0f} ms, p99 {1000 * p99:.0f} ms"
            counts = f"{len(good)} served, {len(refused)} refused{late}"
            print(f"{factor:.1f} x capacity: {counts}; {times}, {server.resident():.0f} MB resident", flush=True)
        # A hundred at once are a burst, not an overload; that one has to be over.
        time.sleep(3.0)
        answers = asyncio.run(clients(server, 100, [bodies[i % len(bodies)] for i in range(100)]))
        slowest = max(seconds for _, seconds in answers)
        print(f"100 at once: {sum(status == 200 for status, _ in answers)} served, the last after {slowest:.1f} s")
    finally:
        server.close()


def measure_memory(bundle, requests):
    """Send small requests from two clients, and watch the resident memory of the server."""
    _, bodies = requests_of(CrossEncoder.from_file(bundle, threads=1).tokenizer, 1000, 2, 12)
    server, sizes = Server(bundle), []
    try:
        for part in range(11):
            some = [bodies[i % len(bodies)] for i in range(requests // 10 if part else requests // 100)]
            asyncio.run(clients(server, 2, some))
            sizes.append(server.resident())
    finally:
        server.close()
    print(f"resident memory over {requests} requests: {sizes[0]:.0f} MB, then every tenth of them ", end="")
    print(" ".join(f"{size:.0f}" for size in sizes[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("--torch", metavar="DIR")
    parser.add_argument("--http", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    rankers = {path: CrossEncoder.from_file(path, threads=1) for path in args.bundles}
    first = next(iter(rankers.values()))
    calls = {path: ranker.score_batch for path, ranker in rankers.items()}
    if args.torch:
        calls["sentence-transformers"] = torch_reranker(args.torch)
    print("CPU ms per pair, one thread; in brackets relative to the first\n")
    print("| pairs | " + " | ".join(calls) + " |\n|:--|" + "--:|" * len(calls))
    for name, pairs in texts(first.tokenizer).items():
        found = cpu_milliseconds({key: (lambda f=f, p=pairs: f(p)) for key, f in calls.items()}, args.repeats)
        base = next(iter(found.values()))
        cells = [f"{value / len(pairs):.1f} ({value / base:.2f})" for value in found.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")
    if args.http:
        print()
        measure_http(args.bundles[0], args.seconds)


if __name__ == "__main__":
    main()
