"""Requests of one node to the distributed supervisors of several, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from processhub.hub.hub import Hub
from processhub.hub.messages import SYNC
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


def ask_all(hub: Hub, requests: Sequence[tuple[str, T]], timeout: float) -> Iterator[tuple[str, T, Any]]:
    """Send each (node, request) to that node's distributed supervisor; yield (node, request, reply) as replies come.

    Instead of a reply comes the reason why there is none: "timeout", "noproc", "noconnection", an exit reason. Runs in
    a process of its own: it receives.
    """
    me = self()
    tag = object()
    for node, request in requests:
        spawn_link(_ask, me, tag, hub.supervisor_name, node, request, timeout)
    for _ in requests:
        message = receive(lambda m: isinstance(m, tuple) and len(m) == 4 and m[0] is tag)
        yield message[1], message[2], message[3]


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
    send(asker, (tag, node, request, answer))


def synchronise(hub: Hub, timeout: float) -> None:
    """Wait until this node has applied what reached it before: replies overtake batches inside a node."""
    try:
        GenServer.call(hub.hub_id, SYNC, timeout)
    except (CallTimeout, ProcessExit):
        pass  # the registry catches up by itself; the answer that was collected stands
