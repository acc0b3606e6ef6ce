"""GenServer: a process that answers calls, takes casts and keeps state, after OTP's gen_server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from dataclasses import dataclass
from sys import getrefcount
from threading import get_ident
from typing import Any, ClassVar, Final
from weakref import getweakrefcount

from greenlet import getcurrent

import supervisor.distribution as distribution
import supervisor.signals as signals
from supervisor.child_spec import ChildSpec, Shutdown
from supervisor.errors import BadReturn, CallTimeout, EncodeError, NoProcess, ProcessExit, StartError
from supervisor.pids import Pid, Ref
from supervisor.processes import Via, deliver, die_here, new_wait
from supervisor.reasons import KILL, KILLED, NORMAL, Crash, is_orderly
from supervisor.records import CALL, CAST, CONTINUE, DEAD, IDLE, INFO, INIT, QUEUED, RUNNING, SYSTEM, Process, parent_of
from supervisor.runtime import Runtime, current_process, current_runtime, interrupt_main, reason_of
from supervisor.scheduler import FAILED, PENDING, REPLIED, Wait

log = logging.getLogger(__name__)

From = tuple[Pid, Ref]
TIMEOUT: Final = "timeout"  # what handle_info gets when a `timeout=` that a callback returned has passed
_TURN_MESSAGES: Final = 256  # messages of one server before others get their turn
_TURN_SECONDS: Final = 0.002


# -- what callbacks return -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """From handle_call: reply with `value`; then a `timeout` in seconds or a `continue_` token for handle_continue."""

    value: Any
    timeout: float | None = None
    continue_: Any = None


@dataclass(frozen=True)
class NoReply:
    """From any handler: do not reply (now); `GenServer.reply(from_, value)` may do it later, from anywhere."""

    timeout: float | None = None
    continue_: Any = None


@dataclass(frozen=True)
class Stop:
    """From any handler or init: end with `reason`. From handle_call `reply` goes to the caller, if given."""

    reason: Any = NORMAL
    reply: Any = NoReply()


@dataclass(frozen=True)
class Continue:
    """From init: `handle_continue(token)` runs before any message, while the starter goes on already."""

    token: Any


@dataclass(frozen=True)
class Ignore:
    """From init: do not start, without an error; `start_link` returns None."""


_DIRECTIVES: Final = frozenset({Reply, NoReply, Stop, Continue, Ignore})


class Start:
    """The first entry of a server: what its init is called with, and who waits for it."""

    __slots__ = ("args", "cls", "kwargs", "wait")

    def __init__(self, cls: type[GenServer], args: tuple[Any, ...], kwargs: dict[str, Any], wait: Wait) -> None:
        self.cls = cls
        self.args = args
        self.kwargs = kwargs
        self.wait = wait


class GenServer:
    """The base of servers. Subclass it and override the callbacks you need; keep state in `self.state`.

    Callbacks run one at a time, on a greenlet of the server. They may block; messages wait meanwhile. An exception
    that escapes ends the process with a `Crash`.
    """

    state: Any = None
    restart: ClassVar[str] = "permanent"
    shutdown: ClassVar[Shutdown] = 5.0

    # -- callbacks ---------------------------------------------------------------------------------------------------

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Set up the server; has run when start returns.

        Returns None, Continue(token), Ignore() or Stop(reason). The default keeps a single argument as the state.
        """
        if args or kwargs:
            self.state = args[0] if len(args) == 1 and not kwargs else (args, kwargs)

    def handle_call(self, request: Any, from_: From) -> Any:
        """Answer a call: return the reply itself, or Reply, NoReply or Stop."""
        raise NotImplementedError(f"{type(self).__name__} got a call {request!r:.200} but has no handle_call")

    def handle_cast(self, request: Any) -> Any:
        """Take a cast: return None, NoReply(...) or Stop(reason)."""
        raise NotImplementedError(f"{type(self).__name__} got a cast {request!r:.200} but has no handle_cast")

    def handle_info(self, message: Any) -> Any:
        """Take any other message: return None, NoReply(...) or Stop(reason). The default logs and drops it."""
        log.warning("%s %r got an unexpected message %.200r", type(self).__name__, current_process().pid, message)

    def handle_continue(self, token: Any) -> Any:
        """Go on with what init or a handler began, before any other message."""
        raise NotImplementedError(f"{type(self).__name__} continues with {token!r} but has no handle_continue")

    def terminate(self, reason: Any) -> None:
        """Clean up. Runs when the server stops by itself or crashes, and on exit signals if it traps exits."""

    def _take_init(self, value: Any) -> Any:
        """`init` returned something that only another kind of server understands: take it and return a result of init.

        For our own subclasses (a supervisor starts its children here). What it raises fails the start.
        """
        raise BadReturn(_bad_init(type(self), value))

    # -- starting ----------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(cls, *args: Any, name: Any = None, timeout: float | None = None, **kwargs: Any) -> Pid:
        """Start the server linked to the caller; returns its pid once `init` has run.

        name: register it, before init runs; AlreadyRegistered where another process has the name.
        timeout: seconds that init may take; then the server is killed and StartError("timeout") raised.
        A failed init raises StartError(reason), and no exit signal is sent. Returns None where init returned Ignore(),
        which the type leaves out: only such a class can do it.
        """
        return _start(cls, args, kwargs, name, timeout, link=True)

    @classmethod
    def start(cls, *args: Any, name: Any = None, timeout: float | None = None, **kwargs: Any) -> Pid:
        """Like `start_link`, without the link."""
        return _start(cls, args, kwargs, name, timeout, link=False)

    @classmethod
    def child_spec(cls, *args: Any, id: str | None = None, **options: Any) -> ChildSpec:
        """A spec that starts this class with `args`. `options` are those of ChildSpec: restart, shutdown, ...

        `id` is the class name where it is not given; `name=` is passed on to start_link.
        """
        kwargs = {"name": options.pop("name")} if "name" in options else {}
        options.setdefault("restart", cls.restart)
        options.setdefault("shutdown", cls.shutdown)
        return ChildSpec(id or cls.__name__, (cls, "start_link", args, kwargs), **options)

    # -- using -------------------------------------------------------------------------------------------------------

    @staticmethod
    def call(server: Any, request: Any, timeout: float | None = 5.0) -> Any:
        """Send `request` and wait up to `timeout` seconds for the reply; None waits for ever.

        Raises NoProcess (not handled), ProcessExit (it died before it replied), NoConnection (its node was lost) or
        CallTimeout (it may still be handled; a late reply reaches nobody). A process that calls itself gets
        ProcessExit("calling_self") instead of a deadlock.
        """
        me = getattr(getcurrent(), "otp_process", None)
        if me is not None and type(server) is Pid and server.home is me.runtime.home and me.status == RUNNING:
            target = me.runtime.table.get(server.serial)
            if target is not None:
                return _call_local(me, target, request, timeout)
        return _call_any(server, request, timeout)

    @staticmethod
    def cast(server: Any, request: Any) -> None:
        """Send `request` and go on. Dropped when the process is dead; NoProcess for an unknown local name."""
        me = getattr(getcurrent(), "otp_process", None)
        if me is not None and me.status == RUNNING and type(server) is Pid and server.home is me.runtime.home:
            target = me.runtime.table.get(server.serial)
            if target is not None:
                target.enqueue((CAST, request))
            return
        deliver(server, CAST, request)

    @staticmethod
    def reply(from_: From, value: Any) -> None:
        """Answer a call for which handle_call returned NoReply; from any process of any node.

        A reply to a caller that no longer waits is dropped; so is a second one.
        """
        ref = from_[1]
        runtime = current_runtime()
        if ref.home is runtime.home or ref.home.same_as(runtime.home):
            wait = ref if isinstance(ref, Wait) else runtime.armed_wait(ref)
            if isinstance(wait, Wait):
                wait.reply(value)
        else:
            distribution.reply(runtime, ref, value)

    @staticmethod
    def stop(server: Any, reason: Any = NORMAL, timeout: float | None = None) -> None:
        """Stop the server after the message at hand: `terminate(reason)` runs, and it has ended when this returns.

        Raises NoProcess when there is none, CallTimeout when it has not ended within `timeout` seconds.
        """
        _stop_server(server, reason, timeout)


