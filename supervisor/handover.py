"""The two ends of a move: a server that is held and leaves its node, and its successor that takes over.

Who moves a server is not our business (`processhub.hub` does). The old copy: `Hold` it, then `gates.release` it if the
move fails, or `depart`, after which it never runs a handler again. The new one was started gated: `alter` it with the
state, and let it `take_over` what the old one had kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import supervisor.distribution as distribution
import supervisor.gates as gates
import supervisor.signals as signals
from supervisor.distribution import RemoteTarget, RemoteWait
from supervisor.errors import EncodeError, NoConnection, ProcessExit
from supervisor.pids import Pid, Ref
from supervisor.reasons import NOCONNECTION, NOPROC, Moved
from supervisor.records import CALL, CONTINUE, DEAD, SYSTEM, Process
from supervisor.waits import PENDING, Wait

if TYPE_CHECKING:
    from supervisor.runtime import Runtime

Held = Callable[["Hold", Any, BaseException | None], None]


# -- the old copy ----------------------------------------------------------------------------------------------------


class Hold:
    """Lets a server stand still at its turn: after the messages that wait now.

    done: called inside the server, with this, the state that it prepared (None without `with_state`), or the exception
        that `prepare_handover_state` raised; then the server has gone on. Not called when the server ends before, or
        after `cancel`.
    """

    __slots__ = ("cancelled", "done", "with_state")

    def __init__(self, process: Process, with_state: bool, done: Held) -> None:
        self.with_state = with_state
        self.done = done
        self.cancelled = False
        process.enqueue((SYSTEM, self, None))

    def cancel(self) -> None:
        """The server shall not stand still after all. Does nothing when it does already, see `gates.release`."""
        self.cancelled = True

    def __call__(self, process: Process) -> None:
        if self.cancelled:
            return
        state: Any = None
        error: Exception | None = None
        if any(entry[0] == CONTINUE for entry in process.waiting):
            error = RuntimeError("it is suspended in the midst of something (handle_continue)")
        elif self.with_state:
            try:
                state = process.server.prepare_handover_state()
            except Exception as failed:
                error = failed
        if self.cancelled or process.status == DEAD:
            return
        if error is None:
            gates.stand_still(process)
        self.done(self, state, error)


def moves_hot(process: Process | None) -> bool:
    """Whether it is a server that can be held, and whose state can be carried."""
    return process is not None and process.is_server and getattr(process.server, "_moves_hot", False)


def depart(process: Process, pid: Pid) -> tuple[list[Any], list[Ref]]:
    """A server that is held lives on as `pid`, on another node. It ends here, and never runs a handler again.

    Returns what it had kept, as mailbox entries, and who waits for its replies (also for calls that it has handled).
    Monitors are set again at `pid`, waits follow there, and what still comes is forwarded.
    """
    runtime = process.runtime
    runtime.scheduler.arm_waits()
    waiting = process.waiting
    for entry in waiting:
        if entry[0] == SYSTEM and entry[2] is not None and isinstance(entry[2][1], Wait):
            entry[2][1].fail(ProcessExit(Moved(pid)))  # what was to run inside is nothing that can be sent
    entries = [entry for entry in waiting if entry[0] < CONTINUE]
    waiters, process.waiters = process.waiters, None
    watchers, process.watchers = process.watchers, None
    runtime.moved.add(process.pid, pid)
    signals.exit_process(process, Moved(pid))
    for ref, watcher in (watchers or {}).items():
        _follow_or_tell(process, ref, watcher, pid)
    callers: list[Ref] = []
    for waiter in list((waiters or {}).values()):
        if isinstance(waiter, Wait):
            if waiter.state == PENDING:
                callers.append(waiter)
                follow(runtime, waiter, pid)
        else:
            if isinstance(waiter, RemoteWait):
                callers.append(waiter)
            waiter.target_died(Moved(pid))
    return entries, [Ref(caller.home, caller.serial) for caller in callers]


def _follow_or_tell(process: Process, ref: Ref, watcher: Pid, pid: Pid) -> None:
    other = process.runtime.local(watcher)
    if other is None:
        distribution.tell_watcher(process, ref, watcher, Moved(pid))
    else:
        follow_monitor(other, ref, pid)


# -- those who wait for it and watch it ------------------------------------------------------------------------------


def follow(runtime: Runtime, wait: Wait, pid: Pid) -> None:
    """What the wait is for comes from `pid` now. Its own deadline runs on."""
    if type(wait.target) is RemoteTarget:
        former = runtime.peers.get(wait.target.node)
        if former is not None:
            former.waits.pop(wait.serial, None)
    elif type(wait) is not Wait:  # the trace of the server that it left does not see its answer (`supervisor.debug`)
        wait.__class__ = Wait
        wait.value = None
    pid = runtime.moved.latest(pid)
    if runtime.is_remote(pid):
        wait.target = RemoteTarget(runtime, pid.node, pid)
        wait.target.add_waiter(wait)
        return
    process = runtime.local(pid)
    if process is None:
        wait.target = None
        wait.fail(ProcessExit(NOPROC))
    elif wait.target is not process:
        wait.target = process
        process.add_waiter(wait)


def follow_monitor(watcher: Process, ref: Ref, pid: Pid) -> None:
    """Set a monitor again, under the same Ref, at the pid under which its target lives on."""
    runtime = watcher.runtime
    if watcher.monitors is None or ref not in watcher.monitors:
        return
    pid = runtime.moved.latest(pid)
    watcher.monitors[ref] = pid
    if runtime.is_remote(pid):
        if not distribution.monitor(watcher, ref, pid):
            signals.fire_monitor(watcher, ref, pid, NOCONNECTION)
        return
    process = runtime.local(pid)
    if process is None:
        signals.fire_monitor(watcher, ref, pid, NOPROC)
    else:
        signals.add_watcher(process, ref, watcher.pid)


def fail_callers(runtime: Runtime, node: str, entries: Iterable[Any]) -> None:
    """Kept calls may have been handled on `node`, which was lost, or not: only their callers can know what follows."""
    for entry in entries:
        if entry[0] != CALL:
            continue
        ref = entry[2][1]
        if runtime.is_own(ref):
            wait = runtime.armed_wait(ref)
            if wait is not None:
                wait.fail(NoConnection(node))
        else:
            runtime.transmit(ref.node, (distribution.FAIL, ref, NOCONNECTION))


def refuse(runtime: Runtime, entry: Any, error: EncodeError) -> None:
    """A kept message cannot be sent to another node: who called is told."""
    if entry[0] == CALL:
        ref = entry[2][1]
        if not runtime.is_own(ref):
            distribution.refuse(runtime, ref, error)
        elif (wait := runtime.armed_wait(ref)) is not None:
            wait.fail(error)


# -- the new copy ----------------------------------------------------------------------------------------------------


def run_ahead(process: Process, fn: Callable[[Process], Any]) -> None:
    """Run `fn(process)` inside a server that is gated."""
    process.enqueue_system((SYSTEM, fn, None))


def take_over(
    process: Process, entries: Iterable[Any], callers: Sequence[Ref], source: str, awaited: Iterable[str]
) -> None:
    """Begin, with what the old copy had kept. Does nothing to a server that is not gated.

    callers: who waits for a reply. source, awaited: see `gates.Entrance`.
    """
    gate = process.runtime.gates.get(process.pid.serial)
    if isinstance(gate, gates.Entrance):
        for ref in callers:
            _owe(process, ref)
        gate.open(process, entries, source, awaited)


def _owe(process: Process, ref: Ref) -> None:
    """The caller behind `ref` is to be told when this process ends without a reply."""
    runtime = process.runtime
    if runtime.is_own(ref):
        wait = runtime.armed_wait(ref)
        if wait is not None and wait.state == PENDING:
            follow(runtime, wait, process.pid)
    elif runtime.connected(ref.node):
        remote = RemoteWait(ref, process)
        runtime.peer(ref.node).served[remote] = remote
        process.add_waiter(remote)
