"""Virtual time: one `VirtualTime` for all nodes of a test, one `VirtualClock` for each of them.

Time stands still until a `Driver` turns it. What is due at one instant runs in an order that depends on nothing but the
test: source by source in the order in which they were made, and within one clock by deadline, then by age of the timer.
(An age that counted across the nodes would depend on which of two nodes ran first within an instant, and so on how the
event loop happened to cut its passes.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from supervisor.clock import HeapClock, Timer

log = logging.getLogger(__name__)

EPOCH: Final = 1_700_000_000.0
"""What `VirtualClock.wall` says at virtual time 0, in seconds since the epoch of Unix."""


class Source(Protocol):
    """Something that happens in virtual time: a node's timers, a network's deliveries."""

    def next_deadline(self) -> float | None:
        """When the earliest thing is due, or None. May lie in the past, after a pause."""
        ...

    def fire_due(self) -> None:
        """Do what is due now, but not what becomes due by doing it: that is for the next round. On the event loop."""
        ...


class VirtualTime:
    """The time of one test, shared by its nodes and its network. Begins at 0.

    Args:
        epoch: what the wall clocks say at virtual time 0, in seconds.
    """

    def __init__(self, epoch: float = EPOCH) -> None:
        self.epoch = epoch
        self._now = 0.0
        self._sources: list[Source] = []

    def __repr__(self) -> str:
        return f"<VirtualTime {self._now:.6f}>"

    def now(self) -> float:
        """Seconds since the test began."""
        return self._now

    def clock(self, name: str = "", skew: float = 0.0) -> VirtualClock:
        """A clock for one node. `skew` is how many seconds its wall clock is ahead of the others."""
        return VirtualClock(self, name, skew)

    def add(self, source: Source) -> None:
        """Let `source` take part. What is due at the same instant happens in the order of these calls."""
        self._sources.append(source)

    def remove(self, source: Source) -> None:
        """Forget `source`; does nothing if it is not known."""
        if source in self._sources:
            self._sources.remove(source)

    def next_deadline(self) -> float | None:
        """The next instant at which something is due, never before `now()`; None if nothing ever is."""
        due = [deadline for source in self._sources if (deadline := source.next_deadline()) is not None]
        return max(min(due), self._now) if due else None

    def move_to(self, instant: float) -> None:
        """Set the time. Fires nothing, see `fire_due`. Raises ValueError for an instant in the past."""
        if instant < self._now:
            raise ValueError(f"time cannot go back from {self._now} to {instant}")
        self._now = instant

    def fire_due(self) -> None:
        """Let every source do what is due now. Call it on the event loop."""
        for source in list(self._sources):
            source.fire_due()


class VirtualClock(HeapClock):
    """The clock of one node: a `supervisor.clock.Clock`. Timers fire when the test moves the time.

    Attributes:
        name: for people.
        skew: how many seconds `wall()` is ahead of the other nodes'. May be changed at any time.
        fired: how many timers have fired.
    """

    def __init__(self, time: VirtualTime, name: str = "", skew: float = 0.0) -> None:
        super().__init__()
        self.time = time
        self.name = name
        self.skew = skew
        self.fired = 0
        self.is_paused = False
        self.is_stopped = False
        time.add(self)

    def __repr__(self) -> str:
        mode = " stopped" if self.is_stopped else " paused" if self.is_paused else ""
        return f"<VirtualClock {self.name} at {self.now():.6f}{mode}, {self.pending()} timers>"

    def now(self) -> float:
        return self.time.now()

    def wall(self) -> float:
        return self.time.epoch + self.time.now() + self.skew

    def call_later(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        """See `Clock.call_later`. On a stopped clock the timer never fires."""
        if self.is_stopped:
            return Timer(_Nobody(), self.now() + max(0.0, seconds), fn, args)
        return super().call_later(seconds, fn, *args)

    def pause(self) -> None:
        """Fire nothing until `resume`. The time itself goes on, as for a node that is stopped by a signal."""
        self.is_paused = True

    def resume(self) -> None:
        """Fire again. Timers that came due in the pause fire next, late."""
        self.is_paused = False

    def stop(self) -> None:
        """Drop all timers, for good: the node is dead."""
        self.is_stopped = True
        for _, _, timer in self._heap:
            timer.fn, timer.args = None, ()
        self._heap.clear()
        self._dead = 0
        self.time.remove(self)

    def next_deadline(self) -> float | None:
        return None if self.is_paused else super().next_deadline()

    def due_timers(self) -> list[Timer]:
        """The timers that wait, earliest first: to show what a test is waiting for."""
        return [timer for _, _, timer in sorted(self._heap, key=lambda entry: entry[:2]) if timer.active]

    def fire_due(self) -> None:
        """See `Source.fire_due`. A timer that raises is logged and harms no other."""
        # Timers that these timers start have higher numbers, and sort behind them: deadlines in the past do not exist.
        newest, now = self._sequence, self.now()
        while not self.is_paused and (deadline := self.next_deadline()) is not None and deadline <= now:
            if self._heap[0][1] > newest:
                return
            self._fire_first()

    def _fire_first(self) -> None:
        timer = self._heap[0][2]
        fn, args = timer.fn, timer.args
        timer.cancel()
        self.fired += 1
        assert fn is not None
        try:
            fn(*args)
        except Exception:
            log.exception("a timer's function failed: %r", fn)


class _Nobody(HeapClock):
    """Whom the timers of a stopped clock belong to."""

    def _cancelled(self) -> None:
        """There is no heap to sweep."""
