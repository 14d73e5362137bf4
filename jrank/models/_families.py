"""The families of encoders that can be read. A new one is a file and a line here."""

from collections.abc import Mapping
from typing import Any

from jrank.errors import ModelError
from jrank.models._bert import BERT
from jrank.models._config import EncoderConfig
from jrank.models._deberta import DEBERTA
from jrank.models._distilbert import DISTILBERT
from jrank.models._electra import ELECTRA
from jrank.models._family import Family
from jrank.models._modernbert import MODERNBERT
from jrank.models._roberta import CAMEMBERT, ROBERTA, XLM_ROBERTA

__all__ = ["FAMILIES", "config_from", "family_of"]

FAMILIES: dict[str, Family] = {
    "bert": BERT,
    "camembert": CAMEMBERT,
    "deberta-v2": DEBERTA,
    "distilbert": DISTILBERT,
    "electra": ELECTRA,
    "modernbert": MODERNBERT,
    "roberta": ROBERTA,
    "xlm-roberta": XLM_ROBERTA,
}


def family_of(config: EncoderConfig) -> Family:
    """Return the family that a configuration belongs to.

    Args:
      config: the configuration.

    Raises:
      ModelError: there is no such family.
    """
    return _find(config.family)


def config_from(raw: Mapping[str, Any]) -> EncoderConfig:
    """Read a Hugging Face configuration.

    Args:
      raw: the fields of ``config.json``.

    Returns:
      The configuration, of the class of its family.

    Raises:
      ModelError: the family is unknown, or a field is missing or wrong.

    >>> raw = {"model_type": "bert", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 1,
    ...        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32}
    >>> config_from(raw).hidden_size
    8
    """
    name = raw.get("model_type")
    if not isinstance(name, str):
        raise ModelError(f"config.json: model_type is {name!r}, a name was expected", reason="invalid_config")
    return _find(name).parse(raw)


def _find(name: str) -> Family:
    if name not in FAMILIES:
        raise ModelError(
            f"the model family {name!r} is unknown",
            reason="unknown_family",
            hint=f"known are {', '.join(sorted(FAMILIES))}",
        )
    return FAMILIES[name]
