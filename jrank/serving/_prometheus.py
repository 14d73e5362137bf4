"""Counters of the server, in the text form that Prometheus reads."""

import bisect
import threading

__all__ = ["Metrics"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    r"""Counts of requests and pairs, and a histogram of the time that requests take.

    >>> metrics = Metrics()
    >>> metrics.observe("/rerank", 200, 0.02, 3)
    >>> "jrank_requests_total{path=\"/rerank\",status=\"200\"} 1" in metrics.text({})
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = {}
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._pairs = 0

    def observe(self, path: str, status: int, seconds: float, pairs: int) -> None:
        """Count a request.

        Args:
          path: one of the server's routes; a fixed set, whatever clients ask for.
          status: the HTTP status.
          seconds: how long it took.
          pairs: how many pairs were scored.
        """
        with self._lock:
            self._requests[path, status] = self._requests.get((path, status), 0) + 1
            self._pairs += pairs
            if pairs:
                self._buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
                self._seconds += seconds

    def text(self, gauges: dict[str, float]) -> str:
        """Return the counters, and current values handed in.

        Args:
          gauges: values by name.

        Returns:
          The exposition text.
        """
        with self._lock:
            lines = ["# TYPE jrank_requests_total counter"]
            lines += [
                f'jrank_requests_total{{path="{path}",status="{status}"}} {count}'
                for (path, status), count in sorted(self._requests.items())
            ]
            lines += ["# TYPE jrank_pairs_total counter", f"jrank_pairs_total {self._pairs}"]
            lines += ["# TYPE jrank_request_seconds histogram"]
            total = 0
            for bound, count in zip([*map(str, BUCKETS), "+Inf"], self._buckets, strict=True):
                total += count
                lines.append(f'jrank_request_seconds_bucket{{le="{bound}"}} {total}')
            lines += [f"jrank_request_seconds_sum {self._seconds}", f"jrank_request_seconds_count {total}"]
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value}"]
        return "\n".join(lines) + "\n"
