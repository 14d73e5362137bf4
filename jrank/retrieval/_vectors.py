"""Dense vectors on the host: checked, brought to length 1, stored in few bytes."""

from typing import Any

import numpy as np

from jrank.errors import RetrieveError, require

__all__ = [
    "DTYPES",
    "LARGEST",
    "capacity_for",
    "check_vectors",
    "pack",
    "pack_int8",
    "split_int8",
    "storage_dtype",
    "unpack",
]

DTYPES = ("float32", "bfloat16", "float16", "int8")

# Products of numbers up to this add up without overflow, so no score is infinite or NaN.
LARGEST = {"float32": 1e16, "bfloat16": 1e16, "float16": 6e4, "int8": 1e16}


def check_vectors(vectors: Any, name: str, *, unit: bool, single: bool = False, most: float = 1e16) -> np.ndarray:
    """Return vectors as float32, ``[n, d]``.

    Args:
      vectors: an array of numbers.
      name: what the message calls it.
      unit: whether they are brought to length 1; a vector of zeros stays as it is.
      single: whether one vector ``[d]`` is taken as ``[1, d]``.
      most: the largest absolute value; where vectors are brought to length 1, every finite value will do.

    Raises:
      TypeError: it is a list.
      RetrieveError: it has another shape or type, or holds a number that is not finite.
    """
    if isinstance(vectors, (list, tuple)):
        raise TypeError(f"{name} must be an array, got a {type(vectors).__name__}; write np.asarray({name})")
    array = np.asarray(vectors)
    if array.ndim == 1 and single:
        array = array[None]
    if array.ndim != 2 or (array.dtype.kind not in "fiub" and str(array.dtype) != "bfloat16"):
        raise RetrieveError(
            f"{name} must be numbers of shape [n, d], got {array.dtype} of shape {array.shape}",
            reason="invalid_parameter",
        )
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise RetrieveError(f"{name}[{row}] holds a number that is not finite", reason="invalid_parameter")
    if not unit and array.size and np.abs(array).max() > most:
        raise RetrieveError(
            f"{name} hold {np.abs(array).max():.3g}, more than {most:g}, so scores would overflow",
            reason="invalid_parameter",
            hint="divide them by a constant, which keeps the order",
        )
    if unit and array.size:
        # Scaled first, so that squares neither overflow nor vanish.
        largest = np.abs(array).max(axis=1, keepdims=True)
        array /= np.where(largest > 0, largest, 1)
        norm = np.sqrt(np.einsum("nd,nd->n", array, array, dtype=np.float64))[:, None]
        array = (array / np.where(norm > 0, norm, 1)).astype(np.float32)
    return array


def storage_dtype(dtype: str) -> np.dtype:
    """Return the NumPy type that holds vectors.

    Args:
      dtype: one of ``DTYPES``.
    """
    return np.dtype(require("ml_dtypes", "").bfloat16 if dtype == "bfloat16" else dtype)


def pack(vectors: np.ndarray, dtype: str) -> np.ndarray:
    """Return vectors as they are stored.

    Args:
      vectors: float32, ``[n, d]``.
      dtype: one of ``DTYPES``.

    Returns:
      ``[n, d]``; for int8 ``[n, d + 4]``: the last four bytes of a row are its scale, a float32.
    """
    return pack_int8(vectors) if dtype == "int8" else vectors.astype(storage_dtype(dtype))


def pack_int8(vectors: np.ndarray) -> np.ndarray:
    """Return vectors as bytes from -127 to 127 and a scale per row; see ``pack``.

    Args:
      vectors: float32, ``[n, d]``.
    """
    scale = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    whole = np.rint(vectors / np.where(scale > 0, scale, 1)[:, None]).astype(np.int8)
    return np.concatenate([whole, scale.astype(np.float32)[:, None].view(np.int8)], axis=1)


def split_int8(stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes and the scales of what ``pack_int8`` made.

    Args:
      stored: int8, ``[n, d + 4]``.
    """
    return stored[:, :-4], np.ascontiguousarray(stored[:, -4:]).view(np.float32)[:, 0]


def unpack(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Return stored vectors as float32, ``[n, d]``.

    Args:
      stored: what ``pack`` returned.
      dtype: one of ``DTYPES``.
    """
    if dtype != "int8":
        return stored.astype(np.float32, copy=False)
    whole, scale = split_int8(stored)
    return whole * scale[:, None]


def capacity_for(count: int, shards: int = 1, group: int = 16) -> int:
    """Return a number of rows that many counts share: at most an eighth of them is wasted, of many a sixteenth.

    Args:
      count: how many rows are needed.
      shards: how many parts they fall into.
      group: each part has a multiple of this.

    >>> [capacity_for(n) for n in (0, 1, 100, 1000, 1001)]
    [0, 16, 112, 1024, 1024]
    """
    step = max(1 << max(count.bit_length() - (4 if count < 1 << 15 else 5), 4), group)
    step = -(-step // (shards * group)) * shards * group
    return -(-count // step) * step
