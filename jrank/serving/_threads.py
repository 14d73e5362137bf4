"""How many processors this process may really use."""

import contextlib
import math
import os
from pathlib import Path

__all__ = ["usable_cores"]

CGROUP = Path("/sys/fs/cgroup")
TOPOLOGY = Path("/sys/devices/system/cpu")


def usable_cores(*, cgroup: Path = CGROUP, topology: Path = TOPOLOGY) -> int:
    """Return how many cores this process may use.

    The smaller of the physical cores among the processors that the process is bound to and the quota of its container;
    at least 1. A container with a quota of two processors on a large machine would otherwise start one thread for each
    core of the machine, and wait for all of them.

    Args:
      cgroup: where the quota stands.
      topology: where the processors are described.

    >>> usable_cores() >= 1
    True
    """
    try:
        processors = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        processors = list(range(os.cpu_count() or 1))
    siblings = set()
    for processor in processors:
        try:
            siblings.add((topology / f"cpu{processor}" / "topology" / "thread_siblings_list").read_text())
        except OSError:
            siblings.add(str(processor))
    cores = len(siblings)
    quota = _quota(cgroup)
    if quota is not None:
        cores = min(cores, math.ceil(quota))
    return max(1, cores)


def _quota(cgroup: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    with contextlib.suppress(OSError, ValueError):
        limit = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        period = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
        return limit / period if limit > 0 and period > 0 else None
    return None
