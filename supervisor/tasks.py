"""Task: run a function in a process of its own and get its result later, after Elixir's Task."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, cast

from greenlet import getcurrent

import supervisor.signals as signals
from supervisor.errors import CallTimeout
from supervisor.pids import Pid
from supervisor.processes import die_here, new_wait
from supervisor.reasons import KILL, KILLED, SHUTDOWN
from supervisor.records import Process
from supervisor.runtime import current_runtime
from supervisor.task_jobs import EXITED, UNDONE, Awaiter, Job, Outcome, Report, name_of
from supervisor.waits import Wait

__all__ = ["Outcome", "Task"]

P = ParamSpec("P")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)


class Task(Generic[T_co]):
    """A handle on a function that runs in a process of its own: `Task.spawn(fn, 1).result()`.

    pid: its process. owner: the process that spawned it, or None where that was a greenlet that is no process (yet).
    Only the owner may ask for the result; anybody else gets a ValueError. Handles stay on their node.
    """

    __slots__ = ("__weakref__", "_greenlet", "_report", "owner", "pid")

    def __init__(self, report: Report, owner: Pid | None) -> None:
        assert report.process is not None
        self.pid: Pid = report.process.pid
        self.owner = owner
        self._report = report
        self._greenlet = None if owner is not None else weakref.ref(getcurrent())

    def __repr__(self) -> str:
        return f"<Task {self._report.name} {self.pid.node}.{self.pid.serial} {self._report.state}>"

    # -- starting ----------------------------------------------------------------------------------------------------

    @staticmethod
    def spawn(fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Run `fn(*args, **kwargs)` in a new process; it begins when the caller next gives way.

        Linked to the caller where that is a process: the task ends when the caller ends abnormally, and a task that is
        ended (killed, or by raising Exit) ends its caller. One that returns or raises does not. It runs in a copy of
        the caller's context variables.
        """
        return _spawn(fn, args, kwargs, in_thread=False)

    @staticmethod
    def in_thread(fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Like `spawn`, but `fn` runs in a native thread of gevent's pool (10 unless configured; others wait for one).

        For code that computes or blocks without gevent. A thread cannot be killed: when the task is ended, `fn` runs
        on to its end and what it returns is dropped, what it raises logged; if it has not begun it never does.
        In `fn` only send, cast and call of this library work.
        """
        return _spawn(fn, args, kwargs, in_thread=True)

    # -- the outcome -------------------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether it has ended. Anybody may ask."""
        return self._report.state != UNDONE

    def result(self, timeout: float | None = 5.0) -> T_co:
        """What `fn` returned, waited for up to `timeout` seconds; None waits for ever, 0 only looks. Repeatable.

        Raises what `fn` raised, with its traceback; ProcessExit(reason) when the task was ended; CallTimeout, after
        which the task goes on and may be asked again; ValueError where the caller is not its owner.
        """
        _wait_for([self], timeout, until_failure=False)
        outcome = self._report.outcome()
        if outcome is None:
            raise CallTimeout(f"{self!r} has no result within {timeout} s")
        try:
            return cast(T_co, outcome.result())
        finally:
            del self, outcome  # as in Outcome.result

    @staticmethod
    def gather(tasks: Iterable[Task[R]], timeout: float | None = 5.0) -> list[R]:
        """The results of all tasks, in their order, within `timeout` seconds for all together.

        As soon as one fails its error is raised as by `result`; CallTimeout when they are not done in time. Either way
        the others go on and may be asked again, or shut down.
        """
        given = list(tasks)
        _wait_for(given, timeout, until_failure=True)
        for task in given:
            if task._report.error is not None:
                task.result(0)  # raises
        undone = sum(not task.done() for task in given)
        if undone:
            raise CallTimeout(f"{undone} of {len(given)} tasks have no result within {timeout} s")
        return [task.result(0) for task in given]

    @staticmethod
    def yield_many(tasks: Iterable[Task[R]], timeout: float | None = 5.0) -> list[tuple[Task[R], Outcome[R] | None]]:
        """Wait until all tasks are done, at most `timeout` seconds, and say how each stands: (task, its outcome), or
        (task, None) for one that is not done. Failures are outcomes and not raised; those not done go on."""
        given = list(tasks)
        _wait_for(given, timeout, until_failure=False)
        return [(task, task._report.outcome()) for task in given]

    def shutdown(self, timeout: float | None = 5.0) -> Outcome[T_co] | None:
        """End the task: exit signal `shutdown`, and `kill` where it traps exits and has not ended `timeout` seconds
        later. It is gone when this returns, and the caller hears nothing of its end.

        Returns its outcome where it was done before, or did so in time; None where it was shut down. 0 kills at once.
        """
        _check_owner(self)
        report = self._report
        if report.state == UNDONE:
            self._end(timeout)
        if report.stopped and report.state == EXITED and report.reason in (SHUTDOWN, KILLED):
            return None
        return report.outcome()

    def _end(self, timeout: float | None) -> None:
        process = self._report.process
        assert process is not None
        self._report.stopped = True
        source = self.owner if self.owner is not None else self.pid
        signals.unlink(process, source)
        signals.deliver_exit(process, source, SHUTDOWN, linked=False)
        try:
            _wait_for([self], timeout, until_failure=False)
        finally:  # whatever is thrown into the caller while it waits
            signals.deliver_exit(process, source, KILL, linked=False)


def _spawn(fn: Callable[..., Any], args: Any, kwargs: Any, in_thread: bool) -> Task[Any]:
    runtime = current_runtime()
    runtime.check_thread()
    owner: Process | None = getattr(getcurrent(), "otp_process", None)
    if owner is not None:
        die_here(owner, KILLED)
    report = Report(runtime, name_of(fn), owner)
    Job(report, fn, args, kwargs, in_thread).launch(runtime)
    return Task(report, owner.pid if owner is not None else None)


# -- waiting ---------------------------------------------------------------------------------------------------------


class _Waiting:
    """One greenlet that waits for several tasks with one wait."""

    __slots__ = ("missing", "until_failure", "wait")

    def __init__(self, wait: Wait, missing: int, until_failure: bool) -> None:
        self.wait = wait
        self.missing = missing
        self.until_failure = until_failure

    def finished(self, report: Report) -> None:
        self.missing -= 1
        if not self.missing or (self.until_failure and report.error is not None):
            self.wait.reply(None)


def _wait_for(tasks: list[Task[Any]], timeout: float | None, until_failure: bool) -> None:
    """Suspend until all tasks are done, one has failed (with `until_failure`), or `timeout` seconds have passed.

    What became of them is for the caller to see: a task that is done by the time the waiter runs is done in time, even
    if the timeout fired first.
    """
    for task in tasks:
        _check_owner(task)
    undone = {task._report: task for task in tasks if not task.done()}
    failed = until_failure and any(task._report.error is not None for task in tasks)
    if not undone or failed or (timeout is not None and timeout <= 0):
        return
    suspend_until_told(list(undone), timeout, lambda wait: _Waiting(wait, len(undone), until_failure))


def suspend_until_told(reports: list[Report], timeout: float | None, awaiter: Callable[[Wait], Awaiter]) -> None:
    """Suspend until the awaiter of these tasks, made of the wait, ends it; at most `timeout` seconds.

    Raises Exit where the caller dies meanwhile, of the end of one of the tasks or otherwise.
    """
    process = reports[0].process
    assert process is not None
    scheduler = process.runtime.scheduler
    if scheduler.on_loop_greenlet():
        raise RuntimeError("waiting for a task on the event loop's own greenlet, which must not block")
    wait = new_wait(process.runtime, timeout)
    told = awaiter(wait)
    for report in reports:
        report.awaiter = told
    try:
        scheduler.suspend(wait)
    finally:
        for report in reports:
            report.awaiter = None
    me: Process | None = getattr(getcurrent(), "otp_process", None)
    if me is not None:  # the wait may end before the exit that was sent meanwhile arrives here
        die_here(me, next((report.reason for report in reports if report.state == EXITED), KILLED))


def _check_owner(task: Task[Any]) -> None:
    """Let nobody else wait for a task, nor an orphan: it may do nothing in the name of the process that it was."""
    me: Process | None = getattr(getcurrent(), "otp_process", None)
    if me is not None:
        die_here(me, KILLED)
    if task.owner is not None:
        mine = me is not None and me.pid == task.owner
    else:
        mine = task._greenlet is not None and task._greenlet() is getcurrent()
    if not mine:
        owner = task.owner if task.owner is not None else "a greenlet that is no process"
        raise ValueError(
            f"{task!r} was spawned by {owner!s}, and only that may wait for it or shut it down; "
            f"the caller is {me.pid if me is not None else getcurrent()!r}"
        )