# -- calling ---------------------------------------------------------------------------------------------------------


def _describe(request: Any) -> str:
    return f"GenServer.call(..., {request!r:.80})"


def _call_local(me: Process, target: Process, request: Any, timeout: float | None) -> Any:
    """Call a process of this node.

    An idle one is switched into at once: this is the hot path, so `Scheduler.take` and `Scheduler.suspend` stand here
    in short form. One that is about to run does so now, and its mailbox goes first. Else the call waits in the mailbox.
    """
    runtime = me.runtime
    scheduler = runtime.scheduler
    wait = Wait(runtime.home, next(runtime.serials), scheduler, getcurrent(), timeout, target)
    if target.status != IDLE or not (scheduler.budget > 0 or scheduler.has_budget()):
        _call_queued(me, target, (CALL, request, (me.pid, wait)), wait)
    else:
        scheduler.budget -= 1
        pool = scheduler.pool
        worker = pool.pop() if pool else scheduler.take()
        count = getrefcount(worker)
        if (
            (count != scheduler.references and count != scheduler.references + worker.holds)
            or getweakrefcount(worker)
            or worker.__dict__
        ):
            worker = scheduler.take_instead_of(worker)
        target.status = RUNNING
        target.greenlet = worker
        worker.otp_process = target
        worker.message = (CALL, request, (me.pid, wait))
        lazy = scheduler.lazy
        lazy.append(wait)
        try:
            worker.switch()
            if wait.state == PENDING:
                scheduler.resume_waiting(wait)
        except BaseException:
            scheduler.abandon(wait)
            raise
        if lazy and lazy[-1] is wait:
            lazy.pop()
        else:
            scheduler.settle(wait)
    if wait.state == REPLIED and me.status == RUNNING:
        return wait.value
    die_here(me, KILLED)  # it was killed before the reply came: nothing of it may run on
    return _failed_call(wait, request)


