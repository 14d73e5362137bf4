"""How the vectors of a document are stored: plain numbers of a type, or codes and what stands beside them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jrank.retrieval._vectors import storage_dtype

__all__ = ["CODECS", "Codec", "Coded", "encode_all", "learn"]

# Tokens that a code is learnt from, and that are coded at a time.
SAMPLE, BLOCK = 1 << 16, 1 << 11
# Documents that are coded together.
AT_A_TIME = 256


class Coded(NamedTuple):
    """A document as it is stored.

    Attributes:
      tokens: its token vectors or their codes, ``[t, w]``.
      beside: a number for each token, ``[t]``: what a step of its code is worth, or the centroid that it is near.
        None for plain numbers.
    """

    tokens: np.ndarray
    beside: Any


class Codec(NamedTuple):
    """A way to store vectors.

    Attributes:
      encode: from float32 ``[t, d]`` and the learnt code to a document as it is stored.
      decode: from a stored document, d and the learnt code to float32 ``[t, d]``.
      bits: those of ``QuantizedDocs``; None for plain numbers.
      beside: which field of ``QuantizedDocs`` holds the numbers beside the codes.
      per_byte: how many dimensions a byte of codes holds.
      learns: whether there is a code to be learnt (``jrank.maxsim.residual_code``).
    """

    encode: Callable[[np.ndarray, Any], Coded]
    decode: Callable[[Coded, int, Any], np.ndarray]
    bits: int | None = None
    beside: str = ""
    per_byte: int = 1
    learns: bool = False


def learn(documents: Sequence[np.ndarray], seed: int = 0) -> Any:
    """Learn a residual code from some of the tokens of documents.

    Args:
      documents: float32, ``[t, d]`` each, at least one.
      seed: which tokens.

    Returns:
      The ``ResidualCode``.
    """
    from jrank.maxsim import residual_code

    ends = np.cumsum([len(document) for document in documents])
    places = np.arange(ends[-1])
    if len(places) > SAMPLE:
        places = np.sort(np.random.default_rng(seed).choice(places, SAMPLE, replace=False))
    which = np.searchsorted(ends, places, side="right")
    parts = [
        documents[number][places[which == number] - (ends[number] - len(documents[number]))]
        for number in np.unique(which)
    ]
    sample = np.concatenate(parts or [documents[0]])
    # As many centroids as suit all tokens, not the sample alone.
    wanted = min(1 << 12, 1 << round(np.log2(4 * np.sqrt(max(1, int(ends[-1]))))))
    return residual_code(sample, wanted, seed=seed)


def encode_all(documents: Sequence[np.ndarray], dtype: str, code: Any) -> list[Coded]:
    """Return documents as they are stored.

    Args:
      documents: float32, ``[t, d]`` each.
      dtype: one of ``CODECS``.
      code: what was learnt, or None.
    """
    codec = CODECS[dtype]
    if not codec.learns:
        return [codec.encode(document, code) for document in documents]
    # Many at a time: the search for centroids is a product of matrices.
    found: list[Coded] = []
    for low in range(0, len(documents), AT_A_TIME):
        some = documents[low : low + AT_A_TIME]
        whole, ends = codec.encode(np.concatenate(some), code), np.cumsum([len(document) for document in some])[:-1]
        found += map(Coded, np.split(whole.tokens, ends), np.split(whole.beside, ends))
    return found


def _plain(dtype: str) -> Codec:
    def encode(vectors: np.ndarray, code: Any) -> Coded:
        del code
        return Coded(vectors.astype(storage_dtype(dtype), copy=False), None)  # ``check_vectors`` made a copy

    def decode(coded: Coded, dimension: int, code: Any) -> np.ndarray:
        del dimension, code
        return coded.tokens.astype(np.float32)

    return Codec(encode, decode)


def _encode_int8(vectors: np.ndarray, code: Any) -> Coded:
    del code
    scale = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    whole = np.rint(vectors / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    return Coded(whole, scale.astype(np.float32))


def _decode_int8(coded: Coded, dimension: int, code: Any) -> np.ndarray:
    del dimension, code
    return coded.tokens.astype(np.float32) * coded.beside[:, None]


def _encode_sign(vectors: np.ndarray, code: Any) -> Coded:
    del code
    size = np.abs(vectors).mean(axis=1, dtype=np.float32) if vectors.size else np.zeros(0, np.float32)
    return Coded(np.packbits(vectors > 0, axis=1, bitorder="little"), size)


def _decode_sign(coded: Coded, dimension: int, code: Any) -> np.ndarray:
    del code
    signs = np.unpackbits(coded.tokens, axis=1, count=dimension, bitorder="little").astype(np.float32) * 2 - 1
    return signs * coded.beside[:, None]


def _encode_residual(vectors: np.ndarray, code: Any) -> Coded:
    # Cut and filled up on the host: the device would compile for each number of tokens anew.
    count = len(vectors)
    rows = -(-count // BLOCK) * BLOCK if count > BLOCK else 1 << max(count - 1, 0).bit_length()
    codes, nearest = code.encode(np.pad(vectors, ((0, rows - count), (0, 0))))
    return Coded(np.asarray(codes)[:count], np.asarray(nearest)[:count])


def _decode_residual(coded: Coded, dimension: int, code: Any) -> np.ndarray:
    # On the host: every document has another length, which jax would compile for.
    level = (coded.tokens[:, :, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & np.uint8(3)
    level = level.reshape(len(coded.tokens), 4 * coded.tokens.shape[1])[:, :dimension].astype(np.intp)
    return np.asarray(code.centroids)[coded.beside] + np.take_along_axis(np.asarray(code.levels), level, axis=0)


CODECS: dict[str, Codec] = {
    "float32": _plain("float32"),
    "bfloat16": _plain("bfloat16"),
    "float16": _plain("float16"),
    "int8": Codec(_encode_int8, _decode_int8, bits=8, beside="scale"),
    "2bit": Codec(_encode_residual, _decode_residual, bits=2, beside="nearest", per_byte=4, learns=True),
    "1bit": Codec(_encode_sign, _decode_sign, bits=1, beside="scale", per_byte=8),
}
