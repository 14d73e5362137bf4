"""A model on disk: a bundle directory, an export of another tool, or a bare ONNX file with its tokenizer."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

from jrank.errors import DataError, ServeError
from jrank.files import read_bytes, read_json
from jrank.text import read_tokenizer_config

__all__ = ["Bundle", "read_bundle", "read_scorer"]

FORMAT = "jrank-bundle"
FORMAT_VERSION = 1
MAX_MODEL_BYTES = 2 << 30
MAX_TOKENIZER_BYTES = 256 << 20
MAX_CONFIG_BYTES = 4 << 20

# Families whose positions start after the padding id.
_SHIFTED = ("roberta", "xlm-roberta", "camembert")


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The contents of a model directory.

    Attributes:
      model: contents of the ONNX file.
      tokenizer: contents of ``tokenizer.json``; its path where another tool wrote the directory, whose
        ``tokenizer_config.json`` counts as well; None if there is none.
      config: the bundle's ``config.json``; for other exports what could be read from theirs; else empty.
      path: where it was read from.
    """

    model: bytes
    tokenizer: bytes | Path | None
    config: dict[str, Any]
    path: Path


def read_bundle(path: str | os.PathLike, *, tokenizer: bool = True) -> Bundle:
    """Read a model from a directory or file.

    Args:
      path: a bundle directory, a directory with ``model.onnx`` or ``onnx/model.onnx``, or an ``.onnx`` file.
      tokenizer: whether the tokenizer beside it is wanted.

    Returns:
      Its contents; the checksums of a bundle are verified.

    Raises:
      ServeError: files are missing, do not match their checksums or cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        folder = path
        model = next((p for p in (path / "model.onnx", path / "onnx" / "model.onnx") if p.is_file()), None)
        if model is None:
            raise ServeError(f"there is no model.onnx in {path}", reason="not_found", hint="name a bundle directory")
    elif path.is_file():
        folder, model = path.parent, path
    else:
        raise ServeError(f"there is no model at {path}", reason="not_found", hint="check the path")
    config = _config(folder / "config.json")
    data = _read(model, MAX_MODEL_BYTES)
    beside = folder / "tokenizer.json"
    tokens = _read(beside, MAX_TOKENIZER_BYTES) if tokenizer and beside.is_file() else None
    recorded = config.get("files", {})
    # A bare file beside a bundle's config.json may be another model: only the bundle's own files are held against it.
    if path.is_dir():
        _verify(model, data, recorded)
        if tokens is not None:
            _verify(beside, tokens, recorded)
    elif recorded.get(model.name, {}).get("sha256") != hashlib.sha256(data).hexdigest():
        config = {}
    if tokens is None or config.get("format") == FORMAT:
        return Bundle(data, tokens, config, path)
    return Bundle(data, beside, _with_length(config, folder / "tokenizer_config.json"), path)


def read_scorer(path: Path, config: dict[str, Any]) -> bytes | None:
    """Read the scorer of a late-interaction bundle.

    Args:
      path: the bundle's directory.
      config: its configuration.

    Returns:
      The contents of ``scorer.onnx``, its checksum verified; None if there is none.

    Raises:
      ServeError: it does not match its checksum, or cannot be read.
    """
    place = path / "scorer.onnx"
    if not place.is_file():
        return None
    data = _read(place, MAX_MODEL_BYTES)
    _verify(place, data, config.get("files", {}))
    return data


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_bytes(path, max_bytes=limit)
    except DataError as error:
        missing = error.reason == DataError.Reason.NOT_FOUND
        raise ServeError(str(error), reason="not_found" if missing else "invalid_model") from None


def _verify(path: Path, data: bytes, recorded: dict) -> None:
    entry = recorded.get(path.name)
    want = entry.get("sha256") if isinstance(entry, dict) else None
    if want is not None and want != hashlib.sha256(data).hexdigest():
        raise ServeError(
            f"{path} does not match its checksum in config.json",
            reason="invalid_model",
            hint="export the model again, or copy the whole directory",
        )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = read_json(path, max_bytes=MAX_CONFIG_BYTES)
    except DataError as error:
        raise ServeError(f"the configuration cannot be read: {error}", reason="invalid_model") from None
    if not isinstance(config, dict):
        raise ServeError(f"{path} is not a JSON object", reason="invalid_model")
    if config.get("format") != FORMAT:
        return _foreign(config)
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise ServeError(
            f"{path} has the format version {version}, this jrank reads {FORMAT_VERSION}",
            reason="invalid_model",
            hint="upgrade jrank, or export the model again",
        )
    if not isinstance(config.get("files", {}), dict):
        raise ServeError(f'"files" in {path} is not an object', reason="invalid_model")
    return config


def _with_length(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Take over the most tokens of a pair that the configuration of a tokenizer names, if the model takes as many."""
    if not path.is_file():
        return config
    said = read_tokenizer_config(_read(path, MAX_CONFIG_BYTES)).max_length
    return config if said is None else {**config, "max_length": min(said, config.get("max_length", 512))}


def _foreign(config: dict) -> dict[str, Any]:
    """Read what helps from the configuration that other tools write beside a model."""
    positions = config.get("max_position_embeddings")
    found: dict[str, Any] = {}
    if isinstance(positions, int) and positions > 4:
        pad = config.get("pad_token_id")
        shift = (pad if isinstance(pad, int) else 1) + 1 if config.get("model_type") in _SHIFTED else 0
        found["max_length"] = min(positions - shift, 512)
    labels = config.get("id2label")
    if isinstance(labels, dict):
        found["labels"] = [str(labels[key]) for key in sorted(labels, key=lambda k: int(k) if str(k).isdigit() else 0)]
    return found
