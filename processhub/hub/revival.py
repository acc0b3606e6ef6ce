"""A child that had moved to a node that was lost before it confirmed: it goes on here, from what is still held."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import supervisor.handover as handover
from processhub.cluster.wire import resolved
from processhub.hub.copies import Copies
from processhub.hub.departures import Departure
from processhub.hub.hub import Hub
from processhub.hub.start_queue import Done, Job, StartQueue
from processhub.hub.upkeep import Upkeep
from processhub.registry import RESTARTING
from supervisor.gates import finish
from supervisor.pids import Pid
from supervisor.records import FAILOVER, Process
from supervisor.runtime import reason_of
from supervisor.signals import exit_process

log = logging.getLogger(__name__)


class Revival:
    """Starts such children."""

    def __init__(self, hub: Hub, copies: Copies, queue: StartQueue, upkeep: Upkeep) -> None:
        self._hub = hub
        self._copies = copies
        self._queue = queue
        self._upkeep = upkeep

    def revive(self, departure: Departure) -> None:
        """The node to which it had moved is lost: start it here, from what it was, if it still has no copy here."""
        hub, child = self._hub, departure.child
        if child.child_id not in hub.registry.children or not hub.takes_part or child.child_id in self._copies.children:
            hub.drop_row(child.child_id)
        else:
            self._copies.add_again(child)
            hub.set_row(child.child_id, None, RESTARTING, child.epoch)
            done = partial(_revived, hub, departure, self._upkeep.ended)
            child.job = Job(child.child_id, child.record, done, FAILOVER, gated=True)
            self._queue.put(child.job)
        hub.publish()


def _revived(hub: Hub, departure: Departure, done: Done, child_id: str, pid: Pid | None, reason: Any) -> None:
    """Its start has ended: give it its state and what was kept and never sent, then say so to `done`."""
    process = hub.runtime.local(pid) if pid is not None else None
    if pid is not None and process is not None:
        handover.run_ahead(process, partial(_go_on, hub, departure))
        hub.runtime.moved.add(departure.process.pid, pid)
    done(child_id, pid, reason)


def _go_on(hub: Hub, departure: Departure, process: Process) -> None:
    """Runs inside the server, which is gated."""
    try:
        if departure.state is not None:
            process.server.alter_handover_state(resolved(hub.codec.unpack(departure.state)))
    except Exception as error:
        log.exception("hub %s: child %r cannot take its state", hub.hub_id, departure.child.child_id)
        exit_process(process, reason_of(error))  # an ordinary restart follows
        return
    handover.take_over(process, departure.entries, departure.callers, "", ())
    finish(process)
