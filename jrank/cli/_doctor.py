"""Say what this installation has: versions, devices, extras, the MiniLM weights, and what is missing."""

import argparse
import importlib.metadata
import importlib.util
import json
import platform
import sys

from jrank import __version__

CORE = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "safetensors",
    "tokenizers",
    "onnxruntime",
)
EXTRAS = {
    "ann": ("faiss-cpu",),
    "export": ("jax2onnx", "onnx"),
    "http": ("starlette", "uvicorn"),
    "plot": ("matplotlib",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help="how to print it (default: table)")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 if a core package is missing, for serving works without it."""
    found = examine()
    if args.format == "json":
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        width = max(len(name) for name in found)
        for name, value in found.items():
            sys.stdout.write(f"{name:<{width}}  {value}\n")
    return int(any(str(found[name]).startswith("missing") for name in CORE))


def examine() -> dict[str, str]:
    """Return what was found, by name, in the order in which it is printed."""
    found = {"jrank": __version__, "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}"}
    for name in CORE:
        found[name] = _version(name) or "missing; run: pip install jrank"
    for extra, names in EXTRAS.items():
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if version is None]
        have = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        found[f"extra {extra}"] = have if not missing else f'not installed; run: pip install "jrank[{extra}]"'
    found["devices"] = _devices()
    found["onnx providers"] = _providers()
    found["weights"] = _weights()
    return found


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    if importlib.util.find_spec("jax") is None:
        return "jax is not installed: serving and the command-line tools on files work, training does not"
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:  # a broken accelerator plug-in is a finding, not a crash
        return f"jax finds no device: {error}"
    return f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})"


def _providers() -> str:
    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed"
    import onnxruntime

    return ", ".join(onnxruntime.get_available_providers())


def _weights() -> str:
    if importlib.util.find_spec("jax") is None:
        return "not looked for without jax"
    from jrank.errors import ModelError
    from jrank.models import find_weights

    try:
        find_weights()
    except ModelError as error:
        return str(error)
    return "all-MiniLM-L6-v2 found and verified"
