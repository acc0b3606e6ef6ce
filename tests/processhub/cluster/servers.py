"""Servers and short cuts that the tests of the cluster layer share."""

from __future__ import annotations

from typing import Any

from processhub.testing import ClusterNode
from supervisor.gen_server import From, GenServer, NoReply, Stop
from supervisor.pids import Pid


class Echo(GenServer):
    """Answers what it is asked, and keeps what is cast or sent to it."""

    def init(self) -> None:
        self.state: list[Any] = []

    def handle_call(self, request: Any, from_: From) -> Any:
        if request == "casts":
            return list(self.state)
        if request == "later":
            self.state.append(from_)
            return NoReply()
        if request == "lambda":
            return lambda: None
        if request == "crash":
            raise ZeroDivisionError("as asked")
        return request

    def handle_cast(self, request: Any) -> Any:
        if isinstance(request, tuple) and request and request[0] == "stop":
            return Stop(request[1])
        self.state.append(request)
        return None

    def handle_info(self, message: Any) -> None:
        self.state.append(message)


def start(node: ClusterNode, server: type[GenServer], name: str) -> Pid:
    """Start a server on a node, not linked to anybody."""
    pid = node.run(lambda: server.start(name=name))
    assert pid is not None
    return pid


def call(node: ClusterNode, server: Any, request: Any, timeout: float = 5.0) -> Any:
    """Call from a process of `node`."""
    return node.run(GenServer.call, server, request, timeout)
