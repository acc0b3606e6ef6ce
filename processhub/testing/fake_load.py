"""The load of a node of a test, as the test says."""

from __future__ import annotations

from processhub.strategy.distribution.load import Load


class FakeLoad:
    """What a node of a `Cluster` measures of itself: nothing at all, until the test sets something.

    Attributes:
        cpu: CPU seconds per second.
        loop_lag: seconds.
        processes: how many.
        memory: bytes.
        taken: how many times it was measured.
    """

    def __init__(self) -> None:
        self.cpu = 0.0
        self.loop_lag = 0.0
        self.processes = 0
        self.memory = 0
        self.taken = 0

    def sample(self, now: float, loop_lag: float, processes: int) -> Load:
        """See `processhub.hub.sampler.Sampler`."""
        self.taken += 1
        return Load(self.cpu, self.loop_lag, self.processes, self.memory)