def _call_queued(me: Process, target: Process, entry: Any, wait: Wait) -> None:
    if target is me:
        raise ProcessExit("calling_self", _describe(entry[1]))
    scheduler = me.runtime.scheduler
    queued = target.status == QUEUED
    target.enqueue(entry)
    if queued and scheduler.has_budget():
        worker = scheduler.take()
        target.status = RUNNING
        target.greenlet = worker
        worker.otp_process = target
        scheduler.suspend(wait, worker)
    else:
        scheduler.suspend(wait)


def _failed_call(wait: Wait, request: Any) -> Any:
    if wait.state == FAILED and isinstance(wait.value, ProcessExit):
        wait.value.call = _describe(request)
    elif wait.state != FAILED:
        raise CallTimeout(f"no reply within {wait.timeout} s to {_describe(request)}")
    raise wait.value


def _call_any(server: Any, request: Any, timeout: float | None) -> Any:
    """The ways to call that are not a hand-over to a local pid: names, via names, other nodes, native threads."""
    runtime = current_runtime()
    if getattr(getcurrent(), "otp_process", None) is None and get_ident() != runtime.scheduler.thread:
        return _call_from_thread(runtime, server, request, timeout)
    me = current_process()
    if not isinstance(server, Pid) and hasattr(server, "resolve"):
        return _call_via(me, server, request, timeout)
    if runtime.is_remote(server):
        return _call_remote(me, server, request, timeout)
    target = runtime.find(server)
    if target is None:
        raise NoProcess(server, _describe(request))
    return _call_local(me, target, request, timeout)


def _call_via(me: Process, via: Via, request: Any, timeout: float | None) -> Any:
    """Call whoever is behind the name. One that was dead already has certainly not handled the request: its successor
    is asked, within the same deadline."""
    clock = me.runtime.clock
    deadline = None if timeout is None else clock.now() + timeout
    gone: Pid | None = None
    while True:
        remaining = None if deadline is None else max(0.0, deadline - clock.now())
        pid = via.resolve(remaining, gone)
        try:
            return GenServer.call(pid, request, remaining)
        except NoProcess:
            gone = pid


def _call_remote(me: Process, server: Any, request: Any, timeout: float | None) -> Any:
    runtime = me.runtime
    node, to = runtime.address(server)
    wait = new_wait(runtime, timeout)
    distribution.call(runtime, node, to, me.pid, wait, request)
    runtime.scheduler.suspend(wait)
    if wait.state == REPLIED:
        return wait.value
    return _failed_call(wait, request)


def _call_from_thread(runtime: Runtime, server: Any, request: Any, timeout: float | None) -> Any:
    """Block a native thread, never the loop: a process of the node makes the call."""
    answer: ThreadFuture[Any] = ThreadFuture()
    runtime.scheduler.run_in_loop(runtime.spawn, _call_for_thread, (answer, server, request, timeout), {})
    return answer.result()


def _call_for_thread(answer: ThreadFuture[Any], server: Any, request: Any, timeout: float | None) -> None:
    try:
        answer.set_result(GenServer.call(server, request, timeout))
    except BaseException as error:
        answer.set_exception(error)


