"""What every process of a test waits for, in words: for the message of a test that does not get on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Final

from greenlet import greenlet

from processhub.testing.virtual_clock import VirtualClock, VirtualTime
from supervisor.records import Process
from supervisor.runtime import Runtime
from supervisor.waits import Wait

_TIMERS_SHOWN: Final = 5
_HERE: Final = (f"{os.sep}supervisor{os.sep}", f"{os.sep}gevent{os.sep}")


def describe(time: VirtualTime, runtimes: Iterable[Runtime]) -> str:
    """One line per node, per process that runs or waits, and per timer that comes next."""
    lines = [f"It is {time.now():.6f} s of virtual time."]
    for runtime in runtimes:
        lines.append(f"{runtime.home.name}: {len(runtime.table)} processes")
        lines.extend(f"  {line}" for line in _processes(runtime))
        lines.extend(f"  {line}" for line in _timers(runtime))
    return "\n".join(lines)


def _processes(runtime: Runtime) -> Iterator[str]:
    waits = {wait.greenlet: wait for wait in runtime.scheduler.waits.values() if wait.greenlet is not None}
    for serial in sorted(runtime.table):
        process = runtime.table[serial]
        current = process.greenlet
        if current is not None and not current.dead:
            yield f"{process!r} {_wait(process, waits.get(current))}{_place(current)}"
        elif process.queue_length:
            yield f"{process!r} has {process.queue_length} messages and has not run yet"


def _wait(process: Process, wait: Wait | None) -> str:
    if wait is None:
        return "is not blocked in anything of ours: on real time, real I/O, a thread, or it spins"
    if wait is process.receiving:
        what = f"waits for a message ({process.queue_length} are there and do not match)"
    else:
        what = "waits for an answer" if wait.target is not None else "sleeps"
    until = f" until {wait.timer.deadline:.6f}" if wait.timer is not None else " for ever"
    return what + until


def _place(current: greenlet) -> str:
    """Where in the user's code, else where at all, a suspended greenlet stands."""
    frame: FrameType | None = current.gr_frame
    innermost = frame
    while frame is not None and any(part in frame.f_code.co_filename for part in _HERE):
        frame = frame.f_back
    found = frame or innermost
    return f", at {found.f_code.co_filename}:{found.f_lineno} in {found.f_code.co_name}" if found is not None else ""


def _timers(runtime: Runtime) -> Iterator[str]:
    clock = runtime.clock
    if not isinstance(clock, VirtualClock):
        yield f"is not on virtual time but on {clock!r}"
        return
    for timer in clock.due_timers()[:_TIMERS_SHOWN]:
        yield f"timer at {timer.deadline:.6f}: {getattr(timer.fn, '__qualname__', timer.fn)}"
