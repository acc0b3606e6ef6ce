"""Copies that end by themselves: restarted, held back for a while, or done."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from processhub.hub.copies import STOPPING, Child, Copies
from processhub.hub.hub import Hub
from processhub.hub.stops import Stops
from processhub.hub.upkeep import Upkeep
from supervisor.reasons import is_orderly

log = logging.getLogger(__name__)


class Ends:
    """What becomes of a copy of this node whose process has ended."""

    def __init__(self, hub: Hub, copies: Copies, upkeep: Upkeep, stops: Stops) -> None:
        self._hub = hub
        self._copies = copies
        self._upkeep = upkeep
        self._stops = stops

    def ended(self, child: Child, reason: Any) -> None:
        """The process of this copy has ended, as asked or not."""
        if child.state == STOPPING:
            self._stops.stopped(child)
            return
        hub = self._hub
        if child.failures and hub.runtime.clock.now() - child.since >= hub.config.dsup_max_seconds:
            child.failures = 0  # it ran well in between
        restart = hub.specs.options(child.record).restart
        if restart == "temporary" or (restart == "transient" and is_orderly(reason)):
            self._done(child)
        elif self._within_limit(child):
            log.info("hub %s: child %r ended (%s) and is restarted", hub.hub_id, child.child_id, reason)
            self._upkeep.restart(child)
        else:
            log.error(
                "hub %s: child %r ended (%s): more than %d restarts in %s s, it is tried again later",
                hub.hub_id,
                child.child_id,
                reason,
                hub.config.dsup_max_restarts,
                hub.config.dsup_max_seconds,
            )
            self._upkeep.try_later(child, reason)
        hub.publish()

    def _done(self, child: Child) -> None:
        """It is desired no more, on no node."""
        hub, child_id = self._hub, child.child_id
        self._copies.forget(child)
        hub.drop_row(child_id)
        hub.registry.remove(child_id, hub.now_ms())
        hub.index.discard(child_id)
        hub.written((child_id,))
        hub.touched([child_id])

    def _within_limit(self, child: Child) -> bool:
        """Count a restart of this child. The limit is the child's own: one that crashes takes no other down."""
        config = self._hub.config
        now = self._hub.runtime.clock.now()
        if child.restarts is None:
            child.restarts = deque()
        child.restarts.append(now)
        while child.restarts[0] < now - config.dsup_max_seconds:
            child.restarts.popleft()
        return len(child.restarts) <= config.dsup_max_restarts
