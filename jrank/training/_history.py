"""What a training run leaves behind: the course it took, the best point, the model."""

import dataclasses
from typing import Any, NamedTuple

__all__ = ["Best", "FitResult", "History"]


class Best(NamedTuple):
    """The best validation of a run.

    Args:
      step: after how many steps it was measured, counted from 1.
      metric: the value.
    """

    step: int
    metric: float


@dataclasses.dataclass
class History:
    """The course of a training run, one entry per step in every column.

    Args:
      step: the number of the step, from 1.
      loss: the training loss of the step's batch, before its update.
      metric: the validation metric after the step; None where nothing was validated.
      learning_rate: the learning rate of the step; None where the optimiser keeps its own.
      grad_norm: the Euclidean norm of the whole gradient, before clipping.
      seconds: since the start of the run, summed over interruptions.

    >>> history = History([1, 2], [0.7, 0.6], [None, 0.5], [0.1, 0.1], [1.0, 0.9], [2.0, 2.1])
    >>> len(history), history.validations()
    (2, [(2, 0.5)])
    """

    step: list[int] = dataclasses.field(default_factory=list)
    loss: list[float] = dataclasses.field(default_factory=list)
    metric: list[float | None] = dataclasses.field(default_factory=list)
    learning_rate: list[float | None] = dataclasses.field(default_factory=list)
    grad_norm: list[float] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.step)

    def validations(self) -> list[tuple[int, float]]:
        """Return the steps that were validated and their metrics.

        Returns:
          Pairs ``(step, metric)`` in order.
        """
        return [(step, metric) for step, metric in zip(self.step, self.metric, strict=True) if metric is not None]

    def to_dict(self) -> dict[str, list]:
        """Return the columns by name, ready for JSON or a data frame.

        Returns:
          Copies of the columns.
        """
        return {field.name: list(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, columns: dict[str, list]) -> "History":
        """Rebuild a history from its columns.

        Args:
          columns: what ``to_dict`` gave.

        Returns:
          The history.
        """
        return cls(**{field.name: list(columns[field.name]) for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a training function returns.

    Args:
      model: what was trained, with the best parameters where there was a validation, otherwise with the last.
        ``training.fit`` puts the parameters themselves here.
      history: the course of the run.
      best: the best validation; None where nothing was validated.
    """

    model: Any
    history: History
    best: Best | None
