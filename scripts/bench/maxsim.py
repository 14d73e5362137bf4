"""Time late interaction: python scripts/bench/maxsim.py (peers, where installed: maxsim-cpu, pylate, torch).

On Linux ``taskset -c 0`` in front of it times one core. Peers are called in turn, so a busy machine slows all alike:
read the ratios.
"""

import argparse
import importlib.util
import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from _timing import in_turn, report

from jrank import maxsim

HAS = {name: importlib.util.find_spec(name) is not None for name in ("maxsim_cpu", "pylate", "torch")}


def scoring(number, rng):
    """One query of 32 tokens against documents of 180 tokens, and of 20 to 300."""
    query = rng.standard_normal((32, 128), np.float32)
    docs = jnp.asarray(rng.standard_normal((number, 180, 128), np.float32))
    uniform = np.asarray(docs)  # the same memory: 10,000 documents take a gigabyte
    ragged = [rng.standard_normal((length, 128), np.float32) for length in rng.integers(20, 301, size=number)]
    packed = maxsim.pack(ragged)
    half = maxsim.pack(ragged, dtype=jnp.bfloat16)
    int8 = maxsim.quantize(packed, 8)
    on_device = jnp.asarray(query)
    small, half_docs = on_device.astype(jnp.bfloat16), docs.astype(jnp.bfloat16)
    score, score_packed = jax.jit(maxsim.score), jax.jit(maxsim.score_packed)
    product = jax.jit(lambda query, docs: docs.reshape(-1, docs.shape[-1]) @ query.T)
    fns = {
        "uniform": lambda: score(on_device, docs).block_until_ready(),
        "uniform bfloat16": lambda: score(small, half_docs).block_until_ready(),
        "ragged": lambda: score_packed(on_device, packed).block_until_ready(),
        "ragged bfloat16": lambda: score_packed(small, half).block_until_ready(),
        "ragged int8": lambda: score_packed(on_device, int8).block_until_ready(),
    }
    peers = {"uniform, product kept": lambda: product(on_device, docs).block_until_ready()}
    if HAS["maxsim_cpu"]:
        import maxsim_cpu

        peers["uniform, maxsim-cpu"] = lambda: maxsim_cpu.maxsim_scores(query, uniform)
        peers["ragged, maxsim-cpu"] = lambda: maxsim_cpu.maxsim_scores_variable(query, ragged)
    if HAS["pylate"]:
        peers |= pylate_scores(query, uniform, ragged)
    times = in_turn(fns | peers, repeats=5 if number > 1000 else 15, settled=True)
    return [
        (f"{number} documents, {name}{peer.removeprefix(kind)}", times[name], times[peer])
        for name in fns
        for kind in [name.split()[0]]
        for peer in peers
        if peer.startswith(kind)
    ]


def pylate_scores(query, uniform, ragged):
    """The scores of PyLate, which pads documents to the longest; padding is not timed."""
    import torch
    from pylate.scores import colbert_scores

    lengths = np.array([len(doc) for doc in ragged])
    longest = np.zeros((len(ragged), lengths.max(), uniform.shape[-1]), "f")
    for place, doc in enumerate(ragged):
        longest[place, : len(doc)] = doc
    torch.set_num_threads(cores())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the array is read-only, and is only read
        asked, docs, padded = (torch.from_numpy(array) for array in (query[None], uniform, longest))
    real = torch.tensor(np.arange(lengths.max()) < lengths[:, None])
    return {
        "uniform, PyLate": lambda: colbert_scores(asked, docs),
        "ragged, PyLate": lambda: colbert_scores(asked, padded, documents_mask=real),
    }


def cores():
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def training(batch, docs, rng, *, dtype=jnp.float32):
    """Scores of a batch with their gradients, against plain differentiation in JAX and in torch."""
    queries = jnp.asarray(rng.normal(size=(batch, 32, 128)), dtype)
    tokens = jnp.asarray(rng.normal(size=(docs, 180, 128)), dtype)

    def step(scores):
        def loss(queries, tokens):
            return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(scores(queries, tokens))))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))

    ours = step(maxsim.score_matrix)
    plain = step(lambda q, d: jnp.einsum("bqd,ntd->bnqt", q, d).max(-1).sum(-1))
    forward = jax.jit(lambda q, d: jax.lax.map(lambda doc: (doc @ q.reshape(-1, q.shape[-1]).T).sum(0), d))
    fns = {
        "ours": lambda: jax.block_until_ready(ours(queries, tokens)),
        "plain differentiation in JAX": lambda: jax.block_until_ready(plain(queries, tokens)),
        "forward product alone": lambda: jax.block_until_ready(forward(queries, tokens)),
    }
    if HAS["torch"]:
        fns["torch autograd"] = torch_step(queries, tokens)
    times = in_turn(fns, repeats=3, settled=True)
    what = f"training step {batch} x {docs}, {dtype.__name__}, {temporary(ours, queries, tokens):.0f} MB"
    return [(f"{what}, {peer}", times["ours"], times[peer]) for peer in fns if peer != "ours"]


def torch_step(queries, tokens):
    """The same step in torch."""
    import torch

    torch.set_num_threads(cores())
    kind = getattr(torch, queries.dtype.name)
    asked, docs = (torch.tensor(np.asarray(x, "f")).to(kind).requires_grad_() for x in (queries, tokens))

    def step():
        scores = torch.einsum("bqd,ntd->bnqt", asked, docs).max(-1).values.sum(-1)
        torch.nn.functional.cross_entropy(scores.float(), torch.arange(len(scores))).backward()
        asked.grad = docs.grad = None

    return step


def temporary(step, *arrays):
    """Megabytes that a compiled function takes beside inputs and outputs."""
    return step.lower(*arrays).compile().memory_analysis().temp_size_in_bytes / 1e6


def memory(batch, docs):
    """What a training step of this size takes beside inputs and outputs, in megabytes; nothing is run."""
    shapes = (jax.ShapeDtypeStruct((number, length, 128), jnp.float32) for number, length in ((batch, 32), (docs, 180)))
    return temporary(jax.jit(jax.value_and_grad(lambda q, d: maxsim.score_matrix(q, d).sum(), (0, 1))), *shapes)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--no-training", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = [row for number in options.documents for row in scoring(number, rng)]
    if not options.no_training:
        rows += training(64, 128, rng) + training(64, 128, rng, dtype=jnp.bfloat16)
        print(f"training step 128 x 256: {memory(128, 256):.0f} MB beside inputs and outputs\n")
    report(f"Late interaction, query of 32 x 128, float32 unless named, cores: {cores()}", rows)


if __name__ == "__main__":
    main()
