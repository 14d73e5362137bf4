"""The pure functions: masks, dropout, rematerialisation, half precision, gradients, checks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jrank import models
from jrank.errors import ModelError

IDS = np.array([[1, 5, 7, 2, 9, 2], [1, 6, 2, 0, 0, 0]])
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
TYPES = np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])


@functools.partial(jax.jit, static_argnames=("config", "remat", "compute_dtype"))
def run(params, config, mask, key=None, remat=False, compute_dtype=jnp.float32):
    return models.logits(params, config, IDS, mask, TYPES, key=key, remat=remat, compute_dtype=compute_dtype)


@functools.partial(jax.jit, static_argnames=("config", "remat"))
def gradient(params, config, key=None, remat=False):
    def loss(params):
        return jnp.sum(models.logits(params, config, IDS, MASK, TYPES, key=key, remat=remat) ** 2)

    return jax.grad(loss)(params)


def test_a_row_without_tokens_is_finite(bert):
    assert np.isfinite(run(bert.params, bert.config, np.zeros_like(MASK))).all()


def test_bool_masks(bert):
    np.testing.assert_array_equal(run(bert.params, bert.config, MASK), run(bert.params, bert.config, MASK == 1))


def test_dropout_needs_a_key_and_follows_it(bert):
    plain = run(bert.params, bert.config, MASK)
    one, same, other = (run(bert.params, bert.config, MASK, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(one - plain).max() > 1e-3
    many = jax.jit(jax.vmap(lambda key: models.logits(bert.params, bert.config, IDS, MASK, TYPES, key=key)))(
        jax.random.split(jax.random.key(0), 400)
    )
    # The mean over dropout stays near the value without it: 400 draws of deviation s have a mean within 5 s / 20, and
    # what the layers bend is smaller than that.
    assert (np.abs(many.mean(axis=0) - plain) < 5 * many.std(axis=0) / 20 + 0.05).all()


def test_remat_changes_nothing_but_memory(bert):
    key = jax.random.key(3)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4),
        gradient(bert.params, bert.config, key),
        gradient(bert.params, bert.config, key, remat=True),
    )


def test_gradients_agree_with_finite_differences(bert):
    direction = jax.tree.map(
        lambda p: jnp.asarray(np.random.default_rng(p.size).standard_normal(p.shape), p.dtype), bert.params
    )
    slope = sum(
        float(jnp.sum(g * d))
        for g, d in zip(jax.tree.leaves(gradient(bert.params, bert.config)), jax.tree.leaves(direction), strict=True)
    )

    def loss(step):
        moved = jax.tree.map(lambda p, d: p + step * d, bert.params, direction)
        return float(jnp.sum(run(moved, bert.config, MASK) ** 2))

    # Central differences in float32: the step balances a truncation error of step² against a rounding of eps / step.
    assert slope == pytest.approx((loss(2e-3) - loss(-2e-3)) / 4e-3, rel=2e-2)


def test_bfloat16_is_close_and_gives_float32_logits(bert):
    half = run(bert.params, bert.config, MASK, compute_dtype=jnp.bfloat16)
    assert half.dtype == jnp.float32
    # Eight bits of mantissa through two layers of width 16.
    np.testing.assert_allclose(half, run(bert.params, bert.config, MASK), atol=0.05)


def test_modernbert_in_bfloat16_with_dropout_and_remat(write_case):
    model = models.CrossEncoder.from_pretrained(write_case("modernbert-mean"))
    options = {"key": jax.random.key(0), "remat": True, "compute_dtype": jnp.bfloat16}
    out = jax.jit(functools.partial(model.apply, **options))(model.params, IDS, MASK)
    np.testing.assert_allclose(out, model.logits(IDS, MASK), atol=0.1)


def test_pooling():
    hidden = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)
    hidden[1, 4] = np.nan
    mean = models.pool_hidden(hidden, MASK)
    np.testing.assert_allclose(mean[1], hidden[1, :3].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(models.pool_hidden(hidden, MASK, method="cls"), hidden[:, 0])
    np.testing.assert_array_equal(models.pool_hidden(hidden, MASK, method="max")[1], hidden[1, :3].max(axis=0))
    unit = models.pool_hidden(hidden, MASK, normalize=True)
    np.testing.assert_allclose(unit, mean / np.linalg.norm(mean, axis=1, keepdims=True), rtol=1e-6)
    for method in ("mean", "max"):
        empty = models.pool_hidden(hidden, np.zeros_like(MASK), method=method, normalize=True)
        np.testing.assert_array_equal(empty, np.zeros((2, 4)))
    with pytest.raises(ModelError, match="'median' is unknown"):
        models.pool_hidden(hidden, MASK, method="median")


def test_the_gradient_of_pooling_is_finite_and_zero_at_padding():
    hidden = jnp.zeros((2, 6, 4))
    slope = jax.grad(lambda h: models.pool_hidden(h, MASK, normalize=True).sum())(hidden)
    assert np.isfinite(slope).all()
    assert not np.asarray(slope)[1, 3:].any()


@pytest.mark.parametrize(
    ("ids", "mask", "types", "words"),
    [
        (IDS + 40, MASK, TYPES, "input_ids holds 41 at row 0, column 0; 0 to 39"),
        (IDS - 1, MASK, TYPES, "input_ids holds -1 at row 1, column 3"),
        (IDS, MASK, TYPES * 2, "token_type_ids holds 2 at row 0, column 4; 0 to 1"),
        (IDS[0], MASK, TYPES, r"shape \(6,\), \[batch, tokens\]"),
        (IDS, MASK[:, :5], TYPES, "attention_mask has shape"),
        (IDS, MASK, TYPES[:1], "token_type_ids has shape"),
        (np.ones((1, 33), int), np.ones((1, 33), int), None, "33 tokens per row, 1 to 32"),
        (np.ones((1, 0), int), np.ones((1, 0), int), None, "0 tokens per row"),
        (IDS.astype(float), MASK, TYPES, "dtype float64, integers"),
        (IDS, MASK[:, ::-1], TYPES, "row 1 of attention_mask has padding before a token"),
    ],
)
def test_inputs_are_checked_on_the_host(ids, mask, types, words, bert, unchecked):
    with pytest.raises(ModelError, match=words) as caught:
        bert.logits(ids, mask, types)
    assert caught.value.reason is ModelError.Reason.INVALID_INPUT


def test_lengths_are_checked_when_tracing(bert):
    ids = jnp.ones((1, 33), int)
    with pytest.raises(ModelError, match="33 tokens per row"):
        jax.jit(bert.apply)(bert.params, ids, ids)


def test_no_rows(bert):
    none = np.zeros((0, 4), int)
    assert bert.logits(none, none, none).shape == (0, 1)


def test_new_parameters_follow_the_seed(bert):
    one, same, other = (models.init_params(bert.config, seed) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    assert jax.tree.structure(one) == jax.tree.structure(bert.params)
    word = one["embeddings"]["word"]["table"]
    assert np.abs(word - other["embeddings"]["word"]["table"]).max() > 0.01
    assert word.std() == pytest.approx(0.02, rel=0.1)
    assert not np.asarray(one["head"]["bias"]).any()
    # A vector is not repeated in tensors of equal shape.
    assert np.abs(one["layers"][0]["query"]["kernel"] - one["layers"][1]["query"]["kernel"]).max() > 0.01
