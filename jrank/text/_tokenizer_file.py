"""What a tokenizer file says, and how it fails: shared by what reads one."""

import copy
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jrank.errors import ModelError

__all__ = [
    "Template",
    "TokenizerConfig",
    "broken",
    "guarded",
    "padding",
    "padding_spec",
    "read_tokenizer_config",
    "without_types",
]

# What padding is called in the families that leave it out of tokenizer.json.
PAD_TOKENS = ("[PAD]", "<pad>", "<|padding|>", "<|pad|>", "<|endoftext|>")


@dataclasses.dataclass(frozen=True)
class Template:
    """Where special tokens stand around one or two texts, as ids and type ids."""

    specials: tuple[tuple[int, ...], ...]  # before the first text, between, after the last
    special_types: tuple[tuple[int, ...], ...]
    text_types: tuple[int, ...]

    @property
    def added(self) -> int:
        return sum(map(len, self.specials))

    @property
    def types(self) -> set[int]:
        return {*self.text_types, *(kind for group in self.special_types for kind in group)}

    def fill(self, parts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        ids: list[int] = list(self.specials[0])
        types: list[int] = list(self.special_types[0])
        for part, kind, special, special_types in zip(
            parts, self.text_types, self.specials[1:], self.special_types[1:], strict=True
        ):
            ids += part
            ids += special
            types += [kind] * len(part)
            types += special_types
        return np.array(ids, np.int32), np.array(types, np.int32)


def broken(why: str) -> ModelError:
    return ModelError(
        f"the tokenizer cannot be used: {why}",
        reason="invalid_config",
        hint="jrank reads the tokenizer.json of a fast tokenizer",
    )


def guarded(call):
    """Run a call into the library; a panic in its Rust code is no ``Exception`` and would end the program."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise broken(str(error).splitlines()[0] if str(error) else type(error).__name__) from None


def padding(vocabulary: dict[str, int], padding: dict, pad_token: str | None) -> tuple[int, int, bool]:
    """Return the id and type id of padding, and whether the file itself leads to it."""
    if pad_token is not None and pad_token not in vocabulary:
        raise broken(f"the padding token {pad_token!r} is not in its vocabulary")
    pad_id, pad_type = padding.get("pad_id"), padding.get("pad_type_id", 0)
    if not isinstance(pad_id, int) or pad_id not in vocabulary.values():
        pad_id = next((vocabulary[token] for token in PAD_TOKENS if token in vocabulary), None)
    if pad_token is not None and vocabulary[pad_token] != pad_id:
        return vocabulary[pad_token], 0, False
    if pad_id is None:
        raise broken("it has no padding token; name one as pad_token")
    return pad_id, pad_type if isinstance(pad_type, int) else 0, True


def padding_spec(pad_token: str | None, pad_id: int) -> dict:
    return {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": pad_id,
        "pad_type_id": 0,
        "pad_token": pad_token,
    }


def without_types(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of a ``tokenizer.json`` whose tokens all have the type 0.

    Args:
      spec: the contents.
    """
    spec = copy.deepcopy(spec)
    spec["post_processor"] = _untyped(spec.get("post_processor"))
    return spec


def _untyped(processor: Any) -> Any:
    if not isinstance(processor, dict):
        return processor
    kind = processor.get("type")
    if kind == "Sequence":
        return {**processor, "processors": [_untyped(one) for one in processor.get("processors", [])]}
    if kind == "BertProcessing":  # its types are built in
        (end, end_id), (start, start_id) = processor["sep"], processor["cls"]
        order = [start, "A", end, "B", end]
        pieces = [{"Sequence" if name in ("A", "B") else "SpecialToken": {"id": name, "type_id": 0}} for name in order]
        known = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in ((start, start_id), (end, end_id))}
        return {"type": "TemplateProcessing", "single": pieces[:3], "pair": pieces, "special_tokens": known}
    if kind == "TemplateProcessing":
        for piece in [*processor["single"], *processor["pair"]]:
            for inner in piece.values():
                inner["type_id"] = 0
    return processor


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """What a ``tokenizer_config.json`` says that the tokenizer itself does not.

    Attributes:
      pad_token: the padding token; None where it is not named.
      token_types: whether the model is given token types; False where ``model_input_names`` leaves them out.
      max_length: most tokens, special ones included; None where it is not said.
    """

    pad_token: str | None = None
    token_types: bool = True
    max_length: int | None = None


def read_tokenizer_config(data: bytes) -> TokenizerConfig:
    """Read a ``tokenizer_config.json``; what is missing or of the wrong kind counts as not said.

    Args:
      data: its contents.
    """
    try:
        config = json.loads(data)
    except (ValueError, RecursionError):
        return TokenizerConfig()
    if not isinstance(config, dict):
        return TokenizerConfig()
    token, names, length = (config.get(name) for name in ("pad_token", "model_input_names", "model_max_length"))
    token = token.get("content") if isinstance(token, dict) else token
    # "No limit" is written as 1e30.
    said = isinstance(length, int) and not isinstance(length, bool) and 0 < length < 1 << 24
    return TokenizerConfig(
        token if isinstance(token, str) else None,
        "token_type_ids" in names if isinstance(names, list) and "input_ids" in names else True,
        length if said else None,
    )
