"""One update of the parameters, as one compiled function."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jrank.types import Array

__all__ = ["adam_direction", "compiled_step", "first_state"]

SMALL = 4096


@functools.lru_cache(maxsize=8)
def adam_direction(b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> optax.GradientTransformation:
    """Return Adam without a learning rate; one object per setting, so that compiled steps are found again.

    Args:
      b1: decay of the mean of the gradient.
      b2: decay of the mean of its square.
      eps: added to the root of the latter.
    """
    return optax.scale_by_adam(b1=b1, b2=b2, eps=eps)


def first_state(params: Any, optimizer: optax.GradientTransformation) -> dict[str, Any]:
    """Return the state before the first step.

    Args:
      params: the parameters; they are copied, because the step gives its arguments away.
      optimizer: the optimiser.
    """
    params = jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params)
    return {"params": params, "optimizer": optimizer.init(params), "step": jnp.zeros((), jnp.int32)}


@functools.lru_cache(maxsize=8)
def compiled_step(
    loss_fn: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    accumulate: int = 1,
    scaled: bool = True,
) -> Callable[..., tuple[dict[str, Any], Array, Array]]:
    """Return the compiled update; the same arguments give the same function, with its compiled shapes.

    Args:
      loss_fn: ``(params, batch, key)`` to a loss, or to a loss and its weight.
      optimizer: the optimiser.
      accumulate: into how many parts a batch is cut.
      scaled: whether the update is multiplied by minus the learning rate, and weight decay added.

    Returns:
      ``(state, batch, key, hyper)`` to the next state, the loss and the norm of the gradient. ``hyper`` holds the
      numbers that may change without another compilation: "rate", "clip", and the trees "decay" and "scale".
    """

    def weighted(params: Any, batch: Any, key: Array) -> tuple[Array, Array]:
        value = loss_fn(params, batch, key)
        loss, weight = value if isinstance(value, tuple) else (value, 1.0)
        weight = jax.lax.stop_gradient(jnp.asarray(weight, jnp.float32))
        return loss.astype(jnp.float32) * weight, weight

    def plain(params: Any, batch: Any, key: Array) -> Array:
        value = loss_fn(params, batch, key)
        return (value[0] if isinstance(value, tuple) else value).astype(jnp.float32)

    def gradient(params: Any, batch: Any, key: Array) -> tuple[Array, Any]:
        if accumulate == 1:
            return jax.value_and_grad(plain)(params, batch, key)

        # Part j takes the rows j, j + accumulate, ...: where the rows are spread over devices, each part stays so.
        def cut(leaf: Array) -> Array:
            return jnp.swapaxes(leaf.reshape(leaf.shape[0] // accumulate, accumulate, *leaf.shape[1:]), 0, 1)

        def add(total: Any, part: tuple[Any, Array]) -> tuple[Any, None]:
            rows, number = part
            (loss, weight), grads = jax.value_and_grad(weighted, has_aux=True)(
                params, rows, jax.random.fold_in(key, number)
            )
            return jax.tree.map(jnp.add, total, (loss, weight, grads)), None

        zero = (jnp.zeros(()), jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
        parts = (jax.tree.map(cut, batch), jnp.arange(accumulate))
        (loss, weight, grads), _ = jax.lax.scan(add, zero, parts)
        share = 1.0 / jnp.maximum(weight, jnp.finfo(jnp.float32).tiny)
        return loss * share, jax.tree.map(lambda g: g * share.astype(g.dtype), grads)

    def step(
        state: dict[str, Any], batch: Any, key: Array, hyper: dict[str, Any]
    ) -> tuple[dict[str, Any], Array, Array]:
        params = state["params"]
        loss, grads = gradient(params, batch, jax.random.fold_in(key, state["step"]))
        norm = _global_norm(grads)
        shrink = jnp.minimum(1.0, hyper["clip"] / jnp.maximum(norm, jnp.finfo(jnp.float32).tiny))
        grads = jax.tree.map(lambda g: g * shrink.astype(g.dtype), grads)
        updates, inner = optimizer.update(grads, state["optimizer"], params)
        if scaled:
            rate = hyper["rate"]
            updates = jax.tree.map(
                lambda u, p, decay, scale: (-rate * scale * (u + decay * p)).astype(p.dtype),
                updates,
                params,
                hyper["decay"],
                hyper["scale"],
            )
        params = optax.apply_updates(params, updates)
        return {"params": params, "optimizer": inner, "step": state["step"] + 1}, loss, norm

    return jax.jit(step, donate_argnums=0)


def _global_norm(tree: Any) -> Array:
    # A dot product is spread over the cores and vectorised; XLA's CPU reduction to one number is neither.
    def square(flat: Array) -> Array:
        return jnp.vdot(flat, flat, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)

    # The many small leaves of a transformer go into one product: each of its own costs a kernel to compile.
    leaves = [leaf.reshape(-1) for leaf in jax.tree.leaves(tree)]
    small = [leaf.astype(jnp.float32) for leaf in leaves if leaf.size < SMALL]
    large = [leaf for leaf in leaves if leaf.size >= SMALL]
    flat = [jnp.concatenate(small), *large] if small else large
    return jnp.sqrt(sum((square(leaf) for leaf in flat), start=jnp.zeros(())))
