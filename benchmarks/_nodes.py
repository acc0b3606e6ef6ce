"""Nodes for benchmarks: real operating-system processes on loopback that end with the process that made them."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from processhub import ColdSwap, GenServer, HotSwap, Node, ProcessHub, Supervisor, process
from supervisor.runtime import current_runtime

HUB = "bench"
SERVER = "bench.server"
HOT = "hot"


class Counter(GenServer):
    """A child: a number that casts raise and calls read."""

    def init(self, number: int = 0) -> None:
        self.state = number

    def handle_call(self, request: Any, from_: Any) -> Any:
        return self.state

    def handle_cast(self, request: Any) -> None:
        self.state += 1


class BenchServer(GenServer):
    """What the driver asks of each node."""

    def handle_call(self, request: Any, from_: Any) -> Any:
        kind, argument = request
        if kind == "known":  # wait until the registry here has a pid for so many children
            while known() != argument:
                process.sleep(0.001)
        return len(ProcessHub.process_list(HUB, "local"))


def known() -> int:
    """How many children the registry of this node has a pid for."""
    hub = current_runtime().services.get(HUB)
    return len(hub.registry.pids) if hub is not None else -1


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def cluster(count: int, hot: bool = False) -> Iterator[tuple[list[str], list[subprocess.Popen[bytes]]]]:
    """`count` nodes with a hub; this process is the first of them. Yields their names and the others' processes."""
    os.environ.setdefault("PROCESSHUB_COOKIE", secrets.token_hex(16))
    names = [f"n{number}@127.0.0.1:{port}" for number, port in enumerate(free_ports(count), start=1)]
    others = [start_node(name, names[0], hot) for name in names[1:]]
    try:
        supervisor = host(names[0], (), hot)
        ProcessHub.await_settled(HUB, 30.0, names)
        yield names, others
        Supervisor.stop(supervisor)
        Node.stop()
    finally:
        for other in others:
            other.kill()
            other.wait()


def start_node(name: str, seed: str, hot: bool) -> subprocess.Popen[bytes]:
    """A node in a process of its own."""
    arguments = [name, seed, *([HOT] if hot else [])]
    return subprocess.Popen([sys.executable, "-m", "benchmarks._nodes", *arguments], stdin=subprocess.PIPE)


def host(name: str, seeds: Iterable[str], hot: bool) -> Any:
    """Make this process a node with a hub, whose children move `hot` or cold. Returns its supervisor."""
    Node.start(name, seeds=list(seeds))
    config = ProcessHub(HUB, migration_strategy=HotSwap(handover=True) if hot else ColdSwap())
    return Supervisor.start_link([BenchServer.child_spec(name=SERVER), ProcessHub.child_spec(config)])


def _main() -> None:
    import gevent.os

    host(sys.argv[1], [sys.argv[2]], sys.argv[3:] == [HOT])
    gevent.os.tp_read(0, 1)  # the end of the driver closes the pipe
    os._exit(0)


if __name__ == "__main__":
    from benchmarks import _nodes

    _nodes._main()
