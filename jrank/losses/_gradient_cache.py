"""Encode a batch chunk by chunk, so that a contrastive loss sees all of it and memory only one chunk."""

from collections.abc import Callable
from typing import Any

import jax

from jrank.arrays import as_array, map_blocks
from jrank.errors import LearnError

__all__ = ["gradient_cache"]


def gradient_cache(encode_fn: Callable[[Any, Any], Any], *, chunk_size: int) -> Callable[[Any, Any], Any]:
    r"""Make an encoder forget what it computed on the way, chunk by chunk, and compute it again for the gradient.

    A loss over a large batch needs the embeddings of all items at once, but the gradient of the encoder splits:

    .. math:: \frac{\partial \ell}{\partial \theta} = \sum_{c} \frac{\partial \ell}{\partial e_c}
        \frac{\partial e_c}{\partial \theta}

    where :math:`e_c` are the embeddings of chunk c. So embeddings are kept and activations are not. Value and gradient
    are those of the encoder, up to the rounding of reordered sums.

    Args:
      encode_fn: ``(parameters, inputs) -> embeddings``; both of the latter may be trees of arrays whose first axis is
        the batch. Random keys of dropout belong to the inputs, one per item, so that both passes draw the same.
      chunk_size: how many items are encoded at a time.

    Returns:
      A function with the arguments and the result of ``encode_fn``.

    Raises:
      LearnError: ``chunk_size`` is below 1, or the inputs differ in their first axis.

    Cost: each chunk is encoded twice and differentiated once; memory is that of one chunk beside inputs and embeddings.
    References: Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup".

    >>> import jax.numpy as jnp
    >>> encode = gradient_cache(lambda w, x: jnp.tanh(x @ w), chunk_size=2)
    >>> encode(jnp.eye(3), jnp.ones((5, 3))).shape
    (5, 3)
    """
    if chunk_size < 1:
        raise LearnError(f"chunk_size is {chunk_size}, at least 1 was expected", reason="invalid_parameter")

    def encode(params: Any, inputs: Any) -> Any:
        leaves, tree = jax.tree.flatten(inputs)
        leaves = tuple(x if isinstance(x, jax.Array) else as_array(x, "inputs") for x in leaves)
        sizes = {x.shape[:1] for x in leaves}
        if len(sizes) != 1 or sizes == {()}:
            raise LearnError(
                f"the inputs have first axes {sorted(sizes)}, one batch was expected", reason="length_mismatch"
            )

        @jax.checkpoint
        def chunk(*parts: Any) -> Any:
            return encode_fn(params, jax.tree.unflatten(tree, parts))

        return map_blocks(chunk, leaves, chunk_size)

    return encode
