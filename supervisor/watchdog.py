"""The watchdog: a thread that says who holds the event loop, and which dead processes still run.

gevent cannot preempt: a handler that never waits holds its whole node. The watchdog looks from outside, a few times
per threshold; the node pays two callbacks per pass of its loop, and nothing per switch. It tells

- a loop that has not polled for `threshold` seconds: which process runs, which handler, where, and for how long; again
  whenever that time has doubled. Who does it again and again is told at doubling intervals, too;
- orphans: greenlets of dead processes that still run `orphans_after` seconds after they were seen first.

What runs is read with faulthandler: in one step, while nothing can switch. A frame that Python code walks through from
another thread may be switched away in the midst, and its stack with it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NamedTuple

from gevent import monkey

from supervisor.dumps import format_frames, frames_of, orphans
from supervisor.pids import Pid
from supervisor.records import Process
from supervisor.runtime import Runtime, current_runtime
from supervisor.turns import GenServerBehaviour

log = logging.getLogger(__name__)

Say = Callable[[str], object]

_LOOKS_PER_THRESHOLD: Final = 3
_ORPHANS_EVERY: Final = 1.0  # seconds
_PATIENCE: Final = (1.0, 64.0)  # seconds between two reports on the same culprit: at first, at most
_JOIN_SECONDS: Final = 5.0


class Place(NamedTuple):
    """One line of a stack."""

    file: str
    line: str
    function: str

    def __str__(self) -> str:
        return f"{self.function} ({self.file}, line {self.line})"


# -- using -----------------------------------------------------------------------------------------------------------

_running: dict[Runtime, Watchdog] = {}


def start(
    runtime: Runtime | None = None,
    threshold: float = 0.1,
    *,
    orphans_after: float = 5.0,
    say: Say | None = None,
) -> Watchdog:
    """Watch a node, the caller's if not given, from a thread of its own, until `stop`. One that watches it is replaced.

    threshold: seconds that a loop may be held. Lower ones cost more looks and tell more that does no harm.
    orphans_after: seconds that a dead process may take to unwind.
    say: takes each report, in the watchdog's thread; if not given it is logged as a warning.

    To be called on the node's own thread (RuntimeError elsewhere). The thread is a daemon; in a forked child there is
    no watchdog until it is started there.
    """
    node = runtime or current_runtime()
    node.check_thread()
    stop(node)
    watchdog = _running[node] = Watchdog(node, threshold, orphans_after, say or log.warning)
    watchdog.start()
    return watchdog


def stop(runtime: Runtime | None = None) -> None:
    """End the watchdog of a node, and its thread. Does nothing where there is none."""
    watchdog = _running.pop(runtime or current_runtime(), None)
    if watchdog is not None:
        watchdog.stop()


class Watchdog:
    """Watches one node; see `start`."""

    def __init__(self, runtime: Runtime, threshold: float, orphans_after: float, say: Say) -> None:
        if threshold <= 0:
            raise ValueError(f"threshold must be > 0 seconds; got {threshold!r}")
        self.runtime = runtime
        self.threshold = threshold
        self.orphans_after = orphans_after
        self.alive = False
        self._say = say
        # When the loop came back from polling; None while it polls. Written by the loop, read by the thread.
        self._working_since: float | None = None
        self._told_of: float | None = None  # the pass of which something was told
        self._due = threshold
        self._patience = _Patience()
        self._orphans: dict[Pid, tuple[float, float]] = {}  # pid -> (first seen, to be told at)
        self._next_orphans = 0.0
        self._outbox: deque[str] = deque()
        allocate_lock = monkey.get_original("_thread", "allocate_lock")
        self._stopping = allocate_lock()
        self._ended = allocate_lock()
        loop = runtime.scheduler.hub.loop
        self._before_poll = loop.prepare(ref=False, priority=-2)  # after all callbacks, see `Scheduler`
        self._after_poll = loop.check(ref=False, priority=2)  # before all that is due

    # -- on the loop's thread ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the watchers and the thread."""
        self.alive = True
        self._working_since = monotonic()
        self._before_poll.start(self._about_to_poll)
        self._after_poll.start(self._has_polled)
        self._stopping.acquire()
        self._ended.acquire()
        if monkey.is_module_patched("threading"):
            monkey.get_original("_thread", "start_new_thread")(self._run, ())
        else:
            threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """End the thread, and wait for that."""
        if self.alive:
            self.alive = False
            self._stopping.release()
            self._ended.acquire(True, _JOIN_SECONDS)
        self.runtime.scheduler.run_in_loop(self._close)

    def forked(self) -> None:
        """This is the child: the thread stayed behind."""
        self.alive = False

    def _close(self) -> None:
        for watcher in (self._before_poll, self._after_poll):
            watcher.stop()
            watcher.close()

    def _about_to_poll(self) -> None:
        began, self._working_since = self._working_since, None
        if began is not None and began != self._told_of and monotonic() - began > self.threshold:
            self._told_of = began
            self._missed(monotonic() - began)

    def _has_polled(self) -> None:
        self._working_since = monotonic()

    def _missed(self, seconds: float) -> None:
        """The thread did not come to look: the hold ended between two looks, or nobody could run but who held it."""
        again = self._patience.asks("unseen", monotonic())
        if again is not None:
            self._outbox.append(
                f"the event loop of {self.runtime.home.name} was held for {seconds:.2f} s; it was over before the"
                f" watchdog could look (short, or C code that kept the interpreter's lock){_times(again)}"
            )

    def _look_for_orphans(self) -> None:
        now = monotonic()
        seen = {}
        for process in orphans(self.runtime):
            first, due = self._orphans.get(process.pid, (now, now + self.orphans_after))
            if now >= due:
                self._outbox.append(_about_orphan(process, now - first))
                due = now + (now - first)
            seen[process.pid] = (first, due)
        self._orphans = seen

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        interval = self.threshold / _LOOKS_PER_THRESHOLD
        try:
            while not self._stopping.acquire(True, interval):
                try:
                    self._look(monotonic())
                except Exception:
                    log.exception("the watchdog of %r failed to look", self.runtime)
        finally:
            _leave_no_hub()
            self._ended.release()

    def _look(self, now: float) -> None:
        while self._outbox:
            self._say(self._outbox.popleft())
        began = self._working_since
        if began is not None:
            if began != self._told_of:
                self._due = self.threshold
            if now - began >= self._due:
                self._held(began, now)
        if now >= self._next_orphans:
            self._next_orphans = now + min(_ORPHANS_EVERY, self.orphans_after)
            if len(self.runtime.leaving):
                self.runtime.scheduler.run_in_loop(self._look_for_orphans)

    def _held(self, began: float, now: float) -> None:
        stack = stack_of_thread(self.runtime.scheduler.thread)
        process = running_process(self.runtime)
        if self._working_since != began or not stack:
            return  # it has just gone on: what we saw may be anything
        self._told_of = began
        while self._due <= now - began:
            self._due *= 2
        again = self._patience.asks((handler_in(stack), round(self._due / self.threshold)), now)
        if again is not None:
            self._say(_about_hold(self.runtime, now - began, process, stack) + _times(again))


