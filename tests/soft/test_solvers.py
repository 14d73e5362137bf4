"""The two solvers of the exact projections against each other and against brute force."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import soft
from jrank.arrays import sort_with_order
from jrank.soft import _blocks, _isotonic, _kl, _rules, _solve
from jrank.soft._solve import Problem, by_merging, by_stack

RNG = np.random.default_rng(0)
RULES = {
    "mean": (_rules.MEAN, lambda t: t / 2),
    "kl rank": (_kl.RANK, lambda t: t),
    "kl sort": (_kl.SORT, lambda t: max(1 / t, 1e-15)),
    "weighted": (_rules.WEIGHTED, lambda t: 0.0),
    "log": (_isotonic.LOG_MEAN, lambda t: 0.0),
}
KINDS = {
    "normal": lambda n: RNG.normal(size=n),
    "tied": lambda n: np.maximum(RNG.normal(size=n), 0),
    "constant": np.ones,
    "heavy": lambda n: RNG.standard_cauchy(n),
    "missing": lambda n: np.where(RNG.random(n) < 0.3, np.nan, RNG.normal(size=n)),
    "outlier": lambda n: np.r_[RNG.normal(size=n - 1), 1e6],
    "offset": lambda n: RNG.normal(size=n) + 1000,
}


def of_items(blocks):
    """Begin and length of the block of every item, and what is kept of it."""
    ids = np.asarray(blocks.ids)
    return [np.asarray(table)[ids] for table in (blocks.begin, blocks.length, *blocks.kept)]


def size_of_terms(given, begin, length):
    """The largest number that goes into the mean of the block of every item: a score, or the slope times a place."""
    values, size = np.nan_to_num(np.abs(np.asarray(given.items[0]))), np.empty(len(begin))
    for first, count in set(zip(begin.tolist(), length.tolist(), strict=True)):
        inside = (begin == first) & (length == count)
        size[inside] = values[int(first) : int(first + count)].max(initial=0)
    return size + float(given.slope) * len(begin)


def assert_same(given, one, other, exact):
    a, b = of_items(one), of_items(other)
    if exact:
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    same = (a[0] == b[0]) & (a[1] == b[1])
    # Runs that tie to rounding may be pooled by one solver and not by the other.
    assert same.mean() > 0.9
    real = same & ~np.isnan(a[2])
    # Both add the same terms in different orders: a few roundings of the largest one, however small the mean.
    room = 1e-6 + 4 * float(np.finfo(np.float32).eps) * size_of_terms(given, a[0], a[1])[real]
    left, right = (a[2] + a[3])[real], (b[2] + b[3])[real]
    assert np.all(np.abs(left - right) <= 2e-5 * np.abs(right) + room), np.max(np.abs(left - right) - room)


def problem(rule, values, slope):
    if rule in ("weighted", "log"):
        order = jnp.argsort(jnp.isnan(values), stable=True).astype(jnp.int32)
        return Problem((values[order], jnp.abs(jnp.sin(jnp.arange(1.0, values.size + 1)))), order, slope, None)
    s, order = sort_with_order(values)
    return Problem((s,), order, slope, None)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "n", [pytest.param(n, marks=() if n == 37 else pytest.mark.slow) for n in (1, 2, 3, 16, 37, 256, 1000, 5000)]
)
def test_both_solvers_find_the_same_blocks(rule, n):
    stack, merge = (jax.jit(partial(solver, RULES[rule][0])) for solver in (by_stack, by_merging))
    for kind, make in KINDS.items():
        x = jnp.asarray(make(n), jnp.float32)
        for t in (1e-6, 0.03, 0.5, 4.0, 40 / n):
            given = problem(rule, x, jnp.float32(RULES[rule][1](t)))
            assert_same(given, stack(given), merge(given), exact=n <= 256 and kind != "offset")


def test_blocks_do_not_cross_lists():
    n = 37
    lower = jnp.asarray(np.repeat([0, 1, 9, 10, 30], [1, 8, 1, 20, 7]), jnp.int32)
    stack, merge = (jax.jit(partial(solver, _rules.MEAN)) for solver in (by_stack, by_merging))
    for t in (0.1, 1.0, 30.0):
        s = np.concatenate([np.sort(RNG.normal(size=m)) for m in (1, 8, 1, 20, 7)])
        given = Problem((jnp.asarray(s, jnp.float32),), jnp.arange(n, dtype=jnp.int32), jnp.float32(t / 2), lower)
        one, other = stack(given), merge(given)
        assert_same(given, one, other, exact=True)
        begin, length = of_items(other)[:2]
        lists = np.asarray(lower)
        assert (begin + length <= np.diff(np.r_[np.unique(lists), n])[np.unique(lists, return_inverse=True)[1]]).all()


@pytest.fixture
def elsewhere(monkeypatch):
    """Take the code for accelerators."""

    def choose(*args, default, **branches):
        return default(*args)

    jax.clear_caches()
    for module in (_solve, _blocks):
        monkeypatch.setattr(module.lax, "platform_dependent", choose)
    yield
    monkeypatch.undo()
    jax.clear_caches()


CASES = [("rank", "l2"), ("rank", "kl"), ("sort", "l2"), ("sort", "kl"), ("isotonic", "l2"), ("isotonic", "kl")]


@pytest.mark.parametrize(
    ("operator", "method"), [pytest.param(*c, marks=() if c == ("rank", "l2") else pytest.mark.slow) for c in CASES]
)
def test_operators_with_the_code_for_accelerators(operator, method, elsewhere, oracle):
    x = RNG.normal(size=(2, 13)).astype(np.float32)
    where = np.arange(13) % 5 != 2
    options = {} if operator == "isotonic" else {"temperature": 0.4}

    def f(v):
        return getattr(soft, operator)(v, method=method, where=where, **options)

    for row, got in zip(x, f(x), strict=True):
        if operator == "isotonic":
            want = oracle.isotonic(row[where]) if method == "l2" else np.log(oracle.isotonic(np.exp(row[where])))
        else:
            want = getattr(oracle, operator)[method](row[where], 0.4)
        got = got[where] if operator != "sort" else got[: where.sum()]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):  # a step small enough not to cross from one set of blocks to another
        g = RNG.normal(size=(2, 13))
        value = jax.jit(lambda v: jnp.vdot(g, f(v)))
        numeric = oracle.differences(lambda v: value(v.reshape(2, 13)), x.ravel())
        gradient = jax.grad(value)(x.astype(np.float64))
    np.testing.assert_allclose(gradient.ravel(), numeric, atol=1e-6 * (1 + np.abs(numeric).max()))


@pytest.mark.slow
@pytest.mark.parametrize("share", [40, 1e7])
def test_a_million_items(share):
    n = 1_000_000
    x = RNG.normal(size=n).astype(np.float32)
    s, order = sort_with_order(jnp.asarray(x))
    given = Problem((s,), order, jnp.float32(share / n / 2), None)
    one, other = (jax.jit(partial(solver, _rules.MEAN))(given) for solver in (by_stack, by_merging))
    assert_same(given, one, other, exact=share > 1e6)


def test_one_program_for_all_platforms():
    x = jax.ShapeDtypeStruct((4, 20), jnp.float32)

    def f(v):
        return jnp.sum(soft.rank(v, temperature=0.3) ** 2) + jnp.sum(soft.sort(v, method="kl", temperature=0.3) ** 2)

    for platform in ("cuda", "tpu"):
        text = jax.export.export(jax.jit(jax.grad(f)), platforms=[platform])(x).mlir_module()
        assert "f64" not in text
        assert "callback" not in text
        calls = {line.split("@")[1].split("(")[0] for line in text.splitlines() if "stablehlo.custom_call" in line}
        assert calls <= {"Sharding"}, calls
