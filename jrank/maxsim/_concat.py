"""Packed documents, quantised or not, one after the other."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jrank.errors import RerankError
from jrank.maxsim._pack import PackedDocs, concat_packed, on_host
from jrank.maxsim._quantize import QuantizedDocs, repack

__all__ = ["concat"]

Docs = TypeVar("Docs", PackedDocs, QuantizedDocs)


def concat(parts: Sequence[Docs]) -> Docs:
    """Put packed documents, or quantised ones of one kind, one after the other.

    Args:
      parts: documents of one dimension, all packed or all quantised; quantised ones of the same bits, with scales of
        the same kind, and for 2 bits with the same code.

    Returns:
      All documents in order. Groups of equal size are taken over as they are; otherwise everything is packed anew.

    Raises:
      RerankError: there is no part, or the parts are not of one kind.

    >>> from jrank.maxsim import pack
    >>> both = concat([pack([jnp.ones((2, 3))]), pack([jnp.zeros((1, 3)), jnp.ones((4, 3))])])
    >>> both.lengths.tolist()
    [2, 1, 4]
    """
    found: list[Any] = list(parts)
    if not found:
        raise RerankError("there are no parts to put together", reason="empty_input")
    for place, part in enumerate(found):
        if not isinstance(part, (PackedDocs, QuantizedDocs)):
            raise TypeError(f"parts[{place}] must be packed documents, got a {type(part).__name__}; write pack(docs)")
        if type(part) is not type(found[0]):
            raise RerankError(
                f"parts[{place}] is a {type(part).__name__}, the first is a {type(found[0]).__name__}",
                reason="invalid_parameter",
                hint="quantize all of them, or none",
            )
    dimensions = {part.dimensions for part in found}
    if len(dimensions) > 1:
        raise RerankError(
            f"the parts have {sorted(dimensions)} dimensions, expected one number", reason="dimension_mismatch"
        )
    joined: Any = concat_packed(found) if isinstance(found[0], PackedDocs) else _concat_quantized(found)
    return joined


def _concat_quantized(parts: list[QuantizedDocs]) -> QuantizedDocs:
    kinds = {(part.bits, part.scale_of_tokens) for part in parts}
    if len(kinds) > 1:
        told = sorted(f"{bits} bits with a scale of each {('document', 'token')[tokens]}" for bits, tokens in kinds)
        raise RerankError(f"the parts have {', '.join(told)}, expected one kind", reason="invalid_parameter")
    first = parts[0]
    shared = first.shared_arrays()
    if not all(_same(part.shared_arrays(), shared) for part in parts):
        raise RerankError(
            "the parts have different codes of 2 bits",
            reason="invalid_parameter",
            hint="quantize them with one code: quantize(docs, 2, code=residual_code(sample))",
        )
    sizes = {part.codes.tokens.shape[1] for part in parts}
    if len(sizes) > 1:
        return repack([(part, place) for part in map(on_host, parts) for place in range(len(part))], max(sizes))
    codes = concat_packed([part.codes for part in parts])
    scale, nearest = first.scale, first.nearest
    if nearest is not None:
        nearest = jnp.asarray(np.concatenate([np.asarray(part.nearest) for part in parts]))
    if scale is not None:
        width = codes.tokens.shape[1] if first.scale_of_tokens else codes.max_docs
        scale = jnp.asarray(np.concatenate([_widened(part.scale, width) for part in parts]))
    return dataclasses.replace(first, codes=codes, scale=scale, nearest=nearest)


def _same(arrays: Any, others: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(arrays), jax.tree.leaves(others), strict=True))


def _widened(scale: Any, width: int) -> np.ndarray:
    """Room for as many documents in a group as the fullest part has."""
    scale = np.asarray(scale)
    return np.pad(scale, ((0, 0), (0, width - scale.shape[1])))
