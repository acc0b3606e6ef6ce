"""The janitor: removes what nobody needs any more, every `storage_purge_interval` seconds."""

from __future__ import annotations

from typing import Any

from processhub.hub.hub import Hub
from supervisor.gen_server import GenServer
from supervisor.processes import self as self_pid
from supervisor.processes import send_after


class Janitor(GenServer):
    """Lets the registry forget residues of removed children and retired incarnations of hubs."""

    def init(self, hub: Hub) -> None:
        self.hub = hub
        self._again()

    def _again(self) -> None:
        send_after(self_pid(), "purge", self.hub.config.storage_purge_interval)

    def handle_info(self, message: Any) -> None:
        hub = self.hub
        members = sorted(hub.members)
        if hub.joined and not hub.observer:
            hub.registry.sweep(hub.now_ms(), members)
            hub.registry.retire(members)
            hub.publish()
        self._again()
