"""What an export found out about itself."""

import dataclasses
from pathlib import Path
from typing import Any

from jrank.export._parity import ParityCase
from jrank.export._quality import Quality

__all__ = ["ExportReport"]


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What `to_onnx` wrote, and the figures of its gate. ``print(report)`` shows a table.

    Attributes:
      path: the bundle directory.
      kind: "cross-encoder" or "function".
      files: bytes of each file.
      checksums: SHA-256 of each file that the bundle's configuration vouches for.
      opset: version of the operators.
      nodes: operators in the graph.
      quantize: how the weights were reduced; None for float32.
      batch_invariant: whether a score is independent of the other rows of its batch.
      parity: the float32 graph against the function it came from.
      quality: the quantised graph against the float32 graph; None without quantisation.
      float32_bytes: size of the float32 graph.
    """

    path: Path
    kind: str
    files: dict[str, int]
    checksums: dict[str, str]
    opset: int
    nodes: int
    quantize: str | None
    batch_invariant: bool
    parity: tuple[ParityCase, ...]
    quality: Quality | None
    float32_bytes: int

    @property
    def max_abs_error(self) -> float:
        """The largest difference of the float32 graph from the function, over all shapes."""
        return max(case.max_abs_error for case in self.parity)

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as numbers, texts and lists, ready for JSON."""
        return {
            "kind": self.kind,
            "files": self.files,
            "opset": self.opset,
            "nodes": self.nodes,
            "quantize": self.quantize,
            "batch_invariant": self.batch_invariant,
            "parity": [dataclasses.asdict(case) for case in self.parity],
            "quality": None if self.quality is None else dataclasses.asdict(self.quality),
            "float32_bytes": self.float32_bytes,
        }

    def __str__(self) -> str:
        model = self.files["model.onnx"]
        lines = [
            f"{self.path}: {self.kind}, opset {self.opset}, {self.nodes} operators",
            f"model.onnx  {model / 1e6:.1f} MB"
            + (f" ({self.quantize}, {model / self.float32_bytes:.2f} of float32)" if self.quantize else " (float32)"),
            "",
            f"{'input shape':<16}{'max abs error':>14}{'largest score':>15}",
        ]
        lines += [
            f"{' x '.join(map(str, case.shape)):<16}{case.max_abs_error:>14.2e}{case.scale:>15.4g}"
            for case in self.parity
        ]
        if self.quality is not None:
            quality = self.quality
            source = "pairs of texts" if quality.texts else "made-up pairs"
            lines += [
                "",
                f"{self.quantize} against float32 on {quality.pairs} {source}: max abs error "
                f"{quality.max_abs_error:.2e} (scores have std {quality.score_std:.2e}), "
                f"Kendall tau {quality.kendall_tau:.3f} (worst query {quality.kendall_tau_min:.3f}), "
                f"best document kept in {quality.top1:.0%}",
            ]
            if quality.ndcg is not None:
                lines[-1] += f", NDCG@10 {quality.ndcg:.4f} ({quality.ndcg_change:+.4f})"
        if not self.batch_invariant:
            lines += ["scores depend a little on the other rows of a batch; serving scores requests apart"]
        return "\n".join(lines)
