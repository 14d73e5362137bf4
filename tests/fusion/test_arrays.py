"""Fusion of arrays: definitions, masks, and one result from NumPy and JAX."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jrank import fusion
from jrank.errors import FusionError
from jrank.fusion._methods import METHODS as ALL
from jrank.fusion._normalize import NORMALIZATIONS
from jrank.fusion._trained import TRAINERS

R, N = 3, 5
# The trained methods need tables and are tested in test_fit.py.
METHODS = {name: m for name, m in ALL.items() if name not in {*TRAINERS, "mapfuse"}}
RANK = {name: m for name, m in METHODS.items() if m.takes == "ranks"}
SCORE = {name: m for name, m in METHODS.items() if m.takes == "scores"}
SCORES = hnp.arrays(np.float64, (R, N), elements=st.integers(-8, 8).map(lambda i: i / 4))
HELD = hnp.arrays(bool, (R, N))


def ranks_from(scores, held):
    ranks = np.zeros(scores.shape)
    for i, (row, where) in enumerate(zip(scores, held, strict=True)):
        order = [j for j in np.argsort(-row, kind="stable") if where[j]]
        ranks[i, order] = np.arange(len(order)) + 1
    return ranks


def arguments(name, scores, held):
    return ranks_from(scores, held) if name in RANK else np.where(held, scores, -np.inf)


@functools.cache
def compiled(name):
    return jax.jit(METHODS[name].fn)


def loop(name, scores, held):
    """Each method by its definition, one document at a time, scores as they are."""
    ranks = ranks_from(scores, held)
    out = np.full(scores.shape[1], -np.inf)
    for j in range(scores.shape[1]):
        runs = [i for i in range(len(scores)) if held[i, j]]
        if name in ("borda", "condorcet"):
            value = DEFINITIONS[name](j, ranks, held)
        elif runs:
            value = DEFINITIONS[name]([(ranks if name in RANK else scores)[i, j] for i in runs], len(runs))
        out[j] = value if runs else -np.inf
    return out


def borda_points(j, ranks, held):
    total, lengths = held.any(axis=0).sum(), held.sum(axis=1)
    return sum(total - ranks[i, j] + 1 if held[i, j] else (total - lengths[i] + 1) / 2 for i in range(len(ranks)))


def victories(j, ranks, held):
    place = np.where(held, ranks, np.inf)
    score = 1.0
    for other in range(ranks.shape[1]):
        if other != j and held[:, other].any():
            margin = int(np.sum(place[:, j] < place[:, other])) - int(np.sum(place[:, j] > place[:, other]))
            score += 0.5 * (1 + np.sign(margin))
    return score


DEFINITIONS = {
    "rrf": lambda r, n: sum(1 / (60 + x) for x in r),
    "isr": lambda r, n: n * sum(1 / x**2 for x in r),
    "log_isr": lambda r, n: math.log(n) * sum(1 / x**2 for x in r),
    "logn_isr": lambda r, n: math.log(n + 0.01) * sum(1 / x**2 for x in r),
    "rbc": lambda r, n: sum(0.2 * 0.8 ** (x - 1) for x in r),
    "borda": borda_points,
    "condorcet": victories,
    "comb_sum": lambda s, n: sum(s),
    "comb_mnz": lambda s, n: n * sum(s),
    "comb_gmnz": lambda s, n: n * sum(s),
    "comb_anz": lambda s, n: sum(s) / n,
    "comb_max": lambda s, n: max(s),
    "comb_min": lambda s, n: min(s),
    "comb_med": lambda s, n: float(np.median(s)),
    "wmnz": lambda s, n: n * sum(s),
    "mixed": lambda s, n: math.sqrt(n) * sum(s),
}


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"dbsf", "standardized", "plackett_luce"}))
@given(SCORES, HELD)
def test_definitions(name, scores, held):
    options = {} if name in RANK else {"norm": None}
    got = METHODS[name].fn(arguments(name, scores, held), **options)
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, loop(name, scores, held), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(METHODS))
@given(SCORES, HELD)
def test_jax_and_numpy_agree(name, scores, held):
    x = arguments(name, scores, held)
    want = METHODS[name].fn(x)
    got = compiled(name)(jnp.asarray(x, jnp.float32))
    assert isinstance(got, jax.Array)
    np.testing.assert_allclose(np.asarray(got), want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_batches_are_loops_and_vmap(name):
    rng = np.random.default_rng(0)
    scores, held = rng.normal(size=(4, R, N)), rng.random((4, R, N)) < 0.7
    x = np.stack([arguments(name, s, h) for s, h in zip(scores, held, strict=True)])
    fn = METHODS[name].fn
    batch = fn(x)
    assert batch.shape == (4, N)
    np.testing.assert_allclose(np.stack([fn(row) for row in x]), batch, rtol=1e-14)
    mapped = jax.jit(jax.vmap(fn))(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(np.asarray(mapped), batch, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["rrf", "comb_mnz", "condorcet"])
def test_eager_is_jit(name):
    x = jnp.asarray(arguments(name, np.random.default_rng(0).normal(size=(R, N)), np.ones((R, N), bool)), jnp.float32)
    np.testing.assert_allclose(np.asarray(METHODS[name].fn(x)), np.asarray(compiled(name)(x)), rtol=1e-6)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_stands_at_masked_places_does_not_matter(name):
    rng = np.random.default_rng(1)
    scores, held = rng.normal(size=(R, N)), np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 0], [0, 0, 1, 1, 0]], bool)
    x = ranks_from(scores, held) if name in RANK else scores
    fn = METHODS[name].fn
    jitted = jax.jit(lambda x, where: fn(x, where=where))
    for space, call in ((np, lambda x, where: fn(x, where=where)), (jnp, jitted)):
        want = call(space.asarray(x), space.asarray(held))
        assert np.isfinite(want[:4]).all()
        assert want[4] == -np.inf
        for junk in (0.0, np.nan, np.inf, -np.inf, 1e30, 2.0):
            np.testing.assert_array_equal(call(space.asarray(np.where(held, x, junk)), space.asarray(held)), want)
    # A mask of 0 and 1, and one document more or less behind it, change nothing.
    np.testing.assert_array_equal(fn(np.where(held, x, 7.0), where=held.astype(int)), fn(x, where=held))
    np.testing.assert_allclose(fn(x[:, :4], where=held[:, :4]), fn(x, where=held)[:4], rtol=1e-12)


@pytest.mark.parametrize("name", sorted(SCORE))
def test_gradients_are_finite_and_do_not_reach_masked_places(name):
    scores = jnp.array([[2.0, 2.0, 2.0, jnp.nan], [1.0, 3.0, jnp.inf, 9.0], [5.0, -jnp.inf, -jnp.inf, -jnp.inf]])
    where = jnp.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], bool)

    def total(s):
        fused = METHODS[name].fn(s, where=where)
        return jnp.sum(jnp.where(jnp.any(where, axis=0), fused, 0.0))

    gradient = np.asarray(jax.jit(jax.grad(total))(scores))
    assert np.isfinite(gradient).all()
    assert (gradient[~np.asarray(where)] == 0).all()


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("rrf", "k", 60.0), ("isr", "k", 1.0), ("isr", "power", 2.0), ("logn_isr", "sigma", 0.1), ("rbc", "phi", 0.7),
     ("comb_gmnz", "gamma", 0.5), ("comb_sum", "missing", 0.3)],
)  # fmt: skip
def test_parameters_are_differentiable_and_do_not_recompile(name, option, value, x64):
    rng = np.random.default_rng(2)
    scores, held = rng.normal(size=(R, N)), np.ones((R, N), bool)
    held[0, 1] = held[1, 3] = held[2, 2] = False
    x = jnp.asarray(arguments(name, scores, held))
    traces = []

    @jax.jit
    def total(p):
        traces.append(1)
        return jnp.sum(METHODS[name].fn(x, **{option: p}))

    gradient = jax.jit(jax.grad(total))(value)
    numeric = (total(value + 1e-6) - total(value - 1e-6)) / 2e-6
    assert float(gradient) == pytest.approx(float(numeric), rel=1e-5, abs=1e-9)
    count = len(traces)
    total(value * 0.9)
    assert len(traces) == count


@pytest.mark.parametrize("name", sorted(n for n, m in METHODS.items() if "weights" in m.params))
def test_weights(name):
    rng = np.random.default_rng(3)
    scores, held = rng.normal(size=(R, N)), np.ones((R, N), bool)
    x, fn = arguments(name, scores, held), METHODS[name].fn
    np.testing.assert_allclose(fn(x, weights=np.ones(R)), fn(x), rtol=1e-12)
    # A run of weight 0 has no influence, unless its presence counts.
    if name not in ("isr", "log_isr", "logn_isr", "comb_mnz", "comb_gmnz", "mixed", "wmnz"):
        zero = fn(x, weights=np.array([1.0, 2.0, 0.0]))
        np.testing.assert_allclose(zero, fn(x[:2], weights=np.array([1.0, 2.0])), rtol=1e-12)
    traced = jax.jit(lambda w: fn(jnp.asarray(x)[None], weights=w))(jnp.array([0.2, 0.3, 0.5]))
    np.testing.assert_allclose(np.asarray(traced)[0], fn(x, weights=[0.2, 0.3, 0.5]), rtol=1e-5)
    for weights, message in (
        (np.ones(2), "2.* for 3 runs"),
        (np.array([1.0, np.nan, 1.0]), "not all finite"),
        (np.zeros(3), "all weights are 0"),
        (np.float64(1.0), "for 3 runs"),
    ):
        with pytest.raises(FusionError, match=message):
            fn(x, weights=weights)


def test_bias_is_added_where_a_run_holds_the_document():
    scores = np.array([[4.0, 2.0, 3.0], [1.0, 5.0, -np.inf]])
    got = fusion.comb_sum(scores, norm=None, bias=np.array([10.0, 0.5]))
    assert got.tolist() == [15.5, 17.5, 13.0]
    assert fusion.comb_sum(scores, bias=np.zeros(2)).tolist() == fusion.comb_sum(scores).tolist()
    with pytest.raises(FusionError, match="bias of shape"):
        fusion.comb_sum(scores, bias=np.ones(3))


def test_weights_of_rrf_inside_the_rank():
    ranks = np.array([[1.0, 2.0], [2.0, 0.0]])
    got = fusion.rrf(ranks, weights=np.array([2.0, 0.0]), k=2, rank_base=0, weights_in_rank=True)
    np.testing.assert_allclose(got, [1 / 1.5, 1 / 2])


def test_rank_of_minus_one_is_not_the_last():
    np.testing.assert_allclose(fusion.rrf(np.array([[1, -1, 2]])), [1 / 61, -np.inf, 1 / 62])
    np.testing.assert_allclose(np.asarray(fusion.rrf(jnp.array([[1, -1, 2]]))), [1 / 61, -np.inf, 1 / 62], rtol=1e-6)


@pytest.mark.parametrize("runs", [1, 2, 3, 6])
@pytest.mark.parametrize("ties", [False, True])
def test_points_and_votes_of_long_lists(runs, ties):
    """More documents than a word has bits, whole ranks and others, equal ranks, negative ranks for what is missing."""
    rng = np.random.default_rng(runs)
    held = rng.random((2, runs, 150)) < 0.5
    held[..., 130:] = False
    ranks = np.stack([ranks_from(rng.normal(size=h.shape), h) for h in held]).astype(np.int32)
    if ties:
        ranks = np.where(held, (ranks + 3) // 4, 0).astype(np.int32)
    ranks[~held & (rng.random(held.shape) < 0.3)] = -1
    for fn, definition in ((fusion.borda, borda_points), (fusion.condorcet, victories)):
        want = np.full((2, 150), -np.inf)
        for i in range(2):
            some = held[i].any(axis=0)
            want[i, some] = [definition(j, ranks[i], held[i]) for j in np.flatnonzero(some)]
        for x in (ranks, ranks.astype(np.int64), ranks.astype(float), np.asfortranarray(ranks)):
            np.testing.assert_array_equal(fn(x), want)
        np.testing.assert_array_equal(fn(ranks[0, :, :0]), np.zeros(0))


def test_condorcet_cycle_is_a_draw():
    ranks = np.array([[1, 2, 3], [3, 1, 2], [2, 3, 1]])
    assert fusion.condorcet(ranks).tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"isr", "logn_isr", "log_isr"}))
def test_the_same_run_twice_keeps_the_order(name):
    scores = np.array([[0.3, 0.9, 0.1, 0.5, 0.7]])
    x = arguments(name, scores, np.ones((1, 5), bool))
    once, twice = METHODS[name].fn(x), METHODS[name].fn(np.repeat(x, 2, axis=0))
    assert np.argsort(once, kind="stable").tolist() == np.argsort(twice, kind="stable").tolist() == [2, 0, 3, 4, 1]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_half_types_are_widened_inside(dtype):
    x = jnp.asarray(np.linspace(1, 3, 15).reshape(3, 5), dtype)
    got = fusion.comb_sum(x)
    assert got.dtype == dtype
    want = fusion.comb_sum(np.asarray(x, np.float64))
    np.testing.assert_allclose(np.asarray(got, np.float64), want, rtol=float(jnp.finfo(dtype).eps) * 4)


def test_types(x64):
    assert fusion.rrf(np.ones((2, 3), np.int8)).dtype == np.float64
    assert fusion.rrf(np.ones((2, 3), np.float32)).dtype == np.float32
    assert fusion.rrf(jnp.ones((2, 3), jnp.float64)).dtype == jnp.float64


def test_scores_beyond_any_sentinel():
    scores = np.array([[-1e300, 1e300], [-1e200, -np.inf]])
    assert fusion.comb_max(scores, norm=None).tolist() == [-1e200, 1e300]
    assert fusion.comb_min(scores, norm=None).tolist() == [-1e300, 1e300]


# Normalisation --------------------------------------------------------------------------------------------------------


def norm_loop(name, values):
    """One run, by the definitions."""
    x = np.array(values)
    n = len(x)
    low, high, mean = x.min(), x.max(), x.mean()
    order = np.argsort(-x, kind="stable")
    ranks = np.empty(n)
    ranks[order] = np.arange(n) + 1
    constant = high - low < 1e-9
    return {
        "min_max": lambda: np.zeros(n) if constant else (x - low) / (high - low),
        "min_max_half": lambda: np.full(n, 0.5) if constant else (x - low) / (high - low),
        "min_max_one": lambda: np.ones(n) if constant else (x - low) / (high - low),
        "min_max_floor": lambda: np.ones(n) if constant else np.where(x == low, 0.001, (x - low) / (high - low)),
        "min_max_raw": lambda: x if constant else (x - low) / (high - low),
        "min_max_inverted": lambda: np.zeros(n) if constant else (high - x) / (high - low),
        "max": lambda: x / high if high > 0 else (x / -low if low < 0 else np.zeros(n)),
        "sum": lambda: np.zeros(n) if constant else (x - low) / np.sum(x - low),
        "zmuv": lambda: np.zeros(n) if constant else (x - mean) / x.std(),
        "zmuv_clipped": lambda: np.zeros(n) if constant else np.clip((x - mean) / x.std(), -3, 3),
        "dbsf": lambda: np.full(n, 0.5) if constant else (x - mean + 3 * x.std(ddof=1)) / (6 * x.std(ddof=1)),
        "rank": lambda: 1 - (ranks - 1) / n,
        "l2": lambda: x / np.linalg.norm(x) if np.any(x) else np.zeros(n),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "quantile": lambda: np.array([np.mean(x <= v) for v in x]),
    }[name]()


@pytest.mark.parametrize("name", sorted(set(NORMALIZATIONS) - {"borda"}))
@given(SCORES, HELD)
def test_normalisations(name, scores, held):
    got = fusion.normalize(np.where(held, scores, np.nan), norm=name)
    for row, where, values in zip(scores, held, got, strict=True):
        assert np.all(values[~where] == -np.inf)
        if where.any():
            np.testing.assert_allclose(values[where], norm_loop(name, row[where]), rtol=1e-9, atol=1e-12)
    traced = compiled_norm(name)(jnp.asarray(np.where(held, scores, np.nan), jnp.float32))
    np.testing.assert_allclose(np.asarray(traced), got, rtol=2e-5, atol=2e-5)


@functools.cache
def compiled_norm(name):
    return jax.jit(functools.partial(fusion.normalize, norm=name))


@pytest.mark.parametrize("name", sorted(NORMALIZATIONS))
def test_normalised_scores_and_their_gradients_are_finite(name, x64):
    lists = [
        [3.0],
        [2.0, 2.0, 2.0],
        [-5.0, -7.0],
        [0.0, 0.0],
        [1e30, -1e30],
        [1e-30, 2e-30],
        [1e8, 1e8 + 1],
        [-np.inf, 4.0],
    ]

    @jax.jit
    @jax.grad
    def gradient(s):
        return jnp.sum(jnp.where(jnp.isfinite(s), fusion.normalize(s, norm=name), 0.0))

    for values in lists:
        x = np.full((1, 3), np.nan)
        x[0, : len(values)] = values
        assert np.isfinite(fusion.normalize(x, norm=name)[np.isfinite(x)]).all()
        assert np.isfinite(np.asarray(gradient(jnp.asarray(x)))).all()


def test_no_norm_and_unknown_norms(unchecked):
    x = np.array([[1.0, np.nan]])
    assert fusion.normalize(x, norm=None).tolist() == [[1.0, -np.inf]]
    assert fusion.normalize(x, norm="none").tolist() == [[1.0, -np.inf]]
    with pytest.raises(FusionError, match=r"unknown normalisation 'maxmin'; known: borda, dbsf"):
        fusion.normalize(x, norm="maxmin")
    with pytest.raises(TypeError, match="norm must be a name"):
        fusion.comb_sum(x, norm=3)


def test_missing_documents_get_the_value_that_is_asked_for():
    scores = np.array([[4.0, 2.0, 3.0], [1.0, 5.0, -np.inf]])
    assert fusion.comb_sum(scores).tolist() == [1.0, 1.0, 0.5]
    assert fusion.comb_sum(scores, missing=0.25).tolist() == [1.0, 1.0, 0.75]
    assert fusion.comb_sum(scores, norm=None, missing="min").tolist() == [5.0, 7.0, 4.0]
    with pytest.raises(FusionError, match="missing is 'max'"):
        fusion.comb_sum(scores, missing="max")


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fusion.rrf(x, k=0, rank_base=0), "k is 0 with rank_base 0"),
        (lambda x: fusion.rrf(x, k=-1), "k is -1 with rank_base 1"),
        (lambda x: fusion.rrf(x, rank_base=2), "rank_base is 2"),
        (lambda x: fusion.isr(x, k=-2), "k is -2"),
        (lambda x: fusion.rbc(x, phi=1.0), "phi is 1.0"),
        (lambda x: fusion.logn_isr(x, sigma=-0.1), "sigma is -0.1"),
        (lambda x: fusion.borda(x, points="all"), "points is 'all'"),
        (lambda x: fusion.standardized(x, clip=(1, -1)), "clip is"),
        (lambda x: fusion.rrf(x, where=np.ones((2, 2))), "where has shape"),
        (lambda x: fusion.rrf(x[0]), r"expected \[..., runs, docs\]"),
        (lambda x: fusion.comb_sum(x[0]), r"expected \[..., runs, docs\]"),
    ],
)
def test_options_that_are_wrong(unchecked, call, message):
    for x in (np.ones((2, 3)), jnp.ones((2, 3))):
        with pytest.raises(FusionError, match=message):
            call(x)


def test_lists_are_refused(unchecked):
    with pytest.raises(TypeError, match=r"write np.asarray\(ranks\)"):
        fusion.rrf([[1, 2]])
    with pytest.raises(TypeError, match="real numbers"):
        fusion.comb_sum(np.ones((1, 2), complex))
