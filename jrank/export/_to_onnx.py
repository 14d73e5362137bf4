"""The public function: a model in, a checked bundle directory out."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import jrank
from jrank.errors import ExportError
from jrank.export._card import model_card
from jrank.export._convert import OPSET, convert, count_nodes
from jrank.export._jobs import cross_encoder_job, function_job
from jrank.export._multi_vector import multi_vector_job, scorer_job
from jrank.export._parity import TOLERANCE, check_parity
from jrank.export._quality import measure_quality
from jrank.export._quantize import METHODS, quantize_weights
from jrank.export._report import ExportReport
from jrank.files import atomic_directory
from jrank.models import CrossEncoder, MultiVectorEncoder

__all__ = ["to_onnx"]

FORMAT = "jrank-bundle"
FORMAT_VERSION = 1

# Only this way of quantising takes one scale over a whole batch.
BATCH_DEPENDENT = ("int8",)


def to_onnx(
    model: Any,
    directory: str | os.PathLike[str],
    *,
    quantize: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    max_length: int | None = None,
    pairs: Iterable[Sequence[Any]] | None = None,
    samples: Iterable[Mapping[str, Any]] | None = None,
    tolerance: float | int = TOLERANCE,
    name: str | None = None,
) -> ExportReport:
    """Write a model as ONNX, after proving that the graph computes what the model computes.

    The graph is run in ONNX Runtime over several shapes with ragged masks and compared with the model. If it differs,
    nothing is written. Batch and length stay free. The bundle holds ``model.onnx`` with all weights inside,
    ``tokenizer.json``, ``config.json`` with checksums and the figures of the checks, and ``README.md``; it appears
    whole or not at all. `jrank.serving` loads it without jax.

    Args:
      model: a `models.CrossEncoder`; a `models.MultiVectorEncoder`, whose bundle holds ``scorer.onnx`` (MaxSim) too; a
        `models.MLPRanker`; or any pure function of arrays, with ``inputs``.
      directory: where; an older bundle is replaced, a directory with anything else in it is refused.
      quantize: None for float32; "int8" for the fastest on CPUs, a quarter of the size: int8 weights per column, and
        activations quantised with one scale per batch; "int8-weights" for the same size with float32 arithmetic, scores
        independent of the batch; "float16-weights" for half the size. What it costs in accuracy stands in the report.
      inputs: for a function, its arguments in order: name to (shape, dtype), or to anything with ``shape`` and
        ``dtype``. A text in the place of a size leaves it free: ``{"x": (("lists", "items", 136), "float32")}``.
      outputs: for a function, a name for each array that it returns; default "scores", or "output_0" … for several.
      max_length: most tokens of a pair; None = that of the model, at most 512.
      pairs: (query, document) texts on which a quantised cross-encoder is compared with the float32 one: some queries
        with several documents each. With grades, (query, document, grade), the report says what happens to NDCG@10.
        None = made-up token ids, a hard case.
      samples: for a function, inputs by name for the checks, where random numbers of normal distribution (and integers
        0 and 1) would not do.
      tolerance: largest difference that the gate allows, absolute up to outputs of size 1 and relative above.
      name: what the card calls the model.

    Returns:
      Files, sizes and the figures of the checks; ``print`` shows them as a table.

    Raises:
      MissingExtraError: the extra ``export`` is not installed.
      ExportError: the model cannot be converted, the graph differs from it, an option is not valid, or the directory
        holds something else. Nothing was written.

    Numerics: the graph is made for float32. On CPUs it agrees to about 1e-7; the gate allows 1e-4.
    Cost: one conversion (seconds) and the compilation of a few shapes; about four times the model's size in memory.

    >>> import tempfile
    >>> import jax.numpy as jnp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = to_onnx(
    ...         lambda x: jnp.tanh(x).sum(-1), folder + "/b", inputs={"x": (("lists", "items", 3), "float32")}
    ...     )
    ...     sorted(report.files), report.max_abs_error < 1e-5
    (['README.md', 'config.json', 'model.onnx'], True)
    """
    directory = Path(directory)
    _check_target(directory)
    if quantize is not None and quantize not in METHODS:
        raise ExportError(
            f"unknown quantisation {quantize!r}",
            reason="invalid_parameter",
            hint=f"None, or one of {', '.join(METHODS)}",
        )
    if isinstance(model, CrossEncoder):
        _refuse(inputs=inputs, outputs=outputs, samples=samples, where="known for a CrossEncoder")
        job = cross_encoder_job(model, max_length)
    elif isinstance(model, MultiVectorEncoder):
        _refuse(inputs=inputs, outputs=outputs, samples=samples, where="known for a MultiVectorEncoder")
        _refuse(pairs=pairs, max_length=max_length, where="for a CrossEncoder")
        job = multi_vector_job(model)
    else:
        _refuse(pairs=pairs, max_length=max_length, where="for a CrossEncoder")
        job = function_job(model, inputs, outputs, samples)
    metadata = {"format_version": str(FORMAT_VERSION), "kind": job.kind}
    metadata |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in job.facts.items()}
    full = convert(job.function, job.inputs, job.outputs, metadata=metadata)
    parity = check_parity(job.reference, full, job.cases, job.outputs, tolerance=float(tolerance))
    data, quality = full, None
    if quantize is not None:
        data = quantize_weights(full, quantize)
        # The vectors of an encoder are compared number by number, as what a function returns.
        plain = dataclasses.replace(job, tokenizer=None) if isinstance(model, MultiVectorEncoder) else job
        quality = measure_quality(plain, full, data, pairs)

    contents = {"model.onnx": data}
    if isinstance(model, MultiVectorEncoder):
        scorer = scorer_job(model.dimension)
        contents["scorer.onnx"] = convert(
            scorer.function, scorer.inputs, scorer.outputs, metadata={"format_version": str(FORMAT_VERSION)}
        )
        check_parity(
            scorer.reference, contents["scorer.onnx"], scorer.cases, scorer.outputs, tolerance=float(tolerance)
        )
    if job.tokenizer is not None:
        contents["tokenizer.json"] = job.tokenizer.to_bytes()
    report = ExportReport(
        path=directory,
        kind=job.kind,
        files={},
        checksums={key: hashlib.sha256(value).hexdigest() for key, value in contents.items()},
        opset=OPSET,
        nodes=count_nodes(data),
        quantize=quantize,
        batch_invariant=quantize not in BATCH_DEPENDENT,
        parity=parity,
        quality=quality,
        float32_bytes=len(full),
    )
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": name or f"jrank {job.kind}",
        "inputs": [
            {
                "name": key,
                "shape": [s if isinstance(s, str) else int(s) for s in entry.shape],
                "dtype": str(entry.dtype),
            }
            for key, entry in job.inputs.items()
        ],
        "outputs": job.outputs,
        **job.facts,
        **report.to_dict(),
        "files": {key: {"bytes": len(value), "sha256": report.checksums[key]} for key, value in contents.items()},
        "versions": {"jrank": jrank.__version__, "jax": jax.__version__}
        | {name: version(name) for name in ("jax2onnx", "onnx", "onnxruntime")},
    }
    contents["config.json"] = (json.dumps(config, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    contents["README.md"] = model_card(config, quality).encode()
    with atomic_directory(directory) as folder:
        for key, value in contents.items():
            (folder / key).write_bytes(value)
    report.files.update({key: len(value) for key, value in contents.items()})
    return report


def _refuse(*, where: str, **options: Any) -> None:
    given = [key for key, value in options.items() if value is not None]
    if given:
        raise ExportError(f"{given[0]} is {where}", reason="invalid_parameter", hint="leave it out")


def _check_target(directory: Path) -> None:
    """Refuse to replace a directory that is not a bundle."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ExportError(f"{directory} is a file", reason="invalid_parameter", hint="name a directory")
    ours = {"model.onnx", "scorer.onnx", "tokenizer.json", "config.json", "README.md"}
    foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in ours)
    if foreign:
        raise ExportError(
            f"{directory} holds {foreign[0]!r}, which is no part of a bundle",
            reason="invalid_parameter",
            hint="name a new directory: an older bundle would be replaced as a whole",
        )
