"""What tests of the runtime share: a clock that they turn by hand, and small servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import gevent.event

import supervisor.processes as process
from supervisor.clock import HeapClock
from supervisor.gen_server import From, GenServer
from supervisor.pids import Pid
from supervisor.runtime import Runtime

HANGS = 30.0  # seconds of real time after which a test counts as hanging


class ManualClock(HeapClock):
    """Virtual time of one runtime."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1000.0
        self.runtime: Runtime

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass: fire timers in order, each at its own time, and let what follows from it happen."""
        self.settle()
        end = self.time + seconds
        while (deadline := self.next_deadline()) is not None and deadline <= end:
            self.time = max(self.time, deadline)
            self._fire_due()
            self.settle()
        self.time = end

    def settle(self) -> None:
        """Let everything run that is ready, in full passes of the loop, so that new waits are armed."""
        hub = gevent.get_hub()
        quiet = 0
        while quiet < 3:
            hub.wait(hub.loop.timer(0))
            quiet = quiet + 1 if self.runtime.scheduler.idle() else 0


class Echo(GenServer):
    """Answers what it is asked; a callable is called first, in the server."""

    def handle_call(self, request: Any, from_: From) -> Any:
        return request() if callable(request) else request

    def handle_cast(self, request: Any) -> Any:
        return request() if callable(request) else None


class Trapper(Echo):
    """Traps exits, and notes what happens to it in the list that it is started with."""

    def init(self, events: list[Any]) -> None:
        self.state = events
        process.trap_exit(True)

    def handle_info(self, message: Any) -> None:
        self.state.append(message)

    def terminate(self, reason: Any) -> None:
        self.state.append(("terminate", reason))


def info(pid: Pid) -> dict[str, Any]:
    """What the runtime knows of a live process."""
    found = process.info(pid)
    assert found is not None, f"{pid!r} is dead"
    return found


def run_as_process(runtime: Runtime, test: Callable[[], object]) -> None:
    """Run `test` as a process of `runtime` and raise what it raises."""
    done: gevent.event.AsyncResult[None] = gevent.event.AsyncResult()

    def body() -> None:
        try:
            test()
            done.set(None)
        except BaseException as error:
            done.set_exception(error)

    runtime.spawn(body, (), {})
    done.get(timeout=HANGS)
