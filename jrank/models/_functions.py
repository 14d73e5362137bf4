"""The encoder as pure functions of its parameters: what training differentiates and export converts."""

import itertools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int, PRNGKeyArray, Shaped

from jrank.errors import ModelError
from jrank.models._config import EncoderConfig
from jrank.models._families import family_of
from jrank.models._family import Tensor
from jrank.models._layers import subkey
from jrank.types import Array, ArrayLike

__all__ = ["encode", "init_params", "init_tensor", "logits", "place", "pool_hidden", "validate_inputs"]


def encode(
    params: Any,
    config: EncoderConfig,
    input_ids: Int[ArrayLike, "b t"],
    attention_mask: Shaped[ArrayLike, "b t"],
    token_type_ids: Int[ArrayLike, "b t"] | None = None,
    *,
    key: PRNGKeyArray | Shaped[Array, "2"] | None = None,
    remat: bool = False,
    compute_dtype: Any = jnp.float32,
) -> Float[Array, "b t d"]:
    r"""Hidden states of the last layer, one row per token.

    Args:
      params: the parameters, from a checkpoint or ``init_params``.
      config: the configuration; static.
      input_ids: token ids, padded on the right.
      attention_mask: 1 at tokens, 0 at padding; integers or bool.
      token_type_ids: 0 in the first text, 1 in the second; None for 0 throughout. Families with one type ignore it.
      key: key of the dropout, for training; None for none.
      remat: recompute each layer in the backward pass: one layer's activations in memory instead of all.
      compute_dtype: ``jnp.bfloat16`` halves the memory of activations; normalisation and softmax stay in float32.

    Returns:
      ``[b, t, d]`` in ``compute_dtype``. Rows at padding are finite and mean nothing; what stands there does not change
      the rows at tokens.

    Raises:
      ModelError: the shapes do not fit, or ``t`` exceeds ``config.max_length``.

    Numerics: ids outside of the vocabulary give NaN (see ``validate_inputs``). Matrix products run in the precision
    that ``jax.default_matmul_precision`` sets; TPUs and recent GPUs round their inputs unless it says "highest".
    Cost: O(layers · b · t · d · (d + t)) time; the attention holds ``b · heads · t²`` floats.
    References: Devlin et al., BERT, NAACL 2019.

    >>> config = EncoderConfig(family="bert", vocab_size=9, hidden_size=4, num_layers=1, num_heads=2,
    ...                        intermediate_size=8, max_positions=6)
    >>> ids = jnp.array([[1, 5, 2]])
    >>> jax.jit(encode, static_argnames="config")(init_params(config), config, ids, jnp.ones_like(ids)).shape
    (1, 3, 4)
    """
    ids, mask, types = _arrays(input_ids, attention_mask, token_type_ids)
    _check_shapes(config, ids, mask, types)
    return family_of(config).encode(params, config, ids, mask, types, rng=key, remat=remat, dtype=compute_dtype)


def pool_hidden(
    hidden: Float[ArrayLike, "b t d"],
    attention_mask: Shaped[ArrayLike, "b t"],
    *,
    method: str = "mean",
    normalize: bool = False,
) -> Float[Array, "b d"]:
    r"""One vector per sequence from its hidden states, in float32.

    Args:
      hidden: hidden states.
      attention_mask: 1 at tokens, 0 at padding.
      method: "mean" over the tokens, "cls" for the first one, "max" per dimension.
      normalize: divide by the Euclidean length.

    Returns:
      ``[b, d]``; zeros for a row without tokens ("cls": its first row all the same).

    Raises:
      ModelError: the method is unknown.

    >>> pool_hidden(jnp.array([[[1.0, 3.0], [3.0, 5.0], [9.0, 9.0]]]), jnp.array([[1, 1, 0]]))
    Array([[2., 4.]], dtype=float32)
    """
    hidden = jnp.asarray(hidden)
    hidden = hidden.astype(jnp.promote_types(hidden.dtype, jnp.float32))
    real = (jnp.asarray(attention_mask) > 0)[:, :, None]
    if method == "mean":
        count = jnp.sum(real, axis=1).astype(hidden.dtype)
        pooled = jnp.sum(jnp.where(real, hidden, 0.0), axis=1) / lax.max(count, jnp.ones_like(count))
    elif method == "cls":
        pooled = hidden[:, 0, :]
    elif method == "max":
        pooled = jnp.max(jnp.where(real, hidden, -jnp.inf), axis=1)
        pooled = jnp.where(jnp.isfinite(pooled), pooled, 0.0)
    else:
        raise ModelError(
            f"the pooling {method!r} is unknown", reason="invalid_input", hint="known are 'mean', 'cls', 'max'"
        )
    if not normalize:
        return pooled
    square = jnp.sum(pooled * pooled, axis=-1, keepdims=True)
    # The length of a zero vector is taken as 1, and its gradient as 0.
    length = jnp.sqrt(jnp.where(square > 0.0, square, 1.0))
    return pooled / length


