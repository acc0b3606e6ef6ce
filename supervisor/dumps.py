"""`debug.dump`: every process of a node, what it does and what it waits for, as text for people."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, Final, TextIO

from greenlet import getcurrent, greenlet

from supervisor.calls import ask_from_thread
from supervisor.distribution import RemoteTarget
from supervisor.native import get_ident
from supervisor.records import CLOSED, DEAD, IDLE, QUEUED, Process
from supervisor.reports import shown_entry
from supervisor.runtime import Runtime, current_runtime
from supervisor.turns import GenServerBehaviour
from supervisor.waits import PENDING, Wait

_STATUS: Final = ("idle", "queued", "running", "dead", "running", "closed")
_TURNS: Final = GenServerBehaviour.take_turn.__code__.co_filename
# The frames that have the entry at hand in a local variable `entry`.
_WITH_ENTRY: Final[frozenset[CodeType]] = frozenset(
    {GenServerBehaviour.take_turn.__code__, GenServerBehaviour._handle.__code__}
)


def dump(file: TextIO | None = None, runtime: Runtime | None = None) -> None:
    """Print every process of the node: status, messages that wait, what it handles, what it waits for, its stack.

    file: where to; standard error if not given. runtime: the node, if it is not that of the caller. Dead processes
    whose greenlets still run (orphans) come last. May be called anywhere; in a native thread it waits for the loop.
    """
    node = runtime or current_runtime()
    if get_ident() == node.scheduler.thread:
        _write(node, file)
    else:
        ask_from_thread(node, lambda: _write(node, file))


def dump_on_signal(
    signum: int | None = None, file: TextIO | None = None, runtime: Runtime | None = None
) -> Callable[[], None]:
    """`dump(file)` whenever this operating-system process gets a signal, SIGUSR2 if not given.

    It also comes while a handler holds the loop: the stack shows which. Call it in the main thread (ValueError
    elsewhere). Returns a function that puts the former handler of the signal back.
    """
    number = signal.SIGUSR2 if signum is None else signum
    node = runtime or current_runtime()

    def on_signal(_signum: int, _frame: FrameType | None) -> None:
        try:
            if get_ident() == node.scheduler.thread:
                _write(node, file)
                return
        except RuntimeError:  # it interrupted somebody who was writing to the same file: after that one
            pass
        except Exception:  # it must not hit whoever happens to run
            traceback.print_exc()
            return
        node.scheduler.run_in_loop(_write, node, file)

    former = signal.signal(number, on_signal)
    pulse = _Pulse(node)
    node.scheduler.run_in_loop(pulse.start)

    def undo() -> None:
        signal.signal(number, former if former is not None else signal.SIG_DFL)
        node.scheduler.run_in_loop(pulse.stop)

    return undo


class _Pulse:
    """Lets a loop come round once a second.

    A signal that comes between gevent's last look at signals and the poll is noticed when the poll ends; without this
    an idle node could sleep on it for as long as it is idle.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._loop = runtime.scheduler.hub.loop
        self._timer: Any = None

    def start(self) -> None:
        self._timer = self._loop.timer(1.0, 1.0, ref=False)
        self._timer.start(self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _beat(self) -> None:
        pass


def _write(runtime: Runtime, file: TextIO | None) -> None:
    out = file or sys.stderr
    out.write("\n".join(_lines(runtime)) + "\n")
    out.flush()


def _lines(runtime: Runtime) -> Iterator[str]:
    processes = sorted(runtime.table.values(), key=lambda process: process.pid.serial)
    left = orphans(runtime)
    busy = sum(process.greenlet is not None for process in processes)
    yield (
        f"=== node {runtime.home.name} at {time.strftime('%Y-%m-%d %H:%M:%S')}: {len(processes)} processes, {busy} of"
        f" them with a greenlet, {len(left)} orphans, {runtime.scheduler.workers} pooled greenlets"
    )
    waits = _waits_by_greenlet(runtime)
    for process in [*processes, *left]:
        yield from _process_lines(process, waits)


def _process_lines(process: Process, waits: dict[int, Wait]) -> Iterator[str]:
    status = "orphan" if process.status == DEAD else _STATUS[process.status]
    if getattr(process.behaviour, "suspended", False):
        status += ", suspended"
    waiting = f", {process.queue_length} messages wait" if process.queue_length else ""
    yield f"{process!r} {status}{waiting}"
    if process.greenlet is None or process.status in (IDLE, QUEUED, CLOSED):
        return
    frames = frames_of(process.greenlet)
    handling = _handling(process, frames)
    if handling:
        yield f"    handles {handling}"
    yield f"    waits for {_awaited(process, waits.get(id(process.greenlet)))}"
    if frames:
        yield "    stack, innermost last:"
        yield from ("      " + line for line in format_frames(frames))


# -- stacks ----------------------------------------------------------------------------------------------------------


def frames_of(target: greenlet) -> list[tuple[FrameType, int]]:
    """The frames of a greenlet of this thread, outermost first, with their line numbers; none before it has begun."""
    frame = sys._getframe() if target is getcurrent() else target.gr_frame
    found = []
    while frame is not None:
        found.append((frame, frame.f_lineno))
        frame = frame.f_back
    while found and found[0][0].f_code.co_filename == __file__:  # what looks at it is not part of it
        del found[0]
    found.reverse()
    return found


def format_frames(frames: list[tuple[FrameType, int]]) -> list[str]:
    """Lines as in a traceback."""
    summary = traceback.StackSummary.extract(iter(frames), lookup_lines=True)
    return "".join(summary.format()).rstrip().splitlines()


def _handling(process: Process, frames: list[tuple[FrameType, int]]) -> str:
    """Which message is being handled, by which callback."""
    callback = ""
    owner = type(process.server).__qualname__ if process.server is not None else process.label
    for frame, line in reversed(frames):
        code = frame.f_code
        if code in _WITH_ENTRY:
            entry = frame.f_locals.get("entry")
            return " in ".join(filter(None, [shown_entry(entry) if entry is not None else "", callback]))
        if code.co_filename != _TURNS:
            callback = f"{owner}.{code.co_name} ({code.co_filename}, line {line})"
    return ""


# -- waits -----------------------------------------------------------------------------------------------------------


def _waits_by_greenlet(runtime: Runtime) -> dict[int, Wait]:
    scheduler = runtime.scheduler
    waits = [*scheduler.lazy, *scheduler.waits.values()]
    return {id(wait.greenlet): wait for wait in waits if wait.greenlet is not None and wait.state == PENDING}


def _awaited(process: Process, wait: Wait | None) -> str:
    target = process.greenlet
    assert target is not None
    if target is getcurrent():
        return "nothing: it runs"
    if wait is None:
        # Either its wait has ended, or it waits by means that are not ours.
        return "its turn" if not target else "its turn, or for something of gevent's own: see the stack"
    return _what(process, wait) + _time_left(process, wait)


def _what(process: Process, wait: Wait) -> str:
    target: Any = wait.target
    if process.receiving is wait:
        return "a message"
    if isinstance(target, Process):
        return f"{target!r}"
    if isinstance(target, RemoteTarget):
        return f"{target.to!r} on node {target.node}"
    return "time to pass" if wait.timeout is not None else "somebody who is to wake it"


def _time_left(process: Process, wait: Wait) -> str:
    if wait.timeout is None:
        return ""
    left = wait.timer.deadline - process.runtime.clock.now() if wait.timer is not None else wait.timeout
    return f" ({left:.3g} s of {wait.timeout:.3g} s left)"


# -- orphans ---------------------------------------------------------------------------------------------------------


def is_orphan(process: Process) -> bool:
    """Whether it is dead, and its greenlet still works in its name."""
    target = process.greenlet
    if process.status != DEAD or target is None or target.dead:
        return False
    return getattr(target, "otp_process", None) is process


def orphans(runtime: Runtime) -> list[Process]:
    """The dead processes whose greenlets still run. On the loop's thread only."""
    found = [process for process in runtime.leaving if is_orphan(process)]
    return sorted(found, key=lambda process: process.pid.serial)
