"""Requests of one node to the distributed supervisors of several, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from processhub.hub.hub import Hub
from processhub.hub.messages import SYNC
from supervisor.errors import CallTimeout, ProcessExit, SupervisorError
from supervisor.gen_server import GenServer
from supervisor.processes import receive, self, send, spawn_link


def ask_all(hub: Hub, requests: Mapping[str, Any], timeout: float) -> Iterator[tuple[str, Any]]:
    """Call each node's distributed supervisor and yield (node, reply) as the replies come.

    Instead of a reply comes the reason why there is none: "timeout", "noproc", "noconnection", an exit reason. Runs in
    a process of its own: it receives.
    """
    me = self()
    tag = object()
    for node, request in requests.items():
        spawn_link(_ask, me, tag, hub.supervisor_name, node, request, timeout)
    for _ in requests:
        message = receive(lambda m: isinstance(m, tuple) and len(m) == 3 and m[0] is tag)
        yield message[1], message[2]


def _ask(asker: Any, tag: object, name: str, node: str, request: Any, timeout: float) -> None:
    answer: Any
    try:
        answer = GenServer.call((name, node), request, timeout)
    except CallTimeout:
        answer = "timeout"
    except ProcessExit as error:
        answer = error.reason
    except SupervisorError as error:
        answer = str(error)
    send(asker, (tag, node, answer))


def synchronise(hub: Hub, timeout: float) -> None:
    """Wait until this node has applied what reached it before: replies overtake batches inside a node."""
    try:
        GenServer.call(hub.hub_id, SYNC, timeout)
    except (CallTimeout, ProcessExit):
        pass  # the registry catches up by itself; the answer that was collected stands
