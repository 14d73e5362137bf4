"""A multi-vector index on disk: a manifest that is replaced at once, and directories that never change.

Documents lie in one directory for each shard, ids and deletions in another, what 2 bits mean in a third. A save writes
what is new under new names, then replaces the manifest, then removes what no manifest names any more. So there is a
whole index at every moment, and a shard is written once, however often the index is saved.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jrank.errors import DataError, RetrieveError
from jrank.files import ensure_directory, write_json
from jrank.retrieval._multi_vector_codecs import CODECS
from jrank.retrieval._multi_vector_shards import Shard, with_code
from jrank.retrieval._store import FORMAT, MANIFEST, VERSION, damaged, read_index, write_index

__all__ = ["check_shard", "read_shards", "write_shards"]

NAME = re.compile(r"(shard|table|coarse|code)-[0-9a-f]{16}")
# What ``jrank.files`` had not finished when a process was killed.
UNFINISHED = re.compile(rf"\.({NAME.pattern}|{re.escape(MANIFEST)})\.[^.]+\.(part|old)")
CODE = "centroids", "borders", "levels"


def write_shards(
    path: str | os.PathLike,
    kind: str,
    parameters: dict[str, Any],
    table: dict[str, np.ndarray],
    shards: Sequence[Shard],
    coarse: Any,
    code: Any,
    coarse_at: tuple[Path, str] | None,
) -> tuple[list[Shard], tuple[Path, str] | None]:
    """Write an index; until the last moment one that stands there stays whole.

    Args:
      path: the directory.
      kind: which index it is.
      parameters: what JSON can hold.
      table: arrays by name.
      shards: the shards; those that this directory holds already are not written again.
      coarse: the index of the first stage, or None.
      code: what was learnt, a ``ResidualCode``, or None.
      coarse_at: directory and name under which the same first stage lies already, or None.

    Returns:
      The shards, each knowing where it lies; where the first stage lies.

    Raises:
      DataError: the directory cannot be written, or holds something else.
    """
    path = ensure_directory(path)
    before = _names(path, kind)
    home, made = path.resolve(), []
    try:
        kept = []
        for shard in shards:
            if shard.home == home and shard.name in before and (path / shard.name).is_dir():
                kept.append(shard)
                continue
            name = _new(path, "shard", made)
            (shard.docs if code is None else with_code(shard.docs, None)).save(path / name)
            kept.append(Shard(shard.docs, shard.count, name, home))
        name = _new(path, "table", made)
        write_index(path / name, f"{kind} table", {}, table)
        names: dict[str, str | None] = {"table": name, "coarse": None, "code": None}
        if code is not None:
            arrays = {field: np.asarray(getattr(code, field)) for field in CODE}
            digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
            names["code"] = name = f"code-{digest[:16]}"
            if not (path / name).is_dir():
                made.append(name)
                write_index(path / name, f"{kind} code", {}, arrays)
        if coarse is not None:
            kept_at, name = coarse_at or (None, "")
            if not (kept_at == home and name in before and (path / name).is_dir()):
                name = _new(path, "coarse", made)
                coarse.save(path / name)
            names["coarse"] = name
        listed = [{"name": shard.name, "documents": shard.count} for shard in kept]
        manifest = {"format": FORMAT, "version": VERSION, "kind": kind, "arrays": {}}
        write_json(path / MANIFEST, manifest | {"parameters": parameters | names | {"shards": listed}})
    except BaseException:
        for name in made:
            shutil.rmtree(path / name, ignore_errors=True)
        raise
    # What an interrupted save left behind goes as well.
    current = {shard.name for shard in kept} | set(names.values())
    for entry in path.iterdir():
        if NAME.fullmatch(entry.name) and entry.name not in current:
            shutil.rmtree(entry, ignore_errors=True)
        elif UNFINISHED.fullmatch(entry.name):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
    return kept, None if names["coarse"] is None else (home, names["coarse"])


def read_shards(
    path: str | os.PathLike, kind: str, *, mmap: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray], list[Shard], Path | None, Any]:
    """Read what ``write_shards`` wrote.

    Args:
      path: the directory.
      kind: which index is expected.
      mmap: whether documents are mapped into memory instead of read.

    Returns:
      Parameters, the arrays of the table, the shards, the directory of the first stage or None, and what was
      learnt or None. What the numbers mean is for the caller to check.

    Raises:
      RetrieveError: there is no index, it is of another kind, or it is damaged. Nothing is unpickled.
    """
    import jax

    from jrank.maxsim import PackedDocs, QuantizedDocs, ResidualCode

    path = Path(path)
    parameters, _ = read_index(path, kind)
    names = [parameters.get("table"), parameters.get("coarse"), parameters.get("code")]
    listed = parameters.get("shards")
    good = isinstance(listed, list) and all(isinstance(entry, dict) for entry in listed)
    if good:
        names += [entry.get("name") for entry in listed]
    if not good or any(
        not isinstance(n, str) or not NAME.fullmatch(n) for n in names if n is not None or n is names[0]
    ):
        raise damaged(path, "its manifest names no shards")
    _, table = read_index(path / str(names[0]), f"{kind} table")
    codec, code = CODECS.get(str(parameters.get("dtype"))), None
    if codec is None:
        raise damaged(path, f"its dtype is {parameters.get('dtype')!r}")
    if names[2] is not None:
        _, found = read_index(path / names[2], f"{kind} code")
        if set(found) != set(CODE) or not codec.learns:
            raise damaged(path, f"{names[2]} does not hold what was learnt")
        code = jax.tree.map(jax.device_put, ResidualCode(**found))
    shards = []
    for entry in listed:
        try:
            docs = (PackedDocs if codec.bits is None else QuantizedDocs).load(path / entry["name"], mmap=mmap)
        except DataError as error:
            raise damaged(path, f"{error}") from None
        count = entry.get("documents")
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(docs):
            raise damaged(path, f"{entry['name']} is said to hold {count!r} documents")
        shards.append(Shard(docs, count, entry["name"], path.resolve()))
    return parameters, table, shards, None if names[1] is None else path / names[1], code


def check_shard(path: Any, shard: Shard, dtype: str, dimension: int, code: Any) -> None:
    """Refuse a shard that is not of this index. That its places lie within its own arrays, ``load`` has seen.

    Args:
      path: the directory of the index.
      shard: what ``read_shards`` read.
      dtype: how its vectors are stored.
      dimension: the number of dimensions.
      code: what was learnt, or None.

    Raises:
      RetrieveError: something does not fit.
    """
    layout, docs, codec = shard.layout, shard.docs, CODECS[dtype]
    good = layout.tokens.shape[2] == -(-dimension // codec.per_byte)
    if good and codec.bits is not None:
        beside = getattr(docs, codec.beside)
        good = docs.bits == codec.bits and docs.dimensions == dimension and np.shape(beside) == layout.tokens.shape[:2]
    if good and codec.learns and code is None:
        good = not np.asarray(layout.lengths).any()
    elif good and codec.learns:
        centroids = code.centroids.shape[0] if code.centroids.ndim == 2 else 0
        shapes = (centroids, dimension), (3, dimension), (4, dimension)
        good = tuple(getattr(code, field).shape for field in CODE) == shapes and centroids > 0
        good = good and not (docs.nearest >= centroids).any()
    if not good:
        raise damaged(path, f"{shard.name} does not fit the manifest")


def _new(path: Path, prefix: str, made: list[str]) -> str:
    while (path / (name := f"{prefix}-{secrets.token_hex(8)}")).exists():
        pass
    made.append(name)
    return name


def _names(path: Path, kind: str) -> set[str]:
    """Return what the index that stands in a directory names; refuse a directory that holds something else."""
    if not (path / MANIFEST).is_file():
        if foreign := [entry.name for entry in path.iterdir() if not NAME.fullmatch(entry.name.removeprefix("."))]:
            foreign = [name for name in foreign if not name.endswith((".part", ".old"))]
        if foreign:
            raise DataError(
                f"{path} holds something other than an index, such as {foreign[0]}",
                reason="unwritable",
                hint="name a new or empty directory",
            )
        return set()
    try:
        parameters, _ = read_index(path, kind)
        return {str(entry["name"]) for entry in parameters["shards"]} | {str(parameters.get("coarse"))}
    except RetrieveError as error:
        raise DataError(
            f"{path} holds another index: {error}", reason="unwritable", hint="name a new or empty directory"
        ) from None
    except (KeyError, TypeError):
        return set()
