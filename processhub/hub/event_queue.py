"""The event queue: what happens to the cluster reaches the coordinator in order of priority, one level at a time.

While the hub is *locked* (level 10: members come or go, children move, or quorum is lost) events below that level wait.
A lock that is never lifted would stop all of them for good, so it is lifted after `deadlock_recovery_timeout`,
whatever happens; but never the lock of a partition.
"""

from __future__ import annotations

import heapq
import logging
from typing import Any

from processhub.cluster.messages import NodeDown, NodeUp
from processhub.cluster.node import Node
from processhub.hub.hub import LOCKED, Hub
from supervisor.gen_server import From, GenServer
from supervisor.processes import self as self_pid
from supervisor.processes import send_after

log = logging.getLogger(__name__)


class EventQueue(GenServer):
    """Holds back what must wait.

    Casts: ("event", priority, event) goes to the coordinator when the level allows; ("level", n) sets the level;
    ("changed", n) tells that somebody has set it, ("promoted", node) that the hub's node has a name.
    """

    def init(self, hub: Hub) -> None:
        self.hub = hub
        self._held: list[tuple[int, int, Any]] = []
        self._sequence = 0
        self._recovery: Any = None
        Node.monitor_nodes(True)
        self._level_changed()

    def handle_info(self, message: Any) -> None:
        if isinstance(message, NodeUp | NodeDown):
            self._event(LOCKED, message)
        elif message == "recover":
            self._recover()

    def handle_cast(self, request: Any) -> None:
        if request[0] == "event":
            self._event(request[1], request[2])
        elif request[0] == "level":
            self.hub.level = request[1]
        elif request[0] == "promoted":
            Node.monitor_nodes(True)
        else:
            self._level_changed()

    def handle_call(self, request: Any, from_: From) -> Any:
        return len(self._held)

    @property
    def _patience(self) -> float:
        return self.hub.config.deadlock_recovery_timeout

    def _event(self, priority: int, event: Any) -> None:
        if priority >= self.hub.level:
            self.hub.tell("coordinator", ("event", event))
            return
        self._sequence += 1
        heapq.heappush(self._held, (-priority, self._sequence, event))

    def _recover(self) -> None:
        """The lock was held for too long. That of a partition is looked at again later: it may have ended meanwhile."""
        if self.hub.level < LOCKED:
            return
        if self.hub.partitioned:
            self._recovery = send_after(self_pid(), "recover", self._patience)
            return
        log.error("hub %s was locked for %s s: the lock is lifted", self.hub.hub_id, self._patience)
        self.hub.level = 0

    def _level_changed(self) -> None:
        level = self.hub.level
        if self._recovery is not None:
            self._recovery.cancel()
            self._recovery = None
        if level >= LOCKED:
            self._recovery = send_after(self_pid(), "recover", self._patience)
        while self._held and -self._held[0][0] >= level:
            self.hub.tell("coordinator", ("event", heapq.heappop(self._held)[2]))
