"""A model in ONNX Runtime: loaded with care, run with the right options, its failures told in our words."""

import dataclasses
import hashlib
import threading
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import onnxruntime

from jrank.errors import ServeError
from jrank.serving._onnx_file import OnnxFile, inspect
from jrank.serving._threads import usable_cores

__all__ = ["Options", "Session", "open_session"]

MAX_MODEL_BYTES = 2 << 30  # the limit of the file format

# Creating sessions is not thread-safe in the runtime; running them is.
_CREATE = threading.Lock()

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
}

# The names of inputs that texts can fill.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

DTYPES = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}


@dataclasses.dataclass(frozen=True)
class Options:
    """How a model is run.

    Attributes:
      threads: threads inside an operator; None = the cores that this process may use.
      providers: where it is run, in order of preference: "cpu", "cuda", "tensorrt", "coreml" … or the runtime's own
        names, each alone or as (name, options).
      spin: let idle threads spin, which answers a little faster and keeps the cores busy.
      arena: keep memory between runs, which is faster; without it memory falls back after a long text.
    """

    threads: int | None = None
    providers: Sequence[Any] = ("cpu",)
    spin: bool = False
    arena: bool = True


class Session:
    """A loaded model.

    Attributes:
      file: what the model file holds.
      sha256: checksum of the model file.
      inputs: name and element type of what the graph takes, of `INPUTS`.
      output: name of what is read.
      threads: threads inside an operator.
      providers: where the model is run.
    """

    file: OnnxFile
    sha256: str
    inputs: dict[str, Any]
    threads: int
    providers: list[str]

    def __init__(self, data: bytes, options: Options, *, output: str = "logits"):
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"the model must be bytes, got {type(data).__name__}")
        if len(data) > MAX_MODEL_BYTES:
            raise ServeError(f"the model has {len(data)} bytes, more than 2 GB", reason="invalid_model")
        data = bytes(data)
        self.file = inspect(data)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.threads = usable_cores() if options.threads is None else options.threads
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise ServeError(f"threads must be at least 1, got {options.threads!r}", reason="invalid_parameter")
        providers = _providers(options.providers)
        try:
            with _CREATE:
                self._session = onnxruntime.InferenceSession(
                    data,
                    _session_options(self.threads, options),
                    providers=providers,
                    # The fused kernel is slower than what it replaces on CPU, by a sixth in fp32 and a quarter in int8.
                    disabled_optimizers=["SkipLayerNormFusion"],
                )
        except Exception as error:
            raise ServeError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the model: {_first_line(error)}",
                reason="invalid_model",
                hint="the file may be damaged, or need a newer onnxruntime",
            ) from None
        self._session.disable_fallback()
        self.providers = list(self._session.get_providers())
        wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
        if self.providers[0] != wanted:
            raise ServeError(
                f"{wanted} was asked for, but the model runs on {self.providers[0]}",
                reason="invalid_parameter",
                hint="the drivers or libraries of that provider may be missing",
            )
        self.inputs = self._read_inputs()
        self.output = self._read_output(output)

    def _read_inputs(self) -> dict[str, Any]:
        inputs: dict[str, Any] = {}
        for node in self._session.get_inputs():
            if node.name not in INPUTS:
                raise ServeError(
                    f"the graph asks for the input {node.name!r}, which texts do not give",
                    reason="invalid_model",
                    hint=f"known inputs: {', '.join(INPUTS)}",
                )
            if node.type not in DTYPES:
                raise ServeError(
                    f"the input {node.name!r} is {node.type}, int32 or int64 was expected", reason="invalid_model"
                )
            if len(node.shape) != 2 or any(isinstance(size, int) for size in node.shape):
                raise ServeError(
                    f"the input {node.name!r} is {node.shape}, [batch, sequence] was expected, both free",
                    reason="invalid_model",
                    hint="export the model with dynamic axes",
                )
            inputs[node.name] = DTYPES[node.type]
        if "input_ids" not in inputs:
            raise ServeError("the graph has no input 'input_ids'", reason="invalid_model")
        return inputs

    def _read_output(self, wanted: str) -> str:
        outputs = {node.name: node for node in self._session.get_outputs()}
        name = wanted if wanted in outputs else next(iter(outputs), None)
        if name is None or (wanted not in outputs and len(outputs) > 1):
            raise ServeError(
                f"the graph has the outputs {sorted(outputs)}, {wanted!r} was expected", reason="invalid_model"
            )
        if outputs[name].type not in ("tensor(float)", "tensor(float16)", "tensor(double)"):
            raise ServeError(f"the output {name!r} is {outputs[name].type}, not numbers", reason="invalid_model")
        return name

    def run(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Run the model.

        Args:
          arrays: integers [rows, width] by input name; those that the graph does not have are left out.

        Returns:
          The output, float32 or float64.

        Raises:
          ServeError: the runtime fails.
        """
        feeds = {name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in self.inputs.items()}
        try:
            output = cast(np.ndarray, self._session.run([self.output], feeds)[0])
        except Exception as error:
            raise ServeError(
                f"the model fails on an input of shape {arrays['input_ids'].shape}: {_first_line(error)}",
                reason="inference",
            ) from None
        return output.astype(np.float32) if output.dtype == np.float16 else output


def open_session(data: bytes, options: Options) -> onnxruntime.InferenceSession:
    """Open a graph of arrays, such as a scorer.

    Args:
      data: contents of the ONNX file.
      options: how it is run.

    Raises:
      ServeError: it refers to other files, or cannot be loaded.
    """
    inspect(data)
    threads = usable_cores() if options.threads is None else options.threads
    try:
        with _CREATE:
            return onnxruntime.InferenceSession(
                data, _session_options(threads, options), providers=_providers(options.providers)
            )
    except Exception as error:
        raise ServeError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load the scorer: {_first_line(error)}",
            reason="invalid_model",
        ) from None


def _session_options(threads: int, options: Options) -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    settings.enable_cpu_mem_arena = options.arena
    # A pattern would be kept for every shape that ever came; shapes are many here.
    settings.enable_mem_pattern = False
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spin else "0")
    settings.log_severity_level = 4  # failures reach the caller as errors, not as lines on stderr
    return settings


def _providers(wanted: Sequence[Any]) -> list[Any]:
    if isinstance(wanted, str):
        wanted = (wanted,)
    available = onnxruntime.get_available_providers()
    chosen = []
    for entry in wanted:
        name, *settings = (entry,) if isinstance(entry, str) else entry
        full = PROVIDERS.get(str(name).lower(), name)
        if full not in available:
            raise ServeError(
                f"the provider {name!r} is not available here",
                reason="invalid_parameter",
                hint=f"this onnxruntime has {', '.join(available)}",
            )
        chosen.append((full, *settings) if settings else full)
    if not chosen:
        raise ServeError("no provider was named", reason="invalid_parameter", hint='use providers=("cpu",)')
    return chosen


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
