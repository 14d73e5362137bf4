"""What is worth knowing about runs before they are fused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jrank.fusion._explain import run_names
from jrank.fusion._fuse import as_runs

__all__ = ["Finding", "validate"]


@dataclass(frozen=True)
class Finding:
    """Something about a run that may be a mistake.

    Attributes:
      run: the name of the run.
      kind: "missing_queries", "no_shared_documents", "equal_scores" or "negative_scores".
      count: of how many queries it is true.
      text: the same in words, with what it means for fusion.
    """

    run: str
    kind: str
    count: int
    text: str

    def __str__(self) -> str:
        return f"{self.run}: {self.text}"


def validate(runs: Sequence[Any] | Mapping[str, Any]) -> list[Finding]:
    """Look for what makes fusion weaker than it could be.

    What is wrong in any case, such as an id that comes twice or a score that is not finite, raises when a run is made;
    the rest is for people to judge.

    Args:
      runs: as for ``fuse``.

    Returns:
      Findings, run by run; an empty list is good news.

    Raises:
      FusionError: there is no run.

    Cost: O(n) in the number of entries.

    >>> for finding in validate({"bm25": {"q1": {"a": 2.0, "b": 1.0}, "q2": {"a": 1.0}}, "dense": {"q1": {"7": 0.5}}}):
    ...     print(finding)
    bm25: 1 query without a document that another run has: are the ids written alike?
    dense: 1 query of the others missing: documents get nothing from this run there
    dense: 1 query without a document that another run has: are the ids written alike?
    """
    listed = as_runs(runs)
    names = run_names(runs, listed)
    every = set().union(*listed)
    found = []
    for i, (name, run) in enumerate(zip(names, listed, strict=True)):
        others = [other for j, other in enumerate(listed) if j != i]
        data = run.ranked
        missing = len(every) - len(run)
        alone = sum(
            any(query in other for other in others)
            and not any(run[query].keys() & other.get(query, {}) for other in others)
            for query in run
        )
        some = data.lengths > 0
        first = data.values[data.offsets[:-1][some]]
        last = data.values[data.offsets[1:][some] - 1]
        flat = int(np.sum((first == last) & (data.lengths[some] > 1)))
        negative = int(np.sum(last < 0))
        for kind, count, text in (
            ("missing_queries", missing, "of the others missing: documents get nothing from this run there"),
            ("no_shared_documents", alone, "without a document that another run has: are the ids written alike?"),
            ("equal_scores", flat, "with equal scores throughout: the ranks are an order of ids"),
            (
                "negative_scores",
                negative,
                'with scores below 0: norm="max" and no norm take them as worse than missing',
            ),
        ):
            if count:
                found.append(Finding(name, kind, count, f"{count} {'query' if count == 1 else 'queries'} {text}"))
    return found
