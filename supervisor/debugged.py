"""How a server runs while something of `supervisor.debug` is on for it.

Debugging costs nothing while it is off: a server that is debugged gets another behaviour, and gives it back afterwards.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from greenlet import getcurrent, greenlet

from supervisor.clock import Timer
from supervisor.directives import From
from supervisor.distribution import RemoteWait
from supervisor.pids import Pid, Ref
from supervisor.records import CALL, CONTINUE, DEAD, QUEUED, RUNNING, TRACED, Process
from supervisor.reports import KINDS
from supervisor.shortened import shortened
from supervisor.turns import BEHAVIOUR, GenServerBehaviour, for_all_servers
from supervisor.waits import PENDING, Wait

log = logging.getLogger("supervisor.debug")

REPLY: Final = "reply"


@dataclass(frozen=True)
class TraceEvent:
    """A message of a traced server, as it passes.

    direction: "in" when its handler is about to run, "out" for what the server sends: replies to its calls, whoever
    gives them, and messages, casts and calls of its own. kind: "call", "cast", "info" (`process.send`), "continue" or
    "reply". other: who called, or to whom it goes (a pid, or the name that was used); None where the sender is not
    known. at: seconds of the node's clock.
    """

    direction: str
    pid: Pid
    label: str
    kind: str
    message: Any
    other: Any
    at: float

    def __str__(self) -> str:
        arrow, preposition = ("<-", "from") if self.direction == "in" else ("->", "to")
        other = f" {preposition} {self.other!r}" if self.other is not None else ""
        return f"{self.label} {self.pid!r} {arrow} {self.kind} {shortened(self.message)}{other}"


Sink = Callable[[TraceEvent], object]


class Counts:
    """What `debug.statistics` counts."""

    __slots__ = ("messages_in", "messages_out", "reductions", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.reductions = 0
        self.messages_in = 0
        self.messages_out = 0


class Debugged(GenServerBehaviour):
    """Runs one server that is suspended, traced or counted.

    Invariant: `held` is empty but while suspended, or between `attach` and the turn that follows (then `_unsorted`).
    """

    def __init__(self) -> None:
        self.held: deque[Any] = deque()
        self.suspended = False
        self.sink: Sink | None = None
        self.counts: Counts | None = None
        self._unsorted = False
        self._teller: greenlet | None = None  # who runs the sink: what this one sends is no message of the server
        self._timeout: float | None = None
        self._answering = False

    # -- on and off; all of it runs inside the server ----------------------------------------------------------------

    @staticmethod
    def attach(process: Process) -> Debugged:
        """The debugged behaviour of a server; from now on it runs by it."""
        if isinstance(process.behaviour, Debugged):
            return process.behaviour
        debugged = process.behaviour = Debugged()
        mailbox, process.mailbox = process.mailbox, None
        if mailbox:
            # The turn at hand runs by the former behaviour until the mailbox is empty. So it is emptied here, and
            # another turn follows.
            debugged.held.extend(mailbox)
            debugged._unsorted = True
            process.runtime.scheduler.ready_up(_NextTurn(process))
        return debugged

    def detach_if_unused(self, process: Process) -> None:
        """Go back to the former behaviour, if nothing is on any more."""
        if not self.suspended and self.sink is None and self.counts is None and not self.held:
            process.behaviour = BEHAVIOUR

    def suspend(self, process: Process) -> None:
        """Hold users' messages from now on. The timeout that a callback returned stands still."""
        if self.suspended:
            return
        self.suspended = True
        timer: Timer | None = process.timer
        if timer is not None:
            self._timeout = timer.deadline - process.runtime.clock.now()
            timer.cancel()
            process.timer = None
        if not self._unsorted:
            self._sort(process)

    def resume(self, process: Process) -> None:
        """Handle the messages that were held, then those that come."""
        self.suspended = False
        timeout, self._timeout = self._timeout, None
        if timeout is not None and not self.held:
            process.timer = process.runtime.clock.call_later(timeout, self.time_out, process)
        if not self._unsorted:
            self._sort(process)

    # -- running -----------------------------------------------------------------------------------------------------

    def hand_out(self) -> list[Any]:
        held = list(self.held)
        self.held.clear()
        return held

    def take_turn(self, process: Process, entry: Any) -> Wait | None:
        if self._unsorted:
            if entry is not None:
                process.enqueue(entry)  # it came after those that are held
                entry = None
            self._sort(process)
        return self._work_off(process, self._handle(process, entry) if entry is not None else None)

    def _sort(self, process: Process) -> None:
        """Hold what is to be held of all that waits; the rest is in the mailbox, system messages first."""
        waiting = [*self.held, *(process.mailbox or ())]  # not what waits in a gate
        self._unsorted = False
        self.held.clear()
        if self.suspended:
            self.held.extend(entry for entry in waiting if not for_all_servers(process, entry))
            waiting = [entry for entry in waiting if for_all_servers(process, entry)]
        waiting.sort(key=lambda entry: entry[0] < CONTINUE)
        if process.mailbox is not None:
            process.mailbox.clear()
        elif waiting:
            process.mailbox = process.runtime.new_mailbox()
        if process.mailbox is not None:
            process.mailbox.extend(waiting)

    def _handle(self, process: Process, entry: Any) -> Wait | None:
        for_users = not for_all_servers(process, entry)
        if self.suspended and for_users:
            self.held.append(entry)
            return None
        watched = for_users and (self.sink is not None or self.counts is not None)
        process.status = TRACED if watched else RUNNING
        self._answering = watched and entry[0] == CALL
        if self._answering:
            _watch_answer(process, *entry[2])
        if self.counts is not None:
            self.counts.reductions += 1
            self.counts.messages_in += for_users and entry[0] != CONTINUE
        if self.sink is not None and for_users:
            caller = entry[2][0] if entry[0] == CALL else None
            self._tell(process, "in", KINDS[entry[0]], entry[1], caller)
        return super()._handle(process, entry)

    def _answer(self, process: Process, from_: From, value: Any) -> Wait | None:
        if self._answering and isinstance(from_[1], Wait):
            if type(from_[1]) is WatchedWait:
                from_[1].__class__ = Wait  # type: ignore[assignment]  # the way of all calls: it is answered by a hand-over
            if process.status != DEAD:
                self.out(process, REPLY, value, from_[0])
        return super()._answer(process, from_, value)

    # -- what goes out -----------------------------------------------------------------------------------------------

    def sends(self, process: Process, kind: int, message: Any, dest: Any) -> None:
        """The server sends something, see `records.TRACED`."""
        if self._teller is not getcurrent():
            self.out(process, KINDS[kind], message, dest)

    def replies(self, process: Process, from_: From, value: Any) -> None:
        """The server calls GenServer.reply. Where it is a call of its own, whose answer is watched, that will tell."""
        if self._teller is not getcurrent() and _watched_server(process, from_[1]) is not process:
            self.out(process, REPLY, value, from_[0])

    def out(self, process: Process, kind: str, message: Any, other: Any) -> None:
        """Count and show a message that leaves."""
        if self.counts is not None:
            self.counts.messages_out += 1
        if self.sink is not None:
            self._tell(process, "out", kind, message, other)

    def _tell(self, process: Process, direction: str, kind: str, message: Any, other: Any) -> None:
        now = process.runtime.clock.now()
        assert self.sink is not None
        before, self._teller = self._teller, getcurrent()
        try:
            self.sink(TraceEvent(direction, process.pid, str(process.label), kind, message, other, now))
        except Exception:  # as in OTP: a trace function that fails is taken away, and the server goes on
            log.exception("the trace of %r failed and is off now", process)
            self.sink = None
        finally:
            self._teller = before


