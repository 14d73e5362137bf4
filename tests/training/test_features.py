import jax
import jax.numpy as jnp
import numpy as np

from jrank.training import list_zscores


def test_values_are_those_of_numpy_list_by_list():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 7, 3)).astype(np.float32) * [1, 100, 1e-3] + [0, 5, 1]
    where = np.arange(7)[None, :] < np.array([7, 3, 1, 0])[:, None]
    z = np.asarray(list_zscores(np.where(where[..., None], x, np.nan).astype(np.float32), where=where))
    for i, n in enumerate((7, 3)):
        part = x[i, :n].astype(np.float64)
        np.testing.assert_allclose(z[i, :n], (part - part.mean(axis=0)) / part.std(axis=0), rtol=1e-3, atol=1e-4)
    assert (z[~where] == 0).all()
    assert (z[2:] == 0).all()  # one item has no spread, no item has none either


def test_constant_features_give_zero_and_far_ones_are_clipped():
    x = jnp.stack([jnp.full(100, 0.1), jnp.zeros(100).at[3].set(1e6)], axis=-1)
    z = list_zscores(x)
    assert (z[:, 0] == 0).all()
    assert float(z[3, 1]) == 5.0
    assert float(list_zscores(x, limit=2)[3, 1]) == 2.0


def test_it_works_in_every_transformation():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    np.testing.assert_allclose(jax.jit(list_zscores)(x), list_zscores(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(list_zscores)(x), list_zscores(x), rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda x: list_zscores(x)[0, 0, 0])(x.at[1].set(1.0))
    assert jnp.isfinite(gradient).all()
    assert list_zscores(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
