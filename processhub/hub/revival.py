"""A child that had moved to a node that was lost before it confirmed: it goes on here, from what is still held."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import supervisor.handover as handover
from processhub.cluster.wire import resolved
from processhub.hub.departures import Departure
from processhub.hub.hub import Hub
from processhub.hub.start_queue import Done
from supervisor.gates import finish
from supervisor.pids import Pid
from supervisor.records import Process
from supervisor.runtime import reason_of
from supervisor.signals import exit_process

log = logging.getLogger(__name__)


def revived(hub: Hub, departure: Departure, done: Done, child_id: str, pid: Pid | None, reason: Any) -> None:
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
