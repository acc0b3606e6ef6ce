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
from supervisor.runtime import Runtime, current_process

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


class Scripted(GenServer):
    """Does what the message says: a callable is called with the server, anything else is returned."""

    def init(self, script: Any = None, events: list[Any] | None = None) -> Any:
        self.state = events if events is not None else []
        return script(self) if callable(script) else script

    def handle_call(self, request: Any, from_: Any) -> Any:
        self.from_ = from_
        return request(self) if callable(request) else request

    def handle_cast(self, request: Any) -> Any:
        self.state.append(("cast", request))
        return request(self) if callable(request) else None

    def handle_info(self, message: Any) -> Any:
        self.state.append(("info", message))
        return message(self) if callable(message) else None

    def handle_continue(self, token: Any) -> Any:
        self.state.append(("continue", token))
        return token(self) if callable(token) else None

    def terminate(self, reason: Any) -> None:
        self.state.append(("terminate", reason))


def scripted(script: Any = None, **options: Any) -> tuple[Pid, list[Any]]:
    events: list[Any] = []
    return Scripted.start(script, events, **options), events


def raising(error: BaseException) -> None:
    raise error


def in_background(fn: Callable[[], Any]) -> tuple[Pid, list[Any]]:
    """Run `fn` in a process of its own; what it returned or raised will be in the list."""
    outcome: list[Any] = []

    def body() -> None:
        try:
            outcome.append(fn())
        except Exception as error:
            outcome.append(error)

    return process.spawn(body), outcome


def stubborn(gate: gevent.event.Event) -> None:
    """Outlives its death until the gate is open: run as a process, and told to exit, it is an orphan."""
    try:
        process.sleep(100.0)
    finally:
        gate.wait()


# -- a network that keeps what is sent -------------------------------------------------------------------------------

FAR = "far@127.0.0.1:1"


def here() -> Runtime:
    """The runtime of the test."""
    return current_process().runtime


def far(serial: int = 7, node: str = FAR) -> Pid:
    """A pid of another node."""
    return Pid(here().node_id(node, 1), serial)


def kept() -> dict[str, Any]:
    """What this node keeps about FAR."""
    peer = here().peer(FAR)
    return {name: getattr(peer, name) for name in peer.__slots__ if getattr(peer, name)}


class Ether:
    """The router of a runtime whose other nodes are only thought of: it keeps what is sent.

    sent: (node, op) of everything that went out. away: nodes that are not connected. refuse: raised by the next send.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.sent: list[tuple[str, tuple[Any, ...]]] = []
        self.away: set[str] = set()
        self.refuse: BaseException | None = None
        runtime.router = self

    def connected(self, node: str) -> bool:
        return node not in self.away

    def send(self, node: str, op: tuple[Any, ...]) -> bool:
        refuse, self.refuse = self.refuse, None
        if refuse is not None:
            raise refuse
        if node in self.away:
            return False
        self.sent.append((node, op))
        return True

    def take(self) -> list[tuple[str, tuple[Any, ...]]]:
        """What was sent since the last look."""
        sent, self.sent = self.sent, []
        return sent
