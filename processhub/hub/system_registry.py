"""The first part of a hub to start and the last to stop: it makes the hub known on its node, and says goodbye."""

from __future__ import annotations

from typing import Any

from processhub.hub.hub import Hub
from processhub.hub.messages import HubLeave
from supervisor.gen_server import GenServer
from supervisor.processes import trap_exit


class SystemRegistry(GenServer):
    """While it lives, `runtime.services` has the hub under its id."""

    def init(self, hub: Hub) -> None:
        trap_exit(True)  # so that terminate runs
        self.hub = hub
        hub.runtime.services[hub.hub_id] = hub

    def terminate(self, reason: Any) -> None:
        """By now the children of this node have stopped: the others may take over what we owned."""
        hub = self.hub
        if hub.runtime.services.get(hub.hub_id) is hub:
            del hub.runtime.services[hub.hub_id]
        for node in hub.listeners():
            GenServer.cast((hub.hub_id, node), HubLeave(hub.node))
