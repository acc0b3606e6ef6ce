"""The `process` namespace: what any code does with processes, as in Erlang's `erlang` module.

Every function here may be used by any greenlet of the node's thread: the first call that needs a mailbox or a link
makes the greenlet a process. `send` also works from native threads.

`dest` is a Pid, a registered name, ("name", node), or a via name (an object with `resolve(timeout) -> Pid`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from greenlet import getcurrent

import supervisor.distribution as distribution
import supervisor.signals as signals
from supervisor.clock import Timer
from supervisor.errors import CallTimeout, Exit, NoProcess, ProcessExit, ReceiveTimeout
from supervisor.infos import as_message
from supervisor.infos import info as info
from supervisor.native import get_ident
from supervisor.pids import Pid, Ref
from supervisor.reasons import KILL, KILLED, NOPROC
from supervisor.records import DEAD, INFO, TRACED, Process, parent_of
from supervisor.runtime import Runtime, current_process, current_runtime
from supervisor.runtime import claim_thread as claim_thread
from supervisor.vias import Via as Via
from supervisor.waits import FAILED, Wait

T = TypeVar("T")

# -- starting --------------------------------------------------------------------------------------------------------


def spawn(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Pid:
    """Start a plain process that runs `fn(*args, **kwargs)` on a greenlet of its own, and return its pid at once.

    It begins when the caller next gives way. It ends with `normal` when `fn` returns, else with a `Crash`.
    """
    return current_runtime().spawn(fn, args, kwargs).pid


def spawn_link(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Pid:
    """`spawn` and link in one step: there is no moment in which one side can end unnoticed."""
    me = current_process()
    process = me.runtime.spawn(fn, args, kwargs)
    signals.link(parent_of(process, me), process.pid)
    return process.pid


def spawn_monitor(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Pid, Ref]:
    """`spawn` and monitor in one step."""
    me = current_process()
    pid = me.runtime.spawn(fn, args, kwargs).pid
    return pid, signals.monitor(me, pid)


def self() -> Pid:
    """The pid of the process that calls."""
    return current_process().pid


# -- messages --------------------------------------------------------------------------------------------------------


def send(dest: Any, message: Any) -> None:
    """Put `message` into the mailbox of `dest` and go on; a local send never gives way.

    A message to a dead pid is dropped, and so is one to a node that is not connected. Raises NoProcess for a local
    name (or via name) that nobody has, EncodeError for a message that cannot be sent to another node.
    """
    deliver(dest, INFO, message)


def deliver(dest: Any, kind: int, message: Any) -> None:
    """What `send` and `GenServer.cast` share: `kind` is INFO or CAST."""
    me = getattr(getcurrent(), "otp_process", None)
    runtime: Runtime = me.runtime if me is not None and me.status != DEAD else current_runtime()
    if me is None and get_ident() != runtime.scheduler.thread:
        _check_name(runtime, dest)
        runtime.scheduler.run_in_loop(_deliver_late, runtime, dest, kind, message)
        return
    if not isinstance(dest, Pid) and hasattr(dest, "resolve"):
        dest = dest.resolve(0.0)
    if runtime.moved:
        dest = runtime.moved.latest(dest)
    if me is not None and me.status == TRACED:
        tell_trace(me, kind, message, dest)
    if runtime.is_remote(dest):
        node, to = runtime.address(dest)
        op = distribution.SEND if kind == INFO else distribution.CAST_OP
        runtime.transmit(node, (op, to, message))
        return
    target = runtime.find(dest)
    if target is not None:
        target.enqueue((kind, message))
    elif not isinstance(dest, Pid):
        raise NoProcess(dest)


def tell_trace(me: Process, kind: int, message: Any, dest: Any) -> None:
    """A process whose status is TRACED sends something: INFO, CAST or CALL."""
    traced: Any = me.behaviour  # a `supervisor.debugged.Debugged`
    traced.sends(me, kind, message, dest)


def _check_name(runtime: Runtime, dest: Any) -> None:
    """From a native thread the delivery comes later; an unknown name is an error of the caller now."""
    if isinstance(dest, Pid) or hasattr(dest, "resolve") or runtime.is_remote(dest):
        return
    if runtime.find(dest) is None:
        raise NoProcess(dest)


def _deliver_late(runtime: Runtime, dest: Any, kind: int, message: Any) -> None:
    # A process of its own: what can block (a full link) must not do so on the loop's greenlet.
    runtime.spawn(_deliver_quietly, (dest, kind, message), {})


def _deliver_quietly(dest: Any, kind: int, message: Any) -> None:
    try:
        deliver(dest, kind, message)
    except NoProcess:
        pass  # its process ended between the call in the thread and now: as for a dead pid


def receive(match: Callable[[Any], object] | None = None, timeout: float | None = None) -> Any:
    """Take the first message for which `match(message)` is true out of the mailbox, waiting for it if need be.

    Messages that do not match stay, in order. `timeout` is in seconds; None waits for ever, 0 only looks.
    Raises ReceiveTimeout.
    """
    me = current_process()
    if me.is_server:
        raise RuntimeError("receive was called in a server process: its messages go to handle_call, _cast and _info")
    deadline = None if timeout is None else me.runtime.clock.now() + timeout
    seen = 0
    while True:
        found, seen = _take_match(me, match, seen)
        if found is not None:
            return found[0]
        if not _wait_for_message(me, deadline):
            raise ReceiveTimeout(f"no matching message within {timeout} s ({me.queue_length} others are waiting)")


def _take_match(me: Process, match: Callable[[Any], object] | None, seen: int) -> tuple[tuple[Any] | None, int]:
    """The first match at or after position `seen`, taken out; and how far we looked."""
    mailbox = me.mailbox
    if not mailbox:
        return None, 0
    if match is None:
        return (as_message(mailbox.popleft()),), 0
    for position in range(seen, len(mailbox)):
        message = as_message(mailbox[position])
        if match(message):
            del mailbox[position]
            return (message,), position
    return None, len(mailbox)


def _wait_for_message(me: Process, deadline: float | None) -> bool:
    """Suspend until a message arrives. False when the deadline has passed."""
    remaining = None if deadline is None else deadline - me.runtime.clock.now()
    if remaining is not None and remaining <= 0:
        return False
    wait = new_wait(me.runtime, remaining)
    me.receiving = wait
    try:
        me.runtime.scheduler.suspend(wait)
    finally:
        me.receiving = None
    return True


def new_wait(runtime: Runtime, timeout: float | None) -> Wait:
    """A wait of the current greenlet, for `Scheduler.suspend`."""
    return Wait(runtime.home, next(runtime.serials), runtime.scheduler, getcurrent(), timeout)


def await_exit(pid: Pid, timeout: float | None) -> Any:
    """Wait until a local process has ended and return its exit reason; `noproc` if it was dead before.

    Takes no message and sends none, so a server process may use it too. Raises CallTimeout after `timeout` seconds.
    """
    me = current_process()
    target = me.runtime.local(pid)
    if target is None:
        return NOPROC
    wait = new_wait(me.runtime, timeout)
    wait.target = target
    me.runtime.scheduler.suspend(wait)
    if wait.state == FAILED and isinstance(wait.value, ProcessExit):
        return wait.value.reason
    raise CallTimeout(f"{pid!r} has not ended within {timeout} s")


def give_way(me: Process, long_step: bool = False) -> None:
    """Let others, timers and I/O run, if this process has used up its share. For long work in slices.

    long_step: what was done since the last time may have taken a millisecond or more. Else many steps may pass before
    it is looked at the clock.
    """
    scheduler = me.runtime.scheduler
    if not (scheduler.has_time() if long_step else scheduler.has_budget()):
        wait = new_wait(me.runtime, None)
        wait.reply(None)
        scheduler.suspend(wait)


def unhurried(items: Iterable[T]) -> Iterator[T]:
    """The items as they are now, with turns for others in between: for a long walk over something that may change."""
    me = current_process()
    for item in list(items):
        yield item
        give_way(me)


def send_after(dest: Any, message: Any, seconds: float) -> Timer:
    """Send `message` to `dest` once `seconds` have passed on the node's clock. `cancel()` of the result prevents it.

    A name is resolved when the time has come; nothing happens if nobody has it then.
    """
    runtime = current_runtime()
    runtime.check_thread()
    return runtime.clock.call_later(seconds, _deliver_late, runtime, dest, INFO, message)


def sleep(seconds: float) -> None:
    """Suspend the caller for `seconds` of the node's clock; messages wait meanwhile."""
    runtime = current_runtime()
    runtime.check_thread()
    if runtime.scheduler.on_loop_greenlet():
        raise RuntimeError("process.sleep was called on the event loop's own greenlet")
    wait = new_wait(runtime, max(0.0, seconds))
    runtime.scheduler.suspend(wait)