def logits(
    params: Any,
    config: EncoderConfig,
    input_ids: Int[ArrayLike, "b t"],
    attention_mask: Shaped[ArrayLike, "b t"],
    token_type_ids: Int[ArrayLike, "b t"] | None = None,
    *,
    key: PRNGKeyArray | Shaped[Array, "2"] | None = None,
    remat: bool = False,
    compute_dtype: Any = jnp.float32,
) -> Float[Array, "b labels"]:
    """Outputs of the classifier head, in float32: how well the second text answers the first, unbounded.

    Args:
      params: the parameters, those of the head included.
      config: the configuration; static.
      input_ids: token ids of the pairs, padded on the right.
      attention_mask: 1 at tokens, 0 at padding.
      token_type_ids: 0 in the first text, 1 in the second; None for 0 throughout.
      key: key of the dropout, for training; None for none.
      remat: recompute each layer in the backward pass.
      compute_dtype: of the encoder; the head is in float32.

    Returns:
      ``[b, labels]``. A row without tokens gives a finite number.

    Raises:
      ModelError: the shapes do not fit, or ``t`` exceeds ``config.max_length``.

    >>> config = EncoderConfig(family="bert", vocab_size=9, hidden_size=4, num_layers=1, num_heads=2,
    ...                        intermediate_size=8, max_positions=6)
    >>> ids = jnp.array([[1, 5, 2, 6, 2], [1, 5, 2, 7, 2]])
    >>> jax.jit(logits, static_argnames="config")(init_params(config), config, ids, jnp.ones_like(ids)).shape
    (2, 1)
    """
    hidden = encode(
        params,
        config,
        input_ids,
        attention_mask,
        token_type_ids,
        key=subkey(key, 0),
        remat=remat,
        compute_dtype=compute_dtype,
    )
    return family_of(config).head(params, config, hidden, jnp.asarray(attention_mask), rng=subkey(key, 1))


def init_params(config: EncoderConfig, seed: int = 0) -> dict[str, Any]:
    """New parameters, for tests and for training from nothing.

    Args:
      config: the configuration.
      seed: equal seeds give equal parameters.

    Returns:
      Nested dictionaries of float32 arrays: weights normal with ``config.initializer_range``, biases 0, scales 1.

    >>> config = EncoderConfig(family="bert", vocab_size=9, hidden_size=4, num_layers=1, num_heads=2,
    ...                        intermediate_size=8, max_positions=6)
    >>> sorted(init_params(config))
    ['embeddings', 'head', 'layers', 'pooler']
    """
    params: dict[str, Any] = {}
    for tensor in family_of(config).tensors(config):
        place(params, tensor.path, jnp.asarray(init_tensor(tensor, config, seed)))
    return params


def init_tensor(tensor: Tensor, config: EncoderConfig, seed: int) -> np.ndarray:
    """A new array for one tensor; it depends on the seed and the tensor's name alone.

    Args:
      tensor: which one.
      config: the configuration.
      seed: the seed.
    """
    if tensor.init == "zeros":
        return np.zeros(tensor.shape, np.float32)
    if tensor.init == "ones":
        return np.ones(tensor.shape, np.float32)
    generator = np.random.default_rng([seed, zlib.crc32(tensor.name.encode())])
    return (config.initializer_range * generator.standard_normal(tensor.shape)).astype(np.float32)


