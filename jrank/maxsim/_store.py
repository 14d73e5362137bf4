"""Packed documents on disk: plain arrays that can be mapped into memory, and a manifest that says what they are."""

import os
from pathlib import Path
from tokenize import TokenError
from typing import Any

import jax.numpy as jnp
import numpy as np

from jrank.errors import DataError
from jrank.files import atomic_directory, read_json, write_json

__all__ = ["load_arrays", "save_arrays"]

FORMAT = 1
# What .npy cannot name is stored as integers of the same width.
STORED_AS = {"bfloat16": np.uint16}


def save_arrays(directory: str | os.PathLike, kind: str, arrays: dict[str, Any], static: dict[str, Any]) -> None:
    """Write arrays and figures to a directory that appears when it is whole.

    Args:
      directory: where to; an existing directory is replaced.
      kind: what this is.
      arrays: the arrays by name; None is left out.
      static: figures, all integers.

    Raises:
      DataError: the directory cannot be written.
    """
    with atomic_directory(directory) as work:
        types = {}
        for name, array in arrays.items():
            if array is None:
                continue
            value = np.asarray(array)
            types[name] = {"dtype": str(value.dtype), "shape": list(value.shape)}
            np.save(work / f"{name}.npy", value.view(STORED_AS.get(str(value.dtype), value.dtype)), allow_pickle=False)
        write_json(work / "manifest.json", {"format": FORMAT, "kind": kind, "arrays": types, "static": static})


def load_arrays(
    directory: str | os.PathLike, kind: str, arrays: set[str], static: set[str], *, mmap: bool
) -> dict[str, Any]:
    """Read what ``save_arrays`` wrote.

    Args:
      directory: where from.
      kind: what is expected.
      arrays: which arrays may be there.
      static: which figures must be there.
      mmap: whether the arrays are mapped into memory instead of read.

    Returns:
      Arrays and figures by name.

    Raises:
      DataError: something is missing, or not what the manifest says.
    """
    directory = Path(directory)
    manifest = read_json(directory / "manifest.json")
    if not isinstance(manifest, dict) or manifest.get("kind") != kind or manifest.get("format") != FORMAT:
        raise DataError(f"{directory} does not hold {kind} in format {FORMAT}", reason="malformed")
    listed, figures = manifest.get("arrays"), manifest.get("static")
    if not isinstance(listed, dict) or not isinstance(figures, dict) or set(figures) != static or set(listed) - arrays:
        raise DataError(f"{directory / 'manifest.json'} does not describe {kind}", reason="malformed")
    if not all(type(figure) is int for figure in figures.values()):
        raise DataError(f"{directory / 'manifest.json'} has figures that are no integers", reason="malformed")
    return {name: _array(directory / f"{name}.npy", listed[name], mmap=mmap) for name in listed} | figures


def _array(path: Path, expected: Any, *, mmap: bool) -> np.ndarray:
    try:
        # Mapped first: a file that is shorter than it says is refused before memory is asked for.
        value = np.load(path, mmap_mode="r", allow_pickle=False)
        dtype, shape = jnp.dtype(expected["dtype"]), expected["shape"]
    except FileNotFoundError:
        hint = "the directory is incomplete"
        raise DataError(f"there is no file {path}", reason="not_found", hint=hint) from None
    except (ValueError, TypeError, KeyError, OverflowError, EOFError, OSError, SyntaxError, TokenError) as error:
        raise DataError(f"{path} cannot be read: {error}", reason="malformed") from None
    if list(value.shape) != shape or value.dtype != np.dtype(STORED_AS.get(expected["dtype"], dtype)):
        raise DataError(
            f"{path} holds {value.dtype}{list(value.shape)}, the manifest says {expected}", reason="malformed"
        )
    return (value if mmap else np.array(value)).view(dtype)