def now() -> float:
    """Monotonic seconds of the node's clock, which is virtual in tests."""
    return current_runtime().clock.now()


# -- links, monitors, exits ------------------------------------------------------------------------------------------


def link(pid: Pid) -> None:
    """Link the caller and `pid`: when one ends, the other gets an exit signal. To a dead pid: a signal `noproc`."""
    me = current_process()
    signals.link(me, pid)
    die_here(me, NOPROC)


def unlink(pid: Pid) -> None:
    """Take the link away; no exit signal comes through it afterwards."""
    signals.unlink(current_process(), pid)


def monitor(dest: Any) -> Ref:
    """Watch `dest`: when it ends the caller gets `Down(ref, pid, reason)`; at once with `noproc` if it is dead."""
    me = current_process()
    if not isinstance(dest, Pid) and hasattr(dest, "resolve"):
        dest = dest.resolve(0.0)
    return signals.monitor(me, dest)


def demonitor(ref: Ref, flush: bool = False) -> None:
    """Stop watching; with `flush` a `Down` that has arrived already is taken out of the mailbox."""
    signals.demonitor(current_process(), ref, flush)


def exit(pid: Pid, reason: Any) -> None:
    """Send an exit signal to `pid`, which need not be linked. `"kill"` cannot be trapped.

    A local process that dies of it is gone from the process table when this returns. Does nothing for a dead pid.
    To the caller itself it raises `Exit`.
    """
    me = current_process()
    signals.send_exit(me, pid, reason)
    die_here(me, KILLED if reason == KILL else reason)


