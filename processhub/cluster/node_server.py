"""The server that each node runs for requests of other nodes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from processhub.cluster.callables import Reference, reference_to, resolved
from processhub.cluster.messages import SpawnRequest
from supervisor.gen_server import From, GenServer, NoReply
from supervisor.pids import Pid
from supervisor.processes import spawn
from supervisor.runtime import Runtime, current_runtime

log = logging.getLogger(__name__)

INFO: Final = "info"  # a call to the node server; the reply is (name, peers, services)


@dataclass(frozen=True)
class NodeInfo:
    """What a node says of itself.

    Attributes:
        name: its name.
        nodes: the other nodes that it is connected to, sorted.
        services: what runs on it under the node's name, {name: kind}: hubs, by their ids.
    """

    name: str
    nodes: tuple[str, ...]
    services: dict[str, str]


class NodeServer(GenServer):
    """Runs functions for other nodes. Registered under `NAME` on each node."""

    NAME: Final = "processhub.node"

    def handle_call(self, request: Any, from_: From) -> Any:
        if isinstance(request, SpawnRequest):
            return spawn(_run, request.fn, request.args)
        if request == INFO:
            return _info(current_runtime())
        log.warning("the node server got an unknown call %.200r", request)  # it must survive what others send
        return NoReply()

    def handle_cast(self, request: Any) -> None:
        log.warning("the node server got an unknown cast %.200r", request)


def _run(fn: Any, args: tuple[Any, ...]) -> None:
    # Names are resolved in the process that uses them: an import may take long, and may fail.
    (fn.resolve() if isinstance(fn, Reference) else fn)(*resolved(args))


def spawn_on(node: str, fn: Any, args: tuple[Any, ...]) -> Pid:
    """Run `fn(*args)` on `node`. Raises as `Node.spawn` says."""
    if node == current_runtime().home.name:
        return spawn(fn, *args)
    pid: Pid = GenServer.call((NodeServer.NAME, node), SpawnRequest(reference_to(fn), args))
    return pid


def info_of(node: str | None) -> NodeInfo:
    """What `node` (None: this one) says of itself. Raises as `Node.info` says."""
    runtime = current_runtime()
    here = node is None or node == runtime.home.name
    name, nodes, services = _info(runtime) if here else GenServer.call((NodeServer.NAME, node), INFO)
    return NodeInfo(name, tuple(nodes), dict(services))


def _info(runtime: Runtime) -> tuple[str, list[str], dict[str, str]]:
    peers = runtime.node.peers() if runtime.node is not None else []
    return runtime.home.name, peers, {name: one.kind for name, one in sorted(services_of(runtime).items())}


def services_of(runtime: Runtime) -> dict[str, Any]:
    """What runs here and carries the name that the node had when it was started."""
    return {name: one for name, one in runtime.services.items() if getattr(one, "keeps_name", False)}
