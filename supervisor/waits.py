"""Waits: records of greenlets that are suspended. A wake-up names a wait, never a greenlet.

A `Wait` ends once (reply, failure, timeout, or the waiter left), and whoever comes later finds it ended. Nothing else
ever switches into a waiting greenlet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from greenlet import greenlet

from supervisor.clock import Timer
from supervisor.errors import CallTimeout, ProcessExit
from supervisor.pids import NodeId, Ref

if TYPE_CHECKING:
    from supervisor.records import Process
    from supervisor.scheduler import Scheduler

# How a wait stands. It leaves PENDING once.
PENDING: Final = 0
REPLIED: Final = 1
FAILED: Final = 2
EXPIRED: Final = 3
ABANDONED: Final = 4


class Runnable(Protocol):
    """What the ready queue holds. `resume` is called on the loop's greenlet and returns when the work pauses."""

    def resume(self) -> None: ...


class Wait(Ref):
    """One greenlet waiting for one answer; it is the `Ref` in the `from_` of the call that it waits for.

    Invariant: `greenlet` is set exactly while that greenlet is suspended for this wait.
    """

    __slots__ = ("greenlet", "scheduler", "state", "target", "timeout", "timer", "value")

    def __init__(
        self,
        home: NodeId,
        serial: int,
        scheduler: Scheduler,
        waiter: greenlet | None,
        timeout: float | None,
        target: Any = None,
    ) -> None:
        self.home = home
        self.serial = serial
        self.scheduler = scheduler
        self.greenlet = waiter
        self.timeout = timeout
        self.target = target  # who owes the answer: it learns that nobody waits any more, see `settle`
        self.state = PENDING
        self.timer: Timer | None = None
        self.value: Any = None

    def reply(self, value: Any) -> bool:
        """End the wait with `value`; the waiter runs from the ready queue. False when it had ended before."""
        if self.state != PENDING:
            return False
        self.state = REPLIED
        self.value = value
        self.scheduler.ready_up(self)
        return True

    def fail(self, error: BaseException) -> bool:
        """End the wait with an exception, which is raised in the waiter. False when it had ended before."""
        if self.state != PENDING:
            return False
        self.state = FAILED
        self.value = error
        self.scheduler.ready_up(self)
        return True

    def target_died(self, reason: Any) -> None:
        """The process that owed the answer is dead."""
        self.fail(ProcessExit(reason))

    def resume(self) -> None:
        """Switch to the waiter, if it still waits."""
        waiter, self.greenlet = self.greenlet, None
        if waiter is not None:
            waiter.switch()

    def outcome(self) -> Any:
        """What the wait ended with: the value, or its exception is raised."""
        if self.state == REPLIED:
            return self.value
        if self.state == FAILED:
            raise self.value
        raise CallTimeout(f"no answer within {self.timeout} s")


class Throw:
    """An exit on its way into the greenlet of a dead process. Thrown from the loop only."""

    __slots__ = ("error", "process", "target")

    def __init__(self, process: Process, target: greenlet, error: BaseException) -> None:
        self.process = process
        self.target = target
        self.error = error

    def resume(self) -> None:
        if self.target.dead or getattr(self.target, "otp_process", None) is not self.process:
            return  # it finished, or its greenlet works for somebody else by now
        if self.process.adopted:
            del self.target.otp_process  # type: ignore[attr-defined]
        self.target.throw(self.error)