class _Patience:
    """When to tell of the same thing again: at doubling intervals."""

    def __init__(self) -> None:
        self._next: dict[Any, tuple[float, float, int]] = {}  # key -> (not before, interval, times since)

    def asks(self, key: Any, now: float) -> int | None:
        """How often it was not told since the last time, if it is to be told now; else None."""
        not_before, interval, times = self._next.get(key, (now, _PATIENCE[0] / 2, 0))
        if now < not_before:
            self._next[key] = (not_before, interval, times + 1)
            return None
        if now > not_before + 2 * _PATIENCE[1]:
            interval = _PATIENCE[0] / 2  # it was quiet for long
        interval = min(2 * interval, _PATIENCE[1])
        if len(self._next) > 1000:
            self._next.clear()
        self._next[key] = (now + interval, interval, 0)
        return times


# -- what runs -------------------------------------------------------------------------------------------------------

_THREAD: Final = re.compile(r"^(?:Current t|T)hread 0x0*([0-9a-f]+)\b")
_PLACE: Final = re.compile(r'^  File "(.*)", line (\d+|\?+) in (.*)$')
_TURNS: Final = GenServerBehaviour.take_turn.__code__.co_filename
_OURS: Final = os.path.dirname(_TURNS)
_SUPERVISOR: Final = frozenset(
    os.path.join(_OURS, name) for name in ("turns.py", "debugged.py", "workers.py", "plain.py")
)