def place(params: dict[str, Any], path: tuple[str | int, ...], value: Any) -> None:
    """Put a value at a path of nested dictionaries and lists, making them as needed; lists grow in order.

    Args:
      params: the outermost dictionary, changed.
      path: keys of dictionaries and indices of lists.
      value: what to put there.
    """
    node: Any = params
    for step, following in itertools.pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if step == len(node):
                node.append(empty)
            node = node[step]
        else:
            node = node.setdefault(step, empty)
    node[path[-1]] = value


def validate_inputs(config: EncoderConfig, input_ids: Any, attention_mask: Any, token_type_ids: Any = None) -> None:
    """Check the values of a batch on the host; inside ``jit`` a wrong id can only give NaN.

    Args:
      config: the configuration.
      input_ids: ``[b, t]``.
      attention_mask: ``[b, t]``.
      token_type_ids: ``[b, t]`` or None.

    Raises:
      ModelError: shapes that do not fit, more than ``config.max_length`` tokens, ids or types outside of their tables,
        padding before a token.

    >>> config = EncoderConfig(family="bert", vocab_size=9, hidden_size=4, num_layers=1, num_heads=2,
    ...                        intermediate_size=8, max_positions=6)
    >>> validate_inputs(config, np.array([[9]]), np.array([[1]]))
    Traceback (most recent call last):
    jrank.errors.ModelError: input_ids holds 9 at row 0, column 0; 0 to 8 were expected; ...
    """
    ids, mask = np.asarray(input_ids), np.asarray(attention_mask)
    types = None if token_type_ids is None else np.asarray(token_type_ids)
    for name, array in (("input_ids", ids), ("token_type_ids", types)):
        if array is not None and not np.issubdtype(array.dtype, np.integer):
            raise ModelError(f"{name} has the dtype {array.dtype}, integers were expected", reason="invalid_input")
    _check_shapes(config, ids, mask, types)
    _check_range(ids, config.vocab_size, "input_ids", "the tokenizer may belong to another model")
    if types is not None and config.type_vocab_size > 1:
        _check_range(types, config.type_vocab_size, "token_type_ids", "this model knows fewer token types")
    real = mask != 0
    if (real[:, 1:] & ~real[:, :-1]).any():
        row = int(np.argmax((real[:, 1:] & ~real[:, :-1]).any(axis=1)))
        raise ModelError(
            f"row {row} of attention_mask has padding before a token", reason="invalid_input", hint="pad on the right"
        )


def _check_range(array: np.ndarray, size: int, name: str, hint: str) -> None:
    wrong = (array < 0) | (array >= size)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ModelError(
            f"{name} holds {array[row, column]} at row {row}, column {column}; 0 to {size - 1} were expected",
            reason="invalid_input",
            hint=hint,
        )


def _arrays(ids: Any, mask: Any, types: Any) -> tuple[Array, Array, Array | None]:
    return jnp.asarray(ids), jnp.asarray(mask), None if types is None else jnp.asarray(types)


def _check_shapes(config: EncoderConfig, ids: Any, mask: Any, types: Any) -> None:
    if ids.ndim != 2:
        raise ModelError(f"input_ids has shape {ids.shape}, [batch, tokens] was expected", reason="invalid_input")
    for name, array in (("attention_mask", mask), ("token_type_ids", types)):
        if array is not None and array.shape != ids.shape:
            raise ModelError(
                f"{name} has shape {array.shape}, that of input_ids was expected: {ids.shape}", reason="invalid_input"
            )
    length = ids.shape[1]
    # A symbolic length, as export uses, has no value to check.
    if isinstance(length, int) and not 1 <= length <= config.max_length:
        raise ModelError(
            f"input_ids has {length} tokens per row, 1 to {config.max_length} were expected",
            reason="invalid_input",
            hint="truncate when tokenizing",
        )


def is_concrete(*arrays: Any) -> bool:
    """Whether all of the arrays have values, that is, none is traced.

    Args:
      *arrays: arrays or None.
    """
    return not any(isinstance(array, jax.core.Tracer) for array in arrays)
