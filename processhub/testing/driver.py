"""The driver of a test: lets nodes run until all of them wait for time, then moves the time.

Nothing here looks at the real time, but for one limit against code that never comes to rest.
"""

from __future__ import annotations

import time as real_time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import gevent
from greenlet import getcurrent

from processhub.testing.stuck import describe
from processhub.testing.virtual_clock import VirtualTime
from supervisor.errors import ProcessExit
from supervisor.pids import Pid
from supervisor.reasons import KILLED
from supervisor.records import Process
from supervisor.runtime import Runtime, reason_of
from supervisor.scheduler import Scheduler

T = TypeVar("T")

_QUIET_PASSES: Final = 2  # what a timer of the loop has started shows in the next pass
_PASSES_AT_MOST: Final = 100_000
_ROUNDS_AT_MOST: Final = 20_000  # rounds of timers within one instant
_REAL_SECONDS_AT_MOST: Final = 30.0
_CALLBACK_SECONDS: Final = 1.0


class Stuck(AssertionError):
    """The test waits for what virtual time will not bring, or the code under test never comes to rest.

    The message lists what every process waits for.
    """


class Driver:
    """Moves the virtual time of a test. Everything here is for the test's own greenlet, not for processes of a node.

    Args:
        time: what to move.
        runtimes: the nodes to let run; more with `watch`.
        patience: virtual seconds after which `run` gives up.
        real_seconds: real time that the code under test may take to come to rest within one instant.
    """

    def __init__(
        self,
        time: VirtualTime,
        runtimes: Iterable[Runtime] = (),
        *,
        patience: float = 600.0,
        real_seconds: float = _REAL_SECONDS_AT_MOST,
    ) -> None:
        self.time = time
        self.runtimes: list[Runtime] = []
        self.patience = patience
        self.real_seconds = real_seconds
        self._loop: Any = gevent.get_hub().loop
        self._next_pass: list[Callable[[], object]] = []
        for runtime in runtimes:
            self.watch(runtime)

    def watch(self, runtime: Runtime) -> None:
        """Let this node run, too."""
        self.runtimes.append(runtime)
        self._take_over(runtime.scheduler)

    def forget(self, runtime: Runtime) -> None:
        """This node is gone; does nothing if it is not known."""
        if runtime in self.runtimes:
            self.runtimes.remove(runtime)
            del runtime.scheduler._drain_next_pass  # the class's own shows again

    def settle(self) -> None:
        """Let everything run that can run without time passing. Raises `Stuck` if it goes on for ever."""
        self._check_greenlet()
        # With its usual slice of 5 ms of real time, how the loop cuts its passes would depend on the machine.
        before = gevent.getswitchinterval()
        gevent.setswitchinterval(_CALLBACK_SECONDS)
        try:
            self._pass_until_quiet()
        finally:
            gevent.setswitchinterval(before)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass: one instant after the other in which something is due, running everything in between."""
        end = self.time.now() + seconds
        while self._step(end):
            pass
        self.time.move_to(end)

    def run_until(self, predicate: Callable[[], object], timeout: float = 60.0) -> None:
        """Let time pass until `predicate()` is true; it is asked after every instant, and must not block.

        Raises `Stuck` when it is still false after `timeout` virtual seconds, or when nothing is due any more.
        """
        end = self.time.now() + timeout
        self.settle()
        while not predicate():
            if not self._step(end):
                self._give_up(timeout)

    def run(self, runtime: Runtime, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run `fn(*args, **kwargs)` as a plain process of a node, and let time pass until it has ended.

        Returns what it returned. What it raised is raised; ProcessExit if it was told to exit. After `patience` virtual
        seconds it raises `Stuck`, as `run_until` does, and kills nothing.
        """
        self._check_greenlet()
        errand = Errand(runtime, fn, args, kwargs)
        self.run_until(errand.is_over, self.patience)
        return errand.outcome()  # type: ignore[no-any-return]

    # -- one step ----------------------------------------------------------------------------------------------------

    def _step(self, end: float) -> bool:
        """Settle, and go to the next instant up to `end`. False when there is none."""
        self.settle()
        instant = self.time.next_deadline()
        if instant is None or instant > end:
            return False
        self.time.move_to(instant)
        for _ in range(_ROUNDS_AT_MOST):
            self._loop.run_callback(self.time.fire_due)
            self.settle()
            if self.time.next_deadline() != instant:
                return True
        raise Stuck(f"timers of zero seconds start each other for ever.\n{self._described()}")

    def _pass_until_quiet(self) -> None:
        give_up_at = real_time.monotonic() + self.real_seconds
        quiet = 0
        for _ in range(_PASSES_AT_MOST):
            self._one_pass()
            quiet = quiet + 1 if self._is_quiet() else 0
            if quiet == _QUIET_PASSES:
                return
            if real_time.monotonic() > give_up_at:
                break
        raise Stuck(f"the code under test never comes to rest, though no time passes.\n{self._described()}")

    def _take_over(self, scheduler: Scheduler) -> None:
        # A scheduler without budget goes on by a loop timer of zero seconds. In which pass of the loop that fires, and
        # so which of two nodes is first, depends on the real time that has passed. Here it is always the next one.
        scheduler._drain_next_pass = lambda: self._next_pass.append(scheduler._drain)  # type: ignore[method-assign]

    def _one_pass(self) -> None:
        """Let the loop run its callbacks, look at I/O and run its timers once."""
        due, self._next_pass = self._next_pass, []
        for drain in due:
            self._loop.run_callback(drain)
        timer = self._loop.timer(0)
        try:
            gevent.get_hub().wait(timer)
        finally:
            timer.close()

    def _is_quiet(self) -> bool:
        for runtime in self.runtimes:
            runtime.scheduler.arm_waits()
        is_over = not self._next_pass and not len(self._loop._callbacks)
        return is_over and all(runtime.scheduler.idle() for runtime in self.runtimes)

    # -- errors ------------------------------------------------------------------------------------------------------

    def _check_greenlet(self) -> None:
        process = getattr(getcurrent(), "otp_process", None)
        if process is not None and process.runtime in self.runtimes:
            raise RuntimeError(f"{process!r} cannot move the time in which it runs: only the test's own greenlet may")

    def _give_up(self, timeout: float) -> None:
        due = self.time.next_deadline()
        what = "nothing is due any more" if due is None else f"{timeout:g} virtual seconds were not enough"
        raise Stuck(f"{what}, and what the test waits for has not happened.\n{self._described()}")

    def _described(self) -> str:
        return describe(self.time, self.runtimes)


class Errand:
    """A function that runs as a process of a node, and how it ended."""

    def __init__(self, runtime: Runtime, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.has_ended = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._process: Process = runtime.spawn(self._run, (fn, args, kwargs), {})
        self._process.label = getattr(fn, "__qualname__", None) or repr(fn)

    @property
    def pid(self) -> Pid:
        """The process."""
        return self._process.pid

    def is_over(self) -> bool:
        """Whether it returned, raised or was told to exit."""
        return self.has_ended or not self._process.alive

    def outcome(self) -> Any:
        """What it returned; what it raised is raised. Raises RuntimeError while it runs."""
        if not self.is_over():
            raise RuntimeError(f"{self._process!r} has not ended")
        if isinstance(self._error, Exception):
            raise self._error
        if self._error is not None or not self.has_ended:
            raise ProcessExit(KILLED if self._error is None else reason_of(self._error))
        return self._value

    def _run(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._value = fn(*args, **kwargs)
        except Exception as error:
            self._error = error  # it is the test's: no crash, no log
        except BaseException as error:
            self._error = error
            raise
        finally:
            self.has_ended = True
