"""Requests that arrive together are scored together: a bounded queue in front of one worker thread."""

import asyncio
import collections
import dataclasses
import threading
import time
from collections.abc import Sequence

import numpy as np

from jrank.errors import ServeError
from jrank.serving._cross_encoder import CrossEncoder, Truncation
from jrank.serving._overload import Overload

__all__ = ["Batcher", "QueueFull"]


class QueueFull(Exception):
    """So much is waiting that one more request would wait too long.

    Args:
      seconds: when to try again.
    """

    def __init__(self, seconds: float = 1.0):
        super().__init__(f"try again in {seconds:.0f} s")
        self.seconds = seconds


@dataclasses.dataclass(eq=False)
class _Job:
    """The pairs of one request, scored in one or several rounds."""

    pairs: list[tuple[str, str]]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future
    truncation: Truncation | None
    done: list[np.ndarray] = dataclasses.field(default_factory=list)
    taken: int = 0
    cancelled: bool = False

    def finish(self, result: np.ndarray | BaseException) -> None:
        """Hand the result to the event loop that waits for it."""
        self.cancelled = True

        def deliver() -> None:
            if self.future.done():
                return
            if isinstance(result, BaseException):
                self.future.set_exception(result)
            else:
                self.future.set_result(result)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(deliver)


class Batcher:
    """Scores the pairs of many requests in rounds, a share of each request in every round.

    A small request is thus not held up by a large one. Pairs of different requests meet in a batch only if the model's
    scores do not depend on batch mates; otherwise each request is scored by itself. If a round fails, its requests are
    scored one by one, so that only the one at fault fails.

    Args:
      ranker: the model.
      max_waiting: most pairs that wait; what comes beyond is refused at once.
      max_seconds: a request is refused as well if what waits before it would take longer than this, by the speed of the
        last rounds. Under lasting overload (`Overload`) it is refused long before that.
      round_pairs: most pairs of a round.
    """

    def __init__(
        self,
        ranker: CrossEncoder,
        *,
        max_waiting: int = 4096,
        max_seconds: float = 10.0,
        round_pairs: int = 64,
    ):
        self._ranker = ranker
        self._max_waiting = max_waiting
        self._max_seconds = max_seconds
        self._round_pairs = round_pairs
        self._pair_seconds = 0.0  # per pair, over the last rounds
        self._overload = Overload()
        self._merge = bool(ranker.info["batch_invariant"])
        self._jobs: collections.deque[_Job] = collections.deque()
        self._waiting = 0
        self._open = True
        self._changed = threading.Condition()
        self._worker = threading.Thread(target=self._work, name="jrank-scores", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Pairs that wait or are being scored."""
        return self._waiting

    @property
    def max_waiting(self) -> int:
        """The limit of the queue."""
        return self._max_waiting

    async def score(self, pairs: Sequence[tuple[str, str]], *, truncation: Truncation | None = None) -> np.ndarray:
        """Score pairs, waiting for a turn.

        Args:
          pairs: (query, document) pairs; at most as many as the queue holds.
          truncation: None = the model's.

        Returns:
          Raw scores, float64 [pairs] or [pairs, labels].

        Raises:
          QueueFull: too much is waiting.
          ServeError: the model fails on these pairs.
        """
        loop = asyncio.get_running_loop()
        job = _Job(list(pairs), loop, loop.create_future(), truncation)
        with self._changed:
            delay = self._waiting * self._pair_seconds
            full = self._waiting + len(job.pairs) > self._max_waiting or delay > self._max_seconds
            late = self._overload.refuses(time.perf_counter(), len(job.pairs), self._waiting, self._pair_seconds)
            if not self._open or full or late:
                raise QueueFull(max(1.0, delay / 2))
            self._waiting += len(job.pairs)
            self._jobs.append(job)
            self._changed.notify()
        try:
            return await job.future
        finally:
            job.cancelled = True  # whoever asked has gone: what is left of it is not scored
            with self._changed:
                self._waiting -= len(job.pairs)

    def close(self) -> None:
        """Take nothing new, finish what was taken, stop the worker."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and self._open:
                    self._changed.wait()
                if not self._jobs:
                    return
                batch = self._next_round()
            if batch:
                self._score_round(batch)

    def _next_round(self) -> list[tuple[_Job, list[tuple[str, str]]]]:
        """Take a share of every request, in turn; a request that is not finished goes to the end of the queue."""
        batch: list[tuple[_Job, list[tuple[str, str]]]] = []
        room, unfinished = self._round_pairs, []
        share = self._round_pairs if not self._merge else max(8, self._round_pairs // max(1, len(self._jobs)))
        while self._jobs and room > 0:
            job = self._jobs[0]
            if batch and (not self._merge or job.truncation != batch[0][0].truncation):
                break
            self._jobs.popleft()
            if job.cancelled:
                continue
            part = job.pairs[job.taken : job.taken + min(share, room)]
            job.taken += len(part)
            room -= len(part)
            batch.append((job, part))
            if job.taken < len(job.pairs):
                unfinished.append(job)
        self._jobs.extend(unfinished)
        return batch

    def _score_round(self, batch: list[tuple[_Job, list[tuple[str, str]]]]) -> None:
        pairs = [pair for _, part in batch for pair in part]
        began = time.perf_counter()
        try:
            scores = self._ranker.score_batch(pairs, truncation=batch[0][0].truncation, invariant=not self._merge)
        except Exception as error:
            if len(batch) > 1:
                for entry in batch:
                    self._score_round([entry])
            else:
                batch[0][0].finish(error if isinstance(error, ServeError) else _unexpected(error))
            return
        ended = time.perf_counter()
        took = (ended - began) / max(1, len(pairs))
        with self._changed:
            self._pair_seconds = took if not self._pair_seconds else 0.8 * self._pair_seconds + 0.2 * took
            self._overload.served(ended, len(pairs))
        start = 0
        for job, part in batch:
            job.done.append(scores[start : start + len(part)])
            start += len(part)
            if sum(map(len, job.done)) >= len(job.pairs):
                job.finish(np.concatenate(job.done))


def _unexpected(error: Exception) -> ServeError:
    return ServeError(f"scoring failed: {type(error).__name__}", reason="inference")
