"""Plain processes: the greenlet that runs a function, and the exit reason that its end comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gevent
from greenlet import GreenletExit, greenlet

import supervisor.reports as reports
from supervisor.errors import Exit
from supervisor.reasons import KILLED, NORMAL, Crash
from supervisor.records import DEAD, Process
from supervisor.signals import exit_process

if TYPE_CHECKING:
    from supervisor.runtime import Runtime


class Start:
    """A plain process that is to begin."""

    __slots__ = ("process",)

    def __init__(self, process: Process) -> None:
        self.process = process

    def resume(self) -> None:
        target = self.process.greenlet
        if self.process.status != DEAD and target is not None and not target.dead:
            target.switch()


class PlainGreenlet(greenlet):
    """The greenlet of a plain process. Its parent is the event loop, so nothing may escape from it."""

    __slots__ = ("call", "otp_process")

    def __init__(self, hub: Any, process: Process, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        greenlet.__init__(self, None, hub)
        self.otp_process = process
        self.call = (fn, args, kwargs)

    def run(self) -> None:
        process = self.otp_process
        fn, args, kwargs = self.call
        self.call = ()  # type: ignore[assignment]
        try:
            fn(*args, **kwargs)
            reason: Any = NORMAL
        except BaseException as error:
            reason = reason_of(error)
            if isinstance(reason, Crash) and process.status != DEAD:
                self._report(reason)
            interrupt_main(process.runtime, error)
        exit_process(process, reason)

    def _report(self, reason: Crash) -> None:
        try:
            reports.ended(self.otp_process, reason, "crashed", None)
        except BaseException as error:  # a repr of the user's that lets Exit or Ctrl-C escape; the end itself goes on
            interrupt_main(self.otp_process.runtime, error)


def reason_of(error: BaseException) -> Any:
    """The exit reason of a process whose code let `error` escape."""
    if isinstance(error, Exit):
        return error.reason
    if isinstance(error, GreenletExit):
        return KILLED
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return NORMAL
    return Crash.from_exception(error)


def interrupt_main(runtime: Runtime, error: BaseException) -> None:
    """Ctrl-C reached whatever ran at that moment; it is meant for the main greenlet."""
    if isinstance(error, KeyboardInterrupt):
        runtime.scheduler.hub.handle_system_error(KeyboardInterrupt, error)


def end_reason(ended: gevent.Greenlet[Any, Any]) -> Any:
    """The exit reason of a greenlet of gevent's. To gevent, one that was killed or raised Exit has returned that."""
    error = ended.value if isinstance(ended.value, GreenletExit) else ended.exception
    return reason_of(error) if error is not None else NORMAL
