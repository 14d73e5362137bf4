"""Time a cross-encoder: python scripts/bench cross_encoder [--parts score,train,http,memory] [--model DIR]

The model is MiniLM-L6 with a new head; it is exported to a temporary folder. Scoring is in CPU milliseconds per pair on
one thread, all calls in one process and in turn. Peers are taken where they are installed (pip install torch
sentence-transformers): sentence-transformers on torch, and the graph that torch exports, run in ONNX Runtime with the
same batches, which is what its ONNX backend does.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from pathlib import Path

import _timing
import numpy as np
from serving import cpu_milliseconds, measure_http, measure_memory, texts

from jrank import export, models, serving, training

PEERS = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("sentence_transformers") is not None


def sentence_transformers(path):
    """Its prediction, sorted by length, in batches of 8."""
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(1)
    peer = CrossEncoder(str(path), device="cpu", activation_fn=torch.nn.Identity())
    return lambda pairs: peer.predict([list(pair) for pair in pairs], batch_size=8)


def exported_by_torch(path, folder):
    """The graph of torch's exporter in ONNX Runtime, one thread, batches of 8 sorted by length in characters."""
    import onnxruntime
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    sample = tokenizer([("a", "b")], return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        model,
        tuple(sample[name] for name in names),
        str(folder / "torch.onnx"),
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "b", 1: "s"} for name in names},
        dynamo=False,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "torch.onnx", options, providers=["CPUExecutionProvider"])

    def predict(pairs):
        order = np.argsort([-len(a) - len(b) for a, b in pairs], kind="stable")
        scores = np.zeros(len(pairs))
        for start in range(0, len(order), 8):
            rows = order[start : start + 8]
            batch = tokenizer([pairs[i] for i in rows], padding=True, truncation=True, max_length=512)
            feeds = {name: np.array(batch[name], np.int64) for name in names}
            scores[rows] = session.run(None, feeds)[0][:, 0]
        return scores

    return predict


def score(hf, folder):
    """Time scoring, and say how far int8 is from float32."""
    model = models.CrossEncoder.from_pretrained(hf)
    calls = {}
    for name, quantize in (("float32", None), ("int8", "int8"), ("int8-weights", "int8-weights")):
        export.to_onnx(model, folder / name, quantize=quantize)
        calls[name] = serving.CrossEncoder.from_file(folder / name, threads=1).score_batch
    tokenizer = serving.CrossEncoder.from_file(folder / "float32").tokenizer
    if PEERS:
        calls["sentence-transformers, torch"] = sentence_transformers(hf)
        calls["its ONNX graph"] = exported_by_torch(hf, folder)
    print("CPU ms per pair, one thread; in brackets relative to float32\n")
    print("| pairs | " + " | ".join(calls) + " |\n|:--|" + "--:|" * len(calls))
    for name, pairs in texts(tokenizer).items():
        found = cpu_milliseconds({key: (lambda f=f, p=pairs: f(p)) for key, f in calls.items()}, 4)
        cells = [f"{value / len(pairs):.1f} ({value / found['float32']:.2f})" for value in found.values()]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print("\nint8 against float32, 10 queries x 60 documents, random head: " + hard_case(calls, tokenizer))


def hard_case(calls, tokenizer):
    """Kendall's tau on the embedded corpus, with a head that was never trained: margins are tiny."""
    from scipy import stats

    from jrank.data import load_pydocs

    corpus = load_pydocs()
    rng = np.random.default_rng(0)
    taus = []
    for query in rng.choice(len(corpus.queries), 10, replace=False):
        chosen = rng.choice(len(corpus.documents), 60, replace=False)
        pairs = [(corpus.queries[query], " ".join(corpus.documents[i].split()[:90])) for i in chosen]
        taus.append(stats.kendalltau(calls["float32"](pairs), calls["int8"](pairs)).statistic)
    return f"Kendall tau {np.mean(taus):.3f} (worst query {min(taus):.3f})"


def train(hf):
    """Seconds of a training step of 4 lists of 8 documents, 128 tokens, without dropout, on all cores."""
    rng = np.random.default_rng(0)
    model = models.CrossEncoder.from_pretrained(hf)
    words = [w for w in model.tokenizer.tokens(range(model.tokenizer.vocab_size)) if w.isalpha() and len(w) > 3]

    def text(n):
        return " ".join(rng.choice(words, n))

    lists = [(text(20), [text(140) for _ in range(8)], [1.0] + [0.0] * 7) for _ in range(4)]
    rows = {}
    for dtype in ("float32", "bfloat16"):
        history = training.fit_cross_encoder(
            model, lists, max_length=128, batch_size=4, max_steps=8, epochs=8, compute_dtype=dtype, progress=False
        ).history
        rows["jrank", dtype] = statistics.median(np.diff(history.seconds)[1:])
    if PEERS:
        for dtype in ("float32", "bfloat16"):
            rows["torch", dtype] = torch_step(hf, lists, dtype)
    print("\nSeconds of a training step, 4 lists x 8 documents x 128 tokens, all cores\n")
    print("| | float32 | bfloat16 |\n|:--|--:|--:|")
    for name in dict.fromkeys(name for name, _ in rows):
        print(f"| {name} | {rows[name, 'float32']:.2f} | {rows[name, 'bfloat16']:.2f} |")


def torch_step(hf, lists, dtype):
    """The same step in torch: softmax loss over each list, AdamW, clipping; bfloat16 by autocast."""
    import os

    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(hf).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(hf)
    pairs = [(query, document) for query, documents, _ in lists for document in documents]
    batch = tokenizer(pairs, max_length=128, truncation=True, padding="max_length", return_tensors="pt")
    labels = torch.tensor([y for _, _, y in lists])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(**batch).logits
        scores = logits.float().reshape(labels.shape)
        loss = -(labels * torch.log_softmax(scores, -1)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=models.DEFAULT_MODEL)
    parser.add_argument("--parts", default="score,train,http,memory")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load of the service")
    parser.add_argument("--requests", type=int, default=10_000, help="for the growth of memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = models.CrossEncoder.from_pretrained(args.model, num_labels=1)
        model.save_pretrained(folder / "hf")
        parts = args.parts.split(",")
        if "score" in parts:
            score(folder / "hf", folder)
        if "train" in parts:
            train(folder / "hf")
        if {"http", "memory"} & set(parts):
            if not (folder / "float32").exists():
                export.to_onnx(model, folder / "float32")
            print("\nHTTP, float32, one thread")
            if "http" in parts:
                measure_http(folder / "float32", args.seconds)
            if "memory" in parts:
                measure_memory(folder / "float32", args.requests)
        print("\n" + json.dumps({"where": _timing.where()}))


if __name__ == "__main__":
    main()
