"""The server's side: one turn of a GenServer, by OTP's rules."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import supervisor.calls as calls
import supervisor.distribution as distribution
import supervisor.reports as reports
import supervisor.signals as signals
from supervisor.directives import DIRECTIVES, TIMEOUT, Continue, From, Ignore, NoReply, Reply, Stop, StopRequest
from supervisor.errors import BadReturn, EncodeError, ProcessExit
from supervisor.pids import Pid
from supervisor.reasons import NORMAL, Crash, is_orderly
from supervisor.records import CALL, CAST, CONTINUE, DEAD, IDLE, INFO, INIT, QUEUED, RUNNING, START, SYSTEM, Process
from supervisor.runtime import interrupt_main, reason_of
from supervisor.waits import PENDING, REPLIED, Wait

log = logging.getLogger(__name__)

_TURN_MESSAGES: Final = 256  # messages of one server before others get their turn
_TURN_SECONDS: Final = 0.002


class Start:
    """The first entry of a server: what its init is called with, and who waits for it."""

    __slots__ = ("args", "cls", "kwargs", "reason", "wait")

    def __init__(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any], wait: Wait, reason: str) -> None:
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
        self.wait = wait
        self.reason = reason


class GenServerBehaviour:
    """Runs GenServer callbacks on a worker, by OTP's rules. It has no state: all of it is in the process record."""

    held: Sequence[Any] = ()

    def hand_out(self) -> Sequence[Any]:
        """Give up what is held, see `Behaviour`."""
        return ()

    def take_turn(self, process: Process, entry: Any) -> Wait | None:
        """Run on the current worker until the mailbox is empty or it is somebody else's turn.

        `entry` comes first, if given. Returns the wait that was answered last, when the worker may switch to it.
        """
        if entry is None:
            return self._work_off(process, None)
        if entry[0] != CALL or process.timer is not None:
            if entry[0] == INIT:
                direct = self._on_init(process, entry[1])
                if process.mailbox is None and process.status == RUNNING:
                    process.greenlet = None
                    process.status = process.at_rest
                    return direct
            else:
                direct = self._handle(process, entry)
            return self._work_off(process, direct)
        # The hot path: a call that was handed over, and answered at once.
        from_ = entry[2]
        try:
            result = process.server.handle_call(entry[1], from_)
            if type(result) not in DIRECTIVES and process.mailbox is None and process.status == RUNNING:
                wait = from_[1]
                process.greenlet = None
                process.status = IDLE
                if wait.state != PENDING:
                    return None
                wait.state = REPLIED
                wait.value = result
                return wait  # type: ignore[no-any-return]
            direct = self._called(process, result, from_)
        except BaseException as error:
            direct = None
            self._crashed(process, error, entry)
        return self._work_off(process, direct)

    def _work_off(self, process: Process, direct: Wait | None) -> Wait | None:
        """Handle what is in the mailbox, up to a bound. `direct` was answered before."""
        budget = _TURN_MESSAGES
        while process.status != DEAD:
            mailbox = process.mailbox
            if not mailbox:
                return self._becomes_idle(process, direct)
            if direct is not None:
                direct.scheduler.ready_up(direct)
            budget -= 1
            if budget == 0 or (not budget & 15 and process.runtime.scheduler.pass_is_long(_TURN_SECONDS)):
                self._requeue(process, _TURN_MESSAGES - budget)
                return None
            direct = self._handle(process, mailbox.popleft())
        return direct

    def _requeue(self, process: Process, handled: int) -> None:
        """The turn is over, and more messages wait."""
        scheduler = process.runtime.scheduler
        process.greenlet = None
        process.status = QUEUED
        scheduler.took_long(handled)
        scheduler.ready_up(process)

    def _becomes_idle(self, process: Process, direct: Wait | None) -> Wait | None:
        if process.mailbox is not None:
            process.runtime.recycle_mailbox(process.mailbox)
            process.mailbox = None
        process.greenlet = None
        process.status = process.at_rest
        return direct

    def _handle(self, process: Process, entry: Any) -> Wait | None:
        """Run one callback. Returns the wait that it answered, if its waiter may be switched to."""
        kind = entry[0]
        if process.timer is not None and kind != SYSTEM:
            process.timer.cancel()
            process.timer = None
        try:
            if kind == CALL:
                return self._on_call(process, entry[1], entry[2])
            if kind == CAST:
                result = process.server.handle_cast(entry[1])
            elif kind == INFO:
                message = entry[1]
                if type(message) is signals.ExitSignal and message.pid == process.parent:
                    self.end(process, message.reason)
                    return None
                result = process.server.handle_info(message)
            elif kind == CONTINUE:
                result = process.server.handle_continue(entry[1])
            elif kind == INIT:
                return self._on_init(process, entry[1])
            else:
                return self._on_system(process, entry[1], entry[2])
            if result is not None:
                self._directive(process, result)
        except BaseException as error:
            self._crashed(process, error, entry)
        return None

    def _on_call(self, process: Process, request: Any, from_: From) -> Wait | None:
        if type(request) is StopRequest:
            self.end(process, request.reason)
            return None
        return self._called(process, process.server.handle_call(request, from_), from_)

    def _called(self, process: Process, result: Any, from_: From) -> Wait | None:
        """Carry out what handle_call returned. Nothing of it counts when the process was killed meanwhile."""
        kind = type(result)
        if process.status == DEAD:
            return None
        if kind not in DIRECTIVES:
            return self._answer(process, from_, result)
        if kind is Reply:
            self._after(process, result)  # first: it can raise, and an answered caller has to be switched to
            return self._answer(process, from_, result.value)
        if kind is Stop and type(result.reply) is not NoReply:
            # As in OTP: terminate has run when the caller gets the reply.
            self._terminate(process, result.reason)
            direct = self._answer(process, from_, result.reply)
            signals.exit_process(process, result.reason)
            return direct
        self._directive(process, result)
        return None

    def _answer(self, process: Process, from_: From, value: Any) -> Wait | None:
        """Answer the caller. A local one that still waits is returned, so that the worker can switch to it."""
        wait = from_[1]
        if type(wait) is Wait and wait.scheduler is process.runtime.scheduler:
            if wait.state != PENDING or process.status == DEAD:
                return None
            wait.state = REPLIED
            wait.value = value
            return wait
        if process.status != DEAD:
            answer_elsewhere(process, from_, value)
        return None

    def _directive(self, process: Process, result: Any) -> None:
        """Carry out what a callback other than init returned. Nothing of it counts when the process was killed."""
        kind = type(result)
        if process.status == DEAD:
            return
        if kind is NoReply:
            self._after(process, result)
        elif kind is Stop:
            self.end(process, result.reason)
        else:
            raise BadReturn(f"a handler of {type(process.server).__name__} returned {result!r:.200}; {_ACCEPTED}")

    def _after(self, process: Process, result: Any) -> None:
        if result.continue_ is not None:
            self._continue(process, result.continue_)
        elif result.timeout is not None:
            clock = process.runtime.clock
            process.timer = clock.call_later(result.timeout, self.time_out, process)

    def time_out(self, process: Process) -> None:
        """The timeout that a callback returned is over."""
        process.timer = None
        mailbox = process.mailbox
        if not mailbox or mailbox[-1][0] == SYSTEM:  # else a message came in time, and only waits for its turn
            process.enqueue((INFO, TIMEOUT))

    def _continue(self, process: Process, token: Any) -> None:
        """Before anything else that is in the mailbox, in this very turn."""
        if process.mailbox is None:
            process.mailbox = process.runtime.new_mailbox()
        process.mailbox.appendleft((CONTINUE, token))

    def _on_system(self, process: Process, fn: Callable[[Process], Any], from_: From | None) -> Wait | None:
        try:
            value = fn(process)
        except Exception as error:
            if from_ is None:
                log.exception("%r: a system message failed", process)
            elif isinstance(from_[1], Wait):
                from_[1].fail(error)
            return None
        return self._answer(process, from_, value) if from_ is not None else None

    # -- beginning and end -------------------------------------------------------------------------------------------

    def _on_init(self, process: Process, start: Start) -> Wait | None:
        cls = start.cls
        process.label = cls.__name__
        try:
            process.server = server = cls.__new__(cls)
            if start.reason is not START:  # most keep the class's own: 100 bytes less each
                server.start_reason = start.reason
            result = server.init(*start.args, **start.kwargs)
            if type(result) not in server._init_results:
                result = server._take_init(result)
        except BaseException as error:
            self._not_started(process, start.wait, reason_of(error))
            interrupt_main(process.runtime, error)
            return None
        if result is None or type(result) is Continue:
            if result is not None:
                self._continue(process, result.token)
            return self._started(process, start.wait, process.pid)
        if type(result) is Ignore:
            direct = self._started(process, start.wait, None)  # first: the end would fail the wait
            self._quietly_gone(process, NORMAL)
            return direct
        self._not_started(process, start.wait, result.reason)
        return None

    def _started(self, process: Process, wait: Wait, value: Pid | None) -> Wait | None:
        """Answer the starter, who is on this node and may have left."""
        if wait.state != PENDING or process.status == DEAD:
            return None
        wait.state = REPLIED
        wait.value = value
        return wait

    def _not_started(self, process: Process, wait: Wait, reason: Any) -> None:
        """The start failed: the starter gets the reason as an exception, and no exit signal."""
        wait.fail(ProcessExit(reason))
        self._quietly_gone(process, reason)

    def _quietly_gone(self, process: Process, reason: Any) -> None:
        if process.status == DEAD:
            return
        if process.parent is not None:
            signals.unlink(process, process.parent)
        signals.exit_process(process, reason)

    def end(self, process: Process, reason: Any) -> None:
        """Stop in an orderly way: terminate, then the end."""
        self._terminate(process, reason)
        if not is_orderly(reason) and process.status != DEAD:
            _report(process, reason, "stopped", None)
        signals.exit_process(process, reason)

    def _terminate(self, process: Process, reason: Any) -> None:
        try:
            process.server.terminate(reason)
        except BaseException as error:
            # Whatever it is, the end goes on: what escaped here would leave a process that is neither alive nor dead.
            if process.status != DEAD:
                _report(process, Crash.from_exception(error), "failed in terminate", None)
            interrupt_main(process.runtime, error)

    def _crashed(self, process: Process, error: BaseException, entry: Any) -> None:
        """A callback let something escape. In a dead process that is its Exit; else it is the end of the process."""
        if process.status == DEAD:
            return
        reason = reason_of(error)
        if isinstance(reason, Crash):
            _report(process, reason, "crashed", entry)
        if process.server is not None:
            self._terminate(process, reason)
        signals.exit_process(process, reason)
        interrupt_main(process.runtime, error)