def die_here(me: Process, reason: Any) -> None:
    """Unwind the caller, process `me`, if it is dead."""
    if me.status == DEAD:
        if me.adopted and getattr(getcurrent(), "otp_process", None) is me:
            del getcurrent().otp_process  # type: ignore[attr-defined]  # the greenlet may become another process
        raise Exit(reason)


def trap_exit(flag: bool) -> bool:
    """Turn exit signals to the caller into `ExitSignal` messages, or stop doing so. Returns the former setting."""
    me = current_process()
    before, me.trap_exit = me.trap_exit, flag
    return before


# -- looking ---------------------------------------------------------------------------------------------------------


def alive(pid: Pid) -> bool:
    """Whether a local process is alive: not if its pid is of an earlier life of this node.

    Raises ValueError for a pid of another node (monitor it instead).
    """
    runtime = current_runtime()
    if runtime.is_remote(pid) and pid.node != runtime.home.name:
        raise ValueError(f"{pid!r} belongs to node {pid.node!r}: alive() only knows local processes; monitor it")
    return runtime.local(pid) is not None


def set_label(label: Any) -> None:
    """Say what the calling process is, for people: `repr`, `info`, crash reports and `debug` show it.

    It starts as the name of the server's class or of the function that the process runs. It need not be unique.
    """
    current_process().label = label


def register(name: Any, pid: Pid) -> None:
    """Give a local process a name, or a via name that can be given. Raises AlreadyRegistered, or NoProcess for a dead
    pid."""
    runtime = current_runtime()
    process = runtime.local(pid)
    if process is None:
        raise NoProcess(pid)
    runtime.register(name, process)


def unregister(name: Any) -> None:
    """Take a name, or a via name that can be taken away, from whoever has it. Raises NoProcess when nobody has it.

    TypeError for a via name that goes with its process only (`ProcessHub.via`).
    """
    current_runtime().unregister(name)


def whereis(name: Any) -> Pid | None:
    """The pid of the local process with this name, or of the process behind a via name."""
    if hasattr(name, "resolve"):
        try:
            return name.resolve(0.0)  # type: ignore[no-any-return]
        except (NoProcess, CallTimeout):
            return None
    process = current_runtime().names.get(name)
    return process.pid if process is not None else None
