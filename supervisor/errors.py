"""The exceptions of the runtime.

Mistakes of the caller are `ValueError` or `TypeError`; the classes here say what happened to a process or a message.
"""

from __future__ import annotations

from typing import Any

import gevent

from supervisor.pids import Pid
from supervisor.reasons import NOCONNECTION, NOPROC, Moved


class SupervisorError(Exception):
    """The base of every error of the runtime."""


class ProcessExit(SupervisorError):
    """The process that was called is dead, or died before it replied. `reason` says why.

    When the process died during the call, the request may or may not have been handled.
    """

    def __init__(self, reason: Any, call: str = "") -> None:
        super().__init__(reason, call)
        self.reason = reason
        self.call = call

    def __str__(self) -> str:
        where = f" in {self.call}" if self.call else ""
        return f"process exited: {self.reason}{where}"


class NoProcess(ProcessExit):
    """No process has this pid or name; the request was not handled."""

    def __init__(self, what: Any = None, call: str = "") -> None:
        super().__init__(NOPROC, call)
        self.what = what

    def __str__(self) -> str:
        where = f" in {self.call}" if self.call else ""
        return f"no process {self.what!r}{where}" if self.what is not None else f"no such process{where}"


class NoConnection(ProcessExit):
    """The node of the process is not connected, or was lost before the reply came.

    was_sent: False if the request certainly never left this node.
    """

    def __init__(self, node: str | None = None, call: str = "", was_sent: bool = True) -> None:
        super().__init__(NOCONNECTION, call)
        self.node = node
        self.was_sent = was_sent

    def __str__(self) -> str:
        where = f" in {self.call}" if self.call else ""
        return f"no connection to node {self.node!r}{where}"


class CallAgain(ProcessExit):
    """The process has moved to another node: the request was not handled. `GenServer.call` sends it to `pid`."""

    def __init__(self, pid: Pid) -> None:
        super().__init__(Moved(pid))
        self.pid = pid


class Exit(gevent.GreenletExit):
    """Thrown into the greenlet of a process that was told to exit, so that its `finally` blocks run.

    A `GreenletExit`, so `except Exception` does not stop it. Raise it to end the current process with a reason.
    """

    def __init__(self, reason: Any = "normal") -> None:
        super().__init__(reason)
        self.reason = reason


class CallTimeout(SupervisorError, TimeoutError):
    """No answer within the timeout. The request may still be handled; a late reply is dropped."""


class ReceiveTimeout(SupervisorError, TimeoutError):
    """No matching message within the timeout."""


class AlreadyRegistered(SupervisorError):
    """The name belongs to another live process, `pid`."""

    def __init__(self, name: Any, pid: Any) -> None:
        super().__init__(name, pid)
        self.name = name
        self.pid = pid

    def __str__(self) -> str:
        return f"name {self.name!r} is already registered by {self.pid!r}"


class NotRegistered(SupervisorError, LookupError):
    """The process has not registered this key (any more)."""

    def __init__(self, key: Any, pid: Any) -> None:
        super().__init__(key, pid)
        self.key = key
        self.pid = pid

    def __str__(self) -> str:
        return f"{self.pid!r} has not registered {self.key!r}"


class StartError(SupervisorError):
    """A process did not start. `reason` is its exit reason; `child_id` is set where a supervisor started it."""

    def __init__(self, reason: Any, child_id: Any = None) -> None:
        super().__init__(reason, child_id)
        self.reason = reason
        self.child_id = child_id

    def __str__(self) -> str:
        what = f"child {self.child_id!r}" if self.child_id is not None else "process"
        return f"{what} failed to start: {self.reason}"


class EncodeError(SupervisorError):
    """A value cannot be sent to another node; the message names the path to it."""


class NotImportable(EncodeError):
    """A callable has no importable name (a lambda, a local function), so another node could not find it."""


class BadReturn(SupervisorError):
    """A callback returned something that it must not return."""


class ForkError(SupervisorError):
    """The library was used in a forked child before `Node.start` was called there."""
