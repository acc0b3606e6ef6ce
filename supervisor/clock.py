"""Time as an interface: the runtime never asks the operating system for it.

A `Clock` keeps its timers in one heap; what differs is who turns it. `LoopClock` turns with gevent's event loop.
`processhub.testing` has one that a test turns by hand.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent

log = logging.getLogger(__name__)


class Timer:
    """A function that will be called once, at `deadline` on its clock. `cancel()` is harmless at any time."""

    __slots__ = ("args", "clock", "deadline", "fn")

    def __init__(self, clock: HeapClock, deadline: float, fn: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.clock = clock
        self.deadline = deadline
        self.fn: Callable[..., object] | None = fn
        self.args = args

    @property
    def active(self) -> bool:
        """Whether it has neither fired nor been cancelled."""
        return self.fn is not None

    def cancel(self) -> None:
        """Make sure that the function is not called; does nothing after it was."""
        if self.fn is not None:
            self.fn = None
            self.args = ()
            self.clock._cancelled()

    def __repr__(self) -> str:
        return f"<Timer at {self.deadline:.3f}{'' if self.active else ' done'}>"


class Clock(Protocol):
    """What a node asks of time. Seconds are floats; `now` never goes back."""

    def now(self) -> float:
        """Monotonic seconds: for every deadline and duration."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch: for people and for hybrid logical clocks."""
        ...

    def call_later(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        """Call `fn(*args)` on the event loop once `seconds` have passed. `fn` must not block."""
        ...


class HeapClock:
    """The part that all clocks share: a heap of timers, earliest first, cancelled ones swept out lazily."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._sequence = 0
        self._dead = 0

    def now(self) -> float:
        raise NotImplementedError

    def call_later(self, seconds: float, fn: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(self, self.now() + max(0.0, seconds), fn, args)
        self._sequence += 1
        heapq.heappush(self._heap, (timer.deadline, self._sequence, timer))
        if self._heap[0][2] is timer:
            self._earliest_changed()
        return timer

    def pending(self) -> int:
        """How many timers are waiting."""
        return len(self._heap) - self._dead

    def next_deadline(self) -> float | None:
        """When the earliest timer is due, or None."""
        heap = self._heap
        while heap and heap[0][2].fn is None:
            heapq.heappop(heap)
            self._dead -= 1
        return heap[0][0] if heap else None

    def _earliest_changed(self) -> None:
        """A new timer is now the first one."""

    def _cancelled(self) -> None:
        self._dead += 1
        # Sweeping only when half of the heap is dead keeps a cancel at amortised O(1).
        if self._dead > 64 and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].fn is not None]
            heapq.heapify(self._heap)
            self._dead = 0

    def _fire_due(self) -> None:
        """Call what is due, in the order of deadlines. A timer that raises is logged and harms no other."""
        now = self.now()
        while True:
            deadline = self.next_deadline()
            if deadline is None or deadline > now:
                return
            timer = heapq.heappop(self._heap)[2]
            fn, args = timer.fn, timer.args
            timer.fn, timer.args = None, ()
            assert fn is not None
            try:
                fn(*args)
            except Exception:
                log.exception("a timer's function failed: %r", fn)


class LoopClock(HeapClock):
    """The real time, turned by gevent's event loop with one loop timer for the whole heap."""

    def __init__(self) -> None:
        super().__init__()
        self._loop_timer: Any = None
        self._armed_for: float | None = None

    def now(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def _earliest_changed(self) -> None:
        self._arm()

    def _arm(self) -> None:
        deadline = self.next_deadline()
        if deadline is None:
            self._stop_timer()
            return
        # Waking up early for a timer that was cancelled meanwhile costs less than moving the loop timer each time.
        if self._armed_for is not None and self._armed_for <= deadline:
            return
        self._stop_timer()
        self._armed_for = deadline
        self._loop_timer = gevent.get_hub().loop.timer(max(0.0, deadline - self.now()))
        self._loop_timer.start(self._on_loop_timer, update=True)

    def _stop_timer(self) -> None:
        if self._loop_timer is not None:
            self._loop_timer.stop()
            self._loop_timer.close()
            self._loop_timer = None
        self._armed_for = None

    def _on_loop_timer(self) -> None:
        self._stop_timer()
        self._fire_due()
        self._arm()
