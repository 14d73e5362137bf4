"""The README.md of a bundle: what it is, how to use it, how it was checked."""

from typing import Any

from jrank.export._quality import Quality

__all__ = ["model_card"]

_USE = {
    "cross-encoder": """```python
from jrank import serving

ranker = serving.CrossEncoder.from_file("PATH/TO/THIS/DIRECTORY")
for hit in ranker.rank("what is a cross-encoder?", documents, top_k=10):
    print(hit.score, hit.document)
```

or from the command line: `jrank rerank --model PATH/TO/THIS/DIRECTORY "what is a cross-encoder?" documents.jsonl`.

Scores are raw outputs of the model: larger is better, and they are not probabilities.""",
    "multi-vector-encoder": """```python
from jrank import serving

encoder = serving.MultiVectorEncoder.from_file("PATH/TO/THIS/DIRECTORY")
vectors = encoder.encode_documents(documents)
for hit in encoder.rank("what is late interaction?", documents, top_k=10):
    print(hit.score, hit.document)
```

`scorer.onnx` computes the scores: the sum, over the query's tokens, of the best match among the document's.""",
    "function": """```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
outputs = session.run(None, {name: array for name, array in inputs.items()})
```""",
}


def model_card(config: dict[str, Any], quality: Quality | None) -> str:
    """Write the card.

    Args:
      config: the bundle's configuration.
      quality: figures of the quantised graph, if it is one.

    Returns:
      Markdown.
    """
    kind = config["kind"]
    lines = [
        f"# {config['name']}",
        "",
        f"A {kind} for ONNX Runtime, exported by jrank.",
        "",
        _USE[kind],
        "",
        "## Facts",
        "",
    ]
    facts = [
        ("kind", kind),
        ("weights", config["quantize"] or "float32"),
        ("opset", config["opset"]),
        ("inputs", "; ".join(f"`{e['name']}` {e['dtype']} {e['shape']}" for e in config["inputs"])),
        ("outputs", "; ".join(f"`{name}`" for name in config["outputs"])),
        ("scores independent of the batch", "yes" if config["batch_invariant"] else "no"),
    ]
    if kind == "cross-encoder":
        facts += [("most tokens of a pair", config["max_length"]), ("labels", ", ".join(config["labels"]))]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts)]
    lines += ["", "| file | bytes | SHA-256 |", "|---|---|---|"]
    lines += [f"| {name} | {entry['bytes']} | `{entry['sha256']}` |" for name, entry in config["files"].items()]
    lines += [
        "",
        "## Checks",
        "",
        "The float32 graph, run in ONNX Runtime, against the JAX function it came from:",
        "",
        "| input shape | max abs error | largest output |",
        "|---|---|---|",
    ]
    lines += [
        f"| {' x '.join(map(str, case['shape']))} | {case['max_abs_error']:.1e} | {case['scale']:.4g} |"
        for case in config["parity"]
    ]
    if quality is not None:
        lines += [
            "",
            f"The {config['quantize']} graph against the float32 graph on {quality.pairs} "
            f"{'pairs of texts' if quality.texts else 'made-up pairs'}: max abs error {quality.max_abs_error:.2e} at a "
            f"standard deviation of the scores of {quality.score_std:.2e}, Kendall tau {quality.kendall_tau:.3f} "
            f"(worst query {quality.kendall_tau_min:.3f})"
            + ("." if quality.ndcg is None else f", NDCG@10 {quality.ndcg:.4f} ({quality.ndcg_change:+.4f})."),
        ]
    if not config["batch_invariant"]:
        lines += [
            "",
            "Activations are quantised with one scale per batch, so a score depends a little on the other rows of its "
            'batch. `score_batch(..., invariant=True)` avoids that; `quantize="int8-weights"` never has it.',
        ]
    lines += ["", "The weights keep the licence of the model that they come from.", ""]
    return "\n".join(lines)
