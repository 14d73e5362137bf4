"""What a tokenizer file says, and how it fails: shared by what reads one."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jrank.errors import DataError, ModelError
from jrank.files import read_bytes

__all__ = ["Template", "broken", "configured_pad", "guarded", "padding", "padding_spec"]

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


def configured_pad(path: Path) -> str | None:
    """Return the padding token that a ``tokenizer_config.json`` names; None where it does not help."""
    try:
        config = json.loads(read_bytes(path, max_bytes=1 << 24))
    except (DataError, ValueError, RecursionError):
        return None
    token = config.get("pad_token") if isinstance(config, dict) else None
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
