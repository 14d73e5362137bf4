"""Tell a burst, which a queue is there for, from lasting overload, in which a queue only makes everybody late."""

__all__ = ["Overload"]

_BURST = 0.1  # seconds in which a queue may fill
_SHORT = 0.025  # seconds of waiting that nobody minds
_REQUESTS = 2.0  # a queue of so many usual requests is short as well
_EXCESS = 2.0  # requests beyond what was served that are still taken for chance
_MEMORY = 1.0  # seconds of work; so long after the last excess the server is taken for overloaded
_STEP = 0.1  # weight of the last request in the mean of their sizes


class Overload:
    """Watches what is offered and what is served, and says what to refuse.

    A queue that fills within a moment and then drains is a burst: all of it is taken. Clients that wait for their
    answers before they ask again keep a queue filled, but offer no more than is served: they are taken, if they begin
    together. Only if more is offered than is served, and the queue has been long for a while, is what comes refused,
    until the queue is short: the accepted then wait for about two usual requests. What is refused counts as offered, so
    the state lasts as long as the load does. This is the standing queue of CoDel (RFC 8289), with a leaky bucket in the
    place of its control law. Not thread-safe: the queue's lock covers it.
    """

    def __init__(self) -> None:
        self._long_since: float | None = None
        self._last = 0.0  # when something was served
        self._excess = 0.0  # pairs offered beyond what was served, since the queue was found to be long
        self._usual = 0.0  # pairs of a usual request
        self._refusing = False

    def served(self, now: float, pairs: int) -> None:
        """Take note of pairs that were scored together."""
        self._last = now
        # Those who are answered may all ask again at once: that is no excess.
        self._drain(float(pairs), credit=float(pairs))

    def refuses(self, now: float, pairs: int, waiting: int, pair_seconds: float) -> bool:
        """Take note of a request, and say whether it is one too many.

        Args:
          now: seconds of a monotonic clock.
          pairs: of this request.
          waiting: pairs before it.
          pair_seconds: how long a pair takes; 0 while unknown.
        """
        usual = self._usual = self._usual + _STEP * (pairs - self._usual) if self._usual else float(pairs)
        if not pair_seconds:
            return False
        if not waiting:
            self._drain((now - self._last) / pair_seconds, credit=0.0)
        if waiting * pair_seconds <= max(_SHORT, _REQUESTS * usual * pair_seconds):
            self._long_since = None
            if self._refusing:
                self._offer(pairs, pair_seconds)
            return False
        if self._long_since is None:
            self._long_since = now
        if not self._refusing:
            if now - self._long_since < _BURST:
                self._excess = 0.0
                return False
            self._refusing = self._excess > _EXCESS * usual
        self._offer(pairs, pair_seconds)
        return self._refusing

    def _drain(self, pairs: float, *, credit: float) -> None:
        self._excess = max(min(self._excess, -credit), self._excess - pairs)
        if self._excess <= 0:
            self._refusing = False

    def _offer(self, pairs: int, pair_seconds: float) -> None:
        # One huge request is no overload by itself, as small ones are scored beside it.
        most = _MEMORY / pair_seconds + _EXCESS * self._usual
        self._excess = min(self._excess + min(float(pairs), _EXCESS * self._usual), most)
