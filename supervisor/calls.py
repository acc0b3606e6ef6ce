"""The client's side of servers: calls in all their forms, replies, stops.

A call of an idle server of this node is handed over (see `supervisor.scheduler`). Every other one waits: in the
server's mailbox, for another node, or for a name to be resolved.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from sys import getrefcount
from typing import Any, Final, TypeVar
from weakref import getweakrefcount

from greenlet import getcurrent

import supervisor.distribution as distribution
from supervisor.clock import Clock
from supervisor.directives import From, StopRequest
from supervisor.errors import CallAgain, CallTimeout, NoConnection, NoProcess, ProcessExit
from supervisor.native import Answer, get_ident
from supervisor.pids import Pid
from supervisor.processes import Via, die_here, new_wait, tell_trace
from supervisor.reasons import KILLED
from supervisor.records import CALL, DEAD, IDLE, QUEUED, RUNNING, SYSTEM, TRACED, Process
from supervisor.runtime import Runtime, current_process, current_runtime
from supervisor.waits import FAILED, PENDING, REPLIED, Wait

S = TypeVar("S")
R = TypeVar("R")

_MOMENT: Final = 0.001  # seconds that a call may wait for room in the link's queue before they count
_RESOLVE_AGAIN: Final = 0.05  # seconds until a name is looked up again that led to a node which is not connected


_new: Final = object.__new__


def describe_call(request: Any) -> str:
    return f"GenServer.call(..., {request!r:.80})"


def call_local(me: Process, target: Process, request: Any, timeout: float | None) -> Any:
    """Call a process of this node.

    An idle one is switched into at once: this is the hot path, so `WorkerPool.take` and `Scheduler.suspend` stand here
    in short form. One that is about to run does so now, and its mailbox goes first. Else the call waits in the mailbox.
    """
    runtime = me.runtime
    scheduler = runtime.scheduler
    wait = _new(Wait)  # by hand: the constructor's own frame costs a twentieth of a call (measured)
    wait.home = runtime.home
    wait.serial = next(runtime.serials)
    wait.scheduler = scheduler
    wait.greenlet = getcurrent()
    wait.timeout = timeout
    wait.target = target
    wait.state = PENDING
    wait.timer = None
    wait.value = None
    if target.status != IDLE or not (scheduler.budget > 0 or scheduler.has_budget()):
        _call_queued(me, target, (CALL, request, (me.pid, wait)), wait)
    else:
        scheduler.budget -= 1
        pool = scheduler.pool
        parked = pool.parked
        worker = parked.pop() if parked else pool.take()
        count = getrefcount(worker)
        if (
            (count != pool.references and count != pool.references + worker.holds)
            or getweakrefcount(worker)
            or worker.__dict__
        ):
            worker = pool.take_instead_of(worker)
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
    return wait.value if wait.state == REPLIED else _failed_call(wait, request)


def _call_queued(me: Process, target: Process, entry: Any, wait: Wait) -> None:
    if target is me:
        raise ProcessExit("calling_self", describe_call(entry[1]))
    scheduler = me.runtime.scheduler
    queued = target.status == QUEUED
    target.enqueue(entry)
    if queued and scheduler.has_budget():
        worker = scheduler.pool.take()
        target.status = RUNNING
        target.greenlet = worker
        worker.otp_process = target
        scheduler.suspend(wait, worker)
    else:
        scheduler.suspend(wait)


def _failed_call(wait: Wait, request: Any) -> Any:
    if wait.state == FAILED and isinstance(wait.value, ProcessExit):
        wait.value.call = describe_call(request)
    elif wait.state != FAILED:
        raise CallTimeout(f"no reply within {wait.timeout} s to {describe_call(request)}")
    raise wait.value


def call_any(server: Any, request: Any, timeout: float | None, caller: Process | None = None) -> Any:
    """The ways to call that are not a hand-over to a local pid: names, via names, other nodes, native threads.

    `caller`: in whose name the current greenlet calls, if that is not its own process.
    """
    runtime = current_runtime()
    if getattr(getcurrent(), "otp_process", None) is None and get_ident() != runtime.scheduler.thread:
        return ask_from_thread(runtime, partial(call_any, server, request, timeout))
    me = caller or current_process()
    if not isinstance(server, Pid) and hasattr(server, "resolve"):
        return ask_behind(server, lambda pid, left: call_any(pid, request, left, me), timeout)
    if runtime.moved:
        server = runtime.moved.latest(server)
    if me.status == TRACED:
        tell_trace(me, CALL, request, server)
    if runtime.is_remote(server):
        return _call_remote(me, server, request, timeout)
    target = runtime.find(server)
    if target is None:
        raise NoProcess(server, describe_call(request))
    return call_local(me, target, request, timeout)


def ask_behind(via: Via, ask: Callable[[Pid, float | None], R], timeout: float | None) -> R:
    """`ask(pid, seconds left)` of whoever is behind the name, within one deadline.

    One that was dead already has certainly not handled the request: its successor is asked. Nor has one on a node that
    is not connected: who keeps the name learns of that soon, or the node comes back.
    """
    runtime = current_runtime()
    clock = runtime.clock
    deadline = None if timeout is None else clock.now() + timeout
    gone: Pid | None = None
    while True:
        pid = via.resolve(_left(clock, deadline), gone)
        try:
            return ask(pid, _left(clock, deadline))  # anew: the name may have been long in coming
        except NoProcess:
            gone = pid
        except NoConnection as error:
            left = _left(clock, deadline)
            if error.was_sent or left == 0.0:
                raise
            _pause(runtime, _RESOLVE_AGAIN, left)


def _left(clock: Clock, deadline: float | None) -> float | None:
    """The seconds until `deadline`; None where there is none."""
    return None if deadline is None else max(0.0, deadline - clock.now())


def _pause(runtime: Runtime, seconds: float, at_most: float | None) -> None:
    runtime.scheduler.suspend(new_wait(runtime, seconds if at_most is None else min(seconds, at_most)))


def _call_remote(me: Process, server: Any, request: Any, timeout: float | None) -> Any:
    runtime = me.runtime
    node, to = runtime.address(server)
    wait = new_wait(runtime, timeout)
    began = runtime.clock.now()
    distribution.call(runtime, node, to, me.pid, wait, request)
    waited = runtime.clock.now() - began
    if timeout is not None and waited > _MOMENT:
        wait.timeout = max(0.0, timeout - waited)
    runtime.scheduler.suspend(wait)
    if wait.state == REPLIED:
        return wait.value
    if wait.state == FAILED and type(wait.value) is CallAgain:
        remaining = None if timeout is None else max(0.0, timeout - (runtime.clock.now() - began))
        return call_any(wait.value.pid, request, remaining, me)
    return _failed_call(wait, request)


def ask_from_thread(runtime: Runtime, fn: Callable[[], Any]) -> Any:
    """Block a native thread, never the loop: a process of the node runs `fn`, which may call."""
    answer = Answer()
    runtime.scheduler.run_in_loop(runtime.spawn, _ask_for_thread, (answer, fn), {})
    return answer.result()


def _ask_for_thread(answer: Answer, fn: Callable[[], Any]) -> None:
    try:
        answer.set_result(fn())
    except BaseException as error:
        answer.set_exception(error)


def run_inside(server: Any, fn: Callable[[Process], Any], timeout: float | None) -> Any:
    """Run `fn(process)` in a local server between two of its messages, and return what it returns.

    It goes ahead of all users' messages that wait. What `debug` and supervisors need of a server whatever its callbacks
    are. Raises as `GenServer.call` does.
    """
    me = current_process()
    target = me.runtime.find(server)
    if target is None or not target.is_server:
        raise NoProcess(server)
    if target is me:
        raise ProcessExit("calling_self", f"run_inside(..., {fn!r:.80})")
    wait = new_wait(me.runtime, timeout)
    wait.target = target
    target.enqueue_system((SYSTEM, fn, (me.pid, wait)))
    me.runtime.scheduler.suspend(wait)
    return wait.outcome()


def local_server(server: Any, cls: type[S]) -> S:
    """The object of a server of this node, for reads that need no call: a pid, a name or a via name of it.

    Raises NoProcess; ValueError for one of another node, TypeError where it is no `cls`.
    """
    runtime = current_runtime()
    if not isinstance(server, Pid) and hasattr(server, "resolve"):
        server = server.resolve(0.0)
    process = runtime.find(server)
    found = process.server if process is not None else None
    if isinstance(found, cls):
        return found
    if runtime.is_remote(server):
        raise ValueError(f"{server!r} belongs to another node; a {cls.__name__} is used on its own node")
    if found is None:
        raise NoProcess(server)
    raise TypeError(f"{server!r} is a {type(found).__name__}; expected a {cls.__name__}")


def stop_server(server: Any, reason: Any, timeout: float | None) -> None:
    """Ask for the end as a system message and wait for the Down."""
    me = current_process()
    runtime = me.runtime
    deadline = None if timeout is None else runtime.clock.now() + timeout
    if not isinstance(server, Pid) and hasattr(server, "resolve"):
        server = server.resolve(timeout)
        timeout = _left(runtime.clock, deadline)
    if runtime.moved:
        server = runtime.moved.latest(server)
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
    if wait.state == FAILED and type(wait.value) is CallAgain:
        stop_server(wait.value.pid, reason, _left(runtime.clock, deadline))
        return
    if wait.state != REPLIED:
        _failed_call(wait, "stop")


def reply(from_: From, value: Any) -> None:
    """Answer a call; see `GenServer.reply`."""
    ref = from_[1]
    me = getattr(getcurrent(), "otp_process", None)
    runtime = me.runtime if me is not None and me.status != DEAD else current_runtime()
    if me is not None and me.status == TRACED:
        me.behaviour.replies(me, from_, value)
    if runtime.is_own(ref):
        wait = ref if isinstance(ref, Wait) else runtime.armed_wait(ref)
        if isinstance(wait, Wait):
            wait.reply(value)
    else:
        distribution.reply(runtime, ref, value)


def is_awaited(from_: From) -> bool:
    """Whether the caller of an open call still waits, as far as this node has heard."""
    ref = from_[1]
    runtime = current_runtime()
    if runtime.is_own(ref):
        return runtime.armed_wait(ref) is not None
    peer = runtime.peers.get(ref.node)
    return peer is not None and ref in peer.served
