"""The numerics table: every operator by every method on odd lists, held to what its docstring promises.

All lists of a method are rows of one array with temperatures of their own, so that it is compiled once.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.soft import _argmax, _argsort, _network, _rank, _sort, _sort_with, _top_k_mask

INF, NAN = np.inf, np.nan
# Multiples of 1/64, so that an offset of 1000 rounds nothing.
PLAIN = np.array([0.5, -1.25, 2.0, 0.015625, -0.5, 1.0])
ROWS = {
    "plain": (PLAIN, 0.5),
    "offset": (PLAIN + 1000, 0.5),
    "below": (PLAIN - 1000, 0.5),
    "coldest": (PLAIN, 0.0),
    "1e-8": (PLAIN, 1e-8),
    "1e-8 offset": (PLAIN + 1000, 1e-8),
    "1e-4": (PLAIN, 1e-4),
    "1e4": (PLAIN, 1e4),
    "1e8": (PLAIN, 1e8),
    "ties": ([1, 0, 1, 2, 1, 0], 0.5),
    "ties cold": ([1, 0, 1, 2, 1, 0], 1e-8),
    "constant": ([3] * 6, 1.0),
    "constant cold": ([-3] * 6, 1e-8),
    "constant hot": ([1e3] * 6, 1e8),
    "infinite": ([1, INF, -INF, 0, INF, 2], 0.5),
    "infinite cold": ([1, INF, -INF, 0, INF, 2], 1e-6),
    "all low": ([-INF] * 6, 1.0),
    "all high": ([INF] * 6, 1.0),
    "nan": ([1, NAN, 0, 2, NAN, -1], 0.5),
    "all nan": ([NAN] * 6, 0.5),
    "huge": ([1e38, -1e38, 0, 1, -1, 3e38], 1e-3),
    "huge warm": ([1e38, -1e38, 0, 1, -1, 3e38], 1.0),
    "huge hot": ([1e38, -1e38, 0, 1, -1, 3e38], 1e8),
    "tiny": (PLAIN * 1e-30, 1e-31),
}
NAMES = list(ROWS)
X = np.array([row for row, _ in ROWS.values()], np.float32)
T = np.array([t for _, t in ROWS.values()], np.float32)
PAYLOAD = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.0], np.float32)
# "l2" and "kl" sort by the published parameter, in 1 / score.
SORT_T = np.array([1 / 0.5 if t == 0.5 else t for t in T], np.float32)


def payload(x):
    return jnp.broadcast_to(PAYLOAD[: x.shape[-1]], x.shape)


OPERATORS = {
    "rank": (_rank.METHODS, lambda x, t, m: soft.rank(x, temperature=t, method=m)),
    "sort": (_sort.METHODS, lambda x, t, m: soft.sort(x, temperature=t, method=m)),
    "argsort": (_argsort.METHODS, lambda x, t, m: soft.argsort(x, temperature=t, method=m)),
    "sort_with": (_sort_with.METHODS, lambda x, t, m: soft.sort_with(x, payload(x), temperature=t, method=m)),
    "top_k_mask": (_top_k_mask.METHODS, lambda x, t, m: soft.top_k_mask(x, 2, temperature=t, method=m)),
    "argmax": (_argmax.METHODS, lambda x, t, m: soft.argmax(x, temperature=t, method=m)),
    "max": ([*_argmax.METHODS, "logsumexp"], lambda x, t, m: soft.max(x, temperature=t, method=m)),
}
FAST = {
    ("rank", "l2"),
    ("rank", "laplace"),
    ("sort", "l2"),
    ("argsort", "softsort"),
    ("top_k_mask", "l2"),
    ("top_k_mask", "sigmoid"),
    ("max", "logsumexp"),
}
CELLS = [(operator, method) for operator, (methods, _) in OPERATORS.items() for method in methods]
NETWORKS = set(_network.METHODS)
# Comparators whose share reaches 1 only as the inverse of the difference: hard at a hundredth of the temperature.
SLOW_TAILS = tuple(
    f"{wires}_{share}" for wires in ("network", "odd_even") for share in ("cauchy", "reciprocal", "optimal")
)
table = pytest.mark.parametrize(
    ("operator", "method"), [pytest.param(*c, marks=() if c in FAST else pytest.mark.slow) for c in CELLS]
)


@table
def test_table(operator, method):
    exact_sort = operator == "sort" and method in ("l2", "kl")
    fn = OPERATORS[operator][1]

    @jax.jit
    def run(x, t):
        value, back = jax.vjp(lambda x, t: fn(x, t, method), x, t)
        cost = jnp.where(
            jnp.isfinite(value), jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape), 0.0
        )
        return value, *back(cost)

    value, slope, slope_t = (np.asarray(a) for a in run(X, SORT_T if exact_sort else T))
    row = {name: value[i] for i, name in enumerate(NAMES)}
    for name, one, both in zip(NAMES, slope, slope_t, strict=True):
        assert np.isfinite(one).all(), f"{name}: gradient {one}"
        assert np.isfinite(both), f"{name}: gradient {both} of the temperature"
    odd = ~np.isfinite(X)
    np.testing.assert_array_equal(slope[odd], 0, err_msg="infinite and missing scores have no gradient")
    CHECKS[operator](method, row, X)


def hard_rows(method):
    """Rows on which this method is hard: distinct scores, temperature far below their gaps."""
    cold = ["coldest", "1e-8", "1e-8 offset"]
    return cold if method in SLOW_TAILS else [*cold, "1e-4"]


def check_rank(method, row, x):
    hard = PLAIN.argsort().argsort() + 1
    for name in hard_rows(method):
        np.testing.assert_allclose(row[name], hard, rtol=1e-4, err_msg=name)
    for name in ("offset", "below"):
        np.testing.assert_allclose(row[name], row["plain"], rtol=1e-5, err_msg=name)
    matrices = method in ("softsort", "neuralsort")
    for name, values in row.items():
        if not np.isnan(values).any() and not (matrices and name not in hard_rows(method)):
            np.testing.assert_allclose(values.sum(), 21, rtol=1e-4, err_msg=name)
    if method not in NETWORKS:
        np.testing.assert_allclose(row["1e8"], 3.5, rtol=1e-4)
        for name in ("ties", "ties cold"):
            np.testing.assert_allclose(row[name][[0, 2]], row[name][4], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(row["ties cold"], [4, 1.5, 4, 6, 4, 1.5], rtol=1e-5)
        for name in ("constant", "constant cold", "constant hot"):
            np.testing.assert_allclose(row[name], 3.5, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(row["infinite cold"], [3, 5.5, 1, 2, 5.5, 4], rtol=1e-4)
    np.testing.assert_allclose(row["infinite"][[1, 2, 4]], [5.5, 1, 5.5], rtol=1e-5)
    for name in ("all low", "all high"):
        np.testing.assert_allclose(row[name], 3.5, err_msg=name)
    np.testing.assert_array_equal(np.isnan(row["nan"]), [0, 1, 0, 0, 1, 0])
    np.testing.assert_allclose(row["nan"][[0, 2, 3, 5]].argsort(), np.array([1, 0, 2, -1]).argsort())
    assert np.isnan(row["all nan"]).all()
    # NeuralSort adds up distances: next to 1e38 it cannot tell 0 from 1.
    if method != "neuralsort":
        kept = slice(0, 2) if method in SLOW_TAILS else slice(None)  # a little of 1e38 is more than 1
        np.testing.assert_allclose(row["huge"][kept], [5, 1, 3, 4, 2, 6][kept], atol=1e-3)
    for name in ("huge", "huge warm", "huge hot"):
        np.testing.assert_allclose(row[name][[0, 1, 5]], [5, 1, 6], rtol=1e-4, err_msg=name)


def check_sort(method, row, x):
    for name in hard_rows(method):
        values = np.sort(PLAIN) + (1000 if "offset" in name else 0)
        np.testing.assert_allclose(row[name], values, rtol=1e-6, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(row["offset"] - 1000, row["plain"], atol=3e-4)
    np.testing.assert_allclose(row["below"] + 1000, row["plain"], atol=3e-4)
    for name, values, given in zip(row, row.values(), x, strict=True):
        real = given[~np.isnan(given)]
        kept = values[: len(real)]
        np.testing.assert_array_equal(np.isnan(values), np.arange(6) >= len(real), err_msg=name)
        # Nothing leaves the range of the list, but for rounding; the entropic projection has none.
        if method != "kl" and len(real):
            room = 1e-5 * np.max(np.abs(real[np.isfinite(real)]), initial=0)
            assert (kept >= real.min() - room).all(), name
            assert (kept <= real.max() + room).all(), name
    np.testing.assert_array_equal(row["infinite"][[0, 4, 5]], [-INF, INF, INF])
    np.testing.assert_allclose(row["infinite cold"], [-INF, 0, 1, 2, INF, INF], atol=1e-5)
    for name, value in (("constant", 3), ("constant cold", -3)):
        if method not in ("l2", "kl"):
            np.testing.assert_allclose(row[name], value, rtol=1e-6)
    np.testing.assert_array_equal(row["all low"], -INF)
    np.testing.assert_array_equal(row["all high"], INF)


def check_argsort(method, row, x):
    hard = np.eye(6)[PLAIN.argsort()]
    for name in hard_rows(method):
        np.testing.assert_allclose(row[name], hard, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(row["offset"], row["plain"], atol=1e-5)
    for name, matrix, given in zip(row, row.values(), x, strict=True):
        real = ~np.isnan(given)
        np.testing.assert_allclose(matrix.sum(-1), np.arange(6) < real.sum(), atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(matrix[:, ~real], 0, err_msg=name)
        assert (matrix >= 0).all(), name
        if method in NETWORKS:
            np.testing.assert_allclose(matrix.sum(0), real, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(row["infinite"][[0, 4, 5]], [[0, 0, 1, 0, 0, 0], *[[0, 0.5, 0, 0, 0.5, 0]] * 2])
    if method not in NETWORKS:
        np.testing.assert_allclose(row["constant"], 1 / 6, rtol=1e-5)


def check_sort_with(method, row, x):
    for name in hard_rows(method):
        np.testing.assert_allclose(row[name], PAYLOAD[PLAIN.argsort()], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(row["offset"], row["plain"], rtol=1e-5)
    for name, values, given in zip(row, row.values(), x, strict=True):
        real = ~np.isnan(given)
        np.testing.assert_array_equal(values[real.sum() :], 0, err_msg=name)
        kept = values[: real.sum()]
        assert (kept >= PAYLOAD.min() - 1e-5).all(), name
        assert (kept <= PAYLOAD.max() + 1e-5).all(), name
    np.testing.assert_allclose(row["infinite cold"], [4, 1.5, 3, 2, 5, 5], rtol=1e-4)
    if method not in NETWORKS:
        np.testing.assert_allclose(row["constant"], PAYLOAD.mean(), rtol=1e-5)


def check_top_k_mask(method, row, x):
    hard = (PLAIN >= 1).astype(float)
    for name in hard_rows(method):
        np.testing.assert_allclose(row[name], hard, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(row["offset"], row["plain"], atol=1e-5)
    for name, values in row.items():
        if name == "all nan":
            assert np.isnan(values).all()
            continue
        kept = values[~np.isnan(values)]
        assert (kept >= 0).all(), name
        assert (kept <= 1).all(), name
        if method != "threshold":
            np.testing.assert_allclose(kept.sum(), 2, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(row["infinite"], [0, 1, 0, 0, 1, 0], atol=1e-6)
    np.testing.assert_array_equal(np.isnan(row["nan"]), [0, 1, 0, 0, 1, 0])
    if method != "threshold":
        for name in ("constant", "constant cold", "all low", "all high", "1e8"):
            np.testing.assert_allclose(row[name], 1 / 3, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(row["huge"], [1, 0, 0, 0, 0, 1], atol=1e-5)


def check_argmax(method, row, x):
    for name in hard_rows(method):
        np.testing.assert_allclose(row[name], PLAIN == 2, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(row["offset"], row["plain"], atol=1e-5)
    for name, values in row.items():
        assert (values >= 0).all(), name
        np.testing.assert_allclose(values.sum(), name != "all nan", rtol=1e-4, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(row["infinite"], [0, 0.5, 0, 0, 0.5, 0])
    np.testing.assert_array_equal(row["nan"][[1, 4]], 0)
    if method not in NETWORKS:
        for name in ("constant", "constant cold", "all low", "all high"):
            np.testing.assert_allclose(row[name], 1 / 6, rtol=1e-5, err_msg=name)


def check_max(method, row, x):
    for name in hard_rows(method):
        np.testing.assert_allclose(row[name] - (1000 if "offset" in name else 0), 2, atol=1e-3, err_msg=name)
    np.testing.assert_allclose(row["offset"] - 1000, row["plain"], atol=3e-4)
    for name, value, given in zip(row, row.values(), x, strict=True):
        real = given[~np.isnan(given)]
        if not len(real):
            assert value == 0
        elif np.isinf(real.max()):
            assert value == real.max(), name
        elif method == "logsumexp":
            assert value >= real.max() * (1 - 1e-6 * np.sign(real.max())), name
        else:
            assert value <= real.max() * (1 + 1e-5 * np.sign(real.max())), name


CHECKS = {
    "rank": check_rank,
    "sort": check_sort,
    "argsort": check_argsort,
    "sort_with": check_sort_with,
    "top_k_mask": check_top_k_mask,
    "argmax": check_argmax,
    "max": check_max,
}


@pytest.mark.parametrize(
    ("operator", "method"),
    [pytest.param(*c, marks=() if c == ("argsort", "softsort") else pytest.mark.slow) for c in CELLS],
)
def test_lists_of_none_one_and_two(operator, method):
    fn = OPERATORS[operator][1]
    if operator != "max":
        empty = jnp.zeros((2, 0))
        assert fn(empty, 1.0, method).shape == ((2, 0, 0) if operator == "argsort" else (2, 0))
    one = fn(jnp.array([3.0]), 1.0, method)
    want = {"rank": 1, "sort": 3, "argsort": 1, "sort_with": 3, "top_k_mask": 1, "argmax": 1, "max": 3}[operator]
    np.testing.assert_allclose(jnp.squeeze(one), want, rtol=1e-6)
    two = fn(jnp.array([3.0, 1.0]), 1e-4, method)
    want = {
        "rank": [2, 1],
        "sort": [1, 3],
        "argsort": [[0, 1], [1, 0]],
        "sort_with": [1, 3],
        "top_k_mask": [1, 1],
        "argmax": [1, 0],
        "max": 3,
    }[operator]
    np.testing.assert_allclose(two, want, atol=1e-3)
