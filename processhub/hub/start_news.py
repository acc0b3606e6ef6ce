"""What came of starts that nobody waits for, made known many at a time: each batch costs every member something."""

from __future__ import annotations

from typing import Any, Final

from processhub.hub.hub import Hub
from processhub.hub.start_hooks import Outcome, note, tell_after
from processhub.hub.start_queue import StartQueue
from supervisor.pids import Pid
from supervisor.processes import send_after

WRITE_EVERY: Final = 500  # started children that are made known in one go, while a long queue of starts is worked off
WRITE_SECONDS: Final = 0.1  # how long it may stay unknown that a child runs, if others are still to be started


class StartNews:
    """What a distributed supervisor, whose process is `me`, has not made known yet."""

    def __init__(self, hub: Hub, me: Pid, queue: StartQueue) -> None:
        self._hub = hub
        self._me = me
        self._queue = queue
        self._ended: list[str] = []  # children whose start has ended
        self._outcomes: list[Outcome] = []  # of those that are desired, for hooks
        self._timer: Any = None  # Invariant: set while something waits for its time

    def __len__(self) -> int:
        return len(self._ended)

    def note(self, child_id: str, pid: Pid | None, reason: Any, placement: Any) -> None:
        """What the hooks are to be told of a start."""
        note(self._hub, self._outcomes, child_id, pid, reason, placement)

    def ended(self, child_id: str) -> None:
        """A start has ended, well or not, and what it changed is written: publish it now or soon."""
        self._ended.append(child_id)
        if not len(self._queue) or len(self._ended) >= WRITE_EVERY:
            self.write()
        else:
            self.write_soon()

    def write_soon(self) -> None:
        """Make starts known though those behind them in the queue may take long."""
        if self._timer is None:
            self._timer = send_after(self._me, ("write", None), WRITE_SECONDS)

    def write(self) -> None:
        """Make known what is not."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ended, self._ended = self._ended, []
        outcomes, self._outcomes = self._outcomes, []
        self._hub.publish()
        tell_after(self._hub, outcomes)
        if ended:
            # Meanwhile they may have got other owners, or be desired no more: nobody saw a copy here to stop or move.
            self._hub.touched(ended)
