"""What tests ask of a node that is an operating-system process of its own; and that process's program.

    python -m tests.cluster.deeds name [seed ...]

It reads commands from its standard input, one line of JSON each, runs each as a process of the node and answers with a
line of JSON. It ends with its standard input; at SIGTERM its node leaves in good order first.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from typing import Any, Final

import gevent
from gevent.os import tp_read

import supervisor.processes as process
from processhub.api import ProcessHub
from processhub.cluster.messages import NodeDown
from processhub.cluster.node import Node
from processhub.hub.config import HubConfig
from processhub.strategy.distribution.centralized_load_balancer import CentralizedLoadBalancer
from processhub.strategy.partition_tolerance.dynamic_quorum import DynamicQuorum
from processhub.strategy.partition_tolerance.majority_quorum import MajorityQuorum
from processhub.strategy.partition_tolerance.static_quorum import StaticQuorum
from supervisor.gen_server import GenServer
from supervisor.runtime import current_runtime
from supervisor.signals import Down, ExitSignal
from tests.cluster import copies_deeds, six_deeds

_MODULES: Final = (sys.modules[__name__], copies_deeds, six_deeds)
_downs: dict[str, float] = {}
_kept: dict[str, Any] = {}


class Echo(GenServer):
    """Answers what it is asked; keeps what is cast to it."""

    def init(self) -> None:
        self.state: list[Any] = []

    def handle_call(self, request: Any, from_: Any) -> Any:
        if request == "casts":
            return list(self.state)
        if request == "pid":
            return os.getpid()
        return request

    def handle_cast(self, request: Any) -> None:
        self.state.append(request)


# -- deeds -----------------------------------------------------------------------------------------------------------


def peers() -> list[str]:
    return Node.list()


def await_peers(names: list[str], timeout: float = 10.0) -> list[str]:
    """Wait until exactly these are connected."""
    deadline = time.monotonic() + timeout
    while Node.list() != sorted(names):
        if time.monotonic() > deadline:
            raise TimeoutError(f"connected to {Node.list()}, not to {sorted(names)}")
        process.sleep(0.01)  # real time: what is awaited happens in other operating-system processes
    return Node.list()


def await_peer(name: str, timeout: float = 10.0) -> None:
    """Wait until this one is connected."""
    deadline = time.monotonic() + timeout
    while name not in Node.list():
        if time.monotonic() > deadline:
            raise TimeoutError(f"connected to {Node.list()}, not to {name}")
        process.sleep(0.01)  # real time, as above


def refusals() -> dict[str, str]:
    return Node.refusals()


def connect(name: str) -> bool:
    return Node.connect(name)


def call(server: str, node: str, request: Any, timeout: float = 5.0) -> Any:
    return GenServer.call((server, node), request, timeout)


def cast(server: str, node: str, request: Any) -> None:
    GenServer.cast((server, node), request)


def watch_nodes() -> None:
    """From now on note when nodes go down; see `downs`."""
    process.spawn(_watch_nodes)


def _watch_nodes() -> None:
    Node.monitor_nodes(True)
    while True:
        message = process.receive()
        if isinstance(message, NodeDown):
            _downs.setdefault(message.node, time.monotonic())


def await_down(node: str, timeout: float = 15.0) -> float:
    """When `node` was noticed to be down, on the clock that all processes share."""
    deadline = time.monotonic() + timeout
    while node not in _downs:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{node} is not down")
        process.sleep(0.005)  # real time, as above
    return _downs[node]


def downs() -> list[str]:
    return sorted(_downs)


def burn(seconds: float) -> None:
    """Hold this node's event loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def start_burner() -> None:
    """A server whose handler holds the loop for as many seconds as it is asked to."""
    Burner.start(name="burner")


class Burner(GenServer):
    def handle_cast(self, request: Any) -> None:
        burn(request)


def monitored_reason(server: str, node: str) -> Any:
    """Monitor a server and wait for its end."""
    ref = process.monitor((server, node))
    _kept["monitoring"] = True
    message = process.receive(lambda m: isinstance(m, Down) and m.ref == ref, 15.0)
    return message.reason


def linked_reason(server: str, node: str) -> Any:
    """Link to a server and wait for the exit signal."""
    pid = GenServer.call(("pids", node), server)
    process.trap_exit(True)
    process.link(pid)
    _kept["monitoring"] = True
    message = process.receive(lambda m: isinstance(m, ExitSignal) and m.pid == pid, 15.0)
    return message.reason


class Pids(GenServer):
    """Answers with the pid behind a name."""

    def handle_call(self, request: Any, from_: Any) -> Any:
        return process.whereis(request)


