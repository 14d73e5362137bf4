#!/usr/bin/env python3
"""Write tests/golden/soft_matrices.json: soft permutation matrices as difftopk and diffsort compute them.

Needs both, which jrank does not: pip install difftopk diffsort. Ascending. Temperatures are 1 over diffsort's
steepness, for ``logistic_phi``, whose steepness acts on |d|^(3/4), to the power 3/4. difftopk computes in float32.
softjax is no peer for NeuralSort: it smooths the absolute differences, which the published definition does not.
"""

import json
import pathlib
from importlib.metadata import version

import torch
from diffsort import DiffSortNet
from difftopk import NeuralSort, SoftSort

SCORES = [2.9, 0.1, 1.2, 0.4, 0.35, -1.0, 0.8, 2.0]
TEMPERATURE = 0.7
FAMILIES = ("logistic", "logistic_phi", "gaussian", "cauchy", "reciprocal", "optimal")


def network(kind, family, scores):
    steepness = 1 / TEMPERATURE
    steepness = steepness**0.75 if family == "logistic_phi" else steepness
    net = DiffSortNet(kind, len(scores), steepness=steepness, distribution=family)
    # It returns the transposed matrix: items along the first axis.
    return net(torch.tensor([scores], dtype=torch.float64))[1][0].T.tolist()


def main():
    x = torch.tensor([SCORES])
    # SoftSort returns [places, items], the largest first; NeuralSort [items, places] of the negated scores.
    matrices = {
        "softsort": SoftSort(tau=TEMPERATURE, pow=1.0)(x)[0].flip(0).tolist(),
        "neuralsort": NeuralSort(tau=TEMPERATURE)(x)[0].T.tolist(),
    }
    for family in FAMILIES:
        end = "" if family == "logistic" else f"_{family}"
        matrices[f"network{end}"] = network("bitonic", family, SCORES)
        matrices[f"odd_even{end}"] = network("odd_even", family, SCORES[:5])
    told = {
        "made_by": {name: version(name) for name in ("difftopk", "diffsort", "torch")},
        "scores": SCORES,
        "temperature": TEMPERATURE,
        "matrices": matrices,
    }
    path = pathlib.Path(__file__).with_name("soft_matrices.json")
    path.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
