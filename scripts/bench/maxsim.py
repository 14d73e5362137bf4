"""Time late interaction against maxsim-cpu: python scripts/bench/maxsim.py (pip install maxsim-cpu).

On Linux ``taskset -c 0`` in front of it times one core. Peers are called in turn, so a busy machine slows all alike:
read the ratios.
"""

import argparse
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
from _timing import in_turn, report

from jrank import maxsim

PEER = importlib.util.find_spec("maxsim_cpu")


def scoring(number, rng):
    """One query of 32 tokens against documents of 180 tokens, and of 20 to 300."""
    query = rng.normal(size=(32, 128)).astype("f")
    uniform = rng.normal(size=(number, 180, 128)).astype("f")
    ragged = [rng.normal(size=(length, 128)).astype("f") for length in rng.integers(20, 301, size=number)]
    packed = maxsim.pack(ragged)
    half = maxsim.pack(ragged, dtype=jnp.bfloat16)
    int8 = maxsim.quantize(packed, 8)
    on_device, docs = jnp.asarray(query), jnp.asarray(uniform)
    score, score_packed = jax.jit(maxsim.score), jax.jit(maxsim.score_packed)
    product = jax.jit(lambda query, docs: docs.reshape(-1, docs.shape[-1]) @ query.T)
    fns = {
        "uniform": lambda: score(on_device, docs).block_until_ready(),
        "product alone": lambda: product(on_device, docs).block_until_ready(),
        "ragged": lambda: score_packed(on_device, packed).block_until_ready(),
        "ragged bfloat16": lambda: score_packed(on_device.astype(jnp.bfloat16), half).block_until_ready(),
        "ragged int8": lambda: score_packed(on_device, int8).block_until_ready(),
    }
    peers = {}
    if PEER:
        import maxsim_cpu

        peers = {
            "peer uniform": lambda: maxsim_cpu.maxsim_scores(query, uniform),
            "peer ragged": lambda: maxsim_cpu.maxsim_scores_variable(query, ragged),
        }
    times = in_turn(fns | peers)
    return [(f"{name}, {number} documents", times[name], times.get("peer " + name.split()[0])) for name in fns]


def training(batch, docs, rng):
    """Scores of a batch with their gradient, against plain differentiation."""
    queries = jnp.asarray(rng.normal(size=(batch, 32, 128)), jnp.float32)
    tokens = jnp.asarray(rng.normal(size=(docs, 180, 128)), jnp.float32)

    def step(scores):
        def loss(queries, tokens):
            return -jnp.mean(jnp.diagonal(jax.nn.log_softmax(scores(queries, tokens))))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))

    ours = step(maxsim.score_matrix)
    plain = step(lambda q, d: jnp.einsum("bqd,ntd->bnqt", q, d).max(-1).sum(-1))
    times = in_turn(
        {
            "ours": lambda: jax.block_until_ready(ours(queries, tokens)),
            "plain": lambda: jax.block_until_ready(plain(queries, tokens)),
        },
        repeats=3,
    )
    used = ours.lower(queries, tokens).compile().memory_analysis().temp_size_in_bytes / 1e6
    return [(f"training step {batch} x {docs}, {used:.0f} MB beside inputs and outputs", times["ours"], times["plain"])]


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--no-training", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = [row for number in options.documents for row in scoring(number, rng)]
    if not options.no_training:
        rows += training(64, 128, rng)
    report("Late interaction, 32 x 128 query, float32 unless named (peer: maxsim-cpu, plain differentiation)", rows)


if __name__ == "__main__":
    main()