class WatchedWait(Wait):
    """The wait of a caller of a debugged server: it sees the answer, whoever gives it.

    The wait of the call is made one by a change of its class, so that nobody pays for it else. Invariant: while it is
    PENDING its `value` is the pid of the caller.
    """

    __slots__ = ()

    def reply(self, value: Any) -> bool:
        caller = self.value
        self.__class__ = Wait  # type: ignore[assignment]
        if self.state == PENDING:
            _replied(self.target, value, caller)
        return self.reply(value)


class WatchedRemoteWait(RemoteWait):
    """The same for a caller on another node."""

    __slots__ = ("caller",)

    def __init__(self, ref: Ref, process: Process, caller: Pid) -> None:
        super().__init__(ref, process)
        self.caller = caller

    def answered(self, value: Any) -> None:
        _replied(self.process, value, self.caller)


def _watch_answer(process: Process, caller: Pid, ref: Ref) -> None:
    """See to it that the answer of a call is noticed."""
    if type(ref) is Wait:
        if ref.state == PENDING:
            ref.__class__ = WatchedWait
            ref.value = caller
        return
    peer = process.runtime.peers.get(ref.node)
    if peer is not None and ref in peer.served:
        peer.served[ref] = WatchedRemoteWait(ref, process, caller)


def _watched_server(process: Process, ref: Ref) -> Process | None:
    """Who owes the answer, if that is watched."""
    if isinstance(ref, Wait):
        return ref.target if type(ref) is WatchedWait else None
    peer = process.runtime.peers.get(ref.node)
    remote = peer.served.get(ref) if peer is not None else None
    return remote.process if type(remote) is WatchedRemoteWait else None


def _replied(server: Process, value: Any, caller: Pid) -> None:
    behaviour = server.behaviour
    if isinstance(behaviour, Debugged):  # else the trace has ended meanwhile
        behaviour.out(server, REPLY, value, caller)


class _NextTurn:
    """A server whose waiting messages were taken out of the mailbox goes on with them."""

    __slots__ = ("process",)

    def __init__(self, process: Process) -> None:
        self.process = process

    def resume(self) -> None:
        process = self.process
        if process.status == process.at_rest and process.behaviour is not None and process.behaviour.held:
            process.status = QUEUED
            process.resume()
