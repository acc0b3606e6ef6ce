"""Keeping what is desired running on this node: starts for the reconciler, restarts, and tries of what failed."""

from __future__ import annotations

import logging
from typing import Any, Final

from processhub.hub.altering import altering, keep_altered
from processhub.hub.backoff import Backoff
from processhub.hub.copies import BROKEN, STARTING_, Child, Copies
from processhub.hub.hub import Hub
from processhub.hub.results import STOPPED
from processhub.hub.start_hooks import tell_before
from processhub.hub.start_news import StartNews
from processhub.hub.start_queue import Done, Job, StartQueue
from processhub.hub.stops import Stops
from processhub.registry import RESTARTING, STARTING
from processhub.registry.operations import Child as Desired
from supervisor.pids import Pid
from supervisor.processes import send_after
from supervisor.records import RESTART

log = logging.getLogger(__name__)

RETRY: Final = Backoff()


class Upkeep:
    """The starts that no caller asked for. `me` is the distributed supervisor."""

    def __init__(self, hub: Hub, me: Pid, copies: Copies, queue: StartQueue, news: StartNews, stops: Stops) -> None:
        self._hub = hub
        self._me = me
        self._copies = copies
        self._queue = queue
        self._news = news
        self._stops = stops

    # -- starts for the reconciler -----------------------------------------------------------------------------------

    def start(self, reason: str, child_ids: list[str]) -> None:
        """The reconciler wants these to run here. reason: what their `start_reason` says."""
        hub = self._hub
        starting = []
        for child_id in child_ids:
            desired = hub.registry.children.get(child_id)
            if desired is None or not hub.takes_part or child_id in hub.moving:
                continue
            if self._begin(child_id, desired, reason):
                starting.append((child_id, *desired[:3]))
        tell_before(hub, starting)
        if hub.standing.is_careful:
            hub.publish()

    def _begin(self, child_id: str, desired: Desired, reason: str) -> bool:
        hub = self._hub
        child = self._copies.children.get(child_id)
        if child is None:
            if hub.standing.is_careful and hub.node not in hub.owners(child_id):
                return False  # its owner has come back since this was decided, and may have seen no copy here
            child = self._copies.add(child_id, desired.spec)
            if hub.standing.is_careful:
                hub.set_row(child_id, None, STARTING, child.epoch)  # who comes back must not start it too
            self._queue_start(child, self._started, reason)
            return True
        if child.state == BROKEN and child.record != desired.spec:
            child.failures = 0
            self._queue_start(child, self._started)
            return True
        return False

    def _started(self, child_id: str, pid: Pid | None, reason: Any) -> None:
        desired = self._hub.registry.children.get(child_id)
        stops = self._copies.children[child_id].stopping is not None
        if desired is not None:
            outcome = (None, STOPPED) if stops else (pid, reason)
            self._news.note(child_id, outcome[0], outcome[1], desired.placement)
        self.ended(child_id, pid, reason)

    # -- any start ---------------------------------------------------------------------------------------------------

    def _queue_start(self, child: Child, done: Done, reason: str = RESTART) -> None:
        child.state = STARTING_
        job = Job(child.child_id, child.record, done, reason)
        desired = self._hub.registry.children.get(child.child_id)
        child.job = altering(self._hub, job, desired.metadata, desired.placement) if desired is not None else job
        self._queue.put(job)

    def ended(self, child_id: str, pid: Pid | None, reason: Any) -> None:
        """One of these starts has ended, well or not. See `Job.done`."""
        child = self._copies.children[child_id]
        job, child.job = child.job, None
        if job is not None and pid is not None:
            child.record = keep_altered(self._hub, job, child.record)
        if child.stopping is not None:
            self._stops.start_ended(child, pid)
        elif pid is not None:
            child.since = self._hub.runtime.clock.now() if child.failures else 0.0
            self._copies.runs(child, pid)
        else:
            log.warning("hub %s: child %r did not start: %s", self._hub.hub_id, child_id, reason)
            self.try_later(child, reason)
        self._news.ended(child_id)

    # -- again -------------------------------------------------------------------------------------------------------

    def restart(self, child: Child) -> None:
        """It has ended, and runs on as another process."""
        self._hub.set_row(child.child_id, None, RESTARTING, child.epoch)
        self._queue_start(child, self.ended)

    def try_later(self, child: Child, reason: Any) -> None:
        """It fails again and again: hold it, show it, try again later."""
        self._copies.fails(child, reason)
        send_after(self._me, ("retry", child), RETRY.pause(child.failures, self._hub.rng))

    def retry(self, child: Child) -> None:
        """Later has come."""
        if self._copies.children.get(child.child_id) is child and child.state == BROKEN:
            desired = self._hub.registry.children.get(child.child_id)
            if desired is not None:
                child.record = desired.spec
            self._queue_start(child, self.ended)
