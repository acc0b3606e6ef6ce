"""Requests of one node to the distributed supervisors of several, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from processhub.hub.hub import Hub
from processhub.hub.messages import SYNC, CatchUp
from processhub.hub.results import TIMEOUT
from processhub.strategy.options import is_number
from supervisor.errors import CallTimeout, ProcessExit, SupervisorError
from supervisor.gen_server import GenServer
from supervisor.processes import receive, self, send, spawn_link

T = TypeVar("T")
PIECE: Final = 1000  # children in one request: what a distributed supervisor takes in without holding the loop


def check_timeout(seconds: Any) -> None:
    """Raise ValueError unless it is a positive number, for the options of starts and stops."""
    if not is_number(seconds) or seconds <= 0:
        raise ValueError(f"timeout must be a positive number of seconds; got {seconds!r}")


def pieces(child_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Slices of at most `PIECE` ids."""
    for first in range(0, len(child_ids), PIECE):
        yield child_ids[first : first + PIECE]


def ask_all(
    hub: Hub, requests: Sequence[tuple[str, T]], timeout: float, name: str | None = None
) -> Iterator[tuple[str, T, Any]]:
    """Send each (node, request) to that node's distributed supervisor; yield (node, request, reply) as replies come.

    `name`: that of another process to ask.
    Instead of a reply comes the reason why there is none: "timeout", "noproc", "noconnection", an exit reason. Runs in
    a process of its own: it receives.
    """
    me = self()
    tag = object()
    for node, request in requests:
        spawn_link(_ask, me, tag, name or hub.supervisor_name, node, request, timeout)
    for _ in requests:
        message = receive(lambda m: isinstance(m, tuple) and len(m) == 4 and m[0] is tag)
        yield message[1], message[2], message[3]


def _ask(asker: Any, tag: object, name: str, node: str, request: Any, timeout: float) -> None:
    answer: Any
    try:
        answer = GenServer.call((name, node), request, timeout)
    except CallTimeout:
        answer = TIMEOUT
    except ProcessExit as error:
        answer = error.reason
    except SupervisorError as error:
        answer = str(error)
    send(asker, (tag, node, request, answer))


def synchronise(hub: Hub, timeout: float) -> None:
    """Wait until this node has applied what reached it before: replies overtake batches inside a node."""
    try:
        GenServer.call(hub.hub_id, SYNC, timeout)
    except (CallTimeout, ProcessExit):
        pass  # the registry catches up by itself; the answer that was collected stands


def catch_up(hub: Hub, nodes: Iterable[str], timeout: float) -> list[str]:
    """Wait until this node has applied all that these nodes had when they answered a request.

    Where batches go to all members they came before the answers. Else they are on their way, or got lost with a member
    that was to pass them on; so they are asked for. Returns the nodes that did not send theirs.
    """
    silent = []
    if not hub.config.synchronization_strategy.direct:
        vector = hub.registry.vector().to_wire()
        requests = [(node, CatchUp(hub.node, vector)) for node in sorted(nodes) if node != hub.node]
        silent = [node for node, _, sent in ask_all(hub, requests, timeout, hub.hub_id) if sent is not True]
    synchronise(hub, timeout)
    return silent
