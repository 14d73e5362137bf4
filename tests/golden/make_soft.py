"""Write soft.json: values of peers for the soft operators. Needs scikit-learn and torchsort, which the tests do not.

Inputs are float32 numbers; scikit-learn computes in float64.
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.isotonic import isotonic_regression

RNG = np.random.default_rng(11)


def isotonic():
    cases = []
    for n in (5, 17, 60):
        for increasing in (True, False):
            y = (RNG.normal(size=n) * 3).round(3).astype(np.float32)
            w = RNG.uniform(0.1, 2, size=n).round(3).astype(np.float32)
            fit = isotonic_regression(y.astype(np.float64), sample_weight=w.astype(np.float64), increasing=increasing)
            cases.append({"y": y.tolist(), "weights": w.tolist(), "increasing": increasing, "fit": fit.tolist()})
    return cases


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    values = {"made_with": {"scikit-learn": sklearn.__version__, "numpy": np.__version__}, "isotonic": isotonic()}
    path = pathlib.Path(__file__).with_name("soft.json")
    path.write_text(
        json.dumps(rounded(values), indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]") + "\n"
    )
