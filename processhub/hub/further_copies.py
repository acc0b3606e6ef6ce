"""Starts of further copies: the caller of a start waits for what the reconcilers of the other owners make of them.

The first owner of a child starts it and makes it known; every other owner then starts its own copy because it sees that
one is missing there. It needs no request for that. The caller only asks how it went, and the answer comes when it is
known.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from processhub.hub.hub import Hub
from processhub.hub.messages import AwaitCopies, StartReply
from processhub.hub.results import TIMEOUT
from processhub.registry import RUNNING, MalformedBatch, RegistryVector
from supervisor.gen_server import From, GenServer

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5  # between two looks at a child that is not known here: the start may have ended for good


def answer(hub: Hub, request: AwaitCopies, from_: From) -> None:
    """Wait for the copies of this node and reply with a StartReply. Runs in a process of its own."""
    reply = StartReply({}, {}, [], sorted(hub.members))
    deadline = hub.runtime.clock.now() + request.timeout
    try:
        vector = RegistryVector.from_wire(request.vector)
    except MalformedBatch as error:
        log.error("hub %s: a malformed request was dropped: %s", hub.hub_id, error)
        return
    for child_id in request.child_ids:
        _await_copy(hub, child_id, vector, deadline, reply)
    hub.publish()  # before the reply, on the same link
    GenServer.reply(from_, reply)


def _await_copy(hub: Hub, child_id: str, vector: RegistryVector, deadline: float, reply: StartReply) -> None:
    while True:
        row = hub.registry.own_table.get(child_id)
        remaining = deadline - hub.runtime.clock.now()
        reason = _failure(hub, child_id)
        if row is not None and row.state == RUNNING:
            reply.started[child_id] = row.pid
        elif reason is not None or remaining <= 0:
            reply.failed[child_id] = reason or TIMEOUT
        elif child_id not in hub.registry.children and not hub.registry.lacks(vector):
            pass  # it is desired no more: it ended for good, or was stopped, before this copy was needed
        else:
            hub.changing.wait(child_id, min(remaining, LOOK_SECONDS))
            continue
        return


def _failure(hub: Hub, child_id: str) -> Any:
    return hub.refusal or hub.failures.get(child_id)
