"""From a trained model to ONNX: converted, run, compared, and only then written.

>>> import tempfile
>>> import jax.numpy as jnp
>>> from jrank import export
>>> def rank(features, where):
...     scores = features @ jnp.array([1.0, 2.0, -1.0])
...     return jnp.where(where, scores, -jnp.inf)
>>> inputs = {"features": (("lists", "items", 3), "float32"), "where": (("lists", "items"), "bool")}
>>> with tempfile.TemporaryDirectory() as folder:
...     report = export.to_onnx(rank, folder + "/bundle", inputs=inputs)
>>> report.kind, report.max_abs_error < 1e-5
('function', True)

A cross-encoder needs no description: ``export.to_onnx(model, "bundle/", quantize="int8")`` writes a directory that
``serving.CrossEncoder.from_file("bundle/")`` and ``jrank rerank --model bundle/`` load, without jax. This package needs
the extra ``export``: ``pip install "jrank[export]"``.
"""

from jrank.export._parity import ParityCase
from jrank.export._quality import Quality
from jrank.export._report import ExportReport
from jrank.export._to_onnx import to_onnx

__all__ = ["ExportReport", "ParityCase", "Quality", "to_onnx"]
