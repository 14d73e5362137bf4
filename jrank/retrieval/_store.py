"""Indexes on disk: a directory with a JSON manifest and one ``.npy`` file per array, mapped into memory when loaded."""

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jrank.errors import DataError, RetrieveError
from jrank.files import atomic_directory, read_json, write_json

__all__ = ["damaged", "read_index", "read_kind", "strings_from_arrays", "strings_to_arrays", "write_index"]

FORMAT = "jrank-index"
VERSION = 1
MANIFEST = "manifest.json"


def write_index(
    path: str | os.PathLike, kind: str, parameters: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write an index, whole or not at all.

    Args:
      path: the directory; an index that stands there is replaced, any other directory is not.
      kind: which index it is.
      parameters: what JSON can hold.
      arrays: arrays of numbers by name.

    Raises:
      DataError: the directory cannot be written, or holds something else.
    """
    path = Path(path)
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
        raise DataError(
            f"{path} holds something other than an index", reason="unwritable", hint="name a new or empty directory"
        )
    with atomic_directory(path) as folder:
        described = {}
        for name, array in arrays.items():
            array = np.ascontiguousarray(array)
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
            described[name] = {"dtype": array.dtype.str, "shape": list(array.shape)}
        manifest = {"format": FORMAT, "version": VERSION, "kind": kind}
        write_json(folder / MANIFEST, manifest | {"parameters": dict(parameters), "arrays": described})


def read_index(path: str | os.PathLike, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read an index; its arrays stay on disk and are mapped into memory.

    Args:
      path: the directory.
      kind: which index is expected.

    Returns:
      The parameters and the arrays, read-only. Nothing is unpickled; what the numbers mean is for the caller to check.

    Raises:
      RetrieveError: there is no index, it is of another kind or version, or its files do not fit the manifest.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    if manifest.get("kind") != kind:
        raise RetrieveError(
            f"{path} holds an index of kind {manifest.get('kind')!r}, expected {kind!r}",
            reason="invalid_index_file",
            hint="load it with the class that saved it",
        )
    parameters, described = manifest.get("parameters"), manifest.get("arrays")
    if not isinstance(parameters, dict) or not isinstance(described, dict):
        raise _invalid(f"{path / MANIFEST} lacks parameters or arrays")
    if not all(name.isidentifier() for name in described):
        raise _invalid(f"{path / MANIFEST} names files outside of the index")
    return parameters, {name: _read_array(path / f"{name}.npy", what) for name, what in described.items()}


def read_kind(path: str | os.PathLike) -> str:
    """Return which index stands in a directory.

    Args:
      path: the directory.

    Raises:
      RetrieveError: there is none, or its manifest cannot be read.
    """
    return str(_read_manifest(Path(path)).get("kind"))


def _read_manifest(path: Path) -> dict[str, Any]:
    if not (path / MANIFEST).is_file():
        raise RetrieveError(f"there is no index at {path}", reason="invalid_index_file", hint="check the path")
    try:
        manifest = read_json(path / MANIFEST)
    except DataError as error:
        raise _invalid(f"{error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _invalid(f"{path / MANIFEST} does not describe an index")
    if manifest.get("version") != VERSION:
        raise _invalid(f"{path} has version {manifest.get('version')!r} of the format, expected {VERSION}")
    return manifest


def _read_array(path: Path, described: Any) -> np.ndarray:
    if not path.is_file():
        raise _invalid(f"there is no file {path}")
    try:
        # An empty array cannot be mapped.
        empty = not np.prod(described["shape"])
        array = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise _invalid(f"{path} cannot be read as an array: {error}") from None
    if array.dtype.hasobject or array.dtype.str != described.get("dtype") or list(array.shape) != described["shape"]:
        raise _invalid(
            f"{path} holds {array.dtype.str} of shape {list(array.shape)}, the manifest says "
            f"{described.get('dtype')} of shape {described['shape']}"
        )
    # The plain view: a subclass would follow every result around.
    return array.view(np.ndarray)


def damaged(path: str | os.PathLike, what: str) -> RetrieveError:
    """Return the error for an index whose files do not fit together.

    Args:
      path: the directory.
      what: what is wrong with it.
    """
    return _invalid(f"the index at {path} is damaged: {what}")


def _invalid(message: str) -> RetrieveError:
    return RetrieveError(message, reason="invalid_index_file", hint="build and save it again")


def strings_to_arrays(name: str, strings: Sequence[str | int]) -> dict[str, np.ndarray]:
    """Return strings, or integers, as arrays.

    Args:
      name: what the arrays are called.
      strings: all strings, or all integers.
    """
    if strings and isinstance(strings[0], int):
        try:
            return {name: np.array(strings, np.int64)}
        except OverflowError:
            raise RetrieveError(
                "an integer id needs more than 64 bits", reason="invalid_parameter", hint="use strings as ids"
            ) from None
    # Lone surrogates are legal in Python's strings, and come back as they were.
    encoded = [str(string).encode("utf-8", "surrogatepass") for string in strings]
    ends = np.cumsum([len(string) for string in encoded], dtype=np.int64)
    return {f"{name}_text": np.frombuffer(b"".join(encoded), np.uint8), f"{name}_ends": ends}


def strings_from_arrays(name: str, arrays: Mapping[str, np.ndarray], count: int) -> list[str] | list[int]:
    """Return what ``strings_to_arrays`` was given.

    Args:
      name: what the arrays are called.
      arrays: the arrays of an index.
      count: how many there must be.

    Raises:
      RetrieveError: the arrays do not fit.
    """
    if name in arrays and arrays[name].dtype == np.int64 and arrays[name].shape == (count,):
        return arrays[name].tolist()
    text, ends = arrays.get(f"{name}_text"), arrays.get(f"{name}_ends")
    if text is None or ends is None or text.dtype != np.uint8 or ends.dtype != np.int64 or ends.shape != (count,):
        raise _invalid(f"the index lacks its {name}")
    bounds = [0, *ends.tolist()]
    if bounds != sorted(bounds) or bounds[-1] != text.size:
        raise _invalid(f"the {name} of the index do not fit together")
    data = text.tobytes()
    try:
        return [data[low:high].decode("utf-8", "surrogatepass") for low, high in itertools.pairwise(bounds)]
    except UnicodeDecodeError:
        raise _invalid(f"the {name} of the index are not UTF-8") from None
