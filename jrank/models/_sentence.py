"""What sentence-transformers writes beside a model: how token vectors become one vector, how long texts may be."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from jrank.errors import ModelError

__all__ = ["SENTENCE_FILES", "SentenceSettings", "cross_encoder_fields", "read_sentence_settings"]

# Carried along with a text encoder; a cross-encoder that kept them would be taken for one.
SENTENCE_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)

_KNOWN = {"mean": "mean", "cls": "cls", "max": "max"}
_LEGACY = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclasses.dataclass(frozen=True)
class SentenceSettings:
    """How a text encoder wants to be used.

    Attributes:
      pooling: "mean", "cls" or "max", or another name where this package has no such pooling.
      max_length: most tokens of a text; None where the directory does not say.
      foreign: a module after the pooling that this package does not have; "" for none.
    """

    pooling: str = "mean"
    max_length: int | None = None
    foreign: str = ""

    def check(self) -> str:
        """Return the pooling, or say that the directory asks for something that cannot be done.

        Raises:
          ModelError: another pooling, or another module after it.
        """
        if self.foreign:
            raise ModelError(
                f"the model ends in a module {self.foreign!r}, which is not supported",
                reason="invalid_config",
                hint='pass pooling="mean", "cls" or "max" to leave it out',
            )
        if self.pooling not in _KNOWN:
            raise ModelError(
                f"the model asks for the pooling {self.pooling!r}, which is not supported",
                reason="invalid_config",
                hint='pass pooling="mean", "cls" or "max"',
            )
        return self.pooling


def read_sentence_settings(assets: Mapping[str, bytes]) -> SentenceSettings:
    """Read the settings from the files of a directory; mean pooling where there are none.

    Args:
      assets: contents by file name.

    Raises:
      ModelError: a file is no JSON of the expected kind.

    >>> read_sentence_settings({"1_Pooling/config.json": b'{"pooling_mode_cls_token": true}'}).pooling
    'cls'
    """
    pooling = _object(assets, "1_Pooling/config.json", dict)
    modes = pooling.get("pooling_mode") or [mode for key, mode in _LEGACY.items() if pooling.get(key) is True] or "mean"
    if isinstance(modes, list):
        modes = modes[0] if len(modes) == 1 else " + ".join(map(str, modes))
    length = _object(assets, "sentence_bert_config.json", dict).get("max_seq_length")
    kinds = [
        str(module.get("type", "")) for module in _object(assets, "modules.json", list) if isinstance(module, dict)
    ]
    names = [kind.rsplit(".", 1)[-1] for kind in kinds]
    foreign = [name for name in names if name not in ("Transformer", "Pooling", "Normalize")]
    return SentenceSettings(
        str(modes),
        length if isinstance(length, int) and not isinstance(length, bool) and length > 0 else None,
        foreign[0] if foreign else "",
    )


def cross_encoder_fields(raw: Mapping[str, Any], assets: Mapping[str, bytes]) -> dict[str, Any]:
    """Fields for the config.json of a cross-encoder that sentence-transformers saved: its activation stays known.

    Releases before 6 keep the activation of ``predict`` in config.json, later ones in a file of their own, which is
    not carried along; all of them read it from config.json.

    Args:
      raw: the fields of its config.json.
      assets: contents by file name.

    Returns:
      What to add to ``raw``; empty for a directory that is not of a cross-encoder.

    Raises:
      ModelError: a module follows the transformer, or a file is no JSON of the expected kind.

    >>> settings = b'{"model_type": "CrossEncoder", "activation_fn": "torch.nn.Tanh"}'
    >>> cross_encoder_fields({}, {"config_sentence_transformers.json": settings})
    {'sentence_transformers': {'activation_fn': 'torch.nn.Tanh'}}
    """
    settings = _object(assets, "config_sentence_transformers.json", dict)
    if settings.get("model_type") != "CrossEncoder":
        return {}
    modules = [module.get("type", "") for module in _object(assets, "modules.json", list) if isinstance(module, dict)]
    others = [name for name in (str(module).rsplit(".", 1)[-1] for module in modules) if name != "Transformer"]
    if others:
        raise ModelError(
            f"the cross-encoder consists of a transformer and {', '.join(others)}, which is not supported",
            reason="invalid_config",
            hint="one that ends in a classifier of its own transformer is read",
        )
    activation = settings.get("activation_fn")
    if not isinstance(activation, str) or "sentence_transformers" in raw:
        return {}
    return {"sentence_transformers": {"activation_fn": activation}}


def _object(assets: Mapping[str, bytes], name: str, kind: type) -> Any:
    if name not in assets:
        return kind()
    try:
        value = json.loads(assets[name])
    except (ValueError, RecursionError):
        raise ModelError(f"{name} is not JSON", reason="invalid_config") from None
    if not isinstance(value, kind):
        raise ModelError(f"{name} holds a {type(value).__name__}", reason="invalid_config")
    return value