def _report(process: Process, reason: Any, what: str, entry: Any) -> None:
    try:
        reports.ended(process, reason, what, entry)
    except BaseException as error:  # a repr of the user's that lets Exit or Ctrl-C escape; the end itself goes on
        interrupt_main(process.runtime, error)


def answer_elsewhere(process: Process, from_: From, value: Any) -> None:
    """Answer a caller on another node. What cannot be sent fails the call, and not the server."""
    try:
        calls.reply(from_, value)
    except EncodeError as error:
        log.error("the reply of %r to %r cannot be sent: %s", process, from_[0], error)
        distribution.refuse(process.runtime, from_[1], error)


BEHAVIOUR: Final = GenServerBehaviour()


def for_all_servers(process: Process, entry: Any) -> bool:
    """Whether a server handles it by itself, whatever its callbacks are: also while it is suspended or gated."""
    kind = entry[0]
    if kind == INFO:
        return type(entry[1]) is signals.ExitSignal and entry[1].pid == process.parent
    return kind == SYSTEM or (kind == CALL and type(entry[1]) is StopRequest)


def bad_init(cls: type[Any], result: Any) -> str:
    """What to say when `init` returned something else than it may."""
    return f"init of {cls.__name__} returned {result!r:.200}; expected None, Continue, Ignore or Stop"


_ACCEPTED: Final = "expected None, NoReply(...) or Stop(reason) (from handle_call also the reply itself or Reply(...))"
