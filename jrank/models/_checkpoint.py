"""Hugging Face model directories: config.json and safetensors, read with every name checked, written whole."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jrank import files
from jrank.errors import DataError, ModelError, require
from jrank.models._config import EncoderConfig
from jrank.models._families import config_from, family_of
from jrank.models._family import Family
from jrank.models._functions import init_tensor, place

__all__ = ["Checkpoint", "read_checkpoint", "read_config", "read_tensors", "write_checkpoint", "write_files"]

MAX_HEADER = 100 << 20
MAX_CONFIG = 8 << 20
MAX_WEIGHTS = 32 << 30
MAX_ASSET = 256 << 20

# Files of a tokenizer, which travel along with the weights.
ASSETS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spm.model",
)
_FLOATS = {"F64", "F32", "F16", "BF16"}
_LEGACY = ((".gamma", ".weight"), (".beta", ".bias"))


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model as it stands on disk.

    Attributes:
      config: the configuration.
      params: nested dictionaries of float32 arrays.
      raw: the fields of config.json, those included that the configuration does not hold.
      assets: files of the tokenizer, by name.
      new: names of tensors that the checkpoint lacks and that were made from the seed.

    >>> from jrank.models import CrossEncoder
    >>> raw = {"model_type": "bert", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 6}
    >>> model = CrossEncoder.from_config(raw)
    >>> Checkpoint(model.config, model.params, raw, {}).new
    ()
    """

    config: EncoderConfig
    params: dict[str, Any]
    raw: Mapping[str, Any]
    assets: Mapping[str, bytes]
    new: tuple[str, ...] = ()


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``config.json``.

    Args:
      directory: the directory that holds it.

    Returns:
      Its fields.

    Raises:
      ModelError: it is missing or no JSON object.
    """
    path = Path(directory) / "config.json"
    try:
        raw = files.read_json(path, max_bytes=MAX_CONFIG)
    except DataError as error:
        missing = error.reason == DataError.Reason.NOT_FOUND
        raise ModelError(str(error), reason="not_found" if missing else "invalid_config") from None
    if not isinstance(raw, dict):
        raise ModelError(f"{path} holds a {type(raw).__name__}, an object was expected", reason="invalid_config")
    return raw


def read_checkpoint(
    directory: str | os.PathLike[str],
    *,
    parts: Iterable[str] = ("encoder", "pooler"),
    num_labels: int | None = None,
    seed: int = 0,
    ignored: tuple[str, ...] = (),
) -> Checkpoint:
    """Read a model from a Hugging Face directory.

    Args:
      directory: holds config.json and model.safetensors, or its shards with their index.
      parts: which parts to read. The encoder must be there. Pooler and head are made from the seed where the checkpoint
        has none and "head" is asked for; a pooler without a head is read if it is there.
      num_labels: outputs of the head; None for those of the checkpoint, or 1 where it has no head.
      seed: of new weights.
      ignored: beginnings of the names of tensors that belong to something else.

    Returns:
      The model.

    Raises:
      ModelError: a file is missing or broken, a tensor is missing, unexpected or of another shape, or the head has
        another number of outputs.

    >>> read_checkpoint("no/such/directory")
    Traceback (most recent call last):
    jrank.errors.ModelError: there is no file no/such/directory/config.json; check the path
    """
    directory, wanted = Path(directory), set(parts)
    raw = read_config(directory)
    config = config_from(raw)
    family = family_of(config)
    tensors = {name: array for name, array in read_tensors(directory).items() if not name.startswith(ignored)}
    stored = _canonical(tensors, family, config)
    config = config.with_labels(_labels(config, family, stored, num_labels)) if "head" in wanted else config
    params, new = _assemble(directory, family, config, stored, wanted, seed)
    return Checkpoint(config, params, raw, read_assets(directory), new)


def read_tensors(directory: str | os.PathLike[str], *, max_bytes: int = MAX_WEIGHTS) -> dict[str, np.ndarray]:
    """Read all tensors of ``model.safetensors``, or of the shards that ``model.safetensors.index.json`` lists.

    Args:
      directory: the directory.
      max_bytes: most bytes of all files together.

    Returns:
      The arrays by name: float32 for all floating types (float64 is rounded), integers as they are.

    Raises:
      ModelError: a file is missing, too large or broken, or holds a type that is no number.
    """
    directory = Path(directory)
    paths = _weight_files(directory)
    total = sum(path.stat().st_size for path in paths)
    if total > max_bytes:
        raise ModelError(
            f"{directory} holds {total} bytes of weights, at most {max_bytes} were expected", reason="invalid_weights"
        )
    tensors: dict[str, np.ndarray] = {}
    for path in paths:
        for name, array in _read_file(path).items():
            if name in tensors:
                raise ModelError(f"{path}: the tensor {name} is in two files", reason="invalid_weights")
            tensors[name] = array
    return tensors


def _weight_files(directory: Path) -> list[Path]:
    single = directory / "model.safetensors"
    index = directory / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        others = [p.name for p in directory.glob("*.bin")] if directory.is_dir() else []
        raise ModelError(
            f"{directory} has no model.safetensors",
            reason="not_found",
            hint=f"{others[0]} is a pickle, which is never read: convert it" if others else "check the directory",
        )
    try:
        shards = files.read_json(index, max_bytes=MAX_CONFIG)["weight_map"].values()
        names = sorted({str(name) for name in shards})
    except (DataError, AttributeError, KeyError, TypeError):
        raise ModelError(f"{index} is no index: it has no weight_map", reason="invalid_weights") from None
    for name in names:
        # A shard stands beside its index and nowhere else.
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{index} names the file {name!r}, a file beside it was expected", reason="invalid_weights"
            )
        if not (directory / name).is_file():
            raise ModelError(f"{directory} lacks the shard {name}", reason="not_found", hint="fetch the model again")
    return [directory / name for name in names]


def _read_file(path: Path) -> dict[str, np.ndarray]:
    safetensors = require("safetensors", "")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if not 2 <= header <= min(MAX_HEADER, path.stat().st_size):
        raise ModelError(f"{path} is no safetensors file: its header has {header} bytes", reason="invalid_weights")
    tensors = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a dictionary
                kind = file.get_slice(name).get_dtype()
                if kind in _FLOATS:
                    tensors[name] = np.asarray(file.get_tensor(name)).astype(np.float32, copy=False)
                elif kind[:1] in "IU":
                    tensors[name] = file.get_tensor(name)
                else:
                    raise ModelError(
                        f"{path}: the tensor {name} has the type {kind}",
                        reason="invalid_weights",
                        hint="float64, float32, float16, bfloat16 and integers are read",
                    )
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is no safetensors file: {error}", reason="invalid_weights", hint="it may be cut off"
        ) from None
    return tensors


def read_assets(directory: Path, names: Iterable[str] = ASSETS) -> dict[str, bytes]:
    """Read the files that a directory holds beside the weights, by default those of the tokenizer.

    Args:
      directory: the directory.
      names: which files; those that are not there are left out.
    """
    found = {}
    for name in names:
        if (directory / name).is_file():
            try:
                found[name] = files.read_bytes(directory / name, max_bytes=MAX_ASSET)
            except DataError as error:
                raise ModelError(str(error), reason="invalid_config") from None
    return found


# Names ----------------------------------------------------------------------------------------------------------------


def _canonical(stored: dict[str, np.ndarray], family: Family, config: EncoderConfig) -> dict[str, np.ndarray]:
    """Names without the prefix, legacy names replaced, buffers and heads of other tasks left out."""
    tensors = family.tensors(config)
    bare, known = {t.name for t in tensors if not t.prefixed}, {t.name for t in tensors}
    result = {}
    for full, array in stored.items():
        name = full if full in bare else full.removeprefix(family.prefix)
        for old, new in _LEGACY:
            if name.endswith(old):
                name = name.removesuffix(old) + new
        ignored = full.startswith(family.ignored) or name.startswith(family.ignored)
        if name not in known and (ignored or name.endswith("position_ids")):
            continue
        if name in result:
            raise ModelError(f"the checkpoint holds {name} twice, as {full} too", reason="invalid_weights")
        result[name] = array
    return result


def _labels(config: EncoderConfig, family: Family, stored: dict[str, np.ndarray], asked: int | None) -> Any:
    """Number or names of the outputs: what the stored head has rules, then what was asked for, then 1."""
    last = [t for t in family.tensors(config) if t.part == "head" and t.path[-1] == "kernel"][-1]
    if last.name not in stored:
        return 1 if asked is None else asked
    rows = stored[last.name].shape[0]
    if asked is not None and asked != rows:
        raise ModelError(
            f"the classifier of the checkpoint has {rows} outputs, {asked} were asked for",
            reason="invalid_weights",
            hint=f"pass num_labels={rows}, or start from the encoder alone",
        )
    return config.labels if config.num_labels == rows else rows


def _assemble(
    directory: Path, family: Family, config: EncoderConfig, stored: dict[str, np.ndarray], wanted: set[str], seed: int
) -> tuple[dict[str, Any], tuple[str, ...]]:
    tensors = family.tensors(config)
    present = {t.part for t in tensors if t.name in stored}
    params: dict[str, Any] = {}
    missing, wrong, new = [], [], []
    for tensor in tensors:
        if tensor.part not in wanted:
            continue
        if tensor.name in stored:
            array = stored[tensor.name]
            if array.shape != tensor.stored_shape:
                wrong.append(f"{tensor.name} {list(array.shape)} instead of {list(tensor.stored_shape)}")
                continue
            place(params, tensor.path, jnp.asarray(array.T if tensor.transpose else array, jnp.float32))
        elif tensor.part == "encoder" or tensor.part in present:
            missing.append(tensor.name)
        elif "head" in wanted:
            new.append(tensor.name)
            place(params, tensor.path, jnp.asarray(init_tensor(tensor, config, seed)))
    unexpected = set(stored) - {t.name for t in tensors}
    faults = [
        f"{kind}: {_some(names)}"
        for kind, names in (("missing", missing), ("of another shape", wrong), ("unexpected", sorted(unexpected)))
        if names
    ]
    if faults:
        raise ModelError(
            f"the tensors of {directory} do not fit the family {config.family!r}: {'; '.join(faults)}",
            reason="invalid_weights",
            hint="config.json may belong to another model",
        )
    return params, tuple(new)


def _some(names: list[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


# Writing --------------------------------------------------------------------------------------------------------------


def write_checkpoint(directory: str | os.PathLike[str], checkpoint: Checkpoint) -> Path:
    """Write a model as a Hugging Face directory; equal models give equal bytes.

    Args:
      directory: where; see ``write_files`` for one that is there already.
      checkpoint: the model.

    Returns:
      The directory.

    Raises:
      ModelError: the directory cannot be written, or the parameters lack a part of the encoder.

    >>> import tempfile
    >>> from jrank.models import CrossEncoder
    >>> raw = {"model_type": "bert", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 6}
    >>> model = CrossEncoder.from_config(raw)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_checkpoint(folder, Checkpoint(model.config, model.params, raw, {}))
    ...     read_checkpoint(written, parts=("encoder", "pooler", "head")).config == model.config
    True
    """
    config, family = checkpoint.config, family_of(checkpoint.config)
    has_head = "head" in checkpoint.params
    tensors = {}
    for tensor in family.tensors(config):
        node: Any = checkpoint.params
        try:
            for step in tensor.path:
                node = node[step]
        except (KeyError, IndexError):
            if tensor.part == "encoder":
                raise ModelError(f"the parameters lack {tensor.name}", reason="invalid_weights") from None
            continue
        array = np.asarray(node, np.float32)
        name = family.prefix + tensor.name if has_head and tensor.prefixed else tensor.name
        tensors[name] = np.ascontiguousarray(array.T if tensor.transpose else array)
    weights = require("safetensors.numpy", "").save(tensors, metadata={"format": "pt"})
    contents = {**checkpoint.assets, "model.safetensors": weights, "config.json": _config_bytes(checkpoint, has_head)}
    return write_files(directory, contents)


def _config_bytes(checkpoint: Checkpoint, has_head: bool) -> bytes:
    config = checkpoint.config
    raw = {key: value for key, value in checkpoint.raw.items() if not key.startswith("_") and key != "num_labels"}
    raw["dtype" if "dtype" in raw else "torch_dtype"] = "float32"
    if has_head:
        raw["architectures"] = [family_of(config).architecture]
        raw["id2label"] = {str(i): name for i, name in enumerate(config.labels)}
        raw["label2id"] = {name: i for i, name in enumerate(config.labels)}
    return json_bytes(raw)


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """A configuration as a JSON file: sorted keys, so equal values give equal bytes.

    Args:
      value: the fields.
    """
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write_files(directory: str | os.PathLike[str], contents: Mapping[str, bytes]) -> Path:
    """Write the files of a model. A new directory appears whole or not at all.

    In a directory that is there already, each file is replaced as a whole, config.json last, and other files are left
    alone.

    Args:
      directory: where.
      contents: bytes by file name.

    Returns:
      The directory.

    Raises:
      ModelError: the directory cannot be written.
    """
    directory = Path(directory)
    names = sorted(contents, key=lambda name: (name == "config.json", name))
    try:
        if directory.is_dir() and any(directory.iterdir()):
            for name in names:
                with files.atomic_write(directory / name, "wb") as file:
                    file.write(contents[name])
        else:
            with files.atomic_directory(directory) as work:
                for name in names:
                    (work / name).parent.mkdir(exist_ok=True)
                    (work / name).write_bytes(contents[name])
    except (DataError, OSError) as error:
        raise ModelError(f"the model was not written: {error}", reason="unwritable") from None
    return directory
