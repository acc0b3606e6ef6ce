"""TaskSupervisor: tasks that are children of a supervisor, and streams of tasks, after Elixir's Task.Supervisor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Literal, ParamSpec, TypeVar, overload

from greenlet import getcurrent

import supervisor.signals as signals
from supervisor.child_spec import ChildSpec
from supervisor.dynamic_supervisor import DynamicSupervisor
from supervisor.errors import CallTimeout
from supervisor.native import get_ident
from supervisor.pids import Pid, Ref
from supervisor.processes import die_here, new_wait
from supervisor.reasons import KILLED, Crash
from supervisor.records import DEAD, Process, parent_of
from supervisor.runtime import current_process
from supervisor.task_jobs import UNDONE, Awaiter, Job, Outcome, Report, name_of
from supervisor.tasks import Task
from supervisor.waits import Wait

P = ParamSpec("P")
R = TypeVar("R")
X = TypeVar("X")


class TaskSupervisor(DynamicSupervisor):
    """A supervisor of tasks. They are temporary children: none is restarted, and all are stopped when it ends.

    It also lists, counts and terminates tasks as every DynamicSupervisor does. `sup` is its pid or name; it must be of
    the caller's node.
    """

    # -- starting ----------------------------------------------------------------------------------------------------

    @classmethod
    def start_link(  # type: ignore[override]
        cls, name: Any = None, max_children: int | None = None, *, timeout: float | None = None
    ) -> Pid:
        """Start it linked to the caller. max_children: how many tasks may run at a time; None for any number."""
        return super().start_link(name=name, timeout=timeout, max_children=max_children)

    @classmethod
    def start(  # type: ignore[override]
        cls, name: Any = None, max_children: int | None = None, *, timeout: float | None = None
    ) -> Pid:
        """Like `start_link`, without the link."""
        return super().start(name=name, timeout=timeout, max_children=max_children)

    # -- tasks -------------------------------------------------------------------------------------------------------

    @staticmethod
    def spawn(sup: Any, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Like `Task.spawn`, as a child of `sup`. The caller becomes a process, if it is none, and is linked.

        Raises StartError("max_children"), NoProcess, or ProcessExit where `sup` ends before it has started the task.
        """
        return _spawn(sup, Job(_report(sup, fn, linked=True), fn, args, kwargs))

    @staticmethod
    def spawn_nolink(sup: Any, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Like `spawn`, without the link: neither ends with the other. `result` of a task that was ended raises
        ProcessExit(reason)."""
        return _spawn(sup, Job(_report(sup, fn, linked=False), fn, args, kwargs))

    # -- streams -----------------------------------------------------------------------------------------------------

    @overload
    @staticmethod
    def stream(
        sup: Any,
        fn: Callable[[X], R],
        iterable: Iterable[X],
        max_concurrency: int,
        ordered: bool = True,
        *,
        timeout: float | None = None,
        outcomes: Literal[False] = False,
    ) -> Generator[R, None, None]: ...

    @overload
    @staticmethod
    def stream(
        sup: Any,
        fn: Callable[[X], R],
        iterable: Iterable[X],
        max_concurrency: int,
        ordered: bool = True,
        *,
        timeout: float | None = None,
        outcomes: Literal[True],
    ) -> Generator[Outcome[R], None, None]: ...

    @staticmethod
    def stream(
        sup: Any,
        fn: Callable[[X], R],
        iterable: Iterable[X],
        max_concurrency: int,
        ordered: bool = True,
        *,
        timeout: float | None = None,
        outcomes: bool = False,
    ) -> Generator[Any, None, None]:
        """The results of `fn(item)` for each item, each in a task of its own, in the order of items or as they come.

        There are `max_concurrency` places. A task has its place until its result is taken, so no more than that many
        items are ever pulled ahead of the consumer; with `ordered` a slow task holds up the ones behind it. Nothing
        happens before the first result is asked for.

        A task that fails: its error is raised (ProcessExit where it was ended) and the stream ends; with `outcomes`
        an `Outcome` is yielded for every item, and the stream goes on. The tasks are not linked to the consumer, but
        whenever the stream ends (used up, error, `close()`, dropped, the consumer's death) those that run are killed.

        timeout: seconds that one result may be waited for, else CallTimeout and the stream ends. Raises ValueError for
        less than one place; while it runs also what the iterable raises, and what `spawn` raises.
        """
        if max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1; got {max_concurrency!r}")
        name_of(fn)
        return _stream(sup, fn, iterable, max_concurrency, ordered, timeout, outcomes)

    # -- the process -------------------------------------------------------------------------------------------------

    def _ended(self, me: Process, pid: Pid, spec: ChildSpec, reason: Any) -> Any:
        if isinstance(reason, Crash):
            self._forget(spec)  # not reported: its error reaches the owner, or the log when nobody asks for it
            return None
        return super()._ended(me, pid, spec, reason)


# -- starting a task -------------------------------------------------------------------------------------------------


def _report(sup: Any, fn: Any, linked: bool, awaiter: Awaiter | None = None) -> Report:
    me = current_process()
    if me.runtime.is_remote(sup):
        raise ValueError(f"{sup!r} belongs to another node; the supervisor of a task must be of its owner's")
    return Report(me.runtime, name_of(fn), me if linked else None, awaiter)


def _spawn(sup: Any, job: Job) -> Task[Any]:
    me, report = current_process(), job.report
    assert report is not None
    # The spec holds the job, which lets go of its report, and no result: the supervisor keeps it a little longer.
    spec = ChildSpec(report.name, (_start, (job,)), restart="temporary")
    try:
        DynamicSupervisor.start_child(sup, spec)
    except BaseException:
        # The caller may be thrown at (a gevent.Timeout) while the supervisor is busy: nobody would know of the task.
        report.stopped = True
        _kill(report)
        raise
    return Task(report, me.pid)


def _start(job: Job) -> Pid | None:
    """Start a task, in the process of its supervisor. None when nobody wants it any more."""
    if job.report is None or job.report.stopped:
        return None
    me = current_process()
    process = job.launch(me.runtime)
    signals.link(parent_of(process, me), process.pid)
    return process.pid


def _kill(report: Report) -> None:
    """End a task at once, if it runs; its owner hears nothing of it."""
    process = report.process
    if process is not None and process.status != DEAD:
        if report.linked is not None:
            signals.unlink(process, report.linked.pid)
        signals.exit_process(process, KILLED)


# -- streams ---------------------------------------------------------------------------------------------------------


class _Places(Ref):
    """The tasks of one stream whose results were not taken yet. It is told when one is done, and waits for the end of
    the consumer, which may leave the stream somewhere where nobody closes it.

    Invariants: `reports` has them in the order of their items; `done`, used where the results are taken as they come,
    those that are done in the order of their ends.
    """

    __slots__ = ("consumer", "done", "ordered", "reports", "wait")

    def __init__(self, consumer: Process, ordered: bool) -> None:
        super().__init__(consumer.runtime.home, next(consumer.runtime.serials))
        self.consumer = consumer
        self.ordered = ordered
        self.reports: dict[Report, None] = {}
        self.done: deque[Report] = deque()
        self.wait: Wait | None = None
        consumer.add_waiter(self)

    def finished(self, report: Report) -> None:
        if not self.ordered:
            self.done.append(report)
        if self.wait is not None:
            self.wait.reply(None)

    def add(self, sup: Any, fn: Callable[[X], Any], item: X) -> None:
        """Start the task for one item."""
        report = _report(sup, fn, linked=False, awaiter=self)
        self.reports[report] = None
        _spawn(sup, Job(report, fn, (item,), {}))

    def check_consumer(self) -> None:
        """Raise where somebody else goes on with the stream: its tasks may be gone, and it would just seem to end."""
        me = self.consumer
        if getattr(getcurrent(), "otp_process", None) is not me:
            raise ValueError(f"the stream belongs to {me.pid}, and only that may go on with it")
        die_here(me, KILLED)

    def take(self, timeout: float | None) -> Outcome[Any]:
        """Wait for a result and free its place."""
        clock = self.consumer.runtime.clock
        deadline = None if timeout is None else clock.now() + timeout
        while (report := self._next()) is None:
            left = None if deadline is None else deadline - clock.now()
            if left is not None and left <= 0:
                raise CallTimeout(f"no result of the stream within {timeout} s")
            self._sleep(left)
        del self.reports[report]
        outcome = report.outcome()
        assert outcome is not None
        return outcome

    def _next(self) -> Report | None:
        if not self.ordered:
            return self.done.popleft() if self.done else None
        first = next(iter(self.reports))
        return first if first.state != UNDONE else None

    def _sleep(self, seconds: float | None) -> None:
        """Until a task is done."""
        me = self.consumer
        self.wait = new_wait(me.runtime, seconds)
        try:
            me.runtime.scheduler.suspend(self.wait)
        finally:
            self.wait = None
        die_here(me, KILLED)

    def target_died(self, reason: Any) -> None:
        """The consumer is dead."""
        self.close()

    def close(self) -> None:
        """Kill what still runs. Never gives way: a generator may be closed by the collector, in any greenlet."""
        scheduler = self.consumer.runtime.scheduler
        if get_ident() != scheduler.thread:
            scheduler.run_in_loop(self.close)
            return
        self.consumer.drop_waiter(self)
        for report in self.reports:
            report.awaiter = None
            _kill(report)
        self.reports.clear()


def _stream(
    sup: Any,
    fn: Callable[[X], R],
    iterable: Iterable[X],
    limit: int,
    ordered: bool,
    timeout: float | None,
    outcomes: bool,
) -> Generator[Any, None, None]:
    places = _Places(current_process(), ordered)
    try:
        items = iter(iterable)
        more = True
        while more or places.reports:
            places.check_consumer()
            while more and len(places.reports) < limit:
                try:
                    item = next(items)
                except StopIteration:
                    more = False
                else:
                    places.add(sup, fn, item)
                    del item
            if places.reports:  # no local for what is taken: while the consumer works, nothing here may hold it
                yield places.take(timeout) if outcomes else places.take(timeout).result()
    finally:
        places.close()
