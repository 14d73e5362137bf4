"""The gate: an exported graph is run in ONNX Runtime and held against the function it came from."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import onnxruntime

from jrank.errors import ExportError

__all__ = ["ParityCase", "check_parity", "function_cases", "pair_cases", "run_graph"]

TOLERANCE = 1e-4

# Sizes for free dimensions: one, a few, more than a tile. Different names get different sizes in each case.
SIZES = ((1, 1, 1, 1), (2, 3, 5, 4), (7, 11, 4, 3), (5, 37, 2, 9))


@dataclasses.dataclass(frozen=True)
class ParityCase:
    """One comparison of the graph with the function.

    Attributes:
      shape: of the first input.
      max_abs_error: largest absolute difference of any output.
      scale: largest absolute value of any output, for comparison.
    """

    shape: tuple[int, ...]
    max_abs_error: float
    scale: float


def pair_cases(vocab_size: int, max_length: int, *, types: int = 2) -> list[dict[str, np.ndarray]]:
    """Make token ids in the shapes that break converters: one token, one row, odd sizes, large, full length; ragged.

    Args:
      vocab_size: ids below this are drawn.
      max_length: most tokens of a row.
      types: how many type ids the model knows.

    Returns:
      Inputs by name.
    """
    rng = np.random.default_rng(20)
    cases = []
    for rows, length in ((1, 1), (1, 8), (5, 37), (32, 128), (3, max_length)):
        length = min(length, max_length)
        lengths = rng.integers(1, length + 1, rows)
        lengths[0] = length
        place = np.arange(length)[None, :]
        mask = (place < lengths[:, None]).astype(np.int32)
        border = rng.integers(0, length + 1, (rows, 1))
        cases.append(
            {
                "input_ids": rng.integers(0, vocab_size, (rows, length)).astype(np.int32),
                "attention_mask": mask,
                "token_type_ids": ((place >= border) & (mask > 0) & (types > 1)).astype(np.int32),
            }
        )
    # Nothing but padding: a number all the same.
    cases.append({**cases[1], "attention_mask": np.zeros_like(cases[1]["attention_mask"])})
    return cases


def function_cases(inputs: Mapping[str, jax.ShapeDtypeStruct]) -> list[dict[str, np.ndarray]]:
    """Make random inputs for every free size.

    Args:
      inputs: shape and dtype of each input.

    Returns:
      Inputs by name; floats are normal, integers 0 or 1, masks true more often than not, with at least one true.
    """
    names = list(dict.fromkeys(size for entry in inputs.values() for size in entry.shape if isinstance(size, str)))
    rng = np.random.default_rng(21)
    cases = []
    for sizes in SIZES if names else SIZES[:1]:
        chosen = {name: sizes[i % len(sizes)] for i, name in enumerate(names)}
        case = {}
        for name, entry in inputs.items():
            shape = tuple(chosen.get(size, size) for size in entry.shape)  # type: ignore[arg-type]
            if entry.dtype == np.bool_:
                value = rng.random(shape) < 0.75
                value[..., :1] = True
            elif np.issubdtype(entry.dtype, np.integer):
                value = rng.integers(0, 2, shape)
            else:
                value = rng.normal(size=shape)
            case[name] = np.asarray(value).astype(entry.dtype)
        cases.append(case)
    return cases


def run_graph(
    model: bytes, cases: Sequence[Mapping[str, np.ndarray]], outputs: Sequence[str]
) -> list[list[np.ndarray]]:
    """Run a model in ONNX Runtime.

    Args:
      model: the ONNX file.
      cases: inputs by name; those that the graph does not have are left out.
      outputs: names of the outputs.

    Returns:
      The outputs of each case.

    Raises:
      ExportError: the runtime cannot load or run the model.
    """
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            model, settings, providers=["CPUExecutionProvider"], disabled_optimizers=["SkipLayerNormFusion"]
        )
        known = [value.name for value in session.get_inputs()]
        return [
            [np.asarray(value) for value in session.run(list(outputs), {name: case[name] for name in known})]
            for case in cases
        ]
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run the exported graph: {lines[0][:400]}", reason="parity"
        ) from None


def check_parity(
    function: Callable[..., Any],
    model: bytes,
    cases: Sequence[Mapping[str, np.ndarray]],
    outputs: Sequence[str],
    *,
    tolerance: float = TOLERANCE,
) -> tuple[ParityCase, ...]:
    """Hold a graph against the function it came from.

    Args:
      function: takes the inputs in order; compiled, if it is to be quick.
      model: the ONNX file.
      cases: inputs by name, in order.
      outputs: names of the outputs.
      tolerance: largest difference allowed, absolute up to 1 and relative above.

    Returns:
      One figure per case.

    Raises:
      ExportError: a difference is larger, a shape differs, or one side is finite where the other is not.
    """
    found = run_graph(model, cases, outputs)
    figures = []
    for case, got in zip(cases, found, strict=True):
        with jax.default_matmul_precision("highest"):
            want = [np.asarray(value) for value in jax.tree.leaves(function(*case.values()))]
        shape = next(iter(case.values())).shape
        worst = scale = 0.0
        for name, ours, theirs in zip(outputs, want, got, strict=True):
            worst, scale = _compare(name, shape, ours, theirs, worst, scale, tolerance)
        figures.append(ParityCase(tuple(shape), worst, scale))
    return tuple(figures)


def _compare(
    name: str,
    shape: tuple[int, ...],
    ours: np.ndarray,
    theirs: np.ndarray,
    worst: float,
    scale: float,
    tolerance: float,
) -> tuple[float, float]:
    if ours.shape != theirs.shape:
        raise ExportError(
            f"for an input of shape {shape} the graph's {name!r} is {theirs.shape}, the function's {ours.shape}",
            reason="parity",
        )
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(ours - theirs))
    finite = np.abs(ours[np.isfinite(ours)])
    scale = max(scale, float(finite.max(initial=0.0)))
    error = float(np.nan_to_num(error, nan=np.inf, posinf=np.inf).max(initial=0.0))
    if not error <= tolerance * max(1.0, scale):
        raise ExportError(
            f"for an input of shape {shape} the graph's {name!r} differs from the function's by {error:.3g}, "
            f"{tolerance:g} is allowed",
            reason="parity",
            hint="nothing was written; please report the function, this is a fault of the conversion",
        )
    return max(worst, error), scale
