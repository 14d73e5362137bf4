"""What a ranking is made of."""

import dataclasses

__all__ = ["RerankHit"]


@dataclasses.dataclass(frozen=True, slots=True)
class RerankHit:
    """A document of a ranking.

    Attributes:
      index: its place among the documents that were handed in.
      score: its score; larger is better.
      document: its text.
    """

    index: int
    score: float
    document: str
