"""Time served cross-encoders: python scripts/bench/serving.py BUNDLE [BUNDLE ...] [--http] [--torch DIR]

CPU milliseconds per pair on one thread, all in one process and in turn; the first bundle is what the others are held
against. ``--torch`` adds sentence-transformers on a Hugging Face directory (pip install torch sentence-transformers).
``--http`` sends the ragged pairs through the server as well, from several clients, up to twice what it can do.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from jrank.serving import CrossEncoder, Limits, create_app


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


async def call(app, body):
    """One request through the ASGI interface; returns its status and seconds."""
    status, parts = [], [{"type": "http.request", "body": body}]

    async def receive():
        if not parts:
            await asyncio.sleep(3600)
        return parts.pop()

    async def send(message):
        status.append(message.get("status"))

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/rerank", "query_string": b"", "headers": headers}
    start = time.perf_counter()
    await app(scope, receive, send)
    return status[0], time.perf_counter() - start


async def one_after_another(app, bodies):
    """A client that waits for each answer."""
    for body in bodies:
        await call(app, body)


async def load(app, bodies, rate, seconds):
    """Send requests at a rate, whatever the server does with them."""
    tasks, end, i = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        tasks.append(asyncio.ensure_future(call(app, bodies[i % len(bodies)])))
        i += 1
        await asyncio.sleep(1 / rate)
    return await asyncio.gather(*tasks)


def measure_http(ranker, pairs, seconds):
    requests = [pairs[i : i + 8] for i in range(0, len(pairs), 8)]
    bodies = [json.dumps({"query": r[0][0], "texts": [d for _, d in r]}).encode() for r in requests]
    same = [[(r[0][0], d) for _, d in r] for r in requests]
    start = time.perf_counter()
    for _ in range(3):
        ranker.score_batch([pair for request in same for pair in request])
    direct = 3 * len(pairs) / (time.perf_counter() - start)
    # What waits may take as long as two requests do at capacity.
    app = create_app(ranker, limits=Limits(waiting_seconds=2 * 8 / direct))

    async def main():
        async with app.router.lifespan_context(app):
            start = time.perf_counter()
            await asyncio.gather(one_after_another(app, 3 * bodies[::2]), one_after_another(app, 3 * bodies[1::2]))
            served = 3 * len(pairs) / (time.perf_counter() - start)
            print(f"in process {direct:.1f} pairs/s, through the server {served:.1f} ({served / direct:.2f})")
            for factor in (0.8, 1.0, 2.0):
                answers = await load(app, bodies, factor * served / 8, seconds)
                good = sorted(t for status, t in answers if status == 200)
                refused = sum(status == 429 for status, _ in answers)
                p99 = good[min(len(good) - 1, int(0.99 * len(good)))]
                print(
                    f"{factor:.1f} x capacity: {len(good)} served, {refused} refused, median "
                    f"{statistics.median(good):.2f} s, p99 {p99:.2f} s, resident {resident():.0f} MB"
                )

    asyncio.run(main())


def measure_memory(ranker, requests):
    """Send small requests one after the other, and watch the resident memory."""
    words = [w for w in ranker.tokenizer.tokens(range(ranker.tokenizer.vocab_size)) if w.isalpha() and len(w) > 2]
    rng = np.random.default_rng(3)

    def body():
        texts = [" ".join(rng.choice(words, int(rng.integers(1, 12)))) for _ in range(2)]
        return json.dumps({"query": " ".join(rng.choice(words, 3)), "texts": texts}).encode()

    app = create_app(ranker)

    async def main():
        async with app.router.lifespan_context(app):
            sizes = []
            for part in range(11):
                await one_after_another(app, [body() for _ in range(requests // 10 if part else requests // 100)])
                sizes.append(resident())
            print(f"resident memory over {requests} requests: {sizes[0]:.0f} MB, then every tenth of them ", end="")
            print(" ".join(f"{size:.0f}" for size in sizes[1:]))

    asyncio.run(main())


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


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
        measure_http(first, texts(first.tokenizer)["ragged 20..400"], args.seconds)


if __name__ == "__main__":
    main()
