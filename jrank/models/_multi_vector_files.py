"""What PyLate and ColBERT write beside the trunk of a late-interaction model: the projection and the rules."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jrank import files
from jrank.errors import DataError, ModelError, require
from jrank.models._checkpoint import json_bytes, read_tensors
from jrank.text import MultiVectorRules, PairTokenizer

__all__ = ["Projection", "plain_rules", "read_late_interaction", "write_late_interaction"]

RULES = "config_sentence_transformers.json"
DENSE = "1_Dense"
MAX_JSON = 8 << 20
# Our names and PyLate's.
NAMES = {
    "query_prefix": "query_prefix",
    "document_prefix": "document_prefix",
    "query_length": "query_length",
    "document_length": "document_length",
    "query_expansion": "do_query_expansion",
    "attend_to_expansion": "attend_to_expansion_tokens",
    "skiplist": "skiplist_words",
    "special_tokens": "keep_special_tokens",
}
# What ColBERT calls them, in artifact.metadata.
COLBERT = {
    "query_prefix": "query_token_id",
    "document_prefix": "doc_token_id",
    "query_length": "query_maxlen",
    "document_length": "doc_maxlen",
    "attend_to_expansion": "attend_to_mask_tokens",
}

# Kernel [inputs, outputs] and bias [outputs] or None.
Projection = tuple[np.ndarray, np.ndarray | None]


def read_late_interaction(directory: Path) -> tuple[Projection | None, MultiVectorRules | None]:
    """Read projection and rules of a directory, as far as it holds them.

    Args:
      directory: as PyLate, sentence-transformers or ColBERT write it.

    Returns:
      The projection of hidden states, several layers made one; None where there is none. The rules; None where the
      directory does not come from a late-interaction model.

    Raises:
      ModelError: a file is no JSON of the expected kind, or a layer is more than a linear one.
    """
    metadata = _object(directory / "artifact.metadata", dict)
    if (directory / "artifact.metadata").is_file() or "HF_ColBERT" in str(_object(directory / "config.json", dict)):
        values = {ours: metadata[theirs] for ours, theirs in COLBERT.items() if metadata.get(theirs) is not None}
        if metadata.get("mask_punctuation") is False:
            values["skiplist"] = ()
        tensors = read_tensors(directory)
        if "linear.weight" not in tensors:
            raise ModelError(f"{directory} lacks linear.weight", reason="invalid_weights")
        rules = {"query_prefix": "[unused0]", "document_prefix": "[unused1]"} | values
        return (tensors["linear.weight"].T, tensors.get("linear.bias")), MultiVectorRules.from_dict(rules)
    modules = _object(directory / "modules.json", list)
    layers = [m for m in modules if isinstance(m, dict) and str(m.get("type", "")).rsplit(".", 1)[-1] == "Dense"]
    projection = None
    for layer in layers:
        folder = directory / str(layer.get("path", ""))
        if folder.parent.resolve() != directory.resolve():
            raise ModelError(f"modules.json names the directory {layer.get('path')!r}", reason="invalid_config")
        projection = _after(projection, _dense(folder))
    found = _object(directory / RULES, dict)
    values = {ours: found[theirs] for ours, theirs in NAMES.items() if found.get(theirs) is not None}
    return projection, MultiVectorRules.from_dict(_tuples(values)) if "query_prefix" in values else None


def plain_rules(tokenizer: PairTokenizer | None, *, colbert: bool) -> MultiVectorRules:
    """Return the rules of a model that was not made for late interaction.

    Args:
      tokenizer: its tokenizer.
      colbert: whether it shall become a ColBERT: with markers, as far as the vocabulary has unused tokens, and with
        expansion. Otherwise the vectors of its words count as they are.
    """
    if not colbert:
        return MultiVectorRules(
            query_prefix="", document_prefix="", query_length=64, document_length=256, query_expansion=False,
            special_tokens=False,
        )  # fmt: skip
    pairs = (("[Q] ", "[D] "), ("[unused0]", "[unused1]"))
    known = [
        pair for pair in pairs if tokenizer is not None and all(tokenizer.token_to_id(t) is not None for t in pair)
    ]
    marks = known[0] if known else ("", "")
    masked = tokenizer is not None and any(tokenizer.token_to_id(t) is not None for t in ("[MASK]", "<mask>"))
    return MultiVectorRules(query_prefix=marks[0], document_prefix=marks[1], query_expansion=masked)


def write_late_interaction(projection: Projection | None, rules: MultiVectorRules) -> dict[str, bytes]:
    """Return the files that ``read_late_interaction`` reads, as PyLate has them.

    Args:
      projection: kernel and bias, or None.
      rules: the rules.

    Returns:
      Contents by file name.
    """
    values = rules.to_dict()
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    contents = {
        # The type under which sentence-transformers, from version 6 on, knows what PyLate wrote.
        RULES: json_bytes(
            {theirs: values[ours] for ours, theirs in NAMES.items()}
            | {"similarity_fn_name": "MaxSim", "model_type": "ColBERT"}
        )
    }
    if projection is not None:
        kernel, bias = projection
        tensors = {"linear.weight": np.ascontiguousarray(kernel.T, np.float32)}
        if bias is not None:
            tensors["linear.bias"] = np.asarray(bias, np.float32)
        modules.append({"idx": 1, "name": "1", "path": DENSE, "type": "pylate.models.Dense.Dense"})
        contents[f"{DENSE}/config.json"] = json_bytes(
            {
                "in_features": int(kernel.shape[0]),
                "out_features": int(kernel.shape[1]),
                "bias": bias is not None,
                "activation_function": "torch.nn.modules.linear.Identity",
                "use_residual": False,
            }
        )
        contents[f"{DENSE}/model.safetensors"] = require("safetensors.numpy", "").save(tensors)
    contents["modules.json"] = (json.dumps(modules, indent=2) + "\n").encode()
    return contents


def _dense(folder: Path) -> Projection:
    settings = _object(folder / "config.json", dict)
    activation = str(settings.get("activation_function", "Identity")).rsplit(".", 1)[-1]
    tensors = read_tensors(folder)
    kernel, bias = tensors.get("linear.weight"), tensors.get("linear.bias")
    if activation != "Identity" or kernel is None or kernel.ndim != 2:
        raise ModelError(
            f"{folder} holds a layer with the activation {activation!r}, a linear layer was expected",
            reason="invalid_config",
        )
    kernel = kernel.T
    if settings.get("use_residual") is True:
        beside = tensors["residual.weight"].T if "residual.weight" in tensors else np.eye(len(kernel), dtype=np.float32)
        if beside.shape != kernel.shape:
            raise ModelError(f"{folder}: the residual does not fit the layer", reason="invalid_weights")
        kernel = kernel + beside
    return kernel, bias


def _after(first: Projection | None, second: Projection) -> Projection:
    """Two linear layers as one."""
    if first is None:
        return second
    (kernel, bias), (other, more) = first, second
    if kernel.shape[1] != other.shape[0]:
        raise ModelError("the layers of the projection do not fit each other", reason="invalid_weights")
    joined = (kernel.astype(np.float64) @ other).astype(np.float32)
    moved = None if bias is None else bias @ other
    return joined, moved if more is None else (more if moved is None else moved + more)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _object(path: Path, kind: type) -> Any:
    if not path.is_file():
        return kind()
    try:
        value = files.read_json(path, max_bytes=MAX_JSON)
    except DataError as error:
        raise ModelError(str(error), reason="invalid_config") from None
    if not isinstance(value, kind):
        raise ModelError(f"{path} holds a {type(value).__name__}", reason="invalid_config")
    return value
