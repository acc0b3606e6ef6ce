"""Requests of one node to the distributed supervisors of several, side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from processhub.hub.hub import Hub
from processhub.hub.messages import SYNC
from processhub.strategy.options import is_number
from supervisor.errors import CallTimeout, ProcessExit, SupervisorError
from supervisor.gen_server import GenServer
from supervisor.processes import give_way, receive, self, send, spawn_link
from supervisor.runtime import current_process

T = TypeVar("T")
SHOWN_SECONDS: Final = 2.0  # how long an answer is held back until lookups show it, at most
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


def await_shown(hub: Hub, copies: Mapping[str, Collection[str]], shown: bool, timeout: float) -> None:
    """Wait until lookups here show the copies of these children on these nodes, or do not any more.

    For strategies whose batches come by way of others, later than the reply. Gives up after a while: the registry
    catches up by itself.
    """
    if hub.config.synchronization_strategy.direct:
        return
    me = current_process()
    clock = hub.runtime.clock
    deadline = clock.now() + min(timeout, SHOWN_SECONDS)
    for child_id, nodes in copies.items():
        give_way(me)
        while any((node in hub.registry.rows(child_id)) != shown for node in nodes):
            if not hub.await_change(child_id, max(0.0, deadline - clock.now())):
                return
