"""Measuring the load of this node, cheaply: a few microseconds, from the operating system and the runtime."""

from __future__ import annotations

import os
import sys
from typing import Final, Protocol

from processhub.strategy.distribution.load import Load

LOAD_SAMPLER: Final = "processhub.load_sampler"
"""The key in `runtime.services` under which a test puts a `Sampler` of its own."""


class Sampler(Protocol):
    """What a balancer measures with."""

    def sample(self, now: float, loop_lag: float, processes: int) -> Load:
        """The load since the last call.

        Args:
            now: the node's clock, in seconds.
            loop_lag: as the balancer's own timer found it.
            processes: of the runtime.
        """
        ...


class ProcessSampler:
    """Measures the operating-system process that it is in. `now`: the node's clock at its making."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._cpu_time = _cpu_time()

    def sample(self, now: float, loop_lag: float, processes: int) -> Load:
        """See `Sampler`."""
        cpu_time = _cpu_time()
        passed, used = now - self._at, cpu_time - self._cpu_time
        self._at, self._cpu_time = now, cpu_time
        return Load(used / passed if passed > 0 else 0.0, loop_lag, processes, resident_memory())


def _cpu_time() -> float:
    times = os.times()
    return times.user + times.system


def resident_memory() -> int:
    """The resident memory of this operating-system process in bytes; 0 where it cannot be told.

    Where there is no /proc it is the highest that it ever was, which is what `resource` tells.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _peak_memory()


def _peak_memory() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class LoopLag:
    """How late a timer was, on average since it was last asked."""

    def __init__(self) -> None:
        self._total = 0.0
        self._count = 0

    def fired(self, late: float) -> None:
        """The timer fired, so many seconds after its time."""
        self._total += max(0.0, late)
        self._count += 1

    def take(self) -> float:
        """The mean in seconds; 0 if it has not fired. The next one begins here."""
        mean = self._total / self._count if self._count else 0.0
        self._total, self._count = 0.0, 0
        return mean