def stack_of_thread(thread: int) -> list[Place]:
    """What runs in a thread, innermost first; empty where there is no such thread."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file.fileno(), all_threads=True)
        file.seek(0)
        lines = file.read().decode(errors="replace").splitlines()
    found: list[Place] = []
    inside = False
    for line in lines:
        header = _THREAD.match(line)
        if header is not None:
            inside = int(header[1], 16) == thread
        elif inside and (place := _PLACE.match(line)) is not None:
            found.append(Place(*place.groups()))
    return found


def handler_in(stack: list[Place]) -> tuple[str, str] | None:
    """(file, function) of the callback of a server, or of what a plain process runs; None outside of processes."""
    place = _handler_place(stack)
    return (place.file, place.function) if place is not None else None


def _handler_place(stack: list[Place]) -> Place | None:
    inner: Place | None = None
    for place in stack:
        if place.file in _SUPERVISOR:
            if inner is not None:
                return inner
        else:
            inner = place
    return None


def running_process(runtime: Runtime) -> Process | None:
    """The process whose greenlet runs at this moment. From any thread."""
    for process in [*list(runtime.table.values()), *_leaving(runtime)]:
        target = process.greenlet
        # Of all greenlets that have begun and not ended, the running one has no frame to go on with.
        if target is not None and target and target.gr_frame is None:
            return process
    return None


def _leaving(runtime: Runtime) -> list[Process]:
    try:
        return list(runtime.leaving)
    except RuntimeError:  # it changed meanwhile
        return []


# -- what is said ----------------------------------------------------------------------------------------------------


def _about_hold(runtime: Runtime, seconds: float, process: Process | None, stack: list[Place]) -> str:
    handler = _handler_place(stack)
    who = repr(process) if process is not None else "code that is no process"
    if handler is not None:
        server = process.server if process is not None else None
        owner = f"{type(server).__qualname__}." if server is not None else ""
        who += f" in {owner}{handler}"
    lines = [
        f"the event loop of {runtime.home.name} has been held for {seconds:.2f} s by {who}",
        "stack, innermost last:",
    ]
    return "\n".join([*lines, *(f"  {place}" for place in reversed(stack))])


def _about_orphan(process: Process, seconds: float) -> str:
    assert process.greenlet is not None
    lines = [
        f"{process!r} is dead, and its greenlet has gone on for {seconds:.1f} s since: an orphan",
        "stack, innermost last:",
    ]
    return "\n".join([*lines, *format_frames(frames_of(process.greenlet))])


def _times(again: int) -> str:
    return f"\n({again} times more since this was told last)" if again else ""


# -- threads and forks -----------------------------------------------------------------------------------------------


def _leave_no_hub() -> None:
    """Patched locks of `logging` may have made a hub for this thread: it would outlive it."""
    from gevent._hub_local import get_hub_if_exists

    hub = get_hub_if_exists()
    if hub is not None:
        hub.destroy(destroy_loop=True)


def _after_fork_in_child() -> None:
    for watchdog in _running.values():
        watchdog.forked()
    _running.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