def run_inside(server: Any, fn: Callable[[Process], Any], timeout: float | None) -> Any:
    """Run `fn(process)` in a local server between two of its messages, and return what it returns.

    What `debug` and supervisors need of a server whatever its callbacks are. Raises as `GenServer.call` does.
    """
    me = current_process()
    target = me.runtime.find(server)
    if target is None or not target.is_server:
        raise NoProcess(server)
    wait = new_wait(me.runtime, timeout)
    wait.target = target
    target.enqueue((SYSTEM, fn, (me.pid, wait)))
    me.runtime.scheduler.suspend(wait)
    return wait.outcome()


def _stop_server(server: Any, reason: Any, timeout: float | None) -> None:
    """Ask for the end as a system message and wait for the Down."""
    me = current_process()
    runtime = me.runtime
    if not isinstance(server, Pid) and hasattr(server, "resolve"):
        server = server.resolve(timeout)
    if runtime.is_remote(server):
        node, to = runtime.address(server)
        wait = new_wait(runtime, timeout)
        distribution.call(runtime, node, to, me.pid, wait, StopRequest(reason))
    else:
        target = runtime.find(server)
        if target is None:
            raise NoProcess(server)
        if target is me:
            raise ProcessExit("calling_self", "GenServer.stop")
        wait = new_wait(runtime, timeout)
        wait.target = target
        target.enqueue((CALL, StopRequest(reason), (me.pid, wait)))
    runtime.scheduler.suspend(wait)
    if wait.state == FAILED and isinstance(wait.value, ProcessExit) and wait.value.reason == reason:
        return
    if wait.state != REPLIED:
        _failed_call(wait, "stop")


@dataclass(frozen=True)
class StopRequest:
    """A call that every server understands: end with `reason`. It is answered by the end itself."""

    reason: Any


# -- starting --------------------------------------------------------------------------------------------------------


def _start(
    cls: type[GenServer],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: Any,
    timeout: float | None,
    link: bool,
) -> Pid:
    me = current_process()
    runtime = me.runtime
    scheduler = runtime.scheduler
    process = runtime.add(BEHAVIOUR, RUNNING)
    if name is not None:
        _register_first(runtime, name, process)
    parent = parent_of(process, me)
    if link:
        signals.link_new(parent, process)
    else:
        process.parent = None  # as in OTP: who starts without a link may later send exit signals like anybody else
    wait = Wait(runtime.home, next(runtime.serials), scheduler, getcurrent(), timeout)
    wait.target = process
    entry = (INIT, Start(cls, args, kwargs, wait))
    try:
        if scheduler.budget > 0 or scheduler.has_budget():
            scheduler.budget -= 1
            worker = scheduler.take()
            process.greenlet = worker
            worker.otp_process = process
            worker.message = entry
            scheduler.suspend(wait, worker)
        else:
            process.status = IDLE
            process.enqueue(entry)
            scheduler.suspend(wait)
    except BaseException:
        # The starter is thrown at (a gevent.Timeout, its own exit) while init runs: nobody would know of the process.
        signals.unlink(parent, process.pid)
        signals.exit_process(process, KILLED)
        raise
    if wait.state == REPLIED:
        return wait.value  # type: ignore[no-any-return]
    raise _failed_start(process, parent, wait)


def _register_first(runtime: Runtime, name: Any, process: Process) -> None:
    try:
        runtime.register(name, process)
    except BaseException:
        signals.exit_process(process, NORMAL)
        raise


def _failed_start(process: Process, parent: Process, wait: Wait) -> StartError:
    if wait.state == FAILED:
        error = wait.value
        return StartError(error.reason if isinstance(error, ProcessExit) else error)
    signals.unlink(parent, process.pid)
    signals.send_exit(parent, process.pid, KILL)
    return StartError(TIMEOUT)


# -- the turn of a server --------------------------------------------------------------------------------------------


