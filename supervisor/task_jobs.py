"""What runs in the process of a task, and what becomes of it.

The outcome of a task is kept in a `Report`, an object that its process and its handle share. Nothing of it passes
through a mailbox, so a result that comes after the owner gave up disturbs nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from greenlet import GreenletExit

import supervisor.signals as signals
from supervisor.errors import ProcessExit
from supervisor.pids import Ref
from supervisor.reasons import NORMAL, Crash
from supervisor.records import DEAD, Process
from supervisor.runtime import Runtime

log = logging.getLogger(__name__)

T_co = TypeVar("T_co", covariant=True)

# How a task stands. It leaves UNDONE once.
UNDONE: Final = "running"
RETURNED: Final = "returned"
RAISED: Final = "raised"
EXITED: Final = "exited"


@dataclass(frozen=True)
class Outcome(Generic[T_co]):
    """How a task ended: with `value`, or with `error`: what it raised, or ProcessExit(reason) when it was ended."""

    value: T_co | None = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Whether the task returned."""
        return self.error is None

    def result(self) -> T_co:
        """The value, or the error is raised."""
        try:
            if self.error is not None:
                raise self.error
            return cast(T_co, self.value)
        finally:
            del self  # the traceback refers to this frame: without this a circle for the collector


class Awaiter(Protocol):
    """Who is told when a task is done. Called wherever the task ends: it must not give way."""

    def finished(self, report: Report) -> None: ...


class Report(Ref):
    """The outcome of one task. For the task's process it is somebody who waits for its end.

    Invariants: `state` leaves UNDONE once, and `awaiter` is told then. `process` is None until the task is started.
    """

    __slots__ = ("asked", "awaiter", "error", "linked", "name", "process", "state", "stopped", "value")

    def __init__(self, runtime: Runtime, name: str, linked: Process | None, awaiter: Awaiter | None = None) -> None:
        super().__init__(runtime.home, next(runtime.serials))
        self.name = name
        self.linked = linked  # the owner, where the task is linked to it
        self.awaiter = awaiter
        self.process: Process | None = None
        self.state: str = UNDONE
        self.value: Any = None
        self.error: BaseException | None = None
        self.asked = False  # somebody has got the outcome
        self.stopped = False  # its owner shut it down

    def end(self, state: str, value: Any, error: BaseException | None) -> None:
        """Take the outcome. Called once: by the task while its process lives, else by the death of that."""
        self.state, self.value, self.error = state, value, error
        awaiter, self.awaiter = self.awaiter, None
        if awaiter is not None:
            awaiter.finished(self)

    def target_died(self, reason: Any) -> None:
        """The process has ended; without an outcome it was told to."""
        if self.state == UNDONE:
            self.end(EXITED, None, ProcessExit(reason, f"task {self.name}"))

    @property
    def reason(self) -> Any:
        """Why its process was ended, if it was."""
        return self.error.reason if self.state == EXITED and isinstance(self.error, ProcessExit) else None

    def outcome(self) -> Outcome[Any] | None:
        """How it ended, if it did. Counts as asked for."""
        if self.state == UNDONE:
            return None
        self.asked = True
        return Outcome(self.value, self.error)

    def __del__(self) -> None:
        # Like asyncio: an error that nobody asked for must not vanish.
        if self.state == RAISED and not self.asked and self.error is not None:
            log.error("task %s failed, and nobody asked for its result", self.name, exc_info=self.error)


class Job:
    """What a task is to do: the body of its process. It lets go of everything when it is done, so that the traceback
    of an error does not keep the task alive."""

    __slots__ = ("args", "context", "fn", "in_thread", "kwargs", "report")

    def __init__(self, report: Report, fn: Callable[..., Any], args: Any, kwargs: Any, in_thread: bool = False) -> None:
        self.report: Report | None = report
        self.fn: Callable[..., Any] | None = fn
        self.args = args
        self.kwargs = kwargs
        self.in_thread = in_thread
        self.context: Context = copy_context()  # that of the code that spawns, as asyncio and gevent do it

    def launch(self, runtime: Runtime) -> Process:
        """Start the process of the task, linked to its owner where it is to be; it begins when the caller next gives
        way."""
        report = self.report
        assert report is not None
        process = report.process = runtime.spawn(self.run, (), {})
        process.label = report.name
        assert process.greenlet is not None
        process.greenlet.gr_context = self.context
        process.add_waiter(report)
        if report.linked is not None:
            signals.link_new(report.linked, process)
        return process

    def run(self) -> None:
        """Do it. An exit (Exit, SystemExit, Ctrl-C) goes on and ends the process; anything else is its outcome."""
        try:
            value = self._work()
        except (GreenletExit, SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            # Without the frame of this method, which is of no use to who reads the traceback.
            trace = error.__traceback__
            self._done(RAISED, None, error.with_traceback(trace.tb_next if trace is not None else None))
        else:
            self._done(RETURNED, value, None)
        finally:
            self.report = self.fn = self.args = self.kwargs = None

    def _work(self) -> Any:
        assert self.fn is not None
        if not self.in_thread:
            return self.fn(*self.args, **self.kwargs)
        assert self.report is not None
        assert self.report.process is not None
        pool = self.report.process.runtime.scheduler.hub.threadpool
        return _work_in_thread(pool, self.context.copy(), self.fn, self.args, self.kwargs)

    def _done(self, state: str, value: Any, error: BaseException | None) -> None:
        """The task is done by itself. That is no reason for its owner to end, so their link goes first."""
        report = self.report
        process = report.process if report is not None else None
        if report is None or process is None or process.status == DEAD:
            return  # it was told to end, and did something else first: nobody waits for an orphan
        report.end(state, value, error)
        reason: Any = NORMAL if error is None else Crash.from_exception(error)
        if report.linked is not None:
            signals.unlink(process, report.linked.pid)
        signals.exit_process(process, reason)


def _work_in_thread(pool: Any, context: Context, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run `fn` in a thread of gevent's pool; the caller, a task's process, waits meanwhile."""
    left: list[bool] = []
    pending = pool.spawn(_in_thread, left, context, fn, args, kwargs)
    try:
        value, error = pending.get()
    except BaseException:  # the process was told to end; the thread runs on
        left.append(True)
        raise
    try:
        if error is not None:
            raise error
        return value
    finally:
        del error


def _in_thread(left: list[bool], context: Context, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    # The error goes back as a value: what escapes here is logged by gevent, and its traceback becomes a copy.
    try:
        return (None, None) if left else (context.run(fn, *args, **kwargs), None)
    except BaseException as error:
        if left:
            log.error("%r failed in a thread after its task had ended", fn, exc_info=error)
        return None, error


def name_of(fn: Any) -> str:
    """What a task that runs `fn` is called. Raises TypeError where it cannot be called."""
    if not callable(fn):
        raise TypeError(f"a task needs a function; got {fn!r:.200}")
    inner = getattr(fn, "func", fn)  # functools.partial
    return str(getattr(inner, "__qualname__", None) or type(inner).__qualname__)