def start_server(name: str) -> None:
    Echo.start(name=name)
    if process.whereis("pids") is None:
        Pids.start(name="pids")


def await_monitoring() -> None:
    while not _kept.get("monitoring"):
        process.sleep(0.01)  # real time: another process of this node is about to say so
    process.sleep(0.1)  # what it sent has left this node


def stop_server(name: str, node: str, reason: str) -> None:
    GenServer.stop((name, node), reason, timeout=5.0)


def malformed() -> int:
    """How many bad messages and frames were dropped here."""
    node = current_runtime().node
    return int(node.links.malformed + node.transport.malformed)


def start_hub(hub_id: str) -> None:
    process.spawn(_host, hub_id)
    while not ProcessHub.is_alive(hub_id):
        process.sleep(0.01)  # real time, as above


def _host(hub_id: str) -> None:
    ProcessHub.start_link(ProcessHub(hub_id))
    process.receive(lambda _: False)


def start_balanced_hub(hub_id: str, push_interval: float) -> None:
    """A hub that places its children by load."""
    strategy = CentralizedLoadBalancer(push_interval=push_interval)
    _start_config(HubConfig(hub_id, distribution_strategy=strategy))


def start_quorum_hub(hub_id: str, strategy: str, options: dict[str, Any]) -> None:
    kinds = {"static": StaticQuorum, "dynamic": DynamicQuorum, "majority": MajorityQuorum}
    _start_config(HubConfig(hub_id, partition_tolerance_strategy=kinds[strategy](**options)))


def _start_config(config: HubConfig) -> None:
    process.spawn(_host_config, config)
    while not ProcessHub.is_alive(config.hub_id):
        process.sleep(0.01)  # real time, as above


def _host_config(config: HubConfig) -> None:
    ProcessHub.start_link(config)
    process.receive(lambda _: False)


def keep_busy() -> None:
    """From now on this node's loop is late all the time, and its processor busy."""
    process.spawn(_keep_busy)


def _keep_busy() -> None:
    while True:
        burn(0.05)
        process.sleep(0.005)  # real time: the loop is to turn now and then


def scores(hub_id: str) -> dict[str, float]:
    return CentralizedLoadBalancer.scores(hub_id)


def await_partitioned(hub_id: str, expected: bool) -> None:
    """Wait until the hub is partitioned or whole."""
    while ProcessHub.is_partitioned(hub_id) is not expected:
        process.sleep(0.01)  # real time, as above


def await_none_here(hub_id: str) -> None:
    """Wait until no child of the hub runs on this node."""
    while ProcessHub.process_list(hub_id, "local"):
        process.sleep(0.01)  # real time, as above


def start_children(hub_id: str, ids: list[str]) -> str:
    specs = [{"id": child, "start": (Echo, "start_link", ())} for child in ids]
    return str(ProcessHub.start_children(hub_id, specs).result(15.0).status)


def await_settled(hub_id: str, members: list[str]) -> None:
    ProcessHub.await_settled(hub_id, 15.0, members)


def locate(hub_id: str, ids: list[str]) -> dict[str, str | None]:
    """child id -> node."""
    found = {child: ProcessHub.get_pid(hub_id, child) for child in ids}
    return {child: pid.node if pid is not None else None for child, pid in found.items()}


def call_children(hub_id: str, ids: list[str]) -> list[Any]:
    return [GenServer.call(ProcessHub.get_pid(hub_id, child), f"hello {child}") for child in ids]


# -- the program -----------------------------------------------------------------------------------------------------


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    name, *seeds = sys.argv[1:]
    Node.start(name, seeds=seeds)
    Echo.start(name="echo")
    _leave_at_sigterm()
    _answer({"number": 0, "value": None})
    rest = b""
    while data := tp_read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            process.spawn(_run, json.loads(line))
    os._exit(0)


def _run(command: dict[str, Any]) -> None:
    try:
        value = _deed(command["deed"])(*command["args"])
        _answer({"number": command["number"], "value": value})
    except Exception as error:
        _answer({"number": command["number"], "error": repr(error)})


def _deed(name: str) -> Any:
    return next(vars(module)[name] for module in _MODULES if name in vars(module))


def _leave_at_sigterm() -> None:
    gevent.signal_handler(signal.SIGTERM, lambda: process.spawn(_leave))


def _leave() -> None:
    Node.stop()
    os._exit(0)


def _answer(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer, default=repr).encode() + b"\n")
    gevent.sleep(0)


if __name__ == "__main__":
    main()