class _GenServerBehaviour:
    """Runs GenServer callbacks on a worker, by OTP's rules. It has no state: all of it is in the process record."""

    def take_turn(self, process: Process, entry: Any) -> Wait | None:
        """Run on the current worker until the mailbox is empty or it is somebody else's turn.

        `entry` comes first, if given. Returns the wait that was answered last, when the worker may switch to it.
        """
        if entry is None:
            return self._work_off(process, None)
        if entry[0] != CALL or process.timer is not None:
            return self._work_off(process, self._handle(process, entry))
        # The hot path: a call that was handed over, and answered at once.
        from_ = entry[2]
        try:
            result = process.server.handle_call(entry[1], from_)
            if type(result) not in _DIRECTIVES and process.mailbox is None and process.status == RUNNING:
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
        process.status = IDLE
        return direct

    def _handle(self, process: Process, entry: Any) -> Wait | None:
        """Run one callback. Returns the wait that it answered, if its waiter may be switched to."""
        kind = entry[0]
        if process.timer is not None:
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
        if kind not in _DIRECTIVES:
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
            _answer_elsewhere(process, from_, value)
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
            process.timer = clock.call_later(result.timeout, self._time_out, process)

    def _time_out(self, process: Process) -> None:
        process.timer = None
        if not process.mailbox:  # else a message came in time, and only waits for its turn
            process.enqueue((INFO, TIMEOUT))

    def _continue(self, process: Process, token: Any) -> None:
        """Before anything else that is in the mailbox, in this very turn."""
        if process.mailbox is None:
            process.mailbox = process.runtime.new_mailbox()
        process.mailbox.appendleft((CONTINUE, token))

    def _on_system(self, process: Process, fn: Callable[[Process], Any], from_: From) -> Wait | None:
        try:
            value = fn(process)
        except Exception as error:
            if isinstance(from_[1], Wait):
                from_[1].fail(error)
            return None
        return self._answer(process, from_, value)

    # -- beginning and end -------------------------------------------------------------------------------------------

    def _on_init(self, process: Process, start: Start) -> Wait | None:
        process.label = start.cls.__name__
        try:
            server = start.cls.__new__(start.cls)
            process.server = server
            result = server.init(*start.args, **start.kwargs)
            if result is not None and type(result) not in _DIRECTIVES:
                result = server._take_init(result)
        except BaseException as error:
            self._not_started(process, start.wait, reason_of(error))
            interrupt_main(process.runtime, error)
            return None
        if result is None or type(result) is Continue:
            if result is not None:
                self._continue(process, result.token)
            return self._answer(process, (process.pid, start.wait), process.pid)
        if type(result) is Ignore:
            direct = self._answer(process, (process.pid, start.wait), None)  # first: the end would fail the wait
            self._quietly_gone(process, NORMAL)
            return direct
        if type(result) is Stop:
            self._not_started(process, start.wait, result.reason)
        else:
            self._not_started(process, start.wait, Crash("BadReturn", _bad_init(start.cls, result)))
        return None

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
            log.error("%r stopped: %s", process, reason)
        signals.exit_process(process, reason)

    def _terminate(self, process: Process, reason: Any) -> None:
        try:
            process.server.terminate(reason)
        except BaseException as error:
            # Whatever it is, the end goes on: what escaped here would leave a process that is neither alive nor dead.
            if process.status != DEAD:
                log.error("%r: terminate(%r) failed: %s", process, reason, Crash.from_exception(error).traceback)
            interrupt_main(process.runtime, error)

    def _crashed(self, process: Process, error: BaseException, entry: Any) -> None:
        """A callback let something escape. In a dead process that is its Exit; else it is the end of the process."""
        if process.status == DEAD:
            return
        reason = reason_of(error)
        if isinstance(reason, Crash):
            self._report(process, reason, entry)
        if process.server is not None:
            self._terminate(process, reason)
        signals.exit_process(process, reason)
        interrupt_main(process.runtime, error)

    def _report(self, process: Process, reason: Crash, entry: Any) -> None:
        log.error(
            "%r crashed: %s\nlast message: %.500r\nstate: %.500r\n%s",
            process,
            reason,
            entry[1],
            getattr(process.server, "state", None),
            reason.traceback,
        )


def _answer_elsewhere(process: Process, from_: From, value: Any) -> None:
    """Answer a caller on another node. What cannot be sent fails the call, and not the server."""
    try:
        GenServer.reply(from_, value)
    except EncodeError as error:
        log.error("the reply of %r to %r cannot be sent: %s", process, from_[0], error)
        distribution.refuse(process.runtime, from_[1], error)


BEHAVIOUR: Final = _GenServerBehaviour()


def _bad_init(cls: type[GenServer], result: Any) -> str:
    return f"init of {cls.__name__} returned {result!r:.200}; expected None, Continue, Ignore or Stop"


_ACCEPTED: Final = "expected None, NoReply(...) or Stop(reason) (from handle_call also the reply itself or Reply(...))"
