"""What a state machine has before it besides its mailbox: inserted events, postponed ones, and timeouts."""

from __future__ import annotations

from typing import Any

from supervisor.clock import Timer
from supervisor.records import DEAD, INFO, Process
from supervisor.statem_results import CancelTimeout, StartTimeout, TimeoutType, UpdateTimeout
from supervisor.statem_steps import Event, Step, timeout_type


class Timeout:
    """A timeout that runs. When its time has come it goes into the mailbox, as a message that only GenStatem sees."""

    __slots__ = ("content", "process", "timer", "type")

    def __init__(self, process: Process, type: TimeoutType, seconds: float, content: Any) -> None:
        self.process = process
        self.type = type
        self.content = content
        self.timer: Timer = process.runtime.clock.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if self.process.status != DEAD:
            self.process.enqueue((INFO, self))

    def __repr__(self) -> str:
        return f"<{self.type!r} {self.content!r:.200}>"


class Agenda:
    """The queues of one machine, by OTP's rules.

    events: the last one is next; whatever is added goes before all others, so a list does. postponed: the oldest one
    first. running: timeouts on the clock, those in the mailbox included. due: the contents of timeouts of zero seconds,
    in order: they come when there are no events left, before the mailbox.
    Invariant: while a timeout runs the agenda is a tie of its process, so that no timer outlives the machine.
    """

    __slots__ = ("due", "events", "postponed", "process", "running")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.events: list[Event] = []
        self.postponed: list[Event] = []
        self.running: dict[TimeoutType, Timeout] = {}
        self.due: dict[TimeoutType, Any] = {}

    def is_empty(self) -> bool:
        """Whether there is nothing but the mailbox."""
        return not (self.events or self.postponed or self.running or self.due)

    def advance(self, step: Step, changed: bool) -> Event | None:
        """Carry out what `step` came to; `changed` says whether the state did. Returns the event to handle next."""
        self.cancel("timeout")  # before the step's own timeouts: any event cancels it
        if step.postpone and step.event is not None:
            self.postponed.append(step.event)
        if changed:
            self.cancel("state_timeout")
            self.events.extend(reversed(self.postponed))
            self.postponed.clear()
        self.events.extend(reversed(step.events))
        for action in step.timeouts.values():
            if isinstance(action, CancelTimeout):
                self.cancel(action.type)
            elif isinstance(action, UpdateTimeout):
                self._update(action.type, action.content)
            else:
                self._start(action)
        return self._next_event()

    def _next_event(self) -> Event | None:
        if self.events:
            return self.events.pop()
        for which in self.due:
            return which, self.due.pop(which)
        return None

    def expire(self, timeout: Timeout) -> bool:
        """`timeout` has arrived in the mailbox. False if it was cancelled or started anew since it was sent."""
        if self.running.get(timeout.type) is not timeout:
            return False
        self.cancel(timeout.type)
        return True

    def cancel(self, which: TimeoutType) -> None:
        """Stop a timeout, whether it runs, is due or waits in the mailbox; nothing happens if there is none."""
        self.due.pop(which, None)
        timeout = self.running.pop(which, None)
        if timeout is not None:
            timeout.timer.cancel()
            if not self.running:
                self._untie()

    def _update(self, which: TimeoutType, content: Any) -> None:
        if which in self.running:
            self.running[which].content = content
        else:
            self.due[which] = content  # one that is due keeps its place

    def _start(self, action: StartTimeout) -> None:
        which, seconds = timeout_type(action), action.seconds
        self.cancel(which)
        if seconds is None or self.process.status == DEAD:
            return
        if action.absolute:
            seconds -= self.process.runtime.clock.now()
        elif seconds == 0:
            self.due[which] = action.content
            return
        if not self.running:
            self._tie()
        self.running[which] = Timeout(self.process, which, seconds, action.content)

    def _tie(self) -> None:
        if self.process.ties is None:
            self.process.ties = {}
        self.process.ties[self] = None

    def _untie(self) -> None:
        ties = self.process.ties
        if ties is not None:
            ties.pop(self, None)
            if not ties:
                self.process.ties = None

    def let_go(self, process: Process, kept: Any, reason: Any) -> None:
        """The machine is dead."""
        for timeout in self.running.values():
            timeout.timer.cancel()
        self.running.clear()
