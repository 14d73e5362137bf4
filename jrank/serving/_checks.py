"""Do options, model and tokenizer go together? Asked once, when a model is loaded."""

import os

import numpy as np

from jrank.errors import ModelError, ServeError
from jrank.serving._session import Session
from jrank.text import PairTokenizer

__all__ = ["choose_max_length", "positive", "read_tokenizer", "scores_of", "trial_row", "try_out"]

DEFAULT_MAX_LENGTH = 512

_TOGETHER = "use the tokenizer that the model was trained with"


def trial_row(length: int, token: int, kind: int = 0) -> dict[str, np.ndarray]:
    ids = np.zeros((1, length), np.int32)
    types = np.zeros((1, length), np.int32)
    ids[:, -1] = token
    types[:, -1] = kind
    return {"input_ids": ids, "attention_mask": np.ones((1, length), np.int32), "token_type_ids": types}


def scores_of(session: Session, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Run the model; returns [rows, labels]."""
    output = session.run(arrays)
    if output.ndim == 1:
        output = output[:, None]
    if output.ndim != 2 or output.shape[0] != arrays["input_ids"].shape[0] or output.shape[1] < 1:
        raise ServeError(
            f"the graph turns {arrays['input_ids'].shape} into {output.shape}, [rows, labels] was expected",
            reason="invalid_model",
            hint="this may be an encoder without a scoring head",
        )
    return output


def try_out(session: Session, tokenizer: PairTokenizer, max_length: int) -> np.ndarray:
    """Run the longest row with the largest id, so that a mismatch of model and tokenizer shows when they are loaded."""
    largest = tokenizer.vocab_size - 1
    kind = int(tokenizer.encode_pairs([("a", "b")], max_length=16).type_ids[0].max())
    try:
        output = scores_of(session, trial_row(max_length, largest, kind))
    except ServeError as error:
        if error.reason != ServeError.Reason.INFERENCE:
            raise
        trials = [
            (trial_row(4, 0), "the model cannot be run", "export it again"),
            (trial_row(4, largest), f"the model has fewer ids than the tokenizer ({largest + 1})", _TOGETHER),
            (trial_row(4, 0, kind), f"the model does not know the type id {kind}", _TOGETHER),
        ]
        for arrays, message, hint in trials:
            try:
                scores_of(session, arrays)
            except ServeError:
                raise ServeError(message, reason="invalid_model", hint=hint) from None
        raise ServeError(
            f"the model does not take {max_length} tokens", reason="invalid_parameter", hint="pass a smaller max_length"
        ) from None
    if not np.isfinite(output).all():
        raise ServeError("the model's scores are not finite", reason="invalid_model", hint="its weights are damaged")
    return output


def read_tokenizer(source: str | os.PathLike | bytes | PairTokenizer) -> PairTokenizer:
    if isinstance(source, PairTokenizer):
        return source
    try:
        if isinstance(source, (str, os.PathLike)):
            return PairTokenizer.from_file(source)
        return PairTokenizer.from_bytes(source)
    except ModelError as error:
        missing = error.reason == ModelError.Reason.NOT_FOUND
        raise ServeError(str(error), reason="not_found" if missing else "invalid_model") from None


def choose_max_length(wanted: int | None, config: dict, metadata: dict[str, str]) -> int:
    made_for = config.get("max_length", metadata.get("max_length"))
    made_for = int(made_for) if str(made_for).isdigit() and 0 < int(made_for) < 1 << 20 else None
    if wanted is None:
        return made_for or DEFAULT_MAX_LENGTH
    if isinstance(wanted, bool) or not isinstance(wanted, (int, np.integer)):
        raise TypeError(f"max_length must be an integer, got {type(wanted).__name__}")
    if wanted < 4 or (made_for is not None and wanted > made_for):
        limit = f" and at most {made_for}, what the model was made for" if made_for else ""
        raise ServeError(f"max_length must be at least 4{limit}, got {wanted}", reason="invalid_parameter")
    return int(wanted)


def positive(**options: int) -> None:
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ServeError(f"{name} must be at least 1, got {value!r}", reason="invalid_parameter")
